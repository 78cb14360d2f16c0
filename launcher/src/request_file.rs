//! The launch request: opened with the caller's ids, read once, believed only as far as it
//! agrees with the command line and the configuration.

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use storm_oci_request::{HostPath, LaunchRequest};

use crate::Call;
use crate::error::{Result, Step};
use crate::kernel::open_path;
use crate::privilege::{Identity, acting_as};
use crate::switches::without;
use crate::sys_file::read_at_most;

/// Far above any real request.
const MAX_BYTES: usize = 1 << 20;

/// Where the worker's files are, as the caller says.
#[derive(Clone, Debug)]
pub(crate) struct WorkerPaths {
    /// The worker's directory, named by the worker's id.
    pub(crate) directory: HostPath,
    /// The directory that holds it.
    pub(crate) root: HostPath,
    /// Where the container's output goes.
    pub(crate) artifacts: HostPath,
}

/// Reads and checks the request.
///
/// # Errors
///
/// [`Step::Request`] for everything that is wrong with its content.
pub(crate) fn read(call: &Call, path: &HostPath, worker: &WorkerPaths) -> Result<LaunchRequest> {
    let Call { caller, account, .. } = call;
    let bytes = read_as(&caller.identity, path)?;
    let refused = |problem: String| Step::Request.refused(path.as_str(), problem);
    let request = LaunchRequest::parse(&bytes).map_err(|problem| refused(problem.to_string()))?;
    if request.username != account.name && !without("request-user") {
        let problem = format!("the request names `{}`", request.username);
        return Err(Step::Account.refused(&account.name, problem));
    }
    let cgroup = request.check_cgroup(&call.config.cgroup_parent);
    if !without("request-cgroup") {
        cgroup.map_err(|problem| refused(problem.to_string()))?;
    }
    let id = request.container_id.worker_id();
    if worker.directory.components().last() != Some(id.as_str()) && !without("request-worker") {
        return Err(refused(format!(
            "its worker is {id}, the worker directory is `{}`",
            worker.directory
        )));
    }
    for (name, file) in
        [("pidFile", &request.pid_file), ("containerScriptPath", &request.container_script_path)]
    {
        if !file.starts_with(&worker.directory) && !without("request-places") {
            return Err(refused(format!("{name} `{file}` is not in the worker directory")));
        }
    }
    Ok(request)
}

fn read_as(caller: &Identity, path: &HostPath) -> Result<Vec<u8>> {
    let failed = |step: Step| step.failed(path);
    let refused = |problem: String| Step::Read.refused(path.as_str(), problem);
    let (parent, name) = path.as_str().rsplit_once('/').unwrap_or_default();
    let open = || {
        let directory = open_path(parent)?;
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        flags.set(OFlags::NOFOLLOW, !without("request-link"));
        openat(&directory, name, flags, Mode::empty())
    };
    let opened = if without("request-as-caller") { open() } else { acting_as(caller, open)? };
    let file = opened.map_err(failed(Step::Open))?;
    let stat = fstat(&file).map_err(failed(Step::Inspect))?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !regular && !without("request-regular") {
        return Err(refused("not a regular file".to_owned()));
    }
    let owner = stat.st_uid == caller.uid || stat.st_uid == 0 || without("request-owner");
    let mode = stat.st_mode & 0o002 == 0 || without("request-mode");
    if !owner || !mode {
        return Err(refused(format!(
            "owned by uid {} with mode {:04o}; must be the caller's and not writable by others",
            stat.st_uid,
            stat.st_mode & 0o7777
        )));
    }
    let limit = if without("request-size") { usize::MAX } else { MAX_BYTES };
    let bytes = read_at_most(&file, limit).map_err(failed(Step::Read))?;
    bytes.ok_or_else(|| refused(format!("larger than {MAX_BYTES} bytes")))
}
