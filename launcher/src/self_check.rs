//! Is this the program file that the administrator installed?
//!
//! Asked through `/proc/self/exe`, so that no path is trusted: a hard link elsewhere, a copy with
//! other modes or a program in the wrong group refuses to work.

use rustix::fs::{CWD, OFlags, Stat, fstat};

use crate::config::Config;
use crate::error::{At, LauncherError, Result, Step};
use crate::sys_file::open;

/// Root-owned, setuid and setgid, runnable by the launcher's group, nothing for others.
const MODE: u32 = 0o6550;

/// The running program's file.
const EXE: &str = "/proc/self/exe";

/// Checks owner, group, mode and link count of the running program.
///
/// # Errors
///
/// [`Step::OwnFile`] with the first fault.
pub(crate) fn check(config: &Config) -> Result<()> {
    faults(&stat_self()?, config).into_iter().next().map_or(Ok(()), Err)
}

/// What `fstat` tells of the running program.
pub(crate) fn stat_self() -> Result<Stat> {
    open(CWD, EXE, OFlags::PATH).and_then(fstat).at(Step::OwnFile, EXE)
}

/// Something wrong with the running program, and how to mend it.
pub(crate) fn fault(problem: impl std::fmt::Display, fix: impl Into<String>) -> LauncherError {
    Step::OwnFile.refused(EXE, problem).with_hint(fix)
}

/// Every reason not to trust a program file with this `stat`.
pub(crate) fn faults(stat: &Stat, config: &Config) -> Vec<LauncherError> {
    let (uid, gid, mode, links) = (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777, stat.st_nlink);
    let (group, wanted) = (&config.group_name, config.group_id);
    let install = format!("chown root:{group} on it, then chmod 6550");
    let rules = [
        (uid == 0, format!("owned by uid {uid}, must be root's"), &*install),
        (gid == wanted, format!("its group is {gid}, must be {group} ({wanted})"), &install),
        (mode == MODE, format!("its mode is {mode:04o}, must be {MODE:04o}"), "chmod 6550 on it"),
        (
            links == 1,
            format!("it has {links} hard links, must have one"),
            "remove its other names (find -samefile), or install it anew",
        ),
    ];
    let broken = rules.into_iter().filter(|(holds, ..)| !holds);
    broken.map(|(_, problem, fix)| fault(problem, fix)).collect()
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
