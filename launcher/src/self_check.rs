//! Is this the program file that the administrator installed?
//!
//! Asked through `/proc/self/exe`, so that no path is trusted: a hard link elsewhere, a copy with
//! other modes or a program in the wrong group refuses to work.

use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};

use crate::config::Config;
use crate::error::{LauncherError, Step};

/// Root-owned, setuid and setgid, runnable by the launcher's group, nothing for others.
const MODE: u32 = 0o6550;

/// Checks owner, group, mode and link count of the running program.
///
/// # Errors
///
/// [`LauncherError::OwnFile`] with every problem found.
pub(crate) fn check(config: &Config) -> Result<(), LauncherError> {
    let problems = problems(&stat_self()?, config);
    if problems.is_empty() {
        Ok(())
    } else {
        Err(LauncherError::OwnFile {
            problem: problems.join("; "),
        })
    }
}

/// What `fstat` tells of the running program.
pub(crate) fn stat_self() -> Result<Stat, LauncherError> {
    const EXE: &str = "/proc/self/exe";
    let failed = |source| LauncherError::failed(Step::Inspect, EXE, source);
    let file = openat(CWD, EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    fstat(&file).map_err(failed)
}

/// Every reason not to trust a program file with this `stat`.
pub(crate) fn problems(stat: &Stat, config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    if stat.st_uid != 0 {
        problems.push(format!("owned by uid {}, must be root's", stat.st_uid));
    }
    if stat.st_gid != config.group_id {
        problems.push(format!(
            "its group is {}, must be {} ({})",
            stat.st_gid, config.group_name, config.group_id
        ));
    }
    let mode = stat.st_mode & 0o7777;
    if mode != MODE {
        problems.push(format!("its mode is {mode:04o}, must be {MODE:04o}"));
    }
    if stat.st_nlink != 1 {
        problems.push(format!(
            "it has {} hard links, must have one",
            stat.st_nlink
        ));
    }
    problems
}
