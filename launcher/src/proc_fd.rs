//! `/proc/self/fd`: the way to change the mode of what is held by an `O_PATH` descriptor.

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat};
use rustix::io::Errno;

use crate::error::{LauncherError, Step};

/// Opens the directory, and makes sure that it is the kernel's.
///
/// # Errors
///
/// [`LauncherError::Failed`] where `/proc` is missing or something else.
pub(crate) fn open() -> Result<OwnedFd, LauncherError> {
    const PATH: &str = "/proc/self/fd";
    let failed = |source| LauncherError::failed(Step::Inspect, PATH, source);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, PATH, flags, Mode::empty()).map_err(failed)?;
    if fstatfs(&directory).map_err(failed)?.f_type == PROC_SUPER_MAGIC {
        Ok(directory)
    } else {
        Err(failed(Errno::NODEV))
    }
}
