//! Room in the cache: what was used longest ago goes first, and never what is in use.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use rustix::fs::statvfs;

use crate::cache::directories::{Directories, names, remove_if_there};
use crate::cache::lock::{FileLock, LockMode};
use crate::error::StoreError;
use crate::layer_file::LayerFile;
use crate::settings::CacheBudget;

/// The unit of `st_blocks`, whatever the file system's own blocks are.
const BLOCK: u64 = 512;

/// Tells which layers this host runs on.
pub trait InUse: fmt::Debug + Send + Sync {
    /// Whether a layer's file is mounted, or belongs to a container that may be alive. `file` is
    /// what `lstat` says of it.
    ///
    /// Asked while nobody holds a lease on the layer: a launch that is under way does, until the
    /// container has its mounts and its record.
    ///
    /// # Errors
    ///
    /// When it cannot be told. Nothing more is removed then.
    fn is_in_use(&self, layer: &Path, file: &Metadata) -> io::Result<bool>;
}

/// What a collection did. Bytes are those the files took on disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Collected {
    /// The bytes it freed.
    pub bytes: u64,
    /// The layers it removed.
    pub layers: usize,
    /// The bytes of all that is left in the cache.
    pub left: u64,
    /// The bytes it should have freed but could not, because all that is left is in use.
    pub missing: u64,
}

/// Removes layers of one cache.
#[derive(Debug)]
pub(crate) struct Collector {
    directories: Directories,
    budget: CacheBudget,
    /// Without it nothing is ever removed.
    in_use: Option<Arc<dyn InUse>>,
    /// A run in the background that has not looked at the cache yet.
    is_requested: AtomicBool,
}

/// A layer that might go.
struct Candidate {
    last_used: SystemTime,
    layer: LayerFile,
    /// Whether its lease has a file, whose time is that of the last use.
    has_lease: bool,
}

impl Collector {
    pub(crate) fn new(
        directories: Directories,
        budget: CacheBudget,
        in_use: Option<Arc<dyn InUse>>,
    ) -> Self {
        Self { directories, budget, in_use, is_requested: AtomicBool::new(false) }
    }

    /// Brings the cache within its budget, with `need` bytes to spare. Blocks.
    pub(crate) fn collect(&self, need: u64) -> Result<Collected, StoreError> {
        let CacheBudget { max_bytes, min_free_bytes } = self.budget;
        self.free(|used, available| {
            let over = max_bytes.map_or(0, |max| used.saturating_add(need).saturating_sub(max));
            let short = match min_free_bytes {
                0 => 0,
                floor => floor.saturating_add(need).saturating_sub(available),
            };
            over.max(short)
        })
    }

    /// Has `need` bytes become free on a file system that is full. Blocks.
    pub(crate) fn make_room(&self, need: u64) -> Result<Collected, StoreError> {
        self.free(|_, available| match need.saturating_sub(available) {
            // Full although there is room: a quota, or no inode is left.
            0 => need,
            lacking => lacking,
        })
    }

    /// Brings the cache within its budget some time soon. To be called in a runtime.
    pub(crate) fn collect_in_background(self: &Arc<Self>) {
        let has_budget = self.budget != CacheBudget::default() && self.in_use.is_some();
        if !has_budget || self.is_requested.swap(true, Ordering::Relaxed) {
            return;
        }
        let collector = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            // What is fetched from here on may not be seen by this run, so it asks for another.
            collector.is_requested.store(false, Ordering::Relaxed);
            if let Err(error) = collector.collect(0) {
                tracing::warn!("cannot keep the cache within its budget: {error}");
            }
        });
    }

    /// Removes layers until as many bytes are freed as `target` makes of the bytes used by the
    /// cache and those available on its file system.
    fn free(&self, target: impl Fn(u64, u64) -> u64) -> Result<Collected, StoreError> {
        let Some(in_use) = &self.in_use else {
            return Ok(Collected::default());
        };
        // One at a time among all processes, else each would free what one should.
        let _lock = FileLock::acquire_blocking(&self.directories.collect_lock())?;
        let root = self.directories.root();
        let used = bytes_below(root)?;
        let target = target(used, available(root)?);
        let mut collected = Collected { left: used, missing: target, ..Collected::default() };
        if target == 0 {
            return Ok(collected);
        }
        for candidate in self.candidates()? {
            match self.remove(&candidate, in_use.as_ref())? {
                Some(bytes) => {
                    collected.bytes += bytes;
                    collected.layers += 1;
                    tracing::debug!(layer = %candidate.layer, bytes, "removed from the cache");
                }
                None => continue,
            }
            if collected.bytes >= target {
                break;
            }
        }
        collected.left = used.saturating_sub(collected.bytes);
        collected.missing = target.saturating_sub(collected.bytes);
        let Collected { bytes, layers, left, missing } = collected;
        let cache = root.display();
        if missing == 0 {
            tracing::info!(%cache, bytes, layers, left, "freed layers that were used longest ago");
        } else {
            tracing::warn!(%cache, bytes, layers, left, missing, "freed less than was wanted: all that is left is in use");
        }
        Ok(collected)
    }

    /// The layers in the order they would go, those that do not count included.
    fn candidates(&self) -> Result<Vec<Candidate>, StoreError> {
        let mut candidates = Vec::new();
        for name in names(&self.directories.layers())? {
            let Some(layer) = name.to_str().and_then(LayerFile::parse) else { continue };
            let changed = |path: &Path| fs::symlink_metadata(path).and_then(|file| file.modified());
            let lease = changed(&self.directories.lease(&layer.digest)).ok();
            let last_used = match lease {
                Some(last_used) => last_used,
                // Of a cache without leases, or gone meanwhile.
                None => match changed(&self.directories.layer(&layer)) {
                    Ok(fetched) => fetched,
                    Err(_) => continue,
                },
            };
            candidates.push(Candidate { last_used, layer, has_lease: lease.is_some() });
        }
        candidates.sort_by(|one, other| {
            (one.last_used, &one.layer).cmp(&(other.last_used, &other.layer))
        });
        Ok(candidates)
    }

    /// Removes a layer unless it is in use, and tells how many bytes that freed.
    fn remove(&self, candidate: &Candidate, in_use: &dyn InUse) -> Result<Option<u64>, StoreError> {
        let Candidate { layer, has_lease, .. } = candidate;
        let lease_path = self.directories.lease(&layer.digest);
        let lease = FileLock::try_acquire(&lease_path, LockMode::Exclusive)
            .map_err(|cause| StoreError::local("lock", &lease_path, cause))?;
        let Some(_lease) = lease else {
            return Ok(None);
        };
        let path = self.directories.layer(layer);
        let removed = self.remove_unleased(layer, &path, in_use);
        // A lease that was made here would say that the layer was used just now.
        if !has_lease || matches!(removed, Ok(Some(_))) {
            remove_if_there(&lease_path)?;
        }
        removed
    }

    fn remove_unleased(
        &self,
        layer: &LayerFile,
        path: &Path,
        in_use: &dyn InUse,
    ) -> Result<Option<u64>, StoreError> {
        let file = match fs::symlink_metadata(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(StoreError::local("stat", path, cause)),
        };
        let is_in_use = in_use
            .is_in_use(path, &file)
            .map_err(|cause| StoreError::local("tell the use of", path, cause))?;
        if is_in_use {
            return Ok(None);
        }
        // The record first: without it the layer does not count.
        let record = self.directories.layer_record(layer);
        let record_bytes = fs::symlink_metadata(&record).map_or(0, |record| disk_bytes(&record));
        remove_if_there(&record)?;
        remove_if_there(path)?;
        Ok(Some(disk_bytes(&file).saturating_add(record_bytes)))
    }
}

/// What a file takes on disk.
fn disk_bytes(file: &Metadata) -> u64 {
    file.blocks().saturating_mul(BLOCK)
}

/// What all files below a directory take on disk. Files that go meanwhile count nothing.
fn bytes_below(directory: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0_u64;
    for name in names(directory)? {
        let path = directory.join(name.as_ref());
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => bytes = bytes.saturating_add(bytes_below(&path)?),
            Ok(found) => bytes = bytes.saturating_add(disk_bytes(&found)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(StoreError::local("stat", &path, cause)),
        }
    }
    Ok(bytes)
}

/// What this account can still write on the file system of `path`.
fn available(path: &Path) -> Result<u64, StoreError> {
    let status = statvfs(path)
        .map_err(|error| StoreError::local("ask for the free space of", path, error))?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(test)]
mod tests;
