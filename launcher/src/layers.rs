//! The image's layers: files checked and mounted once for the whole host.
//!
//! `<run root>/layers/<key>/mnt` is a layer's mount, read-only, shared by all containers. The
//! lock `<run root>/layers/lock` is held exclusively to mount or unmount, shared from the last
//! look at the mounts until the container has cloned them. A container's record names its layers
//! before the lock is taken, and the reaper spares what a record names: so it does not matter
//! that changing an exclusive lock into a shared one lets others in for a moment.

use std::collections::BTreeSet;

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FileType, FlockOperation, FsWord, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec,
    Timestamps, UTIME_NOW, Uid, fchmod, fchown, fstat, fstatfs, openat, openat2, utimensat,
};
use rustix::io::{Errno, pread};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use storm_oci_request::{
    FileIdentity, HostPath, LayerKey, LayerMediaType, LayerRecord, RequestLayer,
};

use crate::directory::Directory;
use crate::error::{LauncherError, Step};
use crate::loop_device::LoopDevice;
use crate::privilege::{Identity, acting_as};
use crate::run_root::{RunRoot, lock, lock_file};
use crate::squashfs::{self, HEADER_BYTES};
use crate::switches::without;
use crate::sys::prove_no_writer;

/// `f_type` of a mounted squashfs.
const SQUASHFS_MAGIC: FsWord = 0x7371_7368;

/// The mount point in a layer's directory.
pub(crate) const MOUNT_POINT: &str = "mnt";

/// A layer file, open.
#[derive(Debug)]
pub(crate) struct LayerFile {
    fd: OwnedFd,
    owner: u32,
    /// The name of its directory.
    pub(crate) key: LayerKey,
    /// Where it was opened.
    pub(crate) path: HostPath,
}

/// Opens the request's layers with the caller's ids, lowest first. Of equal ones the highest
/// stays: overlay refuses a directory twice, and the upper copy hides the lower one anyway.
///
/// # Errors
///
/// [`Step::CheckLayer`] for a file that may not become a layer.
pub(crate) fn open_all(
    caller: &Identity,
    layers: &[RequestLayer],
) -> Result<Vec<LayerFile>, LauncherError> {
    let mut seen = BTreeSet::new();
    let mut opened = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        if layer.media_type != LayerMediaType::Squashfs {
            return Err(refused(&layer.path, "only squashfs layers can be mounted"));
        }
        let file = open_layer(caller, &layer.path)?;
        if seen.insert(file.key.clone()) {
            opened.push(file);
        }
    }
    opened.reverse();
    Ok(opened)
}

fn refused(path: &HostPath, problem: impl Into<String>) -> LauncherError {
    LauncherError::refused(Step::CheckLayer, path.as_str(), problem)
}

fn failed(path: &HostPath) -> impl Fn(Errno) -> LauncherError {
    let path = path.to_string();
    move |source| LauncherError::failed(Step::CheckLayer, path.clone(), source)
}

fn open_layer(caller: &Identity, path: &HostPath) -> Result<LayerFile, LauncherError> {
    let (parent, name) = path.as_str().rsplit_once('/').unwrap_or_default();
    let parent = if parent.is_empty() { "/" } else { parent };
    let opened = acting_as(caller, || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_MAGICLINKS;
        let directory = openat2(rustix::fs::CWD, parent, flags, Mode::empty(), resolve)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&directory, name, flags, Mode::empty())?;
        Ok((directory, file))
    })?;
    let (directory, fd) = opened.map_err(failed(path))?;
    let above = fstat(&directory).map_err(failed(path))?;
    if !may_own(above.st_uid, caller) || above.st_mode & 0o022 != 0 {
        return Err(refused(
            path,
            format!(
                "its directory is owned by uid {} with mode {:04o}; must be the supervisor's or \
                 root's and writable by the owner only",
                above.st_uid,
                above.st_mode & 0o7777
            ),
        ));
    }
    let stat = fstat(&fd).map_err(failed(path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refused(path, "not a regular file"));
    }
    if stat.st_nlink != 1 && !without("layer-one-link") {
        return Err(refused(path, format!("{} links, must be one", stat.st_nlink)));
    }
    if !may_own(stat.st_uid, caller) || stat.st_mode & 0o022 != 0 {
        return Err(refused(
            path,
            format!(
                "owned by uid {} with mode {:04o}; must be the supervisor's or root's and not \
                 writable by group or others",
                stat.st_uid,
                stat.st_mode & 0o7777
            ),
        ));
    }
    Ok(LayerFile { fd, owner: stat.st_uid, key: key_of(&stat), path: path.clone() })
}

fn may_own(uid: u32, caller: &Identity) -> bool {
    uid == 0 || uid == caller.uid
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

/// All layers mounted, and kept so until [`MountedLayers::release`] or the process's end.
#[derive(Debug)]
pub(crate) struct MountedLayers {
    lock: OwnedFd,
    /// What the record says of each, lowest first.
    pub(crate) records: Vec<LayerRecord>,
}

impl MountedLayers {
    /// Lets the reaper have them again: for the container has its clones.
    pub(crate) fn release(&self) -> Result<(), LauncherError> {
        // Closing would not do: the launcher's first process has the lock open as well.
        lock(&self.lock, FlockOperation::Unlock)
            .map_err(|source| LauncherError::failed(Step::Lock, "layers", source))
    }
}

/// Mounts the layers that are not mounted yet.
///
/// # Errors
///
/// [`Step::CheckLayer`] and [`Step::MountLayer`]; what this call mounted stays, for the reaper.
pub(crate) fn mount_all(
    run_root: &RunRoot,
    layers: &[LayerFile],
) -> Result<MountedLayers, LauncherError> {
    let directory = &run_root.layers;
    let guard = lock_file(directory)?;
    let failed = |source| LauncherError::failed(Step::Lock, directory.path_of("lock"), source);
    let mut mounted = BTreeSet::new();
    lock(&guard, FlockOperation::LockShared).map_err(failed)?;
    if !all_mounted(directory, layers)? {
        lock(&guard, FlockOperation::LockExclusive).map_err(failed)?;
        for layer in layers {
            if !is_mounted(directory, &layer.key)? {
                mount(directory, layer)?;
                mounted.insert(&layer.key);
            }
        }
        lock(&guard, FlockOperation::LockShared).map_err(failed)?;
    }
    let mut records = Vec::with_capacity(layers.len());
    for layer in layers {
        touch(directory, &layer.key)?;
        records.push(LayerRecord {
            key: layer.key.clone(),
            path: layer.path.clone(),
            mounted: mounted.contains(&layer.key),
        });
    }
    Ok(MountedLayers { lock: guard, records })
}

fn all_mounted(directory: &Directory, layers: &[LayerFile]) -> Result<bool, LauncherError> {
    for layer in layers {
        if !is_mounted(directory, &layer.key)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a layer's mount point has a squashfs on it.
pub(crate) fn is_mounted(directory: &Directory, key: &LayerKey) -> Result<bool, LauncherError> {
    let path = format!("{key}/{MOUNT_POINT}");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(directory, &path, flags, Mode::empty()) {
        Ok(fd) => {
            is_squashfs(&fd).map_err(|source| LauncherError::failed(Step::MountLayer, path, source))
        }
        Err(Errno::NOENT) => Ok(false),
        Err(source) => Err(LauncherError::failed(Step::MountLayer, path, source)),
    }
}

/// Whether an open file or mount is on a squashfs.
pub(crate) fn is_squashfs(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstatfs(fd)?.f_type == SQUASHFS_MAGIC)
}

/// Sets a layer's time of last use, by which the reaper chooses.
fn touch(directory: &Directory, key: &LayerKey) -> Result<(), LauncherError> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    utimensat(directory, key.as_str(), &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|source| {
        LauncherError::failed(Step::Write, directory.path_of(key.as_str()), source)
    })
}

fn mount(directory: &Directory, layer: &LayerFile) -> Result<(), LauncherError> {
    take_over(layer)?;
    check_header(layer)?;
    let key = layer.key.as_str();
    let place = directory.ensure(key, 0o700, 0)?.ensure(MOUNT_POINT, 0o700, 0)?;
    mount_at(layer, &place).inspect_err(|_| {
        // Nothing is mounted, so these are empty directories: what fails here, fails again when
        // the next launch makes them.
        let _kept = directory
            .open(key)
            .and_then(|parent| parent.remove_dir(MOUNT_POINT))
            .and_then(|()| directory.remove_dir(key));
    })
}

/// Makes the file root's and read-only, and makes sure that nobody still has it open for writing.
fn take_over(layer: &LayerFile) -> Result<(), LauncherError> {
    let path = &layer.path;
    // A file of root's keeps its mode: making it readable could tell what the caller may read
    // only through a group.
    if layer.owner != 0 {
        fchown(&layer.fd, Some(Uid::ROOT), Some(Gid::ROOT)).map_err(failed(path))?;
        fchmod(&layer.fd, Mode::from_raw_mode(0o444)).map_err(failed(path))?;
    }
    match prove_no_writer(&layer.fd) {
        Ok(()) => {}
        Err(Errno::AGAIN) => return Err(refused(path, "somebody has it open for writing")),
        Err(source) => return Err(failed(path)(source)),
    }
    // The key was made before the file was ours.
    let stat = fstat(&layer.fd).map_err(failed(path))?;
    if key_of(&stat) != layer.key || stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        return Err(refused(path, "it changed while it was checked"));
    }
    Ok(())
}

fn check_header(layer: &LayerFile) -> Result<(), LauncherError> {
    let mut header = [0; HEADER_BYTES];
    let count = pread(&layer.fd, &mut header, 0).map_err(failed(&layer.path))?;
    if count < HEADER_BYTES {
        return Err(refused(&layer.path, "shorter than a squashfs superblock"));
    }
    let stat = fstat(&layer.fd).map_err(failed(&layer.path))?;
    let bytes = u64::try_from(stat.st_size).unwrap_or_default();
    squashfs::check(&header, bytes).map_err(|problem| refused(&layer.path, problem))
}

/// Only what the kernel says of the file itself is the layer's fault: the supervisor throws such
/// a layer away.
fn mount_at(layer: &LayerFile, place: &Directory) -> Result<(), LauncherError> {
    let of_host = |object: &'static str| {
        move |source: Errno| LauncherError::failed(Step::Mount, object, source)
    };
    let device = LoopDevice::attach(&layer.fd).map_err(of_host("loop device"))?;
    let squashfs = of_host("squashfs");
    let context = fsopen("squashfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(&squashfs)?;
    fsconfig_set_flag(&context, "ro").map_err(&squashfs)?;
    fsconfig_set_string(&context, "source", &device.path).map_err(&squashfs)?;
    fsconfig_create(&context)
        .map_err(|source| LauncherError::failed(Step::MountLayer, layer.path.as_str(), source))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let mount = fsmount(&context, flags, attributes).map_err(&squashfs)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount, "", place, "", flags).map_err(squashfs)
}
