//! Whose memory ran out when the kernel killed a container's process: the container's own limit,
//! one of a cgroup above it, or the host's.
//!
//! # References
//!
//! `cgroups(7)`; the kernel's `admin-guide/cgroup-v2.rst`, "memory.events.local";
//! `admin-guide/cgroup-v1/memory.rst`, "failcnt"

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
    pub(crate) fn out_of(self, hierarchies: &Hierarchies, cgroup: &CgroupPath) -> OutOf {
        if hits(hierarchies, cgroup).is_some_and(|hits| hits > 0) {
            OutOf::Container
        } else if Self::now(hierarchies, cgroup).0 > self.0 {
            OutOf::Parent
        } else {
            OutOf::Host
        }
    }
}

/// How often a cgroup has reached its own limit; `None` when that cannot be told.
fn hits(hierarchies: &Hierarchies, cgroup: &CgroupPath) -> Option<u64> {
    let memory = hierarchies.memory()?;
    let directory = memory.directory(cgroup)?;
    match memory.version {
        CgroupVersion::V1 => read(&directory, "memory.failcnt")?.trim().parse().ok(),
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
        for (mountinfo, below, file, text) in
            [(V2, ".", "memory.events.local", v2), (HYBRID, "memory", "memory.failcnt", "HITS\n")]
        {
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
            let out_of = || before.out_of(&hierarchies, &cgroup);
            assert_eq!(out_of(), OutOf::Host);
            fs::write(&above, text(4)).unwrap();
            assert_eq!(out_of(), OutOf::Parent);
            fs::write(&own, text(1)).unwrap();
            assert_eq!(out_of(), OutOf::Container);
            fs::remove_file(&own).unwrap();
            assert_eq!(out_of(), OutOf::Parent);
        }
    }
}
