//! `run-oci-container`: the straight list of a launch, as far as it is done in the host's mount
//! namespace. [`crate::launch`] has the rest.
//!
//! Three processes: this one, which the caller waits for; the monitor, its child, which stays;
//! and the monitor's child, which builds the root file system and runs runc. Whoever fails undoes
//! everything; so does this one when the last ends without a word.

use rustix::fd::OwnedFd;
use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{getpid, set_child_subreaper, setsid};
use storm_oci_request::{
    Caller, ContainerId, HostPath, LaunchRecord, LaunchRequest, LaunchState, LayerRecord,
    RECORD_VERSION,
};

use crate::account::{self, Account};
use crate::claim::claim;
use crate::config::Config;
use crate::error::{LauncherError, Step};
use crate::host::Host;
use crate::launch::{self, Launch, Means};
use crate::layers::{self, LayerFile};
use crate::monitor::{Line, Watch, now_millis};
use crate::ownership;
use crate::phases::Phases;
use crate::process::HeldProcess;
use crate::request_file::{self, WorkerPaths};
use crate::sanitize::CallerProcess;
use crate::sys::{self, Fork};
use crate::worker_files;

/// Launches the container that the request describes.
///
/// # Errors
///
/// Whatever was refused or failed; nothing of the container is left then, but layers that were
/// mounted stay mounted.
pub(crate) fn run(
    caller: &CallerProcess,
    config: &Config,
    account: &Account,
    worker_dir: HostPath,
    request: &HostPath,
    artifacts: HostPath,
) -> Result<(), LauncherError> {
    let mut phases = Phases::start();
    let launched_millis = now_millis();
    account::permitted_to_run(account, &caller.identity, config)?;
    let worker = WorkerPaths { root: parent_of(&worker_dir)?, directory: worker_dir, artifacts };
    let request = request_file::read(&caller.identity, config, account, request, &worker)?;
    phases.done("request");
    let mut layers =
        layers::open_all(&caller.identity, &account.identity, config, &request.layers)?;
    let host = Host::open(config)?;
    phases.done("open");
    let record = first_record(caller, account, &worker, &request, &layers, launched_millis);
    let claim = claim(&host, &record)?;
    phases.done("claim");
    let launch = Launch {
        caller,
        config,
        account,
        worker: &worker,
        request: &request,
        host: &host,
        claim: &claim,
    };
    let outcome = start(&launch, record, &mut layers, phases);
    match outcome {
        Err(LauncherError::Reported { .. }) | Ok(()) => outcome,
        Err(error) => {
            launch::undo(&host, &request.container_id);
            Err(error)
        }
    }
}

fn parent_of(worker_dir: &HostPath) -> Result<HostPath, LauncherError> {
    let (parent, _) = worker_dir.as_str().rsplit_once('/').unwrap_or_default();
    Ok(HostPath::parse(if parent.is_empty() { "/" } else { parent })?)
}

/// The record before anything was done: it says whose what follows is.
fn first_record(
    caller: &CallerProcess,
    account: &Account,
    worker: &WorkerPaths,
    request: &LaunchRequest,
    layers: &[LayerFile],
    launched_millis: u64,
) -> LaunchRecord {
    LaunchRecord {
        version: RECORD_VERSION,
        container_id: request.container_id.clone(),
        state: LaunchState::Launching,
        caller: Caller { uid: caller.identity.uid, gid: caller.identity.gid },
        worker_root: worker.root.clone(),
        user: account.name.clone(),
        uid: account.identity.uid,
        gid: account.identity.gid,
        cgroup: request.oci_runtime_config.linux.cgroups_path.clone(),
        layers: records_of(layers),
        monitor: None,
        init: None,
        launched_millis,
        phases: Vec::new(),
    }
}

fn records_of(layers: &[LayerFile]) -> Vec<LayerRecord> {
    layers.iter().map(|layer| layer.record.clone()).collect()
}

/// What needs undoing when it fails: from the first change outside of the container's directory
/// to the launching process's last word.
fn start(
    launch: &Launch<'_>,
    mut record: LaunchRecord,
    layers: &mut [LayerFile],
    mut phases: Phases,
) -> Result<(), LauncherError> {
    let Launch { caller, config, account, worker, .. } = *launch;
    ownership::give_worker_dir(caller, config, account, &worker.directory)?;
    let container = &launch.request.container_id;
    let output = worker_files::create_output(&account.identity, &worker.artifacts, container)?;
    phases.done("worker directory");
    let mounted = layers::mount_all(&launch.host.run_root, layers)?;
    record.layers = records_of(layers);
    phases.done("layers");
    let failed = |source| LauncherError::failed(Step::Spawn, "monitor", source);
    let (answer, word) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    match sys::fork().map_err(failed)? {
        Fork::Parent(_) => {
            drop(word);
            listen(&answer, container)
        }
        Fork::Child => {
            let Ok(line) = become_parent(&mut record) else { sys::end(1) };
            match sys::fork() {
                Ok(Fork::Parent(_)) => stay(launch, &record, &line),
                Ok(Fork::Child) => {
                    drop(line.monitor);
                    let means = Means {
                        layers: &mounted,
                        output: &output,
                        line: &line.launcher,
                        word: &word,
                    };
                    launch::finish(launch, record, phases, &means)
                }
                Err(_) => sys::end(1),
            }
        }
    }
}

/// The monitor before its child: head of a session, heir of the container's processes.
fn become_parent(record: &mut LaunchRecord) -> Result<Line, Errno> {
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    let own = HeldProcess::find(std::process::id())?.ok_or(Errno::SRCH)?;
    record.monitor = own.record()?;
    Line::new()
}

fn stay(launch: &Launch<'_>, record: &LaunchRecord, line: &Line) -> ! {
    let watch = Watch {
        lock: &launch.claim.lock,
        exit_record: &launch.claim.exit_record,
        line: &line.monitor,
        container: &record.container_id,
        caller: &launch.caller.identity,
        cgroup_parent: &launch.config.cgroup_parent,
        launched_millis: record.launched_millis,
    };
    watch.stay(&launch.host.hierarchies)
}

/// Waits for the launching process's one byte: its exit code. It has reported a failure itself.
fn listen(answer: &OwnedFd, container: &ContainerId) -> Result<(), LauncherError> {
    let mut code = [0_u8];
    loop {
        return match (read(answer, &mut code), code) {
            (Err(Errno::INTR), _) => continue,
            (Ok(1), [0]) => Ok(()),
            (Ok(1), [code]) => Err(LauncherError::Reported { code }),
            _ => Err(LauncherError::refused(
                Step::Spawn,
                container.as_str(),
                "its launching process ended before its time",
            )),
        };
    }
}
