//! What can go wrong between a source and a store.

use storm_oci_store::StoreError;

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
    /// The image cannot be published, or the store cannot be tended.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The store failed, or what is in it is unusable.
    #[error(transparent)]
    Store(#[from] StoreError),
}
