//! `reap-oci-container`: removes what is left of an ended container, then the layers nobody uses.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Signal;
use storm_oci_request::{ContainerId, LaunchRecord, LaunchState, ProcessRecord};

use crate::config::Config;
use crate::error::{LauncherError, Step};
use crate::host::Host;
use crate::layer_reaper;
use crate::process::HeldProcess;
use crate::remains::{self, Hold};
use crate::sanitize::CallerProcess;

/// How long a container that was killed may take to end, and its monitor to write the record.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(2);

/// Removes an ended container, and unused layers down to `keep`. Nothing to remove is fine.
///
/// # Errors
///
/// [`Step::Reap`] for a container that has not ended, [`Step::Foreign`] for
/// one of another caller.
pub(crate) fn reap(
    caller: &CallerProcess,
    config: &Config,
    container: &ContainerId,
    keep: u32,
) -> Result<(), LauncherError> {
    let host = Host::open(config)?;
    let caller = caller.identity.uid;
    if let Some(record) = host.records().read(container)? {
        remains::check_owner(&record, caller)?;
        // It may have been killed a moment ago.
        if let Some(init) = &record.init {
            ends_soon(init).map_err(lost)?;
        }
    }
    if let Hold::Busy = remove(&host, container, caller)? {
        // Without a record, somebody else is about to have removed it.
        if let Some(record) = host.records().read(container)? {
            if record.state == LaunchState::Launching || remains::is_running(&record)? {
                return Err(still_running(container));
            }
            end_monitor(&record).map_err(lost)?;
        }
        wait_and_remove(&host, container, caller)?;
    }
    layer_reaper::reap(&host, keep)
}

fn lost(source: Errno) -> LauncherError {
    LauncherError::failed(Step::FindProcess, "the container's", source)
}

fn still_running(container: &ContainerId) -> LauncherError {
    LauncherError::refused(Step::Reap, container.as_str(), "it is still running")
}

fn remove(host: &Host, container: &ContainerId, caller: u32) -> Result<Hold, LauncherError> {
    match remains::take(host, container, caller)? {
        Hold::Taken(remains) => {
            let record = remains.record();
            if record.map_or(Ok(false), remains::is_running)? {
                return Err(still_running(container));
            }
            remains.remove(host)?;
            Ok(Hold::Nothing)
        }
        other => Ok(other),
    }
}

/// Waits for the monitor of an ended container; one that takes too long was stopped by its owner
/// and is killed: the exit code is lost, nothing else.
fn end_monitor(record: &LaunchRecord) -> Result<(), Errno> {
    match &record.monitor {
        Some(monitor) => match ends_soon(monitor)? {
            Some(held) => held.signal(Signal::KILL.as_raw()),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// Waits for a process; gives it back when it has not ended in time.
fn ends_soon(process: &ProcessRecord) -> Result<Option<HeldProcess>, Errno> {
    let Some(held) = HeldProcess::recorded(process)? else {
        return Ok(None);
    };
    Ok((!held.wait(PATIENCE)?).then_some(held))
}

/// The lock is free once the monitor's process is gone, or held by somebody else who removes the
/// container.
fn wait_and_remove(host: &Host, container: &ContainerId, caller: u32) -> Result<(), LauncherError> {
    let start = Instant::now();
    loop {
        match remove(host, container, caller)? {
            Hold::Busy if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            _ => return Ok(()),
        }
    }
}
