//! `rmr`: removing a tree with no more rights than its owners have.
//!
//! The contents are removed with the user's ids, then what is left with the caller's, since both
//! own files there; the kernel stops whatever neither of them could have removed. Root's rights
//! are used for the way to the tree only.

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, chmodat, openat, unlinkat};
use rustix::io::Errno;
use storm_oci_request::HostPath;

use crate::Call;
use crate::error::{LauncherError, Result, Step};
use crate::privilege::acting_as;
use crate::proc_fd;
use crate::tree::{self, Entry, Visitor};
use crate::walk;

/// How often each of the two has a turn, because something was made in the tree meanwhile, or was
/// in the other's way.
const TURNS: usize = 3;

/// Removes `path` and all below it. What is not there counts as removed.
///
/// # Errors
///
/// A refusal when the walk to it or the top of it is not the supervisor's or the user's, or is a
/// mount point; the first entry that could not be removed otherwise.
pub(crate) fn remove(call: &Call, path: &HostPath) -> Result<()> {
    match remove_in_turns(call, path) {
        Err(error) if error.step == Step::Find => Ok(()),
        removed => removed,
    }
}

fn remove_in_turns(call: &Call, path: &HostPath) -> Result<()> {
    let place = walk::parent_of(call, path, Step::Remove)?;
    let mut removing = Removing { own_descriptors: proc_fd::open()?, problem: None };
    for _ in 0..TURNS {
        for identity in [&call.account.identity, &call.caller.identity] {
            removing.problem = None;
            acting_as(identity, || tree::visit(&place, &mut removing))??;
            if removing.problem.is_none() {
                return Ok(());
            }
        }
    }
    removing.problem.map_or(Ok(()), Err)
}

struct Removing {
    own_descriptors: OwnedFd,
    /// The first one. It must not keep the rest alive, so that the visit goes on.
    problem: Option<LauncherError>,
}

impl Removing {
    /// What vanished meanwhile is removed as well.
    fn unlink(&mut self, entry: &Entry<'_>, flags: AtFlags) -> Result<()> {
        match unlinkat(entry.directory, entry.name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => self.failed(entry.failed(Step::Remove, source)),
        }
    }
}

impl Visitor for Removing {
    const STEP: Step = Step::Remove;

    fn file(&mut self, entry: &Entry<'_>, _opened: &OwnedFd, _stat: &Stat) -> Result<()> {
        self.unlink(entry, AtFlags::empty())
    }

    /// First makes it one that its owner may empty.
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

    fn left(&mut self, entry: &Entry<'_>, _directory: &OwnedFd) -> Result<()> {
        self.unlink(entry, AtFlags::REMOVEDIR)
    }

    fn passed_over(&mut self, entry: &Entry<'_>, problem: &str) -> Result<()> {
        self.failed(Step::Remove.refused(entry.path(), problem))
    }

    fn failed(&mut self, error: LauncherError) -> Result<()> {
        self.problem.get_or_insert(error);
        Ok(())
    }
}
