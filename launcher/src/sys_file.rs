//! Files by descriptors: opened, and small ones read and written as a whole.

use std::fmt::Display;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, openat};
use rustix::io::{Errno, read, retry_on_intr, write};
use rustix::path::Arg;

use crate::error::{self, At, Step};

/// Opens what is there, to be closed when this process becomes another program.
pub(crate) fn open(at: impl AsFd, path: impl Arg, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(at, path, flags | OFlags::CLOEXEC, Mode::empty())
}

/// Opens the file that takes everything and gives nothing.
pub(crate) fn open_null() -> error::Result<OwnedFd> {
    open(CWD, "/dev/null", OFlags::RDWR).at(Step::Open, "/dev/null")
}

/// `None` where there is no file of that name.
pub(crate) fn unless_missing<T>(outcome: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT) => Ok(None),
        Err(source) => Err(source),
    }
}

/// Where the kernel tells this process's mounts.
pub(crate) const MOUNTINFO: &str = "/proc/self/mountinfo";

/// The mounts of this process's namespace, a line each.
///
/// # References
///
/// `proc_pid_mountinfo(5)`
pub(crate) fn mount_table() -> Result<String, Errno> {
    let table = read_at_most(open(CWD, MOUNTINFO, OFlags::RDONLY)?, usize::MAX)?;
    // A mount point that is no UTF-8 is none of ours.
    Ok(String::from_utf8_lossy(&table.unwrap_or_default()).into_owned())
}

/// Reads to the end of `file`; `None` when there are more than `limit` bytes.
pub(crate) fn read_at_most(file: impl AsFd, limit: usize) -> Result<Option<Vec<u8>>, Errno> {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let count = retry_on_intr(|| read(&file, &mut buffer))?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
            return Ok(Some(bytes));
        };
        bytes.extend_from_slice(piece);
        if bytes.len() > limit {
            return Ok(None);
        }
    }
}

/// Reads all of a file that has at most `limit` bytes.
///
/// # Errors
///
/// `step` on `object`, for a larger one too.
pub(crate) fn read_whole(
    file: impl AsFd,
    limit: usize,
    step: Step,
    object: impl Display,
) -> error::Result<Vec<u8>> {
    let bytes = read_at_most(file, limit).at(step, &object)?;
    bytes.ok_or_else(|| step.refused(object, format_args!("larger than {limit} bytes")))
}

/// What kind of file this `stat` is of.
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Writes all of `bytes`.
pub(crate) fn write_all(file: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match retry_on_intr(|| write(&file, bytes))? {
            0 => return Err(Errno::IO),
            count => bytes = bytes.get(count..).unwrap_or_default(),
        }
    }
    Ok(())
}
