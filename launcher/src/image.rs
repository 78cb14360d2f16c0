//! What the image itself may not do: lead the container's mounts astray, or lack its program.
//!
//! Every path is resolved inside the mounted root file system, which only root can change.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, openat2, statat};
use rustix::io::Errno;
use storm_oci_request::{BindMount, HostPath, RuntimeConfig};

use crate::binds::real_path;
use crate::error::{LauncherError, Step};

/// What the launcher has runc mount: an image that has anything but a directory there is refused.
const KERNEL_DIRECTORIES: [&str; 3] = ["dev", "proc", "sys"];

/// The one place below them that a request may mount on, to read.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Symbolic links in an image are looked up as the container would, and cannot lead out of it.
const RESOLVE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Refuses an image whose symbolic links or files would change what a mount covers.
///
/// # Errors
///
/// [`Step::Mount`] naming the path in the image.
pub(crate) fn check_mount_points(
    rootfs: &OwnedFd,
    mounts: &[BindMount],
) -> Result<(), LauncherError> {
    for name in KERNEL_DIRECTORIES {
        match statat(rootfs, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Err(Errno::NOENT) => {}
            Ok(_) => return Err(refused(&format!("/{name}"), "it is no directory")),
            Err(source) => return Err(failed(&format!("/{name}"), source)),
        }
    }
    let top = real_path(rootfs).map_err(|source| failed("/", source))?;
    mounts
        .iter()
        .filter(|mount| mount.destination.as_str() != CGROUP_ROOT)
        .try_for_each(|mount| check_destination(rootfs, &top, mount))
}

fn refused(path: &str, problem: &str) -> LauncherError {
    LauncherError::refused(Step::Mount, path, format!("in the image {problem}"))
}

fn failed(path: &str, source: Errno) -> LauncherError {
    LauncherError::failed(Step::Mount, format!("{path} in the image"), source)
}

/// Follows a destination as far as the image has it: all of that must be directories, and none
/// of it below what runc mounts itself.
fn check_destination(rootfs: &OwnedFd, top: &str, mount: &BindMount) -> Result<(), LauncherError> {
    let destination = &mount.destination;
    let mut walked = String::new();
    let mut components = destination.components().peekable();
    while let Some(component) = components.next() {
        walked.push('/');
        walked.push_str(component);
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let entry = match openat2(rootfs, &walked, flags, Mode::empty(), RESOLVE) {
            Ok(entry) => entry,
            Err(Errno::NOENT) => return Ok(()),
            Err(source) => return Err(failed(&walked, source)),
        };
        let real = real_path(&entry).map_err(|source| failed(&walked, source))?;
        let inside = real.strip_prefix(top).unwrap_or_default();
        let first = inside.trim_start_matches('/').split('/').next();
        if first.is_some_and(|first| KERNEL_DIRECTORIES.contains(&first)) {
            return Err(refused(&walked, &format!("it leads to `{inside}`")));
        }
        let stat = fstat(&entry).map_err(|source| failed(&walked, source))?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if components.peek().is_some() && !directory {
            return Err(refused(&walked, "it is no directory"));
        }
    }
    Ok(())
}

/// Looks for the container's program where runc will: in the directories of the image's `PATH`.
///
/// Nothing is said about a program in a directory that a mount covers.
///
/// # Errors
///
/// [`Step::FindProgram`] when it is in none of them.
pub(crate) fn check_program(rootfs: &OwnedFd, config: &RuntimeConfig) -> Result<(), LauncherError> {
    let Some(program) = config.process.args.first() else {
        return Ok(());
    };
    let search = config.process.env.iter().rev();
    let search = search
        .filter_map(|entry| entry.strip_prefix("PATH="))
        .next();
    let candidates: Vec<String> = if program.starts_with('/') {
        vec![program.clone()]
    } else if program.contains('/') {
        // Relative to the working directory, which is a mount in Storm's layout.
        return Ok(());
    } else {
        let directories = search.unwrap_or_default().split(':');
        directories
            .filter(|directory| directory.starts_with('/'))
            .map(|directory| format!("{directory}/{program}"))
            .collect()
    };
    let found = candidates
        .iter()
        .any(|path| is_covered(path, &config.mounts) || is_executable(rootfs, path));
    if found {
        return Ok(());
    }
    Err(LauncherError::refused(
        Step::FindProgram,
        program.as_str(),
        format!(
            "the image has no such executable in PATH `{}`",
            search.unwrap_or_default()
        ),
    ))
}

fn is_covered(path: &str, mounts: &[BindMount]) -> bool {
    HostPath::parse(path).is_ok_and(|path| {
        mounts
            .iter()
            .any(|mount| path.starts_with(&mount.destination))
    })
}

fn is_executable(rootfs: &OwnedFd, path: &str) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(rootfs, path, flags, Mode::empty(), RESOLVE)
        .and_then(|file| fstat(&file))
        .is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && stat.st_mode & 0o111 != 0
        })
}
