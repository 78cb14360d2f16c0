//! `rmr`: removing a tree with no more rights than its owners have.
//!
//! The contents are removed with the user's ids, then what is left with the caller's, since both
//! own files there; the kernel stops whatever neither of them could have removed. Root's rights
//! are used for the way to the tree only.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, Stat, unlinkat};
use storm_oci_request::HostPath;

use crate::error::{At, LauncherError, Result, Step};
use crate::privilege::acting_as;
use crate::sys_file::unless_missing;
use crate::tree::{self, Entry, Found, Visitor};
use crate::{Call, proc_fd, walk};

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

impl Visitor for Removing {
    const STEP: Step = Step::Remove;

    fn visit(&mut self, entry: &Entry<'_>, found: Found<'_>) -> Result<()> {
        // What vanished meanwhile is removed as well.
        let unlink = |flags| unless_missing(unlinkat(entry.directory, entry.name, flags)).map(drop);
        let removed = match found {
            Found::File(..) => unlink(AtFlags::empty()).at(Step::Remove, entry),
            Found::Directory(_) => unlink(AtFlags::REMOVEDIR).at(Step::Remove, entry),
            Found::Foreign(problem) => Err(Step::Remove.refused(entry, problem)),
            Found::Failed(source) => Err(Step::Remove.failed(entry)(source)),
        };
        if let Err(problem) = removed {
            self.problem.get_or_insert(problem);
        }
        Ok(())
    }

    /// Makes it one that its owner may empty.
    fn prepare(&self, directory: &OwnedFd, stat: &Stat) {
        if stat.st_mode & 0o700 != 0o700 {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o700);
            // Refused when it belongs to the other one, who has a turn of his own.
            let _refused = proc_fd::chmod(&self.own_descriptors, directory, mode);
        }
    }
}
