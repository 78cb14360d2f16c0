//! Going through a tree that somebody else may change meanwhile.
//!
//! Every step is relative to a held directory, follows no link and crosses no mount point, bind
//! mounts of the same file system included. Neither depth nor size of the tree is limited by
//! descriptors or stack: only the lowest directories of the current path stay open, and a
//! directory that was closed is opened again through `..`, and believed if it is the same.

use std::ffi::{CStr, CString};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;

use crate::error::{LauncherError, Step};

/// Directories of the current path that stay open.
const HELD: usize = 32;

/// The longest path that an error or a note shows.
const SHOWN: usize = 4096;

/// What to do with the entries of a tree.
pub(crate) trait Visitor {
    /// The step that errors name.
    const STEP: Step;

    /// Handles one entry; `true` asks to go into it later. `kind` is what the directory says and
    /// may be unknown or out of date.
    ///
    /// # Errors
    ///
    /// Whatever ends the whole visit.
    fn entry(&mut self, spot: &Spot<'_>, kind: FileType) -> Result<bool, LauncherError>;

    /// Opens a directory that [`Visitor::entry`] wanted, for reading; `None` passes it over.
    ///
    /// # Errors
    ///
    /// Whatever ends the whole visit.
    fn open(&mut self, spot: &Spot<'_>) -> Result<Option<OwnedFd>, LauncherError>;

    /// Handles a directory after all that is in it. The top directory is not told.
    ///
    /// # Errors
    ///
    /// Whatever ends the whole visit.
    fn leave(&mut self, spot: &Spot<'_>, directory: BorrowedFd<'_>) -> Result<(), LauncherError>;
}

/// A name in a held directory, and how it was reached.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'a> {
    /// The directory.
    pub(crate) directory: BorrowedFd<'a>,
    /// The name in it.
    pub(crate) name: &'a CStr,
    top: &'a str,
    trail: &'a [Frame],
}

impl std::fmt::Debug for Spot<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.path())
    }
}

impl Spot<'_> {
    /// The path for an error or a note: control characters escaped, the middle left out when it
    /// is very long.
    pub(crate) fn path(&self) -> String {
        let mut path = self.top.to_owned();
        let names = self.trail.iter().skip(1).map(|frame| frame.name.as_c_str());
        for name in names.chain(std::iter::once(self.name)) {
            if path.len() > SHOWN {
                path.push_str("/…");
                break;
            }
            path.push('/');
            path.extend(name.to_string_lossy().chars().flat_map(char::escape_default));
        }
        path
    }

    /// Opens the entry without crossing a mount point or following a link.
    pub(crate) fn open_entry(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_below(self.directory, self.name, flags)
    }
}

/// Opens `name` in `directory`: the same mount, no link, nothing that blocks.
pub(crate) fn open_below(
    directory: BorrowedFd<'_>,
    name: impl rustix::path::Arg,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // The kernel refuses O_NONBLOCK beside O_PATH.
    let flags =
        if flags.contains(OFlags::PATH) { flags.difference(OFlags::NONBLOCK) } else { flags };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    openat2(directory, name, flags, Mode::empty(), resolve)
}

/// A directory on the current path.
struct Frame {
    name: CString,
    /// `None` while far above the current directory.
    directory: Option<OwnedFd>,
    identity: (u64, u64),
    /// The directories in it that are still to be visited.
    pending: Vec<CString>,
}

/// Visits everything below `top`, each directory after its contents. `path` is for messages.
///
/// Entries that vanish meanwhile are the visitor's to tolerate.
///
/// # Errors
///
/// The visitor's, or [`LauncherError::Refused`] when somebody moved a directory that is on the
/// current path.
pub(crate) fn visit<V: Visitor>(
    top: OwnedFd,
    path: &str,
    visitor: &mut V,
) -> Result<(), LauncherError> {
    let mut trail: Vec<Frame> = Vec::new();
    enter(&mut trail, top, c"", path, visitor)?;
    while let Some(frame) = trail.last_mut() {
        if let Some(name) = frame.pending.pop() {
            let Some(child) = visitor.open(&spot(&trail, &name, path)?)? else {
                continue;
            };
            enter(&mut trail, child, &name, path, visitor)?;
            continue;
        }
        let Some(done) = trail.pop() else { break };
        let Some(parent) = trail.last_mut() else {
            break;
        };
        let directory = done.directory.as_ref().ok_or_else(|| moved::<V>(path))?;
        if parent.directory.is_none() {
            parent.directory = Some(reopen_parent::<V>(directory, parent.identity, path)?);
        }
        visitor.leave(&spot(&trail, &done.name, path)?, directory.as_fd())?;
    }
    Ok(())
}

/// Puts `directory` on the path and handles its entries.
fn enter<V: Visitor>(
    trail: &mut Vec<Frame>,
    directory: OwnedFd,
    name: &CStr,
    path: &str,
    visitor: &mut V,
) -> Result<(), LauncherError> {
    let failed = |source| LauncherError::failed(V::STEP, path, source);
    let stat = fstat(&directory).map_err(failed)?;
    let mut entries = Dir::read_from(&directory).map_err(failed)?;
    trail.push(Frame {
        name: name.to_owned(),
        directory: Some(directory),
        identity: identity(&stat),
        pending: Vec::new(),
    });
    // The top stays open: it is the only one that nobody below it can move.
    let far = trail.len().saturating_sub(HELD);
    if let Some(frame) = trail.get_mut(far).filter(|_| far > 0) {
        frame.directory = None;
    }
    let mut wanted = Vec::new();
    while let Some(entry) = entries.read() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if visitor.entry(&spot(trail, name, path)?, entry.file_type())? {
            wanted.push(name.to_owned());
        }
    }
    if let Some(frame) = trail.last_mut() {
        frame.pending = wanted;
    }
    Ok(())
}

fn spot<'a>(trail: &'a [Frame], name: &'a CStr, top: &'a str) -> Result<Spot<'a>, LauncherError> {
    let directory = trail.last().and_then(|frame| frame.directory.as_ref());
    Ok(Spot {
        directory: directory
            .ok_or_else(|| LauncherError::failed(Step::Inspect, top, Errno::BADF))?
            .as_fd(),
        name,
        top,
        trail,
    })
}

fn reopen_parent<V: Visitor>(
    child: &OwnedFd,
    expected: (u64, u64),
    path: &str,
) -> Result<OwnedFd, LauncherError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |source| LauncherError::failed(V::STEP, path, source);
    let parent = openat(child, c"..", flags, Mode::empty()).map_err(failed)?;
    if identity(&fstat(&parent).map_err(failed)?) == expected {
        Ok(parent)
    } else {
        Err(moved::<V>(path))
    }
}

fn moved<V: Visitor>(path: &str) -> LauncherError {
    LauncherError::refused(V::STEP, path, "directories in it are being moved")
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
