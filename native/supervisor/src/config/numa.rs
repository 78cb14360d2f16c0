//! The NUMA zones of a node.

use std::collections::HashMap;

use serde_json::Value;
use storm_oci_request::CpuList;

use super::keys;
use super::reader::{Reader, number, whole};

/// The processors of each NUMA zone.
#[derive(Debug, Default)]
pub(crate) struct NumaZones(HashMap<String, CpuList>);

impl NumaZones {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const EXPECTED: &str =
            "a map of zone ids to maps whose `numa.cores` is a list of core numbers";
        let Some(value) = reader.value(keys::NUMA_META) else {
            return Self::default();
        };
        let zones = value.as_object().and_then(|zones| {
            zones.iter().map(|(id, zone)| Some((id.clone(), cores(zone)?))).collect()
        });
        zones
            .or_else(|| reader.wrong(keys::NUMA_META, value, EXPECTED))
            .map(Self)
            .unwrap_or_default()
    }

    /// The processors of a zone.
    pub(crate) fn cores(&self, zone: &str) -> Option<&CpuList> {
        self.0.get(zone)
    }
}

fn cores(zone: &Value) -> Option<CpuList> {
    let cores = zone.get("numa.cores")?.as_array()?;
    let numbers: Option<Vec<String>> = cores
        .iter()
        .map(|core| {
            let core = number(core).filter(|core| core.fract() == 0.0)?;
            Some(whole(core)?.to_string())
        })
        .collect();
    CpuList::parse(&numbers?.join(",")).ok()
}
