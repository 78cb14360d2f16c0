//! What the scheduler grants a worker, until it is launched.

use storm_oci_request::{Bounded, Cpu, CpuList, Memory, Resources};
use tracing::warn;

use crate::config::Settings;
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
        let limit = settings.cpu_limit.and_then(|cpu| i64::try_from(cpu).ok());
        let memory = document.memory_mb.filter(|_| settings.enforce_memory);
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

    /// The limits as the launch request has them; `None` when there is none.
    ///
    /// As with Storm, a NUMA zone counts only together with a processor quota.
    pub(crate) fn resources(&self) -> Option<Resources> {
        let cpu = self.quota.map(|quota| {
            let (cpus, mems) = self.zone.clone().unzip();
            Cpu {
                quota: Bounded::new(quota),
                period: Bounded::new(PERIOD_MICROS),
                cpus,
                mems,
                ..Cpu::default()
            }
        });
        let memory = self
            .memory_bytes
            .map(|bytes| Memory { limit: Bounded::new(bytes), ..Memory::default() });
        (cpu.is_some() || memory.is_some()).then(|| Resources {
            cpu,
            memory,
            ..Resources::default()
        })
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
