//! What the kernel says about processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::{E2eError, files};

/// The namespaces a process has, by their names below `/proc/<pid>/ns`.
pub const NAMESPACES: [&str; 7] = ["mnt", "pid", "ipc", "uts", "net", "user", "cgroup"];

/// The five capability sets, as `/proc/<pid>/status` calls them.
pub const CAPABILITY_SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// The fields of `/proc/<pid>/status`.
///
/// # References
///
/// `proc_pid_status(5)`
#[derive(Clone, Debug)]
pub struct Status(BTreeMap<String, String>);

impl Status {
    /// Reads the status of a process.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`] when there is no such process.
    pub fn read(pid: u32) -> Result<Self, E2eError> {
        Ok(Self::parse(&files::read(&Path::new("/proc").join(pid.to_string()).join("status"))?))
    }

    fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// A field's value; empty where the kernel does not have it.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Real, effective, saved and file system uid (or gid, of field `Gid`), when all four agree.
    #[must_use]
    pub fn only_id(&self, field: &str) -> Option<u32> {
        let mut ids = self.field(field).split_whitespace();
        let first = ids.next()?;
        ids.all(|id| id == first).then(|| first.parse().ok()).flatten()
    }

    /// Whether all five capability sets are empty.
    #[must_use]
    pub fn has_no_capability(&self) -> bool {
        CAPABILITY_SETS.iter().all(|set| {
            !self.field(set).is_empty() && self.field(set).chars().all(|digit| digit == '0')
        })
    }
}

/// The identity of a namespace of a process, such as `mnt:[4026531841]`.
///
/// # Errors
///
/// [`E2eError::File`] when there is no such process.
pub fn namespace(pid: &str, name: &str) -> Result<String, E2eError> {
    let path = Path::new("/proc").join(pid).join("ns").join(name);
    fs::read_link(&path)
        .map(|identity| identity.display().to_string())
        .map_err(|source| E2eError::File { verb: "read", path, source })
}

/// The pids of the processes of one of these uids, with their command lines.
///
/// # Errors
///
/// [`E2eError::File`] when `/proc` cannot be read.
pub fn of_users(uids: &[u32]) -> Result<Vec<(u32, String)>, E2eError> {
    let mut found = Vec::new();
    for entry in files::list(Path::new("/proc"))? {
        let pid =
            entry.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        // A process may end between the listing and the look.
        let Ok(status) = Status::read(pid) else {
            continue;
        };
        if status.only_id("Uid").is_some_and(|uid| uids.contains(&uid)) {
            found.push((pid, command_line(pid).chars().take(60).collect()));
        }
    }
    Ok(found)
}

/// A process's arguments with blanks between; empty when it is gone.
#[must_use]
pub fn command_line(pid: u32) -> String {
    let path = Path::new("/proc").join(pid.to_string()).join("cmdline");
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\0', " ")
}

/// Kills a process of an account this run made. One that is gone already is no error.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Stops a process of an account this run made. One that is gone already is no error.
pub fn stop(pid: u32) {
    signal(pid, Signal::STOP);
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_fields() {
        let status = Status::parse(
            "Name:\tjava\nUid:\t1001\t1001\t1001\t1001\nGid:\t1\t2\t2\t2\nCapInh:\t0000\nCapPrm:\t0000\n\
             CapEff:\t0000\nCapBnd:\t0000\nCapAmb:\t0000\n",
        );
        assert_eq!(status.only_id("Uid"), Some(1001));
        assert_eq!(status.only_id("Gid"), None);
        assert!(status.has_no_capability());
        assert!(!Status::parse("CapInh:\t0000\nCapBnd:\t0001\n").has_no_capability());
    }
}
