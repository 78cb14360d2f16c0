//! Puts images into a store, and tends it.

/// Why a store cannot be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {}
