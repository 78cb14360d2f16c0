//! Reads `linux.resources`: every key known, every value of its type.

use crate::error::RequestError;
use crate::field::{Field, Integer, Object, Refusal};
use crate::request::shown;

use super::{BlockIo, Cpu, CpuList, Memory, Resources, ThrottleDevice, WeightDevice};

impl Resources {
    pub(crate) fn read(field: Field<'_>) -> Result<Self, RequestError> {
        const REFUSED: [(&str, Refusal); 1] = [("devices", RequestError::Devices)];
        let object = field.object(&["cpu", "memory", "blockIO"], &REFUSED)?;
        Ok(Self {
            cpu: object.optional("cpu").map(read_cpu).transpose()?,
            memory: object.optional("memory").map(read_memory).transpose()?,
            block_io: object.optional("blockIO").map(read_block_io).transpose()?,
        })
    }
}

fn integer<'a, T: Integer>(object: &Object<'a>, key: &'a str) -> Result<Option<T>, RequestError> {
    object.optional(key).map(|field| field.integer()).transpose()
}

fn read_cpu(field: Field<'_>) -> Result<Cpu, RequestError> {
    const KEYS: [&str; 7] =
        ["shares", "quota", "period", "realtimeRuntime", "realtimePeriod", "cpus", "mems"];
    let object = field.object(&KEYS, &[])?;
    Ok(Cpu {
        shares: integer(&object, "shares")?,
        quota: integer(&object, "quota")?,
        period: integer(&object, "period")?,
        realtime_runtime: integer(&object, "realtimeRuntime")?,
        realtime_period: integer(&object, "realtimePeriod")?,
        cpus: object.optional("cpus").map(read_cpu_list).transpose()?,
        mems: object.optional("mems").map(read_cpu_list).transpose()?,
    })
}

fn read_cpu_list(field: Field<'_>) -> Result<CpuList, RequestError> {
    let text = field.text()?;
    CpuList::parse(text)
        .ok_or_else(|| RequestError::CpuList { path: field.path(), found: shown(text) })
}

fn read_memory(field: Field<'_>) -> Result<Memory, RequestError> {
    const KEYS: [&str; 7] =
        ["limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness", "disableOOMKiller"];
    let object = field.object(&KEYS, &[])?;
    Ok(Memory {
        limit: integer(&object, "limit")?,
        reservation: integer(&object, "reservation")?,
        swap: integer(&object, "swap")?,
        kernel: integer(&object, "kernel")?,
        kernel_tcp: integer(&object, "kernelTCP")?,
        swappiness: integer(&object, "swappiness")?,
        disable_oom_killer: object
            .optional("disableOOMKiller")
            .map(|field| field.boolean())
            .transpose()?,
    })
}

fn read_block_io(field: Field<'_>) -> Result<BlockIo, RequestError> {
    const KEYS: [&str; 7] = [
        "weight",
        "leafWeight",
        "weightDevice",
        "throttleReadBpsDevice",
        "throttleWriteBpsDevice",
        "throttleReadIOPSDevice",
        "throttleWriteIOPSDevice",
    ];
    let object = field.object(&KEYS, &[])?;
    let throttle = |key| match object.optional(key) {
        Some(devices) => devices.array(read_throttle_device),
        None => Ok(Vec::new()),
    };
    Ok(BlockIo {
        weight: integer(&object, "weight")?,
        leaf_weight: integer(&object, "leafWeight")?,
        weight_device: match object.optional("weightDevice") {
            Some(devices) => devices.array(read_weight_device)?,
            None => Vec::new(),
        },
        throttle_read_bps_device: throttle("throttleReadBpsDevice")?,
        throttle_write_bps_device: throttle("throttleWriteBpsDevice")?,
        throttle_read_iops_device: throttle("throttleReadIOPSDevice")?,
        throttle_write_iops_device: throttle("throttleWriteIOPSDevice")?,
    })
}

fn read_weight_device(field: Field<'_>) -> Result<WeightDevice, RequestError> {
    let object = field.object(&["major", "minor", "weight", "leafWeight"], &[])?;
    Ok(WeightDevice {
        major: object.required("major")?.integer()?,
        minor: object.required("minor")?.integer()?,
        weight: integer(&object, "weight")?,
        leaf_weight: integer(&object, "leafWeight")?,
    })
}

fn read_throttle_device(field: Field<'_>) -> Result<ThrottleDevice, RequestError> {
    let object = field.object(&["major", "minor", "rate"], &[])?;
    Ok(ThrottleDevice {
        major: object.required("major")?.integer()?,
        minor: object.required("minor")?.integer()?,
        rate: object.required("rate")?.integer()?,
    })
}
