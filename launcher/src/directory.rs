//! A directory held open, and the names below it: what root works on instead of paths.

use std::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::fs::{fchmod, fchown, fstat, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::error::{LauncherError, Step};
use crate::kernel::open_entry;
use crate::sys_file::{read_at_most, write_all};
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
    pub(crate) fn trusted(path: &str) -> Result<Self, LauncherError> {
        let fd = open_trusted(path)?;
        let directory = Self { fd, path: path.to_owned() };
        let stat = fstat(&directory.fd).map_err(directory.failed(Step::Inspect))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            Ok(directory)
        } else {
            Err(LauncherError::refused(Step::Open, path, "it is not a directory"))
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
        let path = self.path.clone();
        move |source| LauncherError::failed(step, path.clone(), source)
    }

    fn failed_at(&self, step: Step, name: &str) -> impl Fn(Errno) -> LauncherError {
        let path = self.path_of(name);
        move |source| LauncherError::failed(step, path.clone(), source)
    }

    /// Opens a directory in it; symbolic links are refused.
    pub(crate) fn open(&self, name: &str) -> Result<Self, LauncherError> {
        let fd = self.open_entry(name, OFlags::RDONLY | OFlags::DIRECTORY);
        Ok(Self { fd: fd.map_err(self.failed_at(Step::Open, name))?, path: self.path_of(name) })
    }

    /// As [`Self::open`]; `None` when there is no such entry.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Self>, LauncherError> {
        match self.open_entry(name, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => Ok(Some(Self { fd, path: self.path_of(name) })),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(self.failed_at(Step::Open, name)(source)),
        }
    }

    fn open_entry(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat(&self.fd, name, flags, Mode::empty())
    }

    /// Makes and opens a directory of root's; one of that name must not exist.
    pub(crate) fn make(&self, name: &str, mode: u32) -> Result<Self, LauncherError> {
        let failed = self.failed_at(Step::Create, name);
        mkdirat(&self.fd, name, Mode::from_raw_mode(mode)).map_err(&failed)?;
        let made = self.open(name)?;
        fchmod(&made.fd, Mode::from_raw_mode(mode)).map_err(failed)?;
        Ok(made)
    }

    /// Opens a directory of root's that only root can write, made where it is missing, and gives
    /// it this mode and group.
    pub(crate) fn ensure(&self, name: &str, mode: u32, group: u32) -> Result<Self, LauncherError> {
        match mkdirat(&self.fd, name, Mode::from_raw_mode(mode & 0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(source) => return Err(self.failed_at(Step::Create, name)(source)),
        }
        let directory = self.open(name)?;
        let stat = fstat(&directory.fd).map_err(directory.failed(Step::Inspect))?;
        if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
            return Err(LauncherError::refused(
                Step::Inspect,
                directory.path,
                format!(
                    "owned by uid {} with mode {:04o}; must be root's and writable by root only",
                    stat.st_uid,
                    stat.st_mode & 0o7777
                ),
            ));
        }
        if stat.st_gid != group {
            fchown(&directory.fd, Some(Uid::ROOT), Some(Gid::from_raw(group)))
                .map_err(directory.failed(Step::Own))?;
        }
        if stat.st_mode & 0o7777 != mode {
            fchmod(&directory.fd, Mode::from_raw_mode(mode))
                .map_err(directory.failed(Step::Own))?;
        }
        Ok(directory)
    }

    /// Makes a new file for writing, with exactly this mode; fails where the name exists.
    pub(crate) fn create(&self, name: &str, mode: u32) -> Result<OwnedFd, LauncherError> {
        let failed = self.failed_at(Step::Create, name);
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let fd =
            openat(&self.fd, name, flags, Mode::from_raw_mode(mode & 0o700)).map_err(&failed)?;
        fchmod(&fd, Mode::from_raw_mode(mode)).map_err(failed)?;
        Ok(fd)
    }

    /// As [`Self::create`], after removing a file of that name.
    pub(crate) fn replace(&self, name: &str, mode: u32) -> Result<OwnedFd, LauncherError> {
        self.remove_file(name)?;
        self.create(name, mode)
    }

    /// Makes a new file with this content; fails where the name exists.
    pub(crate) fn create_with(
        &self,
        name: &str,
        mode: u32,
        content: &[u8],
    ) -> Result<(), LauncherError> {
        let fd = self.create(name, mode)?;
        write_all(&fd, content).map_err(self.failed_at(Step::Write, name))
    }

    /// Opens a regular file for reading; `None` when there is no such entry.
    pub(crate) fn find_file(&self, name: &str) -> Result<Option<OwnedFd>, LauncherError> {
        match self.open_entry(name, OFlags::RDONLY) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(self.failed_at(Step::Open, name)(source)),
        }
    }

    /// A small file's content; `None` when there is no such entry.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, LauncherError> {
        let Some(fd) = self.find_file(name)? else {
            return Ok(None);
        };
        let bytes = read_at_most(&fd, MAX_FILE_BYTES).map_err(self.failed_at(Step::Read, name))?;
        bytes.map(Some).ok_or_else(|| {
            LauncherError::refused(
                Step::Read,
                self.path_of(name),
                format!("larger than {MAX_FILE_BYTES} bytes"),
            )
        })
    }

    /// The names in it, in no order. A name that is no UTF-8 is none of ours and left out.
    pub(crate) fn entries(&self) -> Result<Vec<String>, LauncherError> {
        let failed = self.failed(Step::Read);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    /// Removes a file; fine when there is none.
    pub(crate) fn remove_file(&self, name: &str) -> Result<(), LauncherError> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(self.failed_at(Step::Remove, name)(source)),
        }
    }

    /// Removes an empty directory; fine when there is none.
    pub(crate) fn remove_dir(&self, name: &str) -> Result<(), LauncherError> {
        match unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(self.failed_at(Step::Remove, name)(source)),
        }
    }

    /// Whether both are the same directory.
    pub(crate) fn is_same(&self, other: &Self) -> Result<bool, LauncherError> {
        let own = fstat(&self.fd).map_err(self.failed(Step::Inspect))?;
        let others = fstat(&other.fd).map_err(other.failed(Step::Inspect))?;
        Ok((own.st_dev, own.st_ino) == (others.st_dev, others.st_ino))
    }

    /// Removes all that is in it except one name, without following links or crossing mounts.
    ///
    /// Only for trees of root's own: their depth is bounded by what root put there.
    pub(crate) fn remove_contents(&self, kept: &str) -> Result<(), LauncherError> {
        let failed = self.failed(Step::Remove);
        for entry in Dir::read_from(&self.fd).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || name.to_bytes() == kept.as_bytes() {
                continue;
            }
            match unlinkat(&self.fd, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => self.remove_below(name)?,
                Err(source) => return Err(failed(source)),
            }
        }
        Ok(())
    }

    fn remove_below(&self, name: &CStr) -> Result<(), LauncherError> {
        let shown = self.path_of(&name.to_string_lossy());
        let failed = |source| LauncherError::failed(Step::Remove, shown.clone(), source);
        match open_entry(&self.fd, name, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => Self::from_fd(fd, shown.clone()).remove_contents("")?,
            Err(Errno::NOENT) => return Ok(()),
            Err(source) => return Err(failed(source)),
        }
        match unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(failed(source)),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
