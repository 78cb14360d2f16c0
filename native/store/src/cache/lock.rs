//! Locks between processes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{
    FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, flock, fstat, futimens, open,
    stat,
};
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
    file: OwnedFd,
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
                    return Ok(Some(Self { file }));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes the present the time of the file's last change.
    pub(crate) fn touch(&self) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        Ok(futimens(&self.file, &Timestamps { last_access: now, last_modification: now })?)
    }

    /// Locks `path` for one as soon as nobody else holds it. Blocks this thread.
    pub(crate) fn acquire_blocking(path: &Path) -> Result<Self, StoreError> {
        loop {
            let lock = Self::try_acquire(path, LockMode::Exclusive)
                .map_err(|cause| StoreError::local("lock", path, cause))?;
            match lock {
                Some(lock) => return Ok(lock),
                None => std::thread::sleep(POLL),
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

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn is_free(path: &Path, mode: LockMode) -> bool {
        FileLock::try_acquire(path, mode).unwrap().is_some()
    }

    #[test]
    fn shared_locks_go_together_and_exclusive_ones_alone() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("x");
        let shared = FileLock::try_acquire(&path, LockMode::Shared).unwrap().unwrap();
        assert!(is_free(&path, LockMode::Shared));
        assert!(!is_free(&path, LockMode::Exclusive));
        drop(shared);
        let exclusive = FileLock::try_acquire(&path, LockMode::Exclusive).unwrap().unwrap();
        assert!(!is_free(&path, LockMode::Shared));
        drop(exclusive);
        assert!(is_free(&path, LockMode::Shared));
    }

    #[tokio::test]
    async fn a_waiter_never_ends_up_with_a_removed_file() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("x");
        let first = FileLock::try_acquire(&path, LockMode::Exclusive).unwrap().unwrap();
        let waiting = tokio::spawn({
            let path = path.clone();
            async move { FileLock::acquire(&path, LockMode::Exclusive).await.unwrap() }
        });
        tokio::task::yield_now().await;
        fs::remove_file(&path).unwrap();
        drop(first);
        let second = waiting.await.unwrap();
        assert!(path.exists());
        assert!(!is_free(&path, LockMode::Exclusive), "both would think they hold it");
        drop(second);
    }

    #[test]
    fn a_link_is_not_followed() {
        let directory = TempDir::new().unwrap();
        let (link, target) = (directory.path().join("link"), directory.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(FileLock::try_acquire(&link, LockMode::Shared).is_err());
        assert!(!target.exists());
    }
}
