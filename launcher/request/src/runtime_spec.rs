//! The `config.json` of a container: what runc gets.
//!
//! Everything here is a constant of ours, comes from the launcher, or is one of the request's
//! checked values. The request's own JSON never reaches runc.
//!
//! # References
//!
//! OCI runtime specification, `config.md` and `config-linux.md`

use serde::Serialize;
use serde_json::{Value, json};

use crate::ids::HostPath;
use crate::request::{LaunchRequest, RuntimeConfig};

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
    /// The directory with the clones of the mounts' sources, each named by its mount's number from
    /// 0 on, and, under the next number, of the launcher's init.
    pub binds: &'a HostPath,
    /// Limits of the first process; what is not named is inherited from runc.
    pub rlimits: &'a [Rlimit],
    /// Whether runc can restrict a mount and all below it in one: since Linux 5.12.
    pub recursive_options: bool,
}

/// A resource limit.
///
/// # References
///
/// `getrlimit(2)`; OCI runtime specification, `config.md`, "POSIX process"
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Rlimit {
    /// What is limited, such as `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub resource: &'static str,
    /// The hard limit; `u64::MAX` is none.
    pub hard: u64,
    /// The soft limit; `u64::MAX` is none.
    pub soft: u64,
}

/// The mounts every container has, in this order: type, destination, source and options.
const LAUNCHER_MOUNTS: [(&str, &str, &str, &[&str]); 7] = [
    ("proc", "/proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("tmpfs", "/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (
        "devpts",
        "/dev/pts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("tmpfs", "/dev/shm", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("mqueue", "/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("sysfs", "/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("cgroup", "/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
];

/// Where the container has the launcher's init: in a directory that is the launcher's, so that no
/// image and no request has anything there.
const INIT: &str = "/dev/storm-oci-init";

/// The configuration of the request's container.
#[must_use]
pub fn runtime_spec(request: &LaunchRequest, inputs: &SpecInputs<'_>) -> Value {
    let RuntimeConfig { mounts, process, linux } = &request.oci_runtime_config;
    let fixed = LAUNCHER_MOUNTS.iter().map(|(kind, destination, source, options)| {
        json!({"type": kind, "destination": destination, "source": source, "options": options})
    });
    let recursive = inputs.recursive_options;
    let clone = |index| inputs.binds.numbered(index);
    let init = request.init.then(|| bind(&INIT, &clone(mounts.len()), true, recursive));
    let binds = mounts
        .iter()
        .enumerate()
        .map(|(index, mount)| bind(&mount.destination, &clone(index), mount.read_only, recursive));
    let first = request.init.then_some(INIT);
    let arguments = first.into_iter().chain(process.args.iter().map(String::as_str));
    let limits = linux.resources.as_ref();
    without_nulls(json!({
        "ociVersion": "1.0.0",
        "hostname": inputs.hostname,
        // The launcher has mounted it read-only already. Told to do so as well, runc would mount
        // it anew without `nosuid` and `nodev`.
        "root": {"path": inputs.rootfs, "readonly": false},
        "process": {
            "args": arguments.collect::<Vec<&str>>(),
            "cwd": process.cwd,
            "env": process.env,
            "noNewPrivileges": true,
            // All five, empty: a missing object would leave the bounding set to the runtime.
            "capabilities": {
                "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [],
            },
            "rlimits": not_empty(inputs.rlimits),
            "user": {
                "uid": inputs.uid,
                "gid": inputs.gid,
                "additionalGids": not_empty(inputs.additional_gids),
            },
        },
        "mounts": fixed.chain(init).chain(binds).collect::<Vec<Value>>(),
        "linux": {
            "cgroupsPath": linux.cgroups_path,
            "resources": {
                // Denies every device; runc then allows its default ones (`null`, `zero`,
                // `urandom` and so on).
                "devices": [{"access": "rwm", "allow": false}],
                "cpu": limits.map(|limits| &limits.cpu),
                "memory": limits.map(|limits| &limits.memory),
                "blockIO": limits.map(|limits| &limits.block_io),
                "pids": limits.map(|limits| &limits.pids),
                "unified": limits.map(|limits| &limits.unified),
            },
            "seccomp": linux.seccomp,
            // The network is the host's: workers talk to each other on the host's ports.
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": [
                "/proc/kcore", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
            ],
            "readonlyPaths": [
                "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                "/proc/sysrq-trigger",
            ],
        },
    }))
}

fn not_empty<T>(items: &[T]) -> Option<&[T]> {
    (!items.is_empty()).then_some(items)
}

/// The document without the keys whose value is `null`, which the specification's schema does not allow.
fn without_nulls(mut document: Value) -> Value {
    if let Some(fields) = document.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(|value| *value = without_nulls(value.take()));
    }
    document
}

/// A bind mount of a source's clone.
///
/// No set-user-ID programs, no devices, and read-only each hold for the mounts below it too: plain
/// `ro` leaves those writable. The recursive forms also keep what the source has beyond them, such
/// as the host's `noexec`, which a remount with the plain forms would clear. Without them runc only
/// binds the clone, which the launcher has restricted already.
fn bind(destination: &impl Serialize, clone: &HostPath, read_only: bool, recursive: bool) -> Value {
    let options = if recursive {
        let access = if read_only { "rro" } else { "rw" };
        json!([access, "rbind", "rprivate", "rnosuid", "rnodev"])
    } else {
        json!(["rbind", "rprivate"])
    };
    json!({
        "type": "bind",
        "destination": destination,
        "source": clone,
        "options": options,
    })
}
