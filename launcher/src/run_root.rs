//! The run root: `layers/`, `records/` and one directory a container, all root's, all reached
//! through descriptors held open.

use std::collections::BTreeSet;

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;
use storm_oci_request::ContainerId;

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Result, Step};
use crate::switches::without;

/// The file in a container's directory whose lock says that somebody looks after the container.
pub(crate) const LOCK: &str = "lock";

/// The run root and its two fixed directories.
#[derive(Debug)]
pub(crate) struct RunRoot {
    root: Directory,
    /// The mounted layers.
    pub(crate) layers: Directory,
    /// What is known of each container.
    pub(crate) records: Directory,
    /// The group that may read records.
    pub(crate) group: u32,
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

    /// The run root's own directory.
    pub(crate) fn root(&self) -> &Directory {
        &self.root
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
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.root, ".", flags, Mode::empty())
            .and_then(|own| lock(&own, FlockOperation::LockExclusive).map(|()| own))
            .map_err(Step::Lock.failed(self.root.path()))
    }
}

/// Opens the lock file of `directory`, made where it is missing.
pub(crate) fn lock_file(directory: &Directory) -> Result<OwnedFd> {
    let mut flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    flags.set(OFlags::CLOEXEC, !without("lock-close-on-exec"));
    openat(directory, LOCK, flags, Mode::from_raw_mode(0o600))
        .map_err(Step::Lock.failed(&directory.path_of(LOCK)))
}

/// `flock`, tried again after a signal.
pub(crate) fn lock(file: &OwnedFd, operation: FlockOperation) -> Result<(), Errno> {
    loop {
        match flock(file, operation) {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

/// Whether a container's lock could be taken at once.
pub(crate) fn try_lock(file: &OwnedFd) -> Result<bool> {
    match lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(source) => Err(Step::Lock.failed(LOCK)(source)),
    }
}
