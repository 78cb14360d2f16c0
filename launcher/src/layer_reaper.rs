//! Unmounts layers that no container's record names, the longest unused first.

use std::collections::BTreeSet;

use rustix::fs::{AtFlags, FlockOperation, statat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use storm_oci_request::LayerKey;

use crate::directory::Directory;
use crate::error::{Result, Step};
use crate::host::Host;
use crate::layers::{MOUNT_POINT, is_mounted, lock_layers};
use crate::run_root::lock_file;
use crate::switches::without;

/// Unmounts until at most `keep` layers are left, or only such that are in use.
///
/// Unmounting takes a layer from no container: each has clones of its own. It is only that the
/// next launch must mount it again.
pub(crate) fn reap(host: &Host, keep: u32) -> Result<()> {
    let directory = &host.run_root.layers;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    if keys(directory)?.len() <= keep {
        return Ok(());
    }
    let held = lock_file(directory)?;
    lock_layers(&held, FlockOperation::LockExclusive)?;
    // All is read after the lock was had: whoever had it before may have changed it.
    let mut left = keys(directory)?;
    left.sort_by_cached_key(|key| last_use(directory, key));
    let used = used(host)?;
    let mut surplus = left.len().saturating_sub(keep);
    for key in left.iter().filter(|key| !used.contains(key)) {
        if surplus == 0 {
            break;
        }
        if remove(directory, key)? {
            surplus = surplus.saturating_sub(1);
        }
    }
    Ok(())
}

/// Removes the directories that launches left which were killed before they mounted anything.
pub(crate) fn remove_unmounted(host: &Host) -> Result<()> {
    let directory = &host.run_root.layers;
    let held = lock_file(directory)?;
    lock_layers(&held, FlockOperation::LockExclusive)?;
    for key in keys(directory)? {
        if !is_mounted(directory, &key)? {
            remove(directory, &key)?;
        }
    }
    Ok(())
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
fn used(host: &Host) -> Result<BTreeSet<LayerKey>> {
    let mut used = BTreeSet::new();
    if without("layer-in-use") {
        return Ok(used);
    }
    for container in host.run_root.containers()? {
        if let Some(record) = host.run_root.read_record(&container)? {
            used.extend(record.layers.into_iter().map(|layer| layer.key));
        }
    }
    Ok(used)
}

/// Unmounts a layer and removes its directory; false when a process of the host is in it.
fn remove(directory: &Directory, key: &LayerKey) -> Result<bool> {
    let layer = directory.open(key.as_str())?;
    if is_mounted(directory, key)? {
        let path = layer.path_of(MOUNT_POINT);
        match unmount(&path, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::BUSY) => return Ok(false),
            Err(source) => return Err(Step::Unmount.failed(&path)(source)),
        }
    }
    layer.remove_dir(MOUNT_POINT)?;
    directory.remove_dir(key.as_str())?;
    Ok(true)
}
