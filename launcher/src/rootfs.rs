//! The container's root file system: a private mount namespace and an overlay in it.

use std::ffi::CString;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FsWord, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, fstatfs, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{chdir, fchdir};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use storm_oci_request::{ContainerId, LayerRecord};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{At, Result, Step, must};
use crate::layers::{MOUNT_POINT, is_mounted};
use crate::run_root::RunRoot;
use crate::switches::without;
use crate::sys_file::{mount_table, open};
use crate::sys_mount::unshare_mounts;

/// `f_type` of an overlay.
const OVERLAY_MAGIC: FsWord = 0x794c_7630;

/// The kernel cuts longer option strings without an error.
const MAX_OPTIONS: usize = 4095;

const NAMESPACE: &str = "mount namespace";

/// Opens the present mount namespace, to be able to come back.
pub(crate) fn own_namespace() -> Result<OwnedFd> {
    open(CWD, "/proc/self/ns/mnt", OFlags::RDONLY).at(Step::Mount, NAMESPACE)
}

/// Goes back, and leaves the private mounts to vanish.
pub(crate) fn enter_namespace(namespace: &OwnedFd) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
        .at(Step::Mount, NAMESPACE)
}

/// The run root as the private namespace shows it: mounts can be cloned only from their own
/// namespace, and descriptors from before it belong to the host's.
#[derive(Debug)]
pub(crate) struct PrivateView {
    layers: Directory,
    /// The container's directory.
    pub(crate) container: Directory,
}

/// Leaves the host's mount namespace for a private copy of it, and opens the run root there.
///
/// Private, not a slave: else a layer unmounted on the host at the wrong moment would be missing
/// in the container.
pub(crate) fn enter_private_namespace(
    config: &Config,
    run_root: &RunRoot,
    container: &ContainerId,
) -> Result<PrivateView> {
    unshare_mounts().at(Step::Mount, NAMESPACE)?;
    if !without("private-mounts") {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).at(Step::Mount, NAMESPACE)?;
    }
    let root = Directory::trusted(config.run_root.as_str())?;
    let same = root.is_same(&run_root.root)?;
    must(same, Step::Mount, &root.path, "it is another directory in the private namespace")?;
    Ok(PrivateView { layers: root.open("layers")?, container: root.open(container.as_str())? })
}

/// Mounts the overlay of these layers, lowest first, on the container's `rootfs`, and opens it.
///
/// The container's directory `stage` has a link of a short name to each layer's mount, which the
/// private namespace has from the host's: so the options are short, and nothing is mounted but
/// the overlay.
pub(crate) fn mount_overlay(view: &PrivateView, layers: &[LayerRecord]) -> Result<OwnedFd> {
    let stage = view.container.open("stage")?;
    for (index, layer) in layers.iter().rev().enumerate() {
        let mounted = is_mounted(&view.layers, &layer.key)?;
        must(mounted, Step::Mount, &layer.path, "its mount is not there")?;
        let target = format!("../../layers/{}/{MOUNT_POINT}", layer.key);
        symlinkat(target, &stage, index.to_string()).at(Step::Mount, &layer.path)?;
    }
    let upper = view.container.open("upper")?;
    look_like_the_image(&upper, &stage).at(Step::Own, &upper.path)?;
    let rootfs = view.container.path_of("rootfs");
    let lowers: Vec<String> = (0..layers.len()).map(|index| index.to_string()).collect();
    let lowers = lowers.join(":");
    let mounted = fchdir(&stage).and_then(|()| mount_there(&rootfs, &lowers));
    chdir("/").and(mounted).at(Step::Mount, &rootfs)?;
    check_overlay(&rootfs, &lowers)
}

/// The overlay's root looks like its upper directory: it must look like the image's.
fn look_like_the_image(upper: &Directory, stage: &Directory) -> Result<(), Errno> {
    let stat = fstat(open(stage, "0", OFlags::PATH | OFlags::DIRECTORY)?)?;
    fchown(upper, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(upper, Mode::from_raw_mode(stat.st_mode & 0o7777))
}

/// Mounts an overlay of directories below the working directory.
fn mount_there(rootfs: &str, lowers: &str) -> Result<(), Errno> {
    // Not following redirects turns `metacopy` off, too, an option that Linux 4.18 does not know.
    let options = format!(
        "lowerdir={lowers},upperdir=../upper,workdir=../work,\
         index=off,redirect_dir=nofollow"
    );
    if options.len() > MAX_OPTIONS {
        return Err(Errno::TOOBIG);
    }
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::NOSUID | MountFlags::NODEV, !without("overlay-nosuid-nodev"));
    mount("overlay", rootfs, "overlay", flags, Some(options.as_c_str()))
}

/// Opens the mounted root, after a look whether it is what was asked for.
fn check_overlay(rootfs: &str, lowers: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let root = open(CWD, rootfs, flags).at(Step::Mount, rootfs)?;
    let kind = fstatfs(&root).at(Step::Mount, rootfs)?.f_type;
    let (place, wanted) = (format!(" {rootfs} "), format!("lowerdir={lowers},"));
    let table = mount_table().at(Step::Mount, rootfs)?;
    let complete = table.lines().any(|line| line.contains(&place) && line.contains(&wanted));
    let problem = "the kernel made another overlay than it was told to";
    must(kind == OVERLAY_MAGIC && complete, Step::Mount, rootfs, problem).map(|()| root)
}
