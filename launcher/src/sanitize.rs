//! The first acts, before anything is read: whatever the caller prepared for us is undone.
//!
//! A setuid program inherits descriptors, ids, limits, signals, timers and an environment that
//! its caller chose. Each of these has been the way into some other program.

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Uid};

use crate::error::{LauncherError, Step};
use crate::privilege::Identity;
use crate::sys;

/// What the caller was before the first acts.
#[derive(Debug)]
pub(crate) struct CallerProcess {
    /// Real ids and groups.
    pub(crate) identity: Identity,
    /// The limits that were raised for our own work, as the caller had them.
    pub(crate) limits: Vec<(Resource, Rlimit)>,
}

/// The limits that could stop root's work half-way.
const RAISED: [Resource; 5] = [
    Resource::Fsize,
    Resource::Cpu,
    Resource::As,
    Resource::Data,
    Resource::Stack,
];

/// Enough descriptors for 127 layers, their mounts and the binds.
const DESCRIPTORS: u64 = 4096;

/// Becomes root in all ids and forgets everything the caller set.
///
/// # Errors
///
/// [`LauncherError::NotSetuid`] when the program does not run as root, with the likely cause.
pub(crate) fn first_acts() -> Result<CallerProcess, LauncherError> {
    let failed = |object: &'static str| {
        move |source: Errno| LauncherError::failed(Step::Sanitize, object, source)
    };
    sys::tidy_descriptors().map_err(failed("file descriptors"))?;
    let (uids, gids) = sys::resuid_resgid();
    let ([uid, effective, _], [gid, ..]) = (uids, gids);
    if effective != 0 {
        return Err(LauncherError::NotSetuid {
            cause: why_not_root(),
        });
    }
    let groups = rustix::process::getgroups().map_err(failed("groups"))?;
    let identity = Identity {
        uid,
        gid,
        groups: groups.iter().map(|gid| gid.as_raw()).collect(),
    };
    become_root().map_err(failed("ids"))?;
    sys::clear_environment().map_err(failed("environment"))?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::chdir("/").map_err(failed("working directory"))?;
    sys::reset_signals_and_timers();
    sys::reset_scheduling().map_err(failed("scheduling"))?;
    // Fails only for the leader of a process group, which has a session of its own choice.
    let _leader = rustix::process::setsid();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("dumpable flag"))?;
    let limits = raise_limits().map_err(failed("resource limits"))?;
    Ok(CallerProcess { identity, limits })
}

fn become_root() -> Result<(), Errno> {
    let (uid, gid) = (Uid::ROOT, rustix::process::Gid::ROOT);
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    if sys::resuid_resgid() == ([0; 3], [0; 3]) {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}

fn raise_limits() -> Result<Vec<(Resource, Rlimit)>, Errno> {
    let mut before = Vec::new();
    let mut change = |resource, wanted: Rlimit| {
        before.push((resource, rustix::process::getrlimit(resource)));
        rustix::process::setrlimit(resource, wanted)
    };
    change(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    for resource in RAISED {
        change(
            resource,
            Rlimit {
                current: None,
                maximum: None,
            },
        )?;
    }
    change(
        Resource::Nofile,
        Rlimit {
            current: Some(DESCRIPTORS),
            maximum: Some(DESCRIPTORS),
        },
    )?;
    Ok(before)
}

fn why_not_root() -> &'static str {
    if rustix::thread::no_new_privs() == Ok(true) {
        return "no_new_privs is set, as by a sandboxed systemd unit (NoNewPrivileges=, \
                RestrictSUIDSGID=, a seccomp option)";
    }
    let nosuid = rustix::fs::statvfs("/proc/self/exe")
        .is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID));
    if nosuid {
        "the program lies on a file system that is mounted nosuid"
    } else {
        "the program is not installed setuid root (mode 6550, owner root)"
    }
}
