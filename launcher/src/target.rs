//! The process that a verb names by its pid.
//!
//! A pid is only a number that the supervisor remembered. The process is held by descriptor
//! before it is looked at; when it is the first of a container, the record must say that the
//! container is this caller's and this user's.

use rustix::io::Errno;
use storm_oci_request::{ContainerId, LaunchRecord};

use crate::Call;
use crate::error::{At, Result, Step, must};
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
    let Call { caller, config, account } = call;
    let Some(held) = HeldProcess::find(pid).at(Step::FindProcess, pid)? else {
        return Ok(None);
    };
    let run_root = RunRoot::open(config)?;
    let now = held.record().at(Step::FindProcess, pid)?;
    // With another start time the container has ended, and the number is another's now.
    let is_it = |record: &LaunchRecord| {
        record.init.is_some_and(|init| init.pid == pid)
            && (record.init == now || without("record-start-time"))
    };
    // A record can vanish meanwhile; one of a later version is not ours to act on.
    let read = |container: &ContainerId| run_root.read_record(container).ok().flatten();
    let record = run_root.containers()?.iter().filter_map(read).find(is_it);
    if let Some(record) = &record {
        let object = format!("{pid} of container {}", record.container_id);
        let (asks, owner) = (caller.identity.uid, record.caller.uid);
        let own = asks == 0 || asks == owner || without("record-caller");
        let problem = format_args!("it belongs to the supervisor of uid {owner}");
        must(own, step, &object, problem)?;
        let users = account.identity.uid == record.uid || without("record-user");
        must(users, step, &object, format_args!("it runs as `{}`", record.user))?;
        // One that has ended has left its cgroups.
        let ended = !held.is_running().at(Step::FindProcess, pid)?;
        let inside = ended || held.is_in(&record.cgroup).at(Step::FindProcess, pid)?;
        let problem = "it is not in the container's cgroup";
        must(inside || without("record-cgroup"), step, &object, problem)?;
        must(!ended, Step::FindProcess, pid, Errno::SRCH)?;
    }
    Ok(Some(Target { held, record }))
}
