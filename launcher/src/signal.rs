//! `signal`: a worker's process group, or process, as the user and with no more rights than his.
//!
//! The launcher has become the user for good before it sends anything: the kernel decides what
//! the user may signal.

use rustix::io::Errno;

use crate::Call;
use crate::error::{Result, Step, must};
use crate::privilege::become_for_good;
use crate::sys_signal;
use crate::target::{self, Target};

/// Linux' highest signal; 0 only asks whether there is a process.
const HIGHEST: i32 = 64;

/// Sends signal number `signal` to the process group `pid` leads, else to `pid` alone.
///
/// # Errors
///
/// The original's codes: 9 when there is no such process, 8 when the signal could not be sent,
/// 255 when the user may not signal it. A container of another caller or user is code 8.
pub(crate) fn signal(call: &Call, pid: i32, signal: i32) -> Result<()> {
    let failed = |step: Step, source| match source {
        Errno::SRCH => Step::FindProcess.failed(pid)(source),
        source => step.failed(pid)(source),
    };
    // As a group's number, 1 would stand for every process there is.
    let Some(number) = u32::try_from(pid).ok().filter(|number| *number > 1) else {
        return Err(failed(Step::FindProcess, Errno::SRCH));
    };
    let problem = format_args!("{signal} is no signal, they are 0 to {HIGHEST}");
    must((0..=HIGHEST).contains(&signal), Step::Signal, pid, problem)?;
    // None: no such process, though a group may still have its number.
    let target = target::find(call, number, Step::Signal)?;
    become_for_good(&call.account.identity)?;
    // The original asks first, and answers 255 when asking is refused.
    if to_group(target.as_ref(), pid, 0).is_ok() {
        return to_group(target.as_ref(), pid, signal)
            .map_err(|source| failed(Step::Signal, source));
    }
    let target = target.as_ref().ok_or_else(|| failed(Step::FindProcess, Errno::SRCH))?;
    target.held.signal(0).map_err(|source| failed(Step::Probe, source))?;
    target.held.signal(signal).map_err(|source| failed(Step::Signal, source))
}

fn to_group(target: Option<&Target>, pid: i32, signal: i32) -> Result<(), Errno> {
    match target {
        Some(target) => target.held.signal_group(signal),
        // A group whose leader has ended.
        None => sys_signal::by_number(pid.saturating_neg(), signal),
    }
}
