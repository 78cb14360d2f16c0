//! The first acts, before anything is read: whatever the caller prepared for us is undone.
//!
//! A setuid program inherits descriptors, ids, limits, signals, timers and an environment that
//! its caller chose. Each of these has been the way into some other program.

use std::ffi::CString;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Gid, Resource, Rlimit, Uid, chdir, getgroups, getpriority_process, getrlimit,
    set_dumpable_behavior, setpriority_process, setrlimit, setsid, umask,
};
use rustix::thread::{no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::error::{At, LauncherError, Result, Step};
use crate::privilege::Identity;
use crate::sys;

/// What the caller was before the first acts.
#[derive(Debug)]
pub(crate) struct CallerProcess {
    /// Real ids and groups.
    pub(crate) identity: Identity,
    /// The limits that were raised for our own work, as the caller had them.
    pub(crate) limits: Vec<(Resource, Rlimit)>,
    /// The environment, for the verbs that give it back.
    pub(crate) environment: Vec<CString>,
    nice: i32,
}

impl CallerProcess {
    /// Gives this process the caller's limits and priority again, before it becomes another
    /// program on the caller's behalf.
    ///
    /// # Errors
    ///
    /// [`Step::Sanitize`]
    pub(crate) fn give_back(&self) -> Result<()> {
        let set = |(resource, limit): &(Resource, Rlimit)| setrlimit(*resource, *limit);
        setpriority_process(None, self.nice)
            .and_then(|()| self.limits.iter().try_for_each(set))
            .at(Step::Sanitize, "resource limits")
    }
}

/// The limits that could stop root's work half-way.
const RAISED: [Resource; 5] =
    [Resource::Fsize, Resource::Cpu, Resource::As, Resource::Data, Resource::Stack];

/// Enough descriptors for 127 layers, their mounts and the binds.
const DESCRIPTORS: u64 = 4096;

/// Becomes root in all ids and forgets everything the caller set.
///
/// # Errors
///
/// [`Step::BecomeRoot`] when the program does not run as root, with the likely cause.
pub(crate) fn first_acts() -> Result<CallerProcess> {
    sys::tidy_descriptors().at(Step::Sanitize, "file descriptors")?;
    let (uids, gids) = sys::resuid_resgid();
    let ([uid, effective, _], [gid, ..]) = (uids, gids);
    if effective != 0 {
        return Err(why_not_root());
    }
    let groups = getgroups().at(Step::Sanitize, "groups")?;
    let identity = Identity { uid, gid, groups: groups.iter().map(|gid| gid.as_raw()).collect() };
    become_root().at(Step::Sanitize, "ids")?;
    let nice = getpriority_process(None).at(Step::Sanitize, "priority")?;
    let environment = sys::environment();
    sys::clear_environment().at(Step::Sanitize, "environment")?;
    umask(Mode::from_raw_mode(0o077));
    chdir("/").at(Step::Sanitize, "working directory")?;
    sys::reset_signals_and_timers();
    sys::ignore_signals();
    sys::reset_scheduling().at(Step::Sanitize, "scheduling")?;
    // Fails only for the leader of a process group; what its terminal sends is ignored as well.
    let _leader = setsid();
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Sanitize, "dumpable flag")?;
    let limits = raise_limits().at(Step::Sanitize, "resource limits")?;
    Ok(CallerProcess { identity, limits, environment, nice })
}

fn become_root() -> Result<(), Errno> {
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    if sys::resuid_resgid() == ([0; 3], [0; 3]) { Ok(()) } else { Err(Errno::PERM) }
}

/// Hard limits are never lowered: the container gets the caller's limits back, and not every
/// root may raise one again.
fn raise_limits() -> Result<Vec<(Resource, Rlimit)>, Errno> {
    let mut before = Vec::new();
    let mut change = |resource, wanted: fn(Rlimit) -> Rlimit| {
        let limit = getrlimit(resource);
        before.push((resource, limit));
        setrlimit(resource, wanted(limit))
    };
    change(Resource::Core, |limit| Rlimit { current: Some(0), maximum: limit.maximum })?;
    for resource in RAISED {
        change(resource, |_| Rlimit { current: None, maximum: None })?;
    }
    change(Resource::Nofile, |limit| Rlimit {
        current: Some(DESCRIPTORS),
        maximum: limit.maximum.map(|maximum| maximum.max(DESCRIPTORS)),
    })?;
    Ok(before)
}

/// What to do about a program on such a file system.
pub(crate) const NOSUID_FIX: &str =
    "install it on another file system, or mount this one without nosuid";

/// Whether the program lies on a file system whose setuid bits do not count.
pub(crate) fn lies_on_nosuid() -> bool {
    rustix::fs::statvfs("/proc/self/exe")
        .is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID))
}

fn why_not_root() -> LauncherError {
    let (cause, fix) = if no_new_privs() == Ok(true) {
        (
            "no_new_privs is set, as by a sandboxed systemd unit",
            "take NoNewPrivileges=, RestrictSUIDSGID=, SystemCallFilter= and the other \
             sandboxing options out of the supervisor's unit",
        )
    } else if lies_on_nosuid() {
        ("the program lies on a file system that is mounted nosuid", NOSUID_FIX)
    } else {
        (
            "the program is not installed setuid root (owner root, mode 6550)",
            "install it with `make install`, or run `worker-launcher --checksetup` as root for \
             every problem and its fix",
        )
    };
    Step::BecomeRoot.refused("root", cause).with_hint(fix)
}
