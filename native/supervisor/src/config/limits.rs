//! What the configuration says of workers' limits, beside what the scheduler grants each.

use storm_oci_request::CgroupVersion;
use tracing::warn;

use super::keys;
use super::reader::{Reader, number, whole};
use crate::hierarchy::Hierarchies;

/// Bytes of a MiB.
const MIB: i64 = 1024 * 1024;

/// Parts of one.
const MILLION: i64 = 1_000_000;

/// The limits of every worker.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct WorkerLimits {
    pub(crate) enforce_memory: bool,
    /// Percent of one core; takes the place of what the scheduler asks for.
    pub(crate) cpu_percent: Option<u64>,
    /// Processes and threads.
    pub(crate) pids: Option<i64>,
    /// Swap beside the memory limit.
    pub(crate) swap_bytes: Option<i64>,
    memory_high: Option<Ratio>,
    /// Whether all processes are killed for one that is killed for memory.
    pub(crate) oom_group: bool,
}

/// A part of something, in millionths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Ratio(i64);

impl WorkerLimits {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let megabytes: Option<u32> =
            reader.whole(keys::MEMORY_SWAP, "a whole number of MiB, 0 for no swap");
        let limits = Self {
            enforce_memory: reader.boolean(keys::MEMORY_ENFORCEMENT, false),
            cpu_percent: reader.positive(keys::CPU_LIMIT),
            pids: reader.count(keys::PIDS_LIMIT).map(|count| count.get().into()),
            swap_bytes: megabytes.map(|megabytes| i64::from(megabytes) * MIB),
            memory_high: read_ratio(reader),
            oom_group: reader.boolean(keys::OOM_GROUP, false),
        };
        if !limits.enforce_memory {
            for (key, is_set) in [
                (keys::MEMORY_SWAP, limits.swap_bytes.is_some()),
                (keys::MEMORY_HIGH, limits.memory_high.is_some()),
            ] {
                if is_set {
                    warn!(target: "storm_oci.config", "`{key}` is without effect: it goes by a worker's memory limit, which `{}` would set", keys::MEMORY_ENFORCEMENT);
                }
            }
        }
        limits
    }

    /// Drops what this host's kernel has no files for, and says so once: a launch would fail.
    pub(crate) fn fit(&mut self, hierarchies: &Hierarchies) {
        let Some(memory) = hierarchies.memory().filter(|each| each.version == CgroupVersion::V1)
        else {
            return;
        };
        if self.memory_high.take().is_some() {
            warn_of_version(keys::MEMORY_HIGH);
        }
        if std::mem::take(&mut self.oom_group) {
            warn_of_version(keys::OOM_GROUP);
        }
        let counts_swap = memory.mount_point.join("memory.memsw.limit_in_bytes").exists();
        if !counts_swap && self.swap_bytes.take().is_some() {
            warn!(target: "storm_oci.config", "`{}` is without effect: this host's kernel was started with `swapaccount=0`", keys::MEMORY_SWAP);
        }
    }

    /// From where on a worker with this memory limit is slowed down, in bytes.
    pub(crate) fn memory_high(&self, limit_bytes: i64) -> Option<i64> {
        let Ratio(part) = self.memory_high?;
        // Neither factor alone can be divided first: the result would be off by pages.
        let high = i128::from(limit_bytes) * i128::from(part) / i128::from(MILLION);
        i64::try_from(high).ok().filter(|high| *high > 0)
    }
}

fn warn_of_version(key: &str) {
    warn!(target: "storm_oci.config", "`{key}` is without effect: this host counts memory in cgroups of version 1, which have no such limit");
}

fn read_ratio(reader: &mut Reader<'_>) -> Option<Ratio> {
    let key = keys::MEMORY_HIGH;
    let value = reader.value(key)?;
    number(value)
        .and_then(|number| whole(number * 1e6))
        .filter(|part| (1..=MILLION).contains(part))
        .map(Ratio)
        .or_else(|| reader.wrong(key, value, "a number above 0 and up to 1"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::Settings;
    use crate::config::tests::{document, settings};
    use crate::error::SupervisorError;
    use crate::hierarchy::tests::{HYBRID, V2, hierarchies};

    fn limits(change: Value) -> WorkerLimits {
        settings(change).limits
    }

    #[test]
    fn no_limit_is_set_by_itself() {
        assert_eq!(limits(json!({})), WorkerLimits::default());
    }

    #[test]
    fn every_limit_is_read() {
        let found = limits(json!({
            keys::MEMORY_ENFORCEMENT: "true",
            keys::CPU_LIMIT: 150.5,
            keys::PIDS_LIMIT: 4096.0,
            keys::MEMORY_SWAP: "512",
            keys::MEMORY_HIGH: 0.9,
            keys::OOM_GROUP: true,
        }));
        assert!(found.enforce_memory && found.oom_group);
        assert_eq!((found.cpu_percent, found.pids), (Some(150), Some(4096)));
        assert_eq!(found.swap_bytes, Some(512 << 20));
        assert_eq!(found.memory_high(1_000_000_007), Some(900_000_006));
        assert_eq!(limits(json!({keys::MEMORY_SWAP: 0})).swap_bytes, Some(0));
    }

    #[test]
    fn the_part_of_a_limit_is_above_nothing_and_up_to_all() {
        for (value, part) in [(json!(1), 1024), (json!("0.5"), 512), (json!(0.000_977), 1)] {
            assert_eq!(limits(json!({keys::MEMORY_HIGH: value})).memory_high(1024), Some(part));
        }
        assert_eq!(limits(json!({keys::MEMORY_HIGH: 0.000_001})).memory_high(1024), None);
        let huge = limits(json!({keys::MEMORY_HIGH: 1})).memory_high(i64::MAX);
        assert_eq!(huge, Some(i64::MAX));
    }

    #[test]
    fn every_problem_is_listed() {
        for (key, value) in [
            (keys::PIDS_LIMIT, json!(0)),
            (keys::PIDS_LIMIT, json!(1.5)),
            (keys::MEMORY_SWAP, json!(-1)),
            (keys::MEMORY_SWAP, json!("1g")),
            (keys::MEMORY_HIGH, json!(0)),
            (keys::MEMORY_HIGH, json!(1.1)),
            (keys::MEMORY_HIGH, json!(-0.5)),
            (keys::MEMORY_HIGH, json!("most")),
            (keys::OOM_GROUP, json!(1)),
        ] {
            let found = Settings::read(&document(json!({key: value}))).unwrap_err();
            let found: Vec<String> = found.iter().map(SupervisorError::report).collect();
            let start = format!("cannot use setting `{key}`: found {value}, expected ");
            assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
        }
    }

    #[test]
    fn what_version_1_has_no_files_for_is_dropped() {
        let root = tempfile::tempdir().unwrap();
        let wanted = limits(json!({
            keys::MEMORY_ENFORCEMENT: true,
            keys::PIDS_LIMIT: 10,
            keys::MEMORY_SWAP: 1,
            keys::MEMORY_HIGH: 1,
            keys::OOM_GROUP: true,
        }));
        let fitted = |mountinfo| {
            let mut limits = wanted.clone();
            limits.fit(&hierarchies(mountinfo, root.path()));
            limits
        };
        let left = WorkerLimits { memory_high: None, oom_group: false, ..wanted.clone() };
        assert_eq!(fitted(HYBRID), WorkerLimits { swap_bytes: None, ..left.clone() });
        fs::create_dir(root.path().join("memory")).unwrap();
        fs::write(root.path().join("memory/memory.memsw.limit_in_bytes"), "").unwrap();
        assert_eq!(fitted(HYBRID), left);
        fs::write(root.path().join("cgroup.controllers"), "memory\n").unwrap();
        assert_eq!(fitted(V2), wanted);
    }
}
