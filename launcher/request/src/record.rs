//! What the launcher writes down: the launch record and the exit record.
//!
//! Both lie in `<run root>/records`, mode 0640 `root:<launcher group>`:
//! `<container id>.json`, written before runc starts and completed once, and
//! `<container id>.exit.json`, made empty at the launch and written once, by the monitor.
//! Root trusts these files and no others; the library reads them and finds containers by them.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::document::{self, DocumentError};
use crate::ids::{AccountName, CgroupPath, ContainerId, HostPath};
use crate::layer_key::LayerKey;

/// The version both records carry. A reader refuses any other.
pub const RECORD_VERSION: u32 = 1;

/// Reads a version that is this program's.
fn own_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        RECORD_VERSION => Ok(RECORD_VERSION),
        other => Err(D::Error::custom(format!(
            "the record has version {other}, this program reads {RECORD_VERSION}"
        ))),
    }
}

/// A running process as the kernel names it: a pid alone may be reused.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessRecord {
    /// The pid in the host's pid namespace.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks since boot.
    ///
    /// # References
    ///
    /// `proc_pid_stat(5)`
    pub start_time: u64,
}

/// Who asked for the launch.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Caller {
    /// The caller's real uid.
    pub uid: u32,
    /// The caller's real gid.
    pub gid: u32,
}

/// One layer of the container, lowest first.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LayerRecord {
    /// Its directory below `<run root>/layers`.
    pub key: LayerKey,
    /// The file it was mounted from.
    pub path: HostPath,
    /// Whether this launch mounted it; `false` when it was there already.
    pub mounted: bool,
}

/// One step of the launch and how long it took.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Phase {
    /// The step: `account`, `request`, `layers`, `overlay`, `binds`, `runc` and so on.
    pub name: String,
    /// How long it took, in microseconds.
    pub micros: u64,
}

/// How far the launch came.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LaunchState {
    /// Written before runc starts; the container may or may not exist.
    Launching,
    /// runc reported the container as started. The record never changes again.
    Started,
}

/// What the launcher knows of one container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchRecord {
    /// [`RECORD_VERSION`].
    #[serde(deserialize_with = "own_version")]
    pub version: u32,
    /// The container.
    pub container_id: ContainerId,
    /// How far its launch came.
    pub state: LaunchState,
    /// Who asked for it. Reap, signal and sweep act only on the caller's own.
    pub caller: Caller,
    /// The directory that holds the worker directories, such as `/var/storm/workers`.
    pub worker_root: HostPath,
    /// The account the container runs as.
    pub user: AccountName,
    /// That account's uid.
    pub uid: u32,
    /// That account's gid.
    pub gid: u32,
    /// Its cgroup, below the root of every hierarchy.
    pub cgroup: CgroupPath,
    /// Its layers, lowest first, each once.
    pub layers: Vec<LayerRecord>,
    /// The process that waits for the container's end.
    pub monitor: Option<ProcessRecord>,
    /// The container's pid 1, as the host sees it.
    pub init: Option<ProcessRecord>,
    /// When the launch began, in milliseconds since the epoch.
    pub launched_millis: u64,
    /// The launch's steps in order.
    pub phases: Vec<Phase>,
}

impl LaunchRecord {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] when the bytes are not a record of this version.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        document::read(bytes)
    }
}

/// How a container ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExitRecord {
    /// [`RECORD_VERSION`].
    #[serde(deserialize_with = "own_version")]
    pub version: u32,
    /// The container.
    pub container_id: ContainerId,
    /// The exit code of its pid 1; `None` when a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended its pid 1, if one did.
    pub signal: Option<i32>,
    /// How many of the container's processes the kernel killed for memory; `None` when the
    /// kernel does not tell. v1: `oom_kill` of `memory.oom_control`; v2: of `memory.events`.
    pub oom_kills: Option<u64>,
    /// The most memory the container used, in bytes; `None` when the kernel does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// The CPU time of all its processes, in microseconds; `None` when the kernel does not tell.
    pub cpu_micros: Option<u64>,
    /// When the launch began, in milliseconds since the epoch.
    pub launched_millis: u64,
    /// When its pid 1 had ended, in milliseconds since the epoch.
    pub ended_millis: u64,
}

impl ExitRecord {
    /// Reads a record. An empty file is a container that has not ended: ask before parsing.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] when the bytes are not a record of this version.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        document::read(bytes)
    }
}
