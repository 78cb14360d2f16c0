//! The run root: `layers/`, `records/` and one directory a container, all root's, all reached
//! through descriptors held open; and the records, what root remembers of each container and
//! trusts.

use std::collections::BTreeSet;

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Gid, Mode, OFlags, fchown, flock, openat, renameat};
use rustix::io::{Errno, retry_on_intr};
use storm_oci_request::{ContainerId, LaunchRecord};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{At, Result, Step};
use crate::switches::without;
use crate::sys_file::{open, write_all};

/// The file in a container's directory whose lock says that somebody looks after the container.
pub(crate) const LOCK: &str = "lock";

/// The mode of a record; its group is the launcher's, so that the library can read it.
const RECORD_MODE: u32 = 0o640;

/// The run root and its two fixed directories.
#[derive(Debug)]
pub(crate) struct RunRoot {
    /// Its own directory, with one for each container.
    pub(crate) root: Directory,
    /// The mounted layers.
    pub(crate) layers: Directory,
    /// What is known of each container.
    records: Directory,
    /// The group that may read records.
    group: u32,
}

/// The names of a container's records: the launch record, a new one before it takes that one's
/// place, the exit record.
fn record_names(container: &ContainerId) -> [String; 3] {
    ["json", "json.new", "exit.json"].map(|kind| format!("{container}.{kind}"))
}

impl RunRoot {
    /// Opens the run root, and makes what is missing of it.
    ///
    /// # Errors
    ///
    /// When any directory above it, or of it, is not root's or can be written by others.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let (parent, name) = config.run_root.as_str().rsplit_once('/').unwrap_or_default();
        let root = Directory::trusted(parent)?.ensure(name, 0o711, 0)?;
        Ok(Self {
            layers: root.ensure("layers", 0o700, 0)?,
            records: root.ensure("records", 0o750, config.group_id)?,
            group: config.group_id,
            root,
        })
    }

    /// The containers that have a directory or a record, in the order of their ids.
    pub(crate) fn containers(&self) -> Result<BTreeSet<ContainerId>> {
        // The directories too: a name can be missed just while its record is replaced.
        let mut names = self.root.entries()?;
        names.extend(self.records.entries()?);
        let ids = names.iter().map(|name| name.strip_suffix(".json").unwrap_or(name));
        Ok(ids.filter_map(|name| ContainerId::parse(name).ok()).collect())
    }

    /// Keeps others from claiming and from giving up container directories, until it is dropped.
    ///
    /// Held only for a few file operations: between a claim's first and last effect, so that
    /// nobody takes a directory without a record for a leftover.
    pub(crate) fn serialize(&self) -> Result<OwnedFd> {
        let own = open(&self.root, ".", OFlags::RDONLY | OFlags::DIRECTORY);
        own.and_then(|own| lock(&own, FlockOperation::LockExclusive).map(|()| own))
            .at(Step::Lock, &self.root.path)
    }

    /// The record of a container; `None` when there is none, or one that a loss of power emptied.
    ///
    /// # Errors
    ///
    /// [`Step::Record`] for one that this version cannot read.
    pub(crate) fn read_record(&self, container: &ContainerId) -> Result<Option<LaunchRecord>> {
        let [name, ..] = record_names(container);
        let bytes = self.records.read(&name)?.unwrap_or_default();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let parsed = LaunchRecord::parse(&bytes).map(Some);
        parsed.map_err(|problem| Step::Record.refused(container, problem))
    }

    /// Writes a container's record in the place of the one that is there.
    pub(crate) fn write_record(&self, record: &LaunchRecord) -> Result<()> {
        let [name, fresh, _] = record_names(&record.container_id);
        let file = self.create_record(&fresh)?;
        let json = serde_json::to_vec(record).map_err(|_| Errno::INVAL);
        json.and_then(|json| write_all(&file, &[json.as_slice(), b"\n"].concat()))
            .and_then(|()| renameat(&self.records, &fresh, &self.records, &name))
            .at(Step::Write, self.records.path_of(&name))
    }

    /// Makes the empty exit record, for the monitor to fill.
    pub(crate) fn create_exit_record(&self, container: &ContainerId) -> Result<OwnedFd> {
        let [.., exit] = record_names(container);
        self.create_record(&exit)
    }

    fn create_record(&self, name: &str) -> Result<OwnedFd> {
        let file = self.records.replace(name, RECORD_MODE)?;
        let given = fchown(&file, None, Some(Gid::from_raw(self.group)));
        given.at(Step::Own, self.records.path_of(name)).map(|()| file)
    }

    /// Removes all that is recorded of a container, the launch record last.
    pub(crate) fn remove_records(&self, container: &ContainerId) -> Result<()> {
        record_names(container).iter().rev().try_for_each(|name| self.records.remove_file(name))
    }
}

/// Opens the lock file of `directory`, made where it is missing.
pub(crate) fn lock_file(directory: &Directory) -> Result<OwnedFd> {
    let mut flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
    flags.set(OFlags::CLOEXEC, !without("lock-close-on-exec"));
    openat(directory, LOCK, flags, Mode::from_raw_mode(0o600))
        .at(Step::Lock, directory.path_of(LOCK))
}

/// `flock`, tried again after a signal.
pub(crate) fn lock(file: &OwnedFd, operation: FlockOperation) -> Result<(), Errno> {
    retry_on_intr(|| flock(file, operation))
}

/// Whether a container's lock could be taken at once.
pub(crate) fn try_lock(file: &OwnedFd) -> Result<bool> {
    match lock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        outcome => outcome.map(|()| true).at(Step::Lock, LOCK),
    }
}
