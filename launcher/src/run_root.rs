//! The run root: `layers/`, `records/` and one directory a container, all root's, all reached
//! through descriptors held open.

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;
use storm_oci_request::{ContainerId, HostPath};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{LauncherError, Step};

/// The file in a container's directory whose lock says that somebody looks after the container.
pub(crate) const LOCK: &str = "lock";

/// The run root and its two fixed directories.
#[derive(Debug)]
pub(crate) struct RunRoot {
    path: HostPath,
    root: Directory,
    /// The mounted layers.
    pub(crate) layers: Directory,
    /// What is known of each container.
    pub(crate) records: Directory,
}

/// A lock that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: OwnedFd,
}

impl RunRoot {
    /// Opens the run root, and makes what is missing of it.
    ///
    /// # Errors
    ///
    /// When any directory above it, or of it, is not root's or can be written by others.
    pub(crate) fn open(config: &Config) -> Result<Self, LauncherError> {
        let path = config.run_root.clone();
        let (parent, name) = path.as_str().rsplit_once('/').unwrap_or_default();
        let root = Directory::trusted(parent)?.ensure(name, 0o711, 0)?;
        Ok(Self {
            layers: root.ensure("layers", 0o700, 0)?,
            records: root.ensure("records", 0o750, config.group_id)?,
            root,
            path,
        })
    }

    /// The run root's own directory.
    pub(crate) fn root(&self) -> &Directory {
        &self.root
    }

    /// The containers that have a directory, in the order of their ids.
    pub(crate) fn containers(&self) -> Result<Vec<ContainerId>, LauncherError> {
        let names = self.root.entries()?;
        let mut containers: Vec<ContainerId> =
            names.iter().filter_map(|name| ContainerId::parse(name).ok()).collect();
        containers.sort();
        Ok(containers)
    }

    /// Keeps others from claiming and from giving up container directories.
    ///
    /// Held only for a few file operations: between a claim's first and last effect, so that
    /// nobody takes a directory without a record for a leftover.
    pub(crate) fn serialize(&self) -> Result<Lock, LauncherError> {
        let failed = |source| LauncherError::failed(Step::Lock, self.path.as_str(), source);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = openat(&self.root, ".", flags, Mode::empty()).map_err(failed)?;
        lock(&own, FlockOperation::LockExclusive).map_err(failed)?;
        Ok(Lock { _held: own })
    }
}

/// Opens the lock file of `directory`, made where it is missing.
pub(crate) fn lock_file(directory: &Directory) -> Result<OwnedFd, LauncherError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, LOCK, flags, Mode::from_raw_mode(0o600))
        .map_err(|source| LauncherError::failed(Step::Lock, directory.path_of(LOCK), source))
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

/// Whether the lock could be taken at once.
pub(crate) fn try_lock(file: &OwnedFd) -> Result<bool, Errno> {
    match lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(source) => Err(source),
    }
}
