//! `reap-oci-container`: removes what is left of an ended container, then the layers nobody uses.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use storm_oci_request::{ContainerId, LaunchRecord, LaunchState};

use crate::config::Config;
use crate::error::{LauncherError, Step};
use crate::host::Host;
use crate::layer_reaper;
use crate::process::HeldProcess;
use crate::remains::{self, Hold};
use crate::sanitize::CallerProcess;

/// How long the monitor may take to write the exit record once the container has ended.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(2);

/// Removes an ended container, and unused layers down to `keep`. Nothing to remove is fine.
///
/// # Errors
///
/// [`LauncherError::Running`] for a container that has not ended, [`LauncherError::Foreign`] for
/// one of another caller.
pub(crate) fn reap(
    caller: &CallerProcess,
    config: &Config,
    container: &ContainerId,
    keep: u32,
) -> Result<(), LauncherError> {
    let host = Host::open(config)?;
    let caller = caller.identity.uid;
    if let Hold::Busy = remove(&host, container, caller)? {
        let Some(record) = host.records().read(container)? else {
            return Err(still_running(container));
        };
        if record.state == LaunchState::Launching || remains::is_running(&record)? {
            return Err(still_running(container));
        }
        let end = end_monitor(&record);
        end.map_err(|source| LauncherError::failed(Step::FindProcess, "monitor", source))?;
        wait_and_remove(&host, container, caller)?;
    }
    layer_reaper::reap(&host, keep)
}

fn still_running(container: &ContainerId) -> LauncherError {
    LauncherError::Running {
        container: container.clone(),
    }
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
fn end_monitor(record: &LaunchRecord) -> Result<(), rustix::io::Errno> {
    let Some(monitor) = &record.monitor else {
        return Ok(());
    };
    let Some(held) = HeldProcess::recorded(monitor)? else {
        return Ok(());
    };
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: PATIENCE.subsec_nanos().into(),
    };
    let mut ended = [PollFd::new(&held.pidfd, PollFlags::IN)];
    if poll(&mut ended, Some(&limit))? == 0 {
        pidfd_send_signal(&held.pidfd, Signal::KILL)?;
    }
    Ok(())
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
