//! What a native method can throw.

use storm_oci_supervisor::SupervisorError;

/// Why a native method threw.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// An argument that must be there is null.
    #[error("cannot use argument `{argument}`: it is null")]
    Null {
        /// The argument's name.
        argument: &'static str,
    },
    /// An argument holds half a surrogate pair, which no encoding of Unicode can carry.
    #[error("cannot use argument `{argument}`: it has an unpaired surrogate")]
    NotUnicode {
        /// The argument's name.
        argument: &'static str,
    },
    /// The handle was closed.
    #[error("cannot use handle {handle}: it is closed")]
    Closed {
        /// The handle.
        handle: i64,
    },
    /// The handle never existed.
    #[error("cannot use handle {handle}: there is none with this number")]
    NoHandle {
        /// The handle.
        handle: i64,
    },
    /// The handle is of the other kind.
    #[error("cannot use handle {handle}: it is for {found}, not for {expected}")]
    WrongHandle {
        /// The handle.
        handle: i64,
        /// What it is for.
        found: &'static str,
        /// What it should be for.
        expected: &'static str,
    },
    /// The library could not be set up in this JVM.
    #[error("cannot collect the library's log: {source}")]
    Logs {
        /// Why.
        source: tracing::subscriber::SetGlobalDefaultError,
    },
    /// The libraries below could not be listened to in this JVM.
    #[error("cannot collect the log of other libraries: {source}")]
    LibraryLogs {
        /// Why.
        source: log::SetLoggerError,
    },
    /// What the method is for failed.
    #[error("{}", source.report())]
    Supervisor {
        /// What failed.
        #[from]
        source: SupervisorError,
    },
    /// The JVM refused a call.
    #[error("cannot call the JVM: {source}")]
    Jvm {
        /// Which way.
        #[from]
        source: jni::errors::Error,
    },
}

impl BridgeError {
    /// The code of faults of the library itself.
    pub(crate) const INTERNAL: &str = "INTERNAL";

    /// What kind of failure this is: a stable constant, the exception's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Null { .. }
            | Self::NotUnicode { .. }
            | Self::NoHandle { .. }
            | Self::WrongHandle { .. } => "ARGUMENT",
            Self::Closed { .. } => "CLOSED",
            Self::Logs { .. } | Self::LibraryLogs { .. } | Self::Jvm { .. } => Self::INTERNAL,
            Self::Supervisor { source } => source.code().as_str(),
        }
    }
}
