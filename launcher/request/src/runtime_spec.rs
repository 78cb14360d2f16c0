//! The `config.json` of a container: what runc gets.
//!
//! Everything here is a constant of ours, comes from the launcher, or is one of the request's
//! checked values. The request's own JSON never reaches runc.
//!
//! # References
//!
//! OCI runtime specification, `config.md` and `config-linux.md`

use serde::Serialize;

use crate::ids::{CgroupPath, HostPath};
use crate::request::{BindMount, LaunchRequest};
use crate::resources::Resources;
use crate::rlimit::Rlimit;
use crate::seccomp::Seccomp;

mod mounts;

use mounts::{LAUNCHER_MOUNTS, Mount};

/// What the launcher adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct SpecInputs<'a> {
    /// The uid of the request's account.
    pub uid: u32,
    /// Its primary gid.
    pub gid: u32,
    /// Its other groups.
    pub additional_gids: &'a [u32],
    /// The container's host name.
    pub hostname: &'a str,
    /// The mounted root file system.
    pub rootfs: &'a HostPath,
    /// The directory with the cloned bind sources: see [`bind_source`].
    pub binds: &'a HostPath,
    /// Limits of the first process; what is not named is inherited from runc.
    pub rlimits: &'a [Rlimit],
}

/// Where the clone of the request's mount number `index`, counted from 0, lies below `binds`.
#[must_use]
pub fn bind_source(binds: &HostPath, index: usize) -> HostPath {
    binds.numbered(index)
}

/// A container's configuration.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeSpec<'a> {
    oci_version: &'static str,
    hostname: &'a str,
    root: Root<'a>,
    process: SpecProcess<'a>,
    mounts: Vec<Mount>,
    linux: Linux<'a>,
}

#[derive(Clone, Debug, Serialize)]
struct Root<'a> {
    path: &'a HostPath,
    readonly: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpecProcess<'a> {
    args: &'a [String],
    cwd: &'a HostPath,
    env: &'a [String],
    no_new_privileges: bool,
    capabilities: NoCapabilities,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    rlimits: &'a [Rlimit],
    user: User<'a>,
}

/// All five sets, empty. A missing object would leave the bounding set to the runtime.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct NoCapabilities {
    bounding: [&'static str; 0],
    effective: [&'static str; 0],
    inheritable: [&'static str; 0],
    permitted: [&'static str; 0],
    ambient: [&'static str; 0],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct User<'a> {
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    additional_gids: &'a [u32],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux<'a> {
    cgroups_path: &'a CgroupPath,
    resources: SpecResources<'a>,
    namespaces: [Namespace; 4],
    masked_paths: [&'static str; 7],
    readonly_paths: [&'static str; 6],
    #[serde(skip_serializing_if = "Option::is_none")]
    seccomp: Option<&'a Seccomp>,
}

#[derive(Clone, Debug, Serialize)]
struct SpecResources<'a> {
    devices: [DeviceRule; 1],
    #[serde(flatten)]
    limits: Option<&'a Resources>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct DeviceRule {
    access: &'static str,
    allow: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: &'static str,
}

/// Denies every device; runc then allows its default ones (`null`, `zero`, `urandom` and so on).
const NO_DEVICES: DeviceRule = DeviceRule { access: "rwm", allow: false };

/// The network is the host's: workers talk to each other on the host's ports.
const NAMESPACES: [Namespace; 4] = [
    Namespace { kind: "pid" },
    Namespace { kind: "ipc" },
    Namespace { kind: "uts" },
    Namespace { kind: "mount" },
];

const MASKED_PATHS: [&str; 7] = [
    "/proc/kcore",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

const READONLY_PATHS: [&str; 6] =
    ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

impl<'a> RuntimeSpec<'a> {
    /// Composes the configuration of the request's container.
    #[must_use]
    pub fn compose(request: &'a LaunchRequest, inputs: &SpecInputs<'a>) -> Self {
        let config = &request.oci_runtime_config;
        let bind = |(index, mount): (usize, &BindMount)| {
            Mount::bind(mount, bind_source(inputs.binds, index))
        };
        Self {
            oci_version: "1.0.0",
            hostname: inputs.hostname,
            root: Root {
                path: inputs.rootfs,
                // The launcher has mounted it read-only already. Told to do so as well, runc would
                // mount it anew without `nosuid` and `nodev`.
                readonly: false,
            },
            process: SpecProcess {
                args: &config.process.args,
                cwd: &config.process.cwd,
                env: &config.process.env,
                no_new_privileges: true,
                capabilities: NoCapabilities::default(),
                rlimits: inputs.rlimits,
                user: User {
                    uid: inputs.uid,
                    gid: inputs.gid,
                    additional_gids: inputs.additional_gids,
                },
            },
            mounts: LAUNCHER_MOUNTS
                .iter()
                .map(Mount::fixed)
                .chain(config.mounts.iter().enumerate().map(bind))
                .collect(),
            linux: Linux {
                cgroups_path: &config.linux.cgroups_path,
                resources: SpecResources {
                    devices: [NO_DEVICES],
                    limits: config.linux.resources.as_ref(),
                },
                namespaces: NAMESPACES,
                masked_paths: MASKED_PATHS,
                readonly_paths: READONLY_PATHS,
                seccomp: config.linux.seccomp.as_ref(),
            },
        }
    }

    /// The configuration as `config.json` holds it.
    ///
    /// # Errors
    ///
    /// None of its values can fail to be written; the error is `serde_json`'s.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}
