//! The container's root file system: a private mount namespace and an overlay in it.

use std::ffi::CString;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    CWD, FsWord, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, fstatfs, openat, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{chdir, fchdir};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use storm_oci_request::{ContainerId, LayerRecord};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Result, Step};
use crate::kernel;
use crate::layers::{MOUNT_POINT, is_mounted};
use crate::run_root::RunRoot;
use crate::switches::without;
use crate::sys_file::read_at_most;
use crate::sys_mount::unshare_mounts;

/// `f_type` of an overlay.
const OVERLAY_MAGIC: FsWord = 0x794c_7630;

/// The kernel cuts longer option strings without an error.
const MAX_OPTIONS: usize = 4095;

/// The host's mount namespace, to go back to.
#[derive(Debug)]
pub(crate) struct HostNamespace(OwnedFd);

/// Leaves the host's mount namespace for a private copy of it.
///
/// Private, not a slave: else a layer unmounted on the host at the wrong moment would be missing
/// in the container.
pub(crate) fn enter_private_namespace() -> Result<()> {
    let failed = Step::Mount.failed(NAMESPACE);
    unshare_mounts().map_err(failed)?;
    if without("private-mounts") {
        return Ok(());
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(failed)
}

const NAMESPACE: &str = "mount namespace";

impl HostNamespace {
    /// Opens the present namespace, to be able to come back.
    pub(crate) fn open() -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(CWD, "/proc/self/ns/mnt", flags, Mode::empty())
            .map(Self)
            .map_err(Step::Mount.failed(NAMESPACE))
    }

    /// Goes back, and leaves the private mounts to vanish.
    pub(crate) fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Mount))
            .map_err(Step::Mount.failed(NAMESPACE))
    }
}

/// The run root as the private namespace shows it: mounts can be cloned only from their own
/// namespace, and descriptors from before it belong to the host's.
#[derive(Debug)]
pub(crate) struct PrivateView {
    layers: Directory,
    /// The container's directory.
    pub(crate) container: Directory,
}

/// Opens the run root again, and makes sure that it is the same.
pub(crate) fn view(
    config: &Config,
    run_root: &RunRoot,
    container: &ContainerId,
) -> Result<PrivateView> {
    let root = Directory::trusted(config.run_root.as_str())?;
    if !root.is_same(run_root.root())? {
        return Err(
            Step::Mount.refused(root.path(), "it is another directory in the private namespace")
        );
    }
    Ok(PrivateView { layers: root.open("layers")?, container: root.open(container.as_str())? })
}

/// Mounts the overlay of these layers, lowest first, on the container's `rootfs`.
///
/// The container's directory `stage` has a link of a short name to each layer's mount, which the
/// private namespace has from the host's: so the options are short, and nothing is mounted but
/// the overlay.
///
/// Returns the mounted root.
pub(crate) fn mount_overlay(view: &PrivateView, layers: &[LayerRecord]) -> Result<OwnedFd> {
    let stage = view.container.open("stage")?;
    for (index, layer) in layers.iter().rev().enumerate() {
        let failed = Step::Mount.failed(layer.path.as_str());
        if !is_mounted(&view.layers, &layer.key)? {
            return Err(Step::Mount.refused(layer.path.as_str(), "its mount is not there"));
        }
        let target = format!("../../layers/{}/{MOUNT_POINT}", layer.key);
        symlinkat(target, &stage, index.to_string()).map_err(failed)?;
    }
    prepare_upper(view, &stage)?;
    let rootfs = view.container.path_of("rootfs");
    let failed = Step::Mount.failed(rootfs.as_str());
    let lowers: Vec<String> = (0..layers.len()).map(|index| index.to_string()).collect();
    let lowers = lowers.join(":");
    // Not following redirects turns `metacopy` off, too, an option that Linux 4.18 does not know.
    let options = format!(
        "lowerdir={lowers},upperdir=../upper,workdir=../work,\
         index=off,redirect_dir=nofollow"
    );
    if options.len() > MAX_OPTIONS {
        return Err(failed(Errno::TOOBIG));
    }
    let options = CString::new(options).map_err(|_| failed(Errno::INVAL))?;
    fchdir(&stage).map_err(failed)?;
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::NOSUID | MountFlags::NODEV, !without("overlay-nosuid-nodev"));
    let mounted = mount("overlay", &rootfs, "overlay", flags, Some(options.as_c_str()));
    chdir("/").map_err(failed)?;
    mounted.map_err(failed)?;
    check_overlay(&rootfs, &lowers)
}

/// The overlay's root looks like its upper directory: it must look like the image's.
fn prepare_upper(view: &PrivateView, stage: &Directory) -> Result<()> {
    let path = view.container.path_of("upper");
    let failed = Step::Own.failed(&path);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(stage, "0", flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&top).map_err(failed)?;
    let upper = view.container.open("upper")?;
    let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchown(&upper, Some(owner), Some(group)).map_err(failed)?;
    fchmod(&upper, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(failed)
}

/// Opens the mounted root, after a look whether it is what was asked for.
fn check_overlay(rootfs: &str, lowers: &str) -> Result<OwnedFd> {
    let failed = Step::Mount.failed(rootfs);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = openat(CWD, rootfs, flags, Mode::empty()).map_err(failed)?;
    let overlay = fstatfs(&root).map_err(failed)?.f_type == OVERLAY_MAGIC;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let table = openat(CWD, "/proc/self/mountinfo", flags, Mode::empty()).map_err(failed)?;
    let table = read_at_most(&table, usize::MAX).map_err(failed)?;
    let table = String::from_utf8_lossy(&table.unwrap_or_default()).into_owned();
    let wanted = format!("lowerdir={lowers},");
    let complete =
        table.lines().any(|line| line.contains(&format!(" {rootfs} ")) && line.contains(&wanted));
    if overlay && complete {
        Ok(root)
    } else {
        Err(Step::Mount.refused(rootfs, "the kernel made another overlay than it was told to"))
    }
}

/// Makes the mounted root read-only, before runc sees it.
pub(crate) fn make_read_only(root: &OwnedFd) -> Result<()> {
    kernel::make_read_only(root).map_err(Step::Mount.failed("root file system"))
}
