//! `/proc/self/fd`: the way to change the mode of what is held by an `O_PATH` descriptor, and to
//! learn the kernel's path of it.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::fs::{chmodat, fstatfs, readlinkat};
use rustix::io::Errno;
use rustix::path::DecInt;

use crate::error::{At, Result, Step};
use crate::sys_file;

const PATH: &str = "/proc/self/fd";

/// Opens the directory, and makes sure that it is the kernel's.
///
/// # Errors
///
/// [`Step::Inspect`] where `/proc` is missing or something else.
pub(crate) fn open() -> Result<OwnedFd> {
    open_proc(PATH).at(Step::Inspect, PATH)
}

/// Changes the mode of what `file` holds; `directory` is what [`open`] gave.
pub(crate) fn chmod(directory: &OwnedFd, file: impl AsFd, mode: Mode) -> Result<(), Errno> {
    chmodat(directory, DecInt::from_fd(file), mode, AtFlags::empty())
}

/// The kernel's path of an open file.
pub(crate) fn path_of(file: impl AsFd) -> Result<String, Errno> {
    let path = readlinkat(open_proc(PATH)?, DecInt::from_fd(file), Vec::new())?;
    path.into_string().map_err(|_| Errno::ILSEQ)
}

/// Opens a directory of the kernel's `/proc`, and no other.
pub(crate) fn open_proc(path: &str) -> Result<OwnedFd, Errno> {
    let directory = sys_file::open(CWD, path, OFlags::PATH | OFlags::DIRECTORY)?;
    if fstatfs(&directory)?.f_type == PROC_SUPER_MAGIC { Ok(directory) } else { Err(Errno::NODEV) }
}
