//! `reap-oci-container` and `sweep-oci-containers`: removing what is left of ended containers, and
//! the layers nobody uses.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Signal;
use storm_oci_request::{ContainerId, HostPath, LaunchRecord, LaunchState};

use crate::Call;
use crate::container::{Hold, Host, is_running};
use crate::error::{At, Result, Step, must};
use crate::layers;
use crate::process::HeldProcess;
use crate::report;
use crate::switches::without;

/// How long a container that was killed may take to end, and its monitor to write the record.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often a lock that somebody else is about to give up is tried, and the time between.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// Removes an ended container, and unused layers down to `keep`. Nothing to remove is fine.
///
/// # Errors
///
/// [`Step::Reap`] for a container that has not ended, [`Step::Foreign`] for one of another caller.
pub(crate) fn reap(call: &Call, container: &ContainerId, keep: u32) -> Result<()> {
    let host = Host::open(call)?;
    let has_ended = |running: bool| must(!running, Step::Reap, container, "it is still running");
    if let Some(init) = host.own_record(container)?.and_then(|record| record.init) {
        // It may have been killed a moment ago.
        let held = HeldProcess::recorded(&init).at(Step::FindProcess, container)?;
        held.map(|held| held.wait(PATIENCE)).transpose().at(Step::FindProcess, container)?;
    }
    for attempt in 0..ATTEMPTS {
        match host.take(container)? {
            Hold::Nothing => break,
            Hold::Taken(remains) => {
                has_ended(remains.is_running()?)?;
                remains.remove()?;
                break;
            }
            Hold::Busy if attempt > 0 => std::thread::sleep(PAUSE),
            Hold::Busy => {
                // Without a record, somebody else is about to have removed it.
                if let Some(record) = host.own_record(container)? {
                    has_ended(record.state == LaunchState::Launching || is_running(&record)?)?;
                    end_monitor(&record).at(Step::FindProcess, container)?;
                }
            }
        }
    }
    layers::reap(&host.run_root, keep)
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

/// Removes what a launch left whose process ended before its time. What that had started may work
/// for a moment longer, and has the lock as long; what takes longer is left to the sweep.
pub(crate) fn remove_soon(host: &Host, container: &ContainerId) -> Result<()> {
    for _ in 0..ATTEMPTS {
        if host.remove_orphan(container)? {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Removes every orphan whose record names this caller and `worker_root`, or that has no record,
/// with one line each. Root sweeps for all callers. Layers stay mounted; directories of layers
/// that are not mounted go.
///
/// # Errors
///
/// The first failure, after all containers were tried.
pub(crate) fn sweep(call: &Call, worker_root: &HostPath) -> Result<()> {
    let host = Host::open(call)?;
    let ours = |root: &HostPath| root == worker_root || without("record-worker-root");
    let mut first_failure = Ok(());
    for container in host.run_root.containers()? {
        let swept = host.own_record(&container).and_then(|record| {
            let ours = record.is_none_or(|record| ours(&record.worker_root));
            Ok(ours && host.remove_orphan(&container)?)
        });
        match swept {
            Ok(true) => report::note(&format!("removed what was left of {container}")),
            Ok(false) => {}
            Err(error) if error.step == Step::Foreign => {}
            Err(error) if first_failure.is_ok() => first_failure = Err(error),
            Err(error) => report::note(&error.to_string()),
        }
    }
    first_failure.and_then(|()| layers::remove_unmounted(&host.run_root.layers))
}
