//! The only module of the launcher with `unsafe`: system calls that no safe crate wraps.
//!
//! Each function is as small as the call it wraps, and safe to call with any arguments.
#![expect(
    unsafe_code,
    reason = "system calls that rustix and nix do not wrap safely"
)]

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;

use rustix::io::Errno;

/// Ends the process at once, without unwinding or exit handlers.
pub(crate) fn abort() -> ! {
    // SAFETY: `_exit` takes no pointer and does not return.
    unsafe { libc::_exit(ABORTED) }
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
    // SAFETY: nothing of this process owns a descriptor yet: this runs before any file is opened.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST_PRIVATE, u32::MAX, 0) };
    if closed == 0 {
        Ok(())
    } else {
        close_one_by_one()
    }
}

/// The first descriptor that is no standard stream.
const FIRST_PRIVATE: u32 = 3;

/// For kernels before 5.9, which have no `close_range`.
fn close_one_by_one() -> Result<(), Errno> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let end = limit
        .current
        .and_then(|end| i32::try_from(end).ok())
        .unwrap_or(1 << 20);
    for descriptor in 3..end {
        // SAFETY: nothing of this process owns a descriptor yet.
        unsafe { libc::close(descriptor) };
    }
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

/// Gives every signal its default action, unblocks all, and stops all interval timers.
///
/// # References
///
/// `sigaction(2)`, `sigprocmask(2)`, `setitimer(2)`
pub(crate) fn reset_signals_and_timers() {
    // SAFETY: all zero is a valid sigset_t and sigaction, and means SIG_DFL without flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: a valid action; SIGKILL, SIGSTOP and the C library's own signals are refused.
        unsafe { libc::sigaction(signal, &default, std::ptr::null_mut()) };
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

/// Back to the normal scheduling class and a nice value of 0.
///
/// # References
///
/// `sched_setscheduler(2)`, `setpriority(2)`
pub(crate) fn reset_scheduling() -> Result<(), Errno> {
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: a valid parameter; 0 is this process.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &normal) })?;
    // SAFETY: no pointers; 0 is this process.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) })
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
    Parent(rustix::process::Pid),
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
    Ok(rustix::process::Pid::from_raw(pid).map_or(Fork::Child, Fork::Parent))
}

/// The arguments of this process, the program's name included, exactly as given.
///
/// `std::env::args_os` hides an empty vector on no system we run on, but nothing promises that.
pub(crate) fn arguments() -> Vec<Vec<u8>> {
    std::env::args_os().map(OsString::into_vec).collect()
}

fn check(result: i32) -> Result<(), Errno> {
    if result >= 0 {
        return Ok(());
    }
    let raw = std::io::Error::last_os_error().raw_os_error();
    Err(raw.map_or(Errno::INVAL, Errno::from_raw_os_error))
}
