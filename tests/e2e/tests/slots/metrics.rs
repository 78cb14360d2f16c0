//! What a worker reports of its own cgroup, from within its container.

use std::collections::BTreeMap;
use std::time::Duration;

use storm_oci_e2e::verdicts::{holds, same};
use storm_oci_e2e::{E2eError, Node, Slots, cgroups, files, interrupt, node, storm_conf};

use crate::lives::{PORT, clean_up, launch};

/// Workers of [`node::JAVA_IMAGE`] that write down their metrics.
const TELLS: &str = "tells-5-1700000000";

const PROGRAM: &str = "org.apache.storm.container.oci.slots.WorkerMetricsProgram";

/// The start of a JVM, minutes under emulation.
const LIMIT: Duration = Duration::from_secs(600);

/// Compares what is told with what the cgroup has.
pub(crate) fn check(node: &Node, slots: &mut Slots) -> Result<(), E2eError> {
    let classes = storm_conf::worker_metrics().map(|(_, class)| class).join(" ");
    let java = "/usr/bin/java -Xmx48m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData";
    let work = format!(
        "{java} -cp '{}' {PROGRAM} tmp/metrics {classes} && exec sleep 100000",
        node::worker_class_path(&node.layout)
    );
    slots.localize(TELLS, node::JAVA_IMAGE, &work)?;
    let container = launch(slots, TELLS)?;
    let worker = container.split_once('-').map_or("", |(_, worker)| worker);
    let told = node.layout.workers().join(worker).join("tmp/metrics");
    let told = interrupt::poll(LIMIT, || told.exists().then(|| files::read(&told)).transpose())?;
    let limits = cgroups::limits(&format!("{}/{container}", node.layout.cgroup_parent()))?;
    slots.ask(&format!("force-kill {PORT}"))?;
    clean_up(slots)?;

    let told = told.unwrap_or_default();
    let values: BTreeMap<&str, i64> = told
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect();
    let value = |name: &str| values.get(name).copied();
    let limit = limits.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok());
    same("the limit is the cgroup's", value("CGroupMemoryLimit"), limit)?;
    let quota = Some(i64::from(storm_conf::CPU_PERCENT));
    same("the quota is the cgroup's", value("CGroupCpuGuaranteeByCfsQuota"), quota)?;
    let usage = value("CGroupMemoryUsage");
    holds("it uses memory, within the limit", usage > Some(1 << 20) && usage < limit, &told)?;
    holds("it has used a processor", value("CGroupCpu.user-ms") > Some(0), &told)
}
