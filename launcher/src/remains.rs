//! What is left of a container: whether anybody still looks after it, and its removal.

use rustix::fd::OwnedFd;
use storm_oci_request::{ContainerId, LaunchRecord, LaunchState};

use crate::directory::Directory;
use crate::error::{LauncherError, Step};
use crate::host::Host;
use crate::run_root::{LOCK, lock_file, try_lock};
use crate::{layers, process};

/// What an attempt to take hold of a container found.
#[derive(Debug)]
pub(crate) enum Hold {
    /// Nothing of it is there.
    Nothing,
    /// Somebody else has its lock: it runs, or is being launched or removed.
    Busy,
    /// Its lock was free and is ours now.
    Taken(Box<Remains>),
}

/// A container whose lock is ours.
#[derive(Debug)]
pub(crate) struct Remains {
    container: ContainerId,
    record: Option<LaunchRecord>,
    _lock: Option<OwnedFd>,
}

/// Takes the container's lock, without waiting for it.
///
/// # Errors
///
/// [`Step::Foreign`] for a container of another caller than `caller`, unless that is
/// root. A directory without a record is nobody's: nothing was done for it yet.
pub(crate) fn take(
    host: &Host,
    container: &ContainerId,
    caller: u32,
) -> Result<Hold, LauncherError> {
    // A claim makes directory, lock and record while others are kept out.
    let _others = host.run_root.serialize()?;
    let Some(directory) = host.run_root.root().find(container.as_str())? else {
        return Ok(Hold::Nothing);
    };
    let record = host.records().read(container)?;
    if let Some(record) = &record {
        check_owner(record, caller)?;
    }
    let lock = lock_file(&directory)?;
    let taken = try_lock(&lock)
        .map_err(|source| LauncherError::failed(Step::Lock, container.as_str(), source))?;
    if !taken {
        return Ok(Hold::Busy);
    }
    Ok(Hold::Taken(Box::new(Remains { container: container.clone(), record, _lock: Some(lock) })))
}

/// Refuses another caller's container.
pub(crate) fn check_owner(record: &LaunchRecord, caller: u32) -> Result<(), LauncherError> {
    if caller == 0 || record.caller.uid == caller {
        return Ok(());
    }
    let problem = format!("it belongs to uid {}", record.caller.uid);
    Err(LauncherError::refused(Step::Foreign, record.container_id.as_str(), problem))
}

/// Whether a container's first process runs.
pub(crate) fn is_running(record: &LaunchRecord) -> Result<bool, LauncherError> {
    let Some(init) = &record.init else {
        return Ok(false);
    };
    process::is_running(init)
        .map_err(|source| LauncherError::failed(Step::FindProcess, init.pid.to_string(), source))
}

impl Remains {
    /// A container whose lock this process has had since its claim.
    pub(crate) fn claimed(container: ContainerId, record: Option<LaunchRecord>) -> Self {
        Self { container, record, _lock: None }
    }

    /// Its record, if it has one.
    pub(crate) fn record(&self) -> Option<&LaunchRecord> {
        self.record.as_ref()
    }

    /// Whether it is an orphan: nobody will look after it again.
    ///
    /// A launch that was interrupted is one by its free lock alone: nobody knows what of it runs.
    /// A container that was started is one only when its first process and all others are gone:
    /// its monitor may have been killed.
    pub(crate) fn is_orphan(&self, host: &Host) -> Result<bool, LauncherError> {
        match &self.record {
            Some(record) if record.state == LaunchState::Started => Ok(!is_running(record)?
                && host.hierarchies.is_empty(&host.cgroup_of(&self.container))?),
            _ => Ok(true),
        }
    }

    /// Removes everything of it: processes, runc's state, cgroups, directory, records.
    ///
    /// Each step does nothing where there is nothing, so an interrupted removal is simply done
    /// again. The records go last but the empty directory: while anything else is there, they
    /// say whose it is.
    pub(crate) fn remove(self, host: &Host) -> Result<(), LauncherError> {
        let container = &self.container;
        if let Some(record) = &self.record {
            for layer in &record.layers {
                layers::touch(&host.run_root.layers, layer)?;
            }
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
        match directory {
            Some(directory) => remove_directory(root, container, &directory),
            None => Ok(()),
        }
    }
}

fn remove_directory(
    root: &Directory,
    container: &ContainerId,
    directory: &Directory,
) -> Result<(), LauncherError> {
    directory.remove_file(LOCK)?;
    root.remove_dir(container.as_str())
}
