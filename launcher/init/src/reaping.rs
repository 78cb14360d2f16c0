//! Children that have ended: the worker's command, and orphans.

use nix::errno::Errno;
use nix::libc::c_int;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What a shell adds to a signal's number.
const SIGNALLED: c_int = 128;

/// How the worker's command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    /// By itself, with this code.
    Exited(c_int),
    /// By a signal.
    Signalled(Signal),
}

impl Status {
    pub(crate) fn signal(self) -> Option<Signal> {
        match self {
            Self::Exited(_) => None,
            Self::Signalled(signal) => Some(signal),
        }
    }

    /// As a shell tells it.
    pub(crate) fn code(self) -> u8 {
        let code = match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => SIGNALLED.saturating_add(signal as c_int),
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

/// What [`reap`] found.
#[derive(Debug, Default)]
pub(crate) struct Reaped {
    /// How the worker's command ended, if it has just done so.
    pub(crate) child: Option<Status>,
    /// Whether no child is left: neither the command nor an orphan.
    pub(crate) nobody_left: bool,
}

/// Takes note of all children that have ended.
pub(crate) fn reap(child: Pid) -> Reaped {
    let mut reaped = Reaped::default();
    loop {
        let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, Status::Exited(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Status::Signalled(signal)),
            Ok(WaitStatus::StillAlive) => return reaped,
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(_) => {
                reaped.nobody_left = true;
                return reaped;
            }
        };
        if status.0 == child {
            reaped.child = Some(status.1);
        }
    }
}
