//! Sending a signal, where no safe crate takes any number or addresses a process group by
//! descriptor.
#![expect(unsafe_code, reason = "rustix takes named signals only, and no flags beside a pidfd")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// `PIDFD_SIGNAL_PROCESS_GROUP`, since Linux 6.9.
const TO_GROUP: u32 = 1 << 2;

/// Sends `signal` to the process that `pidfd` holds.
///
/// # References
///
/// `pidfd_send_signal(2)`
pub(crate) fn to_process(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    send(pidfd, signal, 0)
}

/// Sends `signal` to the group that the process in `pidfd` leads; `INVAL` on older kernels.
///
/// # References
///
/// `pidfd_send_signal(2)`
pub(crate) fn to_group(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    send(pidfd, signal, TO_GROUP)
}

fn send(pidfd: BorrowedFd<'_>, signal: i32, flags: u32) -> Result<(), Errno> {
    let no_details = std::ptr::null::<libc::siginfo_t>();
    let raw = pidfd.as_raw_fd();
    // SAFETY: a null siginfo is allowed; the descriptor is borrowed for the whole call.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, raw, signal, no_details, flags) };
    outcome(result == 0)
}

/// Sends `signal` to process `pid`, or to process group `-pid` when negative.
///
/// # References
///
/// `kill(2)`
pub(crate) fn by_number(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: no pointers.
    outcome(unsafe { libc::kill(pid, signal) } == 0)
}

fn outcome(success: bool) -> Result<(), Errno> {
    if success {
        return Ok(());
    }
    let raw = std::io::Error::last_os_error().raw_os_error();
    Err(raw.map_or(Errno::INVAL, Errno::from_raw_os_error))
}
