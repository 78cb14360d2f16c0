//! What can be wrong with an archive.

use std::io;

/// Why an archive cannot be read. Offsets are in the archive, in bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// What the archive comes from failed.
    #[error("cannot read tar archive: {0}")]
    Read(io::Error),
    /// The archive ends within an entry.
    #[error("cannot read tar archive: it is truncated after {offset} bytes")]
    Truncated {
        /// Where it ends.
        offset: u64,
    },
    /// There is something after the end-of-archive mark.
    #[error("cannot read tar archive: trailing garbage after its end, at byte {offset}")]
    TrailingGarbage {
        /// Where the block begins that has it.
        offset: u64,
    },
    /// The archive is longer than the limit.
    #[error("cannot read tar archive: it has more than the {limit} bytes allowed")]
    TooLong {
        /// The most it may have, in bytes.
        limit: u64,
    },
    /// A header whose checksum is another: most often no tar header at all.
    #[error("cannot read tar header at byte {offset}: its checksum is wrong")]
    WrongChecksum {
        /// Where the header is.
        offset: u64,
    },
    /// A field of a header that cannot be what it says.
    #[error("cannot read tar header at byte {offset}: field {field} is malformed or out of range")]
    InvalidField {
        /// Where the header is.
        offset: u64,
        /// The field or the PAX keyword.
        field: &'static str,
    },
    /// The PAX records of an entry, or of all, break the format.
    #[error("cannot read PAX header at byte {offset}: {problem}")]
    InvalidPax {
        /// Where the header is that they belong to.
        offset: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// Long names, PAX records or a sparse map that take more than the limit.
    #[error(
        "cannot read tar header at byte {offset}: it takes more than the {limit} bytes allowed"
    )]
    HeaderTooLarge {
        /// Where the header is.
        offset: u64,
        /// The most it may take, in bytes.
        limit: u64,
    },
    /// A sparse file whose map makes no sense.
    #[error("cannot read sparse file `{path}` at byte {offset}: {problem}")]
    InvalidSparse {
        /// The entry's name.
        path: String,
        /// Where its header is.
        offset: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// An entry of a type that no layer may have.
    #[error("cannot read tar entry `{path}` at byte {offset}: type '{}' is not supported", .typeflag.escape_ascii())]
    UnsupportedType {
        /// The entry's name.
        path: String,
        /// Where its header is.
        offset: u64,
        /// The header's type.
        typeflag: u8,
    },
    /// Long names or PAX records that no entry follows.
    #[error("cannot read tar archive: the header at byte {offset} belongs to no entry")]
    HeaderWithoutEntry {
        /// Where the header is.
        offset: u64,
    },
}
