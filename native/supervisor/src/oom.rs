//! Whose memory ran out when the kernel killed a container's process: the container's own limit,
//! one of a cgroup above it, or the host's.
//!
//! # References
//!
//! `cgroups(7)`; the kernel's `admin-guide/cgroup-v2.rst`, "memory.events.local";
//! `admin-guide/cgroup-v1/memory.rst`, "failcnt"

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;
use storm_oci_request::{CgroupPath, CgroupVersion};

use crate::hierarchy::{Hierarchies, ancestors};

/// Whose memory ran out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum OutOf {
    /// The container reached its own limit.
    Container,
    /// A cgroup above the container reached its limit: all workers' together, for one.
    Parent,
    /// The host had none left.
    Host,
}

/// Whose memory ran out, and what its limit was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Shortage {
    pub(crate) of: OutOf,
    /// The container's own limit, where it is that and can still be told.
    pub(crate) limit_bytes: Option<u64>,
}

impl fmt::Display for Shortage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Bytes of a MiB.
        const MIB: u64 = 1024 * 1024;
        match (self.of, self.limit_bytes) {
            (OutOf::Container, Some(bytes)) => {
                write!(formatter, "for its own limit of {} MiB", bytes / MIB)
            }
            (OutOf::Container, None) => formatter.write_str("for its own limit"),
            (OutOf::Parent, _) => formatter.write_str("for the limit of a cgroup above it"),
            (OutOf::Host, _) => formatter.write_str("because the host had none left"),
        }
    }
}

/// How often each cgroup above a container had reached its limit when the container was first
/// looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HitsAbove(u64);

impl HitsAbove {
    pub(crate) fn now(hierarchies: &Hierarchies, cgroup: &CgroupPath) -> Self {
        let above = ancestors(cgroup).skip(1).filter_map(|above| hits(hierarchies, &above));
        Self(above.fold(0, u64::saturating_add))
    }

    /// Whose memory ran out since then, given that some did.
    pub(crate) fn shortage(self, hierarchies: &Hierarchies, cgroup: &CgroupPath) -> Shortage {
        if hits(hierarchies, cgroup).is_some_and(|hits| hits > 0) {
            Shortage { of: OutOf::Container, limit_bytes: limit(hierarchies, cgroup) }
        } else if Self::now(hierarchies, cgroup).0 > self.0 {
            Shortage { of: OutOf::Parent, limit_bytes: None }
        } else {
            Shortage { of: OutOf::Host, limit_bytes: None }
        }
    }
}

/// A cgroup's own limit; `None` when that cannot be told or there is none.
fn limit(hierarchies: &Hierarchies, cgroup: &CgroupPath) -> Option<u64> {
    let memory = hierarchies.memory()?;
    let name = match memory.version {
        CgroupVersion::V1 => "memory.limit_in_bytes",
        CgroupVersion::V2 => "memory.max",
    };
    read(&memory.directory(cgroup)?, name)?.trim().parse().ok()
}

/// How often a cgroup has reached its own limit; `None` when that cannot be told.
fn hits(hierarchies: &Hierarchies, cgroup: &CgroupPath) -> Option<u64> {
    let memory = hierarchies.memory()?;
    let directory = memory.directory(cgroup)?;
    match memory.version {
        CgroupVersion::V1 => {
            let count = |name| read(&directory, name)?.trim().parse::<u64>().ok();
            // The limit of memory and swap together comes first where it is no more than the other.
            let both = count("memory.memsw.failcnt").unwrap_or_default();
            Some(count("memory.failcnt")?.saturating_add(both))
        }
        CgroupVersion::V2 => {
            let events = read(&directory, "memory.events.local")?;
            let count = events.lines().find_map(|line| line.strip_prefix("oom "))?;
            count.trim().parse().ok()
        }
    }
}

fn read(directory: &Path, name: &str) -> Option<String> {
    fs::read_to_string(directory.join(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::tests::{HYBRID, UUID, V2, hierarchies};

    #[test]
    fn the_level_is_the_lowest_that_reached_its_limit() {
        let v2 = "low 0\nhigh 0\nmax 9\noom HITS\noom_kill 1\n";
        for (mountinfo, below, file, limit, text) in [
            (V2, ".", "memory.events.local", "memory.max", v2),
            (HYBRID, "memory", "memory.failcnt", "memory.limit_in_bytes", "HITS\n"),
        ] {
            let text = |hits: u64| text.replace("HITS", &hits.to_string());
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("cgroup.controllers"), "memory\n").unwrap();
            let cgroup = CgroupPath::parse(&format!("/storm/6700-{UUID}")).unwrap();
            let own = root.path().join(below).join(cgroup.relative());
            fs::create_dir_all(&own).unwrap();
            let (own, above) = (own.join(file), own.parent().unwrap().join(file));
            let hierarchies = hierarchies(mountinfo, root.path());
            fs::write(&own, text(0)).unwrap();
            fs::write(&above, text(3)).unwrap();
            let before = HitsAbove::now(&hierarchies, &cgroup);
            let shortage = || before.shortage(&hierarchies, &cgroup);
            let out_of = || shortage().of;
            assert_eq!(out_of(), OutOf::Host);
            fs::write(&above, text(4)).unwrap();
            assert_eq!(out_of(), OutOf::Parent);
            fs::write(&own, text(1)).unwrap();
            assert_eq!(out_of(), OutOf::Container);
            assert_eq!(shortage().limit_bytes, None);
            fs::write(own.with_file_name(limit), "4096\n").unwrap();
            assert_eq!(shortage().limit_bytes, Some(4096));
            fs::remove_file(&own).unwrap();
            assert_eq!(out_of(), OutOf::Parent);
        }
    }
}
