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
use crate::error::{LauncherError, Step};
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
) -> Result<Vec<LayerFile>, LauncherError> {
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
) -> Result<OwnedFd, LauncherError> {
    let failed = failed(layer);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = if parent.is_empty() { "/" } else { parent };
    let directory = open_path(parent).map_err(&failed)?;
    let mut stat = fstat(&directory).map_err(&failed)?;
    check_owner(layer, "its directory is", &stat, caller)?;
    let mut above = openat(&directory, "..", flags, Mode::empty()).map_err(&failed)?;
    loop {
        let below = std::mem::replace(&mut stat, fstat(&above).map_err(&failed)?);
        if (below.st_dev, below.st_ino) == (stat.st_dev, stat.st_ino) {
            return Ok(directory);
        }
        // In a sticky directory nobody renames what is another's.
        let shared = stat.st_mode & 0o022 != 0 && stat.st_mode & 0o1000 == 0;
        if (stat.st_uid == user.uid || shared) && !without("layer-directories-above") {
            let problem = format!(
                "a directory above it is {}; must not be the user's nor writable by group or others",
                owner_and_mode(&stat)
            );
            return Err(refused(layer, problem));
        }
        above = openat(&above, "..", flags, Mode::empty()).map_err(&failed)?;
    }
}

fn open_layer(
    directory: &OwnedFd,
    name: &str,
    layer: &RequestLayer,
    caller: &Identity,
    config: &Config,
) -> Result<LayerFile, LauncherError> {
    let path = &layer.path;
    let mut flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    flags.set(OFlags::NOFOLLOW, !without("layer-no-links"));
    let fd = openat(directory, name, flags, Mode::empty()).map_err(failed(path))?;
    let stat = fstat(&fd).map_err(failed(path))?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !regular && !without("layer-regular") {
        return Err(refused(path, "not a regular file"));
    }
    if stat.st_nlink != 1 && !without("layer-one-link") {
        return Err(refused(path, format!("{} links, must be one", stat.st_nlink)));
    }
    check_owner(path, "it is", &stat, caller)?;
    if let Some(allowed) = &config.layer_dirs
        && !without("layer-dirs")
    {
        let real = proc_fd::path_of(&fd).map_err(failed(path))?;
        let inside = |real: HostPath| allowed.iter().any(|directory| real.starts_with(directory));
        if !HostPath::parse(&real).is_ok_and(inside) {
            let problem = format!("it is `{real}`, below none of worker.launcher.oci.layer-dirs");
            return Err(refused(path, problem));
        }
    }
    let record = LayerRecord { key: key_of(&stat), path: path.clone(), mounted: false };
    Ok(LayerFile { fd, kind: layer.media_type, record })
}

fn check_owner(
    layer: &HostPath,
    what: &str,
    stat: &Stat,
    caller: &Identity,
) -> Result<(), LauncherError> {
    let owner = stat.st_uid == 0 || stat.st_uid == caller.uid || without("layer-owner");
    let mode = stat.st_mode & 0o022 == 0 || without("layer-mode");
    if owner && mode {
        return Ok(());
    }
    let found = owner_and_mode(stat);
    let problem = format!(
        "{what} {found}; must be the supervisor's or root's and writable by its owner only"
    );
    Err(refused(layer, problem))
}

fn owner_and_mode(stat: &Stat) -> String {
    format!("owned by uid {} with mode {:04o}", stat.st_uid, stat.st_mode & 0o7777)
}

fn refused(path: &HostPath, problem: impl Into<String>) -> LauncherError {
    LauncherError::refused(Step::CheckLayer, path.as_str(), problem)
}

fn failed(path: &HostPath) -> impl Fn(Errno) -> LauncherError {
    move |source| LauncherError::failed(Step::CheckLayer, path.as_str(), source)
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

/// Keeps the reaper from layers until it is dropped.
#[derive(Debug)]
pub(crate) struct LayersLock(OwnedFd);

impl LayersLock {
    /// Takes the lock.
    pub(crate) fn take(
        directory: &Directory,
        operation: FlockOperation,
    ) -> Result<Self, LauncherError> {
        let own = Self(lock_file(directory)?);
        own.change(operation)?;
        Ok(own)
    }

    fn change(&self, operation: FlockOperation) -> Result<(), LauncherError> {
        lock(&self.0, operation)
            .map_err(|source| LauncherError::failed(Step::Lock, "layers", source))
    }
}

/// Mounts the layers that are not mounted yet, and says so in their records.
///
/// # Errors
///
/// [`Step::CheckLayer`] and [`Step::MountLayer`]; what this call mounted stays, for the reaper.
pub(crate) fn mount_all(
    run_root: &RunRoot,
    layers: &mut [LayerFile],
) -> Result<LayersLock, LauncherError> {
    let directory = &run_root.layers;
    let held = LayersLock::take(directory, FlockOperation::LockShared)?;
    let mut exclusive = false;
    for layer in layers {
        let key = &layer.record.key;
        let mut mounted = is_mounted(directory, key)?;
        if !mounted && !exclusive {
            held.change(FlockOperation::LockExclusive)?;
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
        held.change(FlockOperation::LockShared)?;
    }
    Ok(held)
}

/// Whether a layer's mount point has a layer on it.
pub(crate) fn is_mounted(directory: &Directory, key: &LayerKey) -> Result<bool, LauncherError> {
    let path = format!("{key}/{MOUNT_POINT}");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(directory, &path, flags, Mode::empty()).and_then(is_layer) {
        Err(Errno::NOENT) => Ok(false),
        outcome => outcome.map_err(|source| LauncherError::failed(Step::MountLayer, path, source)),
    }
}

/// Whether an open file or mount is on a file system that layers have.
pub(crate) fn is_layer(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(MAGICS.contains(&fstatfs(fd)?.f_type))
}

/// Sets a layer's time of last use, by which the reaper chooses; fine when it is not there.
pub(crate) fn touch(directory: &Directory, layer: &LayerRecord) -> Result<(), LauncherError> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    match utimensat(directory, layer.key.as_str(), &times, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(source) => {
            let path = directory.path_of(layer.key.as_str());
            Err(LauncherError::failed(Step::Write, path, source))
        }
    }
}

fn mount(directory: &Directory, layer: &LayerFile) -> Result<(), LauncherError> {
    take_over(layer)?;
    check_header(layer)?;
    let key = layer.record.key.as_str();
    let parent = directory.ensure(key, 0o700, 0)?;
    let place = parent.ensure(MOUNT_POINT, 0o700, 0)?;
    mount_at(layer, &place).inspect_err(|_| {
        // Nothing is mounted, so these are empty directories: what fails here, fails again when
        // the next launch makes them.
        let _kept = parent.remove_dir(MOUNT_POINT).and_then(|()| directory.remove_dir(key));
    })
}

/// Makes the file root's and read-only, and makes sure that nobody still has it open for writing.
fn take_over(layer: &LayerFile) -> Result<(), LauncherError> {
    let path = &layer.record.path;
    let stat = fstat(&layer.fd).map_err(failed(path))?;
    // A file of root's keeps its mode: making it readable could tell what the caller may read
    // only through a group.
    if stat.st_uid != 0 && !without("layer-take-over") {
        fchown(&layer.fd, Some(Uid::ROOT), Some(Gid::ROOT)).map_err(failed(path))?;
        fchmod(&layer.fd, Mode::from_raw_mode(0o444)).map_err(failed(path))?;
    }
    match prove_no_writer(&layer.fd) {
        Err(Errno::AGAIN) if !without("layer-lease") => {
            return Err(refused(path, "somebody has it open for writing, must be nobody"));
        }
        Ok(()) | Err(Errno::AGAIN) => {}
        Err(source) => return Err(failed(path)(source)),
    }
    // The key was made before the file was ours.
    let stat = fstat(&layer.fd).map_err(failed(path))?;
    if key_of(&stat) != layer.record.key && !without("layer-unchanged") {
        return Err(refused(path, "it changed while it was checked"));
    }
    Ok(())
}

fn check_header(layer: &LayerFile) -> Result<(), LauncherError> {
    let path = &layer.record.path;
    let mut start = [0; SUPERBLOCK_BYTES];
    let count = pread(&layer.fd, &mut start, 0).map_err(failed(path))?;
    let stat = fstat(&layer.fd).map_err(failed(path))?;
    let bytes = u64::try_from(stat.st_size).unwrap_or_default();
    match check_superblock(layer.kind, start.get(..count).unwrap_or_default(), bytes) {
        Err(problem) if !without("layer-header") => Err(refused(path, problem)),
        _ => Ok(()),
    }
}

fn mount_at(layer: &LayerFile, place: &Directory) -> Result<(), LauncherError> {
    let kind = match layer.kind {
        LayerMediaType::Squashfs => "squashfs",
        LayerMediaType::Erofs => "erofs",
    };
    // Only what the kernel says of the file itself is the layer's fault: the supervisor throws
    // such a layer away.
    let failed = |source| match source {
        Errno::NODEV => LauncherError::failed(Step::Mount, kind, source),
        _ => LauncherError::failed(Step::MountLayer, layer.record.path.as_str(), source),
    };
    if layer.kind == LayerMediaType::Erofs && !without("erofs-file") {
        let source = format!("/proc/self/fd/{}", layer.fd.as_raw_fd());
        match mount_filesystem(kind, &source, place) {
            // Before Linux 6.12, and where the file lies on a tmpfs.
            Err(Errno::NOTBLK) => {}
            outcome => return outcome.map_err(failed),
        }
    }
    let (_held, device) = attach_loop(&layer.fd)
        .map_err(|source| LauncherError::failed(Step::Mount, "loop device", source))?;
    mount_filesystem(kind, &device, place).map_err(failed)
}
