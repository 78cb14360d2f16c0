//! The login to a cluster with Kerberos: what can be known of it before, and why it failed.

use std::fs;
use std::net::ToSocketAddrs;
use std::path::Path;

use super::cluster::{Login, Security};
use super::failure::Problem;
use super::keytab::{Principal, principals};
use crate::error::ErrorKind;

/// What stands for the host's name in a principal.
const HOST: &str = "_HOST";
/// The error codes of Kerberos begin here: MIT's table `krb5`, as an unsigned number.
const ERROR_TABLE: u32 = 0x96C7_3A00;

/// A principal with this host's name in the place of `_HOST`.
pub(super) fn of_this_host(principal: &str) -> String {
    if principal.contains(HOST) {
        principal.replace(HOST, &host_name())
    } else {
        principal.to_owned()
    }
}

/// This host's name as Java and Hadoop have it: what the name service calls its address, in lower
/// case.
fn host_name() -> String {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let canonical = (node.as_str(), 0)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .and_then(|address| dns_lookup::lookup_addr(&address.ip()).ok());
    canonical.unwrap_or(node).to_ascii_lowercase()
}

/// Looks for what the Kerberos library would give a misleading reason for: it takes a keytab that
/// it cannot use for none.
pub(super) fn check_keytab(login: &Login) -> Result<(), Problem> {
    let Login { principal, keytab } = login;
    let file = keytab.display();
    let bytes = fs::read(keytab).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Misconfigured,
        };
        Problem::new(
            kind,
            format!("login as `{principal}` failed: cannot read keytab {file}: {error}"),
        )
    })?;
    let Some(entries) = principals(&bytes) else {
        return Err(Problem::misconfigured(format!(
            "login as `{principal}` failed: {file} is not a keytab, or not a whole one"
        )));
    };
    let wanted = Principal::parse(principal);
    if entries.iter().any(|entry| wanted.means(entry)) {
        Ok(())
    } else {
        Err(Problem::misconfigured(format!(
            "login as `{principal}` failed: keytab {file} has no key for it; \
             hint: `klist -k {file}` shows for whom it has keys"
        )))
    }
}

/// Why the Kerberos library could not log in, by its error code.
pub(super) fn problem(code: u32, text: &str, security: &Security) -> Problem {
    let login = match security {
        Security::Kerberos { login } => login.as_ref(),
        Security::Simple => None,
    };
    // What it says of a bad keytab is not true.
    if let Some(problem) = login.and_then(|login| check_keytab(login).err()) {
        return problem;
    }
    let who = login.map_or_else(
        || "with the account's ticket cache".to_owned(),
        |login| format!("as `{}`", login.principal),
    );
    let keytab = login.map_or(Path::new("the ticket cache"), |login| &login.keytab).display();
    let (kind, why) = reason(code, text, &keytab.to_string());
    Problem::new(kind, format!("login {who} failed: {why}"))
}

/// The numbers are those of MIT's `krb5_err.et`, which begin with those of RFC 4120.
fn reason(code: u32, text: &str, keytab: &str) -> (ErrorKind, String) {
    let denied = |text: &str| (ErrorKind::Denied, text.to_owned());
    match code.wrapping_sub(ERROR_TABLE) {
        1 => denied("the principal has expired"),
        6 => denied("the KDC does not know the principal"),
        7 => denied("the KDC does not know the namenode's principal"),
        14 => denied("the KDC accepts none of the encryption types of its keys"),
        18 => denied("the principal is locked"),
        23 => denied(
            "the principal's key has expired; hint: have it renewed and the keytab made anew",
        ),
        24 | 31 => (
            ErrorKind::Denied,
            format!("the key in {keytab} is not the KDC's; hint: have the keytab made anew"),
        ),
        32 => denied("the ticket has expired; hint: `kinit` gets another"),
        33 | 37 => (
            ErrorKind::Unreachable,
            "this host's clock and the KDC's are too far apart; hint: synchronize them".to_owned(),
        ),
        154 | 156 | 220 => {
            (ErrorKind::Unreachable, "no KDC of its realm can be reached".to_owned())
        }
        141 | 195 => {
            denied("there is no ticket; hint: set storm.hdfs.login.keytab, or run `kinit`")
        }
        _ => denied(text),
    }
}

/// The client could not load the Kerberos library.
pub(super) fn library_missing(text: &str) -> Problem {
    Problem::misconfigured(format!(
        "login failed: libgssapi_krb5.so.2 cannot be used ({text}); \
         hint: install libgssapi-krb5-2 on Debian, krb5-libs on Red Hat"
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_host_is_filled_in() {
        let filled = of_this_host("storm/_HOST@REALM");
        let name = filled.strip_prefix("storm/").unwrap().strip_suffix("@REALM").unwrap();
        assert!(!name.is_empty() && name == name.to_ascii_lowercase(), "{name}");
        assert_eq!(of_this_host("storm@REALM"), "storm@REALM");
    }

    #[test]
    fn a_keytab_that_cannot_be_used_is_said_to_be_so() {
        let directory = tempfile::TempDir::new().unwrap();
        let keytab = directory.path().join("storm.keytab");
        let login = Login { principal: "storm@R".to_owned(), keytab: keytab.clone() };
        let problem = || check_keytab(&login).unwrap_err();
        assert_eq!(problem().kind, ErrorKind::Misconfigured);
        assert!(problem().to_string().contains("storm.keytab: No such file"), "{}", problem());
        fs::write(&keytab, "rubbish").unwrap();
        assert!(problem().to_string().ends_with("is not a keytab, or not a whole one"));
        fs::write(&keytab, [5, 2]).unwrap();
        assert!(problem().to_string().contains("has no key for it; hint: `klist -k"));
        fs::set_permissions(&keytab, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read(&keytab).is_err() {
            // Not as root, who reads everything.
            assert_eq!(problem().kind, ErrorKind::Denied);
        }
    }
}
