//! A file that the caller wrote for a verb, lying where others may write too.

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use storm_oci_request::HostPath;

use crate::error::{Result, Step};
use crate::kernel::open_path;
use crate::privilege::{Identity, acting_as};
use crate::switches::without;

/// Opens a file of the caller's with the ids of `reader`, for whom it was written.
///
/// In a directory of the user's the name may lead anywhere: a link, another file's second name
/// or a pipe must not make the launcher read, for the user, what is not meant for him.
///
/// # Errors
///
/// `step`, when `reader` cannot open it, or it is no plain file of the caller's or root's alone.
pub(crate) fn open(
    reader: &Identity,
    caller: &Identity,
    path: &HostPath,
    step: Step,
) -> Result<OwnedFd> {
    let failed = |source: Errno| step.failed(path.as_str())(source);
    let (parent, name) = path.as_str().rsplit_once('/').unwrap_or_default();
    let parent = if parent.is_empty() { "/" } else { parent };
    let file = acting_as(reader, || {
        let directory = open_path(parent)?;
        let follow = if without("callers-file-link") { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | follow;
        openat(&directory, name, flags, Mode::empty())
    })?
    .map_err(failed)?;
    let stat = fstat(&file).map_err(failed)?;
    let alone = stat.st_uid == caller.uid || stat.st_uid == 0 || without("callers-file-owner");
    let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && (stat.st_nlink == 1 || without("callers-file-one-link"));
    if alone && plain && stat.st_mode & 0o002 == 0 {
        return Ok(file);
    }
    let problem = format!(
        "owned by uid {} with mode {:06o} and {} links; must be a regular file of uid {}'s with \
         one link, not writable by others",
        stat.st_uid, stat.st_mode, stat.st_nlink, caller.uid
    );
    Err(step.refused(path.as_str(), problem))
}
