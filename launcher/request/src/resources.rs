//! The limits a request may set: `linux.resources` of the runtime specification, less what would
//! let a container reach further (devices, huge pages, network, RDMA, raw cgroup files).
//!
//! # References
//!
//! OCI runtime specification, `config-linux.md`, "Control groups"

mod check;
mod read;

use std::fmt;

use serde::Serialize;

/// The container's limits.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Resources {
    /// Processor time and placement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Block devices.
    #[serde(rename = "blockIO", skip_serializing_if = "Option::is_none")]
    pub block_io: Option<BlockIo>,
}

/// Processor time and placement.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// Relative weight, 2 to 262144.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<u64>,
    /// Microseconds of processor time a period, at least 1000; -1 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<i64>,
    /// The period in microseconds, 1000 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    /// Microseconds of real-time scheduling a real-time period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_runtime: Option<i64>,
    /// The real-time period in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_period: Option<u64>,
    /// The processors to run on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<CpuList>,
    /// The memory nodes to allocate from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mems: Option<CpuList>,
}

/// A list of processors or memory nodes, such as `0-3,8`.
///
/// # References
///
/// `cpuset(7)`, "List format"
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct CpuList(String);

impl CpuList {
    /// Parses numbers below 8192 and rising ranges of them, separated by commas.
    ///
    /// `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').all(is_number_or_range).then(|| Self(text.to_owned()))
    }

    /// The list, exactly as parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_number_or_range(item: &str) -> bool {
    let (first, last) = item.split_once('-').unwrap_or((item, item));
    match (cpu_number(first), cpu_number(last)) {
        (Some(first), Some(last)) => first <= last,
        _ => false,
    }
}

fn cpu_number(text: &str) -> Option<u16> {
    /// The most processors a Linux kernel can be built for.
    const CPUS: u16 = 8192;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits {
        text.parse().ok()?
    } else {
        return None;
    };
    (number < CPUS).then_some(number)
}

/// Memory, in bytes; -1 is no limit.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The hard limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// The soft limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<i64>,
    /// The limit of memory and swap together; needs `limit` and is at least as much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<i64>,
    /// The limit of kernel memory; runc 1.1 ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<i64>,
    /// The limit of TCP buffers.
    #[serde(rename = "kernelTCP", skip_serializing_if = "Option::is_none")]
    pub kernel_tcp: Option<i64>,
    /// How readily the kernel swaps, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swappiness: Option<u64>,
    /// Whether processes wait instead of being killed when the limit is reached.
    #[serde(rename = "disableOOMKiller", skip_serializing_if = "Option::is_none")]
    pub disable_oom_killer: Option<bool>,
}

/// Block devices: weights and rates.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIo {
    /// Relative weight, 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Weight against child cgroups, 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
    /// Weights of single devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<WeightDevice>,
    /// Bytes a second that may be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_bps_device: Vec<ThrottleDevice>,
    /// Bytes a second that may be written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_bps_device: Vec<ThrottleDevice>,
    /// Reads a second.
    #[serde(rename = "throttleReadIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_iops_device: Vec<ThrottleDevice>,
    /// Writes a second.
    #[serde(rename = "throttleWriteIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_iops_device: Vec<ThrottleDevice>,
}

/// One device's weights.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightDevice {
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Relative weight, 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Weight against child cgroups, 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
}

/// One device's rate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct ThrottleDevice {
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Bytes or operations a second.
    pub rate: u64,
}
