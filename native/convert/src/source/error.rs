//! What can go wrong between a reference and a layer's bytes.

use std::fmt;
use std::io;
use std::path::PathBuf;

use storm_oci_store::{Digest, ErrorKind, Platform};

/// A part of an image, for messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The manifest of one platform.
    Manifest,
    /// The image index, or Docker's manifest list.
    Index,
    /// The image config.
    Config,
    /// A layer.
    Layer,
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Manifest => "manifest",
            Self::Index => "image index",
            Self::Config => "image config",
            Self::Layer => "layer",
        })
    }
}

/// Why an image cannot be had. The message is complete: `source` adds nothing to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Text that names no image.
    #[error("cannot use image {text:?}: {problem}; hint: {}", Examples(.text))]
    InvalidReference {
        /// The rejected text, cut to 200 characters.
        text: String,
        /// The rule it breaks.
        problem: String,
    },
    /// A setting that cannot be used.
    #[error("cannot use {setting}: {problem}")]
    InvalidSettings {
        /// The setting, in words.
        setting: String,
        /// What is wrong with it. Repeats no secret.
        problem: String,
    },
    /// A file of credentials, or the program it names, cannot be used.
    #[error("cannot use credentials of {}: {problem}", path.display())]
    AuthFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it. Repeats no secret.
        problem: String,
    },
    /// The registry wants credentials, or better ones.
    #[error("cannot read {name}: {registry} refuses {}: {cause}; hint: {}", Login(*.with), hint_login(*.with, .registry))]
    Unauthorized {
        /// What was asked for.
        name: String,
        /// The registry's host.
        registry: String,
        /// Whether credentials were sent.
        with: bool,
        /// The registry's words.
        cause: String,
    },
    /// There is no such image.
    #[error("cannot find image {name}: {}{}", .missing, Existing(.existing))]
    NotFound {
        /// The image.
        name: String,
        /// What there is not.
        missing: String,
        /// What there is instead; empty if that is not known.
        existing: Vec<String>,
    },
    /// Several images, and nothing says which.
    #[error("cannot choose an image of {name}: it has {}; hint: add one of them, such as {example}", Joined(.existing))]
    Ambiguous {
        /// What was named.
        name: String,
        /// What there is.
        existing: Vec<String>,
        /// One of them, written in full.
        example: String,
    },
    /// The image is not there for the platform.
    #[error("cannot use image {name}: it is not for {platform}; it is for {}; hint: choose one with --platform", Joined(.existing))]
    WrongPlatform {
        /// The image.
        name: String,
        /// What was asked for.
        platform: Platform,
        /// What there is.
        existing: Vec<String>,
    },
    /// A document that is not the JSON it should be.
    #[error("cannot read {part} {digest}: {cause}")]
    InvalidDocument {
        /// What it should be.
        part: Part,
        /// Its digest.
        digest: Digest,
        /// The parser's reason, or ours.
        cause: String,
    },
    /// Something else than an image, or an image of a form that has no layers to convert.
    #[error("cannot use {part} {digest}: {problem}")]
    Unsupported {
        /// What it is.
        part: Part,
        /// Its digest as the source has it.
        digest: String,
        /// What about it cannot be used.
        problem: String,
    },
    /// An image that asks for more than the limits.
    #[error("cannot accept {name}: {what} is {found}, more than the {limit} allowed{}", hint(.option))]
    OverLimit {
        /// The image or document.
        name: String,
        /// What is too many or too large.
        what: &'static str,
        /// How many.
        found: u64,
        /// The most that is accepted.
        limit: u64,
        /// The option that changes the limit; empty if there is none.
        option: &'static str,
    },
    /// Bytes that are not those their digest names.
    #[error("cannot accept {part} of {name}: digest is {found}, expected {expected}")]
    DigestMismatch {
        /// What was read.
        part: Part,
        /// The image.
        name: String,
        /// The digest it must have.
        expected: Digest,
        /// The digest of the bytes that came.
        found: Digest,
    },
    /// More or fewer bytes than promised.
    #[error("cannot accept {part} of {name}: size is {found} bytes, expected {expected}")]
    SizeMismatch {
        /// What was read.
        part: Part,
        /// The image.
        name: String,
        /// The size it must have, in bytes.
        expected: u64,
        /// The size it has, in bytes.
        found: u64,
    },
    /// The source does not have a part of the image.
    #[error("cannot read {part} {digest} of {name}: {cause}")]
    MissingPart {
        /// Which.
        part: Part,
        /// Its digest.
        digest: Digest,
        /// The image.
        name: String,
        /// How the source says so.
        cause: String,
    },
    /// A registry answered with a failure.
    #[error("cannot read {url}: the registry answers {status}: {cause}")]
    Registry {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The registry's words.
        cause: String,
    },
    /// A registry could not be reached, or broke off.
    #[error("cannot read {url}: {cause}{hint}")]
    Transfer {
        /// What was asked for.
        url: String,
        /// What happened.
        cause: String,
        /// What may help, with what is before it; empty if nothing is known.
        hint: &'static str,
    },
    /// A local file that is not what it should be.
    #[error("cannot use {}: {problem}", path.display())]
    InvalidFile {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A local file that cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Local {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

impl SourceError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidReference { .. }
            | Self::InvalidDocument { .. }
            | Self::InvalidFile { .. } => ErrorKind::Malformed,
            Self::InvalidSettings { .. } | Self::AuthFile { .. } | Self::Ambiguous { .. } => {
                ErrorKind::Misconfigured
            }
            Self::Unauthorized { .. } => ErrorKind::Denied,
            Self::NotFound { .. } | Self::MissingPart { .. } => ErrorKind::NotFound,
            Self::WrongPlatform { .. } | Self::Unsupported { .. } | Self::OverLimit { .. } => {
                ErrorKind::Unsupported
            }
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => ErrorKind::Mismatch,
            Self::Registry { .. } | Self::Transfer { .. } => ErrorKind::Unreachable,
            Self::Local { cause, .. } => match cause.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Internal,
            },
        }
    }
}

/// The longest text of others that a message repeats, in characters.
const SHOWN: usize = 200;

/// The part of a foreign text that a message repeats, on one line.
pub(super) fn shown(text: &str) -> String {
    let one_line = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.trim().chars().take(SHOWN).map(one_line).collect()
}

/// How references look that begin as the rejected one does.
struct Examples<'a>(&'a str);

impl fmt::Display for Examples<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        formatter.write_str(match text.split_once(':') {
            Some(("oci", _)) => "write oci:DIRECTORY:TAG, such as oci:/srv/layout:1.0",
            Some(("dir", _)) => "write dir:DIRECTORY, such as dir:/srv/image",
            Some(("docker-archive", _)) => {
                "write docker-archive:FILE[:NAME:TAG], such as docker-archive:/srv/image.tar"
            }
            _ => {
                "write HOST[:PORT]/REPOSITORY:TAG, such as registry.example.org/storm/worker:1.0, \
                 or begin with docker://, oci:, docker-archive: or dir:"
            }
        })
    }
}

/// With or without credentials.
struct Login(bool);

impl fmt::Display for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0 { "the credentials" } else { "anonymous access" })
    }
}

fn hint_login(with: bool, registry: &str) -> String {
    if with {
        format!("log in again with `docker login {registry}`, or name another file with --authfile")
    } else {
        format!("log in with `docker login {registry}`, or name a file with --authfile")
    }
}

fn hint(option: &str) -> String {
    if option.is_empty() { String::new() } else { format!("; hint: allow more with {option}") }
}

/// The end of a message about what there is not.
struct Existing<'a>(&'a [String]);

impl fmt::Display for Existing<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(formatter, "; there is {}", Joined(self.0))
    }
}

/// How many names a message lists.
const NAMES_SHOWN: usize = 20;

/// Names with commas between them.
struct Joined<'a>(&'a [String]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("nothing");
        }
        for (number, name) in self.0.iter().take(NAMES_SHOWN).enumerate() {
            let before = if number == 0 { "" } else { ", " };
            write!(formatter, "{before}{}", shown(name))?;
        }
        if self.0.len() > NAMES_SHOWN {
            write!(formatter, " and {} more", self.0.len() - NAMES_SHOWN)?;
        }
        Ok(())
    }
}
