//! Why a launch request was refused.

use crate::ids::{CgroupPath, HostPath, IdError};

/// Why a launch request was refused. Every path of a key is written as `a.b[3].c`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// More bytes than a request may have.
    #[error("it has {found} bytes, at most {limit} are read")]
    TooLarge {
        /// The document's size.
        found: usize,
        /// The most that is read.
        limit: usize,
    },
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Malformed(#[source] serde_json::Error),
    /// A key that the format does not have.
    #[error("key `{0}` is unknown")]
    UnknownKey(String),
    /// A key that is there twice.
    #[error("key `{0}` is there twice")]
    DuplicateKey(String),
    /// A key that must be there.
    #[error("key `{0}` is missing")]
    MissingKey(String),
    /// A value of another JSON type.
    #[error("`{path}` is {found}, not {expected}")]
    WrongType {
        /// The value's path.
        path: String,
        /// Its type.
        found: &'static str,
        /// The type it must have.
        expected: &'static str,
    },
    /// A number that is too small or too large.
    #[error("`{path}` is {found}, allowed is {allowed}")]
    OutOfRange {
        /// The number's path.
        path: String,
        /// The number.
        found: i128,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Hooks, which runc would run as root on the host.
    #[error("`{0}` is refused: hooks would run as root on the host")]
    Hooks(String),
    /// Capabilities: a worker has none.
    #[error("`{0}` is refused: a worker has no capabilities")]
    Capabilities(String),
    /// Devices or rules for them.
    #[error("`{0}` is refused: a worker has runc's default devices only")]
    Devices(String),
    /// Namespaces: the launcher decides them.
    #[error("`{0}` is refused: the launcher decides the namespaces")]
    Namespaces(String),
    /// The process' user: it comes from `username`.
    #[error("`{0}` is refused: the user is the one named by `username`")]
    ProcessUser(String),
    /// Another version than `0.1`.
    #[error("version {0:?} is unknown, `0.1` is read")]
    Version(String),
    /// A name or path that is not one.
    #[error("`{path}`: {source}")]
    Name {
        /// The value's path.
        path: String,
        /// What is wrong with it.
        source: IdError,
    },
    /// A text with a NUL character, which no argument or environment entry can have.
    #[error("`{0}` has a NUL character")]
    NulCharacter(String),
    /// A pid file with another name than the worker's.
    #[error("pid file `{found}` is not named `{expected}`")]
    PidFile {
        /// The request's pid file.
        found: HostPath,
        /// The name it must have.
        expected: String,
    },
    /// A script outside the worker's directory.
    #[error("script `{found}` is not in a directory named `{expected}`")]
    Script {
        /// The request's script.
        found: HostPath,
        /// The worker id that its directory must be named after.
        expected: String,
    },
    /// No layer.
    #[error("there is no layer")]
    NoLayers,
    /// More distinct layers than one root file system may have.
    #[error("there are {found} distinct layers, at most {limit} are mounted")]
    TooManyLayers {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A layer that is neither squashfs nor EROFS.
    #[error("`{path}` is {found:?}, neither squashfs nor EROFS")]
    LayerMediaType {
        /// The media type's path.
        path: String,
        /// The media type.
        found: String,
    },
    /// A mount of another type than `bind`.
    #[error("`{path}` is {found:?}, only `bind` is mounted")]
    MountType {
        /// The type's path.
        path: String,
        /// The type.
        found: String,
    },
    /// A mount without `rbind`.
    #[error("`{0}` lacks `rbind`")]
    MountNotRecursive(String),
    /// A mount without `rprivate`.
    #[error("`{0}` lacks `rprivate`")]
    MountNotPrivate(String),
    /// A mount with both or neither of `ro` and `rw`.
    #[error("`{0}` must have one of `ro` and `rw`")]
    MountAccess(String),
    /// A mount option other than `ro`, `rw`, `rbind` and `rprivate`.
    #[error("`{path}` has {found:?}, allowed are `ro` or `rw`, `rbind` and `rprivate`")]
    MountOption {
        /// The options' path.
        path: String,
        /// The option.
        found: String,
    },
    /// A mount over what the launcher mounts itself.
    #[error("nothing may be mounted at `{0}`")]
    MountDestination(HostPath),
    /// `/sys/fs/cgroup` for writing.
    #[error("`{0}` may be mounted with `ro` only")]
    MountWritable(HostPath),
    /// An environment entry that is not `NAME=value`.
    #[error("`{0}` is not `NAME=value`")]
    EnvironmentEntry(String),
    /// No program to run.
    #[error("`ociRuntimeConfig.process.args` is empty")]
    NoProgram,
    /// A cgroup other than the container's own.
    #[error("cgroup `{found}` is not `{expected}`")]
    ForeignCgroup {
        /// The request's cgroup.
        found: CgroupPath,
        /// The one cgroup this container may have.
        expected: CgroupPath,
    },
    /// Not a list of processors or memory nodes.
    #[error("`{path}` is {found:?}, not a list such as `0-3,8`")]
    CpuList {
        /// The list's path.
        path: String,
        /// The list.
        found: String,
    },
    /// A limit that contradicts another.
    #[error("`{path}` needs {needs}")]
    Limits {
        /// The limit's path.
        path: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// A listener for system calls.
    #[error("`{0}` is refused: nobody else may decide a container's system calls")]
    SeccompListener(String),
    /// `comment`, `includes` or `excludes`, which Docker's own profile format has.
    #[error(
        "`{0}` is of Docker's profile format: give the profile in the runtime specification's form"
    )]
    SeccompDockerKey(String),
    /// A name that seccomp does not have or that is refused.
    #[error("`{path}` is {found:?}, which is not an allowed {what}")]
    SeccompName {
        /// The name's path.
        path: String,
        /// The name.
        found: String,
        /// What it stands for: an action, an operator, a flag, an architecture, a system call.
        what: &'static str,
    },
    /// A rule that names no system call.
    #[error("`{0}` names no system call")]
    SeccompNoNames(String),
}

impl RequestError {
    /// The variant's name for programs: stable, one for each variant.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Malformed(_) => "malformed",
            Self::UnknownKey(_) => "unknown-key",
            Self::DuplicateKey(_) => "duplicate-key",
            Self::MissingKey(_) => "missing-key",
            Self::WrongType { .. } => "wrong-type",
            Self::OutOfRange { .. } => "out-of-range",
            Self::Hooks(_) => "hooks",
            Self::Capabilities(_) => "capabilities",
            Self::Devices(_) => "devices",
            Self::Namespaces(_) => "namespaces",
            Self::ProcessUser(_) => "process-user",
            Self::Version(_) => "version",
            Self::Name { .. } => "name",
            Self::NulCharacter(_) => "nul-character",
            Self::PidFile { .. } => "pid-file",
            Self::Script { .. } => "script",
            Self::NoLayers => "no-layers",
            Self::TooManyLayers { .. } => "too-many-layers",
            Self::LayerMediaType { .. } => "layer-media-type",
            Self::MountType { .. } => "mount-type",
            Self::MountNotRecursive(_) => "mount-not-recursive",
            Self::MountNotPrivate(_) => "mount-not-private",
            Self::MountAccess(_) => "mount-access",
            Self::MountOption { .. } => "mount-option",
            Self::MountDestination(_) => "mount-destination",
            Self::MountWritable(_) => "mount-writable",
            Self::EnvironmentEntry(_) => "environment-entry",
            Self::NoProgram => "no-program",
            Self::ForeignCgroup { .. } => "foreign-cgroup",
            Self::CpuList { .. } => "cpu-list",
            Self::Limits { .. } => "limits",
            Self::SeccompListener(_) => "seccomp-listener",
            Self::SeccompDockerKey(_) => "seccomp-docker-key",
            Self::SeccompName { .. } => "seccomp-name",
            Self::SeccompNoNames(_) => "seccomp-no-names",
        }
    }
}
