//! What newer kernels can do, and what stands in for it on older ones, down to Linux 4.18.
//!
//! | switch | since | without it |
//! |---|---|---|
//! | `openat2` | 5.6 | a walk of our own, one component at a time |
//! | `mount-api` | 5.2 | `mount(2)` on `/proc/self/fd/<number>` |
//! | `mount-setattr` | 5.12 | a remount of each mount below |
//!
//! `pidfd` is in [`crate::process`], the loop driver's in [`crate::sys_loop`], EROFS's in
//! [`crate::layer_file`], `close_range` in [`crate::sys`].

use std::collections::BTreeMap;

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{
    CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstat, fstatfs, openat2,
    readlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount,
    mount_bind_recursive, mount_remount, move_mount, open_tree,
};

use storm_oci_request::unescape_mount;

use crate::proc_fd;
use crate::switches::without;
use crate::sys_file::{mount_table, open};
use crate::sys_mount::{has_mount_setattr, mount_id, restrict_mount};

/// How often something is done again that fails only when somebody on the host renames or mounts
/// at that very moment.
const ATTEMPTS: u32 = 1000;

/// As many symbolic links as the kernel follows in one path.
const MAX_LINKS: u32 = 40;

/// Does it the `new` way; the `old` way where the kernel says that it has no such call, or a test
/// that it has none.
fn ladder<T>(
    feature: &str,
    new: impl FnOnce() -> Result<T, Errno>,
    old: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let outcome = if without(feature) { Err(Errno::NOSYS) } else { new() };
    match outcome {
        Err(Errno::NOSYS) => old(),
        outcome => outcome,
    }
}

/// Opens a path with `O_PATH`. Symbolic links are followed, but not the kernel's own in `/proc`,
/// which lead to open files of any process.
///
/// # References
///
/// `openat2(2)`, `RESOLVE_NO_MAGICLINKS`
pub(crate) fn open_path(path: &str) -> Result<OwnedFd, Errno> {
    let mut resolve = ResolveFlags::empty();
    resolve.set(ResolveFlags::NO_MAGICLINKS, !without("magic-links"));
    resolve_path(CWD, "/", path, resolve)
}

/// Opens a path with `O_PATH` as a process with this root would: `..` and symbolic links cannot
/// lead out of it.
///
/// # References
///
/// `openat2(2)`, `RESOLVE_IN_ROOT`: a path with `..` fails with `EAGAIN` when the kernel cannot
/// rule out that it was led astray meanwhile.
pub(crate) fn open_in_root(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let mut resolve = ResolveFlags::NO_MAGICLINKS;
    resolve.set(ResolveFlags::IN_ROOT, !without("image-root"));
    resolve_path(root, ".", path, resolve)
}

/// `top` is where a walk of our own begins.
fn resolve_path(
    at: impl AsFd,
    top: &str,
    path: &str,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let new = || {
        for _ in 1..ATTEMPTS {
            match openat2(&at, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                outcome => return outcome,
            }
        }
        Err(Errno::AGAIN)
    };
    ladder("openat2", new, || walk(open(&at, top, OFlags::PATH)?, path))
}

/// Looks a path up below `root`, a component at a time and each from the descriptor of the one
/// before, so that nothing that is renamed meanwhile leads out. No link in `/proc` is followed.
fn walk(root: OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    // What is still to be walked, the next component last, and where the walk has been.
    let mut rest: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
    let (mut passed, mut current) = (Vec::new(), root);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            current = passed.pop().unwrap_or(current);
        }
        if matches!(name.as_str(), "" | "." | "..") {
            continue;
        }
        let entry = open(&current, name, OFlags::PATH | OFlags::NOFOLLOW)?;
        if FileType::from_raw_mode(fstat(&entry)?.st_mode) != FileType::Symlink {
            passed.push(std::mem::replace(&mut current, entry));
            continue;
        }
        links += 1;
        if links > MAX_LINKS || fstatfs(&entry)?.f_type == PROC_SUPER_MAGIC {
            return Err(Errno::LOOP);
        }
        let target = readlinkat(&entry, "", Vec::new())?;
        let target = target.into_string().map_err(|_| Errno::ILSEQ)?;
        if target.starts_with('/') && !passed.is_empty() {
            current = passed.swap_remove(0);
            passed.clear();
        }
        rest.extend(target.rsplit('/').map(str::to_owned));
    }
    Ok(current)
}

/// Opens an entry of a directory: the same mount, no link, nothing that blocks.
///
/// # References
///
/// `openat2(2)`, `RESOLVE_NO_XDEV`
pub(crate) fn open_entry(
    directory: impl AsFd,
    name: impl rustix::path::Arg + Copy,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let mut flags = flags | OFlags::CLOEXEC;
    // The kernel refuses O_NONBLOCK beside O_PATH.
    flags.set(OFlags::NONBLOCK, !flags.contains(OFlags::PATH));
    let mut resolve = ResolveFlags::NO_MAGICLINKS;
    if !without("links-in-trees") {
        flags |= OFlags::NOFOLLOW;
        resolve |= ResolveFlags::BENEATH;
    }
    resolve.set(ResolveFlags::NO_XDEV, !without("mounts-in-trees"));
    let old = || {
        let entry = open(&directory, name, flags)?;
        let same = fstat(&entry)?.st_dev == fstat(&directory)?.st_dev
            && mount_id(&entry) == mount_id(&directory);
        if same { Ok(entry) } else { Err(Errno::XDEV) }
    };
    ladder("openat2", || openat2(&directory, name, flags, Mode::empty(), resolve), old)
}

/// Mounts a file system on an open directory, read-only and without devices or set-user-ID
/// programs.
///
/// # References
///
/// `fsopen(2)`, `fsmount(2)`, `move_mount(2)`
pub(crate) fn mount_filesystem(kind: &str, source: &str, place: impl AsFd) -> Result<(), Errno> {
    let bare = without("layer-nosuid-nodev");
    let new = || {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_flag(&context, "ro")?;
        fsconfig_set_string(&context, "source", source)?;
        fsconfig_create(&context)?;
        let mut attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
        let restricted = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        attributes.set(restricted, !bare);
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        put(&mount, &place)
    };
    let old = || {
        let mut flags = MountFlags::RDONLY;
        flags.set(MountFlags::NOSUID | MountFlags::NODEV, !bare);
        mount(source, path_to(&place), kind, flags, None)
    };
    ladder("mount-api", new, old)
}

/// Puts a copy of an open file's mounts, from that file down, on an open place of its kind:
/// private, `nosuid`, `nodev` and, where asked, read-only, each of them.
///
/// The old way they have the source's flags for a moment: only root can reach the place.
///
/// # References
///
/// `open_tree(2)`, `mount_setattr(2)`, `move_mount(2)`
pub(crate) fn clone_mounts(
    source: &OwnedFd,
    place: impl AsFd,
    read_only: bool,
) -> Result<(), Errno> {
    let new = || {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(source, "", flags)?;
        if without("mount-setattr") {
            return Err(Errno::NOSYS);
        }
        if !without("bind-restricted") {
            restrict_mount(&tree, read_only, true)?;
        }
        put(&tree, &place)
    };
    let old = || {
        mount_bind_recursive(path_to(source), path_to(&place))?;
        remount_all_below(&proc_fd::path_of(&place)?, restricted(read_only))
    };
    ladder("mount-api", new, old)
}

/// Makes the one mount that this is the root of `nosuid`, `nodev` and read-only.
///
/// # References
///
/// `mount_setattr(2)`
pub(crate) fn make_read_only(root: &OwnedFd) -> Result<(), Errno> {
    let old = || mount_remount(path_to(root), restricted(true) | MountFlags::BIND, "");
    ladder("mount-setattr", || restrict_mount(root, true, false), old)
}

/// Whether runc can be told to restrict a mount and all below it in one.
pub(crate) fn restricts_recursively() -> bool {
    !without("mount-setattr") && has_mount_setattr()
}

fn put(mount: &OwnedFd, place: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags)
}

fn restricted(read_only: bool) -> MountFlags {
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::RDONLY, read_only);
    flags
}

/// What calls that take no descriptors take instead.
fn path_to(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Adds these flags to the mount at `place` and all below it. A mount somebody moves meanwhile is
/// found again: the table has the last word.
fn remount_all_below(place: &str, wanted: MountFlags) -> Result<(), Errno> {
    for _ in 0..ATTEMPTS {
        let mut last = Ok(());
        for (point, flags) in mounts_below(place)? {
            if !flags.contains(wanted) {
                last = mount_remount(point, flags | wanted | MountFlags::BIND, "");
                last = last.and(Err(Errno::AGAIN));
            }
        }
        match last {
            Err(Errno::AGAIN | Errno::NOENT | Errno::INVAL) => {}
            outcome => return outcome,
        }
    }
    Err(Errno::AGAIN)
}

/// The uppermost mount at `place` and at each mount point below it, with its own flags.
///
/// # References
///
/// `proc_pid_mountinfo(5)`
fn mounts_below(place: &str) -> Result<BTreeMap<String, MountFlags>, Errno> {
    let mut found = BTreeMap::new();
    for line in mount_table()?.lines() {
        let mut fields = line.split(' ').skip(4);
        let (Some(point), Some(options)) = (fields.next(), fields.next()) else {
            return Err(Errno::INVAL);
        };
        let point = unescape_mount(point);
        let below = point.strip_prefix(place);
        if below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
            found.insert(point, options.split(',').map(flag).collect());
        }
    }
    Ok(found)
}

fn flag(option: &str) -> MountFlags {
    match option {
        "ro" => MountFlags::RDONLY,
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        // The kernel keeps those on access times when none is given.
        _ => MountFlags::empty(),
    }
}
