//! What the image must have: the container's program.

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, fstat};
use storm_oci_request::{BindMount, HostPath, RuntimeConfig};

use crate::error::{Result, Step};
use crate::kernel::open_in_root;

/// Looks for the container's program where runc will: in the directories of the image's `PATH`.
///
/// Nothing is said about a program in a directory that a mount covers.
///
/// # Errors
///
/// [`Step::FindProgram`] when it is in none of them.
pub(crate) fn check_program(rootfs: &OwnedFd, config: &RuntimeConfig) -> Result<()> {
    let Some(program) = config.process.args.first() else {
        return Ok(());
    };
    let search = config.process.env.iter().rev();
    let search = search.filter_map(|entry| entry.strip_prefix("PATH=")).next();
    let candidates: Vec<String> = if program.starts_with('/') {
        vec![program.clone()]
    } else if program.contains('/') {
        // Relative to the working directory, which is a mount in Storm's layout.
        return Ok(());
    } else {
        let directories = search.unwrap_or_default().split(':');
        directories
            .filter(|directory| directory.starts_with('/'))
            .map(|directory| format!("{directory}/{program}"))
            .collect()
    };
    let found = candidates
        .iter()
        .any(|path| is_covered(path, &config.mounts) || is_executable(rootfs, path));
    if found {
        return Ok(());
    }
    Err(Step::FindProgram
        .refused(
            program.as_str(),
            format!("the image has no such executable in PATH `{}`", search.unwrap_or_default()),
        )
        .with_hint("Storm starts workers with bash: the image needs it on its PATH"))
}

fn is_covered(path: &str, mounts: &[BindMount]) -> bool {
    HostPath::parse(path)
        .is_ok_and(|path| mounts.iter().any(|mount| path.starts_with(&mount.destination)))
}

fn is_executable(rootfs: &OwnedFd, path: &str) -> bool {
    open_in_root(rootfs, path).and_then(|file| fstat(&file)).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0
    })
}
