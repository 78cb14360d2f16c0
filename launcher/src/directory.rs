//! A directory held open, and the names below it: what root works on instead of paths.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::fs::{fchmod, fchown, fstat, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::error::{At, Result, Step, must};
use crate::kernel::{open_entry, open_path};
use crate::switches::without;
use crate::sys_file::{kind, open, read_whole, unless_missing, write_all};
use crate::trusted::trust;

/// Far above any small file that root reads.
const MAX_FILE_BYTES: usize = 1 << 20;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    /// The path it was reached by, for messages only.
    pub(crate) path: String,
}

impl Directory {
    /// Walks to a directory of root's through directories that only root can write.
    pub(crate) fn trusted(path: &str) -> Result<Self> {
        let (fd, passed) = trust(path)?;
        let directory = passed.last().is_some_and(|stat| kind(stat) == FileType::Directory);
        must(directory, Step::Open, path, "it is not a directory")?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Walks to a directory with the present ids.
    pub(crate) fn reached(path: &str) -> Result<Self> {
        // Not for reading: that would need the right to list the directory, which nothing here does.
        Ok(Self { fd: open_path(path).at(Step::Open, path)?, path: path.to_owned() })
    }

    /// The path of an entry, for messages only.
    pub(crate) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Opens a directory in it; symbolic links are refused.
    pub(crate) fn open(&self, name: &str) -> Result<Self> {
        let fd = self.open_entry(name, OFlags::DIRECTORY).at(Step::Open, self.path_of(name))?;
        Ok(Self { fd, path: self.path_of(name) })
    }

    /// As [`Self::open`]; `None` when there is no such entry.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Self>> {
        let path = self.path_of(name);
        let found = unless_missing(self.open_entry(name, OFlags::DIRECTORY));
        Ok(found.at(Step::Open, &path)?.map(|fd| Self { fd, path }))
    }

    fn open_entry(&self, name: &str, kind: OFlags) -> Result<OwnedFd, Errno> {
        open(&self.fd, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | kind)
    }

    /// Makes and opens a directory that is root's alone; one of that name must not exist.
    pub(crate) fn make(&self, name: &str) -> Result<Self> {
        mkdirat(&self.fd, name, Mode::RWXU).at(Step::Create, self.path_of(name))?;
        self.open(name)
    }

    /// Opens a directory of root's that only root can write, made where it is missing, and gives
    /// it this mode and group.
    pub(crate) fn ensure(&self, name: &str, mode: u32, group: u32) -> Result<Self> {
        match mkdirat(&self.fd, name, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            made => made.at(Step::Create, self.path_of(name))?,
        }
        let directory = self.open(name)?;
        let stat = fstat(&directory.fd).at(Step::Inspect, &directory.path)?;
        let found = stat.st_mode & 0o7777;
        let roots = stat.st_uid == 0 || without("run-root-owner");
        let alone = found & 0o022 == 0 || without("run-root-writable");
        let problem = format_args!(
            "owned by uid {} with mode {found:04o}; must be root's and writable by root only",
            stat.st_uid
        );
        must(roots && alone, Step::Inspect, &directory.path, problem)?;
        if stat.st_gid != group && !without("run-root-group") {
            fchown(&directory.fd, Some(Uid::ROOT), Some(Gid::from_raw(group)))
                .at(Step::Own, &directory.path)?;
        }
        if found != mode && !without("run-root-mode") {
            fchmod(&directory.fd, Mode::from_raw_mode(mode)).at(Step::Own, &directory.path)?;
        }
        Ok(directory)
    }

    /// Makes a new file for writing, with exactly this mode; fails where the name exists.
    pub(crate) fn create(&self, name: &str, mode: u32) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        openat(&self.fd, name, flags, Mode::from_raw_mode(mode & 0o700))
            .and_then(|fd| fchmod(&fd, Mode::from_raw_mode(mode)).map(|()| fd))
            .at(Step::Create, self.path_of(name))
    }

    /// As [`Self::create`], after removing a file of that name.
    pub(crate) fn replace(&self, name: &str, mode: u32) -> Result<OwnedFd> {
        self.remove_file(name)?;
        self.create(name, mode)
    }

    /// Makes a new file with this content; fails where the name exists.
    pub(crate) fn create_with(&self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        write_all(self.create(name, mode)?, content).at(Step::Write, self.path_of(name))
    }

    /// A small file's content; `None` when there is no such entry.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path_of(name);
        let found = unless_missing(self.open_entry(name, OFlags::empty())).at(Step::Open, &path)?;
        found.map(|file| read_whole(file, MAX_FILE_BYTES, Step::Read, &path)).transpose()
    }

    /// The names in it, in no order. A name that is no UTF-8 is none of ours and left out.
    pub(crate) fn entries(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).at(Step::Read, &self.path)? {
            match entry.at(Step::Read, &self.path)?.file_name().to_str() {
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
        removed.map(drop).at(Step::Remove, self.path_of(name))
    }

    /// Whether both are the same directory.
    pub(crate) fn is_same(&self, other: &Self) -> Result<bool> {
        let own = fstat(&self.fd).at(Step::Inspect, &self.path)?;
        let others = fstat(&other.fd).at(Step::Inspect, &other.path)?;
        Ok((own.st_dev, own.st_ino) == (others.st_dev, others.st_ino))
    }

    /// Removes all that is in it except one name, without following links or crossing mounts.
    ///
    /// Only for trees of root's own: their depth is bounded by what root put there.
    pub(crate) fn remove_contents(&self, kept: &str) -> Result<()> {
        for name in self.entries()?.iter().filter(|name| *name != kept) {
            let path = self.path_of(name);
            match unlinkat(&self.fd, name, AtFlags::empty()) {
                Err(Errno::ISDIR) => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    let below = unless_missing(open_entry(&self.fd, name.as_str(), flags));
                    if let Some(fd) = below.at(Step::Remove, &path)? {
                        Self { fd, path }.remove_contents("")?;
                        self.remove_dir(name)?;
                    }
                }
                removed => drop(unless_missing(removed).at(Step::Remove, path)?),
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
