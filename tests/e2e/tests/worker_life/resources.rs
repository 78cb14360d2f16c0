//! What a worker may use: Storm's own watch over memory, and the processors of a NUMA zone.

use serde_json::json;
use storm_oci_e2e::commanded::{self, Worker};
use storm_oci_e2e::container::Container;
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::supervisor_log::{length, said};
use storm_oci_e2e::verdicts::{Verdicts, holds, same};
use storm_oci_e2e::{E2eError, Layout, Testbed, cgroups, topology};

use crate::measured;
use crate::restart;
use crate::timing::{Comeback, successor};

const NAME: &str = "takes-memory";

/// More than Storm grants: 128 MiB for its one executor, and as much beside.
const COMMAND: &str = "hold 400";

/// A limit of the JVM's own would come first.
const OPTIONS: &str = "-XX:MaxDirectMemorySize=1g";

/// The zone's only processor.
const PROCESSOR: u32 = 0;

/// Without limits of the kernel, and with one NUMA zone that has all slots.
pub(crate) fn run(
    testbed: &mut Testbed,
    settings: &Settings,
    verdicts: &mut Verdicts,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let user = testbed.user.clone();
    let ports = testbed.cluster.as_ref().ok_or(E2eError::Interrupted)?.slots();
    let zone = json!({
        "numa.cores": [PROCESSOR], "numa.memory.mb": 12_288, "numa.ports": ports,
    });
    let mut watched = settings.clone();
    watched.more.extend([
        ("storm.cgroup.memory.enforcement.enable", json!(false)),
        ("storm.supervisor.hard.memory.limit.multiplier", json!(1.1)),
        ("storm.supervisor.hard.memory.limit.overage.mb", json!(0)),
        ("supervisor.numa.meta", json!({ "0": zone })),
    ]);
    restart(testbed, &watched)?;
    let conf = json!({ "topology.worker.childopts": OPTIONS });
    commanded::submit(&layout, &user, &[(NAME, conf)])?;
    let worker = commanded::works(&layout, NAME, None)?;
    let container = Container::of(&layout, NAME)?;
    verdicts.check("a_numa_zone_pins_a_worker", pinned(&container));
    verdicts.check("storm_ends_a_worker_for_its_memory", ended(&layout, &worker, &container));
    topology::kill(&layout, &user, &[NAME])?;
    restart(testbed, settings)
}

fn pinned(container: &Container) -> Result<(), E2eError> {
    let request = container.request()?;
    let cpu = request.pointer("/ociRuntimeConfig/linux/resources/cpu");
    let asked = |key: &str| cpu.and_then(|cpu| cpu.get(key)).and_then(|list| list.as_str());
    let processor = PROCESSOR.to_string();
    same("the zone's processor is asked for", asked("cpus"), Some(processor.as_str()))?;
    same("the zone's memory is asked for", asked("mems"), Some("0"))?;
    let found = cgroups::processors(&container.cgroup())?;
    same("the worker runs on the zone's processor", found, Some(processor))
}

/// It is Storm that sees the usage and asks for the end: the kernel has no limit to enforce.
fn ended(layout: &Layout, worker: &Worker, container: &Container) -> Result<(), E2eError> {
    let limits = cgroups::limits(&container.cgroup())?;
    let unlimited = limits.memory_bytes.is_none_or(|bytes| bytes > 1 << 40);
    holds("the kernel does not limit the memory", unlimited, format!("{limits:?}"))?;
    let start = length(layout)?;
    worker.tell(COMMAND)?;
    let words = ["WORKER", worker.id.as_str(), "is using", "hard limit"].map(str::to_owned);
    let line = said(layout, start, &words)?;
    measured(NAME, line.split_once("is using").map_or("", |(_, rest)| rest));
    let note = worker.end(layout)?;
    same("Storm asked for it", note.requested, true)?;
    same("the kernel killed nobody", note.out_of_memory.kills, Some(0))?;
    let (_, next) = successor(layout, NAME, worker)?;
    measured(NAME, Comeback::of(&note, &next));
    Ok(())
}
