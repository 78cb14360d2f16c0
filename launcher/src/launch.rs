//! The second half of a launch, in a mount namespace of its own: root file system, binds, bundle,
//! runc, record.

use rustix::fd::OwnedFd;
use storm_oci_request::{ContainerId, LaunchRecord, LaunchRequest, LaunchState};

use crate::account::Account;
use crate::claim::Claim;
use crate::config::Config;
use crate::error::{LauncherError, Step};
use crate::host::Host;
use crate::layers::LayersLock;
use crate::monitor;
use crate::phases::Phases;
use crate::process::HeldProcess;
use crate::remains::Remains;
use crate::request_file::WorkerPaths;
use crate::runc::{self, Runc};
use crate::sanitize::CallerProcess;
use crate::sys_file::write_all;
use crate::worker_files::{self, OutputFiles};
use crate::{binds, bundle, image, mount_points, read_back, report, rootfs, sys};

/// What a launch has from its first half.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch<'a> {
    /// Who asked.
    pub(crate) caller: &'a CallerProcess,
    /// Root's configuration.
    pub(crate) config: &'a Config,
    /// The account to run as.
    pub(crate) account: &'a Account,
    /// The worker's directories.
    pub(crate) worker: &'a WorkerPaths,
    /// The request.
    pub(crate) request: &'a LaunchRequest,
    /// Run root, cgroups, runc.
    pub(crate) host: &'a Host,
    /// The container's lock and exit record.
    pub(crate) claim: &'a Claim,
}

/// What [`finish`] works with besides the launch: made by the first half, for this process only.
#[derive(Debug)]
pub(crate) struct Means<'a> {
    /// The layers' mounts, kept.
    pub(crate) layers: &'a LayersLock,
    /// The container's standard streams.
    pub(crate) output: &'a OutputFiles,
    /// The line to the monitor.
    pub(crate) line: &'a OwnedFd,
    /// Where the exit code goes.
    pub(crate) word: &'a OwnedFd,
}

/// Finishes the launch or undoes it, tells the outcome and ends this process.
pub(crate) fn finish(
    launch: &Launch<'_>,
    record: LaunchRecord,
    phases: Phases,
    means: &Means<'_>,
) -> ! {
    let code = match attempt(launch, record, phases, means) {
        Ok(()) => 0,
        Err(error) => {
            report::failure(&error);
            error.exit_code()
        }
    };
    // Nobody listens when the first process was killed; the container is launched or undone all
    // the same.
    let _unheard = write_all(means.word, &[code]);
    sys::end(i32::from(code))
}

fn attempt(
    launch: &Launch<'_>,
    record: LaunchRecord,
    phases: Phases,
    means: &Means<'_>,
) -> Result<(), LauncherError> {
    let container = &launch.request.container_id;
    let outside =
        rootfs::enter_private_namespace().inspect_err(|_| undo(launch.host, container))?;
    // In the private namespace the container's directory is full of mounts.
    steps(launch, record, phases, means).inspect_err(|_| match outside.enter() {
        Ok(()) => undo(launch.host, container),
        Err(also) => report::note(&also.to_string()),
    })
}

fn steps(
    launch: &Launch<'_>,
    mut record: LaunchRecord,
    mut phases: Phases,
    means: &Means<'_>,
) -> Result<(), LauncherError> {
    let Launch { caller, config, account, request, host, .. } = *launch;
    let container = &request.container_id;
    let runtime = &request.oci_runtime_config;
    let cgroup = host.cgroup_of(container);
    let view = rootfs::view(config, &host.run_root, container)?;
    let root = rootfs::mount_overlay(&view, &record.layers)?;
    means.layers.release()?;
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
    let runc = Runc::open(&config.runc)?;
    runc.run(container, &view.container, means.output, &launch.claim.lock)?;
    phases.done("runc");
    let init = find_init(launch, &view.container)?;
    record.init = init.record().map_err(|source| lost(container, source))?;
    let Some(pid) = record.init.map(|init| init.pid) else {
        return Err(lost(container, rustix::io::Errno::SRCH));
    };
    monitor::announce(means.line, pid, &host.hierarchies, &cgroup)?;
    read_back::check(&init, account, request, &host.hierarchies, &cgroup)?;
    phases.done("read back");
    write_for_people(launch, pid, &bundle);
    phases.done("worker files");
    record.state = LaunchState::Started;
    record.phases = phases.list();
    host.records().write(&record)
}

/// The container's first process: the one runc names, proven by its cgroup.
fn find_init(
    launch: &Launch<'_>,
    directory: &crate::directory::Directory,
) -> Result<HeldProcess, LauncherError> {
    let container = &launch.request.container_id;
    let cgroup = launch.host.cgroup_of(container);
    let held = match runc::read_pid(directory)? {
        Some(pid) => HeldProcess::find(pid).map_err(|source| lost(container, source))?,
        None => None,
    };
    let held = held.ok_or_else(|| lost(container, rustix::io::Errno::SRCH))?;
    // One that has ended has left its cgroups.
    let ours = held.is_in(&cgroup).map_err(|source| lost(container, source))?;
    let running = held.is_running().map_err(|source| lost(container, source))?;
    if ours || !running {
        return Ok(held);
    }
    Err(LauncherError::refused(
        Step::RunContainer,
        container.as_str(),
        "the process that runc names is in another cgroup",
    ))
}

fn lost(container: &ContainerId, source: rustix::io::Errno) -> LauncherError {
    LauncherError::failed(Step::RunContainer, container.as_str(), source)
}

/// The pid file and a copy of the bundle: for people and old tools. No launch fails for them.
fn write_for_people(launch: &Launch<'_>, pid: u32, bundle: &[u8]) {
    let pid_file = launch.request.pid_file.as_str();
    let copy = format!("{}/config.json", launch.worker.directory);
    let user = &launch.account.identity;
    let supervisor = &launch.caller.identity;
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
    let removed = host
        .records()
        .read(container)
        .and_then(|record| Remains::claimed(container.clone(), record).remove(host));
    if let Err(error) = removed {
        report::note(&error.to_string());
    }
}
