//! `code-dir`, `artifacts-dir`, `blob` and the worker's directory: a tree becomes the user's,
//! with the launcher's group able to write, as the original leaves it.
//!
//! Owner `user:launcher group`; of the old mode only the owner's read and execute bits stay; the
//! group gets read and write, on directories search and set-group-id as well, so that what is
//! made there later stays removable by the supervisor. Others get nothing. Each directory is
//! given away after its contents.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, fstat, openat,
};
use rustix::io::Errno;
use storm_oci_request::HostPath;

use crate::account::Account;
use crate::config::Config;
use crate::error::{LauncherError, Step};
use crate::proc_fd;
use crate::report;
use crate::sanitize::CallerProcess;
use crate::tree::{self, Spot, Visitor};
use crate::walk::{self, Owners};

/// `code-dir`: the user may read and execute, the supervisor's group may write.
///
/// # Errors
///
/// [`Step::Find`] for a path that is not there; a refusal when the walk to it or the
/// top of it is not the supervisor's or the user's.
pub(crate) fn give_code_dir(
    caller: &CallerProcess,
    config: &Config,
    account: &Account,
    dir: &HostPath,
) -> Result<(), LauncherError> {
    give(caller, config, account, dir, Rule::READ)
}

/// `blob`: as [`give_code_dir`], also for a single file.
///
/// # Errors
///
/// As [`give_code_dir`].
pub(crate) fn give_blob(
    caller: &CallerProcess,
    config: &Config,
    account: &Account,
    path: &HostPath,
) -> Result<(), LauncherError> {
    give(caller, config, account, path, Rule::READ)
}

/// `artifacts-dir`: the user may write as well.
///
/// # Errors
///
/// As [`give_code_dir`].
pub(crate) fn give_artifacts_dir(
    caller: &CallerProcess,
    config: &Config,
    account: &Account,
    dir: &HostPath,
) -> Result<(), LauncherError> {
    give(caller, config, account, dir, Rule::WRITE)
}

/// The worker's directory before a launch: writable for the user, and `tmp` in it without
/// set-group-id, because the worker sees it as `/tmp` and the JVM's attach files must not get
/// another group there.
///
/// # Errors
///
/// As [`give_code_dir`]; also when `tmp` is missing.
pub(crate) fn give_worker_dir(
    caller: &CallerProcess,
    config: &Config,
    account: &Account,
    dir: &HostPath,
) -> Result<(), LauncherError> {
    give(caller, config, account, dir, Rule::WRITE)?;
    let tmp = HostPath::parse(&format!("{dir}/tmp"))?;
    give(caller, config, account, &tmp, Rule::TMP)
}

#[derive(Clone, Copy)]
struct Rule {
    user_writes: bool,
    set_group_id: bool,
}

impl Rule {
    const READ: Self = Self { user_writes: false, set_group_id: true };
    const WRITE: Self = Self { user_writes: true, set_group_id: true };
    const TMP: Self = Self { user_writes: true, set_group_id: false };

    fn mode(self, old: u32, kind: FileType) -> Mode {
        let mut mode = Mode::from_raw_mode(old & 0o500 | 0o060);
        mode.set(Mode::WUSR, self.user_writes);
        let directory = kind == FileType::Directory;
        mode.set(Mode::XGRP, directory);
        mode.set(Mode::SGID, directory && self.set_group_id);
        mode
    }
}

fn give(
    caller: &CallerProcess,
    config: &Config,
    account: &Account,
    path: &HostPath,
    rule: Rule,
) -> Result<(), LauncherError> {
    let place = walk::parent_of(caller, account, path, Step::Own)?;
    let failed = |source| match source {
        Errno::NOENT => LauncherError::failed(Step::Find, path.as_str(), source),
        source => LauncherError::failed(Step::Own, path.as_str(), source),
    };
    let mut giving = Giving {
        owners: Owners::new(caller, account),
        uid: Uid::from_raw(account.identity.uid),
        gid: Gid::from_raw(config.group_id),
        rule,
        own_descriptors: proc_fd::open()?,
        notes: 0,
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(&place.parent, place.name, flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&top).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return giving.file(&top, &stat, || path.to_string());
    }
    if let Some(problem) = giving.owners.objection(&stat) {
        return Err(LauncherError::refused(Step::Own, path.as_str(), problem));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = openat(&top, c".", flags, Mode::empty()).map_err(failed)?;
    tree::visit(readable, path.as_str(), &mut giving)?;
    giving.directory(&top, &stat).map_err(failed)
}

/// Lines on the error stream for entries passed over; the rest is only counted, since a user can
/// make any number of them.
const MAX_NOTES: u32 = 10;

struct Giving {
    owners: Owners,
    uid: Uid,
    gid: Gid,
    rule: Rule,
    /// `/proc/self/fd`: the way to `chmod` what was opened with `O_PATH`.
    own_descriptors: OwnedFd,
    notes: u32,
}

impl Giving {
    /// Gives a file away, unless it is not a plain file of the supervisor's or the user's alone.
    fn file(
        &mut self,
        file: &OwnedFd,
        stat: &Stat,
        path: impl Fn() -> String,
    ) -> Result<(), LauncherError> {
        let problem = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => return Ok(()),
            FileType::RegularFile if stat.st_nlink > 1 => {
                // Its other name may be anybody's.
                Some(format!("it has {} hard links", stat.st_nlink))
            }
            FileType::RegularFile => self.owners.objection(stat),
            _ => Some("it is neither a file nor a directory".to_owned()),
        };
        if let Some(problem) = problem {
            self.pass_over(&path(), &problem);
            return Ok(());
        }
        self.change(file, stat).map_err(|source| LauncherError::failed(Step::Own, path(), source))
    }

    fn directory(&self, directory: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
        self.change(directory, stat)
    }

    /// Owner first, so that the old owner cannot change the mode back; the kernel takes
    /// set-user-id off a file with that.
    fn change(&self, opened: impl AsFd, stat: &Stat) -> Result<(), Errno> {
        let opened = opened.as_fd();
        chownat(opened, c"", Some(self.uid), Some(self.gid), AtFlags::EMPTY_PATH)?;
        let mode = self.rule.mode(stat.st_mode, FileType::from_raw_mode(stat.st_mode));
        let number = opened.as_raw_fd().to_string();
        chmodat(&self.own_descriptors, number, mode, AtFlags::empty())
    }

    fn pass_over(&mut self, path: &str, problem: &str) {
        self.notes = self.notes.saturating_add(1);
        if self.notes <= MAX_NOTES {
            report::note(&format!("passed over `{path}`: {problem}"));
        } else if self.notes == MAX_NOTES.saturating_add(1) {
            report::note("passed over more entries of this kind");
        }
    }
}

impl Visitor for Giving {
    const STEP: Step = Step::Own;

    fn entry(&mut self, spot: &Spot<'_>, kind: FileType) -> Result<bool, LauncherError> {
        if kind == FileType::Directory {
            return Ok(true);
        }
        let opened = match spot.open_entry(OFlags::PATH) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(false),
            Err(Errno::XDEV) => {
                self.pass_over(&spot.path(), "it is a mount point");
                return Ok(false);
            }
            Err(source) => return Err(failed(spot, source)),
        };
        let stat = fstat(&opened).map_err(|source| failed(spot, source))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Ok(true);
        }
        self.file(&opened, &stat, || spot.path())?;
        Ok(false)
    }

    fn open(&mut self, spot: &Spot<'_>) -> Result<Option<OwnedFd>, LauncherError> {
        let directory = match spot.open_entry(OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            // Gone, or no directory any more.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(Errno::XDEV) => {
                self.pass_over(&spot.path(), "it is a mount point");
                return Ok(None);
            }
            Err(source) => return Err(failed(spot, source)),
        };
        let stat = fstat(&directory).map_err(|source| failed(spot, source))?;
        if let Some(problem) = self.owners.objection(&stat) {
            self.pass_over(&spot.path(), &problem);
            return Ok(None);
        }
        Ok(Some(directory))
    }

    fn leave(&mut self, spot: &Spot<'_>, directory: BorrowedFd<'_>) -> Result<(), LauncherError> {
        let stat = fstat(directory).map_err(|source| failed(spot, source))?;
        self.change(directory, &stat).map_err(|source| failed(spot, source))
    }
}

fn failed(spot: &Spot<'_>, source: Errno) -> LauncherError {
    LauncherError::failed(Step::Own, spot.path(), source)
}
