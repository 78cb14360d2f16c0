//! `worker` and `profiler`: a script of the supervisor's runs on the host as the user, for
//! supervisors that use no containers.
//!
//! Root's part ends with the irreversible drop. What comes after it, the copy of the script in the
//! user's directory included, is the user's own doing.

use std::ffi::CString;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{fchdir, umask};
use storm_oci_request::HostPath;

use crate::Call;
use crate::account;
use crate::callers_file;
use crate::error::{Result, Step};
use crate::ownership;
use crate::privilege::become_for_good;
use crate::switches::without;
use crate::sys;
use crate::sys_file::read_at_most;
use crate::worker_files::open_directory;

/// The script's copy, under the name that Storm's supervisor looks for.
const COPY: &str = "launch_container.sh";

/// Far above any script that Storm writes.
const MAX_BYTES: usize = 4 << 20;

/// What the user makes is readable for the supervisor's group, and for nobody else.
pub(crate) const UMASK: Mode = Mode::from_bits_retain(0o027);

/// Gives the worker's directory to the user, then becomes its script.
///
/// # Errors
///
/// Whatever was refused or failed; there is no other way to return.
pub(crate) fn worker(call: &Call, dir: &HostPath, script: &HostPath) -> Result<()> {
    let give = || ownership::give_worker_dir(call, dir);
    become_script(call, dir, script, give)
}

/// Becomes a profiler's script, in a directory that is the user's already.
///
/// # Errors
///
/// As [`worker`].
pub(crate) fn profiler(call: &Call, dir: &HostPath, script: &HostPath) -> Result<()> {
    become_script(call, dir, script, || Ok(()))
}

fn become_script(
    call: &Call,
    dir: &HostPath,
    script: &HostPath,
    prepare: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if !call.config.host_commands && !without("host-commands") {
        let problem = "worker.launcher.host-commands is false: nothing runs outside containers";
        return Err(Step::Execute.refused(script.as_str(), problem));
    }
    account::permitted_to_run(call)?;
    let failed = Step::Script.failed(script.as_str());
    let file = callers_file::open(
        &call.caller.identity,
        &call.caller.identity,
        script,
        [Step::Script; 2],
    )?;
    prepare()?;
    call.caller.give_back()?;
    become_for_good(&call.account.identity)?;
    let text = read_at_most(&file, MAX_BYTES).map_err(failed)?;
    let text = text.ok_or_else(|| failed(Errno::FBIG))?;
    let directory = open_directory(dir.as_str())?;
    directory.create_with(COPY, 0o700, &text)?;
    umask(UMASK);
    let copy = directory.path_of(COPY);
    let refused = Step::Execute.failed(copy.as_str());
    fchdir(&directory).map_err(refused)?;
    let program = CString::new(copy.as_str()).map_err(|_| refused(Errno::INVAL))?;
    Err(refused(sys::become_program(&directory, &program, &[&program], &call.caller.environment)))
}
