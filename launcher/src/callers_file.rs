//! A file that the caller wrote for a verb, lying where others may write too.

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
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
/// `opening`, when `reader` cannot open it; `judging`, when it is no plain file of the caller's or
/// root's alone.
pub(crate) fn open(
    reader: &Identity,
    caller: &Identity,
    path: &HostPath,
    [opening, judging]: [Step; 2],
) -> Result<OwnedFd> {
    let (parent, name) = path.as_str().rsplit_once('/').unwrap_or_default();
    let open = || {
        let directory = open_path(if parent.is_empty() { "/" } else { parent })?;
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        flags.set(OFlags::NOFOLLOW, !without("callers-file-link"));
        openat(&directory, name, flags, Mode::empty())
    };
    let opened = if without("callers-file-as-reader") { open() } else { acting_as(reader, open)? };
    let file = opened.map_err(opening.failed(path))?;
    let stat = fstat(&file).map_err(judging.failed(path))?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !regular && !without("callers-file-regular") {
        return Err(judging.refused(path, "not a regular file"));
    }
    let owner = stat.st_uid == caller.uid || stat.st_uid == 0 || without("callers-file-owner");
    let mode = stat.st_mode & 0o002 == 0 || without("callers-file-mode");
    let alone = stat.st_nlink == 1 || without("callers-file-one-link");
    if owner && mode && alone {
        return Ok(file);
    }
    let (mode, links, caller) = (stat.st_mode & 0o7777, stat.st_nlink, caller.uid);
    let problem = format!(
        "owned by uid {} with mode {mode:04o} and {links} links; must be uid {caller}'s with one \
         link, not writable by others",
        stat.st_uid
    );
    Err(judging.refused(path, problem))
}
