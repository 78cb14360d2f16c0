//! Handing on a process's system call filters, which no safe crate can read.
#![expect(unsafe_code, reason = "ptrace, and filters as the kernel has them")]

use std::ptr::{null_mut, without_provenance_mut};

use libc::{c_long, c_uint, c_void, sock_filter, sock_fprog};
use rustix::io::Errno;

/// One filter, as it was loaded.
pub(crate) struct Filter(Vec<sock_filter>);

/// `PTRACE_SECCOMP_GET_FILTER`, which the C library does not name.
const GET_FILTER: c_uint = 0x420c;

/// The filters of a process, the oldest first. Stops its first thread for some microseconds.
///
/// Needs a kernel with `CONFIG_CHECKPOINT_RESTORE`, as all distributions' have.
///
/// # References
///
/// `ptrace(2)`: `PTRACE_SEIZE`, `PTRACE_INTERRUPT`, `PTRACE_SECCOMP_GET_FILTER`
pub(crate) fn filters_of(pid: u32) -> Result<Vec<Filter>, Errno> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::SRCH)?;
    trace(libc::PTRACE_SEIZE, pid, 0, null_mut())?;
    let read = stop(pid).and_then(|signal| Ok((read_all(pid)?, signal)));
    let signal = read.as_ref().map_or(0, |(_, signal)| *signal);
    // The end of this process would detach as well.
    let _detached = trace(libc::PTRACE_DETACH, pid, 0, without_provenance_mut(signal));
    read.map(|(filters, _)| filters)
}

/// Stops the process; tells the signal that it was about to get, or 0.
fn stop(pid: libc::pid_t) -> Result<usize, Errno> {
    trace(libc::PTRACE_INTERRUPT, pid, 0, null_mut())?;
    let mut status = 0;
    loop {
        // SAFETY: a valid place for the status.
        let waited = unsafe { libc::waitpid(pid, &mut status, libc::__WALL) };
        match outcome(c_long::from(waited)) {
            Err(Errno::INTR) => {}
            Err(source) => return Err(source),
            Ok(_) if libc::WIFSTOPPED(status) => break,
            Ok(_) => return Err(Errno::SRCH),
        }
    }
    let event = status >> 16;
    let signal = if event == libc::PTRACE_EVENT_STOP { 0 } else { libc::WSTOPSIG(status) };
    Ok(usize::try_from(signal).unwrap_or(0))
}

fn read_all(pid: libc::pid_t) -> Result<Vec<Filter>, Errno> {
    let mut filters = Vec::new();
    loop {
        let index = filters.len();
        let count = match trace(GET_FILTER, pid, index, null_mut()) {
            Err(Errno::NOENT) => return Ok(filters),
            count => usize::try_from(count?).unwrap_or(0),
        };
        let mut code = vec![sock_filter { code: 0, jt: 0, jf: 0, k: 0 }; count];
        // The process is stopped, so its filters stay as they are.
        trace(GET_FILTER, pid, index, code.as_mut_ptr().cast())?;
        filters.push(Filter(code));
    }
}

/// Loads a filter into this process, which must have `no_new_privs`.
///
/// # References
///
/// `PR_SET_SECCOMP(2const)`
pub(crate) fn load(filter: &mut Filter) -> Result<(), Errno> {
    let len = u16::try_from(filter.0.len()).map_err(|_| Errno::INVAL)?;
    let program = sock_fprog { len, filter: filter.0.as_mut_ptr() };
    // SAFETY: a valid program of that length, which outlives the call.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    outcome(c_long::from(result)).map(drop)
}

/// `data` is a number, or the address of a buffer that is large enough for the request.
fn trace(
    request: c_uint,
    pid: libc::pid_t,
    address: usize,
    data: *mut c_void,
) -> Result<c_long, Errno> {
    // SAFETY: none of the requests made here reads or writes through `address`; GET_FILTER writes
    // to `data` as many instructions as it has counted before, which is the buffer's length.
    outcome(unsafe { libc::syscall(libc::SYS_ptrace, c_long::from(request), pid, address, data) })
}

fn outcome(result: c_long) -> Result<c_long, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    let raw = std::io::Error::last_os_error().raw_os_error();
    Err(raw.map_or(Errno::INVAL, Errno::from_raw_os_error))
}
