//! How a command fails: its message and its exit code.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use storm_oci_convert::ConvertError;
use storm_oci_convert::layer::LayerError;
use storm_oci_convert::publish::PublishError;
use storm_oci_convert::source::SourceError;
use storm_oci_store::{ErrorKind, StoreError};
use storm_oci_supervisor::SupervisorError;

/// What can be mended by who typed the command.
const FAILED: u8 = 1;
/// Wrong usage, or a defect; also what the parser of arguments ends with.
const UNEXPECTED: u8 = 2;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(String),
    /// The conversion or the store failed.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// A storm.yaml that is not one.
    #[error("cannot read {}: {problem}", path.display())]
    StormConf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Settings that are wrong or contradict; all of them.
    #[error("{}", joined(.0))]
    Settings(Vec<SupervisorError>),
    /// A file or directory of this host could not be used.
    #[error("cannot {operation} {}: {cause}", path.display())]
    Local {
        /// What was tried, as a verb.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The command did its work, and what it found is bad. The report has been printed.
    #[error("{0}")]
    Found(String),
    /// The system does not let this program work.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// Interrupted by a signal.
    #[error("interrupted; what was published so far stays, and the same command completes it")]
    Interrupted,
}

impl CliError {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) | Self::Runtime(_) => UNEXPECTED,
            Self::Convert(error) if error.kind() == ErrorKind::Internal => UNEXPECTED,
            Self::Convert(_)
            | Self::StormConf { .. }
            | Self::Settings(_)
            | Self::Local { .. }
            | Self::Found(_)
            | Self::Interrupted => FAILED,
        })
    }
}

impl From<SourceError> for CliError {
    fn from(error: SourceError) -> Self {
        Self::Convert(error.into())
    }
}

impl From<LayerError> for CliError {
    fn from(error: LayerError) -> Self {
        Self::Convert(error.into())
    }
}

impl From<PublishError> for CliError {
    fn from(error: PublishError) -> Self {
        Self::Convert(error.into())
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::Convert(error.into())
    }
}

fn joined(problems: &[SupervisorError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
