//! The process that a verb names by its pid.
//!
//! A pid is only a number that the supervisor remembered. The process is held by descriptor
//! before it is looked at; when it is the first of a container, the record must say that the
//! container is this caller's and this user's.

use rustix::io::Errno;
use storm_oci_request::LaunchRecord;

use crate::Call;
use crate::error::{Result, Step};
use crate::process::HeldProcess;
use crate::run_root::RunRoot;
use crate::switches::without;

/// A process that stays the same one, and the container whose first process it is, if any.
#[derive(Debug)]
pub(crate) struct Target {
    /// The process.
    pub(crate) held: HeldProcess,
    /// The container's record.
    pub(crate) record: Option<LaunchRecord>,
}

/// Takes hold of a process; `None` when there is none of that number.
///
/// # Errors
///
/// `step`, for the first process of a container of another caller or user;
/// [`Step::FindProcess`] for one that has ended.
pub(crate) fn find(call: &Call, pid: u32, step: Step) -> Result<Option<Target>> {
    let failed = Step::FindProcess.failed(pid);
    let Some(held) = HeldProcess::find(pid).map_err(failed)? else {
        return Ok(None);
    };
    let record = RunRoot::open(&call.config)?.record_of_init(pid)?;
    let now = held.record().map_err(failed)?;
    // With another start time the container has ended, and the number is another's now.
    let record = record.filter(|record| record.init == now || without("record-start-time"));
    if let Some(record) = &record {
        let problem = objection(call, record, &held).map_err(failed)?;
        if let Some(problem) = problem {
            let object = format!("{pid} of container {}", record.container_id);
            return Err(step.refused(object, problem));
        }
        if !held.is_running().map_err(failed)? {
            return Err(failed(Errno::SRCH));
        }
    }
    Ok(Some(Target { held, record }))
}

fn objection(
    call: &Call,
    record: &LaunchRecord,
    held: &HeldProcess,
) -> Result<Option<String>, Errno> {
    let (caller, owner) = (call.caller.identity.uid, record.caller.uid);
    if caller != 0 && caller != owner && !without("record-caller") {
        return Ok(Some(format!("it belongs to the supervisor of uid {owner}")));
    }
    if call.account.identity.uid != record.uid && !without("record-user") {
        return Ok(Some(format!("it runs as `{}`", record.user)));
    }
    // One that has ended has left its cgroups.
    if held.is_running()? && !held.is_in(&record.cgroup)? && !without("record-cgroup") {
        return Ok(Some("it is not in the container's cgroup".to_owned()));
    }
    Ok(None)
}
