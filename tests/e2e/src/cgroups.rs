//! The cgroups of containers, on cgroup v1, hybrid and v2 hosts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::mountinfo::{self, Mount};
use crate::{E2eError, files};

/// The mount points of all hierarchies, each once.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn hierarchies() -> Result<Vec<Mount>, E2eError> {
    let mut seen = BTreeSet::new();
    let mut mounts = mountinfo::of("self")?;
    mounts.retain(|mount| {
        mount.kind.starts_with("cgroup")
            && mount.target.starts_with("/sys/fs/cgroup")
            && seen.insert(mount.device.clone())
    });
    Ok(mounts)
}

/// The directories of `cgroup` (such as `/storm/6700-...`) that exist, one a hierarchy.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn directories(cgroup: &str) -> Result<Vec<PathBuf>, E2eError> {
    let below = cgroup.trim_start_matches('/');
    let mut found: Vec<PathBuf> =
        hierarchies()?.into_iter().map(|hierarchy| hierarchy.target.join(below)).collect();
    found.retain(|directory| directory.exists());
    Ok(found)
}

/// The pids in a cgroup, in any hierarchy.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn processes(cgroup: &str) -> Result<BTreeSet<u32>, E2eError> {
    let mut pids = BTreeSet::new();
    for directory in directories(cgroup)? {
        let text = files::read(&directory.join("cgroup.procs"))?;
        pids.extend(text.lines().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// What a cgroup's memory, CPU and processes are limited to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU, in percent of one core.
    pub cpu_percent: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
}

/// The limits of a cgroup.
///
/// # Errors
///
/// [`E2eError::File`] when it is gone.
pub fn limits(cgroup: &str) -> Result<Limits, E2eError> {
    let mut limits = Limits { memory_bytes: None, cpu_percent: None, processes: None };
    for directory in directories(cgroup)? {
        for name in ["memory.limit_in_bytes", "memory.max"] {
            if let Some(text) = content(&directory, name)? {
                limits.memory_bytes = text.trim().parse().ok();
            }
        }
        if let Some(text) = content(&directory, "pids.max")? {
            limits.processes = text.trim().parse().ok();
        }
        let v1 =
            (content(&directory, "cpu.cfs_quota_us")?, content(&directory, "cpu.cfs_period_us")?);
        if let (Some(quota), Some(period)) = v1 {
            limits.cpu_percent = percent(&quota, &period);
        }
        if let Some(text) = content(&directory, "cpu.max")?
            && let Some((quota, period)) = text.split_once(' ')
        {
            limits.cpu_percent = percent(quota, period);
        }
    }
    Ok(limits)
}

fn content(directory: &Path, name: &str) -> Result<Option<String>, E2eError> {
    let path = directory.join(name);
    path.exists().then(|| files::read(&path)).transpose()
}

fn percent(quota: &str, period: &str) -> Option<u64> {
    let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    quota.checked_mul(100)?.checked_div(period)
}

/// Removes a cgroup and all below it from every hierarchy. Nothing may be in it.
///
/// # Errors
///
/// [`E2eError::File`] when something is.
pub fn remove(cgroup: &str) -> Result<(), E2eError> {
    for directory in directories(cgroup)? {
        remove_below(&directory)?;
    }
    Ok(())
}

fn remove_below(directory: &Path) -> Result<(), E2eError> {
    for entry in files::list(directory)? {
        if entry.is_dir() {
            remove_below(&entry)?;
        }
    }
    fs::remove_dir(directory).map_err(|source| E2eError::File {
        verb: "remove",
        path: directory.to_owned(),
        source,
    })
}

/// The processors that a cgroup's processes may run on, as the kernel lists them.
///
/// # Errors
///
/// [`E2eError::File`] when it is gone.
pub fn processors(cgroup: &str) -> Result<Option<String>, E2eError> {
    for directory in directories(cgroup)? {
        for name in ["cpuset.effective_cpus", "cpuset.cpus.effective"] {
            if let Some(list) = content(&directory, name)? {
                return Ok(Some(list.trim().to_owned()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_as_percent_of_a_core() {
        assert_eq!(percent("200000", "100000\n"), Some(200));
        assert_eq!(percent("max", "100000"), None);
        assert_eq!(percent("-1", "100000"), None);
    }
}
