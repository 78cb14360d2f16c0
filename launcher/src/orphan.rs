//! What is left of a container: whether anybody still looks after it, and its removal.

use rustix::fd::OwnedFd;
use storm_oci_request::{ContainerId, LaunchRecord, LaunchState};

use crate::directory::Directory;
use crate::error::{LauncherError, Step};
use crate::host::Host;
use crate::process;
use crate::run_root::{LOCK, lock_file, try_lock};

/// What became of a container.
#[derive(Debug)]
pub(crate) enum Fate {
    /// Nothing of it is there.
    Unknown,
    /// It runs, or is being launched or removed.
    Alive,
    /// Nobody looks after it any more.
    Orphan(Orphan),
}

/// A container that ended, or never began, with its lock held by us.
#[derive(Debug)]
pub(crate) struct Orphan {
    container: ContainerId,
    record: Option<LaunchRecord>,
    _lock: Option<OwnedFd>,
}

/// Takes the container's lock without waiting and looks what there is.
///
/// A launch that was interrupted is an orphan by its free lock alone: nobody knows what of it
/// runs. A container that was started is one only when its first process and all others are gone:
/// its monitor may have been killed.
pub(crate) fn judge(host: &Host, container: &ContainerId) -> Result<Fate, LauncherError> {
    let Some(directory) = host.run_root.root().find(container.as_str())? else {
        return Ok(Fate::Unknown);
    };
    let Some(lock) = take_lock(host, container, &directory)? else {
        return Ok(Fate::Alive);
    };
    let record = host.records().read(container)?;
    if let Some(record) = &record
        && record.state == LaunchState::Started
        && (is_running(record)? || !host.hierarchies.is_empty(&host.cgroup_of(container))?)
    {
        return Ok(Fate::Alive);
    }
    Ok(Fate::Orphan(Orphan {
        container: container.clone(),
        record,
        _lock: Some(lock),
    }))
}

/// The lock of a container's directory; `None` when somebody has it, or the directory is another
/// one by now.
fn take_lock(
    host: &Host,
    container: &ContainerId,
    directory: &Directory,
) -> Result<Option<OwnedFd>, LauncherError> {
    let failed = |source| LauncherError::failed(Step::Lock, container.as_str(), source);
    // A claim makes directory, lock and record while others are kept out.
    let _others = host.run_root.serialize()?;
    let Some(current) = host.run_root.root().find(container.as_str())? else {
        return Ok(None);
    };
    if !directory.is_same(&current)? {
        return Ok(None);
    }
    let lock = lock_file(directory)?;
    Ok(try_lock(&lock).map_err(failed)?.then_some(lock))
}

/// Whether a container's first process runs.
pub(crate) fn is_running(record: &LaunchRecord) -> Result<bool, LauncherError> {
    let Some(init) = &record.init else {
        return Ok(false);
    };
    process::is_running(init)
        .map_err(|source| LauncherError::failed(Step::FindProcess, init.pid.to_string(), source))
}

impl Orphan {
    /// A container whose lock we hold already, or whose holder does not answer.
    pub(crate) fn new(container: ContainerId, record: Option<LaunchRecord>) -> Self {
        Self {
            container,
            record,
            _lock: None,
        }
    }

    /// Its record, if it has one.
    pub(crate) fn record(&self) -> Option<&LaunchRecord> {
        self.record.as_ref()
    }

    /// Refuses a container of another caller's. One without a record is nobody's.
    ///
    /// # Errors
    ///
    /// [`LauncherError::Foreign`].
    pub(crate) fn check_owner(&self, caller: u32) -> Result<(), LauncherError> {
        match &self.record {
            Some(record) if caller != 0 && record.caller.uid != caller => {
                Err(LauncherError::Foreign {
                    container: self.container.clone(),
                    owner: record.caller.uid,
                })
            }
            _ => Ok(()),
        }
    }

    /// Removes everything of it: processes, runc's state, cgroups, directory, records.
    ///
    /// Each step does nothing where there is nothing, so an interrupted removal is simply done
    /// again. The records go last but the empty directory: while anything else is there, they
    /// say whose it is.
    pub(crate) fn remove(self, host: &Host) -> Result<(), LauncherError> {
        let container = &self.container;
        if self.record.is_some() {
            let cgroup = host.cgroup_of(container);
            host.hierarchies.kill(&cgroup)?;
            host.runc.delete(container)?;
            host.hierarchies.remove(&cgroup)?;
        }
        let root = host.run_root.root();
        let directory = root.find(container.as_str())?;
        if let Some(directory) = &directory {
            directory.remove_contents(LOCK)?;
        }
        let _others = host.run_root.serialize()?;
        host.records().remove(container)?;
        if let Some(directory) = directory {
            directory.remove_file(LOCK)?;
            root.remove_dir(container.as_str())?;
        }
        Ok(())
    }
}
