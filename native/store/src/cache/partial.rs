//! Files on the way to their place.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::cache::directories::{Directories, remove_if_there};
use crate::cache::lock::{FileLock, LockMode};
use crate::error::StoreError;

/// The only writer of one name in `partial/`, among all processes.
///
/// Dropping it removes what is there and lets the next writer in.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: FileLock,
}

impl Partial {
    /// Waits until nobody else writes `name`.
    pub(crate) async fn begin(directories: &Directories, name: &str) -> Result<Self, StoreError> {
        let (path, lock_path) = directories.partial(name);
        let lock = FileLock::acquire(&lock_path, LockMode::Exclusive).await?;
        Ok(Self { path, lock_path, _lock: lock })
    }

    /// A new empty file, in place of whatever an earlier try left.
    pub(crate) fn create(&self) -> Result<File, StoreError> {
        remove_if_there(&self.path)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(|cause| StoreError::local("create", &self.path, cause))
    }

    /// Fills the file with `bytes` and publishes it.
    pub(crate) fn publish_bytes(
        &self,
        bytes: &[u8],
        mode: u32,
        target: &Path,
    ) -> Result<(), StoreError> {
        let mut file = self.create()?;
        file.write_all(bytes).map_err(|cause| StoreError::local("write", &self.path, cause))?;
        self.publish(&file, mode, target)
    }

    /// Gives the written file its mode and its name. Both are on disk when this returns, so that a
    /// crash leaves the whole file or none.
    pub(crate) fn publish(&self, file: &File, mode: u32, target: &Path) -> Result<(), StoreError> {
        let failed = |operation, cause| StoreError::local(operation, &self.path, cause);
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(|cause| failed("change the mode of", cause))?;
        file.sync_all().map_err(|cause| failed("sync", cause))?;
        fs::rename(&self.path, target)
            .map_err(|cause| StoreError::local("rename a new file to", target, cause))?;
        let directory = target.parent().unwrap_or(target);
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|cause| StoreError::local("sync directory", directory, cause))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        for path in [&self.path, &self.lock_path] {
            if let Err(error) = remove_if_there(path) {
                tracing::warn!("{error}");
            }
        }
    }
}
