//! What can go wrong between a source and a store.

use std::io;
use std::path::PathBuf;

use storm_oci_store::{ErrorKind, StoreError};

use crate::erofs::ErofsError;
use crate::layer::LayerError;
use crate::publish::PublishError;
use crate::source::SourceError;

/// Every failure of this crate, by the part that saw it. Each message is complete: `source` adds
/// nothing to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The image cannot be had, or is not one that can be run.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A layer cannot be converted.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A layer cannot become EROFS.
    #[error(transparent)]
    Erofs(#[from] ErofsError),
    /// The image cannot be published, or the store cannot be tended.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The store failed, or what is in it is unusable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory in which layers are converted cannot be used.
    #[error("cannot {operation} a file in {}: {cause}", path.display())]
    WorkingDir {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The directory.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A task of the runtime ended before its work: it panicked, or the runtime shut down.
    #[error("cannot {operation}: the task ended early")]
    TaskEnded {
        /// What it was doing, as a verb and object.
        operation: &'static str,
    },
}

impl ConvertError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(error) => error.kind(),
            Self::Layer(error) => error.kind(),
            Self::Erofs(error) => error.kind(),
            Self::Publish(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::WorkingDir { cause, .. } => ErrorKind::of_io(cause),
            Self::TaskEnded { .. } => ErrorKind::Internal,
        }
    }
}
