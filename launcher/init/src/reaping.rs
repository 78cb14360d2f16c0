//! Children that have ended: the worker's command, and orphans.

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait};

/// What a shell adds to a signal's number.
const SIGNALLED: i32 = 128;

/// How the worker's command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    /// By itself, with this code.
    Exited(i32),
    /// By the signal of this number: a real-time signal has no name.
    Signalled(i32),
}

impl Status {
    pub(crate) fn signal(self) -> Option<i32> {
        match self {
            Self::Exited(_) => None,
            Self::Signalled(signal) => Some(signal),
        }
    }

    /// As a shell tells it.
    pub(crate) fn code(self) -> u8 {
        let code = match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => SIGNALLED.saturating_add(signal),
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
        let (pid, status) = match wait(WaitOptions::NOHANG) {
            Ok(Some(ended)) => ended,
            Ok(None) => return reaped,
            Err(Errno::INTR) => continue,
            Err(_) => {
                reaped.nobody_left = true;
                return reaped;
            }
        };
        if pid == child {
            reaped.child = status
                .exit_status()
                .map(Status::Exited)
                .or_else(|| status.terminating_signal().map(Status::Signalled));
        }
    }
}
