//! The monitor: the process that stays with a container, waits for its end and writes the exit
//! record.
//!
//! It has launched the container, is back in the host's mount namespace, so that it pins no mount
//! of the container's, and is the subreaper above the container's first process, so it gets that
//! process's true status. It has only the caller's rights, and whoever has these can kill it:
//! then the exit code is lost, and nothing else.

use std::os::fd::AsRawFd;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fd::OwnedFd;
use rustix::io::{Errno, pread};
use rustix::process::{
    DumpableBehavior, Pid, WaitOptions, WaitStatus, set_dumpable_behavior, wait,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use storm_oci_request::{CgroupPath, ExitRecord, LaunchRecord, RECORD_VERSION};

use crate::cgroup::{ControllerFile, Hierarchies};
use crate::container::{Claim, Host};
use crate::error::{At, Result, Step};
use crate::privilege::{Identity, become_for_good};
use crate::sys;
use crate::sys_file::{open_null, write_all};

/// The cgroup of all monitors, below the containers' parent: in the supervisor's own they would
/// be killed with its unit.
const CGROUP: &str = "monitors";

/// What the kernel counts for a container: out-of-memory kills, peak memory, processor time.
const COUNTERS: [ControllerFile; 3] = [
    ControllerFile { controller: "memory", v1: "memory.oom_control", v2: "memory.events" },
    ControllerFile { controller: "memory", v1: "memory.max_usage_in_bytes", v2: "memory.peak" },
    ControllerFile { controller: "cpuacct", v1: "cpuacct.usage", v2: "cpu.stat" },
];

/// The counters' files, open; none for what this kernel does not count.
type Counters = [Option<OwnedFd>; COUNTERS.len()];

/// Larger than any of these files.
const COUNTER_BYTES: usize = 4096;

/// Moves the monitor, `child`, to the cgroup of all monitors, as one process beside the other's
/// work: the first change of anybody's cgroup makes the kernel wait for a grace period of
/// milliseconds, and runc, which makes such changes itself, comes when it is over.
///
/// Best effort: where it fails, stopping the supervisor's unit costs the exit code.
pub(crate) fn leave_unit(hierarchies: &Hierarchies, cgroup_parent: &CgroupPath, child: Pid) {
    if let Ok(cgroup) = CgroupPath::parse(&format!("{cgroup_parent}/{CGROUP}")) {
        let _stays = hierarchies.leave_unit(&cgroup, child);
    }
}

/// The standard streams are the supervisor's pipe, which must reach its end at once.
pub(crate) fn detach_streams() -> Result<()> {
    let null = open_null()?;
    dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null))
        .at(Step::Open, "/dev/null")
}

/// Gives up everything that a monitor does not need, waits for the container's end and writes
/// the exit record.
pub(crate) fn stay(claim: &Claim, caller: &Identity, record: &LaunchRecord, host: &Host) -> ! {
    // It could not open them itself where the hierarchy is root's only.
    let counters = COUNTERS.map(|file| host.hierarchies.open_file(&record.cgroup, &file));
    let kept = counters.iter().flatten().chain([&claim.lock, &claim.exit_record]);
    sys::close_all_but(&mut kept.map(AsRawFd::as_raw_fd).collect::<Vec<_>>());
    let caller = Identity { groups: Vec::new(), ..caller.clone() };
    if become_for_good(&caller).is_ok()
        && set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
    {
        record_end(record, &counters, &claim.exit_record);
    }
    sys::end(0)
}

fn record_end(launched: &LaunchRecord, counters: &Counters, exit_record: &OwnedFd) {
    let init = launched.init.and_then(|init| Pid::from_raw(i32::try_from(init.pid).ok()?));
    let Some(status) = init.and_then(wait_for) else {
        return;
    };
    let [oom, peak, cpu] =
        counters.each_ref().map(|counter| counter.as_ref().and_then(read_counter));
    let record = ExitRecord {
        version: RECORD_VERSION,
        container_id: launched.container_id.clone(),
        exit_code: status.exit_status(),
        signal: status.terminating_signal(),
        oom_kills: oom.and_then(|text| labelled(&text, "oom_kill")),
        peak_memory_bytes: peak.and_then(|text| text.trim().parse().ok()),
        cpu_micros: cpu.and_then(|text| cpu_micros(&text)),
        launched_millis: launched.launched_millis,
        ended_millis: now_millis(),
    };
    // Nobody is left to tell about a failure; an empty record says that the code is lost.
    if let Ok(mut json) = serde_json::to_vec(&record) {
        json.push(b'\n');
        let _lost = write_all(exit_record, &json);
    }
}

/// The time of day in milliseconds since the epoch.
pub(crate) fn now_millis() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = elapsed.map(|elapsed| elapsed.as_millis()).unwrap_or_default();
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// Waits for children until `init` is among them; `None` when there is none left.
fn wait_for(init: Pid) -> Option<WaitStatus> {
    loop {
        sys::forget_program();
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == init => return Some(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

fn read_counter(file: &OwnedFd) -> Option<String> {
    let mut buffer = [0; COUNTER_BYTES];
    let count = pread(file, &mut buffer, 0).ok()?;
    Some(String::from_utf8_lossy(buffer.get(..count)?).into_owned())
}

/// The number behind a name at the start of a line.
fn labelled(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// v2 tells microseconds by name, v1 nanoseconds alone.
fn cpu_micros(text: &str) -> Option<u64> {
    labelled(text, "usage_usec").or_else(|| {
        let nanos: u64 = text.trim().parse().ok()?;
        Some(nanos / 1000)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_both_versions_are_read() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        let v2 = "low 0\nmax 36\noom 1\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(labelled(v1, "oom_kill"), Some(2));
        assert_eq!(labelled(v2, "oom_kill"), Some(1));
        assert_eq!(labelled("oom 1\n", "oom_kill"), None);
        assert_eq!(cpu_micros("1234567\n"), Some(1234));
        assert_eq!(cpu_micros("usage_usec 77\nuser_usec 5\nsystem_usec 2\n"), Some(77));
        assert_eq!(cpu_micros("\n"), None);
    }
}
