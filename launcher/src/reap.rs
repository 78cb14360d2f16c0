//! `reap-oci-container`: removes what is left of an ended container, then the layers nobody uses.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Signal;
use storm_oci_request::{ContainerId, LaunchRecord, LaunchState};

use crate::Call;
use crate::error::{Result, Step};
use crate::host::Host;
use crate::layer_reaper;
use crate::process::HeldProcess;
use crate::remains::{self, ATTEMPTS, Hold, PAUSE};

/// How long a container that was killed may take to end, and its monitor to write the record.
const PATIENCE: Duration = Duration::from_millis(200);

/// Removes an ended container, and unused layers down to `keep`. Nothing to remove is fine.
///
/// # Errors
///
/// [`Step::Reap`] for a container that has not ended, [`Step::Foreign`] for one of another caller.
pub(crate) fn reap(call: &Call, container: &ContainerId, keep: u32) -> Result<()> {
    let host = Host::open(&call.config)?;
    let caller = call.caller.identity.uid;
    let running = || Step::Reap.refused(container.as_str(), "it is still running");
    let lost = Step::FindProcess.failed(container.as_str());
    let record = remains::own_record(&host, container, caller)?;
    if let Some(init) = record.and_then(|record| record.init) {
        // It may have been killed a moment ago.
        if let Some(held) = HeldProcess::recorded(&init).map_err(lost)? {
            held.wait(PATIENCE).map_err(lost)?;
        }
    }
    for attempt in 0..ATTEMPTS {
        match remains::take(&host, container, caller)? {
            Hold::Nothing => break,
            Hold::Taken(remains) if remains.is_running(&host)? => return Err(running()),
            Hold::Taken(remains) => {
                remains.remove(&host)?;
                break;
            }
            Hold::Busy if attempt > 0 => std::thread::sleep(PAUSE),
            Hold::Busy => {
                // Without a record, somebody else is about to have removed it.
                if let Some(record) = remains::own_record(&host, container, caller)? {
                    if record.state == LaunchState::Launching || remains::is_running(&record)? {
                        return Err(running());
                    }
                    end_monitor(&record).map_err(lost)?;
                }
            }
        }
    }
    layer_reaper::reap(&host, keep)
}

/// Waits for the monitor of an ended container; one that takes too long was stopped by its owner
/// and is killed: the exit code is lost, nothing else.
fn end_monitor(record: &LaunchRecord) -> Result<(), Errno> {
    let monitor = record.monitor.as_ref().map(HeldProcess::recorded).transpose()?.flatten();
    match monitor {
        Some(held) if !held.wait(PATIENCE)? => held.signal(Signal::KILL.as_raw()),
        _ => Ok(()),
    }
}
