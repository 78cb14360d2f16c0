//! A directory held open, and the names below it: what root works on instead of paths.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::fs::{fchmod, fchown, fstat, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::error::{LauncherError, Result, Step};
use crate::kernel::open_entry;
use crate::switches::without;
use crate::sys_file::{read_at_most, unless_missing, write_all};
use crate::trusted::open_trusted;

/// Far above any small file that root reads.
const MAX_FILE_BYTES: usize = 1 << 20;

/// An open directory and the path it was reached by, for error messages only.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: String,
}

impl Directory {
    /// Walks to a directory of root's through directories that only root can write.
    pub(crate) fn trusted(path: &str) -> Result<Self> {
        let directory = Self::from_fd(open_trusted(path)?, path.to_owned());
        let stat = fstat(&directory.fd).map_err(directory.failed(Step::Inspect))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            Ok(directory)
        } else {
            Err(Step::Open.refused(path, "it is not a directory"))
        }
    }

    /// Takes a descriptor that was opened elsewhere.
    pub(crate) fn from_fd(fd: OwnedFd, path: String) -> Self {
        Self { fd, path }
    }

    /// The path, for error messages.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path of an entry, for error messages.
    pub(crate) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    fn failed(&self, step: Step) -> impl Fn(Errno) -> LauncherError {
        move |source| step.failed(self.path.as_str())(source)
    }

    fn failed_at(&self, step: Step, name: &str) -> impl Fn(Errno) -> LauncherError {
        move |source| step.failed(&self.path_of(name))(source)
    }

    /// Opens a directory in it; symbolic links are refused.
    pub(crate) fn open(&self, name: &str) -> Result<Self> {
        self.find(name)?.ok_or_else(|| self.failed_at(Step::Open, name)(Errno::NOENT))
    }

    /// As [`Self::open`]; `None` when there is no such entry.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Self>> {
        let found = self.find_entry(name, OFlags::DIRECTORY)?;
        Ok(found.map(|fd| Self::from_fd(fd, self.path_of(name))))
    }

    fn find_entry(&self, name: &str, kind: OFlags) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | kind;
        let opened = openat(&self.fd, name, flags, Mode::empty());
        unless_missing(opened).map_err(self.failed_at(Step::Open, name))
    }

    /// Makes and opens a directory that is root's alone; one of that name must not exist.
    pub(crate) fn make(&self, name: &str) -> Result<Self> {
        mkdirat(&self.fd, name, Mode::RWXU).map_err(self.failed_at(Step::Create, name))?;
        self.open(name)
    }

    /// Opens a directory of root's that only root can write, made where it is missing, and gives
    /// it this mode and group.
    pub(crate) fn ensure(&self, name: &str, mode: u32, group: u32) -> Result<Self> {
        match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(source) => return Err(self.failed_at(Step::Create, name)(source)),
        }
        let directory = self.open(name)?;
        let stat = fstat(&directory.fd).map_err(directory.failed(Step::Inspect))?;
        let found = stat.st_mode & 0o7777;
        let others = stat.st_uid != 0 && !without("run-root-owner");
        if others || found & 0o022 != 0 && !without("run-root-writable") {
            let problem = format!(
                "owned by uid {} with mode {found:04o}; must be root's and writable by root only",
                stat.st_uid
            );
            return Err(Step::Inspect.refused(directory.path, problem));
        }
        if stat.st_gid != group && !without("run-root-group") {
            fchown(&directory.fd, Some(Uid::ROOT), Some(Gid::from_raw(group)))
                .map_err(directory.failed(Step::Own))?;
        }
        if found != mode && !without("run-root-mode") {
            fchmod(&directory.fd, Mode::from_raw_mode(mode))
                .map_err(directory.failed(Step::Own))?;
        }
        Ok(directory)
    }

    /// Makes a new file for writing, with exactly this mode; fails where the name exists.
    pub(crate) fn create(&self, name: &str, mode: u32) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let private = Mode::from_raw_mode(mode & 0o700);
        openat(&self.fd, name, flags, private)
            .and_then(|fd| fchmod(&fd, Mode::from_raw_mode(mode)).map(|()| fd))
            .map_err(self.failed_at(Step::Create, name))
    }

    /// As [`Self::create`], after removing a file of that name.
    pub(crate) fn replace(&self, name: &str, mode: u32) -> Result<OwnedFd> {
        self.remove_file(name)?;
        self.create(name, mode)
    }

    /// Makes a new file with this content; fails where the name exists.
    pub(crate) fn create_with(&self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let fd = self.create(name, mode)?;
        write_all(&fd, content).map_err(self.failed_at(Step::Write, name))
    }

    /// A small file's content; `None` when there is no such entry.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(fd) = self.find_entry(name, OFlags::empty())? else {
            return Ok(None);
        };
        let bytes = read_at_most(&fd, MAX_FILE_BYTES).map_err(self.failed_at(Step::Read, name))?;
        bytes.map(Some).ok_or_else(|| {
            let problem = format!("larger than {MAX_FILE_BYTES} bytes");
            Step::Read.refused(self.path_of(name), problem)
        })
    }

    /// The names in it, in no order. A name that is no UTF-8 is none of ours and left out.
    pub(crate) fn entries(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(self.failed(Step::Read))? {
            match entry.map_err(self.failed(Step::Read))?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    /// Removes a file; fine when there is none.
    pub(crate) fn remove_file(&self, name: &str) -> Result<()> {
        self.remove(name, AtFlags::empty())
    }

    /// Removes an empty directory; fine when there is none.
    pub(crate) fn remove_dir(&self, name: &str) -> Result<()> {
        self.remove(name, AtFlags::REMOVEDIR)
    }

    fn remove(&self, name: &str, kind: AtFlags) -> Result<()> {
        let removed = unless_missing(unlinkat(&self.fd, name, kind));
        removed.map(drop).map_err(self.failed_at(Step::Remove, name))
    }

    /// Whether both are the same directory.
    pub(crate) fn is_same(&self, other: &Self) -> Result<bool> {
        let own = fstat(&self.fd).map_err(self.failed(Step::Inspect))?;
        let others = fstat(&other.fd).map_err(other.failed(Step::Inspect))?;
        Ok((own.st_dev, own.st_ino) == (others.st_dev, others.st_ino))
    }

    /// Removes all that is in it except one name, without following links or crossing mounts.
    ///
    /// Only for trees of root's own: their depth is bounded by what root put there.
    pub(crate) fn remove_contents(&self, kept: &str) -> Result<()> {
        for name in self.entries()?.iter().filter(|name| *name != kept) {
            let failed = self.failed_at(Step::Remove, name);
            match unless_missing(unlinkat(&self.fd, name, AtFlags::empty())) {
                Err(Errno::ISDIR) => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    let below = open_entry(&self.fd, name.as_str(), flags);
                    if let Some(below) = unless_missing(below).map_err(failed)? {
                        Self::from_fd(below, self.path_of(name)).remove_contents("")?;
                        self.remove_dir(name)?;
                    }
                }
                removed => drop(removed.map_err(failed)?),
            }
        }
        Ok(())
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Directory> for OwnedFd {
    fn from(directory: Directory) -> Self {
        directory.fd
    }
}
