//! The layers that are mounted, once for the whole host, and the reaper of those in nobody's use.
//!
//! `<run root>/layers/<key>/mnt` is a layer's mount, read-only, shared by all containers. The
//! lock `<run root>/layers/lock` is held exclusively to mount or unmount, shared from the last
//! look at the mounts until the container has cloned them. A container's record names its layers
//! before the lock is taken, and the reaper spares what a record names: so it does not matter
//! that changing an exclusive lock into a shared one lets others in for a moment.

use std::collections::BTreeSet;

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FlockOperation, FsWord, OFlags, Timespec, Timestamps, UTIME_NOW, fstatfs, statat,
    utimensat,
};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use storm_oci_request::{LayerKey, LayerRecord};

use crate::directory::Directory;
use crate::error::{At, Result, Step};
use crate::layer_file::LayerFile;
use crate::run_root::{RunRoot, lock, lock_file};
use crate::switches::without;
use crate::sys_file::{open, unless_missing};

/// `f_type` of a mounted squashfs, and of an EROFS.
const MAGICS: [FsWord; 2] = [0x7371_7368, 0xe0f5_e1e2];

/// The mount point in a layer's directory.
pub(crate) const MOUNT_POINT: &str = "mnt";

/// Mounts the layers that are not mounted yet, and says so in their records. Returns their lock,
/// which keeps the reaper from them until it is dropped.
///
/// # Errors
///
/// [`Step::CheckLayer`] and [`Step::MountLayer`]; what this call mounted stays, for the reaper.
pub(crate) fn mount_all(directory: &Directory, layers: &mut [LayerFile]) -> Result<OwnedFd> {
    let held = lock_file(directory)?;
    lock_layers(&held, FlockOperation::LockShared)?;
    let mut exclusive = false;
    for layer in layers {
        let key = &layer.record.key;
        let mut mounted = is_mounted(directory, key)?;
        if !mounted && !exclusive {
            lock_layers(&held, FlockOperation::LockExclusive)?;
            exclusive = true;
            // Whoever had the lock meanwhile may have mounted it.
            mounted = is_mounted(directory, key)? && !without("layer-look-again");
        }
        if !mounted {
            mount(directory, layer)?;
            layer.record.mounted = true;
        }
        touch(directory, &layer.record)?;
    }
    if exclusive {
        lock_layers(&held, FlockOperation::LockShared)?;
    }
    Ok(held)
}

fn lock_layers(held: &OwnedFd, operation: FlockOperation) -> Result<()> {
    lock(held, operation).at(Step::Lock, "layers")
}

fn mount(directory: &Directory, layer: &LayerFile) -> Result<()> {
    layer.take_over()?;
    let key = layer.record.key.as_str();
    let parent = directory.ensure(key, 0o700, 0)?;
    layer.mount(parent.ensure(MOUNT_POINT, 0o700, 0)?).inspect_err(|_| {
        // Nothing is mounted, so these are empty directories: what fails here, fails again when
        // the next launch makes them.
        let _kept = parent.remove_dir(MOUNT_POINT).and_then(|()| directory.remove_dir(key));
    })
}

/// Whether a layer's mount point has a layer on it.
pub(crate) fn is_mounted(directory: &Directory, key: &LayerKey) -> Result<bool> {
    let path = format!("{key}/{MOUNT_POINT}");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let kind = unless_missing(open(directory, &path, flags).and_then(fstatfs));
    Ok(kind.at(Step::MountLayer, path)?.is_some_and(|kind| MAGICS.contains(&kind.f_type)))
}

/// Sets a layer's time of last use, by which the reaper chooses; fine when it is not there.
pub(crate) fn touch(directory: &Directory, layer: &LayerRecord) -> Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let key = layer.key.as_str();
    let touched = unless_missing(utimensat(directory, key, &times, AtFlags::SYMLINK_NOFOLLOW));
    touched.map(drop).at(Step::Write, directory.path_of(key))
}

/// Unmounts layers that no container's record names, the longest unused first, until at most
/// `keep` are left.
///
/// Unmounting takes a layer from no container: each has clones of its own. It is only that the
/// next launch must mount it again.
pub(crate) fn reap(run_root: &RunRoot, keep: u32) -> Result<()> {
    let directory = &run_root.layers;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    if keys(directory)?.len() <= keep {
        return Ok(());
    }
    let _held = lock_out(directory)?;
    // All is read after the lock was had: whoever had it before may have changed it.
    let mut left = keys(directory)?;
    left.sort_by_cached_key(|key| last_use(directory, key));
    let used = used(run_root)?;
    let mut surplus = left.len().saturating_sub(keep);
    for key in left.iter().filter(|key| !used.contains(key)) {
        if surplus > 0 && remove(directory, key)? {
            surplus = surplus.saturating_sub(1);
        }
    }
    Ok(())
}

/// Removes the directories that launches left which were killed before they mounted anything.
pub(crate) fn remove_unmounted(directory: &Directory) -> Result<()> {
    let _held = lock_out(directory)?;
    for key in keys(directory)? {
        if !is_mounted(directory, &key)? {
            remove(directory, &key)?;
        }
    }
    Ok(())
}

fn lock_out(directory: &Directory) -> Result<OwnedFd> {
    let held = lock_file(directory)?;
    lock_layers(&held, FlockOperation::LockExclusive).map(|()| held)
}

fn keys(directory: &Directory) -> Result<Vec<LayerKey>> {
    let names = directory.entries()?;
    Ok(names.iter().filter_map(|name| LayerKey::parse(name).ok()).collect())
}

/// Each launch sets it, and the removal of a container.
fn last_use(directory: &Directory, key: &LayerKey) -> (i64, u64) {
    statat(directory, key.as_str(), AtFlags::SYMLINK_NOFOLLOW)
        .map(|stat| (stat.st_mtime, stat.st_mtime_nsec))
        .unwrap_or_default()
}

/// The layers that a record names. A record that cannot be read may name any.
fn used(run_root: &RunRoot) -> Result<BTreeSet<LayerKey>> {
    let mut used = BTreeSet::new();
    for container in run_root.containers()?.iter().filter(|_| !without("layer-in-use")) {
        let record = run_root.read_record(container)?;
        used.extend(record.into_iter().flat_map(|record| record.layers).map(|layer| layer.key));
    }
    Ok(used)
}

/// Unmounts a layer and removes its directory; false when a process of the host is in it.
fn remove(directory: &Directory, key: &LayerKey) -> Result<bool> {
    let layer = directory.open(key.as_str())?;
    if is_mounted(directory, key)? {
        let path = layer.path_of(MOUNT_POINT);
        match unmount(&path, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) => return Ok(false),
            outcome => outcome.at(Step::Unmount, path)?,
        }
    }
    layer.remove_dir(MOUNT_POINT)?;
    directory.remove_dir(key.as_str()).map(|()| true)
}
