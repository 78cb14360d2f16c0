//! Opening files that root trusts: they and every directory above them belong to root, and nobody
//! else can write to them.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;
use storm_oci_request::HostPath;

use crate::error::{LauncherError, Step};

/// Why a path cannot be trusted, and how to mend it.
#[derive(Debug)]
pub(crate) struct Untrusted {
    /// The component at fault, as a path.
    pub(crate) path: String,
    /// What was found, and what is allowed.
    pub(crate) problem: String,
    /// What the administrator can do.
    pub(crate) fix: String,
}

/// Opens a root-owned file below root-owned directories that only root can write.
///
/// # Errors
///
/// [`LauncherError::Config`] naming the component that fails.
pub(crate) fn open_trusted(path: &str) -> Result<OwnedFd, LauncherError> {
    trust(path).map(|(file, _)| file)
}

/// As [`open_trusted`], of a program that root can execute.
///
/// # Errors
///
/// As [`open_trusted`]; [`Step::Spawn`] for what is no program.
pub(crate) fn open_program(path: &HostPath) -> Result<OwnedFd, LauncherError> {
    let program = open_trusted(path.as_str())?;
    let stat = fstat(&program)
        .map_err(|source| LauncherError::failed(Step::Inspect, path.as_str(), source))?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if regular && stat.st_mode & 0o100 != 0 {
        return Ok(program);
    }
    let problem = "not a program that root can execute";
    Err(LauncherError::refused(Step::Spawn, path.as_str(), problem))
}

/// What `fstat` tells of a trusted file and of every directory above it, `/` first.
///
/// # Errors
///
/// As [`open_trusted`].
pub(crate) fn lineage(path: &str) -> Result<Vec<Stat>, LauncherError> {
    trust(path).map(|(_, passed)| passed)
}

fn trust(path: &str) -> Result<(OwnedFd, Vec<Stat>), LauncherError> {
    let (mut problems, mut passed) = (Vec::new(), Vec::new());
    let opened = walk(path, &mut problems, &mut passed);
    match (opened, problems.into_iter().next()) {
        (Some(file), None) => Ok((file, passed)),
        (_, Some(Untrusted { path, problem, .. })) => Err(LauncherError::Config { path, problem }),
        (None, None) => {
            Err(LauncherError::Config { path: path.to_owned(), problem: Errno::NOENT.to_string() })
        }
    }
}

/// Walks to `path` and notes every component that cannot be trusted; `None` when the walk could
/// not go on.
pub(crate) fn inspect(path: &str, problems: &mut Vec<Untrusted>) -> Option<OwnedFd> {
    walk(path, problems, &mut Vec::new())
}

fn walk(path: &str, problems: &mut Vec<Untrusted>, passed: &mut Vec<Stat>) -> Option<OwnedFd> {
    let mut walked = String::from("/");
    let (stat, mut current) =
        open_component(CWD.as_fd(), "/", &walked, OFlags::DIRECTORY, problems)?;
    passed.push(stat);
    let mut components = path.split('/').filter(|component| !component.is_empty()).peekable();
    while let Some(component) = components.next() {
        if walked.len() > 1 {
            walked.push('/');
        }
        walked.push_str(component);
        let kind = if components.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
        let (stat, next) = open_component(current.as_fd(), component, &walked, kind, problems)?;
        passed.push(stat);
        current = next;
    }
    Some(current)
}

fn open_component(
    parent: BorrowedFd<'_>,
    name: &str,
    walked: &str,
    kind: OFlags,
    problems: &mut Vec<Untrusted>,
) -> Option<(Stat, OwnedFd)> {
    let mut note = |problem: String, fix: String| {
        problems.push(Untrusted { path: walked.to_owned(), problem, fix });
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | kind;
    let opened =
        openat(parent, name, flags, Mode::empty()).and_then(|opened| Ok((fstat(&opened)?, opened)));
    let (stat, opened) = match opened {
        Ok(opened) => opened,
        Err(source) => {
            let (problem, fix) = explain(source);
            note(problem, fix.to_owned());
            return None;
        }
    };
    if stat.st_uid != 0 {
        let problem = format!("owned by uid {}, must be root's", stat.st_uid);
        note(problem, format!("chown root {walked}"));
    }
    if stat.st_mode & 0o022 != 0 {
        let mode = stat.st_mode & 0o7777;
        let problem = format!("mode {mode:04o} lets group or others write, must not");
        note(problem, format!("chmod go-w {walked}"));
    }
    Some((stat, opened))
}

fn explain(source: Errno) -> (String, &'static str) {
    match source {
        Errno::NOENT => (source.to_string(), "make it, as root"),
        Errno::LOOP | Errno::NOTDIR => (
            format!("{source} (symbolic links are not followed here)"),
            "put a directory or file in its place, or name the path it leads to",
        ),
        _ => (source.to_string(), "run `worker-launcher --checksetup` as root"),
    }
}
