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

use crate::Call;
use crate::cgroup::Hierarchies;
use crate::directory::Directory;
use crate::error::{At, Result, Step, must};
use crate::layers::touch;
use crate::process::HeldProcess;
use crate::run_root::{LOCK, RunRoot, lock_file, try_lock};
use crate::switches::without;
use crate::{report, runc};

/// The directories that a launch needs in its container's directory. Storm's own launcher mounts
/// on the first in the host's namespace.
const DIRECTORIES: [&str; 5] = [ROOTFS, "upper", "work", "binds", "stage"];
const ROOTFS: &str = "rootfs";

/// The places on this host where a container leaves traces, opened and checked, for one caller.
#[derive(Debug)]
pub(crate) struct Host {
    /// Directories, locks and records.
    pub(crate) run_root: RunRoot,
    /// Where the container's cgroup is.
    pub(crate) hierarchies: Hierarchies,
    cgroup_parent: CgroupPath,
    caller: u32,
}

/// A claimed container.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Its lock, held.
    pub(crate) lock: OwnedFd,
    /// Its exit record, empty.
    pub(crate) exit_record: OwnedFd,
}

/// What an attempt to take hold of a container found.
#[derive(Debug)]
pub(crate) enum Hold<'a> {
    /// Nothing of it is there.
    Nothing,
    /// Somebody else has its lock: it runs, or is being launched or removed.
    Busy,
    /// Its lock was free and is ours now.
    Taken(Box<Remains<'a>>),
}

/// A container whose lock is ours.
#[derive(Debug)]
pub(crate) struct Remains<'a> {
    host: &'a Host,
    container: &'a ContainerId,
    record: Option<LaunchRecord>,
    /// `None` where the directory is missing.
    _lock: Option<OwnedFd>,
}

impl Host {
    /// Opens all of them.
    pub(crate) fn open(call: &Call) -> Result<Self> {
        Ok(Self {
            run_root: RunRoot::open(&call.config)?,
            hierarchies: Hierarchies::find()?,
            cgroup_parent: call.config.cgroup_parent.clone(),
            caller: call.caller.identity.uid,
        })
    }

    fn cgroup_of(&self, container: &ContainerId) -> CgroupPath {
        CgroupPath::of(&self.cgroup_parent, container)
    }

    /// Claims the container of `record`, and writes the record.
    ///
    /// What an interrupted launch of the same container left is removed first.
    ///
    /// # Errors
    ///
    /// [`Step::Launch`] when it is there and no leftover of the same caller's.
    pub(crate) fn claim(&self, record: &LaunchRecord) -> Result<Claim> {
        let (run_root, container) = (&self.run_root, &record.container_id);
        match self.remove_orphan(container) {
            // Below, its directory says that it exists.
            Err(error) if error.step == Step::Foreign => {}
            outcome => drop(outcome?),
        }
        let others = run_root.serialize()?;
        let free = run_root.root.find(container.as_str())?.is_none();
        must(free, Step::Launch, container, "its directory exists and is no leftover")?;
        if let Some(place) = self.hierarchies.existing(&record.cgroup)? {
            must(without("cgroup-must-not-exist"), Step::Cgroup, place, "it exists already")?;
        }
        let directory = run_root.root.make(container.as_str())?;
        let claimed = fill(run_root, record, &directory);
        drop(others);
        claimed.inspect_err(|_| self.undo(container))
    }

    /// Takes the container's lock, without waiting for it.
    ///
    /// # Errors
    ///
    /// As [`Self::own_record`].
    pub(crate) fn take<'a>(&'a self, container: &'a ContainerId) -> Result<Hold<'a>> {
        // A claim makes directory, lock and record while others are kept out.
        let _others = self.run_root.serialize()?;
        let mut record = self.own_record(container)?;
        let directory = self.run_root.root.find(container.as_str())?;
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
                record = self.own_record(container)?;
            }
        }
        Ok(Hold::Taken(Box::new(Remains { host: self, container, record, _lock: lock })))
    }

    /// The container's record; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Step::Foreign`] for a container of another caller, unless this one is root.
    pub(crate) fn own_record(&self, container: &ContainerId) -> Result<Option<LaunchRecord>> {
        let record = self.run_root.read_record(container)?;
        let owner = record.as_ref().map_or(self.caller, |record| record.caller.uid);
        let own = self.caller == 0 || self.caller == owner || without("record-owner");
        must(own, Step::Foreign, container, format_args!("it belongs to uid {owner}"))?;
        Ok(record)
    }

    /// Removes a container that is an orphan; `false` when it is none, or somebody has its lock.
    ///
    /// # Errors
    ///
    /// As [`Self::own_record`].
    pub(crate) fn remove_orphan(&self, container: &ContainerId) -> Result<bool> {
        match self.take(container)? {
            Hold::Taken(remains) if remains.is_orphan()? => remains.remove().map(|()| true),
            _ => Ok(false),
        }
    }

    /// Removes what a failed launch made. What cannot be removed is named, and left to the sweep.
    pub(crate) fn undo(&self, container: &ContainerId) {
        if let Err(error) = self.remove(container) {
            report::note(&error.to_string());
        }
    }

    /// Removes everything of a container whose lock is ours: processes, runc's state, cgroups,
    /// directory, records.
    ///
    /// Each step does nothing where there is nothing, so an interrupted removal is simply done
    /// again. The records go last but the empty directory: while anything else is there, they say
    /// whose it is.
    fn remove(&self, container: &ContainerId) -> Result<()> {
        let RunRoot { root, layers, .. } = &self.run_root;
        let record = self.run_root.read_record(container)?;
        record.iter().flat_map(|record| &record.layers).try_for_each(|one| touch(layers, one))?;
        let cgroup = self.cgroup_of(container);
        self.hierarchies.kill(&cgroup)?;
        runc::remove_state(container)?;
        self.hierarchies.remove(&cgroup)?;
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
        let _others = self.run_root.serialize()?;
        self.run_root.remove_records(container)?;
        if let Some(directory) = directory {
            directory.remove_file(LOCK)?;
        }
        root.remove_dir(container.as_str())
    }
}

fn fill(run_root: &RunRoot, record: &LaunchRecord, directory: &Directory) -> Result<Claim> {
    let lock = lock_file(directory)?;
    must(try_lock(&lock)?, Step::Launch, &record.container_id, "its directory is locked")?;
    run_root.write_record(record)?;
    DIRECTORIES.iter().try_for_each(|name| directory.make(name).map(drop))?;
    Ok(Claim { exit_record: run_root.create_exit_record(&record.container_id)?, lock })
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

impl Remains<'_> {
    /// Whether the container runs.
    pub(crate) fn is_running(&self) -> Result<bool> {
        match &self.record {
            Some(record) => is_running(record),
            None => Ok(!self.is_empty()?),
        }
    }

    fn is_empty(&self) -> Result<bool> {
        self.host.hierarchies.is_empty(&self.host.cgroup_of(self.container))
    }

    /// Whether it is an orphan: nobody will look after it again.
    ///
    /// A launch that was interrupted is one by its free lock alone: nobody knows what of it runs.
    /// A container that was started is one only when its first process and all others are gone:
    /// its monitor may have been killed.
    fn is_orphan(&self) -> Result<bool> {
        let state = self.record.as_ref().map(|record| record.state);
        Ok(state == Some(LaunchState::Launching) || !self.is_running()? && self.is_empty()?)
    }

    /// Removes everything of it.
    pub(crate) fn remove(self) -> Result<()> {
        self.host.remove(self.container)
    }
}
