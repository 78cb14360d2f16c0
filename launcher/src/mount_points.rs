//! The places in the image that something is mounted on: checked, and made where they are missing.
//!
//! An image may have anything anywhere. Every path is resolved inside the mounted root file
//! system, which only root can change, and nothing may lead into what runc mounts itself. With
//! all mount points in place the root can be read-only before runc sees it.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, fstat, mkdirat, openat, statat};
use rustix::io::Errno;
use storm_oci_request::{HostPath, RuntimeConfig};

use crate::binds::SourceKind;
use crate::error::{LauncherError, Result, Step};
use crate::kernel::open_in_root;
use crate::proc_fd;
use crate::switches::without;

/// What the launcher has runc mount: an image that has anything but a directory there is refused.
const KERNEL_DIRECTORIES: [&str; 3] = ["dev", "proc", "sys"];

/// Checks and completes the mount points of runc's mounts, of the request's, whose sources are of
/// these kinds, and the working directory.
///
/// # Errors
///
/// [`Step::Mount`] naming the path in the image.
pub(crate) fn prepare(root: &OwnedFd, config: &RuntimeConfig, kinds: &[SourceKind]) -> Result<()> {
    for name in KERNEL_DIRECTORIES {
        match statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Ok(_) if without("image-kernel-directories") => {}
            Ok(_) => return Err(refused(&format!("/{name}"), "it is no directory")),
            Err(Errno::NOENT) => make(root, name, SourceKind::Directory)
                .map_err(|source| failed(&format!("/{name}"), source))?,
            Err(source) => return Err(failed(&format!("/{name}"), source)),
        }
    }
    let image = Image { root, path: proc_fd::path_of(root).map_err(|source| failed("/", source))? };
    let mut covered = Vec::new();
    for (mount, kind) in config.mounts.iter().zip(kinds) {
        image.prepare(&mount.destination, *kind, &covered)?;
        covered.push(&mount.destination);
    }
    image.prepare(&config.process.cwd, SourceKind::Directory, &covered)
}

fn refused(path: &str, problem: &str) -> LauncherError {
    Step::Mount.refused(path, format!("in the image {problem}"))
}

fn failed(path: &str, source: Errno) -> LauncherError {
    Step::Mount.failed(format_args!("{path} in the image"))(source)
}

/// The mounted root file system.
struct Image<'a> {
    root: &'a OwnedFd,
    path: String,
}

impl Image<'_> {
    /// Follows a path through the image, makes what is missing of it, and refuses what is
    /// something else. What lies below another mount is not the image's.
    fn prepare(&self, path: &HostPath, kind: SourceKind, covered: &[&HostPath]) -> Result<()> {
        let of_kernel =
            path.components().next().is_some_and(|first| KERNEL_DIRECTORIES.contains(&first));
        if of_kernel || covered.iter().any(|mount| path.starts_with(mount)) {
            return Ok(());
        }
        let mut walked = String::new();
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            let kind = match components.peek() {
                Some(_) => SourceKind::Directory,
                None => kind,
            };
            self.step(&mut walked, component, kind)?;
        }
        Ok(())
    }

    fn step(&self, walked: &mut String, component: &str, kind: SourceKind) -> Result<()> {
        let parent = match walked.as_str() {
            "" => self.open("/"),
            parent => self.open(parent),
        };
        let parent = parent.map_err(|source| failed(walked, source))?;
        walked.push('/');
        walked.push_str(component);
        let entry = match self.open(walked) {
            Ok(entry) => entry,
            Err(Errno::NOENT) => {
                return match make(&parent, component, kind) {
                    Err(Errno::EXIST) => Err(refused(walked, "it is a link that leads nowhere")),
                    made => made.map_err(|source| failed(walked, source)),
                };
            }
            Err(source) => return Err(failed(walked, source)),
        };
        let place = proc_fd::path_of(&entry).map_err(|source| failed(walked, source))?;
        let inside = place.strip_prefix(&self.path).unwrap_or_default();
        let first = inside.trim_start_matches('/').split('/').next();
        let of_kernel = first.is_some_and(|first| KERNEL_DIRECTORIES.contains(&first));
        if of_kernel && !without("image-kernel-links") {
            return Err(refused(walked, &format!("it leads to `{inside}`")));
        }
        let stat = fstat(&entry).map_err(|source| failed(walked, source))?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match (kind, directory) {
            (SourceKind::Directory, false) => Err(refused(walked, "it is no directory")),
            (SourceKind::File, true) => Err(refused(walked, "it is a directory")),
            _ => Ok(()),
        }
    }

    fn open(&self, path: &str) -> Result<OwnedFd, Errno> {
        open_in_root(self.root, path)
    }
}

/// Makes an empty directory or file that everybody may read.
fn make(parent: &OwnedFd, name: &str, kind: SourceKind) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (made, mode) = match kind {
        SourceKind::Directory => {
            mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
            let flags = flags | OFlags::DIRECTORY;
            (openat(parent, name, flags, Mode::empty())?, 0o755)
        }
        SourceKind::File => {
            let flags = flags | OFlags::CREATE | OFlags::EXCL;
            (openat(parent, name, flags, Mode::from_raw_mode(0o600))?, 0o644)
        }
    };
    fchmod(&made, Mode::from_raw_mode(mode))
}
