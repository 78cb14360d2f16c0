//! Opening files that root trusts: they and every directory above them belong to root, and nobody
//! else can write to them.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;
use storm_oci_request::HostPath;

use crate::error::{LauncherError, Result, Step};
use crate::switches::without;

/// Opens a root-owned file below root-owned directories that only root can write.
///
/// # Errors
///
/// [`Step::Config`] naming the component that fails.
pub(crate) fn open_trusted(path: &str) -> Result<OwnedFd> {
    trust(path).map(|(file, _)| file)
}

/// As [`open_trusted`], of a program that root can execute.
///
/// # Errors
///
/// As [`open_trusted`].
pub(crate) fn open_program(path: &HostPath) -> Result<OwnedFd> {
    let (program, passed) = trust(path.as_str())?;
    check_program(path, &passed)?;
    Ok(program)
}

/// Whether what was reached through `passed` is a program that root can execute.
///
/// # Errors
///
/// [`Step::Config`].
pub(crate) fn check_program(path: &HostPath, passed: &[Stat]) -> Result<()> {
    let executable = |stat: &Stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o100 != 0
    };
    if passed.last().is_some_and(executable) {
        return Ok(());
    }
    let problem = "not a program that root can execute";
    Err(Step::Config
        .refused(path.as_str(), problem)
        .with_hint("install it, and set its path in worker-launcher.cfg"))
}

/// What `fstat` tells of a trusted file and of every directory above it, `/` first.
///
/// # Errors
///
/// As [`open_trusted`].
pub(crate) fn lineage(path: &str) -> Result<Vec<Stat>> {
    trust(path).map(|(_, passed)| passed)
}

fn trust(path: &str) -> Result<(OwnedFd, Vec<Stat>)> {
    let mut problems = Vec::new();
    let opened = inspect(path, &mut problems);
    problems.into_iter().next().map_or(opened, Err)
}

/// Walks to `path`, and notes every component on the way that cannot be trusted.
///
/// # Errors
///
/// The component that cannot be opened.
pub(crate) fn inspect(
    path: &str,
    problems: &mut Vec<LauncherError>,
) -> Result<(OwnedFd, Vec<Stat>)> {
    let mut walked = String::new();
    let (mut current, stat) = open_below(CWD.as_fd(), "/", "/", problems)?;
    let mut passed = vec![stat];
    for name in path.split('/').filter(|name| !name.is_empty()) {
        walked.push('/');
        walked.push_str(name);
        let (next, stat) = open_below(current.as_fd(), name, &walked, problems)?;
        current = next;
        passed.push(stat);
    }
    Ok((current, passed))
}

/// Opens one component in a directory that was reached; `path` is for messages.
///
/// # Errors
///
/// As [`inspect`].
pub(crate) fn open_below(
    parent: BorrowedFd<'_>,
    name: &str,
    path: &str,
    problems: &mut Vec<LauncherError>,
) -> Result<(OwnedFd, Stat)> {
    let failed = |source: Errno| {
        let (problem, fix) = match source {
            Errno::NOENT => (source.to_string(), "make it, as root"),
            Errno::LOOP | Errno::NOTDIR => (
                format!("{source} (symbolic links are not followed here)"),
                "put a directory or file in its place, or name the path it leads to",
            ),
            _ => (source.to_string(), "run `worker-launcher --checksetup` as root"),
        };
        Step::Config.refused(path, problem).with_hint(fix)
    };
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    flags.set(OFlags::NOFOLLOW, !without("trusted-links"));
    let opened = openat(parent, name, flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&opened).map_err(failed)?;
    let mut note = |problem: String, fix: String| {
        problems.push(Step::Config.refused(path, problem).with_hint(fix));
    };
    if stat.st_uid != 0 && !without("trusted-owner") {
        note(format!("owned by uid {}, must be root's", stat.st_uid), format!("chown root {path}"));
    }
    if stat.st_mode & 0o022 != 0 && !without("trusted-mode") {
        let mode = stat.st_mode & 0o7777;
        let problem = format!("mode {mode:04o} lets group or others write, must not");
        note(problem, format!("chmod go-w {path}"));
    }
    Ok((opened, stat))
}
