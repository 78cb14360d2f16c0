//! What can go wrong between an image tag and a local file.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Digest;
use crate::location::Location;
use crate::reference::Reference;

/// What a caller can do about a [`StoreError`]; stable, unlike the message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The tag, or a file in the store, does not exist.
    NotFound,
    /// The account may not read or write it.
    Denied,
    /// Bytes differ from what their digest or size promises, also after fetching them again.
    Mismatch,
    /// The store does not say what the bytes must be, and the settings require that it does.
    Unverified,
    /// Text or a document that cannot be read as what it should be.
    Malformed,
    /// No space, no inode or no quota left on the local disk.
    Full,
    /// The store did not answer, or broke off.
    Unreachable,
    /// Well-formed, but this build cannot use it.
    Unsupported,
    /// The settings contradict each other or lack something.
    Misconfigured,
    /// An object that was to be published new is there already.
    AlreadyExists,
    /// Anything that is neither the user's nor the store's doing.
    Internal,
}

impl ErrorKind {
    /// The kind as an upper-case word, for logs and other languages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::Denied => "DENIED",
            Self::Mismatch => "MISMATCH",
            Self::Unverified => "UNVERIFIED",
            Self::Malformed => "MALFORMED",
            Self::Full => "FULL",
            Self::Unreachable => "UNREACHABLE",
            Self::Unsupported => "UNSUPPORTED",
            Self::Misconfigured => "MISCONFIGURED",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::Internal => "INTERNAL",
        }
    }

    /// What sort of failure the system's error is.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::AlreadyExists => Self::AlreadyExists,
            _ => Self::Internal,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a file of the store is, for messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Object {
    /// `image-tag-to-hash`.
    TagMap,
    /// `manifests/<hex>`.
    Manifest,
    /// `config/<hex>`.
    Config,
    /// `layers/<hex>.sqsh`.
    Layer,
    /// `layers/<hex>.sqsh.json` of the remote store.
    SideFile,
}

impl Object {
    /// The next step of one who published an image.
    fn when_missing(self) -> &'static str {
        match self {
            Self::TagMap => "publish it, or correct the key that names it",
            Self::Manifest => "publish manifests before the tag map that names them",
            Self::Config | Self::Layer | Self::SideFile => {
                "publish it before the manifest that needs it"
            }
        }
    }

    fn when_wrong(self) -> &'static str {
        match self {
            Self::Layer => "publish the layer again, or its side file",
            Self::TagMap | Self::Manifest | Self::Config | Self::SideFile => "publish it again",
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TagMap => "tag map",
            Self::Manifest => "manifest",
            Self::Config => "image config",
            Self::Layer => "layer",
            Self::SideFile => "layer side file",
        })
    }
}

/// The error of a remote store's library, kept whole; displays its innermost cause.
#[derive(Clone, Debug)]
pub struct RemoteCause(Arc<dyn Error + Send + Sync>);

impl RemoteCause {
    pub(crate) fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    fn chain(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        let first: &(dyn Error + 'static) = self.0.as_ref();
        // Dereferenced, so that the chain borrows from the error and not from the iterator.
        std::iter::successors(Some(first), |error| Error::source(*error))
    }

    /// The operating system's error below, if there is one.
    pub(crate) fn io_kind(&self) -> Option<ErrorKind> {
        self.chain().find_map(|error| error.downcast_ref::<io::Error>()).map(ErrorKind::of_io)
    }
}

impl fmt::Display for RemoteCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chain().last().map_or(Ok(()), |innermost| fmt::Display::fmt(innermost, formatter))
    }
}

/// Every failure of this crate. The message is complete: `source` adds nothing to it.
///
/// Cloneable, because all who wait for one fetch get its error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Not `sha256:` and 64 lower-case hex digits.
    #[error("cannot parse digest {text:?}: not sha256 with 64 lower-case hex digits")]
    InvalidDigest {
        /// The rejected text, cut to 200 characters.
        text: String,
    },
    /// Text that cannot be an image tag.
    #[error("cannot use image tag {text:?}: {problem}")]
    InvalidReference {
        /// The rejected text, cut to 200 characters.
        text: String,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// Text that names no platform.
    #[error("cannot use platform {text:?}: not system/architecture[/variant], such as linux/amd64")]
    InvalidPlatform {
        /// The rejected text, cut to 200 characters.
        text: String,
    },
    /// Text that cannot be a place in a store.
    #[error("cannot use store location {text:?}: {problem}")]
    InvalidLocation {
        /// The rejected text, cut to 200 characters.
        text: String,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// A location whose scheme no store of this build serves.
    #[error(
        "cannot use store location {text:?}: no store has scheme `{scheme}`; supported: {supported}"
    )]
    UnsupportedScheme {
        /// The location, cut to 200 characters.
        text: String,
        /// Its scheme.
        scheme: String,
        /// The schemes that work, joined by commas.
        supported: String,
    },
    /// A store cannot be reached with the options that are set.
    #[error("cannot use store {location}: {problem}")]
    InvalidOptions {
        /// A place in the store.
        location: Location,
        /// The option at fault, or what is missing. Repeats no value.
        problem: String,
    },
    /// Neither a local nor a remote tag map is set.
    #[error(
        "cannot resolve image tags: neither a local nor a remote tag map file is set; \
         hint: set storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs.hash.file"
    )]
    NoTagMap,
    /// No tag map has the tag.
    #[error(
        "cannot resolve image tag `{reference}`: tag not found in {searched}{}",
        NearMisses(.close, .skipped)
    )]
    TagNotFound {
        /// The tag.
        reference: Reference,
        /// The tag maps that were searched, joined by ` and `.
        searched: String,
        /// The tags in them that are closest to it.
        close: Box<[Reference]>,
        /// Which of their lines are malformed and were skipped; empty if none.
        skipped: String,
    },
    /// A document that is not the JSON it should be.
    #[error("cannot read {object} {name}: {cause}")]
    InvalidDocument {
        /// What it should be.
        object: Object,
        /// Its digest or location.
        name: String,
        /// The parser's reason.
        cause: Arc<serde_json::Error>,
    },
    /// A manifest, config or layer of a type that cannot be run.
    #[error("cannot use {object} {name}: media type `{found}` is not one of {accepted}")]
    WrongMediaType {
        /// What it should be.
        object: Object,
        /// Its digest.
        name: String,
        /// Its media type.
        found: String,
        /// The media types that can be used, joined by commas.
        accepted: String,
    },
    /// A manifest of another format version, such as Docker's first.
    #[error("cannot use manifest {digest}: schema version {found} is not 2")]
    WrongSchemaVersion {
        /// The manifest.
        digest: Digest,
        /// Its version.
        found: u32,
    },
    /// An index that has nothing for the platform.
    #[error(
        "cannot use image index {digest}: no manifest is for {platform}; it has {found}; \
         hint: publish one, or set storm.oci.image.platform"
    )]
    NoManifestForPlatform {
        /// The index.
        digest: Digest,
        /// What was looked for.
        platform: String,
        /// What there is instead, joined by commas.
        found: String,
    },
    /// A manifest with more layers than a root file system can have.
    #[error("cannot use manifest {digest}: it has {found} layers, more than the {limit} allowed")]
    TooManyLayers {
        /// The manifest.
        digest: Digest,
        /// Its number of layers.
        found: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A manifest without layers.
    #[error("cannot use manifest {digest}: it has no layers")]
    NoLayers {
        /// The manifest.
        digest: Digest,
    },
    /// A resource's file name that is not made from a digest.
    #[error("cannot localize {object} {file_name:?}: the file name must be {expected}")]
    InvalidResourceName {
        /// What it should be.
        object: Object,
        /// The rejected name, cut to 200 characters.
        file_name: String,
        /// The form it must have.
        expected: &'static str,
    },
    /// The file is not in the store.
    #[error("cannot read {object} {location}: not found in the store; hint: {}", object.when_missing())]
    Missing {
        /// What it should be.
        object: Object,
        /// Where it should be.
        location: Location,
    },
    /// The bytes are not those the digest names.
    #[error(
        "cannot accept {object} {location}: digest is {found}, expected {expected}; hint: {}",
        object.when_wrong()
    )]
    DigestMismatch {
        /// What was read.
        object: Object,
        /// From where.
        location: Location,
        /// The digest it must have.
        expected: Digest,
        /// The digest of the bytes that came.
        found: Digest,
    },
    /// The file is longer or shorter than promised.
    #[error(
        "cannot accept {object} {location}: size is {found} bytes, expected {expected}; hint: {}",
        object.when_wrong()
    )]
    SizeMismatch {
        /// What was read.
        object: Object,
        /// From where.
        location: Location,
        /// The size it must have, in bytes.
        expected: u64,
        /// The size it has, in bytes.
        found: u64,
    },
    /// A document larger than anything of its sort.
    #[error("cannot read {object} {location}: {found} bytes are more than the {limit} allowed")]
    TooLarge {
        /// What it should be.
        object: Object,
        /// Where it is.
        location: Location,
        /// Its size in bytes.
        found: u64,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// The object was replaced while it was being read.
    #[error("cannot read {location}: it changed meanwhile")]
    Changed {
        /// The object.
        location: Location,
    },
    /// A request to a remote store failed.
    #[error("cannot {operation} {location}: {cause}")]
    Remote {
        /// What was tried, as a verb.
        operation: &'static str,
        /// With which object.
        location: Location,
        /// The sort of failure.
        kind: ErrorKind,
        /// The store's own error.
        cause: RemoteCause,
    },
    /// A remote store sent nothing for too long.
    #[error("cannot {operation} {location}: no answer for {} seconds", limit.as_secs_f32())]
    NoAnswer {
        /// What was tried, as a verb.
        operation: &'static str,
        /// With which object.
        location: Location,
        /// How long.
        limit: Duration,
    },
    /// The layers of an image were not all here in time.
    #[error(
        "cannot fetch layer {location}: not complete after {} seconds; the next fetch goes on from there; \
         hint: storm.oci.store.fetch.timeout.secs is the limit",
        limit.as_secs_f32()
    )]
    TooSlow {
        /// The layer.
        location: Location,
        /// How long all layers of the image may take.
        limit: Duration,
    },
    /// The policy asks for a digest that the store does not give.
    #[error(
        "cannot accept layer {location}: the store has no digest of this file, and one is required; hint: add {location}.json"
    )]
    Unverified {
        /// The layer.
        location: Location,
    },
    /// A local file or directory could not be used.
    #[error("cannot {operation} {}: {cause}{}", path.display(), when_full(cause))]
    Local {
        /// What was tried, as a verb.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's error.
        cause: Arc<io::Error>,
    },
    /// A task of the runtime ended before its work: it panicked, or the runtime shut down.
    #[error("cannot {operation}: the task ended early")]
    TaskEnded {
        /// What it was doing, as a verb and object.
        operation: &'static str,
    },
}

/// The tail of a failed lookup's message: what may have been meant.
struct NearMisses<'a>(&'a [Reference], &'a str);

impl fmt::Display for NearMisses<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(close, skipped) = self;
        for (index, tag) in close.iter().enumerate() {
            let before = if index == 0 { "; close to it:" } else { "," };
            write!(formatter, "{before} `{tag}`")?;
        }
        if !skipped.is_empty() {
            write!(formatter, "; malformed and skipped: {skipped}")?;
        }
        Ok(())
    }
}

impl StoreError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidDigest { .. }
            | Self::InvalidReference { .. }
            | Self::InvalidPlatform { .. }
            | Self::InvalidLocation { .. }
            | Self::InvalidDocument { .. }
            | Self::InvalidResourceName { .. }
            | Self::NoLayers { .. }
            | Self::TooLarge { .. } => ErrorKind::Malformed,
            Self::UnsupportedScheme { .. }
            | Self::WrongMediaType { .. }
            | Self::WrongSchemaVersion { .. }
            | Self::NoManifestForPlatform { .. }
            | Self::TooManyLayers { .. } => ErrorKind::Unsupported,
            Self::NoTagMap | Self::InvalidOptions { .. } => ErrorKind::Misconfigured,
            Self::TagNotFound { .. } | Self::Missing { .. } => ErrorKind::NotFound,
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } | Self::Changed { .. } => {
                ErrorKind::Mismatch
            }
            Self::Remote { kind, .. } => *kind,
            Self::NoAnswer { .. } | Self::TooSlow { .. } => ErrorKind::Unreachable,
            Self::Unverified { .. } => ErrorKind::Unverified,
            Self::Local { cause, .. } => ErrorKind::of_io(cause),
            Self::TaskEnded { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the same call may succeed later although nobody changed the image or the settings.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Changed { .. })
            || matches!(self.kind(), ErrorKind::Unreachable | ErrorKind::Full)
    }

    pub(crate) fn local(operation: &'static str, path: &Path, cause: impl Into<io::Error>) -> Self {
        Self::Local { operation, path: path.to_owned(), cause: Arc::new(cause.into()) }
    }
}

/// The next step for a disk on which nothing more could be removed.
fn when_full(cause: &io::Error) -> &'static str {
    if ErrorKind::of_io(cause) == ErrorKind::Full {
        "; hint: make room, or lower storm.oci.resources.cache.max.bytes"
    } else {
        ""
    }
}

/// The longest rejected text an error repeats, in characters.
const SHOWN: usize = 200;

/// The part of a rejected text that an error repeats.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
