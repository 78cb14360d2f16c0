//! `rmr`: removing a tree with no more rights than its owners have.
//!
//! The contents are removed with the user's ids, then what is left with the caller's, since both
//! own files there; the kernel stops whatever neither of them could have removed. Root's rights
//! are used for the way to the tree only.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, chmodat, fstat, openat, unlinkat};
use rustix::io::Errno;
use storm_oci_request::HostPath;

use crate::account::Account;
use crate::error::{LauncherError, Step};
use crate::privilege::acting_as;
use crate::proc_fd;
use crate::sanitize::CallerProcess;
use crate::tree::{self, Spot, Visitor};
use crate::walk::{self, Owners, Place};

/// How often a tree is gone through again because something was made in it meanwhile.
const ATTEMPTS: u32 = 3;

/// Removes `path` and all below it. What is not there counts as removed.
///
/// # Errors
///
/// A refusal when the walk to it or the top of it is not the supervisor's or the user's, or is a
/// mount point; the first entry that could not be removed otherwise.
pub(crate) fn remove(
    caller: &CallerProcess,
    account: &Account,
    path: &HostPath,
) -> Result<(), LauncherError> {
    let place = match walk::parent_of(caller, account, path, Step::Remove) {
        Err(error) if error.step() == Some(Step::Find) => return Ok(()),
        place => place?,
    };
    let failed = |source| LauncherError::failed(Step::Remove, path.as_str(), source);
    let top = match tree::open_below(place.parent.as_fd(), place.name, OFlags::PATH) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::XDEV) => return Err(mount_point(path.as_str())),
        opened => opened.map_err(failed)?,
    };
    let stat = fstat(&top).map_err(failed)?;
    let mut outcome = Ok(());
    for identity in [&account.identity, &caller.identity] {
        outcome = acting_as(identity, || {
            remove_once(&place, &top, &stat, path, Owners::new(caller, account))
        })?;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn remove_once(
    place: &Place<'_>,
    top: &OwnedFd,
    stat: &Stat,
    path: &HostPath,
    owners: Owners,
) -> Result<(), LauncherError> {
    let failed = |source| LauncherError::failed(Step::Remove, path.as_str(), source);
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return unlink(&place.parent, place.name, AtFlags::empty()).map_err(failed);
    }
    if let Some(problem) = owners.objection(stat) {
        return Err(LauncherError::refused(Step::Remove, path.as_str(), problem));
    }
    let mut removing = Removing::new(owners)?;
    let mut attempt = 1;
    loop {
        let readable = removing.readable(top, stat).map_err(failed)?;
        tree::visit(readable, path.as_str(), &mut removing)?;
        let removed = unlink(&place.parent, place.name, AtFlags::REMOVEDIR);
        let first = removing.first_problem.take();
        match removed {
            Err(Errno::NOTEMPTY) if attempt < ATTEMPTS && first.is_none() => {}
            removed => return removed.map_err(|source| first.unwrap_or_else(|| failed(source))),
        }
        attempt = attempt.saturating_add(1);
    }
}

/// Unlinks; what vanished meanwhile is removed as well.
fn unlink(parent: impl AsFd, name: impl rustix::path::Arg, flags: AtFlags) -> Result<(), Errno> {
    match unlinkat(parent, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        outcome => outcome,
    }
}

struct Removing {
    owners: Owners,
    own_descriptors: OwnedFd,
    /// One failure must not keep the rest alive, so that the visit goes on.
    first_problem: Option<LauncherError>,
}

impl Removing {
    fn new(owners: Owners) -> Result<Self, LauncherError> {
        Ok(Self { owners, own_descriptors: proc_fd::open()?, first_problem: None })
    }

    fn keep(&mut self, problem: LauncherError) {
        self.first_problem.get_or_insert(problem);
    }

    /// Opens a directory for reading, and first makes it one that its owner may empty.
    fn readable(&self, directory: &OwnedFd, stat: &Stat) -> Result<OwnedFd, Errno> {
        if stat.st_mode & 0o700 != 0o700 {
            let number = directory.as_raw_fd().to_string();
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o700);
            // Refused when it belongs to the other one, who has a turn of his own.
            let _refused = chmodat(&self.own_descriptors, number, mode, AtFlags::empty());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(directory, c".", flags, Mode::empty())
    }
}

impl Visitor for Removing {
    const STEP: Step = Step::Remove;

    fn entry(&mut self, spot: &Spot<'_>, kind: FileType) -> Result<bool, LauncherError> {
        if kind == FileType::Directory {
            return Ok(true);
        }
        match unlink(spot.directory, spot.name, AtFlags::empty()) {
            Ok(()) => Ok(false),
            Err(Errno::ISDIR) => Ok(true),
            Err(source) => {
                self.keep(failed(spot, source));
                Ok(false)
            }
        }
    }

    fn open(&mut self, spot: &Spot<'_>) -> Result<Option<OwnedFd>, LauncherError> {
        let opened = spot
            .open_entry(OFlags::PATH | OFlags::DIRECTORY)
            .and_then(|directory| Ok((fstat(&directory)?, directory)));
        let problem = match opened {
            Ok((stat, directory)) => match self.owners.objection(&stat) {
                Some(problem) => LauncherError::refused(Step::Remove, spot.path(), problem),
                None => match self.readable(&directory, &stat) {
                    Ok(readable) => return Ok(Some(readable)),
                    Err(source) => failed(spot, source),
                },
            },
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(Errno::XDEV) => mount_point(&spot.path()),
            Err(source) => failed(spot, source),
        };
        self.keep(problem);
        Ok(None)
    }

    fn leave(&mut self, spot: &Spot<'_>, _directory: BorrowedFd<'_>) -> Result<(), LauncherError> {
        match unlink(spot.directory, spot.name, AtFlags::REMOVEDIR) {
            Ok(()) => {}
            // Something was made in it meanwhile, which another attempt removes; or the visit
            // kept what is in it and has said so.
            Err(Errno::NOTEMPTY) => {}
            Err(source) => self.keep(failed(spot, source)),
        }
        Ok(())
    }
}

fn failed(spot: &Spot<'_>, source: Errno) -> LauncherError {
    LauncherError::failed(Step::Remove, spot.path(), source)
}

fn mount_point(path: &str) -> LauncherError {
    LauncherError::refused(Step::Remove, path, "it is a mount point")
}
