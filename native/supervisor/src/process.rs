//! Processes that are not our children: a pid alone may be reused, so a process is known by pid
//! and start time.
//!
//! # References
//!
//! `proc_pid_stat(5)`, `proc_pid_status(5)`, `pidfd_open(2)`

use std::fs;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use storm_oci_request::{CgroupPath, ProcessRecord, ProcessStat};

use crate::error::SupervisorError;

fn stat_of(pid: u32) -> Option<ProcessStat> {
    ProcessStat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether the recorded process still runs.
pub(crate) fn is_alive(process: ProcessRecord) -> bool {
    stat_of(process.pid).is_some_and(|stat| stat.start_time == process.start_time && !stat.ended)
}

/// Opens the recorded process; `None` when it is gone or its pid now is another one's.
///
/// Where `cgroup` is given, the process must be in it, unless it has ended already.
pub(crate) fn open(process: ProcessRecord, cgroup: Option<&CgroupPath>) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(process.pid).ok()?)?;
    let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Looked at after the fd was taken: if this is still the recorded process, so is the fd's.
    let stat = stat_of(process.pid)?;
    if stat.start_time != process.start_time {
        return None;
    }
    let elsewhere = cgroup.is_some_and(|cgroup| !stat.ended && !is_in(process.pid, cgroup));
    (!elsewhere).then_some(fd)
}

/// Whether a process is in `cgroup` in any hierarchy.
fn is_in(pid: u32, cgroup: &CgroupPath) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| mentions(&text, cgroup))
}

/// Reads `<hierarchy>:<controllers>:<path>` lines. In a cgroup namespace the paths start at its
/// root, such as `/../storm/6700-…`.
fn mentions(text: &str, cgroup: &CgroupPath) -> bool {
    let path = |line| str::splitn(line, 3, ':').nth(2);
    text.lines().filter_map(path).any(|path| path.ends_with(cgroup.as_str()))
}

/// Checks that this kernel and its `/proc` tell what this module asks for: without it, living
/// workers would pass for dead.
pub(crate) fn check_support() -> Result<(), SupervisorError> {
    pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).map_err(|source| {
        SupervisorError::Kernel {
            what: "watch processes, which takes Linux 5.3 or later",
            source: source.into(),
        }
    })?;
    // Pid 1 is another account's; `hidepid` would hide it.
    fs::read("/proc/1/stat").map_err(|source| SupervisorError::Kernel {
        what: "look at other accounts' processes: mount `/proc` without `hidepid`",
        source,
    })?;
    Ok(())
}

/// Whether a process is the first one of a pid namespace below ours.
pub(crate) fn is_first_of_namespace(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| first_of_namespace(&text))
}

fn first_of_namespace(status: &str) -> bool {
    status.lines().find_map(|line| line.strip_prefix("NSpid:")).is_some_and(|pids| {
        let pids: Vec<&str> = pids.split_whitespace().collect();
        pids.len() > 1 && pids.last() == Some(&"1")
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::process::{Child, Command};

    /// The record of a running child.
    pub(crate) fn record_of(child: &Child) -> ProcessRecord {
        let pid = child.id();
        let start_time = stat_of(pid).unwrap().start_time;
        ProcessRecord { pid, start_time }
    }

    #[test]
    fn a_process_is_known_by_pid_and_start_time() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let record = record_of(&child);
        let reused = ProcessRecord { start_time: record.start_time - 1, ..record };
        assert!(is_alive(record));
        assert!(open(record, None).is_some());
        assert!(!is_alive(reused));
        assert!(open(reused, None).is_none());
        let elsewhere = CgroupPath::parse("/no/such/cgroup").unwrap();
        assert!(open(record, Some(&elsewhere)).is_none());
        child.kill().unwrap();
        // Not waited for: a zombie.
        while is_alive(record) {
            std::thread::yield_now();
        }
        assert!(open(record, Some(&elsewhere)).is_some());
        child.wait().unwrap();
        assert!(open(record, None).is_none());
    }

    #[test]
    fn this_host_supports_it() {
        check_support().unwrap();
    }

    #[test]
    fn cgroups_are_compared_whole() {
        let text = "9:name=systemd:/storm/a\n4:memory:/storm/ab\n0::/storm/a:b\n";
        let path = |text| CgroupPath::parse(text).unwrap();
        assert!(mentions(text, &path("/storm/a")));
        assert!(mentions(text, &path("/storm/ab")));
        assert!(mentions("0::/../storm/x\n", &path("/storm/x")));
        assert!(!mentions(text, &path("/storm")));
        assert!(!mentions(text, &path("/storm/abc")));
    }

    #[test]
    fn the_first_of_a_namespace_is_pid_1_in_it() {
        assert!(first_of_namespace("Name:\tjava\nNSpid:\t4711\t1\n"));
        assert!(!first_of_namespace("Name:\tjava\nNSpid:\t4711\t23\n"));
        assert!(!first_of_namespace("Name:\tinit\nNSpid:\t1\n"));
        assert!(!first_of_namespace(""));
    }
}
