//! Going through a tree that somebody else may change meanwhile.
//!
//! Every step is relative to a held directory, follows no link and crosses no mount point, bind
//! mounts of the same file system included. Neither depth nor size of the tree is limited by
//! descriptors or stack: only the highest directories of the current path stay open, and the
//! others are opened again through `..`, and believed if they are the same.

use std::ffi::{CStr, CString};
use std::fmt;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Dir, FileType, OFlags, Stat, fstat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use crate::error::{At, Result, Step, must};
use crate::kernel::open_entry;
use crate::switches::without;
use crate::sys_file::{kind, open};
use crate::walk::{Owners, Place};

/// Directories above the current one that stay open.
const HELD: usize = 32;

/// Characters of a path that an error or a note shows.
const SHOWN: usize = 4096;

/// What an entry of a tree is.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// No directory, opened with `O_PATH`.
    File(&'a OwnedFd, &'a Stat),
    /// A directory, after all that is in it.
    Directory(&'a OwnedFd),
    /// Below the top, and not gone into: a mount point, or somebody else's.
    Foreign(&'a str),
    /// Something that the kernel refused to open.
    Failed(Errno),
}

/// What to do with the entries of a tree.
pub(crate) trait Visitor {
    /// The step that errors name.
    const STEP: Step;

    /// Handles an entry.
    ///
    /// # Errors
    ///
    /// Whatever ends the whole visit.
    fn visit(&mut self, entry: &Entry<'_>, found: Found<'_>) -> Result<()>;

    /// Has a look at a directory before it is read.
    fn prepare(&self, _directory: &OwnedFd, _stat: &Stat) {}
}

/// A name in a held directory.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// The directory.
    pub(crate) directory: BorrowedFd<'a>,
    /// The name in it.
    pub(crate) name: &'a CStr,
    directory_path: &'a str,
}

/// Its path, for an error or a note: the start of a very long one.
impl fmt::Display for Entry<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = format!("{}/{}", self.directory_path, self.name.to_string_lossy());
        match path.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(formatter, "{}…", path.get(..end).unwrap_or_default()),
            None => formatter.write_str(&path),
        }
    }
}

/// A directory on the current path.
struct Frame {
    name: CString,
    identity: (u64, u64),
    /// `None` for the current directory and for those far below the top.
    held: Option<OwnedFd>,
    /// The directories in it that are still to be visited.
    pending: Vec<CString>,
    /// The length of its path.
    path: usize,
}

struct Tree<'v, V> {
    visitor: &'v mut V,
    owners: Owners,
    current: OwnedFd,
    /// Its path, for messages.
    path: String,
    /// The current directory's is the last.
    frames: Vec<Frame>,
}

/// Visits `place` and everything below it, each directory after its contents.
///
/// Only directories of the place's owners are gone into. Entries that vanish meanwhile are no failure.
///
/// # Errors
///
/// The visitor's; [`Step::Find`] when nothing is there; the top is a mount point or somebody
/// else's; somebody moved a directory that is on the current path.
pub(crate) fn visit<V: Visitor>(place: &Place<'_>, visitor: &mut V) -> Result<()> {
    let current = fcntl_dupfd_cloexec(&place.parent, 0).at(V::STEP, place.parent_path)?;
    let stat = fstat(&current).at(V::STEP, place.parent_path)?;
    let top = CString::new(place.name).map_err(|_| Errno::INVAL).at(V::STEP, place.name)?;
    let path = place.parent_path.to_owned();
    let mut tree = Tree { visitor, owners: place.owners, current, path, frames: Vec::new() };
    tree.push(CString::default(), &stat, vec![top]);
    while let Some(frame) = tree.frames.last_mut() {
        match frame.pending.pop() {
            Some(name) => tree.look(&name, true)?,
            None => tree.leave()?,
        };
    }
    Ok(())
}

impl<V: Visitor> Tree<'_, V> {
    /// Handles an entry; goes into a directory, or only says that it is one that may be gone into.
    fn look(&mut self, name: &CStr, enter: bool) -> Result<bool> {
        let entry = Entry { directory: self.current.as_fd(), name, directory_path: &self.path };
        let opened = open_entry(self.current.as_fd(), name, OFlags::PATH)
            .and_then(|opened| fstat(&opened).map(|stat| (opened, stat)));
        let is_top = self.frames.len() == 1;
        let problem = match opened {
            Ok((opened, stat)) if kind(&stat) != FileType::Directory => {
                self.visitor.visit(&entry, Found::File(&opened, &stat))?;
                return Ok(false);
            }
            Ok((opened, stat)) => match self.owners.objection(&stat) {
                None if enter => return self.enter(name, &opened, &stat),
                None => return Ok(true),
                Some(problem) => problem,
            },
            Err(Errno::XDEV) => "it is a mount point".to_owned(),
            Err(Errno::NOENT) if is_top => return Err(Step::Find.failed(&entry)(Errno::NOENT)),
            Err(Errno::NOENT) => return Ok(false),
            Err(source) => {
                self.visitor.visit(&entry, Found::Failed(source))?;
                return Ok(false);
            }
        };
        if is_top {
            return Err(V::STEP.refused(&entry, problem));
        }
        self.visitor.visit(&entry, Found::Foreign(&problem))?;
        Ok(false)
    }

    /// Goes into a directory and handles its entries, but for the directories among them.
    fn enter(&mut self, name: &CStr, directory: &OwnedFd, stat: &Stat) -> Result<bool> {
        self.visitor.prepare(directory, stat);
        let read = open(directory, c".", OFlags::RDONLY | OFlags::DIRECTORY)
            .and_then(|directory| Ok((Dir::read_from(&directory)?, directory)));
        let (mut entries, directory) = match read {
            Ok(read) => read,
            Err(source) => {
                let directory = self.current.as_fd();
                let entry = Entry { directory, name, directory_path: &self.path };
                self.visitor.visit(&entry, Found::Failed(source))?;
                return Ok(false);
            }
        };
        self.path.push('/');
        self.path.push_str(&name.to_string_lossy());
        let above = std::mem::replace(&mut self.current, directory);
        if self.frames.len() < HELD
            && let Some(frame) = self.frames.last_mut()
        {
            frame.held = Some(above);
        }
        self.push(name.to_owned(), stat, Vec::new());
        let mut directories = Vec::new();
        while let Some(entry) = entries.read() {
            let entry = entry.at(V::STEP, &self.path)?;
            let name = entry.file_name();
            if name != c"."
                && name != c".."
                && (entry.file_type() == FileType::Directory || self.look(name, false)?)
            {
                directories.push(name.to_owned());
            }
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.pending = directories;
        }
        Ok(true)
    }

    fn push(&mut self, name: CString, stat: &Stat, pending: Vec<CString>) {
        let identity = (stat.st_dev, stat.st_ino);
        self.frames.push(Frame { name, identity, held: None, pending, path: self.path.len() });
    }

    /// Goes back to the directory above.
    fn leave(&mut self) -> Result<bool> {
        let (Some(done), Some(parent)) = (self.frames.pop(), self.frames.last_mut()) else {
            return Ok(false);
        };
        let (identity, length, held) = (parent.identity, parent.path, parent.held.take());
        let above = held.map_or_else(|| self.reopen(identity), Ok)?;
        self.path.truncate(length);
        let directory = std::mem::replace(&mut self.current, above);
        let current = self.current.as_fd();
        let entry = Entry { directory: current, name: &done.name, directory_path: &self.path };
        self.visitor.visit(&entry, Found::Directory(&directory))?;
        Ok(true)
    }

    fn reopen(&self, expected: (u64, u64)) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let above = open(&self.current, c"..", flags).at(V::STEP, &self.path)?;
        let stat = fstat(&above).at(V::STEP, &self.path)?;
        let same = (stat.st_dev, stat.st_ino) == expected || without("moved-directories");
        must(same, V::STEP, &self.path, "directories in it are being moved")?;
        Ok(above)
    }
}
