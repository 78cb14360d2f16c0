//! Bind mounts: each source opened with the user's ids, cloned from that descriptor, restricted,
//! and put below the container's `binds/`, the only place runc gets sources from.

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use storm_oci_request::{BindMount, HostPath};

use crate::config::{CONF_DIR, Config};
use crate::directory::Directory;
use crate::error::{LauncherError, Step};
use crate::privilege::{Identity, acting_as};
use crate::proc_fd;
use crate::sys_mount::restrict_mount;
use crate::trusted::lineage;

/// What a mount point must be to take a source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SourceKind {
    /// A directory.
    Directory,
    /// A file, a socket or a FIFO.
    File,
}

/// Clones the sources of all mounts to `<container>/binds/<number>`, in the request's order.
///
/// Returns what each is.
///
/// # Errors
///
/// [`Step::BindSource`] for a source that is missing, that the user may not reach, or that may
/// not be written.
pub(crate) fn clone_all(
    container: &Directory,
    config: &Config,
    user: &Identity,
    mounts: &[BindMount],
) -> Result<Vec<SourceKind>, LauncherError> {
    let binds = container.open("binds")?;
    let mut kinds = Vec::with_capacity(mounts.len());
    let forbidden = Forbidden::find(config)?;
    for (index, mount) in mounts.iter().enumerate() {
        let source = open_source(user, &mount.source)?;
        let stat = fstat(&source).map_err(failed(&mount.source))?;
        if matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::BlockDevice | FileType::CharacterDevice
        ) {
            return Err(refused(&mount.source, "it is a device"));
        }
        if !mount.read_only {
            forbidden.check(&mount.source, &source, &stat)?;
        }
        let kind = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            SourceKind::Directory
        } else {
            SourceKind::File
        };
        clone(&binds, index, mount, &source, kind)?;
        kinds.push(kind);
    }
    Ok(kinds)
}

fn failed(source: &HostPath) -> impl Fn(Errno) -> LauncherError {
    let object = source.to_string();
    move |errno| LauncherError::failed(Step::BindSource, object.clone(), errno)
}

fn refused(source: &HostPath, problem: impl Into<String>) -> LauncherError {
    LauncherError::refused(Step::BindSource, source.as_str(), problem)
}

fn open_source(user: &Identity, source: &HostPath) -> Result<OwnedFd, LauncherError> {
    acting_as(user, || match open_path(source.as_str()) {
        Ok(opened) => Ok(opened),
        Err(errno) => {
            let component = first_failing(source);
            Err(refused(source, format!("`{component}`: {errno}, asked as uid {}", user.uid)))
        }
    })?
}

fn open_path(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// The first component, from the root, that cannot be opened.
fn first_failing(source: &HostPath) -> String {
    let mut walked = String::new();
    for component in source.components() {
        walked.push('/');
        walked.push_str(component);
        if open_path(&walked).is_err() {
            break;
        }
    }
    walked
}

fn clone(
    binds: &Directory,
    index: usize,
    mount: &BindMount,
    source: &OwnedFd,
    kind: SourceKind,
) -> Result<(), LauncherError> {
    let failed = failed(&mount.source);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(source, "", flags).map_err(&failed)?;
    restrict_mount(&tree, mount.read_only, true).map_err(&failed)?;
    let name = index.to_string();
    match kind {
        SourceKind::Directory => drop(binds.make(&name, 0o700)?),
        SourceKind::File => drop(binds.create(&name, 0o600)?),
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&tree, "", binds, &name, flags).map_err(failed)
}

/// What no container may have for writing: the run root, the configuration's directory, and
/// everything above them.
struct Forbidden {
    paths: [HostPath; 2],
    identities: Vec<(u64, u64)>,
}

impl Forbidden {
    fn find(config: &Config) -> Result<Self, LauncherError> {
        let paths = [config.run_root.clone(), HostPath::parse(CONF_DIR)?];
        let mut identities = Vec::new();
        for path in &paths {
            let passed = lineage(path.as_str())?;
            identities.extend(passed.iter().map(|stat| (stat.st_dev, stat.st_ino)));
        }
        Ok(Self { paths, identities })
    }

    /// By identity, so that no other name of the same directory passes; by the kernel's own path
    /// of the opened source for what lies below.
    fn check(&self, named: &HostPath, source: &OwnedFd, stat: &Stat) -> Result<(), LauncherError> {
        let real = proc_fd::path_of(source).map_err(failed(named))?;
        let same = self.identities.contains(&(stat.st_dev, stat.st_ino));
        let inside = HostPath::parse(&real)
            .map(|real| self.paths.iter().any(|path| real.starts_with(path)))
            .unwrap_or(true);
        if same || inside {
            return Err(refused(
                named,
                "the run root, the launcher's configuration and what is above them cannot be \
                 mounted for writing",
            ));
        }
        Ok(())
    }
}
