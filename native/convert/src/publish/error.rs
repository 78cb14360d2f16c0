//! Why a store cannot be changed.

use std::fmt;
use std::time::Duration;

use storm_oci_store::{Digest, ErrorKind, Location, Reference, StoreError};

use super::problem::Problem;

/// Every failure of publishing and of tending a store. The message is complete: `source` adds
/// nothing to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The store failed, or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another holds the lock of the tag map, and went on holding it.
    #[error(
        "cannot lock {lock}: {holder} holds it since {} seconds, waited {} seconds; \
         hint: wait for it, or remove the file if that process is gone",
        age.as_secs(), waited.as_secs()
    )]
    LockHeld {
        /// The lock file.
        lock: Location,
        /// Who holds it, as it wrote itself.
        holder: String,
        /// How long, by the store's clock.
        age: Duration,
        /// How long was waited for it.
        waited: Duration,
    },
    /// The lock was taken over by another, because its holder was silent for too long.
    #[error(
        "cannot go on with {lock}: the lock was lost to another process; \
         hint: the same command completes what is left"
    )]
    LockLost {
        /// The lock file.
        lock: Location,
    },
    /// The tag map as a whole is none that could be edited.
    #[error("cannot edit tag map {tag_map}: {problem}; nothing was changed")]
    InvalidTagMap {
        /// The tag map.
        tag_map: Location,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no store.
    #[error(
        "cannot use image store {top_level}: it has no tag map {tag_map}; hint: correct the location, or make the store with `storm-oci store init --store {top_level}`"
    )]
    NoStore {
        /// Where it should be.
        top_level: Location,
        /// What every store has.
        tag_map: Location,
    },
    /// The image is not whole in the store.
    #[error("cannot use image {digest}: {}; hint: publish it again", Listing(.problems))]
    Incomplete {
        /// Its manifest.
        digest: Digest,
        /// What is missing or wrong.
        problems: Vec<Problem>,
    },
    /// No image has this tag or digest.
    #[error("cannot find image `{name}` in {top_level}: no tag and no manifest is called so")]
    NotFound {
        /// The tag or digest.
        name: String,
        /// The store.
        top_level: Location,
    },
    /// The image is used under tags that are not to be removed.
    #[error(
        "cannot remove image {digest}: it still has the tags {}; hint: remove them first, or ask for all",
        Listing(.tags)
    )]
    StillTagged {
        /// Its manifest.
        digest: Digest,
        /// The tags.
        tags: Vec<Reference>,
    },
    /// A digest stands for a manifest, so it can be no tag.
    #[error("cannot tag with `{tag}`: it is a digest")]
    DigestAsTag {
        /// The tag.
        tag: Reference,
    },
    /// A manifest does not fit the layers that were converted for it.
    #[error("cannot publish manifest {digest}: {problem}")]
    UnfitManifest {
        /// The source's manifest.
        digest: Digest,
        /// What does not fit.
        problem: String,
    },
    /// A document is not what its digest names.
    #[error("cannot publish {object} {expected}: its digest is {found}")]
    WrongDocument {
        /// What it is.
        object: storm_oci_store::Object,
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Others wrote the same object again and again.
    #[error("cannot publish {location}: others keep writing it; hint: try again")]
    Contended {
        /// The object.
        location: Location,
    },
}

impl PublishError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::LockHeld { .. } | Self::LockLost { .. } | Self::Contended { .. } => {
                ErrorKind::Unreachable
            }
            Self::InvalidTagMap { .. } | Self::UnfitManifest { .. } | Self::DigestAsTag { .. } => {
                ErrorKind::Malformed
            }
            Self::Incomplete { .. } | Self::WrongDocument { .. } => ErrorKind::Mismatch,
            Self::NotFound { .. } | Self::NoStore { .. } => ErrorKind::NotFound,
            Self::StillTagged { .. } => ErrorKind::AlreadyExists,
        }
    }
}

/// Values in one line, joined by commas.
struct Listing<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listing<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.iter().enumerate() {
            let before = if index == 0 { "" } else { ", " };
            write!(formatter, "{before}{value}")?;
        }
        Ok(())
    }
}
