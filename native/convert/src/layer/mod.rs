//! From a layer's blob to a layer's file, in one pass.

/// Why a layer cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {}
