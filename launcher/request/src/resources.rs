//! The limits a request may set: `linux.resources` of the runtime specification, less what would
//! let a container reach further (devices, huge pages, network, RDMA, all but two raw cgroup files).
//!
//! # References
//!
//! OCI runtime specification, `config-linux.md`, "Control groups"

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::document::{Bounded, OR_UNLIMITED, present};
use crate::ids::parsed_text;

/// No bound but the type's.
const MAX: i64 = i64::MAX;

/// The container's limits.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Processor time and placement.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub cpu: Option<Cpu>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub memory: Option<Memory>,
    /// Block devices.
    #[serde(
        rename = "blockIO",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub block_io: Option<BlockIo>,
    /// Processes.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub pids: Option<Pids>,
    /// Files of cgroups of version 2; runc refuses them on version 1.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub unified: Option<Unified>,
}

/// Processor time and placement.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Cpu {
    /// Relative weight.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub shares: Option<Bounded<2, 262_144>>,
    /// Microseconds of processor time a period.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub quota: Option<Bounded<1_000, MAX, OR_UNLIMITED>>,
    /// The period in microseconds.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub period: Option<Bounded<1_000, 1_000_000>>,
    /// Microseconds of real-time scheduling a real-time period.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub realtime_runtime: Option<Bounded<1, MAX, OR_UNLIMITED>>,
    /// The real-time period in microseconds.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub realtime_period: Option<NonZeroU64>,
    /// The processors to run on.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub cpus: Option<CpuList>,
    /// The memory nodes to allocate from.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub mems: Option<CpuList>,
}

parsed_text! {
    /// Numbers below 8192 and rising ranges of them, as the kernel takes them.
    ///
    /// # References
    ///
    /// `cpuset(7)`, "List format"
    CpuList is a "list" like "numbers below 8192 or rising ranges of them, such as `0-3,8`"
    by |text| text.split(',').all(is_number_or_range).then_some(text)
}

fn is_number_or_range(item: &str) -> bool {
    /// The most processors a Linux kernel can be built for.
    const CPUS: u16 = 8192;
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &u16| digits && *number < CPUS)
    };
    let (first, last) = item.split_once('-').unwrap_or((item, item));
    number(first).zip(number(last)).is_some_and(|(first, last)| first <= last)
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Memory {
    /// The hard limit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub limit: Option<Bounded<1, MAX, OR_UNLIMITED>>,
    /// The soft limit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub reservation: Option<Bounded<1, MAX, OR_UNLIMITED>>,
    /// The limit of memory and swap together; needs `limit` and is at least as much.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub swap: Option<Bounded<1, MAX, OR_UNLIMITED>>,
    /// The limit of kernel memory; runc 1.1 ignores it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub kernel: Option<Bounded<1, MAX, OR_UNLIMITED>>,
    /// The limit of TCP buffers.
    #[serde(
        rename = "kernelTCP",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub kernel_tcp: Option<Bounded<1, MAX, OR_UNLIMITED>>,
    /// How readily the kernel swaps, in percent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub swappiness: Option<Bounded<0, 100>>,
    /// Whether processes wait instead of being killed when the limit is reached.
    #[serde(
        rename = "disableOOMKiller",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub disable_oom_killer: Option<bool>,
}

/// Block devices: weights and rates.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct BlockIo {
    /// Relative weight.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub weight: Option<Bounded<10, 1_000>>,
    /// Weight against child cgroups.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub leaf_weight: Option<Bounded<10, 1_000>>,
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
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WeightDevice {
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Relative weight.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub weight: Option<Bounded<10, 1_000>>,
    /// Weight against child cgroups.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub leaf_weight: Option<Bounded<10, 1_000>>,
}

/// One device's rate.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ThrottleDevice {
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Bytes or operations a second.
    pub rate: u64,
}

/// Processes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pids {
    /// How many processes and threads there may be at once.
    pub limit: Bounded<1, MAX, OR_UNLIMITED>,
}

/// Files of cgroups of version 2 for which the specification has no words of its own. As it maps
/// any name to any text, only these two are read.
///
/// # References
///
/// The kernel's `cgroup-v2.rst`, "Memory Interface Files"
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Unified {
    /// From how many bytes on the kernel reclaims memory at once, and slows down who asks for more.
    #[serde(
        rename = "memory.high",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub memory_high: Option<ByteCount>,
    /// Whether all processes are killed for one that is killed for memory.
    #[serde(
        rename = "memory.oom.group",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub memory_oom_group: Option<FileSwitch>,
}

parsed_text! {
    /// How a cgroup's file takes a number of bytes.
    ByteCount is a "number of bytes" like "digits of a whole number from 1 to 9223372036854775807"
    by |text| is_byte_count(text).then_some(text)
}

fn is_byte_count(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    digits && text.parse::<i64>().is_ok()
}

/// How a cgroup's file takes yes and no.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum FileSwitch {
    /// No.
    #[serde(rename = "0")]
    Off,
    /// Yes.
    #[serde(rename = "1")]
    On,
}
