//! Why a layer cannot be converted.

use std::io;

use storm_oci_store::{Digest, ErrorKind};

use super::entry_error::EntryError;
use super::inflate::Compression;
use crate::squashfs::SquashfsError;
use crate::tar::TarError;

/// Why a layer cannot be converted. Each message is complete: `source` adds nothing to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The blob's bytes stopped coming.
    #[error("cannot read layer {layer}: {cause}")]
    Read {
        /// The layer.
        layer: Digest,
        /// What its source said.
        cause: io::Error,
    },
    /// The blob is not the one that the digest names.
    #[error("cannot accept layer {layer}: the digest of what came is {found}")]
    DigestMismatch {
        /// The layer.
        layer: Digest,
        /// The digest of the bytes that came.
        found: Digest,
    },
    /// The blob is longer or shorter than its descriptor says.
    #[error("cannot accept layer {layer}: {found} bytes came, expected {expected}")]
    SizeMismatch {
        /// The layer.
        layer: Digest,
        /// The size it must have, in bytes.
        expected: u64,
        /// The bytes that came; no more are read once they are too many.
        found: u64,
    },
    /// The blob is longer than any layer may be.
    #[error("cannot accept layer {layer}: it has more than the {limit} bytes allowed")]
    TooLarge {
        /// The layer.
        layer: Digest,
        /// The most it may have, in bytes.
        limit: u64,
    },
    /// The archive in the blob is not the one that the image's config names.
    #[error(
        "cannot accept layer {layer}: its diff id is {found}, and the image config says {expected}"
    )]
    DiffIdMismatch {
        /// The layer.
        layer: Digest,
        /// What the config says.
        expected: Digest,
        /// The digest of the archive.
        found: Digest,
    },
    /// The blob is compressed in a way that no image specification has.
    #[error(
        "cannot read layer {layer}: {compression} is not supported; hint: gzip, zstd and no compression are"
    )]
    UnsupportedCompression {
        /// The layer.
        layer: Digest,
        /// The compression's name.
        compression: &'static str,
    },
    /// The blob's compression is broken: it is truncated, damaged, or has something after its end.
    #[error(
        "cannot decompress layer {layer}: {compression} data are truncated, damaged or followed by garbage: {cause}"
    )]
    Inflate {
        /// The layer.
        layer: Digest,
        /// How it is compressed.
        compression: Compression,
        /// What the decoder said.
        cause: io::Error,
    },
    /// The archive cannot be read.
    #[error("cannot convert layer {layer}: {cause}")]
    Tar {
        /// The layer.
        layer: Digest,
        /// What is wrong with it.
        cause: TarError,
    },
    /// The archive has something that no layer can have.
    #[error("cannot convert layer {layer}: {cause}")]
    Entry {
        /// The layer.
        layer: Digest,
        /// What it has.
        cause: EntryError,
    },
    /// The layer's file cannot be written.
    #[error("cannot convert layer {layer}: {cause}")]
    Squashfs {
        /// The layer.
        layer: Digest,
        /// Why.
        cause: SquashfsError,
    },
}

impl LayerError {
    /// What can be done about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } => ErrorKind::Unreachable,
            Self::DigestMismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::DiffIdMismatch { .. } => ErrorKind::Mismatch,
            Self::UnsupportedCompression { .. } | Self::TooLarge { .. } => ErrorKind::Unsupported,
            Self::Inflate { .. } => ErrorKind::Malformed,
            Self::Tar { cause, .. } => match cause {
                TarError::TooLong { .. }
                | TarError::HeaderTooLarge { .. }
                | TarError::UnsupportedType { .. } => ErrorKind::Unsupported,
                _ => ErrorKind::Malformed,
            },
            Self::Entry { cause, .. } => match cause {
                EntryError::TooManyEntries { .. }
                | EntryError::TooMuchMetadata { .. }
                | EntryError::DeviceOutOfRange { .. }
                | EntryError::InvalidAttribute { .. }
                | EntryError::Strict { .. } => ErrorKind::Unsupported,
                _ => ErrorKind::Malformed,
            },
            Self::Squashfs { cause, .. } => cause.kind(),
        }
    }
}
