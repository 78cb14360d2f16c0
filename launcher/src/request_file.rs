//! The launch request: opened with the caller's ids, read once, believed only as far as it
//! agrees with the command line and the configuration.

use storm_oci_request::{HostPath, LaunchRequest};

use crate::Call;
use crate::callers_file;
use crate::error::{Result, Step};
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
    let caller = &caller.identity;
    let file = callers_file::open(caller, caller, path, [Step::Open, Step::Read])?;
    let limit = if without("request-size") { usize::MAX } else { MAX_BYTES };
    let bytes = read_at_most(&file, limit)
        .map_err(Step::Read.failed(path))?
        .ok_or_else(|| Step::Read.refused(path, format!("larger than {MAX_BYTES} bytes")))?;
    let refused = |problem: String| Step::Request.refused(path, problem);
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
        let problem = format!("its worker is {id}, the worker directory is `{}`", worker.directory);
        return Err(refused(problem));
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
