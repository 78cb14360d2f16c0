//! Everything that can go wrong, with a code that callers may match on.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;

use storm_oci_request::{DocumentError, IdError};
use storm_oci_store::{ErrorKind, StoreError};

use crate::config::keys;

/// What an error is about. The text form is stable: Java and launch outcomes carry it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The caller handed in something that is not what it should be: a fault of the caller.
    Argument,
    /// Storm's configuration.
    Config,
    /// The image: not allowed, not there, or not usable.
    Image,
    /// What is installed on this node: launcher, runc, their modes.
    Installation,
    /// A fault of this library or of the machine.
    Internal,
    /// The launcher did not start the container.
    Launch,
    /// A file or directory that should be shown in the container.
    Mount,
    /// The launcher's records.
    Record,
    /// The image store or the local cache.
    Store,
    /// The account a worker should run as.
    User,
}

impl ErrorCode {
    /// All there are.
    pub(crate) const ALL: [Self; 10] = [
        Self::Argument,
        Self::Config,
        Self::Image,
        Self::Installation,
        Self::Internal,
        Self::Launch,
        Self::Mount,
        Self::Record,
        Self::Store,
        Self::User,
    ];

    /// The code as documents and exceptions carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Argument => "ARGUMENT",
            Self::Config => "CONFIG",
            Self::Image => "IMAGE",
            Self::Installation => "INSTALLATION",
            Self::Internal => "INTERNAL",
            Self::Launch => "LAUNCH",
            Self::Mount => "MOUNT",
            Self::Record => "RECORD",
            Self::Store => "STORE",
            Self::User => "USER",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What can go wrong between Java and a running container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// A setting has a value of another type or out of range.
    #[error("cannot use setting `{key}`: found {found}, expected {expected}")]
    Setting {
        /// The key.
        key: &'static str,
        /// What was found, as JSON cut short.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A setting that is needed is not set.
    #[error("cannot do without setting `{key}`: {why}")]
    SettingMissing {
        /// The key.
        key: &'static str,
        /// What it is needed for.
        why: &'static str,
    },
    /// Two settings contradict each other.
    #[error("cannot use setting `{key}` = `{value}`: `{other}` is {other_value}")]
    SettingsContradict {
        /// The one.
        key: &'static str,
        /// Its value.
        value: String,
        /// The other.
        other: &'static str,
        /// Its value, as text.
        other_value: String,
    },
    /// A document of the caller's is not what it should be.
    #[error("cannot read {what}")]
    Document {
        /// Which document.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A name or path of the caller's is not one.
    #[error("cannot use {what}")]
    Name {
        /// Which name or path.
        what: &'static str,
        /// Why.
        source: IdError,
    },
    /// A port that is none.
    #[error("cannot use port {0}: not in 1 to 65535")]
    Port(i64),
    /// What is needed to run containers is not there; every problem is listed, one a line.
    #[error("cannot prepare containers: {}", lines(problems))]
    Unready {
        /// The problems.
        problems: Vec<Self>,
    },
    /// A file named in the configuration cannot be read.
    #[error("cannot read `{path}`, which `{key}` names")]
    SettingFile {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A setting is not a name or path of the kind it should be.
    #[error("cannot use setting `{key}`")]
    SettingName {
        /// The key.
        key: &'static str,
        /// Why.
        source: IdError,
    },
    /// A setting is not a location that a store can be at.
    #[error("cannot use setting `{key}`")]
    SettingStore {
        /// The key.
        key: &'static str,
        /// Why.
        source: StoreError,
    },
    /// An option in a map of them cannot be used. Its value may be a secret and is not repeated.
    #[error("cannot use option `{name}` of setting `{key}`: {problem}")]
    SettingOption {
        /// The key of the map.
        key: &'static str,
        /// The option.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file of a store's secrets cannot be used. No part of it is repeated.
    #[error("cannot use `{}`, which `{}` names: {problem}", path.display(), keys::CREDENTIALS_FILE)]
    CredentialsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The system call filter is not one.
    #[error("cannot use system call filter `{path}`")]
    Seccomp {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DocumentError,
    },
    /// No cgroup hierarchy where the configuration says.
    #[error(
        "cannot use `storm.oci.cgroup.root` = `{0}`: no cgroup file system is mounted there or below"
    )]
    CgroupRoot(String),
    /// The account a worker should run as has no usable name.
    #[error("cannot use account")]
    User(#[source] IdError),
    /// The launcher's own check found something.
    #[error("{0}")]
    LauncherCheck(String),
    /// The launcher cannot be run at all.
    #[error("cannot run launcher `{path}`")]
    LauncherMissing {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The launcher did not say something that is needed.
    #[error("cannot use launcher: its configuration does not tell `{key}`")]
    LauncherSilent {
        /// The key in `worker-launcher.cfg`.
        key: &'static str,
    },
    /// The launcher did not end in time. It goes on; whatever it starts is found again.
    #[error("cannot wait for launcher: `{verb}` has not ended after {seconds} s")]
    LauncherSlow {
        /// What it was asked to do.
        verb: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The launcher refused or failed.
    #[error("{message}")]
    LauncherRefused {
        /// Its exit code.
        exit_code: i32,
        /// Its message.
        message: String,
        /// What it advises.
        hint: Option<String>,
    },
    /// The account of this process has no name.
    #[error("cannot find the account of uid {0}")]
    OwnAccount(u32),
    /// No image is set, neither by the topology nor by default.
    #[error("cannot choose an image: neither the topology nor `storm.oci.image` names one")]
    ImageUnset,
    /// The image is not on the list.
    #[error("cannot use image `{tag}`: not in `storm.oci.allowed.images` ({allowed})")]
    ImageNotAllowed {
        /// The image's tag, cut short and escaped.
        tag: String,
        /// The list.
        allowed: String,
    },
    /// A custom plugin gave a tag without config or layers.
    #[error("cannot use image `{tag}`: its plugins gave {what}")]
    ImageIncomplete {
        /// The image's tag.
        tag: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The image config cannot be read.
    #[error("cannot read image config `{path}`")]
    ImageConfig {
        /// The localized file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A localized file's path cannot be written down.
    #[error("cannot use `{path}`: it is not UTF-8")]
    PathText {
        /// The path.
        path: PathBuf,
    },
    /// The store or the local cache.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A mount source is missing.
    #[error("cannot mount `{path}`: it does not exist{}", named_by(*key))]
    MountSource {
        /// The path on the host.
        path: String,
        /// The setting that names it, when an operator did.
        key: Option<&'static str>,
    },
    /// The launch request is not a valid one.
    #[error("cannot compose launch request")]
    Request(#[from] DocumentError),
    /// A file of a launch cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record cannot be read.
    #[error("cannot read record `{path}`")]
    ReadRecord {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record is not one.
    #[error("cannot use record `{path}`")]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DocumentError,
    },
    /// The launcher said the container runs, but its record does not.
    #[error("cannot find container `{0}`: the launcher reported success but left no record of it")]
    Unrecorded(String),
    /// A cgroup file cannot be read.
    #[error("cannot read cgroup file `{path}`")]
    Cgroup {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A cgroup or proc file does not hold what it should.
    #[error("cannot find {what} in `{path}`")]
    CgroupValue {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A fault of this library or of one it uses.
    #[error("cannot go on: a fault in the library: {0}")]
    Panicked(String),
    /// The metrics cannot be written as text.
    #[error("cannot make a text of the metrics")]
    Metrics(#[source] prometheus::Error),
    /// The kernel refused something that always works.
    #[error("cannot {what}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn lines(problems: &[SupervisorError]) -> String {
    let count = problems.len();
    let plural = if count == 1 { "" } else { "s" };
    problems.iter().fold(format!("{count} problem{plural}"), |mut text, problem| {
        text.push('\n');
        text.push_str(&problem.report());
        text
    })
}

fn named_by(key: Option<&'static str>) -> String {
    key.map(|key| format!(", but `{key}` names it")).unwrap_or_default()
}

/// Exit codes of the launcher that have a code of their own here.
mod launcher_exit {
    pub(super) const BAD_USER: i32 = 255;
    pub(super) const BINARY_PERMISSIONS: i32 = 22;
    pub(super) const SETUID: i32 = 6;
    pub(super) const CONFIG: i32 = 24;
    pub(super) const LAYER_REFUSED: i32 = 50;
    pub(super) const MOUNT_SOURCE: i32 = 52;
    pub(super) const PROGRAM_MISSING: i32 = 53;
}

impl SupervisorError {
    /// What the error is about.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Setting { .. }
            | Self::SettingMissing { .. }
            | Self::SettingsContradict { .. }
            | Self::SettingFile { .. }
            | Self::SettingName { .. }
            | Self::SettingStore { .. }
            | Self::SettingOption { .. }
            | Self::CredentialsFile { .. }
            | Self::CgroupRoot(_)
            | Self::Seccomp { .. } => ErrorCode::Config,
            Self::Document { .. } | Self::Name { .. } | Self::Port(_) | Self::PathText { .. } => {
                ErrorCode::Argument
            }
            Self::Unready { problems } => {
                let config = |problem: &Self| problem.code() == ErrorCode::Config;
                if problems.iter().all(config) {
                    ErrorCode::Config
                } else {
                    ErrorCode::Installation
                }
            }
            Self::LauncherCheck(_)
            | Self::LauncherMissing { .. }
            | Self::LauncherSilent { .. }
            | Self::OwnAccount(_) => ErrorCode::Installation,
            Self::LauncherSlow { .. } | Self::Write { .. } | Self::Request(_) => ErrorCode::Launch,
            Self::LauncherRefused { exit_code, .. } => match *exit_code {
                launcher_exit::BAD_USER => ErrorCode::User,
                launcher_exit::BINARY_PERMISSIONS
                | launcher_exit::SETUID
                | launcher_exit::CONFIG => ErrorCode::Installation,
                launcher_exit::LAYER_REFUSED | launcher_exit::PROGRAM_MISSING => ErrorCode::Image,
                launcher_exit::MOUNT_SOURCE => ErrorCode::Mount,
                _ => ErrorCode::Launch,
            },
            Self::ImageUnset
            | Self::ImageNotAllowed { .. }
            | Self::ImageIncomplete { .. }
            | Self::ImageConfig { .. } => ErrorCode::Image,
            Self::Store(error) => match error.kind() {
                ErrorKind::NotFound
                | ErrorKind::Malformed
                | ErrorKind::Mismatch
                | ErrorKind::Unsupported => ErrorCode::Image,
                _ => ErrorCode::Store,
            },
            Self::User(_) => ErrorCode::User,
            Self::MountSource { .. } => ErrorCode::Mount,
            Self::ReadRecord { .. } | Self::Record { .. } | Self::Unrecorded(_) => {
                ErrorCode::Record
            }
            Self::Cgroup { .. }
            | Self::CgroupValue { .. }
            | Self::Kernel { .. }
            | Self::Metrics(_)
            | Self::Panicked(_) => ErrorCode::Internal,
        }
    }

    /// What to do about it, where the error knows.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::LauncherRefused { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }

    /// Whether the launcher refused a layer.
    pub(crate) const fn refused_layer(&self) -> bool {
        matches!(self, Self::LauncherRefused { exit_code: launcher_exit::LAYER_REFUSED, .. })
    }

    /// The whole message: this error and its causes, joined by `: `.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let told = error.to_string();
            // Some errors tell their cause themselves.
            if !text.ends_with(&told) {
                text.push_str(": ");
                text.push_str(&told);
            }
            cause = error.source();
        }
        text
    }
}
