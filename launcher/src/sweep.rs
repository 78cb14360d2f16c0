//! `sweep-oci-containers`: removes the orphans of one caller and worker root.

use storm_oci_request::{ContainerId, HostPath};

use crate::Call;
use crate::error::{Result, Step};
use crate::host::Host;
use crate::layer_reaper;
use crate::remains::{self, Hold};
use crate::report;
use crate::switches::without;

/// Removes every orphan whose record names this caller and `worker_root`, or that has no record,
/// with one line each. Root sweeps for all callers. Layers stay mounted; directories of layers
/// that are not mounted go.
///
/// # Errors
///
/// The first failure, after all containers were tried.
pub(crate) fn sweep(call: &Call, worker_root: &HostPath) -> Result<()> {
    let host = Host::open(&call.config)?;
    let mut first_failure = Ok(());
    for container in host.run_root.containers()? {
        match sweep_one(&host, &container, call.caller.identity.uid, worker_root) {
            Ok(true) => report::note(&format!("removed what was left of {container}")),
            Ok(false) => {}
            Err(error) if error.step == Step::Foreign => {}
            Err(error) if first_failure.is_ok() => first_failure = Err(error),
            Err(error) => report::note(&error.to_string()),
        }
    }
    first_failure.and_then(|()| layer_reaper::remove_unmounted(&host))
}

fn sweep_one(
    host: &Host,
    container: &ContainerId,
    caller: u32,
    worker_root: &HostPath,
) -> Result<bool> {
    let record = remains::own_record(host, container, caller)?;
    let ours = |root: &HostPath| root == worker_root || without("record-worker-root");
    if record.is_some_and(|record| !ours(&record.worker_root)) {
        return Ok(false);
    }
    match remains::take(host, container, caller)? {
        Hold::Taken(remains) if remains.is_orphan(host)? => remains.remove(host).map(|()| true),
        _ => Ok(false),
    }
}
