//! `run-oci-container`: the launcher's first process, which the caller waits for.
//!
//! It checks and claims, and changes nothing outside of the run root. The rest is its child's:
//! [`crate::launch`] makes the container and then stays as its monitor. Whoever fails undoes
//! everything; so does this process when the child ends without a word.

use rustix::fd::OwnedFd;
use rustix::io::{read, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};
use storm_oci_request::{Caller, ContainerId, HostPath, LaunchRecord, LaunchState, RECORD_VERSION};

use crate::Call;
use crate::account;
use crate::binds;
use crate::container::Host;
use crate::error::{At, Result, Step, must};
use crate::launch::{self, Launch};
use crate::layer_file::open_all;
use crate::monitor;
use crate::phases::Phases;
use crate::reap::remove_soon;
use crate::report;
use crate::request_file::{self, WorkerPaths};
use crate::runc::Runc;
use crate::sys::{self, Fork};

/// Launches the container that the request describes.
///
/// # Errors
///
/// Whatever was refused or failed; nothing of the container is left then, but layers that were
/// mounted stay mounted.
pub(crate) fn run(
    call: &Call,
    worker_dir: &HostPath,
    request: &HostPath,
    artifacts: &HostPath,
) -> Result<u8> {
    let Call { caller, config, account } = call;
    let mut phases = Phases::start();
    let launched_millis = monitor::now_millis();
    account::permitted_to_run(call)?;
    let (directory, artifacts) = (worker_dir.clone(), artifacts.clone());
    let worker = WorkerPaths { root: parent_of(worker_dir)?, directory, artifacts };
    let request = request_file::read(call, request, &worker)?;
    phases.end("request");
    let layers = open_all(call, &request.layers)?;
    let host = Host::open(call)?;
    // Only a look: where a program is missing, nothing is to have changed.
    Runc::open(config)?;
    if request.init {
        binds::open_init(config)?;
    }
    phases.end("open");
    // The record before anything is done: it says whose what follows is.
    let record = LaunchRecord {
        version: RECORD_VERSION,
        container_id: request.container_id.clone(),
        state: LaunchState::Launching,
        caller: Caller { uid: caller.identity.uid, gid: caller.identity.gid },
        worker_root: worker.root.clone(),
        user: account.name.clone(),
        uid: account.identity.uid,
        gid: account.identity.gid,
        cgroup: request.oci_runtime_config.linux.cgroups_path.clone(),
        layers: layers.iter().map(|layer| layer.record.clone()).collect(),
        monitor: None,
        init: None,
        launched_millis,
        phases: Vec::new(),
    };
    let claim = host.claim(&record)?;
    phases.end("claim");
    let mut launch = Launch { call, worker, request, host, claim, record, layers, phases };
    let outcome = start(&mut launch);
    if outcome.is_err() {
        let Launch { host, claim, request, .. } = launch;
        drop(claim);
        if let Err(error) = remove_soon(&host, &request.container_id) {
            report::note(&error.to_string());
        }
    }
    outcome
}

fn parent_of(worker_dir: &HostPath) -> Result<HostPath> {
    let (parent, _) = worker_dir.as_str().rsplit_once('/').unwrap_or_default();
    Ok(HostPath::parse(if parent.is_empty() { "/" } else { parent })?)
}

fn start(launch: &mut Launch<'_>) -> Result<u8> {
    let (answer, word) = pipe_with(PipeFlags::CLOEXEC).at(Step::Spawn, "monitor")?;
    match sys::fork().at(Step::Spawn, "monitor")? {
        Fork::Child => launch::launch(launch, &word),
        Fork::Parent(child) => {
            drop(word);
            monitor::leave_unit(&launch.host.hierarchies, &launch.call.config.cgroup_parent, child);
            listen(&answer, &launch.request.container_id)
        }
    }
}

/// Waits for the child's one byte: its exit code. It has reported a failure itself.
fn listen(answer: &OwnedFd, container: &ContainerId) -> Result<u8> {
    let mut code = [0_u8];
    let word = retry_on_intr(|| read(answer, &mut code));
    let problem = "its launching process ended before its time";
    must(word == Ok(1), Step::Spawn, container, problem).map(|()| code[0])
}
