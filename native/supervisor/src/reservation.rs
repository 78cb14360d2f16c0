//! What the scheduler grants a worker, until it is launched.

use storm_oci_request::{
    Bounded, ByteCount, Cpu, CpuList, FileSwitch, Memory, Pids, Resources, Unified,
};
use tracing::warn;

use crate::config::{Settings, WorkerLimits};
use crate::documents::ReserveDocument;

/// The period of the processor quota, in microseconds: Storm's and the kernel's default.
const PERIOD_MICROS: i64 = 100_000;

/// Microseconds of processor time a period for one percent of a core.
const MICROS_PER_PERCENT: i64 = 1000;

/// Bytes of a MiB.
const MIB: i64 = 1024 * 1024;

/// The limits of one worker.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reservation {
    quota: Option<i64>,
    memory_bytes: Option<i64>,
    /// Processors and memory nodes of a NUMA zone.
    zone: Option<(CpuList, CpuList)>,
}

impl Reservation {
    /// What the scheduler asks for, as far as the configuration lets it.
    pub(crate) fn new(settings: &Settings, document: &ReserveDocument) -> Self {
        let limits = &settings.limits;
        let limit = limits.cpu_percent.and_then(|cpu| i64::try_from(cpu).ok());
        let memory = document.memory_mb.filter(|_| limits.enforce_memory);
        Self {
            quota: limit
                .or(document.cpu)
                .filter(|cpu| *cpu > 0)
                .map(|cpu| cpu.saturating_mul(MICROS_PER_PERCENT)),
            memory_bytes: memory
                .filter(|memory| *memory > 0)
                .map(|memory| memory.saturating_mul(MIB)),
            zone: document.numa_id.as_deref().and_then(|id| zone(settings, id)),
        }
    }

    /// The limits as the launch request has them, with those of every worker; `None` when there is
    /// none.
    pub(crate) fn resources(&self, limits: &WorkerLimits) -> Option<Resources> {
        let resources = Resources {
            cpu: self.cpu(),
            memory: self.memory_bytes.map(|bytes| Memory {
                limit: Bounded::new(bytes),
                swap: limits.swap_bytes.and_then(|swap| Bounded::new(bytes.saturating_add(swap))),
                ..Memory::default()
            }),
            pids: limits.pids.and_then(Bounded::new).map(|limit| Pids { limit }),
            unified: self.unified(limits),
            ..Resources::default()
        };
        (resources != Resources::default()).then_some(resources)
    }

    fn cpu(&self) -> Option<Cpu> {
        let (cpus, mems) = self.zone.clone().unzip();
        let quota = self.quota.and_then(Bounded::new);
        let period = quota.and_then(|_| Bounded::new(PERIOD_MICROS));
        let cpu = Cpu { quota, period, cpus, mems, ..Cpu::default() };
        (cpu != Cpu::default()).then_some(cpu)
    }

    /// What only cgroups of version 2 have.
    fn unified(&self, limits: &WorkerLimits) -> Option<Unified> {
        let high = self.memory_bytes.and_then(|bytes| limits.memory_high(bytes));
        let unified = Unified {
            memory_high: high.and_then(|bytes| ByteCount::parse(&bytes.to_string()).ok()),
            memory_oom_group: limits.oom_group.then_some(FileSwitch::On),
        };
        (unified != Unified::default()).then_some(unified)
    }
}

fn zone(settings: &Settings, id: &str) -> Option<(CpuList, CpuList)> {
    let zone = settings.numa.cores(id).cloned().zip(CpuList::parse(id).ok());
    if zone.is_none() {
        let id = crate::text::shown(id);
        warn!(target: "storm_oci.launch", "NUMA zone `{id}` is not in `supervisor.numa.meta`: its worker is not pinned");
    }
    zone
}
