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

use crate::directory::Directory;
use crate::error::{Result, Step, must};
use crate::privilege::become_for_good;
use crate::switches::without;
use crate::sys_file::read_whole;
use crate::{Call, account, ownership, sys, worker_files};

/// The script's copy, under the name that Storm's supervisor looks for.
const COPY: &str = "launch_container.sh";

/// Far above any script that Storm writes.
const MAX_BYTES: usize = 4 << 20;

/// What the user makes is readable for the supervisor's group, and for nobody else.
pub(crate) const UMASK: Mode = Mode::from_bits_retain(0o027);

/// Becomes the script, in the user's directory; `worker`'s is given to him first, `profiler`'s is
/// his already.
///
/// # Errors
///
/// Whatever was refused or failed; there is no other way to return.
pub(crate) fn run(call: &Call, verb: &str, dir: &HostPath, script: &HostPath) -> Result<()> {
    let allowed = call.config.host_commands || without("host-commands");
    let problem = "worker.launcher.host-commands is false: nothing runs outside containers";
    must(allowed, Step::Execute, script, problem)?;
    account::permitted_to_run(call)?;
    let caller = &call.caller.identity;
    let file = worker_files::open_callers(caller, caller, script, [Step::Script; 2])?;
    if verb == "worker" {
        ownership::give_worker_dir(call, dir)?;
    }
    call.caller.give_back()?;
    become_for_good(&call.account.identity)?;
    // From here on the user's rights, and his responsibility.
    let text = read_whole(&file, MAX_BYTES, Step::Script, script)?;
    let directory = Directory::reached(dir.as_str())?;
    directory.create_with(COPY, 0o700, &text)?;
    umask(UMASK);
    let copy = directory.path_of(COPY);
    let failed = Step::Execute.failed(&copy);
    fchdir(&directory).map_err(failed)?;
    let program = CString::new(copy.as_str()).map_err(|_| failed(Errno::INVAL))?;
    Err(failed(sys::become_program(&directory, &program, &[&program], &call.caller.environment)))
}
