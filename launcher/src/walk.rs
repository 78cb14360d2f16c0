//! The trusted walk: from `/` down to the parent of what a verb was given.
//!
//! The supervisor's user chooses the path, so it is only a claim. It is believed when the way
//! down goes through root's directories, then through at least one of the supervisor's, and from
//! there only through the supervisor's or the named user's. Each step is an `openat` on the
//! directory held before; so what was checked is what is used.

use std::fmt::Display;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, OFlags, Stat, fstat};
use rustix::io::Errno;
use storm_oci_request::HostPath;

use crate::Call;
use crate::error::{At, LauncherError, Result, Step, must};
use crate::privilege::acting_as;
use crate::switches::without;
use crate::sys_file::{kind, open};

/// Whose files and directories a verb may touch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Owners {
    /// The caller's real uid.
    supervisor: u32,
    /// The named user's uid.
    user: u32,
}

impl Owners {
    /// Why something with this `stat` is not theirs; `None` when it is.
    pub(crate) fn objection(self, stat: &Stat) -> Option<String> {
        let Self { supervisor, user } = self;
        let theirs = stat.st_uid == supervisor || stat.st_uid == user || without("owners");
        (!theirs).then(|| {
            format!("owned by uid {}, must be uid {supervisor}'s or uid {user}'s", stat.st_uid)
        })
    }
}

/// A name in a directory that the walk reached. The name itself was not looked at.
#[derive(Debug)]
pub(crate) struct Place<'p> {
    /// Whose the name may be.
    pub(crate) owners: Owners,
    /// The directory, opened with `O_PATH`.
    pub(crate) parent: OwnedFd,
    /// Its path, for messages.
    pub(crate) parent_path: &'p str,
    /// The last component of the path.
    pub(crate) name: &'p str,
}

/// Walks to the directory that holds `path`.
///
/// Until the first directory of the supervisor's the walk has the caller's ids, so that its
/// errors tell the caller nothing it could not see by itself.
///
/// # Errors
///
/// [`Step::Find`] when a component is not there, else the refusal or failure with the component
/// it met.
pub(crate) fn parent_of<'p>(call: &Call, path: &'p HostPath, step: Step) -> Result<Place<'p>> {
    let (parent_path, name) = path.as_str().rsplit_once('/').unwrap_or_default();
    must(!name.is_empty(), step, "/", "it is the root directory")?;
    let owners = Owners { supervisor: call.caller.identity.uid, user: call.account.identity.uid };
    let directory = open(CWD, "/", OFlags::DIRECTORY | OFlags::PATH).at(step, "/")?;
    let mut walk = Walk { owners, step, directory, walked: String::new(), reached: false };
    let mut names = parent_path.split('/').filter(|name| !name.is_empty());
    acting_as(&call.caller.identity, || {
        while !walk.reached
            && let Some(name) = names.next()
        {
            walk.descend(name)?;
        }
        Ok::<_, LauncherError>(())
    })??;
    names.try_for_each(|name| walk.descend(name))?;
    let problem = format_args!("no directory above it belongs to uid {}", owners.supervisor);
    must(walk.reached || without("supervisors-directory"), step, path, problem)?;
    Ok(Place { owners, parent: walk.directory, parent_path, name })
}

struct Walk {
    owners: Owners,
    step: Step,
    directory: OwnedFd,
    /// The path so far.
    walked: String,
    /// Whether a directory of the supervisor's was passed.
    reached: bool,
}

impl Walk {
    fn descend(&mut self, name: &str) -> Result<()> {
        let above = fstat(&self.directory).at(self.step, &self.walked)?;
        self.walked.push('/');
        self.walked.push_str(name);
        let (mut next, mut stat) = self.open(&self.directory, name, OFlags::NOFOLLOW)?;
        if kind(&stat) == FileType::Symlink {
            // Such as `/opt/storm -> apache-storm-2.8.3`: made by root where only root can write,
            // so nobody exchanges it before it is followed.
            let roots = stat.st_uid == 0 && above.st_uid == 0 && above.st_mode & 0o022 == 0;
            let follow = !self.reached && roots || without("links-on-the-way");
            self.must(follow, "it is a symbolic link")?;
            (next, stat) = self.open(&self.directory, name, OFlags::DIRECTORY)?;
            self.judge_way_to(&next)?;
        }
        self.must(kind(&stat) == FileType::Directory, Errno::NOTDIR)?;
        self.judge(&stat)?;
        self.directory = next;
        Ok(())
    }

    /// Judges the directories above where a link led, wherever its target went through.
    fn judge_way_to(&mut self, target: &OwnedFd) -> Result<()> {
        let identity = |stat: &Stat| (stat.st_dev, stat.st_ino);
        let mut above: Vec<Stat> = Vec::new();
        let (mut current, mut stat) = self.open(target, "..", OFlags::DIRECTORY)?;
        // The root's parent is the root.
        while above.last().map(identity) != Some(identity(&stat)) {
            above.push(stat);
            (current, stat) = self.open(&current, "..", OFlags::DIRECTORY)?;
        }
        above.iter().rev().try_for_each(|stat| self.judge(stat))
    }

    /// Is this directory one that the walk may go through?
    fn judge(&mut self, stat: &Stat) -> Result<()> {
        let Owners { supervisor, user } = self.owners;
        if self.reached {
            let objection = self.owners.objection(stat);
            return self.must(objection.is_none(), objection.unwrap_or_default());
        }
        self.reached = stat.st_uid == supervisor;
        let passes = self.reached || stat.st_uid == 0 || without("owners-above");
        let problem = format_args!(
            "owned by uid {}, but above the supervisor's directories (uid {supervisor}) only \
             root's may lie, even for uid {user}",
            stat.st_uid
        );
        self.must(passes, problem)
    }

    fn open(&self, at: impl AsFd, name: &str, flags: OFlags) -> Result<(OwnedFd, Stat)> {
        let opened =
            open(at, name, flags | OFlags::PATH).and_then(|file| Ok((fstat(&file)?, file)));
        let (stat, file) = opened.map_err(|source| {
            let step = if source == Errno::NOENT { Step::Find } else { self.step };
            step.failed(&self.walked)(source)
        })?;
        Ok((file, stat))
    }

    fn must(&self, holds: bool, problem: impl Display) -> Result<()> {
        must(holds, self.step, &self.walked, problem)
    }
}
