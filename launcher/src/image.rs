//! The image: that it has the container's program, and the places that something is mounted on,
//! checked, and made where they are missing.
//!
//! An image may have anything anywhere. Every path is resolved inside the mounted root file
//! system, which only root can change, and nothing may lead into what runc mounts itself. With
//! all mount points in place the root can be read-only before runc sees it.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fchmod, fstat, mkdirat, openat, statat};
use rustix::io::Errno;
use storm_oci_request::{BindMount, HostPath, RuntimeConfig};

use crate::binds::SourceKind;
use crate::error::{At, LauncherError, Result, Step, must};
use crate::kernel::open_in_root;
use crate::proc_fd;
use crate::switches::without;
use crate::sys_file::{open, unless_missing};

/// What the launcher has runc mount: an image that has anything but a directory there is refused.
const KERNEL_DIRECTORIES: [&str; 3] = ["dev", "proc", "sys"];

/// Looks for the container's program where runc will: in the directories of the image's `PATH`.
///
/// Nothing is said about a program in a directory that a mount covers.
///
/// # Errors
///
/// [`Step::FindProgram`] when it is in none of them.
pub(crate) fn check_program(root: &OwnedFd, config: &RuntimeConfig) -> Result<()> {
    let Some(program) = config.process.args.first() else {
        return Ok(());
    };
    let mut environment = config.process.env.iter().rev();
    let search = environment.find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let may_be_at = |path: &str| is_covered(path, &config.mounts) || is_executable(root, path);
    let found = match program.split_once('/') {
        Some(("", _)) => may_be_at(program),
        // Relative to the working directory, which is a mount in Storm's layout.
        Some(_) => true,
        None => search
            .split(':')
            .any(|place| place.starts_with('/') && may_be_at(&format!("{place}/{program}"))),
    };
    let problem = format_args!("the image has no such executable in PATH `{search}`");
    must(found, Step::FindProgram, program, problem).map_err(|error| {
        error.with_hint("Storm starts workers with bash: the image needs it on its PATH")
    })
}

fn is_covered(path: &str, mounts: &[BindMount]) -> bool {
    HostPath::parse(path)
        .is_ok_and(|path| mounts.iter().any(|mount| path.starts_with(&mount.destination)))
}

fn is_executable(root: &OwnedFd, path: &str) -> bool {
    open_in_root(root, path).and_then(fstat).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0
    })
}

/// Checks and completes the mount points of runc's mounts, of the request's, whose sources are of
/// these kinds, and the working directory.
///
/// # Errors
///
/// [`Step::Mount`] naming the path in the image.
pub(crate) fn prepare(root: &OwnedFd, config: &RuntimeConfig, kinds: &[SourceKind]) -> Result<()> {
    for name in KERNEL_DIRECTORIES {
        let (path, place) = (format!("/{name}"), format!("/{name} in the image"));
        let found = statat(root, name, AtFlags::SYMLINK_NOFOLLOW);
        match unless_missing(found).at(Step::Mount, &place)? {
            Some(stat) if is_directory(&stat) || without("image-kernel-directories") => {}
            Some(_) => return Err(refused(&path, "it is no directory")),
            None => drop(make(root, name, SourceKind::Directory).at(Step::Mount, place)?),
        }
    }
    let top = proc_fd::path_of(root).at(Step::Mount, "/ in the image")?;
    let mut covered: Vec<&HostPath> = Vec::new();
    let mounts = config.mounts.iter().map(|mount| &mount.destination).zip(kinds.iter().copied());
    for (path, kind) in mounts.chain([(&config.process.cwd, SourceKind::Directory)]) {
        // What lies below another mount is not the image's.
        let of_kernel = path.components().next().is_some_and(is_kernels);
        if !of_kernel && !covered.iter().any(|mount| path.starts_with(mount)) {
            complete((root, &top), path, kind)?;
        }
        covered.push(path);
    }
    Ok(())
}

/// Follows a path through the image, and makes what is missing of it.
fn complete(image: (&OwnedFd, &str), path: &HostPath, kind: SourceKind) -> Result<()> {
    let mut parent = open_in_root(image.0, "/").at(Step::Mount, "/ in the image")?;
    let mut walked = String::new();
    let mut components = path.components().peekable();
    while let Some(name) = components.next() {
        let kind = if components.peek().is_some() { SourceKind::Directory } else { kind };
        walked = format!("{walked}/{name}");
        parent = step(image, &parent, &walked, name, kind)?;
    }
    Ok(())
}

/// Opens an entry of the image, made where it is missing, and refuses what cannot be mounted on.
fn step(
    (root, top): (&OwnedFd, &str),
    parent: &OwnedFd,
    path: &str,
    name: &str,
    kind: SourceKind,
) -> Result<OwnedFd> {
    let place = format!("{path} in the image");
    let Some(entry) = unless_missing(open_in_root(root, path)).at(Step::Mount, &place)? else {
        return match make(parent, name, kind) {
            Err(Errno::EXIST) => Err(refused(path, "it is a link that leads nowhere")),
            made => made.at(Step::Mount, place),
        };
    };
    let real = proc_fd::path_of(&entry).at(Step::Mount, &place)?;
    let inside = real.strip_prefix(top).unwrap_or_default();
    let of_kernel = inside.trim_start_matches('/').split('/').next().is_some_and(is_kernels);
    if of_kernel && !without("image-kernel-links") {
        return Err(refused(path, &format!("it leads to `{inside}`")));
    }
    match (kind, is_directory(&fstat(&entry).at(Step::Mount, place)?)) {
        (SourceKind::Directory, false) => Err(refused(path, "it is no directory")),
        (SourceKind::File, true) => Err(refused(path, "it is a directory")),
        _ => Ok(entry),
    }
}

fn refused(path: &str, problem: &str) -> LauncherError {
    Step::Mount.refused(path, format_args!("in the image {problem}"))
}

fn is_kernels(name: &str) -> bool {
    KERNEL_DIRECTORIES.contains(&name)
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Makes an empty directory or file that everybody may read.
fn make(parent: &OwnedFd, name: &str, kind: SourceKind) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (made, mode) = match kind {
        SourceKind::Directory => {
            mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
            (open(parent, name, flags | OFlags::DIRECTORY)?, 0o755)
        }
        SourceKind::File => {
            let flags = flags | OFlags::CREATE | OFlags::EXCL;
            (openat(parent, name, flags, Mode::from_raw_mode(0o600))?, 0o644)
        }
    };
    fchmod(&made, Mode::from_raw_mode(mode)).map(|()| made)
}
