//! What is left of a container: whether anybody still looks after it, and its removal.
//!
//! A container without a record is Storm's own launcher's, from before an upgrade, or one whose
//! launch or removal was cut off while nothing else of it was there. Whose it was nobody knows; as
//! with that launcher, whoever may call may remove it once it has ended.

use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use storm_oci_request::{ContainerId, LaunchRecord, LaunchState};

use crate::error::{Result, Step};
use crate::host::Host;
use crate::layers;
use crate::process::HeldProcess;
use crate::run_root::{LOCK, lock_file, try_lock};
use crate::switches::without;

/// Where Storm's own launcher mounts a container's root file system, in the host's namespace.
const ROOTFS: &str = "rootfs";

/// How often a lock that somebody else is about to give up is tried, and the time between.
pub(crate) const ATTEMPTS: u32 = 100;
pub(crate) const PAUSE: Duration = Duration::from_millis(2);

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
    /// `None` where the directory is missing.
    _lock: Option<OwnedFd>,
}

/// Takes the container's lock, without waiting for it.
///
/// # Errors
///
/// As [`own_record`].
pub(crate) fn take(host: &Host, container: &ContainerId, caller: u32) -> Result<Hold> {
    // A claim makes directory, lock and record while others are kept out.
    let _others = host.run_root.serialize()?;
    let mut record = own_record(host, container, caller)?;
    let directory = host.run_root.root().find(container.as_str())?;
    if directory.is_none() && record.is_none() {
        return Ok(Hold::Nothing);
    }
    let lock = directory.as_ref().map(lock_file).transpose()?;
    if let Some(lock) = &lock {
        if !try_lock(lock)? {
            return Ok(Hold::Busy);
        }
        // Whoever had the lock may have completed the record meanwhile.
        if !without("record-look-again") {
            record = own_record(host, container, caller)?;
        }
    }
    Ok(Hold::Taken(Box::new(Remains { container: container.clone(), record, _lock: lock })))
}

/// The container's record; `None` where there is none.
///
/// # Errors
///
/// [`Step::Foreign`] for a container of another caller than `caller`, unless that is root.
pub(crate) fn own_record(
    host: &Host,
    container: &ContainerId,
    caller: u32,
) -> Result<Option<LaunchRecord>> {
    let record = host.run_root.read_record(container)?;
    let owner = record.as_ref().map_or(caller, |record| record.caller.uid);
    if caller != 0 && caller != owner && !without("record-owner") {
        let problem = format!("it belongs to uid {owner}");
        return Err(Step::Foreign.refused(container.as_str(), problem));
    }
    Ok(record)
}

/// Whether a recorded container's first process runs. By its cgroup too: after the host started
/// anew, another process may have its pid and, by chance, its start time.
pub(crate) fn is_running(record: &LaunchRecord) -> Result<bool> {
    let runs = || match record.init.as_ref().map(HeldProcess::recorded).transpose()?.flatten() {
        Some(held) => Ok(held.is_running()? && held.is_in(&record.cgroup)?),
        None => Ok(false),
    };
    runs().map_err(|source: Errno| Step::FindProcess.failed(record.container_id.as_str())(source))
}

impl Remains {
    /// Whether the container runs.
    pub(crate) fn is_running(&self, host: &Host) -> Result<bool> {
        match &self.record {
            Some(record) => is_running(record),
            None => Ok(!host.hierarchies.is_empty(&host.cgroup_of(&self.container))?),
        }
    }

    /// Whether it is an orphan: nobody will look after it again.
    ///
    /// A launch that was interrupted is one by its free lock alone: nobody knows what of it runs.
    /// A container that was started is one only when its first process and all others are gone:
    /// its monitor may have been killed.
    pub(crate) fn is_orphan(&self, host: &Host) -> Result<bool> {
        let launching =
            self.record.as_ref().is_some_and(|record| record.state == LaunchState::Launching);
        Ok(launching
            || !self.is_running(host)?
                && host.hierarchies.is_empty(&host.cgroup_of(&self.container))?)
    }

    /// Removes everything of it.
    pub(crate) fn remove(self, host: &Host) -> Result<()> {
        remove(host, &self.container)
    }
}

/// Removes what a launch left whose process ended before its time. What that had started may work
/// for a moment longer, and has the lock as long; what takes longer is left to the sweep.
pub(crate) fn remove_soon(host: &Host, container: &ContainerId, caller: u32) -> Result<()> {
    for _ in 0..ATTEMPTS {
        match take(host, container, caller)? {
            Hold::Taken(remains) if remains.is_orphan(host)? => return remains.remove(host),
            Hold::Taken(_) | Hold::Nothing => break,
            Hold::Busy => std::thread::sleep(PAUSE),
        }
    }
    Ok(())
}

/// Removes everything of a container whose lock is ours: processes, runc's state, cgroups,
/// directory, records.
///
/// Each step does nothing where there is nothing, so an interrupted removal is simply done again.
/// The records go last but the empty directory: while anything else is there, they say whose it
/// is.
pub(crate) fn remove(host: &Host, container: &ContainerId) -> Result<()> {
    for layer in host.run_root.read_record(container)?.iter().flat_map(|record| &record.layers) {
        layers::touch(&host.run_root.layers, layer)?;
    }
    let cgroup = host.cgroup_of(container);
    host.hierarchies.kill(&cgroup)?;
    host.runc.delete(container)?;
    host.hierarchies.remove(&cgroup)?;
    let root = host.run_root.root();
    let directory = root.find(container.as_str())?;
    if let Some(directory) = &directory {
        let rootfs = directory.path_of(ROOTFS);
        match unmount(&rootfs, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH) {
            // Nothing of ours is mounted in the host's namespace.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(source) => return Err(Step::Unmount.failed(&rootfs)(source)),
        }
        directory.remove_contents(LOCK)?;
    }
    let _others = host.run_root.serialize()?;
    host.run_root.remove_records(container)?;
    if let Some(directory) = directory {
        directory.remove_file(LOCK)?;
    }
    root.remove_dir(container.as_str())
}
