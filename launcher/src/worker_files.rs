//! What the launcher reads and writes in directories that others can write: always with the ids
//! of somebody who may. Root follows no name in them.

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, OFlags, fstat};
use storm_oci_request::{ContainerId, HostPath};

use crate::directory::Directory;
use crate::error::{At, Result, Step, must};
use crate::kernel::open_path;
use crate::privilege::{Identity, acting_as};
use crate::report;
use crate::switches::without;
use crate::sys_file::{kind, open};

/// Opens a file of the caller's with the ids of `reader`, for whom it was written.
///
/// In a directory of the user's the name may lead anywhere: a link, another file's second name
/// or a pipe must not make the launcher read, for the user, what is not meant for him.
///
/// # Errors
///
/// `opening`, when `reader` cannot open it; `judging`, when it is no plain file of the caller's or
/// root's alone.
pub(crate) fn open_callers(
    reader: &Identity,
    caller: &Identity,
    path: &HostPath,
    [opening, judging]: [Step; 2],
) -> Result<OwnedFd> {
    let (parent, name) = path.as_str().rsplit_once('/').unwrap_or_default();
    let reach = || {
        let directory = open_path(if parent.is_empty() { "/" } else { parent })?;
        let mut flags = OFlags::RDONLY | OFlags::NONBLOCK;
        flags.set(OFlags::NOFOLLOW, !without("callers-file-link"));
        open(&directory, name, flags)
    };
    let opened =
        if without("callers-file-as-reader") { reach() } else { acting_as(reader, reach)? };
    let file = opened.at(opening, path)?;
    let stat = fstat(&file).at(judging, path)?;
    let regular = kind(&stat) == FileType::RegularFile || without("callers-file-regular");
    must(regular, judging, path, "not a regular file")?;
    let owner = stat.st_uid == caller.uid || stat.st_uid == 0 || without("callers-file-owner");
    let mode = stat.st_mode & 0o002 == 0 || without("callers-file-mode");
    let alone = stat.st_nlink == 1 || without("callers-file-one-link");
    let problem = format_args!(
        "owned by uid {} with mode {:04o} and {} links; must be uid {}'s with one link, not \
         writable by others",
        stat.st_uid,
        stat.st_mode & 0o7777,
        stat.st_nlink,
        caller.uid
    );
    must(owner && mode && alone, judging, path, problem)?;
    Ok(file)
}

/// The container's standard output and error.
#[derive(Debug)]
pub(crate) struct OutputFiles {
    /// `runc-<container id>.out`
    pub(crate) out: OwnedFd,
    /// `runc-<container id>.err`
    pub(crate) err: OwnedFd,
}

/// Output is the user's and readable for the group, which is the launcher's in Storm's layout.
const OUTPUT_MODE: u32 = 0o640;

/// Makes the output files in the artifacts directory, as the user. The directory's last name may
/// be a symbolic link: Storm makes one.
pub(crate) fn create_output(
    user: &Identity,
    artifacts: &HostPath,
    container: &ContainerId,
) -> Result<OutputFiles> {
    acting_as(user, || {
        let directory = Directory::reached(artifacts.as_str())?;
        Ok(OutputFiles {
            out: directory.replace(&format!("runc-{container}.out"), OUTPUT_MODE)?,
            err: directory.replace(&format!("runc-{container}.err"), OUTPUT_MODE)?,
        })
    })?
}

/// Writes a file, as `identity`, in the place of one of that name: for people and old tools. No
/// launch fails for it.
pub(crate) fn write_for_people(identity: &Identity, path: &str, mode: u32, content: &[u8]) {
    let written = acting_as(identity, || {
        let (parent, name) = path.rsplit_once('/').unwrap_or_default();
        let directory = Directory::reached(parent)?;
        directory.remove_file(name)?;
        directory.create_with(name, mode, content)
    });
    if let Err(error) = written.flatten() {
        report::note(&error.to_string());
    }
}
