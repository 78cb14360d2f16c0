//! Storm's logviewer, which runs as the daemons' account, reads the logs of workers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::json;
use storm_oci_e2e::cluster::as_account;
use storm_oci_e2e::commanded;
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::verdicts::{Verdicts, holds, same};
use storm_oci_e2e::{E2eError, Testbed, command, files, topology};

const NAME: &str = "is-read";
/// The worker's own log, the log writer's of what the worker prints, and the collector's.
const LOGS: [&str; 3] = ["worker.log", "worker.log.err", "gc.log"];

/// Logs are readable as they are; one that is not becomes so by the logviewer's own call.
pub(crate) fn run(
    testbed: &mut Testbed,
    _: &Settings,
    verdicts: &mut Verdicts,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let user = testbed.user.clone();
    commanded::submit(&layout, &user, &[(NAME, json!({}))])?;
    let worker = commanded::works(&layout, NAME, None)?;
    for log in LOGS {
        let verdict = format!("the_logviewer_reads_{}", log.replace('.', "_"));
        verdicts.check(&verdict, readable(testbed, &worker.artifacts.join(log)));
    }
    topology::kill(&layout, &user, &[NAME])
}

fn readable(testbed: &Testbed, log: &Path) -> Result<(), E2eError> {
    let stat = fs::metadata(log).map_err(|source| E2eError::File {
        verb: "look at",
        path: log.to_owned(),
        source,
    })?;
    same("the log is the user's", stat.uid(), testbed.user.uid)?;
    same("it is in the daemons' group", stat.gid(), testbed.daemon.gid)?;
    let mode = stat.mode() & 0o777;
    same("the group reads it, others do not", mode & 0o047, 0o040)?;
    command::output(as_account(&testbed.daemon).arg("cat").arg(log))?;

    files::set_mode(log, 0o600)?;
    let hidden = command::output(as_account(&testbed.daemon).arg("cat").arg(log));
    holds("a log of mode 0600 is not readable", hidden.is_err(), "it is")?;
    let mut blob = as_account(&testbed.daemon);
    blob.arg(testbed.layout.launcher()).arg(&testbed.user.name).arg("blob").arg(log);
    command::output(&mut blob)?;
    command::output(as_account(&testbed.daemon).arg("cat").arg(log)).map(|_| ())
}
