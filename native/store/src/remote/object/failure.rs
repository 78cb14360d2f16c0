//! The library's errors by kind, and without what may be secret in them.

use object_store::Error;
use object_store::client::HttpError;

use super::answers::{Meaning, Unanswered, chain, innermost};
use crate::error::{ErrorKind, RemoteCause, StoreError};
use crate::location::Location;

/// Why a store failed, in words of ours: the library's repeat URLs and bodies.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Unanswered(Unanswered),
    #[error("the connection broke off: {0}")]
    BrokenOff(String),
    #[error("not found in the store")]
    NotFound,
    #[error("it exists already")]
    AlreadyExists,
    #[error("the store refuses access")]
    Refused,
    #[error("the server does not answer requests for a part of an object")]
    NoRanges,
    #[error("a web server is only read, never written or listed")]
    ReadOnly,
    #[error("its answer cannot be used: {0}")]
    Unusable(String),
}

/// What went wrong with an object of a directory.
pub(super) fn of_directory(
    operation: &'static str,
    location: &Location,
    error: Error,
) -> StoreError {
    let location = location.clone();
    let kind = match &error {
        Error::Precondition { .. } => return StoreError::Changed { location },
        error => kind_by_type(error).unwrap_or(ErrorKind::Unreachable),
    };
    let cause = RemoteCause::new(error);
    let kind = match (kind, cause.io_kind()) {
        // A broken mount or disk (EIO, ESTALE, ENOTCONN) is a store that does not answer.
        (ErrorKind::Unreachable, None | Some(ErrorKind::Internal)) => ErrorKind::Unreachable,
        (ErrorKind::Unreachable, Some(of_system)) => of_system,
        (kind, _) => kind,
    };
    StoreError::Remote { operation, location, kind, cause }
}

/// What went wrong with an object behind HTTP: the outermost error of a known type tells.
pub(super) fn of_server(operation: &'static str, location: &Location, error: &Error) -> StoreError {
    let mut http = None;
    for link in chain(error) {
        if let Some(error) = link.downcast_ref::<Error>() {
            if matches!(error, Error::Precondition { .. }) {
                return StoreError::Changed { location: location.clone() };
            }
            if let Some(kind) = kind_by_type(error) {
                return remote(operation, location, kind, failure_by_type(error));
            }
        } else if let Some(error) = link.downcast_ref::<HttpError>() {
            http = Some(error);
        } else if let Some(unanswered) = link.downcast_ref::<Unanswered>() {
            let Some(kind) = kind_of(unanswered) else {
                return StoreError::Changed { location: location.clone() };
            };
            let failure = match kind {
                ErrorKind::NotFound => Failure::NotFound,
                _ => Failure::Unanswered(unanswered.clone()),
            };
            return remote(operation, location, kind, failure);
        }
    }
    match http {
        Some(error) => {
            let failure = Failure::BrokenOff(innermost(error));
            remote(operation, location, ErrorKind::Unreachable, failure)
        }
        None => {
            let failure = Failure::Unusable(innermost(error));
            remote(operation, location, ErrorKind::Unsupported, failure)
        }
    }
}

/// The answer for a web server that is asked for more than an object.
pub(super) fn read_only(operation: &'static str, location: &Location) -> StoreError {
    remote(operation, location, ErrorKind::Unsupported, Failure::ReadOnly)
}

/// The answer for an object that was to be new.
pub(super) fn exists(operation: &'static str, location: &Location) -> StoreError {
    remote(operation, location, ErrorKind::AlreadyExists, Failure::AlreadyExists)
}

fn remote(
    operation: &'static str,
    location: &Location,
    kind: ErrorKind,
    failure: Failure,
) -> StoreError {
    let (location, cause) = (location.clone(), RemoteCause::new(failure));
    StoreError::Remote { operation, location, kind, cause }
}

fn kind_by_type(error: &Error) -> Option<ErrorKind> {
    match error {
        Error::NotFound { .. } => Some(ErrorKind::NotFound),
        Error::AlreadyExists { .. } => Some(ErrorKind::AlreadyExists),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Some(ErrorKind::Denied),
        Error::NotSupported { .. } | Error::NotImplemented { .. } => Some(ErrorKind::Unsupported),
        Error::InvalidPath { .. } => Some(ErrorKind::Malformed),
        Error::JoinError { .. } => Some(ErrorKind::Internal),
        _ => None,
    }
}

fn failure_by_type(error: &Error) -> Failure {
    match error {
        Error::NotFound { .. } => Failure::NotFound,
        Error::AlreadyExists { .. } => Failure::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Failure::Refused,
        // Nothing else of what is asked here is one of these.
        Error::NotSupported { .. } => Failure::NoRanges,
        error => Failure::Unusable(innermost(error)),
    }
}

/// `None` for an object that has changed.
fn kind_of(unanswered: &Unanswered) -> Option<ErrorKind> {
    match unanswered {
        Unanswered::Status { meaning, .. } => match meaning {
            Meaning::Busy => Some(ErrorKind::Unreachable),
            Meaning::Changed => None,
            Meaning::Missing => Some(ErrorKind::NotFound),
            Meaning::Refused => Some(ErrorKind::Denied),
            Meaning::Unable => Some(ErrorKind::Unsupported),
            Meaning::Wrong => Some(ErrorKind::Misconfigured),
        },
        Unanswered::Untrusted { .. } => Some(ErrorKind::Misconfigured),
        Unanswered::Unreachable { .. } => Some(ErrorKind::Unreachable),
    }
}
