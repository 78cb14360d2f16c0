//! Processes named so that a reused pid is never taken for the one that was meant.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open, waitpid};
use storm_oci_request::{CgroupPath, ProcessRecord, ProcessStat};

use crate::proc_fd::open_proc;
use crate::switches::without;
use crate::sys_file::{open, read_at_most, unless_missing};
use crate::sys_signal;

/// Far above any of the files read here.
const MAX_BYTES: usize = 256 * 1024;

/// Between two looks at a process that no descriptor tells about.
const PAUSE: Duration = Duration::from_millis(1);

/// A process held by descriptors: they stay the same process's, or tell that it is gone.
#[derive(Debug)]
pub(crate) struct HeldProcess {
    pid: u32,
    /// For signals and for waiting; `None` before Linux 5.3.
    pidfd: Option<OwnedFd>,
    directory: OwnedFd,
}

impl HeldProcess {
    /// Takes hold of the process that has this pid now; `None` when there is none.
    pub(crate) fn find(pid: u32) -> Result<Option<Self>, Errno> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(_) if without("pidfd") => None,
            Ok(pidfd) => Some(pidfd),
            Err(Errno::NOSYS) => None,
            // EINVAL: the number is a thread's.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(source) => return Err(source),
        };
        let directory =
            open(open_proc("/proc")?, pid.to_string(), OFlags::PATH | OFlags::DIRECTORY);
        Ok(unless_missing(directory)?.map(|directory| Self { pid, pidfd, directory }))
    }

    /// Takes hold of a recorded process; `None` when it is gone or its pid is another's now.
    pub(crate) fn recorded(record: &ProcessRecord) -> Result<Option<Self>, Errno> {
        let Some(held) = Self::find(record.pid)? else {
            return Ok(None);
        };
        let same = held.stat()?.is_some_and(|stat| stat.start_time == record.start_time);
        Ok(same.then_some(held))
    }

    /// Sends it a signal; 0 only asks whether one may be sent.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), Errno> {
        match &self.pidfd {
            Some(pidfd) => sys_signal::to_process(pidfd.as_fd(), signal),
            // Its directory is there as long as it is; its number is not given away that quickly.
            None if self.stat()?.is_some() => sys_signal::by_number(self.number(), signal),
            None => Err(Errno::SRCH),
        }
    }

    /// Sends a signal to the process group it leads.
    pub(crate) fn signal_group(&self, signal: i32) -> Result<(), Errno> {
        let outcome = match &self.pidfd {
            Some(pidfd) => sys_signal::to_group(pidfd.as_fd(), signal),
            None => Err(Errno::INVAL),
        };
        match outcome {
            // Before Linux 6.9, or the leader has ended. The number is the group's as long as
            // anybody is in it.
            Err(Errno::INVAL) => sys_signal::by_number(self.number().saturating_neg(), signal),
            outcome => outcome,
        }
    }

    fn number(&self) -> i32 {
        // It was made from one.
        i32::try_from(self.pid).unwrap_or(i32::MAX)
    }

    /// Waits until it has ended; `false` when it has not in time.
    pub(crate) fn wait(&self, limit: Duration) -> Result<bool, Errno> {
        if let Some(pidfd) = &self.pidfd {
            let limit = Timespec::try_from(limit).map_err(|_| Errno::INVAL)?;
            return Ok(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit))? > 0);
        }
        let start = Instant::now();
        while self.is_running()? {
            if start.elapsed() > limit {
                return Ok(false);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(true)
    }

    /// Opens a file of `/proc/<pid>`; `None` when the process has ended.
    pub(crate) fn open(&self, name: &str) -> Result<Option<OwnedFd>, Errno> {
        match open(&self.directory, name, OFlags::RDONLY) {
            Err(Errno::SRCH) => Ok(None),
            opened => unless_missing(opened),
        }
    }

    /// The content of a file of `/proc/<pid>`; `None` when the process is gone.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, Errno> {
        let Some(file) = self.open(name)? else {
            return Ok(None);
        };
        match read_at_most(&file, MAX_BYTES) {
            Ok(Some(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Ok(None) => Err(Errno::FBIG),
            Err(Errno::SRCH) => Ok(None),
            Err(source) => Err(source),
        }
    }

    /// What `/proc/<pid>/stat` says; `None` when the process is gone.
    pub(crate) fn stat(&self) -> Result<Option<ProcessStat>, Errno> {
        match self.read("stat")? {
            Some(text) => ProcessStat::parse(&text).map(Some).ok_or(Errno::INVAL),
            None => Ok(None),
        }
    }

    /// How the process is recorded; `None` when it is gone.
    pub(crate) fn record(&self) -> Result<Option<ProcessRecord>, Errno> {
        Ok(self.stat()?.map(|stat| ProcessRecord { pid: self.pid, start_time: stat.start_time }))
    }

    /// Whether the process runs, which one that has ended but was not waited for does not.
    pub(crate) fn is_running(&self) -> Result<bool, Errno> {
        Ok(self.stat()?.is_some_and(|stat| !stat.ended))
    }

    /// Whether the process is in this cgroup in any hierarchy.
    pub(crate) fn is_in(&self, cgroup: &CgroupPath) -> Result<bool, Errno> {
        let text = self.read("cgroup")?.unwrap_or_default();
        Ok(text.lines().any(|line| {
            let path = line.splitn(3, ':').nth(2);
            path == Some(cgroup.as_str())
        }))
    }
}

/// Waits for a child's end.
pub(crate) fn wait_for(child: Pid) -> Result<WaitStatus, Errno> {
    let ended = retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()))?;
    ended.map(|(_, status)| status).ok_or(Errno::CHILD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_until_it_ends() {
        let own = HeldProcess::find(std::process::id()).unwrap().unwrap();
        let mut record = own.record().unwrap().unwrap();
        assert!(HeldProcess::recorded(&record).unwrap().unwrap().is_running().unwrap());
        record.start_time += 1;
        assert!(HeldProcess::recorded(&record).unwrap().is_none());
        assert!(HeldProcess::find(0).unwrap().is_none());
        assert!(HeldProcess::find(u32::MAX).unwrap().is_none());
    }
}
