//! What went wrong with HDFS, by kind and in one line.

use std::fmt;

use hdfs_native::HdfsError;

use super::cluster::{Cluster, Security};
use super::login;
use crate::error::{ErrorKind, RemoteCause, StoreError};
use crate::location::Location;

/// The longest text of a server that an error repeats, in characters. Java puts a stack trace or
/// a list of all replicas there.
const SHOWN: usize = 300;

/// A failure before it is said of which object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Problem {
    pub(super) kind: ErrorKind,
    text: String,
}

impl Problem {
    pub(super) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(super) fn misconfigured(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Misconfigured, text)
    }

    pub(super) fn unreachable(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unreachable, text)
    }

    pub(super) fn at(self, operation: &'static str, location: &Location) -> StoreError {
        StoreError::Remote {
            operation,
            location: location.clone(),
            kind: self.kind,
            cause: RemoteCause::new(self),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Problem {}

/// Whether the client that had this error may be what is broken.
pub(super) fn condemns_client(error: &HdfsError) -> bool {
    matches!(
        error,
        HdfsError::IOError(_)
            | HdfsError::FatalRPCError(..)
            | HdfsError::InvalidRPCResponse(_)
            | HdfsError::SASLError(_)
            | HdfsError::GSSAPIError(..)
            | HdfsError::NoSASLMechanism
            | HdfsError::OperationFailed(_)
            | HdfsError::InternalError(_)
    )
}

/// An error of a request to a namenode.
pub(super) fn of_namenode(error: &HdfsError, peers: &str, security: &Security) -> Problem {
    match error {
        HdfsError::IOError(cause) if cause.kind() == std::io::ErrorKind::ConnectionAborted => {
            // A namenode that refuses how a client logs in says no more than this.
            let hint = match security {
                Security::Simple => {
                    "; hint: a cluster with Kerberos does so to a client whose \
                     `hadoop.security.authentication` is not `kerberos`"
                }
                Security::Kerberos { .. } => "",
            };
            Problem::unreachable(format!("{peers} ended the connection{hint}"))
        }
        HdfsError::IOError(cause) => Problem::unreachable(format!("{peers}: {}", line(cause))),
        HdfsError::InvalidRPCResponse(_) => {
            Problem::unreachable(format!("what answers at {peers} is not a namenode"))
        }
        HdfsError::GSSAPIError(_, minor, text) => login::problem(*minor, &line(text), security),
        HdfsError::OperationFailed(text) if matches!(security, Security::Kerberos { .. }) => {
            login::library_missing(&line(text))
        }
        HdfsError::SASLError(text) => {
            Problem::new(ErrorKind::Denied, format!("{peers}: login failed: {}", line(text)))
        }
        HdfsError::NoSASLMechanism => Problem::new(
            ErrorKind::Denied,
            format!("{peers}: offers no way to log in that this client knows"),
        ),
        HdfsError::RPCError(class, text) | HdfsError::FatalRPCError(class, text) => {
            of_exception(class, text, peers)
        }
        other => of_client(other),
    }
}

/// An error of reading a block.
pub(super) fn of_datanode(error: &HdfsError, cluster: &Cluster) -> Problem {
    match error {
        HdfsError::DataTransferError(_) | HdfsError::ChecksumError | HdfsError::IOError(_) => {
            let secure = matches!(cluster.security, Security::Kerberos { .. });
            let hint = match (secure, cluster.protected) {
                (true, false) => {
                    "; hint: `dfs.data.transfer.protection` is not set, which such a cluster \
                     mostly needs"
                }
                _ => "",
            };
            Problem::unreachable(format!(
                "no datanode gave the bytes of a block: {}{hint}",
                transfer_failure(error)
            ))
        }
        other => of_namenode(other, &cluster.peers(), &cluster.security),
    }
}

fn transfer_failure(error: &HdfsError) -> String {
    match error {
        // The list of all replicas follows.
        HdfsError::DataTransferError(text) => match text.split_once(": [") {
            Some((_, "]")) => "no replica of it is alive".to_owned(),
            Some(_) => "all its replicas failed".to_owned(),
            None => line(text),
        },
        HdfsError::IOError(cause) => line(cause),
        other => line(other),
    }
}

/// By the class of a Java exception, never by its words.
fn of_exception(class: &str, text: &str, peers: &str) -> Problem {
    let name = class.rsplit(['.', '$']).next().unwrap_or(class);
    let kind = match name {
        "FileNotFoundException"
        | "ParentNotDirectoryException"
        | "PathIsNotDirectoryException"
        | "UnresolvedPathException" => ErrorKind::NotFound,
        "AccessControlException"
        | "AuthorizationException"
        | "SaslException"
        | "GSSException"
        | "InvalidToken"
        | "DSQuotaExceededException"
        | "NSQuotaExceededException" => ErrorKind::Denied,
        "FileAlreadyExistsException" | "AlreadyBeingCreatedException" => ErrorKind::AlreadyExists,
        "StandbyException"
        | "SafeModeException"
        | "RetriableException"
        | "ObserverRetryOnActiveException"
        | "ServerTooBusyException"
        | "IOException"
        | "ConnectException"
        | "SocketTimeoutException" => ErrorKind::Unreachable,
        "InvalidPathException" => ErrorKind::Malformed,
        "UnsupportedOperationException"
        | "RpcNoSuchMethodException"
        | "RpcNoSuchProtocolException" => ErrorKind::Unsupported,
        _ => ErrorKind::Internal,
    };
    let words = line(text);
    let words = if words.is_empty() { "no reason given".to_owned() } else { words };
    Problem::new(kind, format!("{peers}: {words} ({name})"))
}

/// What the client finds out by itself.
fn of_client(error: &HdfsError) -> Problem {
    let kind = match error {
        HdfsError::FileNotFound(_)
        | HdfsError::BlocksNotFound(_)
        | HdfsError::IsADirectoryError(_) => ErrorKind::NotFound,
        HdfsError::AlreadyExists(_) => ErrorKind::AlreadyExists,
        HdfsError::InvalidPath(_) => ErrorKind::Malformed,
        HdfsError::InvalidArgument(_) | HdfsError::UrlParseError(_) => ErrorKind::Misconfigured,
        HdfsError::UnsupportedErasureCodingPolicy(_) | HdfsError::UnsupportedFeature(_) => {
            ErrorKind::Unsupported
        }
        HdfsError::DataTransferError(_)
        | HdfsError::ChecksumError
        | HdfsError::ErasureCodingError(_) => ErrorKind::Unreachable,
        _ => ErrorKind::Internal,
    };
    Problem::new(kind, line(error))
}

/// The first line of a text, without a stack trace and not longer than an error should be.
pub(super) fn line(text: impl ToString) -> String {
    let text = text.to_string();
    let first = text.lines().next().unwrap_or_default().trim();
    let mut shown: String = first.chars().filter(|char| !char.is_control()).take(SHOWN).collect();
    if first.chars().count() > SHOWN {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn cluster(security: Security) -> Cluster {
        Cluster {
            url: "hdfs://nn:8020".to_owned(),
            namenodes: vec!["nn:8020".to_owned()],
            options: [].into(),
            security,
            protected: false,
        }
    }

    const PEERS: &str = "namenode nn:8020";

    fn exception(class: &str, text: &str) -> HdfsError {
        HdfsError::RPCError(class.to_owned(), text.to_owned())
    }

    #[test]
    fn exceptions_are_known_by_their_class_and_shown_in_one_line() {
        for (class, kind) in [
            ("java.io.FileNotFoundException", ErrorKind::NotFound),
            ("org.apache.hadoop.security.AccessControlException", ErrorKind::Denied),
            ("org.apache.hadoop.hdfs.server.namenode.SafeModeException", ErrorKind::Unreachable),
            ("org.apache.hadoop.ipc.StandbyException", ErrorKind::Unreachable),
            ("org.apache.hadoop.security.token.SecretManager$InvalidToken", ErrorKind::Denied),
            ("org.apache.hadoop.fs.FileAlreadyExistsException", ErrorKind::AlreadyExists),
            ("java.lang.NullPointerException", ErrorKind::Internal),
        ] {
            // Words that would mislead.
            let text = "SafeModeException: file not found\n\tat org.apache.hadoop.X(X.java:1)";
            let problem = of_namenode(&exception(class, text), PEERS, &Security::Simple);
            assert_eq!(problem.kind, kind, "{class}");
            let name = class.rsplit(['.', '$']).next().unwrap();
            let shown = format!("namenode nn:8020: SafeModeException: file not found ({name})");
            assert_eq!(problem.to_string(), shown);
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let problem = of_namenode(
            &exception("java.io.IOException", &"x".repeat(9000)),
            PEERS,
            &Security::Simple,
        );
        assert!(problem.to_string().chars().count() < SHOWN + 60, "{problem}");
        let problem = of_namenode(&exception("java.io.IOException", ""), PEERS, &Security::Simple);
        assert_eq!(problem.to_string(), "namenode nn:8020: no reason given (IOException)");
    }

    #[test]
    fn a_namenode_that_hangs_up_may_want_kerberos() {
        let error = HdfsError::IOError(io::ErrorKind::ConnectionAborted.into());
        let problem = of_namenode(&error, PEERS, &Security::Simple);
        assert!(problem.to_string().contains("hint: a cluster with Kerberos"), "{problem}");
        let kerberos = Security::Kerberos { login: None };
        let problem = of_namenode(&error, PEERS, &kerberos);
        assert_eq!(problem.to_string(), "namenode nn:8020 ended the connection");
    }

    #[test]
    fn lists_of_replicas_are_not_repeated() {
        for (text, words) in [
            ("All DataNodes failed: []", "no replica of it is alive"),
            ("All DataNodes failed: [DatanodeInfoProto { id: 1 }]", "all its replicas failed"),
            ("Not enough data\nreturned", "Not enough data"),
        ] {
            let error = HdfsError::DataTransferError(text.to_owned());
            let problem = of_datanode(&error, &cluster(Security::Simple));
            assert_eq!(problem.kind, ErrorKind::Unreachable);
            assert_eq!(
                problem.to_string(),
                format!("no datanode gave the bytes of a block: {words}")
            );
        }
    }
}
