//! Where things are in the cache, and what a dead process left there.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::cache::lock::{FileLock, LockMode};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::layer_file::{LayerFile, LayerFormat};

/// The launcher refuses a layer in a directory that group or others can write.
const DIRECTORY_MODE: u32 = 0o755;
/// The permission bits of a mode.
const PERMISSIONS: u32 = 0o7777;
/// What follows a layer's file name in its record's, and a partial file's name in its lock's.
const RECORD_SUFFIX: &str = ".json";
const LOCK_SUFFIX: &str = ".lock";

/// The paths of one cache. Every name in it is a constant or made from a [`Digest`].
#[derive(Clone, Debug)]
pub(crate) struct Directories {
    root: PathBuf,
}

impl Directories {
    /// Makes what is missing, and removes what dead processes left.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(root)
            .map_err(|cause| StoreError::local("create directory", root, cause))?;
        let directories = Self { root: root.to_owned() };
        for name in ["layers", "config", "manifests", "leases", "partial"] {
            make_directory(&root.join(name))?;
        }
        directories.sweep_partial()?;
        directories.sweep_leases()?;
        Ok(directories)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Held by the one who collects.
    pub(crate) fn collect_lock(&self) -> PathBuf {
        self.root.join("collect.lock")
    }

    /// The directory of all layers.
    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn layer(&self, layer: &LayerFile) -> PathBuf {
        self.layers().join(layer.to_string())
    }

    pub(crate) fn layer_record(&self, layer: &LayerFile) -> PathBuf {
        self.layers().join(format!("{layer}{RECORD_SUFFIX}"))
    }

    pub(crate) fn config(&self, digest: &Digest) -> PathBuf {
        self.root.join("config").join(digest.as_hex())
    }

    pub(crate) fn manifest(&self, digest: &Digest) -> PathBuf {
        self.root.join("manifests").join(digest.as_hex())
    }

    pub(crate) fn lease(&self, digest: &Digest) -> PathBuf {
        self.root.join("leases").join(digest.as_hex())
    }

    /// The file a writer of `name` fills, and the lock it holds meanwhile.
    pub(crate) fn partial(&self, name: &str) -> (PathBuf, PathBuf) {
        let directory = self.root.join("partial");
        (directory.join(name), directory.join(format!("{name}{LOCK_SUFFIX}")))
    }

    /// Removes partial files whose writer is gone.
    fn sweep_partial(&self) -> Result<(), StoreError> {
        for name in names(&self.root.join("partial"))? {
            let Some(name) = name.to_str() else { continue };
            let (path, lock_path) = self.partial(name.strip_suffix(LOCK_SUFFIX).unwrap_or(name));
            if let Some(lock) = try_exclusive(&lock_path)? {
                remove_if_there(&path)?;
                remove_if_there(&lock_path)?;
                drop(lock);
            }
        }
        Ok(())
    }

    /// Removes lease files that nobody holds and no layer needs, so that they do not pile up. The
    /// others tell when their layer was last used.
    fn sweep_leases(&self) -> Result<(), StoreError> {
        let directory = self.root.join("leases");
        for name in names(&directory)? {
            if self.is_lease_of_a_layer(&name) {
                continue;
            }
            let path = directory.join(name.as_ref());
            if let Some(lease) = try_exclusive(&path)? {
                remove_if_there(&path)?;
                drop(lease);
            }
        }
        Ok(())
    }

    fn is_lease_of_a_layer(&self, name: &OsStr) -> bool {
        let digest = name.to_str().and_then(|name| Digest::parse_hex(name).ok());
        digest.is_some_and(|digest| {
            LayerFormat::ALL.into_iter().any(|format| {
                let layer = LayerFile { digest: digest.clone(), format };
                fs::symlink_metadata(self.layer(&layer)).is_ok()
            })
        })
    }
}

/// Removes a file; one that is not there is no error.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::local("remove", path, cause))
        }
        _ => Ok(()),
    }
}

fn try_exclusive(path: &Path) -> Result<Option<FileLock>, StoreError> {
    FileLock::try_acquire(path, LockMode::Exclusive)
        .map_err(|cause| StoreError::local("lock", path, cause))
}

/// Makes a directory of the mode the launcher asks for, whatever the umask.
fn make_directory(path: &Path) -> Result<(), StoreError> {
    match fs::create_dir(path) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            return Err(StoreError::local("create directory", path, cause));
        }
        _ => {}
    }
    let metadata =
        fs::symlink_metadata(path).map_err(|cause| StoreError::local("stat", path, cause))?;
    if !metadata.is_dir() {
        return Err(StoreError::local("use directory", path, io::ErrorKind::NotADirectory));
    }
    if metadata.permissions().mode() & PERMISSIONS != DIRECTORY_MODE {
        fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))
            .map_err(|cause| StoreError::local("change the mode of", path, cause))?;
    }
    Ok(())
}

/// The names in a directory, in no order.
pub(crate) fn names(directory: &Path) -> Result<Vec<Box<OsStr>>, StoreError> {
    let failed = |cause| StoreError::local("list", directory, cause);
    fs::read_dir(directory)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.file_name().into_boxed_os_str()).map_err(failed))
        .collect()
}
