//! The monitor: the process that stays with a container, waits for its end and writes the exit
//! record.
//!
//! It is forked before the mount namespace is left, so it pins no mount but the host's, and it
//! is the subreaper above the container's first process, so it gets that process's true status.
//! As soon as the container runs it has only the caller's rights, and whoever has these can kill
//! it: then the exit code is lost, and nothing else.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{
    DumpableBehavior, Pid, WaitOptions, WaitStatus, set_dumpable_behavior, wait,
};
use storm_oci_request::{CgroupPath, ContainerId, ExitRecord, RECORD_VERSION};

use crate::cgroup::{ControllerFile, Hierarchies};
use crate::error::{LauncherError, Step};
use crate::privilege::{Identity, become_for_good};
use crate::sys;
use crate::sys_file::write_all;

/// The cgroup of all monitors, below the containers' parent: in the supervisor's own they would
/// be killed with its unit.
const CGROUP: &str = "monitors";

/// What the kernel counts for a container: out-of-memory kills, peak memory, processor time.
const COUNTERS: [ControllerFile; 3] = [
    ControllerFile { controller: "memory", v1: "memory.oom_control", v2: Some("memory.events") },
    ControllerFile {
        controller: "memory",
        v1: "memory.max_usage_in_bytes",
        v2: Some("memory.peak"),
    },
    ControllerFile { controller: "cpuacct", v1: "cpuacct.usage", v2: Some("cpu.stat") },
];

/// The counters' files, open; none for what this kernel does not count.
type Counters = [Option<OwnedFd>; COUNTERS.len()];

/// Larger than any of these files.
const COUNTER_BYTES: usize = 4096;

/// The line between the launching process and the monitor.
#[derive(Debug)]
pub(crate) struct Line {
    /// The launching process's end.
    pub(crate) launcher: OwnedFd,
    /// The monitor's end.
    pub(crate) monitor: OwnedFd,
}

impl Line {
    /// Makes both ends.
    pub(crate) fn new() -> Result<Self, Errno> {
        let (launcher, monitor) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok(Self { launcher, monitor })
    }
}

/// Tells the monitor which process to wait for, and gives it the counters, which it could not
/// open itself where the hierarchy is root's only.
pub(crate) fn announce(
    line: &OwnedFd,
    init: u32,
    hierarchies: &Hierarchies,
    cgroup: &CgroupPath,
) -> Result<(), LauncherError> {
    let failed = |source| LauncherError::failed(Step::Spawn, "monitor", source);
    let counters = COUNTERS.map(|file| hierarchies.open_file(cgroup, &file));
    let present = counters.each_ref().map(|counter| u8::from(counter.is_some()));
    let borrowed: Vec<BorrowedFd<'_>> = counters.iter().flatten().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(COUNTERS.len()))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(failed(Errno::NOBUFS));
    }
    let pid = init.to_le_bytes();
    let message = [IoSlice::new(&pid), IoSlice::new(&present)];
    sendmsg(line, &message, &mut control, SendFlags::NOSIGNAL).map_err(failed)?;
    Ok(())
}

/// What the monitor keeps.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    /// The container's lock, for as long as the monitor lives.
    pub(crate) lock: &'a OwnedFd,
    /// The exit record, empty.
    pub(crate) exit_record: &'a OwnedFd,
    /// The monitor's end of the line.
    pub(crate) line: &'a OwnedFd,
    /// The container.
    pub(crate) container: &'a ContainerId,
    /// Whom it becomes.
    pub(crate) caller: &'a Identity,
    /// The parent of all containers' cgroups.
    pub(crate) cgroup_parent: &'a CgroupPath,
    /// When the launch began.
    pub(crate) launched_millis: u64,
}

impl Watch<'_> {
    /// Gives up everything the monitor does not need, waits and writes.
    ///
    /// Until the container runs nothing but silence is asked of it: moving to another cgroup
    /// meanwhile would hold up every new process of the host, and runc makes many.
    pub(crate) fn stay(&self, hierarchies: &Hierarchies) -> ! {
        let silent = detach_streams().is_ok();
        let mut kept =
            vec![self.lock.as_raw_fd(), self.exit_record.as_raw_fd(), self.line.as_raw_fd()];
        kept.extend(hierarchies.descriptors());
        sys::close_all_but(&mut kept);
        if silent && let Ok(Some((init, counters))) = receive(self.line) {
            // Best effort: where it fails, stopping the supervisor's unit costs the exit code.
            if let Ok(cgroup) = CgroupPath::parse(&format!("{}/{CGROUP}", self.cgroup_parent)) {
                let _stays = hierarchies.leave_unit(&cgroup);
            }
            let kept = counters.iter().flatten().map(AsRawFd::as_raw_fd);
            let mut kept: Vec<_> =
                kept.chain([self.lock.as_raw_fd(), self.exit_record.as_raw_fd()]).collect();
            sys::close_all_but(&mut kept);
            let caller = Identity { groups: Vec::new(), ..self.caller.clone() };
            if become_for_good(&caller).is_ok()
                && set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
            {
                self.record_end(init, &counters);
            }
        }
        sys::end(0)
    }

    fn record_end(&self, init: Pid, counters: &Counters) {
        let Some(status) = wait_for(init) else {
            return;
        };
        let [oom, peak, cpu] =
            counters.each_ref().map(|counter| counter.as_ref().and_then(read_counter));
        let record = ExitRecord {
            version: RECORD_VERSION,
            container_id: self.container.clone(),
            exit_code: status.exit_status(),
            signal: status.terminating_signal(),
            oom_kills: oom.and_then(|text| labelled(&text, "oom_kill")),
            peak_memory_bytes: peak.and_then(|text| text.trim().parse().ok()),
            cpu_micros: cpu.and_then(|text| cpu_micros(&text)),
            launched_millis: self.launched_millis,
            ended_millis: now_millis(),
        };
        // Nobody is left to tell about a failure; an empty record says that the code is lost.
        if let Ok(mut json) = serde_json::to_vec(&record) {
            json.push(b'\n');
            let _lost = write_all(self.exit_record, &json);
        }
    }
}

/// The time of day in milliseconds since the epoch.
pub(crate) fn now_millis() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = elapsed.map(|elapsed| elapsed.as_millis()).unwrap_or_default();
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// The standard streams are the supervisor's pipe, which must reach its end at once.
fn detach_streams() -> Result<(), Errno> {
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)
}

/// The announced process and the counters; `None` when the launching process ended without one.
fn receive(line: &OwnedFd) -> Result<Option<(Pid, Counters)>, Errno> {
    let (mut pid, mut present) = ([0; 4], [0; COUNTERS.len()]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(COUNTERS.len()))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut pieces = [IoSliceMut::new(&mut pid), IoSliceMut::new(&mut present)];
        match recvmsg(line, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            outcome => break outcome?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for ancillary in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = ancillary {
            descriptors.extend(sent);
        }
    }
    let mut descriptors = descriptors.into_iter();
    let counters = present.map(|present| (present != 0).then(|| descriptors.next()).flatten());
    let pid = i32::try_from(u32::from_le_bytes(pid)).ok();
    Ok(pid.and_then(Pid::from_raw).map(|pid| (pid, counters)))
}

/// Waits for children until `init` is among them; `None` when there is none left.
fn wait_for(init: Pid) -> Option<WaitStatus> {
    loop {
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
    let bytes = buffer.get(..count)?;
    Some(String::from_utf8_lossy(bytes).into_owned())
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
