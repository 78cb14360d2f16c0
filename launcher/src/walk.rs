//! The trusted walk: from `/` down to the parent of what a verb was given.
//!
//! The supervisor's user chooses the path, so it is only a claim. It is believed when the way
//! down goes through root's directories, then through at least one of the supervisor's, and from
//! there only through the supervisor's or the named user's. Each step is an `openat` on the
//! directory held before, without following links; so what was checked is what is used.

use std::collections::VecDeque;

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use storm_oci_request::HostPath;

use crate::account::Account;
use crate::error::{LauncherError, Step};
use crate::privilege::acting_as;
use crate::sanitize::CallerProcess;

/// Whose files and directories a verb may touch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Owners {
    /// The caller's real uid.
    supervisor: u32,
    /// The named user's uid.
    user: u32,
}

impl Owners {
    /// The two owners of a verb.
    pub(crate) fn new(caller: &CallerProcess, account: &Account) -> Self {
        Self { supervisor: caller.identity.uid, user: account.identity.uid }
    }

    /// Why something with this `stat` is not theirs; `None` when it is.
    pub(crate) fn objection(self, stat: &Stat) -> Option<String> {
        let Self { supervisor, user } = self;
        (stat.st_uid != supervisor && stat.st_uid != user).then(|| {
            format!("owned by uid {}, must be uid {supervisor}'s or uid {user}'s", stat.st_uid)
        })
    }
}

/// A name in a directory that the walk reached. The name itself was not looked at.
#[derive(Debug)]
pub(crate) struct Place<'p> {
    /// The directory, opened with `O_PATH`.
    pub(crate) parent: OwnedFd,
    /// The last component of the path.
    pub(crate) name: &'p str,
}

/// Symbolic links followed on one walk; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// Walks to the directory that holds `path`.
///
/// Until the first directory of the supervisor's the walk has the caller's ids, so that its
/// errors tell the caller nothing it could not see by itself.
///
/// # Errors
///
/// [`Step::Find`] when a component is not there, else the refusal or failure with the
/// component it met.
pub(crate) fn parent_of<'p>(
    caller: &CallerProcess,
    account: &Account,
    path: &'p HostPath,
    step: Step,
) -> Result<Place<'p>, LauncherError> {
    let Some(name) = path.components().last() else {
        return Err(LauncherError::refused(step, "/", "it is the root directory"));
    };
    let mut walk = Walk {
        owners: Owners::new(caller, account),
        step,
        held: vec![open_root(step)?],
        pending: path.components().map(str::to_owned).collect(),
        walked: vec![],
        reached: false,
        links: 0,
    };
    acting_as(&caller.identity, || {
        while walk.pending.len() > 1 && !walk.reached {
            walk.descend()?;
        }
        Ok::<_, LauncherError>(())
    })??;
    while walk.pending.len() > 1 {
        walk.descend()?;
    }
    let parent = walk.held.pop().filter(|_| walk.reached).ok_or_else(|| {
        let supervisor = caller.identity.uid;
        let problem = format!("no directory above it belongs to uid {supervisor}");
        LauncherError::refused(step, path.as_str(), problem)
    })?;
    Ok(Place { parent, name })
}

struct Walk {
    owners: Owners,
    step: Step,
    /// The directories from `/` to the current one.
    held: Vec<OwnedFd>,
    /// The components still to come; the last is never opened here.
    pending: VecDeque<String>,
    /// The names of `held`, without the root's.
    walked: Vec<String>,
    /// Whether a directory of the supervisor's was passed.
    reached: bool,
    links: usize,
}

impl Walk {
    fn descend(&mut self) -> Result<(), LauncherError> {
        let Some(name) = self.pending.pop_front() else {
            return Ok(());
        };
        match name.as_str() {
            // Only the target of one of root's links can hold these.
            "" | "." => return Ok(()),
            ".." => {
                if self.held.len() > 1 {
                    self.held.pop();
                    self.walked.pop();
                }
                return Ok(());
            }
            _ => self.walked.push(name.clone()),
        }
        let current = self.held.last().ok_or_else(|| self.failed(Errno::BADF))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = openat(current, name.as_str(), flags, Mode::empty())
            .map_err(|source| self.failed(source))?;
        let stat = fstat(&next).map_err(|source| self.failed(source))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.judge(&stat)?;
                self.held.push(next);
                Ok(())
            }
            FileType::Symlink => self.follow(&next, &stat),
            _ => Err(self.failed(Errno::NOTDIR)),
        }
    }

    /// Is this directory one that the walk may go through?
    fn judge(&mut self, stat: &Stat) -> Result<(), LauncherError> {
        let Owners { supervisor, user } = self.owners;
        if self.reached {
            return match self.owners.objection(stat) {
                None => Ok(()),
                Some(problem) => Err(self.refused(problem)),
            };
        }
        if stat.st_uid == supervisor {
            self.reached = true;
        } else if stat.st_uid != 0 {
            let found = stat.st_uid;
            return Err(self.refused(format!(
                "owned by uid {found}, but above the supervisor's directories (uid {supervisor}) \
                 only root's may lie, even for uid {user}"
            )));
        }
        Ok(())
    }

    /// Follows a link that root made in a directory only root can write, such as
    /// `/opt/storm -> apache-storm-2.8.3`. All other links are refused.
    fn follow(&mut self, link: &OwnedFd, stat: &Stat) -> Result<(), LauncherError> {
        let current = self.held.last().ok_or_else(|| self.failed(Errno::BADF))?;
        let parent = fstat(current).map_err(|source| self.failed(source))?;
        let roots = stat.st_uid == 0 && parent.st_uid == 0 && parent.st_mode & 0o022 == 0;
        if self.reached || !roots {
            return Err(self.refused("it is a symbolic link".to_owned()));
        }
        self.links = self.links.saturating_add(1);
        if self.links > MAX_LINKS {
            return Err(self.failed(Errno::LOOP));
        }
        let target = readlinkat(link, "", Vec::new()).map_err(|source| self.failed(source))?;
        let target = target
            .into_string()
            .map_err(|_| self.refused("a link whose target is not valid UTF-8".to_owned()))?;
        self.walked.pop();
        if target.starts_with('/') {
            self.held.truncate(1);
            self.walked.clear();
        }
        for component in target.split('/').rev() {
            self.pending.push_front(component.to_owned());
        }
        Ok(())
    }

    fn here(&self) -> String {
        format!("/{}", self.walked.join("/"))
    }

    fn failed(&self, source: Errno) -> LauncherError {
        match source {
            Errno::NOENT => LauncherError::failed(Step::Find, self.here(), source),
            _ => LauncherError::failed(self.step, self.here(), source),
        }
    }

    fn refused(&self, problem: String) -> LauncherError {
        LauncherError::refused(self.step, self.here(), problem)
    }
}

fn open_root(step: Step) -> Result<OwnedFd, LauncherError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/", flags, Mode::empty())
        .map_err(|source| LauncherError::failed(step, "/", source))
}
