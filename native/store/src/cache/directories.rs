//! Where things are in the cache, and what a dead process left there.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::lock::{FileLock, LockMode};
use crate::cache::progress::{self, Progress};
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
const PROGRESS_SUFFIX: &str = ".progress";
const NEXT_PROGRESS_SUFFIX: &str = ".progress.next";
/// How long a fetch that ended early waits to be gone on with. By then the image was most likely
/// given up.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

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
        let boot = progress::boot_id().ok();
        directories.sweep_partial(|paths| {
            boot.as_ref().is_some_and(|boot| paths.can_be_gone_on_with(boot))
        })?;
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

    /// What belongs to a writer of `name`.
    pub(crate) fn partial(&self, name: &str) -> PartialPaths {
        let directory = self.root.join("partial");
        let path = |suffix| directory.join(format!("{name}{suffix}"));
        PartialPaths {
            file: path(""),
            lock: path(LOCK_SUFFIX),
            progress: path(PROGRESS_SUFFIX),
            next_progress: path(NEXT_PROGRESS_SUFFIX),
        }
    }

    /// Removes the partial files that nobody writes, those included that could be gone on with.
    /// Returns how many bytes of the disk they had.
    pub(crate) fn remove_abandoned_partials(&self) -> Result<u64, StoreError> {
        self.sweep_partial(|_| false)
    }

    /// Removes partial files whose writer is gone, unless `is_kept`.
    fn sweep_partial(&self, is_kept: impl Fn(&PartialPaths) -> bool) -> Result<u64, StoreError> {
        let mut freed = 0_u64;
        for name in names(&self.root.join("partial"))? {
            let Some(name) = name.to_str() else { continue };
            let suffix = [LOCK_SUFFIX, PROGRESS_SUFFIX, NEXT_PROGRESS_SUFFIX]
                .into_iter()
                .find(|suffix| name.ends_with(suffix));
            let paths = self.partial(suffix.and_then(|end| name.strip_suffix(end)).unwrap_or(name));
            if let Some(lock) = try_exclusive(&paths.lock)? {
                remove_if_there(&paths.next_progress)?;
                if !is_kept(&paths) {
                    remove_if_there(&paths.progress)?;
                    freed = freed.saturating_add(allocated(&paths.file));
                    remove_if_there(&paths.file)?;
                }
                remove_if_there(&paths.lock)?;
                drop(lock);
            }
        }
        Ok(freed)
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

/// The paths of one name in `partial/`.
#[derive(Debug)]
pub(crate) struct PartialPaths {
    /// What is written.
    pub(crate) file: PathBuf,
    /// What its writer holds.
    pub(crate) lock: PathBuf,
    /// What tells how far the writer came.
    pub(crate) progress: PathBuf,
    /// The next of these while it is written.
    pub(crate) next_progress: PathBuf,
}

impl PartialPaths {
    /// Whether the next fetch may find use for what is here.
    fn can_be_gone_on_with(&self, boot: &str) -> bool {
        let age = fs::metadata(&self.progress).and_then(|metadata| metadata.modified()).ok();
        let age = age.and_then(|modified| modified.elapsed().ok());
        age.is_some_and(|age| age < KEPT_FOR)
            && self.file.exists()
            && Progress::read(&self.progress).is_some_and(|progress| progress.is_of_boot(boot))
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

/// How many bytes of the disk a file has; 0 if it is not there.
fn allocated(path: &Path) -> u64 {
    /// What `stat(2)` counts in.
    const BLOCK: u64 = 512;
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks().saturating_mul(BLOCK))
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
