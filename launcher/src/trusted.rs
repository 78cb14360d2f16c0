//! Opening files that root trusts: they and every directory above them belong to root, and nobody
//! else can write to them.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, OFlags, Stat, fstat};
use rustix::io::Errno;
use storm_oci_request::HostPath;

use crate::error::{CHECK_SETUP, LauncherError, Result, Step};
use crate::switches::without;
use crate::sys_file::{kind, open};

/// Opens a root-owned file below root-owned directories that only root can write; with it, what
/// `fstat` tells of each of them, `/` first.
///
/// # Errors
///
/// [`Step::Config`] naming the component that fails.
pub(crate) fn trust(path: &str) -> Result<(OwnedFd, Vec<Stat>)> {
    let mut problems = Vec::new();
    let opened = inspect(path, &mut problems);
    problems.into_iter().next().map_or(opened, Err)
}

/// As [`trust`], of a program that root can execute.
///
/// # Errors
///
/// As [`trust`].
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
    let executable = |stat: &Stat| kind(stat) == FileType::RegularFile && stat.st_mode & 0o100 != 0;
    if passed.last().is_some_and(executable) {
        return Ok(());
    }
    Err(Step::Config
        .refused(path, "not a program that root can execute")
        .with_hint("install it, and set its path in worker-launcher.cfg"))
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
    let (mut current, stat) = open_below(CWD, "/", "/", problems)?;
    let mut passed = vec![stat];
    for name in path.split('/').filter(|name| !name.is_empty()) {
        walked.push('/');
        walked.push_str(name);
        let (next, stat) = open_below(current, name, &walked, problems)?;
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
    parent: impl AsFd,
    name: &str,
    path: &str,
    problems: &mut Vec<LauncherError>,
) -> Result<(OwnedFd, Stat)> {
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK;
    flags.set(OFlags::NOFOLLOW, !without("trusted-links"));
    let opened = open(parent, name, flags).and_then(|file| Ok((fstat(&file)?, file)));
    let (stat, file) = opened.map_err(|source| match source {
        Errno::NOENT => Step::Config.refused(path, source).with_hint("make it, as root"),
        Errno::LOOP | Errno::NOTDIR => Step::Config
            .refused(path, format_args!("{source} (symbolic links are not followed here)"))
            .with_hint("put a directory or file in its place, or name the path it leads to"),
        _ => Step::Config.refused(path, source).with_hint(CHECK_SETUP),
    })?;
    if stat.st_uid != 0 && !without("trusted-owner") {
        let problem = format!("owned by uid {}, must be root's", stat.st_uid);
        problems.push(Step::Config.refused(path, problem).with_hint(format!("chown root {path}")));
    }
    if stat.st_mode & 0o022 != 0 && !without("trusted-mode") {
        let mode = stat.st_mode & 0o7777;
        let problem = format!("mode {mode:04o} lets group or others write, must not");
        problems.push(Step::Config.refused(path, problem).with_hint(format!("chmod go-w {path}")));
    }
    Ok((file, stat))
}
