//! The launch request: opened with the caller's ids, read once, believed only as far as it
//! agrees with the command line and the configuration.

use storm_oci_request::{HostPath, LaunchRequest};

use crate::Call;
use crate::error::{Result, Step, must};
use crate::switches::without;
use crate::sys_file::read_whole;
use crate::worker_files;

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
    let Call { caller, account, config } = call;
    let caller = &caller.identity;
    let file = worker_files::open_callers(caller, caller, path, [Step::Open, Step::Read])?;
    let limit = if without("request-size") { usize::MAX } else { MAX_BYTES };
    let bytes = read_whole(&file, limit, Step::Read, path)?;
    let refused = |problem| Step::Request.refused(path, problem);
    let request = LaunchRequest::parse(&bytes).map_err(refused)?;
    let same = request.username == account.name || without("request-user");
    let problem = format_args!("the request names `{}`", request.username);
    must(same, Step::Account, &account.name, problem)?;
    let cgroup = request.check_cgroup(&config.cgroup_parent);
    cgroup.or_else(
        |problem| if without("request-cgroup") { Ok(()) } else { Err(refused(problem)) },
    )?;
    let (id, directory) = (request.container_id.worker_id(), &worker.directory);
    let same = directory.components().last() == Some(id.as_str()) || without("request-worker");
    let problem = format_args!("its worker is {id}, the worker directory is `{directory}`");
    must(same, Step::Request, path, problem)?;
    for (name, file) in
        [("pidFile", &request.pid_file), ("containerScriptPath", &request.container_script_path)]
    {
        let inside = file.starts_with(directory) || without("request-places");
        let problem = format_args!("{name} `{file}` is not in the worker directory");
        must(inside, Step::Request, path, problem)?;
    }
    Ok(request)
}
