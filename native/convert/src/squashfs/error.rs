//! Why a squashfs file cannot be written.

use std::io;

use storm_oci_store::ErrorKind;

/// Why a squashfs file cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SquashfsError {
    /// Not a power of two from 4 KiB to 1 MiB.
    #[error(
        "cannot write squashfs: {size} is no block size; hint: give a power of two from 4096 to 1048576"
    )]
    BlockSize {
        /// What was asked for, in bytes.
        size: u32,
    },
    /// The compression has no such level.
    #[error(
        "cannot write squashfs: {name} has no level {level}; hint: give one from 1 to {highest}"
    )]
    Level {
        /// The compression.
        name: &'static str,
        /// What was asked for.
        level: u8,
        /// The highest that it has.
        highest: u8,
    },
    /// The system gives no further thread.
    #[error("cannot start a thread that compresses: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written: most often the disk is full.
    #[error("cannot write the squashfs file: {source}")]
    Write {
        /// What the system said.
        source: io::Error,
    },
    /// The finished file cannot be read back for its digest.
    #[error("cannot read the squashfs file back: {source}")]
    Read {
        /// What the system said.
        source: io::Error,
    },
    /// The compressor refused a block.
    #[error("cannot compress a block: {source}")]
    Compress {
        /// What the compressor said.
        source: io::Error,
    },
    /// A thread that compresses panicked.
    #[error("cannot compress a block: its thread panicked")]
    Panicked,
    /// A call that does not follow from those before it, or one after a failure.
    #[error("cannot {call}: the calls before it do not allow it")]
    Order {
        /// What was called.
        call: &'static str,
    },
    /// A file is longer than squashfs holds.
    #[error("cannot store a file of more than {limit} bytes in squashfs")]
    FileTooLong {
        /// The most that is possible, in bytes.
        limit: u64,
    },
    /// Squashfs cannot hold one of the tree's nodes.
    #[error("cannot store {path:?} in squashfs: {cause}")]
    Node {
        /// Where it is in the tree.
        path: String,
        /// What is wrong with it.
        cause: Unstorable,
    },
    /// A table is larger than references into it can tell.
    #[error("cannot write squashfs: the {table} table would exceed {limit} bytes")]
    TableTooLong {
        /// Which one.
        table: &'static str,
        /// The most that is possible, in bytes.
        limit: u64,
    },
}

/// What squashfs, or Linux reading it, cannot hold.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unstorable {
    /// Empty, `.`, `..`, longer than 255 bytes, or with a `/` or a NUL in it.
    #[error("its name is not one that a file can have")]
    Name,
    /// A directory has several names, or is within itself.
    #[error("it is a directory with more than one name")]
    DirectoryLinks,
    /// A directory's listing does not fit.
    #[error("the names in it take more than {limit} bytes")]
    DirectoryTooLong {
        /// The most that is possible, in bytes.
        limit: u32,
    },
    /// Linux follows no symbolic link to nowhere, nor one as long as a page.
    #[error("its target has {length} bytes, and must have from 1 to {limit}")]
    SymlinkLength {
        /// The target's, in bytes.
        length: usize,
        /// The most that is possible, in bytes.
        limit: usize,
    },
    /// The number of a device has 12 and 20 bits.
    #[error("there is no device number {major}:{minor}")]
    Device {
        /// The first part.
        major: u32,
        /// The second part.
        minor: u32,
    },
    /// Owners are indexes into a table.
    #[error("it has the {limit}th and next id of an owner or a group, and there is no room for it")]
    TooManyIds {
        /// The most that are possible.
        limit: usize,
    },
    /// An attribute's name is not of `user.`, `trusted.` or `security.`, or longer than 255 bytes.
    #[error("there is no room for an extended attribute named {name:?}")]
    XattrName {
        /// The attribute's name.
        name: String,
    },
    /// An attribute's value is longer than Linux reads.
    #[error("the value of its extended attribute {name:?} has more than {limit} bytes")]
    XattrTooLong {
        /// The attribute's name.
        name: String,
        /// The most that is possible, in bytes.
        limit: usize,
    },
    /// The content is another writer's.
    #[error("its content was not written")]
    UnknownContent,
}

impl SquashfsError {
    /// What sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BlockSize { .. } | Self::Level { .. } => ErrorKind::Misconfigured,
            Self::Write { source } | Self::Read { source } => ErrorKind::of_io(source),
            Self::Thread { .. } | Self::Compress { .. } | Self::Panicked | Self::Order { .. } => {
                ErrorKind::Internal
            }
            Self::FileTooLong { .. } | Self::Node { .. } | Self::TableTooLong { .. } => {
                ErrorKind::Unsupported
            }
        }
    }
}
