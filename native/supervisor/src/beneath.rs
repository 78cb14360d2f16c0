//! Files in directories that others can write: opened without following links, expected to be
//! regular, created only where nothing is.
//!
//! # References
//!
//! `openat2(2)`

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::switches::without;

/// Part of every open: the last component is no link, and no program inherits the file.
const NEVER_FOLLOW: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// An opened directory in which files are named by one component.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// Opens a directory whose path only trusted accounts can change; the last component is no
    /// link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | NEVER_FOLLOW;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens a directory in this one.
    pub(crate) fn directory(&self, name: &str) -> io::Result<Self> {
        self.open_file(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map(Self)
    }

    /// Opens a regular file for reading.
    pub(crate) fn read(&self, name: &str) -> io::Result<File> {
        // A FIFO must not hold us up; the flag means nothing to regular files.
        let mut flags = OFlags::RDONLY;
        flags.set(OFlags::NONBLOCK, !without("beneath-nonblock"));
        let fd = self.open_file(name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular && !without("beneath-regular") {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(File::from(fd))
    }

    /// Creates a file; whatever has its name already is an error.
    pub(crate) fn create(&self, name: &str, mode: u32) -> io::Result<File> {
        let mut flags = OFlags::WRONLY | OFlags::CREATE;
        flags.set(OFlags::EXCL, !without("beneath-exclusive"));
        let fd = self.open_file(name, flags, Mode::from_raw_mode(mode))?;
        Ok(File::from(fd))
    }

    /// Creates a file in the place of whatever file has its name.
    pub(crate) fn replace(&self, name: &str, mode: u32) -> io::Result<File> {
        match rustix::fs::unlinkat(&self.0, name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => self.create(name, mode),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file another name, in the place of whatever file has it.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if from.contains('/') || to.contains('/') {
            return Err(Errno::INVAL.into());
        }
        Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?)
    }

    /// The names in the directory.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
        }
        Ok(names)
    }

    fn open_file(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        if name.contains('/') {
            return Err(Errno::INVAL.into());
        }
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let mut flags = flags | NEVER_FOLLOW;
        if without("beneath-links") {
            flags.remove(OFlags::NOFOLLOW);
            resolve = ResolveFlags::empty();
        }
        match rustix::fs::openat2(self.0.as_fd(), name, flags, mode, resolve) {
            Err(Errno::NOSYS) => self.open_component(name, flags, mode),
            opened => Ok(opened?),
        }
    }

    /// What to do before Linux 5.6: for a name of one component `O_NOFOLLOW` says the same.
    fn open_component(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(self.0.as_fd(), name, flags, mode)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;

    fn directory() -> (tempfile::TempDir, Directory) {
        let path = tempfile::tempdir().unwrap();
        let opened = Directory::open(path.path()).unwrap();
        (path, opened)
    }

    #[test]
    fn links_are_not_followed() {
        let (path, directory) = directory();
        let target = path.path().join("target");
        std::fs::write(&target, "secret").unwrap();
        symlink(&target, path.path().join("link")).unwrap();
        symlink(path.path(), path.path().join("dirlink")).unwrap();
        assert!(directory.read("link").is_err());
        assert!(directory.create("link", 0o600).is_err());
        assert!(directory.read("dirlink/target").is_err());
        assert!(directory.read("../x").is_err());
        assert!(Directory::open(&path.path().join("dirlink")).is_err());
        let old_kernel = directory.open_component("link", NEVER_FOLLOW, Mode::empty());
        assert!(old_kernel.is_err());
        directory.replace("link", 0o600).unwrap().write_all(b"x").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"secret");
        assert_eq!(std::fs::read(path.path().join("link")).unwrap(), b"x");
    }

    #[test]
    fn only_regular_files_are_read() {
        let (path, directory) = directory();
        std::fs::create_dir(path.path().join("dir")).unwrap();
        rustix::fs::mknodat(&directory.0, "fifo", FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        assert!(directory.read("dir").is_err());
        assert!(directory.read("fifo").is_err());
        std::fs::write(path.path().join("file"), "text").unwrap();
        let mut text = String::new();
        directory.read("file").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    }

    /// Nobody writes to the FIFO, so that a reader who waits for one waits for ever.
    #[test]
    fn a_fifo_holds_nobody_up() {
        let (_path, directory) = directory();
        rustix::fs::mknodat(&directory.0, "fifo", FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(directory.read("fifo").is_err()));
        assert_eq!(told.recv_timeout(std::time::Duration::from_secs(60)), Ok(true));
    }

    #[test]
    fn what_exists_is_not_created() {
        let (path, directory) = directory();
        std::fs::write(path.path().join("file"), "text").unwrap();
        assert!(directory.create("file", 0o600).is_err());
        assert_eq!(std::fs::read(path.path().join("file")).unwrap(), b"text");
        directory.create("new", 0o640).unwrap();
        let mut names = directory.names().unwrap();
        names.sort();
        assert_eq!(names, [".", "..", "file", "new"]);
    }
}
