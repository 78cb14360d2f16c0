//! A container's id on this host: claimed before a launch has any other effect, taken hold of,
//! judged, and everything of it removed.
//!
//! The order of a claim makes every crash harmless. Between its directory and its record nothing
//! else happens, and others are kept out; so a directory without a record is empty and anybody's
//! to remove. Everything else that a launch leaves anywhere is there only while the record is.
//!
//! A container without a record is Storm's own launcher's, from before an upgrade, or one whose
//! launch or removal was cut off while nothing else of it was there. Whose it was nobody knows; as
//! with that launcher, whoever may call may remove it once it has ended.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use storm_oci_request::{CgroupPath, ContainerId, LaunchRecord, LaunchState};

use crate::cgroup::Hierarchies;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{At, Result, Step, must};
use crate::process::HeldProcess;
use crate::run_root::{LOCK, RunRoot, lock_file, try_lock};
use crate::switches::without;
use crate::{layers, report, runc};

/// The directories that a launch needs in its container's directory. Storm's own launcher mounts
/// on the first in the host's namespace.
const DIRECTORIES: [&str; 5] = [ROOTFS, "upper", "work", "binds", "stage"];
const ROOTFS: &str = "rootfs";

/// The places on this host where a container leaves traces, opened and checked.
#[derive(Debug)]
pub(crate) struct Host {
    /// Directories, locks and records.
    pub(crate) run_root: RunRoot,
    /// Where the container's cgroup is.
    pub(crate) hierarchies: Hierarchies,
    cgroup_parent: CgroupPath,
}

impl Host {
    /// Opens all of them.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        Ok(Self {
            run_root: RunRoot::open(config)?,
            hierarchies: Hierarchies::find()?,
            cgroup_parent: config.cgroup_parent.clone(),
        })
    }

    /// The one cgroup of a container.
    pub(crate) fn cgroup_of(&self, container: &ContainerId) -> CgroupPath {
        CgroupPath::of(&self.cgroup_parent, container)
    }
}

/// A claimed container.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Its lock, held.
    pub(crate) lock: OwnedFd,
    /// Its exit record, empty.
    pub(crate) exit_record: OwnedFd,
}

/// Claims the container of `record`, and writes the record.
///
/// What an interrupted launch of the same container left is removed first.
///
/// # Errors
///
/// [`Step::Launch`] when it is there and no leftover of the same caller's.
pub(crate) fn claim(host: &Host, record: &LaunchRecord) -> Result<Claim> {
    let container = &record.container_id;
    match remove_orphan(host, container, record.caller.uid) {
        // Below, its directory says that it exists.
        Err(error) if error.step == Step::Foreign => {}
        outcome => drop(outcome?),
    }
    let others = host.run_root.serialize()?;
    let free = host.run_root.root.find(container.as_str())?.is_none();
    must(free, Step::Launch, container, "its directory exists and is no leftover")?;
    if let Some(place) = host.hierarchies.existing(&record.cgroup)? {
        must(without("cgroup-must-not-exist"), Step::Cgroup, place, "it exists already")?;
    }
    let claimed = fill(host, record, &host.run_root.root.make(container.as_str())?);
    drop(others);
    if claimed.is_err() {
        undo(host, container);
    }
    claimed
}

fn fill(host: &Host, record: &LaunchRecord, directory: &Directory) -> Result<Claim> {
    let lock = lock_file(directory)?;
    must(try_lock(&lock)?, Step::Launch, &record.container_id, "its directory is locked")?;
    host.run_root.write_record(record)?;
    DIRECTORIES.iter().try_for_each(|name| directory.make(name).map(drop))?;
    Ok(Claim { exit_record: host.run_root.create_exit_record(&record.container_id)?, lock })
}

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
    let directory = host.run_root.root.find(container.as_str())?;
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
    let own = caller == 0 || caller == owner || without("record-owner");
    must(own, Step::Foreign, container, format_args!("it belongs to uid {owner}"))?;
    Ok(record)
}

/// Whether a recorded container's first process runs. By its cgroup too: after the host started
/// anew, another process may have its pid and, by chance, its start time.
pub(crate) fn is_running(record: &LaunchRecord) -> Result<bool> {
    let runs = || match record.init.as_ref().map(HeldProcess::recorded).transpose()?.flatten() {
        Some(held) => Ok(held.is_running()? && held.is_in(&record.cgroup)?),
        None => Ok(false),
    };
    runs().at(Step::FindProcess, &record.container_id)
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
    fn is_orphan(&self, host: &Host) -> Result<bool> {
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

/// Removes a container that is an orphan; `false` when it is none, or somebody has its lock.
///
/// # Errors
///
/// As [`own_record`].
pub(crate) fn remove_orphan(host: &Host, container: &ContainerId, caller: u32) -> Result<bool> {
    match take(host, container, caller)? {
        Hold::Taken(remains) if remains.is_orphan(host)? => remains.remove(host).map(|()| true),
        _ => Ok(false),
    }
}

/// Removes what a failed launch made. What cannot be removed is named, and left to the sweep.
pub(crate) fn undo(host: &Host, container: &ContainerId) {
    if let Err(error) = remove(host, container) {
        report::note(&error.to_string());
    }
}

/// Removes everything of a container whose lock is ours: processes, runc's state, cgroups,
/// directory, records.
///
/// Each step does nothing where there is nothing, so an interrupted removal is simply done again.
/// The records go last but the empty directory: while anything else is there, they say whose it
/// is.
fn remove(host: &Host, container: &ContainerId) -> Result<()> {
    let RunRoot { root, layers, .. } = &host.run_root;
    for layer in host.run_root.read_record(container)?.iter().flat_map(|record| &record.layers) {
        layers::touch(layers, layer)?;
    }
    let cgroup = host.cgroup_of(container);
    host.hierarchies.kill(&cgroup)?;
    runc::remove_state(container)?;
    host.hierarchies.remove(&cgroup)?;
    let directory = root.find(container.as_str())?;
    if let Some(directory) = &directory {
        let rootfs = directory.path_of(ROOTFS);
        match unmount(&rootfs, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH) {
            // Nothing of ours is mounted in the host's namespace.
            Err(Errno::INVAL | Errno::NOENT) => {}
            outcome => outcome.at(Step::Unmount, rootfs)?,
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
