//! The launch request: the `oci-config.json` that the supervisor's library writes and root reads.
//!
//! The JSON is Storm's own, key by key. A value made by [`LaunchRequest::parse`] has passed every
//! check that needs neither the machine nor the launcher's configuration.

mod check;
mod read;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::ids::{AccountName, CgroupPath, ContainerId, HostPath};
use crate::resources::Resources;
use crate::seccomp::Seccomp;

pub use check::MAX_LAYERS;
pub use read::MAX_REQUEST_BYTES;
pub(crate) use read::shown;

/// The format of the request. Storm has had one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum RequestVersion {
    /// `0.1`.
    #[serde(rename = "0.1")]
    V0_1,
}

/// One container to launch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
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
    /// What goes into the container's own configuration.
    pub oci_runtime_config: RuntimeConfig,
}

/// One layer of the image.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestLayer {
    /// The file system in the file.
    pub media_type: LayerMediaType,
    /// The localized file.
    pub path: HostPath,
}

/// The file systems a layer may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum LayerMediaType {
    /// squashfs, as Storm's layers are.
    #[serde(rename = "application/vnd.squashfs")]
    Squashfs,
    /// EROFS.
    #[serde(rename = "application/vnd.erofs.layer.v1")]
    Erofs,
}

/// The part of the container's configuration that the request decides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuntimeConfig {
    /// Directories and files of the host, in the order they are mounted. A later mount at the
    /// same destination covers an earlier one.
    pub mounts: Vec<BindMount>,
    /// The container's first process.
    pub process: Process,
    /// cgroup, limits and system call filter.
    pub linux: LinuxSettings,
}

/// A file or directory of the host, shown in the container: always recursive and private.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BindMount {
    /// Where the container sees it.
    pub destination: HostPath,
    /// Where it is on the host.
    pub source: HostPath,
    /// Whether the container cannot write it, mounts below it included.
    pub read_only: bool,
}

impl Serialize for BindMount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let access = if self.read_only { "ro" } else { "rw" };
        let mut mount = serializer.serialize_struct("BindMount", 4)?;
        mount.serialize_field("destination", &self.destination)?;
        mount.serialize_field("type", "bind")?;
        mount.serialize_field("source", &self.source)?;
        mount.serialize_field("options", &[access, "rbind", "rprivate"])?;
        mount.end()
    }
}

/// The container's first process.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Process {
    /// Its working directory.
    pub cwd: HostPath,
    /// `NAME=value` entries; of equal names the last one counts.
    pub env: Vec<String>,
    /// The program, looked up in the image's `PATH`, and its arguments.
    pub args: Vec<String>,
}

/// cgroup, limits and system call filter.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxSettings {
    /// `<cgroup parent>/<container id>`; see [`LaunchRequest::check_cgroup`].
    pub cgroups_path: CgroupPath,
    /// Limits; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The system call filter; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
}

impl LaunchRequest {
    /// The request as `oci-config.json` holds it.
    ///
    /// # Errors
    ///
    /// None of the request's values can fail to be written; the error is `serde_json`'s.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}
