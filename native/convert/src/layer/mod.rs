//! From a layer's blob to a layer's file, in one pass.
//!
//! ```text
//! blob ─▶ digest, size ─▶ inflate ─▶ diff id ─▶ tar entries ─┬─▶ contents ─▶ squashfs' blocks
//!                                                           └─▶ normaliser ─▶ tree, at the end
//! ```

mod convert;
mod entry_error;
mod error;
mod finish;
mod inflate;
mod measure;
mod normaliser;
mod parents;
mod path;
mod sight;
#[cfg(test)]
mod tests;
mod warnings;
mod xattrs;

pub use convert::{ConvertedLayer, ExpectedBlob, LayerOptions, convert, scan};
pub use entry_error::EntryError;
pub use error::LayerError;
pub use inflate::Compression;
pub use parents::Parents;
pub use sight::{Sight, look_for};
pub use warnings::{Warning, WarningKind, Warnings};
