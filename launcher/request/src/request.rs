//! The launch request: the `oci-config.json` that the supervisor's library writes and root reads.
//!
//! The JSON is Storm's own, key by key; `serde_json::to_vec` writes it. A value made by [`LaunchRequest::parse`] has passed every
//! check that needs neither the machine nor the launcher's configuration.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::document::{self, Bounded, DocumentError, present};
use crate::ids::{AccountName, CgroupPath, ContainerId, HostPath};
use crate::resources::Resources;
use crate::seccomp::Seccomp;

/// The most distinct layers one root file system may have: what Docker allows, and what the
/// kernel's overlay file system mounts with room to spare.
pub const MAX_LAYERS: usize = 127;

/// The format of the request. Storm has had one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum RequestVersion {
    /// `0.1`.
    #[serde(rename = "0.1")]
    V0_1,
}

/// One container to launch.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LaunchRequest {
    /// The request's format.
    pub version: RequestVersion,
    /// The account the container runs as.
    pub username: AccountName,
    /// The container.
    pub container_id: ContainerId,
    /// Where the pid of the container's first process is written, for people and old tools:
    /// `<worker directory>/artifacts/container-<worker id>.pid`.
    pub pid_file: HostPath,
    /// The script that starts the worker: `<worker directory>/storm-worker-script.sh`.
    pub container_script_path: HostPath,
    /// The image's layers, lowest first.
    pub layers: Vec<RequestLayer>,
    /// How many unused layers stay mounted when the container is reaped.
    pub reap_layer_keep_count: u32,
    /// Whether the launcher's own init is the container's first process and starts the program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// What goes into the container's own configuration.
    pub oci_runtime_config: RuntimeConfig,
}

/// One layer of the image.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RequestLayer {
    /// The file system in the file.
    pub media_type: LayerMediaType,
    /// The localized file.
    pub path: HostPath,
}

/// The file systems a layer may be.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum LayerMediaType {
    /// squashfs, as Storm's layers are.
    #[serde(rename = "application/vnd.squashfs")]
    Squashfs,
    /// EROFS.
    #[serde(rename = "application/vnd.erofs.layer.v1")]
    Erofs,
}

/// The part of the container's configuration that the request decides.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    /// Directories and files of the host, in the order they are mounted. A later mount at the
    /// same destination covers an earlier one.
    #[serde(default)]
    pub mounts: Vec<BindMount>,
    /// The container's first process.
    pub process: Process,
    /// cgroup, limits and system call filter.
    pub linux: LinuxSettings,
}

/// A file or directory of the host, shown in the container: always recursive and private.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "MountDocument", into = "MountDocument")]
pub struct BindMount {
    /// Where the container sees it.
    pub destination: HostPath,
    /// Where it is on the host.
    pub source: HostPath,
    /// Whether the container cannot write it, mounts below it included.
    pub read_only: bool,
}

/// A mount as the request writes it.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct MountDocument {
    destination: HostPath,
    #[serde(rename = "type")]
    kind: MountKind,
    source: HostPath,
    options: Vec<MountOption>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum MountKind {
    Bind,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum MountOption {
    Ro,
    Rw,
    Rbind,
    Rprivate,
}

impl TryFrom<MountDocument> for BindMount {
    type Error = String;

    fn try_from(mount: MountDocument) -> Result<Self, Self::Error> {
        let MountDocument { destination, kind: MountKind::Bind, source, options } = mount;
        let read_only = options.contains(&MountOption::Ro);
        if options.contains(&MountOption::Rbind)
            && options.contains(&MountOption::Rprivate)
            && options.contains(&MountOption::Rw) != read_only
        {
            return Ok(Self { destination, source, read_only });
        }
        Err(format!("mount at `{destination}` needs `rbind`, `rprivate` and one of `ro` and `rw`"))
    }
}

impl From<BindMount> for MountDocument {
    fn from(mount: BindMount) -> Self {
        let access = if mount.read_only { MountOption::Ro } else { MountOption::Rw };
        Self {
            destination: mount.destination,
            kind: MountKind::Bind,
            source: mount.source,
            options: vec![access, MountOption::Rbind, MountOption::Rprivate],
        }
    }
}

/// The container's first process.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its working directory.
    pub cwd: HostPath,
    /// `NAME=value` entries; of equal names the last one counts.
    pub env: Vec<String>,
    /// The program, looked up in the image's `PATH`, and its arguments.
    pub args: Vec<String>,
}

/// cgroup, limits and system call filter.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LinuxSettings {
    /// `<cgroup parent>/<container id>`; see [`LaunchRequest::check_cgroup`].
    pub cgroups_path: CgroupPath,
    /// Limits; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub resources: Option<Resources>,
    /// The system call filter; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub seccomp: Option<Seccomp>,
}

impl LaunchRequest {
    /// Reads and checks a request.
    ///
    /// Whether the cgroup is the container's own is asked by [`LaunchRequest::check_cgroup`],
    /// which needs the launcher's configuration.
    ///
    /// # Errors
    ///
    /// [`DocumentError`]; the first thing that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let request: Self = document::read(bytes)?;
        request.check()?;
        Ok(request)
    }

    /// Checks what no single value shows. [`LaunchRequest::parse`] has done so already; who
    /// composes a request learns here what the launcher would refuse.
    ///
    /// # Errors
    ///
    /// [`DocumentError`]; the first thing that is wrong.
    pub fn check(&self) -> Result<(), DocumentError> {
        /// What the launcher mounts itself: nothing may cover these or lie below them.
        const MOUNTED_BY_LAUNCHER: [&str; 3] = ["proc", "dev", "sys"];
        /// Where Storm shows the host's cgroups: the one exception below `/sys`, to read only.
        const CGROUP_ROOT: &str = "/sys/fs/cgroup";

        let worker = self.container_id.worker_id();
        let (file, expected) = (&self.pid_file, format!("container-{worker}.pid"));
        let named_so = file.components().next_back() == Some(&expected);
        require("pidFile", named_so, format_args!("`{file}` is not named `{expected}`"))?;
        let script = &self.container_script_path;
        let of_worker = script.components().nth_back(1) == Some(worker.as_str());
        let problem = format_args!("`{script}` is not in a directory named `{worker}`");
        require("containerScriptPath", of_worker, problem)?;

        let layers: BTreeSet<&HostPath> = self.layers.iter().map(|layer| &layer.path).collect();
        let (found, fits) = (layers.len(), (1..=MAX_LAYERS).contains(&layers.len()));
        require("layers", fits, format_args!("{found} distinct ones, not 1 to {MAX_LAYERS}"))?;

        let RuntimeConfig { mounts, process, linux } = &self.oci_runtime_config;
        for BindMount { destination, read_only, .. } in mounts {
            let first = destination.components().next();
            let free = first.is_some_and(|first| !MOUNTED_BY_LAUNCHER.contains(&first));
            let cgroups = destination.as_str() == CGROUP_ROOT && *read_only;
            let problem = format_args!(
                "nothing may be mounted at `{destination}`: `/` and all in `/proc`, `/dev` and \
                 `/sys` are the launcher's, except `{CGROUP_ROOT}` with `ro`"
            );
            require("ociRuntimeConfig.mounts", free || cgroups, problem)?;
        }
        // The texts may be secrets: only their places are told.
        for (index, entry) in process.env.iter().enumerate() {
            let named = entry.split_once('=').is_some_and(|(name, _)| !name.is_empty());
            let problem = format_args!("entry {index} is not `NAME=value` without NUL characters");
            require("ociRuntimeConfig.process.env", named && !entry.contains('\0'), problem)?;
        }
        let key = "ociRuntimeConfig.process.args";
        let program = process.args.first().is_some_and(|program| !program.is_empty());
        require(key, program, format_args!("the first one, the program, is missing or empty"))?;
        let nul = process.args.iter().position(|argument| argument.contains('\0'));
        let index = nul.unwrap_or_default();
        require(key, nul.is_none(), format_args!("entry {index} has a NUL character"))?;

        let memory = linux.resources.as_ref().and_then(|resources| resources.memory.as_ref());
        let swap = memory.and_then(|memory| memory.swap).map_or(-1, Bounded::get);
        let limit = memory.and_then(|memory| memory.limit).map_or(-1, Bounded::get);
        let covered = swap == -1 || (1..=swap).contains(&limit);
        let problem = format_args!("needs a `limit` that is at most as much");
        require("ociRuntimeConfig.linux.resources.memory.swap", covered, problem)
    }

    /// Checks that the cgroup is `<parent>/<container id>` and no other.
    ///
    /// # Errors
    ///
    /// [`DocumentError`].
    pub fn check_cgroup(&self, parent: &CgroupPath) -> Result<(), DocumentError> {
        let expected = CgroupPath::of(parent, &self.container_id);
        let found = &self.oci_runtime_config.linux.cgroups_path;
        let problem = format_args!("`{found}` is not `{expected}`");
        require("ociRuntimeConfig.linux.cgroupsPath", *found == expected, problem)
    }
}

fn require(key: &str, holds: bool, problem: fmt::Arguments<'_>) -> Result<(), DocumentError> {
    if holds { Ok(()) } else { Err(DocumentError::rule(key, problem)) }
}
