//! Files on the way to their place.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::directories::{Directories, PartialPaths, remove_if_there};
use crate::cache::lock::{FileLock, LockMode};
use crate::cache::progress::Progress;
use crate::cache::ranges::Ranges;
use crate::error::StoreError;
use crate::location::Location;
use crate::remote::Stat;

/// The only writer of one name in `partial/`, among all processes.
///
/// Dropping it lets the next writer in. It removes what is there, unless its progress was saved.
#[derive(Debug)]
pub(crate) struct Partial {
    paths: PartialPaths,
    is_kept: AtomicBool,
    _lock: FileLock,
}

impl Partial {
    /// Waits until nobody else writes `name`.
    pub(crate) async fn begin(directories: &Directories, name: &str) -> Result<Self, StoreError> {
        let paths = directories.partial(name);
        let lock = FileLock::acquire(&paths.lock, LockMode::Exclusive).await?;
        Ok(Self { paths, is_kept: AtomicBool::new(false), _lock: lock })
    }

    /// A new empty file, in place of whatever an earlier try left.
    pub(crate) fn create(&self) -> Result<File, StoreError> {
        self.discard()?;
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.paths.file)
            .map_err(|cause| StoreError::local("create", &self.paths.file, cause))
    }

    /// The file of an earlier fetch of the same object, with the bytes that are in it; `None` if
    /// there is none to go on with.
    pub(crate) fn resume(
        &self,
        location: &Location,
        stat: &Stat,
        boot: &str,
    ) -> Option<(File, Ranges)> {
        let progress = Progress::read(&self.paths.progress)?;
        let file = OpenOptions::new().read(true).write(true).open(&self.paths.file).ok()?;
        let metadata = file.metadata().ok()?;
        let ranges = progress.into_ranges(location, stat, boot, &metadata)?;
        self.is_kept.store(true, Ordering::Relaxed);
        Some((file, ranges))
    }

    /// Makes the file stay for another try, of this process or another one.
    pub(crate) fn save(&self, progress: &Progress) -> io::Result<()> {
        progress.write(&self.paths.progress, &self.paths.next_progress)?;
        self.is_kept.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Removes what is there.
    pub(crate) fn discard(&self) -> Result<(), StoreError> {
        self.is_kept.store(false, Ordering::Relaxed);
        // The record first: without it the file counts for nothing.
        remove_if_there(&self.paths.progress)?;
        remove_if_there(&self.paths.next_progress)?;
        remove_if_there(&self.paths.file)
    }

    /// Fills the file with `bytes` and gives it its mode and name.
    ///
    /// Nothing is synced: for files whose loss costs another fetch and which are not trusted when
    /// a crash of the machine left half of one.
    pub(crate) fn publish_bytes(
        &self,
        bytes: &[u8],
        mode: u32,
        target: &Path,
    ) -> Result<(), StoreError> {
        let mut file = self.create()?;
        file.write_all(bytes)
            .map_err(|cause| StoreError::local("write", &self.paths.file, cause))?;
        self.set_mode(&file, mode)?;
        self.rename(target)
    }

    /// Gives the written file its mode and its name. Both are on disk when this returns, so that a
    /// crash leaves the whole file or none.
    pub(crate) fn publish(&self, file: &File, mode: u32, target: &Path) -> Result<(), StoreError> {
        self.set_mode(file, mode)?;
        file.sync_all().map_err(|cause| StoreError::local("sync", &self.paths.file, cause))?;
        self.rename(target)?;
        let directory = target.parent().unwrap_or(target);
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|cause| StoreError::local("sync directory", directory, cause))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.paths.file
    }

    fn set_mode(&self, file: &File, mode: u32) -> Result<(), StoreError> {
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(|cause| StoreError::local("change the mode of", &self.paths.file, cause))
    }

    fn rename(&self, target: &Path) -> Result<(), StoreError> {
        fs::rename(&self.paths.file, target)
            .map_err(|cause| StoreError::local("rename a new file to", target, cause))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let emptied = if *self.is_kept.get_mut() { Ok(()) } else { self.discard() };
        for outcome in [emptied, remove_if_there(&self.paths.lock)] {
            if let Err(error) = outcome {
                tracing::warn!("{error}");
            }
        }
    }
}
