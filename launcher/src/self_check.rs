//! Is this the program file that the administrator installed?
//!
//! Asked through `/proc/self/exe`, so that no path is trusted: a hard link elsewhere, a copy with
//! other modes or a program in the wrong group refuses to work.

use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};

use crate::config::Config;
use crate::error::{LauncherError, Step};

/// Root-owned, setuid and setgid, runnable by the launcher's group, nothing for others.
const MODE: u32 = 0o6550;

/// Something wrong with the program file, and how to mend it.
#[derive(Debug)]
pub(crate) struct Fault {
    /// What was found, and what it must be.
    pub(crate) problem: String,
    /// What the administrator can do.
    pub(crate) fix: String,
}

/// Checks owner, group, mode and link count of the running program.
///
/// # Errors
///
/// [`LauncherError::OwnFile`] with every problem found.
pub(crate) fn check(config: &Config) -> Result<(), LauncherError> {
    let faults = faults(&stat_self()?, config);
    if faults.is_empty() {
        return Ok(());
    }
    let problems: Vec<String> = faults.into_iter().map(|fault| fault.problem).collect();
    Err(LauncherError::OwnFile { problem: problems.join("; ") })
}

/// What `fstat` tells of the running program.
pub(crate) fn stat_self() -> Result<Stat, LauncherError> {
    const EXE: &str = "/proc/self/exe";
    let failed = |source| LauncherError::failed(Step::Inspect, EXE, source);
    let file = openat(CWD, EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    fstat(&file).map_err(failed)
}

/// Every reason not to trust a program file with this `stat`.
pub(crate) fn faults(stat: &Stat, config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut note = |problem: String, fix: String| faults.push(Fault { problem, fix });
    let group = &config.group_name;
    if stat.st_uid != 0 {
        let problem = format!("owned by uid {}, must be root's", stat.st_uid);
        note(problem, format!("chown root:{group} on it, then chmod 6550"));
    }
    if stat.st_gid != config.group_id {
        let (found, wanted) = (stat.st_gid, config.group_id);
        note(
            format!("its group is {found}, must be {group} ({wanted})"),
            format!("chgrp {group} on it, then chmod 6550"),
        );
    }
    let mode = stat.st_mode & 0o7777;
    if mode != MODE {
        note(format!("its mode is {mode:04o}, must be {MODE:04o}"), "chmod 6550 on it".to_owned());
    }
    if stat.st_nlink != 1 {
        note(
            format!("it has {} hard links, must have one", stat.st_nlink),
            "remove its other names (find -samefile), or install it anew".to_owned(),
        );
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::FileType;

    #[test]
    fn each_deviation_is_a_fault() {
        let config = crate::config::for_tests();
        let mut right = fstat(std::io::stdin()).unwrap();
        right.st_uid = 0;
        right.st_gid = config.group_id;
        right.st_mode = FileType::RegularFile.as_raw_mode() | MODE;
        right.st_nlink = 1;
        assert!(faults(&right, &config).is_empty());
        let changes: [fn(&mut Stat); 6] = [
            |stat| stat.st_uid = 1,
            |stat| stat.st_gid = 1,
            |stat| stat.st_mode |= 0o001,
            |stat| stat.st_mode &= !0o4000,
            |stat| stat.st_nlink = 2,
            // An old program that somebody still holds open.
            |stat| stat.st_nlink = 0,
        ];
        for change in changes {
            let mut wrong = right;
            change(&mut wrong);
            assert_eq!(faults(&wrong, &config).len(), 1);
        }
    }
}
