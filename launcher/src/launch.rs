//! The launch itself, by the process that stays with the container: root file system, binds,
//! bundle, runc, record, in a mount namespace of their own; then it is the monitor.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{getpid, set_child_subreaper, setsid};
use storm_oci_request::{ContainerId, LaunchRecord, LaunchRequest, LaunchState, ProcessRecord};

use crate::Call;
use crate::claim::Claim;
use crate::directory::Directory;
use crate::error::{LauncherError, Result, Step};
use crate::host::Host;
use crate::layers::{self, LayerFile};
use crate::phases::Phases;
use crate::process::HeldProcess;
use crate::request_file::WorkerPaths;
use crate::rootfs::HostNamespace;
use crate::runc::{self, Runc};
use crate::sys_file::write_all;
use crate::{
    binds, bundle, image, monitor, mount_points, ownership, read_back, remains, report, rootfs,
    sys, worker_files,
};

/// A launch that has been checked and claimed.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// Who asked, and for whom.
    pub(crate) call: &'a Call,
    /// The worker's directories.
    pub(crate) worker: WorkerPaths,
    /// The request.
    pub(crate) request: LaunchRequest,
    /// Run root, cgroups, runc.
    pub(crate) host: Host,
    /// The container's lock and exit record.
    pub(crate) claim: Claim,
}

/// Finishes the launch or undoes it, and tells the outcome. A container that runs is watched to
/// its end.
pub(crate) fn launch(
    launch: &Launch<'_>,
    mut record: LaunchRecord,
    layers: Vec<LayerFile>,
    phases: Phases,
    word: &OwnedFd,
) -> ! {
    let outcome = HostNamespace::open().and_then(|outside| {
        // In the private namespace the container's directory is full of mounts.
        match steps(launch, &mut record, layers, phases) {
            Ok(()) => Ok(outside),
            Err(error) => outside.enter().and(Err(error)),
        }
    });
    // Nobody listens when the first process was killed; the container is launched or undone all
    // the same.
    match outcome {
        Ok(outside) => {
            let _unheard = write_all(word, &[0]);
            // Leaving the namespace takes the kernel a while: nobody waits for it here. Should it
            // fail, the container's mounts stay until the monitor's end, a moment after its own.
            let _stays = outside.enter();
            monitor::stay(&launch.claim, &launch.call.caller.identity, &record, &launch.host)
        }
        Err(error) => {
            undo(&launch.host, &launch.request.container_id);
            report::failure(&error);
            let _unheard = write_all(word, &[error.step.exit_code()]);
            sys::end(1)
        }
    }
}

fn steps(
    launch: &Launch<'_>,
    record: &mut LaunchRecord,
    mut layers: Vec<LayerFile>,
    mut phases: Phases,
) -> Result<()> {
    let Launch { call, worker, request, host, claim } = launch;
    let Call { caller, config, account } = call;
    let container = &request.container_id;
    let runtime = &request.oci_runtime_config;
    let own = become_parent().map_err(Step::Spawn.failed("monitor"))?;
    record.monitor = own;
    let mounted = layers::mount_all(&host.run_root, &mut layers)?;
    record.layers = layers.iter().map(|layer| layer.record.clone()).collect();
    phases.done("layers");
    ownership::give_worker_dir(call, &worker.directory)?;
    let output = worker_files::create_output(&account.identity, &worker.artifacts, container)?;
    phases.done("worker directory");
    rootfs::enter_private_namespace()?;
    let view = rootfs::view(config, &host.run_root, container)?;
    let root = rootfs::mount_overlay(&view, &record.layers)?;
    drop(mounted);
    phases.done("root file system");
    image::check_program(&root, runtime)?;
    let kinds = binds::clone_all(&view.container, config, &account.identity, &runtime.mounts)?;
    phases.done("binds");
    mount_points::prepare(&root, runtime, &kinds)?;
    rootfs::make_read_only(&root)?;
    phases.done("mount points");
    let bundle = bundle::write(&view.container, caller, account, request)?;
    phases.done("bundle");
    // Opened anew: runc protects its own program file by a bind mount, which works only where the
    // file was opened, and else copies it whole.
    let runc = Runc::open(config)?;
    runc.run(container, &view.container, &output, &claim.lock)?;
    phases.done("runc");
    let init = find_init(launch, &view.container)?;
    record.init = init.record().map_err(|source| lost(container, source))?;
    let pid = record.init.ok_or_else(|| lost(container, Errno::SRCH))?.pid;
    read_back::check(&init, &account.identity, request, &host.hierarchies, &record.cgroup)?;
    phases.done("read back");
    write_for_people(launch, pid, &bundle);
    phases.done("worker files");
    record.state = LaunchState::Started;
    record.phases = phases.list();
    host.run_root.write_record(record)?;
    monitor::detach_streams()
}

/// Head of a session and heir of the container's processes; returns how this process is recorded.
fn become_parent() -> Result<Option<ProcessRecord>, Errno> {
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    HeldProcess::find(std::process::id())?.ok_or(Errno::SRCH)?.record()
}

/// The container's first process: the one runc names, proven by its cgroup.
fn find_init(launch: &Launch<'_>, directory: &Directory) -> Result<HeldProcess> {
    let container = &launch.request.container_id;
    let cgroup = launch.host.cgroup_of(container);
    let held = match runc::read_pid(directory)? {
        Some(pid) => HeldProcess::find(pid).map_err(|source| lost(container, source))?,
        None => None,
    };
    let held = held.ok_or_else(|| lost(container, Errno::SRCH))?;
    // One that has ended has left its cgroups.
    let ours = held.is_in(&cgroup).map_err(|source| lost(container, source))?;
    let running = held.is_running().map_err(|source| lost(container, source))?;
    if ours || !running {
        return Ok(held);
    }
    Err(Step::RunContainer
        .refused(container.as_str(), "the process that runc names is in another cgroup"))
}

fn lost(container: &ContainerId, source: Errno) -> LauncherError {
    Step::RunContainer.failed(container.as_str())(source)
}

/// The pid file and a copy of the bundle: for people and old tools. No launch fails for them.
fn write_for_people(launch: &Launch<'_>, pid: u32, bundle: &[u8]) {
    let pid_file = launch.request.pid_file.as_str();
    let copy = format!("{}/config.json", launch.worker.directory);
    let user = &launch.call.account.identity;
    let supervisor = &launch.call.caller.identity;
    for outcome in [
        worker_files::write_file(user, pid_file, 0o644, pid.to_string().as_bytes()),
        worker_files::write_file(supervisor, &copy, 0o600, bundle),
    ] {
        if let Err(error) = outcome {
            report::note(&error.to_string());
        }
    }
}

/// Removes what a failed launch made. What cannot be removed is named, and left to the sweep.
pub(crate) fn undo(host: &Host, container: &ContainerId) {
    if let Err(error) = remains::remove(host, container) {
        report::note(&error.to_string());
    }
}
