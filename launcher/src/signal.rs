//! `signal`: a worker's process group, or process, as the user and with no more rights than his.
//!
//! A pid is only a number that the supervisor remembered. When it is the first process of a
//! container, the record must say that the container is this caller's and this user's; for any
//! other pid the kernel decides what the user may signal. Either way the process is held by
//! descriptor before it is looked at, and the launcher has become the user for good before it
//! sends anything.

use rustix::fd::AsFd;
use rustix::io::Errno;

use crate::account::Account;
use crate::config::Config;
use crate::error::{LauncherError, Step};
use crate::privilege::become_for_good;
use crate::process::HeldProcess;
use crate::records::Records;
use crate::run_root::RunRoot;
use crate::sanitize::CallerProcess;
use crate::sys_signal;

/// Linux' highest signal; 0 only asks whether there is a process.
const HIGHEST: i32 = 64;

/// Sends signal number `signal` to the process group `pid` leads, else to `pid` alone.
///
/// # Errors
///
/// The original's codes: 9 when there is no such process, 8 when the signal could not be sent,
/// 255 when the user may not signal it. A container of another caller or user is code 8.
pub(crate) fn signal(
    caller: &CallerProcess,
    config: &Config,
    account: &Account,
    pid: i32,
    signal: i32,
) -> Result<(), LauncherError> {
    let object = pid.to_string();
    let Some(number) = u32::try_from(pid).ok().filter(|number| *number > 0) else {
        return Err(LauncherError::failed(Step::FindProcess, object, Errno::SRCH));
    };
    if !(0..=HIGHEST).contains(&signal) {
        let problem = format!("{signal} is no signal, they are 0 to {HIGHEST}");
        return Err(LauncherError::refused(Step::Signal, object, problem));
    }
    let failed = |source| LauncherError::failed(Step::FindProcess, pid.to_string(), source);
    // None: no such process, though a group may still have its number.
    let held = HeldProcess::find(number).map_err(failed)?;
    if let Some(held) = &held {
        check_record(caller, config, account, number, held)?;
    }
    become_for_good(&account.identity)?;
    send(held.as_ref(), pid, signal)
}

/// Refuses the first process of a container that is not this caller's and this user's.
fn check_record(
    caller: &CallerProcess,
    config: &Config,
    account: &Account,
    pid: u32,
    held: &HeldProcess,
) -> Result<(), LauncherError> {
    let root = RunRoot::open(config)?;
    let Some(record) = Records::new(&root.records, config.group_id).of_init(pid)? else {
        return Ok(());
    };
    let failed = |source| LauncherError::failed(Step::FindProcess, pid.to_string(), source);
    if held.record().map_err(failed)? != record.init {
        // The container's process has ended and the number is another's now.
        return Ok(());
    }
    let refused = |problem: String| {
        let object = format!("{pid} of container {}", record.container_id);
        LauncherError::refused(Step::Signal, object, problem)
    };
    let owner = record.caller.uid;
    if caller.identity.uid != 0 && caller.identity.uid != owner {
        return Err(refused(format!("it belongs to the supervisor of uid {owner}")));
    }
    if account.identity.uid != record.uid {
        return Err(refused(format!("it runs as `{}`", record.user)));
    }
    if !held.is_running().map_err(failed)? {
        return Err(failed(Errno::SRCH));
    }
    if held.is_in(&record.cgroup).map_err(failed)? {
        Ok(())
    } else {
        Err(refused("it is not in the container's cgroup".to_owned()))
    }
}

/// Sends the signal, with the user's rights only.
fn send(held: Option<&HeldProcess>, pid: i32, signal: i32) -> Result<(), LauncherError> {
    let failed = |step, source| LauncherError::failed(step, pid.to_string(), source);
    if to_group(held, pid, 0).is_ok() {
        return to_group(held, pid, signal).map_err(|source| match source {
            Errno::SRCH => failed(Step::FindProcess, source),
            source => failed(Step::Signal, source),
        });
    }
    // The original's codes: it asks first, and answers 255 when asking is refused.
    to_process(held, 0).map_err(|source| match source {
        Errno::SRCH => failed(Step::FindProcess, source),
        source => failed(Step::Probe, source),
    })?;
    to_process(held, signal).map_err(|source| match source {
        Errno::SRCH => failed(Step::FindProcess, source),
        source => failed(Step::Signal, source),
    })
}

fn to_process(held: Option<&HeldProcess>, signal: i32) -> Result<(), Errno> {
    match held {
        Some(held) => sys_signal::to_process(held.pidfd.as_fd(), signal),
        None => Err(Errno::SRCH),
    }
}

fn to_group(held: Option<&HeldProcess>, pid: i32, signal: i32) -> Result<(), Errno> {
    let by_descriptor = match held {
        Some(held) => sys_signal::to_group(held.pidfd.as_fd(), signal),
        None => Err(Errno::INVAL),
    };
    match by_descriptor {
        // A kernel before 6.9, or a group whose leader has ended. The number is the group's as
        // long as anybody is in it.
        Err(Errno::INVAL) => sys_signal::by_number(pid.saturating_neg(), signal),
        outcome => outcome,
    }
}
