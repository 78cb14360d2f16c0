//! Locks between processes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, stat};
use rustix::io::Errno;

use crate::error::StoreError;

/// How long to wait before another look at a lock that somebody holds. Waiting in the kernel
/// would cost a thread for each waiter and could not be cancelled.
const POLL: Duration = Duration::from_millis(50);

/// How a file is locked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LockMode {
    Shared,
    Exclusive,
}

/// A locked file: free again when this is dropped, or when the process ends however it ends.
///
/// Two values exclude each other also within one process.
///
/// # References
///
/// `flock(2)`
#[derive(Debug)]
pub(crate) struct FileLock {
    // Held for its lock: closing it is the release.
    _file: OwnedFd,
}

impl FileLock {
    /// Locks `path`, making the file where there is none; `None` if somebody else holds it.
    ///
    /// Whoever holds the exclusive lock may remove the file.
    pub(crate) fn try_acquire(path: &Path, mode: LockMode) -> io::Result<Option<Self>> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            // Read-only, so that another account's file can be locked as well.
            let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = open(path, flags, Mode::from_raw_mode(0o644))?;
            match flock(&file, operation) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // The file may have been removed, and made anew, before it was locked here.
            let locked = fstat(&file)?;
            match stat(path) {
                Ok(named) if (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino) => {
                    return Ok(Some(Self { _file: file }));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Locks `path` as soon as nobody else holds it.
    pub(crate) async fn acquire(path: &Path, mode: LockMode) -> Result<Self, StoreError> {
        let mut told = false;
        loop {
            let lock = Self::try_acquire(path, mode)
                .map_err(|cause| StoreError::local("lock", path, cause))?;
            if let Some(lock) = lock {
                return Ok(lock);
            }
            if !told {
                told = true;
                tracing::info!(lock = %path.display(), "waiting for another process");
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
