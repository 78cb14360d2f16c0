//! What was asked for is read back from the kernel: a step that silently did nothing must not
//! leave a container with more rights or more memory than it was given.

use std::time::{Duration, Instant};

use storm_oci_request::{CgroupPath, LaunchRequest, Resources};

use crate::account::Account;
use crate::cgroup::{ControllerFile, Hierarchies};
use crate::error::{LauncherError, Step};
use crate::process::HeldProcess;

/// runc returns a moment before the container's process has loaded its filter and executed.
const LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_micros(500);

/// The mode of a process with a filter.
const SECCOMP_FILTER: &str = "2";

const CAPABILITY_SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

const MEMORY_LIMIT: ControllerFile =
    ControllerFile { controller: "memory", v1: "memory.limit_in_bytes", v2: Some("memory.max") };
const CPU_QUOTA: ControllerFile =
    ControllerFile { controller: "cpu", v1: "cpu.cfs_quota_us", v2: Some("cpu.max") };

/// Checks the container's first process and its cgroup. A process that has ended already has no
/// rights left to check.
///
/// # Errors
///
/// [`Step::RunContainer`] for the process, [`Step::Cgroup`] for a limit.
pub(crate) fn check(
    init: &HeldProcess,
    account: &Account,
    request: &LaunchRequest,
    hierarchies: &Hierarchies,
    cgroup: &CgroupPath,
) -> Result<(), LauncherError> {
    let filtered = request.oci_runtime_config.linux.seccomp.is_some();
    let start = Instant::now();
    loop {
        match rights(init, account, filtered)? {
            None => break,
            Some(problem) if start.elapsed() > LIMIT => {
                return Err(LauncherError::refused(
                    Step::RunContainer,
                    request.container_id.as_str(),
                    problem,
                ));
            }
            Some(_) => std::thread::sleep(PAUSE),
        }
    }
    match &request.oci_runtime_config.linux.resources {
        Some(resources) => limits(resources, hierarchies, cgroup),
        None => Ok(()),
    }
}

/// What is wrong with the process's rights, if anything.
fn rights(
    init: &HeldProcess,
    account: &Account,
    filtered: bool,
) -> Result<Option<String>, LauncherError> {
    let failed = |source| LauncherError::failed(Step::FindProcess, "the container's", source);
    if !init.is_running().map_err(failed)? {
        return Ok(None);
    }
    let Some(status) = init.read("status").map_err(failed)? else {
        return Ok(None);
    };
    let field = |name: &str| {
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim).unwrap_or_default()
    };
    for set in CAPABILITY_SETS {
        if field(set).bytes().any(|digit| digit != b'0') {
            return Ok(Some(format!("its {set} is {}", field(set))));
        }
    }
    if field("NoNewPrivs") != "1" {
        return Ok(Some("no_new_privs is not set".to_owned()));
    }
    if filtered && field("Seccomp") != SECCOMP_FILTER {
        return Ok(Some("its seccomp filter is not loaded".to_owned()));
    }
    let uid = account.identity.uid.to_string();
    if field("Uid").split_ascii_whitespace().any(|id| id != uid) {
        return Ok(Some(format!("it runs as {}", field("Uid"))));
    }
    Ok(None)
}

fn limits(
    resources: &Resources,
    hierarchies: &Hierarchies,
    cgroup: &CgroupPath,
) -> Result<(), LauncherError> {
    let wrong = |what: &str, wanted: i64, found: &str| {
        let found = found.trim();
        let problem = format!("{what} is {found}, not the {wanted} that was asked for");
        Err(LauncherError::refused(Step::Cgroup, cgroup.as_str(), problem))
    };
    let memory = resources.memory.as_ref().and_then(|memory| Some(memory.limit?.get()));
    if let Some(wanted) = memory.filter(|limit| *limit > 0) {
        let found = hierarchies.read(cgroup, &MEMORY_LIMIT).unwrap_or_default();
        let limit: Option<i64> = found.trim().parse().ok();
        // The kernel rounds to whole pages.
        if limit.is_none_or(|limit| limit > wanted || limit.saturating_add(PAGE) < wanted) {
            return wrong("memory limit", wanted, &found);
        }
    }
    let quota = resources.cpu.as_ref().and_then(|cpu| Some(cpu.quota?.get()));
    if let Some(wanted) = quota.filter(|quota| *quota > 0) {
        let found = hierarchies.read(cgroup, &CPU_QUOTA).unwrap_or_default();
        let first = found.split_ascii_whitespace().next();
        if first.and_then(|number| number.parse().ok()) != Some(wanted) {
            return wrong("cpu quota", wanted, &found);
        }
    }
    Ok(())
}

/// The largest page size of the machines Storm runs on.
const PAGE: i64 = 64 << 10;
