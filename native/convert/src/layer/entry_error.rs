//! What can be wrong with an entry.

use super::warnings::WarningKind;

/// Why an entry cannot be in a layer. Paths are cut to a length that fits a message.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// A name that is no path in a layer.
    #[error("cannot use entry `{path}`: {problem}")]
    InvalidPath {
        /// The entry's name.
        path: String,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// An entry in something that is no directory.
    #[error("cannot use entry `{path}`: `{ancestor}` in its path is not a directory")]
    NotADirectory {
        /// The entry's name.
        path: String,
        /// The name that is in the way.
        ancestor: String,
    },
    /// An entry below symbolic links that lead to each other.
    #[error("cannot use entry `{path}`: too many symbolic links in its path")]
    TooManySymlinks {
        /// The entry's name.
        path: String,
    },
    /// The root is something else than a directory.
    #[error("cannot use entry `{path}`: the root of a layer is a directory")]
    RootNotDirectory {
        /// The entry's name.
        path: String,
    },
    /// A symbolic link that leads to no possible place.
    #[error("cannot use symbolic link `{path}`: {problem}")]
    InvalidSymlink {
        /// The link's name.
        path: String,
        /// What is wrong with its target.
        problem: &'static str,
    },
    /// A hard link to what the layer does not have.
    #[error("cannot use hard link `{path}`: the layer has no `{target}`")]
    MissingLinkTarget {
        /// The link's name.
        path: String,
        /// What it should be another name of.
        target: String,
    },
    /// A hard link to a directory.
    #[error("cannot use hard link `{path}`: `{target}` is a directory")]
    LinkToDirectory {
        /// The link's name.
        path: String,
        /// What it should be another name of.
        target: String,
    },
    /// Hard links that lead to each other alone.
    #[error("cannot use hard link `{path}`: it leads to itself")]
    LinkLoop {
        /// The link's name.
        path: String,
    },
    /// A device with numbers that squashfs has no room for.
    #[error(
        "cannot use device `{path}`: {major}:{minor} is out of range; the most is 4095:1048575"
    )]
    DeviceOutOfRange {
        /// The device's name.
        path: String,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// An extended attribute that Linux would not take.
    #[error("cannot use attribute `{name}` of `{path}`: {problem}")]
    InvalidAttribute {
        /// The entry's name.
        path: String,
        /// The attribute.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More files than the limit, directories included that are only implied.
    #[error("cannot use entry `{path}`: the layer has more than the {limit} entries allowed")]
    TooManyEntries {
        /// The entry that is one too many.
        path: String,
        /// The most there may be.
        limit: u64,
    },
    /// Names, link targets and attributes that take more memory than the limit.
    #[error(
        "cannot use entry `{path}`: names and attributes of the layer take more than the {limit} \
         bytes allowed"
    )]
    TooMuchMetadata {
        /// The entry that is one too many.
        path: String,
        /// The most they may take, in bytes.
        limit: u64,
    },
    /// A warning, where none is accepted.
    #[error("cannot use entry `{path}`: {kind}, which strict conversion refuses")]
    Strict {
        /// The entry's name.
        path: String,
        /// What was noticed.
        kind: WarningKind,
    },
}
