//! The container's mounts: the fixed ones, then the request's.

use serde::Serialize;

use crate::ids::HostPath;
use crate::request::BindMount;

/// A mount as runc gets it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Mount {
    source: String,
    destination: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    options: &'static [&'static str],
}

/// A mount that every container has.
#[derive(Clone, Copy, Debug)]
pub(super) struct FixedMount {
    source: &'static str,
    destination: &'static str,
    kind: &'static str,
    options: &'static [&'static str],
}

/// The mounts every container has, in this order.
pub(super) const LAUNCHER_MOUNTS: [FixedMount; 7] = [
    FixedMount {
        source: "proc",
        destination: "/proc",
        kind: "proc",
        options: &["nosuid", "noexec", "nodev"],
    },
    FixedMount {
        source: "tmpfs",
        destination: "/dev",
        kind: "tmpfs",
        options: &["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    FixedMount {
        source: "devpts",
        destination: "/dev/pts",
        kind: "devpts",
        options: &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    FixedMount {
        source: "shm",
        destination: "/dev/shm",
        kind: "tmpfs",
        options: &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    FixedMount {
        source: "mqueue",
        destination: "/dev/mqueue",
        kind: "mqueue",
        options: &["nosuid", "noexec", "nodev"],
    },
    FixedMount {
        source: "sysfs",
        destination: "/sys",
        kind: "sysfs",
        options: &["nosuid", "noexec", "nodev", "ro"],
    },
    FixedMount {
        source: "cgroup",
        destination: "/sys/fs/cgroup",
        kind: "cgroup",
        options: &["nosuid", "noexec", "nodev", "relatime", "ro"],
    },
];

/// Read-only, no set-user-ID programs, no devices, each for the mounts below it too: plain `ro`
/// leaves those writable. The recursive forms also keep what the source has beyond them, such as
/// the host's `noexec`, which a remount with the plain forms would clear.
const READ_ONLY: &[&str] = &["rro", "rbind", "rprivate", "rnosuid", "rnodev"];

/// As [`READ_ONLY`], but writable where the source is.
const READ_WRITE: &[&str] = &["rw", "rbind", "rprivate", "rnosuid", "rnodev"];

impl Mount {
    pub(super) fn fixed(mount: &FixedMount) -> Self {
        Self {
            source: mount.source.to_owned(),
            destination: mount.destination.to_owned(),
            kind: mount.kind,
            options: mount.options,
        }
    }

    /// The request's mount, with its source's clone in place of the source.
    pub(super) fn bind(mount: &BindMount, clone: HostPath) -> Self {
        Self {
            source: clone.into(),
            destination: mount.destination.as_str().to_owned(),
            kind: "bind",
            options: if mount.read_only { READ_ONLY } else { READ_WRITE },
        }
    }
}
