//! `code-dir`, `artifacts-dir`, `blob` and the worker's directory: a tree becomes the user's,
//! with the launcher's group able to write, as the original leaves it.
//!
//! Owner `user:launcher group`; of the old mode only the owner's read and execute bits stay; the
//! group gets read and write, on directories search and set-group-id as well, so that what is
//! made there later stays removable by the supervisor. Others get nothing. Each directory is
//! given away after its contents.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Uid, chownat, fstat};
use rustix::io::Errno;
use storm_oci_request::HostPath;

use crate::error::{At, Result, Step};
use crate::switches::without;
use crate::sys_file::kind;
use crate::tree::{self, Entry, Found, Visitor};
use crate::walk::{self, Owners};
use crate::{Call, proc_fd, report};

/// What the user may do with what becomes his.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    user_writes: bool,
    set_group_id: bool,
}

impl Rule {
    /// `code-dir` and `blob`: the user may read and execute.
    pub(crate) const READ: Self = Self { user_writes: false, set_group_id: true };
    /// `artifacts-dir`: the user may write as well.
    pub(crate) const WRITE: Self = Self { user_writes: true, set_group_id: true };
    /// The worker sees it as `/tmp`: the JVM's attach files must not get another group there.
    const TMP: Self = Self { user_writes: true, set_group_id: false };

    fn mode(self, old: &Stat) -> Mode {
        let mut mode = Mode::from_raw_mode(old.st_mode & 0o500 | 0o060);
        mode.set(Mode::WUSR, self.user_writes);
        let directory = kind(old) == FileType::Directory;
        mode.set(Mode::XGRP, directory);
        mode.set(Mode::SGID, directory && self.set_group_id);
        mode
    }
}

/// The worker's directory before a launch: writable for the user, `tmp` in it like `/tmp`.
///
/// # Errors
///
/// As [`give`]; also when `tmp` is missing.
pub(crate) fn give_worker_dir(call: &Call, dir: &HostPath) -> Result<()> {
    give(call, dir, Rule::WRITE)?;
    let tmp = HostPath::parse(&format!("{dir}/tmp"))?;
    give(call, &tmp, Rule::TMP)
}

/// Gives a file or a tree to the account.
///
/// # Errors
///
/// [`Step::Find`] for a path that is not there; a refusal when the walk to it or the top of it is
/// not the supervisor's or the user's.
pub(crate) fn give(call: &Call, path: &HostPath, rule: Rule) -> Result<()> {
    let place = walk::parent_of(call, path, Step::Own)?;
    let mut giving = Giving {
        owners: place.owners,
        uid: Uid::from_raw(call.account.identity.uid),
        gid: Gid::from_raw(call.config.group_id),
        rule,
        own_descriptors: proc_fd::open()?,
        notes: 0,
    };
    tree::visit(&place, &mut giving)
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
    /// Why a file is not given away: it is not a plain file of the supervisor's or the user's alone.
    fn objection(&self, stat: &Stat) -> Option<String> {
        match kind(stat) {
            // Its other name may be anybody's.
            FileType::RegularFile if stat.st_nlink > 1 && !without("one-link-in-trees") => {
                Some(format!("it has {} hard links", stat.st_nlink))
            }
            FileType::RegularFile => self.owners.objection(stat),
            _ => Some("it is neither a file nor a directory".to_owned()),
        }
    }

    fn pass_over(&mut self, entry: &Entry<'_>, problem: &str) -> Result<(), Errno> {
        self.notes = self.notes.saturating_add(1);
        if self.notes <= MAX_NOTES {
            report::note(&format!("passed over `{}`: {problem}", entry));
        } else if self.notes == MAX_NOTES.saturating_add(1) {
            report::note("passed over more entries of this kind");
        }
        Ok(())
    }

    /// Owner first, so that the old owner cannot change the mode back; the kernel takes
    /// set-user-id off a file with that.
    fn change(&self, opened: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
        chownat(opened, c"", Some(self.uid), Some(self.gid), AtFlags::EMPTY_PATH)?;
        proc_fd::chmod(&self.own_descriptors, opened, self.rule.mode(stat))
    }
}

impl Visitor for Giving {
    const STEP: Step = Step::Own;

    fn visit(&mut self, entry: &Entry<'_>, found: Found<'_>) -> Result<()> {
        let changed = match found {
            Found::Directory(directory) => {
                fstat(directory).and_then(|stat| self.change(directory, &stat))
            }
            Found::File(_, stat) if kind(stat) == FileType::Symlink => Ok(()),
            Found::File(opened, stat) => match self.objection(stat) {
                Some(problem) => self.pass_over(entry, &problem),
                None => self.change(opened, stat),
            },
            Found::Foreign(problem) => self.pass_over(entry, problem),
            Found::Failed(source) => Err(source),
        };
        changed.at(Step::Own, entry)
    }
}
