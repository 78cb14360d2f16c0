//! The limits that hold for a container, read back from its cgroup: a file that silently kept
//! another value must not pass for what was asked for.
//!
//! # References
//!
//! The kernel's `admin-guide/cgroup-v1/` and `admin-guide/cgroup-v2.rst`

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use storm_oci_request::{Bounded, CgroupPath, CgroupVersion, FileSwitch, Resources};

use crate::hierarchy::Hierarchies;

/// Bytes of a MiB.
const MIB: u64 = 1024 * 1024;

/// The largest page size of the machines Storm runs on: the kernel rounds bytes to pages.
const PAGE: u64 = 64 * 1024;

/// The limits of one container; `None` is no limit, or one that this host has no file for.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limits {
    memory_bytes: Option<u64>,
    /// From where on the kernel slows the container down.
    memory_high_bytes: Option<u64>,
    /// Swap beside the memory.
    swap_bytes: Option<u64>,
    /// Whether all processes are killed for one that is killed for memory.
    oom_group: Option<bool>,
    /// Percent of one core.
    cpu_percent: Option<u64>,
    /// The processors and memory nodes that it may use, as the kernel lists them.
    cpus: Option<String>,
    memory_nodes: Option<String>,
    /// Processes and threads.
    pids: Option<u64>,
}

impl Limits {
    /// What holds for a cgroup.
    pub(crate) fn of(hierarchies: &Hierarchies, cgroup: &CgroupPath) -> Self {
        let directory = |controller| {
            let hierarchy = hierarchies.controller(controller)?;
            Some(Files { version: hierarchy.version, directory: hierarchy.directory(cgroup)? })
        };
        let (memory, cpu) = (directory("memory"), directory("cpu"));
        let (cpuset, pids) = (directory("cpuset"), directory("pids"));
        let memory_bytes =
            memory.as_ref().and_then(|files| files.number("memory.limit_in_bytes", "memory.max"));
        // On version 1 it is memory and swap together.
        let swap = |files: &Files| match files.version {
            CgroupVersion::V1 => {
                files.number("memory.memsw.limit_in_bytes", "")?.checked_sub(memory_bytes?)
            }
            CgroupVersion::V2 => files.number("", "memory.swap.max"),
        };
        let list = |v1, v2| cpuset.as_ref()?.text(v1, v2).filter(|list| !list.is_empty());
        Self {
            memory_bytes,
            memory_high_bytes: memory.as_ref().and_then(|files| files.number("", "memory.high")),
            swap_bytes: memory.as_ref().and_then(swap),
            oom_group: memory
                .as_ref()
                .and_then(|files| files.text("", "memory.oom.group"))
                .map(|text| text == "1"),
            cpu_percent: cpu.as_ref().and_then(Files::cpu_percent),
            cpus: list("cpuset.cpus", "cpuset.cpus.effective"),
            memory_nodes: list("cpuset.mems", "cpuset.mems.effective"),
            pids: pids.and_then(|files| files.number("pids.max", "pids.max")),
        }
    }

    /// What a launch request asks for.
    pub(crate) fn asked(resources: &Resources) -> Self {
        let cpu = resources.cpu.as_ref();
        let memory = resources.memory.as_ref();
        let unified = resources.unified.as_ref();
        let limit = memory.and_then(|memory| at_least_one(memory.limit?));
        let both = memory.and_then(|memory| at_least_one(memory.swap?));
        let high = unified.and_then(|unified| unified.memory_high.as_ref());
        Self {
            memory_bytes: limit,
            memory_high_bytes: high.and_then(|bytes| bytes.as_str().parse().ok()),
            swap_bytes: both.zip(limit).and_then(|(both, limit)| both.checked_sub(limit)),
            oom_group: unified
                .and_then(|unified| unified.memory_oom_group)
                .map(|switch| switch == FileSwitch::On),
            cpu_percent: cpu
                .and_then(|cpu| percent(at_least_one(cpu.quota?)?, at_least_one(cpu.period?)?)),
            cpus: cpu.and_then(|cpu| cpu.cpus.as_ref()).map(ToString::to_string),
            memory_nodes: cpu.and_then(|cpu| cpu.mems.as_ref()).map(ToString::to_string),
            pids: resources.pids.and_then(|pids| at_least_one(pids.limit)),
        }
    }

    /// Each limit that is not as `asked`, with both values.
    pub(crate) fn differences(&self, asked: &Self) -> Vec<String> {
        let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes / PAGE);
        let mut differences = Vec::new();
        let mut compare = |what: &str, same: bool, found: Option<String>, asked: Option<String>| {
            if let Some(asked) = asked
                && !same
            {
                let found = found.unwrap_or_else(|| "not limited".to_owned());
                differences.push(format!("{what} is {found}, not the {asked} that was asked for"));
            }
        };
        for (what, found, asked) in [
            ("memory", self.memory_bytes, asked.memory_bytes),
            ("memory.high", self.memory_high_bytes, asked.memory_high_bytes),
            ("swap", self.swap_bytes, asked.swap_bytes),
        ] {
            let text = |number: Option<u64>| number.map(|bytes| format!("{bytes} bytes"));
            compare(what, bytes(found) == bytes(asked), text(found), text(asked));
        }
        for (what, found, asked) in [
            ("processor time in percent of a core", self.cpu_percent, asked.cpu_percent),
            ("the number of processes", self.pids, asked.pids),
        ] {
            let text = |number: Option<u64>| number.map(|number| number.to_string());
            compare(what, found == asked, text(found), text(asked));
        }
        for (what, found, asked) in [
            ("the list of processors", &self.cpus, &asked.cpus),
            ("the list of memory nodes", &self.memory_nodes, &asked.memory_nodes),
        ] {
            let same = found.as_deref().map(members) == asked.as_deref().map(members);
            compare(what, same, found.clone(), asked.clone());
        }
        let text = |switch: Option<bool>| switch.map(|switch| u8::from(switch).to_string());
        let same = self.oom_group == asked.oom_group;
        compare("memory.oom.group", same, text(self.oom_group), text(asked.oom_group));
        differences
    }
}

impl fmt::Display for Limits {
    /// `memory 896 MiB, cpu 140 %, 4096 processes`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unlimited = |text: Option<String>| text.unwrap_or_else(|| "unlimited".to_owned());
        let memory = unlimited(self.memory_bytes.map(|bytes| format!("{} MiB", bytes / MIB)));
        let cpu = unlimited(self.cpu_percent.map(|percent| format!("{percent} %")));
        let pids = unlimited(self.pids.map(|pids| pids.to_string()));
        write!(formatter, "memory {memory}, cpu {cpu}, processes {pids}")
    }
}

/// One cgroup's directory in the hierarchy of one controller.
struct Files {
    version: CgroupVersion,
    directory: PathBuf,
}

impl Files {
    /// What the file of this version says; none without a file.
    fn text(&self, v1: &str, v2: &str) -> Option<String> {
        let name = match self.version {
            CgroupVersion::V1 => v1,
            CgroupVersion::V2 => v2,
        };
        let text = fs::read_to_string(self.directory.join(name)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The limit in the file of this version; none for `max` and for version 1's largest number.
    fn number(&self, v1: &str, v2: &str) -> Option<u64> {
        /// Whole pages that a signed number can count.
        const UNLIMITED: u64 = 0x7fff_ffff_ffff_ffff / PAGE * PAGE;
        self.text(v1, v2)?.parse().ok().filter(|number| *number < UNLIMITED)
    }

    fn cpu_percent(&self) -> Option<u64> {
        let (quota, period) = match self.version {
            CgroupVersion::V1 => {
                (self.number("cpu.cfs_quota_us", "")?, self.number("cpu.cfs_period_us", "")?)
            }
            CgroupVersion::V2 => {
                let text = self.text("", "cpu.max")?;
                let (quota, period) = text.split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            }
        };
        percent(quota, period)
    }
}

fn percent(quota: u64, period: u64) -> Option<u64> {
    quota.checked_mul(100)?.checked_div(period)
}

fn at_least_one<const MIN: i64, const MAX: i64, const UNLIMITED: bool>(
    number: Bounded<MIN, MAX, UNLIMITED>,
) -> Option<u64> {
    u64::try_from(number.get()).ok().filter(|number| *number > 0)
}

/// The numbers of a list: `0-2,4` and `0,1,2,4` are the same.
fn members(list: &str) -> BTreeSet<u16> {
    let numbers = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(numbers).flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::hierarchy::tests::{HYBRID, UUID, V2, hierarchies};

    /// Reads limits of a cgroup whose files are these.
    fn limits(mountinfo: &str, files: &[(&str, &str)]) -> Limits {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        let cgroup = CgroupPath::parse(&format!("/storm/6700-{UUID}")).unwrap();
        for (path, text) in files {
            let (controller, name) = path.split_once('/').unwrap();
            let directory = root.path().join(Path::new(controller)).join(cgroup.relative());
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(name), text).unwrap();
        }
        Limits::of(&hierarchies(mountinfo, root.path()), &cgroup)
    }

    fn asked() -> Limits {
        let resources = json!({
            "cpu": {"quota": 140_000, "period": 100_000, "cpus": "0,1,2,4", "mems": "0"},
            "memory": {"limit": 1_000_000_000, "swap": 1_100_000_000},
            "pids": {"limit": 4096},
            "unified": {"memory.high": "900000000", "memory.oom.group": "1"},
        });
        Limits::asked(&serde_json::from_value(resources).unwrap())
    }

    #[test]
    fn limits_of_version_1() {
        let found = limits(
            HYBRID,
            &[
                ("memory/memory.limit_in_bytes", "999997440\n"),
                ("memory/memory.memsw.limit_in_bytes", "1099997184\n"),
                ("cpu/cpu.cfs_quota_us", "140000\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
            ],
        );
        assert_eq!(found.to_string(), "memory 953 MiB, cpu 140 %, processes unlimited");
        let asked = Limits { memory_high_bytes: None, oom_group: None, ..asked() };
        assert_eq!(
            found.differences(&asked),
            [
                "the number of processes is not limited, not the 4096 that was asked for",
                "the list of processors is not limited, not the 0,1,2,4 that was asked for",
                "the list of memory nodes is not limited, not the 0 that was asked for",
            ]
        );
        let unlimited = limits(
            HYBRID,
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/memory.memsw.limit_in_bytes", "9223372036854771712\n"),
                ("cpu/cpu.cfs_quota_us", "-1\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
            ],
        );
        assert_eq!(unlimited, Limits::default());
    }

    #[test]
    fn limits_of_version_2() {
        let mut files = [
            ("./memory.max", "999997440\n"),
            ("./memory.high", "899997696\n"),
            ("./memory.swap.max", "99999744\n"),
            ("./memory.oom.group", "1\n"),
            ("./cpu.max", "140000 100000\n"),
            ("./cpuset.cpus.effective", "0-2,4\n"),
            ("./cpuset.mems.effective", "0\n"),
            ("./pids.max", "4096\n"),
        ];
        let found = limits(V2, &files);
        assert_eq!(found.differences(&asked()), Vec::<String>::new());
        assert_eq!(found.to_string(), "memory 953 MiB, cpu 140 %, processes 4096");
        let document = serde_json::to_value(&found).unwrap();
        assert_eq!(document["memoryHighBytes"], 899_997_696);
        for (_, text) in &mut files {
            *text = "max\n";
        }
        files[3].1 = "0\n";
        let found = limits(V2, &files);
        let differences = found.differences(&asked());
        assert_eq!(differences.len(), 8, "{differences:?}");
        assert_eq!(
            differences.last().unwrap(),
            "memory.oom.group is 0, not the 1 that was asked for"
        );
        assert_eq!(found.differences(&Limits::default()), Vec::<String>::new());
    }
}
