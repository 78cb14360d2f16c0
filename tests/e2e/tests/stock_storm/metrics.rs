//! What a worker reports of its cgroup, by Storm's own reporter.

use std::collections::BTreeMap;
use std::time::Duration;

use storm_oci_e2e::container::Container;
use storm_oci_e2e::storm_conf::CPU_PERCENT;
use storm_oci_e2e::verdicts::{holds, same};
use storm_oci_e2e::{E2eError, cgroups, files, interrupt};

/// Storm's console reporter prints every few seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// Every gauge, whatever the host's cgroups.
const NAMES: [&str; 10] = [
    "CGroupCpu.sys-ms",
    "CGroupCpu.user-ms",
    "CGroupCpuGuarantee",
    "CGroupCpuGuaranteeByCfsQuota",
    "CGroupCpuStat.nr.period-count",
    "CGroupCpuStat.nr.throttled-count",
    "CGroupCpuStat.nr.throttled-percentage",
    "CGroupCpuStat.throttled.time-ms",
    "CGroupMemoryLimit",
    "CGroupMemoryUsage",
];

/// The worker's own figures are those of its cgroup.
pub(crate) fn are_the_cgroups(container: &Container) -> Result<(), E2eError> {
    let output = container.worker.join("artifacts/worker.log");
    let mut gauges = BTreeMap::new();
    interrupt::poll(LIMIT, || {
        gauges = read(&files::read(&output).unwrap_or_default());
        Ok((gauges.len() == NAMES.len()).then_some(()))
    })?;
    let found: Vec<&str> = gauges.keys().map(String::as_str).collect();
    same("every gauge has a value", found, NAMES.to_vec())?;
    let value = |name: &str| gauges.get(name).copied().unwrap_or_default();
    let limits = cgroups::limits(&container.cgroup())?;
    let limit = u64::try_from(value("CGroupMemoryLimit")).ok();
    same("the memory limit is the cgroup's", limit, limits.memory_bytes)?;
    let quota = value("CGroupCpuGuaranteeByCfsQuota");
    same("the processor quota is the configured one", quota, i64::from(CPU_PERCENT))?;
    // Two JVMs take more than this to start, and cannot have more than the limit.
    let usage = value("CGroupMemoryUsage");
    let sane = (20 << 20..=value("CGroupMemoryLimit")).contains(&usage);
    holds("the memory usage is a worker's", sane, usage)?;
    let cpu = value("CGroupCpu.user-ms");
    holds("the processor time is a worker's", cpu > 0, cpu)
}

/// The last value of each gauge: its name's line ends with it, the value is in the next one.
fn read(output: &str) -> BTreeMap<String, i64> {
    let lines: Vec<&str> = output.lines().collect();
    let pairs = lines.iter().zip(lines.iter().skip(1));
    pairs
        .filter_map(|(name, value)| {
            let start = name.rfind("-CGroup")?.checked_add(1)?;
            let value = value.rsplit_once("value = ")?.1;
            Some((name.get(start..)?.trim().to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}
