//! The record of a completed fetch, `layers/<file>.json`.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// What a layer file was when it was complete and checked.
///
/// The launcher makes a layer root's and read-only when it mounts it, which changes neither of
/// these; anybody who writes to it changes the modification time at least. The device is left
/// out: its number may differ after the next boot.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Completed {
    /// 64 hex digits: the digest of the file itself.
    pub(crate) sha256: String,
    /// In bytes.
    pub(crate) size: u64,
    /// Whether the image store promised that digest; else it is only what came.
    pub(crate) verified: bool,
    inode: u64,
    modified_seconds: i64,
    modified_nanos: i64,
    /// Where it came from, for people.
    source: String,
}

/// What the cache has under a layer's name.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Presence {
    /// No file.
    Absent,
    /// A file that is not, or not any more, what a completed fetch left.
    Unusable,
    /// A file that a fetch completed and nobody touched since.
    Complete(Completed),
}

impl Completed {
    /// The record of a file that was written and checked just now.
    pub(crate) fn of(sha256: &str, verified: bool, metadata: &Metadata, source: &str) -> Self {
        Self {
            sha256: sha256.to_owned(),
            size: metadata.len(),
            verified,
            inode: metadata.ino(),
            modified_seconds: metadata.mtime(),
            modified_nanos: metadata.mtime_nsec(),
            source: source.to_owned(),
        }
    }

    fn describes(&self, metadata: &Metadata) -> bool {
        *self == Self::of(&self.sha256, self.verified, metadata, &self.source)
    }
}

impl Presence {
    /// Compares a layer file with its record.
    pub(crate) fn look(layer: &Path, record: &Path) -> Result<Self, StoreError> {
        let metadata = match fs::symlink_metadata(layer) {
            Ok(metadata) => metadata,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Self::Absent),
            Err(cause) => return Err(StoreError::local("stat", layer, cause)),
        };
        let bytes = match fs::read(record) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Self::Unusable),
            Err(cause) => return Err(StoreError::local("read", record, cause)),
        };
        // A record that a crash or an editor spoilt vouches for nothing.
        Ok(match serde_json::from_slice::<Completed>(&bytes) {
            Ok(completed) if completed.describes(&metadata) => Self::Complete(completed),
            _ => Self::Unusable,
        })
    }
}
