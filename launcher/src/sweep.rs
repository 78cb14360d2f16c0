//! `sweep-oci-containers`: removes the orphans of one caller and worker root.

use storm_oci_request::{ContainerId, HostPath};

use crate::config::Config;
use crate::error::LauncherError;
use crate::host::Host;
use crate::layer_reaper;
use crate::remains::{self, Hold};
use crate::report;
use crate::sanitize::CallerProcess;

/// Removes every orphan whose record names this caller and `worker_root`, with one line each.
/// Root sweeps for all callers. Layers stay mounted.
///
/// A container's directory without a record is left by a launch that was killed before it did
/// anything; whose it was nobody knows, and whoever sweeps removes it.
///
/// # Errors
///
/// The first failure, after all containers were tried.
pub(crate) fn sweep(
    caller: &CallerProcess,
    config: &Config,
    worker_root: &HostPath,
) -> Result<(), LauncherError> {
    let host = Host::open(config)?;
    let mut first_failure = Ok(());
    for container in host.run_root.containers()? {
        match sweep_one(&host, &container, caller.identity.uid, worker_root) {
            Ok(true) => report::note(&format!("removed what was left of {container}")),
            Ok(false) => {}
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
) -> Result<bool, LauncherError> {
    if let Some(record) = host.records().read(container)? {
        let own = remains::check_owner(&record, caller).is_ok();
        if !own || record.worker_root != *worker_root {
            return Ok(false);
        }
    }
    let Hold::Taken(remains) = remains::take(host, container, caller)? else {
        return Ok(false);
    };
    if !remains.is_orphan(host)? {
        return Ok(false);
    }
    remains.remove(host)?;
    Ok(true)
}
