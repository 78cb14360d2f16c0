//! The image's layers: files checked and mounted once for the whole host.
//!
//! `<run root>/layers/<key>/mnt` is a layer's mount, read-only, shared by all containers. The
//! lock `<run root>/layers/lock` is held exclusively to mount or unmount, shared from the last
//! look at the mounts until the container has cloned them. A container's record names its layers
//! before the lock is taken, and the reaper spares what a record names: so it does not matter
//! that changing an exclusive lock into a shared one lets others in for a moment.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, FlockOperation, FsWord, Gid, Mode, OFlags, Stat, Timespec, Timestamps,
    UTIME_NOW, Uid, fchmod, fchown, fstat, fstatfs, openat, utimensat,
};
use rustix::io::{Errno, pread};
use storm_oci_request::{
    FileIdentity, HostPath, LayerKey, LayerMediaType, LayerRecord, RequestLayer, SUPERBLOCK_BYTES,
    check_superblock,
};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{LauncherError, Result, Step};
use crate::kernel::{mount_filesystem, open_path};
use crate::privilege::{Identity, acting_as};
use crate::proc_fd;
use crate::run_root::{RunRoot, lock, lock_file};
use crate::switches::without;
use crate::sys::prove_no_writer;
use crate::sys_loop::attach_loop;

/// `f_type` of a mounted squashfs, and of an EROFS.
const MAGICS: [FsWord; 2] = [0x7371_7368, 0xe0f5_e1e2];

/// The mount point in a layer's directory.
pub(crate) const MOUNT_POINT: &str = "mnt";

/// A layer file, open and nobody's to change.
#[derive(Debug)]
pub(crate) struct LayerFile {
    fd: OwnedFd,
    kind: LayerMediaType,
    /// What the container's record says of it.
    pub(crate) record: LayerRecord,
}

/// Opens the request's layers with the caller's ids, lowest first. Of equal ones the highest
/// stays: overlay refuses a directory twice, and the upper copy hides the lower one anyway.
///
/// # Errors
///
/// [`Step::CheckLayer`] for a file that may not become a layer.
pub(crate) fn open_all(
    caller: &Identity,
    user: &Identity,
    config: &Config,
    layers: &[RequestLayer],
) -> Result<Vec<LayerFile>> {
    let open_each = || {
        let (mut directories, mut seen) = (BTreeMap::new(), BTreeSet::new());
        let mut opened = Vec::with_capacity(layers.len());
        for layer in layers.iter().rev() {
            let (parent, name) = layer.path.as_str().rsplit_once('/').unwrap_or_default();
            let directory = match directories.entry(parent) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    entry.insert(open_directory(parent, &layer.path, caller, user)?)
                }
            };
            let file = open_layer(directory, name, layer, caller, config)?;
            if seen.insert(file.record.key.clone()) || without("layer-once") {
                opened.push(file);
            }
        }
        opened.reverse();
        Ok(opened)
    };
    if without("layer-as-caller") { open_each() } else { acting_as(caller, open_each)? }
}

/// Opens the directory of a layer. Who can write it, or rename one above it, could put other
/// files in the layers' places.
fn open_directory(
    parent: &str,
    layer: &HostPath,
    caller: &Identity,
    user: &Identity,
) -> Result<OwnedFd> {
    let failed = failed(layer);
    let directory = open_path(if parent.is_empty() { "/" } else { parent }).map_err(&failed)?;
    let mut stat = fstat(&directory).map_err(&failed)?;
    check_owner(layer, "its directory", &stat, caller)?;
    let mut above = up(&directory).map_err(&failed)?;
    loop {
        let below = std::mem::replace(&mut stat, fstat(&above).map_err(&failed)?);
        if (below.st_dev, below.st_ino) == (stat.st_dev, stat.st_ino) {
            return Ok(directory);
        }
        // In a sticky directory nobody renames what is another's.
        let shared = stat.st_mode & 0o022 != 0 && stat.st_mode & 0o1000 == 0;
        let safe = stat.st_uid != user.uid && !shared || without("layer-directories-above");
        must(layer, safe, || {
            let found = told("a directory above it", &stat);
            format!("{found}; must not be the user's nor writable by group or others")
        })?;
        above = up(&above).map_err(&failed)?;
    }
}

fn up(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(directory, "..", flags, Mode::empty())
}

fn open_layer(
    directory: &OwnedFd,
    name: &str,
    layer: &RequestLayer,
    caller: &Identity,
    config: &Config,
) -> Result<LayerFile> {
    let path = &layer.path;
    let mut flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    flags.set(OFlags::NOFOLLOW, !without("layer-no-links"));
    let fd = openat(directory, name, flags, Mode::empty()).map_err(failed(path))?;
    let stat = fstat(&fd).map_err(failed(path))?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    must(path, regular || without("layer-regular"), || "not a regular file".to_owned())?;
    let links = stat.st_nlink;
    must(path, links == 1 || without("layer-one-link"), || format!("{links} links, must be one"))?;
    check_owner(path, "it", &stat, caller)?;
    if let Some(allowed) = &config.layer_dirs {
        let real = proc_fd::path_of(&fd).map_err(failed(path))?;
        let inside = |real: HostPath| allowed.iter().any(|directory| real.starts_with(directory));
        must(path, HostPath::parse(&real).is_ok_and(inside) || without("layer-dirs"), || {
            format!("it is `{real}`, below none of worker.launcher.oci.layer-dirs")
        })?;
    }
    let record = LayerRecord { key: key_of(&stat), path: path.clone(), mounted: false };
    Ok(LayerFile { fd, kind: layer.media_type, record })
}

fn check_owner(layer: &HostPath, what: &str, stat: &Stat, caller: &Identity) -> Result<()> {
    let owner = stat.st_uid == 0 || stat.st_uid == caller.uid || without("layer-owner");
    let mode = stat.st_mode & 0o022 == 0 || without("layer-mode");
    must(layer, owner && mode, || {
        format!(
            "{}; must be the supervisor's or root's, and only theirs to write",
            told(what, stat)
        )
    })
}

fn told(what: &str, stat: &Stat) -> String {
    format!("{what} is owned by uid {} with mode {:04o}", stat.st_uid, stat.st_mode & 0o7777)
}

fn must(layer: &HostPath, holds: bool, problem: impl FnOnce() -> String) -> Result<()> {
    let refused = || Step::CheckLayer.refused(layer.as_str(), problem());
    if holds { Ok(()) } else { Err(refused()) }
}

fn failed(path: &HostPath) -> impl Fn(Errno) -> LauncherError {
    move |source| Step::CheckLayer.failed(path.as_str())(source)
}

fn key_of(stat: &Stat) -> LayerKey {
    LayerKey::of(FileIdentity {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        modified_seconds: stat.st_mtime,
        modified_nanos: stat.st_mtime_nsec,
    })
}

/// Takes the lock of all layers, or changes how it is held.
pub(crate) fn lock_layers(held: &OwnedFd, operation: FlockOperation) -> Result<()> {
    lock(held, operation).map_err(Step::Lock.failed("layers"))
}

/// Mounts the layers that are not mounted yet, and says so in their records. Returns their lock,
/// which keeps the reaper from them until it is dropped.
///
/// # Errors
///
/// [`Step::CheckLayer`] and [`Step::MountLayer`]; what this call mounted stays, for the reaper.
pub(crate) fn mount_all(run_root: &RunRoot, layers: &mut [LayerFile]) -> Result<OwnedFd> {
    let directory = &run_root.layers;
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

/// Whether a layer's mount point has a layer on it.
pub(crate) fn is_mounted(directory: &Directory, key: &LayerKey) -> Result<bool> {
    let path = format!("{key}/{MOUNT_POINT}");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(directory, &path, flags, Mode::empty()).and_then(is_layer) {
        Err(Errno::NOENT) => Ok(false),
        outcome => outcome.map_err(Step::MountLayer.failed(&path)),
    }
}

/// Whether an open file or mount is on a file system that layers have.
pub(crate) fn is_layer(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(MAGICS.contains(&fstatfs(fd)?.f_type))
}

/// Sets a layer's time of last use, by which the reaper chooses; fine when it is not there.
pub(crate) fn touch(directory: &Directory, layer: &LayerRecord) -> Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    match utimensat(directory, layer.key.as_str(), &times, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(source) => {
            let path = directory.path_of(layer.key.as_str());
            Err(Step::Write.failed(&path)(source))
        }
    }
}

fn mount(directory: &Directory, layer: &LayerFile) -> Result<()> {
    take_over(layer)?;
    let key = layer.record.key.as_str();
    let parent = directory.ensure(key, 0o700, 0)?;
    let place = parent.ensure(MOUNT_POINT, 0o700, 0)?;
    mount_at(layer, &place).inspect_err(|_| {
        // Nothing is mounted, so these are empty directories: what fails here, fails again when
        // the next launch makes them.
        let _kept = parent.remove_dir(MOUNT_POINT).and_then(|()| directory.remove_dir(key));
    })
}

/// Makes the file root's and read-only, makes sure that nobody still has it open for writing and
/// that it is still what it was, and checks its superblock.
fn take_over(layer: &LayerFile) -> Result<()> {
    let (path, file) = (&layer.record.path, &layer.fd);
    // A file of root's keeps its mode: making it readable could tell what the caller may read
    // only through a group.
    if fstat(file).map_err(failed(path))?.st_uid != 0 && !without("layer-take-over") {
        fchown(file, Some(Uid::ROOT), Some(Gid::ROOT)).map_err(failed(path))?;
        fchmod(file, Mode::from_raw_mode(0o444)).map_err(failed(path))?;
    }
    let alone = match prove_no_writer(file) {
        Err(Errno::AGAIN) => without("layer-lease"),
        outcome => outcome.map(|()| true).map_err(failed(path))?,
    };
    must(path, alone, || "somebody has it open for writing, must be nobody".to_owned())?;
    // The key was made before the file was ours.
    let stat = fstat(file).map_err(failed(path))?;
    let same = key_of(&stat) == layer.record.key || without("layer-unchanged");
    must(path, same, || "it changed while it was checked".to_owned())?;
    let mut start = [0; SUPERBLOCK_BYTES];
    let count = pread(file, &mut start, 0).map_err(failed(path))?;
    let bytes = u64::try_from(stat.st_size).unwrap_or_default();
    let checked = check_superblock(layer.kind, start.get(..count).unwrap_or_default(), bytes);
    must(path, checked.is_ok() || without("layer-header"), || checked.err().unwrap_or_default())
}

fn mount_at(layer: &LayerFile, place: &Directory) -> Result<()> {
    let kind = match layer.kind {
        LayerMediaType::Squashfs => "squashfs",
        LayerMediaType::Erofs => "erofs",
    };
    // Only what the kernel says of the file itself is the layer's fault: the supervisor throws
    // such a layer away.
    let failed = |source| match source {
        Errno::NODEV => Step::Mount.failed(kind)(source),
        _ => Step::MountLayer.failed(layer.record.path.as_str())(source),
    };
    if layer.kind == LayerMediaType::Erofs && !without("erofs-file") {
        let source = format!("/proc/self/fd/{}", layer.fd.as_raw_fd());
        match mount_filesystem(kind, &source, place) {
            // Before Linux 6.12, and where the file lies on a tmpfs.
            Err(Errno::NOTBLK) => {}
            outcome => return outcome.map_err(failed),
        }
    }
    let (_held, device) = attach_loop(&layer.fd).map_err(Step::Mount.failed("loop device"))?;
    mount_filesystem(kind, &device, place).map_err(failed)
}
