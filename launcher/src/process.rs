//! Processes named so that a reused pid is never taken for the one that was meant.

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use storm_oci_request::{CgroupPath, ProcessRecord, ProcessStat};

use crate::sys_file::read_at_most;

/// Far above any of the files read here.
const MAX_BYTES: usize = 256 * 1024;

/// A process held by descriptors: they stay the same process's, or tell that it is gone.
#[derive(Debug)]
pub(crate) struct HeldProcess {
    pid: u32,
    /// For signals and for waiting.
    pub(crate) pidfd: OwnedFd,
    directory: OwnedFd,
}

impl HeldProcess {
    /// Takes hold of the process that has this pid now; `None` when there is none.
    pub(crate) fn find(pid: u32) -> Result<Option<Self>, Errno> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // EINVAL: the number is a thread's.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(source) => return Err(source),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = openat(CWD, "/proc", flags, Mode::empty())?;
        if fstatfs(&proc)?.f_type != PROC_SUPER_MAGIC {
            return Err(Errno::INVAL);
        }
        match openat(&proc, pid.to_string(), flags, Mode::empty()) {
            Ok(directory) => Ok(Some(Self { pid, pidfd, directory })),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(source),
        }
    }

    /// Takes hold of a recorded process; `None` when it is gone or its pid is another's now.
    pub(crate) fn recorded(record: &ProcessRecord) -> Result<Option<Self>, Errno> {
        let Some(held) = Self::find(record.pid)? else {
            return Ok(None);
        };
        let same = held.stat()?.is_some_and(|stat| stat.start_time == record.start_time);
        Ok(same.then_some(held))
    }

    /// Opens a file of `/proc/<pid>`; `None` when the process has ended.
    pub(crate) fn open(&self, name: &str) -> Result<Option<OwnedFd>, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        match openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT | Errno::SRCH) => Ok(None),
            Err(source) => Err(source),
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

/// Whether a recorded process still runs.
pub(crate) fn is_running(record: &ProcessRecord) -> Result<bool, Errno> {
    match HeldProcess::recorded(record)? {
        Some(held) => held.is_running(),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_until_it_ends() {
        let own = HeldProcess::find(std::process::id()).unwrap().unwrap();
        let mut record = own.record().unwrap().unwrap();
        assert!(is_running(&record).unwrap());
        record.start_time += 1;
        assert!(!is_running(&record).unwrap());
        assert!(HeldProcess::find(0).unwrap().is_none());
        assert!(HeldProcess::find(u32::MAX).unwrap().is_none());
    }
}
