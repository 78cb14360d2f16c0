//! What was asked for is read back from the kernel: a step that silently did nothing must not
//! leave a container with more rights or more memory than it was given.

use std::time::{Duration, Instant};

use storm_oci_request::{CgroupPath, LaunchRequest, Resources};

use crate::cgroup::{ControllerFile, Hierarchies};
use crate::error::{At, Result, Step, must};
use crate::privilege::Identity;
use crate::process::HeldProcess;
use crate::switches::without;

/// runc returns a moment before the container's process has loaded its filter and executed.
const LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_micros(500);

/// The mode of a process with a filter.
const SECCOMP_FILTER: &str = "2";

const CAPABILITY_SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

const MEMORY_LIMIT: ControllerFile =
    ControllerFile { controller: "memory", v1: "memory.limit_in_bytes", v2: "memory.max" };
const CPU_QUOTA: ControllerFile =
    ControllerFile { controller: "cpu", v1: "cpu.cfs_quota_us", v2: "cpu.max" };
const CPU_PERIOD: ControllerFile =
    ControllerFile { controller: "cpu", v1: "cpu.cfs_period_us", v2: "cpu.max" };

/// The largest page size of the machines Storm runs on.
const PAGE: i64 = 64 << 10;

/// Checks the container's first process and its cgroup. A process that has ended already has no
/// rights left to check.
///
/// # Errors
///
/// [`Step::RunContainer`] for the process, [`Step::Cgroup`] for a limit.
pub(crate) fn check(
    init: &HeldProcess,
    user: &Identity,
    request: &LaunchRequest,
    hierarchies: &Hierarchies,
    cgroup: &CgroupPath,
) -> Result<()> {
    let filtered = request.oci_runtime_config.linux.seccomp.is_some();
    let start = Instant::now();
    while let Some(problem) = rights(init, user, filtered)? {
        if start.elapsed() > LIMIT {
            return Err(Step::RunContainer.refused(&request.container_id, problem));
        }
        std::thread::sleep(PAUSE);
    }
    let resources = request.oci_runtime_config.linux.resources.as_ref();
    let problem = resources.and_then(|resources| limits(resources, hierarchies, cgroup));
    let as_asked = problem.is_none() || without("container-limits");
    must(as_asked, Step::Cgroup, cgroup, problem.unwrap_or_default())
}

/// What is wrong with the process's rights, if anything.
fn rights(init: &HeldProcess, user: &Identity, filtered: bool) -> Result<Option<String>> {
    let running = init.is_running().at(Step::FindProcess, "the container's")?;
    let status = init.read("status").at(Step::FindProcess, "the container's")?;
    let Some(status) = status.filter(|_| running) else {
        return Ok(None);
    };
    let field = |name: &str| {
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim).unwrap_or_default()
    };
    let has_only = |name: &str, ids: &[u32]| {
        let mut found = field(name).split_ascii_whitespace();
        found.all(|id| id.parse().is_ok_and(|id| ids.contains(&id)))
    };
    let own_ids = has_only("Uid", &[user.uid])
        && has_only("Gid", &[user.gid])
        && has_only("Groups", &user.groups);
    let powers = |set: &&str| field(set).bytes().any(|digit| digit != b'0');
    Ok(if !own_ids && !without("container-ids") {
        let (uid, gid, groups) = (field("Uid"), field("Gid"), field("Groups"));
        Some(format!("it has the ids {uid}, {gid} and the groups {groups}"))
    } else if let Some(set) = CAPABILITY_SETS.into_iter().find(powers)
        && !without("container-capabilities")
    {
        Some(format!("its {set} is {}", field(set)))
    } else if field("NoNewPrivs") != "1" && !without("container-no-new-privs") {
        Some("no_new_privs is not set".to_owned())
    } else if filtered && field("Seccomp") != SECCOMP_FILTER && !without("container-seccomp") {
        Some("its seccomp filter is not loaded".to_owned())
    } else {
        None
    })
}

/// What is wrong with the cgroup's limits, if anything.
fn limits(resources: &Resources, hierarchies: &Hierarchies, cgroup: &CgroupPath) -> Option<String> {
    let cpu = resources.cpu.as_ref();
    let memory = resources.memory.as_ref().and_then(|memory| Some(memory.limit?.get()));
    let quota = cpu.and_then(|cpu| Some(cpu.quota?.get()));
    let period = cpu.and_then(|cpu| Some(cpu.period?.get()));
    // Of v2's two numbers in one file the period is the last. The kernel rounds bytes to pages.
    for (what, file, wanted, last, rounded) in [
        ("memory limit", MEMORY_LIMIT, memory, false, PAGE),
        ("processor quota", CPU_QUOTA, quota, false, 0),
        ("processor period", CPU_PERIOD, period, true, 0),
    ] {
        let Some(wanted) = wanted.filter(|wanted| *wanted > 0) else {
            continue;
        };
        let text = hierarchies.read(cgroup, &file).unwrap_or_default();
        let mut words = text.split_ascii_whitespace();
        let word = if last { words.next_back() } else { words.next() };
        let found: Option<i64> = word.and_then(|word| word.parse().ok());
        if found.is_none_or(|found| found > wanted || found < wanted.saturating_sub(rounded)) {
            let found = text.trim();
            return Some(format!("{what} is `{found}`, not the {wanted} that was asked for"));
        }
    }
    None
}
