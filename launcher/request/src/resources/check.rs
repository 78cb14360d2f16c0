//! Which limits make sense: what the kernel would refuse, or runc read as "not set", is refused
//! here, where the message can name the key.

use crate::error::RequestError;

use super::{BlockIo, Cpu, Memory, Resources};

/// What the specification writes for "no limit".
const UNLIMITED: i64 = -1;

impl Resources {
    pub(crate) fn check(&self) -> Result<(), RequestError> {
        self.cpu.as_ref().map_or(Ok(()), check_cpu)?;
        self.memory.as_ref().map_or(Ok(()), check_memory)?;
        self.block_io.as_ref().map_or(Ok(()), check_block_io)
    }
}

/// Refuses a number that does not satisfy `fits`.
fn check_number<T: Copy + Into<i128>>(
    key: &str,
    number: Option<T>,
    allowed: &'static str,
    fits: impl Fn(T) -> bool,
) -> Result<(), RequestError> {
    match number {
        Some(number) if !fits(number) => Err(RequestError::OutOfRange {
            path: format!("ociRuntimeConfig.linux.resources.{key}"),
            found: number.into(),
            allowed,
        }),
        _ => Ok(()),
    }
}

fn check_cpu(cpu: &Cpu) -> Result<(), RequestError> {
    let period = |micros| (1_000..=1_000_000).contains(&micros);
    let quota = |micros| micros == UNLIMITED || micros >= 1_000;
    check_number("cpu.shares", cpu.shares, "2 to 262144", |shares| {
        (2..=262_144).contains(&shares)
    })?;
    check_number("cpu.quota", cpu.quota, "-1 or at least 1000", quota)?;
    check_number("cpu.period", cpu.period, "1000 to 1000000", period)?;
    let runtime = |micros| micros == UNLIMITED || micros > 0;
    check_number("cpu.realtimeRuntime", cpu.realtime_runtime, "-1 or at least 1", runtime)?;
    check_number("cpu.realtimePeriod", cpu.realtime_period, "at least 1", |micros| micros > 0)
}

fn check_memory(memory: &Memory) -> Result<(), RequestError> {
    const BYTES: &str = "-1 or at least 1";
    let bytes = |bytes| bytes == UNLIMITED || bytes > 0;
    check_number("memory.limit", memory.limit, BYTES, bytes)?;
    check_number("memory.reservation", memory.reservation, BYTES, bytes)?;
    check_number("memory.swap", memory.swap, BYTES, bytes)?;
    check_number("memory.kernel", memory.kernel, BYTES, bytes)?;
    check_number("memory.kernelTCP", memory.kernel_tcp, BYTES, bytes)?;
    check_number("memory.swappiness", memory.swappiness, "0 to 100", |share| share <= 100)?;
    let Some(swap) = memory.swap.filter(|swap| *swap != UNLIMITED) else {
        return Ok(());
    };
    match memory.limit {
        Some(limit) if limit != UNLIMITED && swap >= limit => Ok(()),
        _ => Err(RequestError::Limits {
            path: "ociRuntimeConfig.linux.resources.memory.swap",
            needs: "a `limit` that is at most as much",
        }),
    }
}

fn check_block_io(block_io: &BlockIo) -> Result<(), RequestError> {
    const ALLOWED: &str = "10 to 1000";
    let fits = |weight| (10..=1_000).contains(&weight);
    check_number("blockIO.weight", block_io.weight, ALLOWED, fits)?;
    check_number("blockIO.leafWeight", block_io.leaf_weight, ALLOWED, fits)?;
    for (index, device) in block_io.weight_device.iter().enumerate() {
        let key = |name: &str| format!("blockIO.weightDevice[{index}].{name}");
        check_number(&key("weight"), device.weight, ALLOWED, fits)?;
        check_number(&key("leafWeight"), device.leaf_weight, ALLOWED, fits)?;
    }
    Ok(())
}
