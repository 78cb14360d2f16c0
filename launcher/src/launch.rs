//! The launch itself, by the process that stays with the container: root file system, binds,
//! bundle, runc, record, in a mount namespace of their own; then it is the monitor.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{getpid, set_child_subreaper, setsid};
use storm_oci_request::{
    CgroupPath, ContainerId, LaunchRecord, LaunchRequest, LaunchState, ProcessRecord,
};

use crate::Call;
use crate::container::{Claim, Host};
use crate::directory::Directory;
use crate::error::{At, Result, Step, must};
use crate::kernel::make_read_only;
use crate::layer_file::LayerFile;
use crate::phases::Phases;
use crate::process::HeldProcess;
use crate::request_file::WorkerPaths;
use crate::runc::{self, Runc};
use crate::sys_file::write_all;
use crate::worker_files::write_for_people;
use crate::{
    binds, bundle, image, layers, monitor, ownership, read_back, report, rootfs, sys, worker_files,
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
    /// What the container's record says, so far.
    pub(crate) record: LaunchRecord,
    /// The image's layers.
    pub(crate) layers: Vec<LayerFile>,
    /// How long each step took.
    pub(crate) phases: Phases,
}

/// Finishes the launch or undoes it, and tells the outcome. A container that runs is watched to
/// its end.
pub(crate) fn launch(launch: &mut Launch<'_>, word: &OwnedFd) -> ! {
    let outcome = rootfs::own_namespace().and_then(|outside| {
        // In the private namespace the container's directory is full of mounts.
        match steps(launch) {
            Ok(()) => Ok(outside),
            Err(error) => rootfs::enter_namespace(&outside).and(Err(error)),
        }
    });
    // Nobody listens when the first process was killed; the container is launched or undone all
    // the same.
    match outcome {
        Ok(outside) => {
            let _unheard = write_all(word, &[0]);
            // Leaving the namespace takes the kernel a while: nobody waits for it here. Should it
            // fail, the container's mounts stay until the monitor's end, a moment after its own.
            let _stays = rootfs::enter_namespace(&outside);
            monitor::stay(&launch.claim, &launch.call.caller.identity, &launch.record, &launch.host)
        }
        Err(error) => {
            launch.host.undo(&launch.request.container_id);
            report::failure(&error);
            let _unheard = write_all(word, &[error.step.exit_code()]);
            sys::end(1)
        }
    }
}

fn steps(launch: &mut Launch<'_>) -> Result<()> {
    let Launch { call, worker, request, host, claim, record, layers, phases } = launch;
    let Call { caller, config, account } = call;
    let container = &request.container_id;
    let runtime = &request.oci_runtime_config;
    record.monitor = become_parent().at(Step::Spawn, "monitor")?;
    let mounted = layers::mount_all(&host.run_root.layers, layers)?;
    record.layers = layers.iter().map(|layer| layer.record.clone()).collect();
    phases.end("layers");
    ownership::give_worker_dir(call, &worker.directory)?;
    let output = worker_files::create_output(&account.identity, &worker.artifacts, container)?;
    phases.end("worker directory");
    let view = rootfs::enter_private_namespace(config, &host.run_root, container)?;
    let root = rootfs::mount_overlay(&view, &record.layers)?;
    drop(mounted);
    phases.end("root file system");
    image::check_program(&root, runtime)?;
    let kinds = binds::clone_all(&view.container, call, &runtime.mounts)?;
    if request.init {
        binds::clone_init(&view.container, config, kinds.len())?;
    }
    phases.end("binds");
    image::prepare(&root, runtime, &kinds)?;
    make_read_only(&root).at(Step::Mount, "root file system")?;
    phases.end("mount points");
    let bundle = bundle::write(&view.container, call, request)?;
    phases.end("bundle");
    // Opened anew: runc protects its own program file by a bind mount, which works only where the
    // file was opened, and else copies it whole.
    let runc = Runc::open(config)?;
    runc.run(container, &view.container, &output, &claim.lock)?;
    phases.end("runc");
    let init = find_init(&view.container, container, &record.cgroup)?;
    record.init = init.record().at(Step::RunContainer, container)?;
    let pid = record.init.ok_or(Errno::SRCH).at(Step::RunContainer, container)?.pid;
    read_back::check(&init, &account.identity, request, &host.hierarchies, &record.cgroup)?;
    phases.end("read back");
    let (pid_file, copy) = (request.pid_file.as_str(), format!("{}/config.json", worker.directory));
    write_for_people(&account.identity, pid_file, 0o644, pid.to_string().as_bytes());
    write_for_people(&caller.identity, &copy, 0o600, &bundle);
    phases.end("worker files");
    record.state = LaunchState::Started;
    record.phases = phases.done.clone();
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
fn find_init(
    directory: &Directory,
    container: &ContainerId,
    cgroup: &CgroupPath,
) -> Result<HeldProcess> {
    let pid = runc::read_pid(directory)?;
    let held = pid.map(HeldProcess::find).transpose().at(Step::RunContainer, container)?.flatten();
    let held = held.ok_or(Errno::SRCH).at(Step::RunContainer, container)?;
    // One that has ended has left its cgroups.
    let ours = held.is_in(cgroup).and_then(|inside| Ok(inside || !held.is_running()?));
    let problem = "the process that runc names is in another cgroup";
    must(ours.at(Step::RunContainer, container)?, Step::RunContainer, container, problem)?;
    Ok(held)
}
