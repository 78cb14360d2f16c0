//! System calls on this process and its files that no safe crate wraps. With `sys_mount` and
//! `sys_signal` the only modules of the launcher with `unsafe`.
//!
//! Each function is as small as the call it wraps, and safe to call with any arguments.
#![expect(unsafe_code, reason = "system calls that rustix and nix do not wrap safely")]

use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::AtFlags;
use nix::unistd::execveat;
use rustix::fs::Mode;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{
    Pid, Signal, set_parent_process_death_signal, setpgid, setpriority_process, umask,
};

/// Ends the process at once, without unwinding or exit handlers.
pub(crate) fn abort() -> ! {
    end(ABORTED)
}

/// The original's code for "could not change ids"; nothing can be reported any more.
const ABORTED: i32 = 6;

/// The real, effective and saved user ids, then the group ids.
///
/// # References
///
/// `getresuid(2)`
pub(crate) fn resuid_resgid() -> ([u32; 3], [u32; 3]) {
    let (mut uids, mut gids) = ([u32::MAX; 3], [u32::MAX; 3]);
    let [ruid, euid, suid] = &mut uids;
    // SAFETY: three valid pointers to u32, each written once.
    unsafe { libc::getresuid(ruid, euid, suid) };
    let [rgid, egid, sgid] = &mut gids;
    // SAFETY: three valid pointers to u32, each written once.
    unsafe { libc::getresgid(rgid, egid, sgid) };
    (uids, gids)
}

/// Makes sure that descriptors 0 to 2 are open, so that no file opened later becomes a standard
/// stream, and closes all others.
///
/// # References
///
/// `close_range(2)`, `fcntl(2)`
pub(crate) fn tidy_descriptors() -> Result<(), Errno> {
    for descriptor in 0..=2 {
        // SAFETY: F_GETFD takes no pointer and changes nothing.
        let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFD) };
        if flags >= 0 {
            continue;
        }
        // SAFETY: a constant NUL-terminated path. The lowest free number is `descriptor`, since
        // all below it are open.
        check(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) })?;
    }
    close_all_but(&mut []);
    Ok(())
}

/// Takes the environment away from this process.
///
/// # References
///
/// `clearenv(3)`
pub(crate) fn clear_environment() -> Result<(), Errno> {
    // SAFETY: one thread only, and no reference into the environment is held.
    check(unsafe { libc::clearenv() })
}

/// The environment of this process, as far as it is well-formed.
pub(crate) fn environment() -> Vec<CString> {
    let entry = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        CString::new(name.into_vec()).ok()
    };
    std::env::vars_os().filter_map(entry).collect()
}

/// Gives every signal its default action, unblocks all, and stops all interval timers.
///
/// # References
///
/// `sigaction(2)`, `sigprocmask(2)`, `setitimer(2)`
pub(crate) fn reset_signals_and_timers() {
    // The kernel's own structure: handler, flags, restorer and mask. All zero means SIG_DFL. Not
    // through the C library, which leaves out the signals that it keeps for itself.
    let default = [0_u64; 4];
    let mask_bytes = size_of::<u64>();
    for signal in 1..=64 {
        let no_old = std::ptr::null_mut::<u64>();
        // SAFETY: a valid action and no old one wanted; SIGKILL and SIGSTOP are refused.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), no_old, mask_bytes)
        };
    }
    // SAFETY: all zero is a valid sigset_t, the empty set.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: a valid set and no old set wanted.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) };
    // SAFETY: all zero is a valid itimerval and disarms the timer.
    let off: libc::itimerval = unsafe { std::mem::zeroed() };
    for timer in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        // SAFETY: a valid timer value and no old value wanted.
        unsafe { libc::setitimer(timer, &off, std::ptr::null_mut()) };
    }
}

/// Makes this process deaf to what a terminal can send, which asks nobody's permission: a caller
/// could stop or end root's work half-way with a key. A write to a closed pipe fails, instead of
/// ending the process.
///
/// # References
///
/// `signal(7)`, `termios(3)`
pub(crate) fn ignore_signals() {
    use libc::{SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE] {
        // SAFETY: SIG_IGN is no function of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Back to the normal scheduling class, a nice value of 0 and the I/O class that follows from it.
///
/// # References
///
/// `sched_setscheduler(2)`, `setpriority(2)`, `ioprio_set(2)`
pub(crate) fn reset_scheduling() -> Result<(), Errno> {
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: a valid parameter; 0 is this process.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &normal) })?;
    setpriority_process(None, 0)?;
    const THIS_PROCESS: i32 = 1;
    // SAFETY: no pointers; a kernel without I/O classes refuses, and has none to reset.
    unsafe { libc::syscall(libc::SYS_ioprio_set, THIS_PROCESS, 0, 0) };
    Ok(())
}

/// Takes and gives back a read lease on a file opened for reading: granted only when nobody has
/// the file open or mapped for writing.
///
/// # References
///
/// `F_SETLEASE(2const)`
pub(crate) fn prove_no_writer(file: impl AsFd) -> Result<(), Errno> {
    let raw = file.as_fd().as_raw_fd();
    // SAFETY: F_SETLEASE takes an integer; the descriptor is borrowed for the whole call.
    check(unsafe { libc::fcntl(raw, libc::F_SETLEASE, libc::F_RDLCK) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(raw, libc::F_SETLEASE, libc::F_UNLCK) })
}

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The old process, with the child's pid.
    Parent(Pid),
}

/// Forks. Safe in this program, because it has one thread only.
///
/// # References
///
/// `fork(2)`
pub(crate) fn fork() -> Result<Fork, Errno> {
    // SAFETY: one thread only, so the child inherits no lock that nobody will release.
    let pid = unsafe { libc::fork() };
    check(pid)?;
    Ok(Pid::from_raw(pid).map_or(Fork::Child, Fork::Parent))
}

/// Becomes another program, with default signals and a session keyring of its own; returns only
/// when the kernel refuses. No shell, and no search for it: `program` is a path, or empty for the
/// file that `base` holds.
///
/// # References
///
/// `execveat(2)`, `KEYCTL_JOIN_SESSION_KEYRING(2const)`
pub(crate) fn become_program(
    base: impl AsFd,
    program: &CStr,
    arguments: &[impl AsRef<CStr>],
    environment: &[CString],
) -> Errno {
    reset_signals_and_timers();
    const JOIN_SESSION_KEYRING: i32 = 1;
    let no_name = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for a new keyring. A kernel that refuses has none to hand on, or
    // lets this process use none.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, no_name) };
    let Err(refused) = execveat(base, program, arguments, environment, AtFlags::AT_EMPTY_PATH);
    errno(&refused.into())
}

/// What a child of [`execute`] exits with when the kernel refused its program.
pub(crate) const NOT_EXECUTED: i32 = 127;

/// The descriptor that [`execute`] passes on besides the standard streams.
const PASSED_ON: RawFd = 3;

/// Above every number that [`execute`] gives out.
const FIRST_FREE: RawFd = 10;

/// Becomes another program in a child just forked, as [`become_program`]: these standard streams,
/// `kept` as descriptor 3 and no other that is not marked close-on-exec, an empty environment, the
/// usual umask, a process group of its own, and killed when the parent dies.
///
/// # References
///
/// `PR_SET_PDEATHSIG(2const)`
pub(crate) fn execute(
    program: BorrowedFd<'_>,
    arguments: &[CString],
    streams: [BorrowedFd<'_>; 3],
    kept: Option<BorrowedFd<'_>>,
) -> ! {
    let prepare = || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        setpgid(None, None)?;
        umask(Mode::from_raw_mode(0o022));
        // Copies out of the way of the numbers that are given out below.
        let program = fcntl_dupfd_cloexec(program, FIRST_FREE)?;
        let kept = kept.map(|kept| fcntl_dupfd_cloexec(kept, FIRST_FREE)).transpose()?;
        let streams = streams.iter().map(AsRawFd::as_raw_fd).zip(0..);
        for (old, new) in streams.chain(kept.iter().map(|kept| (kept.as_raw_fd(), PASSED_ON))) {
            // SAFETY: no pointers; this process never uses the owner of `new` again.
            check(unsafe { libc::dup2(old, new) })?;
        }
        Ok::<_, Errno>(program)
    };
    if let Ok(program) = prepare() {
        become_program(&program, c"", arguments, &[]);
    }
    end(NOT_EXECUTED)
}

/// Ends the process at once with this status, without unwinding or exit handlers: what a forked
/// child must do.
pub(crate) fn end(status: i32) -> ! {
    // SAFETY: `_exit` takes no pointer and does not return.
    unsafe { libc::_exit(status) }
}

/// Closes every descriptor from 3 up but these.
///
/// For a process that never returns to the owners of the others.
///
/// # References
///
/// `close_range(2)`
pub(crate) fn close_all_but(keep: &mut [RawFd]) {
    keep.sort_unstable();
    let mut first = FIRST_PRIVATE;
    for kept in keep {
        if first < *kept {
            close_from_to(first, kept.saturating_sub(1));
        }
        first = kept.saturating_add(1);
    }
    close_from_to(first, RawFd::MAX);
}

/// The first descriptor that is no standard stream.
const FIRST_PRIVATE: RawFd = 3;

/// The kernel's own limit, `fs.nr_open`, where nobody raised it.
const MAX_DESCRIPTORS: RawFd = 1 << 20;

fn close_from_to(first: RawFd, last: RawFd) {
    // SAFETY: no pointers; the caller never uses the owners of these again.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
        // Before Linux 5.9. Not up to the limit on descriptors: the caller may have lowered it
        // after opening some.
        for descriptor in first..=last.min(MAX_DESCRIPTORS) {
            // SAFETY: as above.
            unsafe { libc::close(descriptor) };
        }
    }
}

/// Gives the pages of the program's own file back, which the kernel brings in again where they are
/// needed: a process that waits for days is to keep only what it waits with.
///
/// # References
///
/// `madvise(2)`, `end(3)`
pub(crate) fn forget_program() {
    // SAFETY: the linker's marks of the program's beginning and of its code's end.
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    let (start, end) = (&raw const __executable_start, &raw const etext);
    let length = end.addr().saturating_sub(start.addr());
    // SAFETY: all between is mapped from the program's file and never written.
    unsafe { libc::madvise(start.cast_mut().cast(), length, libc::MADV_DONTNEED) };
}

/// The arguments of this process, the program's name included, exactly as given.
///
/// `std::env::args_os` hides an empty vector on no system we run on, but nothing promises that.
pub(crate) fn arguments() -> Vec<Vec<u8>> {
    std::env::args_os().map(OsString::into_vec).collect()
}

/// What the C library tells of a system call: its result, or the error where that is negative.
pub(crate) fn check(result: impl Into<i64>) -> Result<(), Errno> {
    if result.into() >= 0 {
        return Ok(());
    }
    Err(errno(&std::io::Error::last_os_error()))
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::INVAL)
}
