//! Limits of a container, in the specification's words.

use serde_json::{Map, Value, json};

use crate::base::{Error, Result};
use crate::engine::container::host::HostFacts;
use crate::engine::container::spec::devices;
use crate::model::container::ContainerOptions;
use crate::model::limits::{Blkio, DeviceValue, Limits};

/// A cpu period in microseconds when only `cpus` is given; the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

pub(super) fn resources(options: &ContainerOptions, host: &HostFacts) -> Result<Value> {
    let limits = &options.limits;
    let mut resources = json!({ "devices": devices::rules(options, host) });
    for (key, map) in [("memory", memory(limits)?), ("cpu", cpu(limits)), ("blockIO", block_io(&limits.blkio, host)?)] {
        if !map.is_empty() {
            resources[key] = Value::Object(map);
        }
    }
    if let Some(pids) = limits.pids.filter(|pids| *pids != 0) {
        resources["pids"] = json!({ "limit": pids });
    }
    Ok(resources)
}

fn memory(limits: &Limits) -> Result<Map<String, Value>> {
    let mut memory = Map::new();
    if let Some(limit) = limits.memory_bytes {
        let limit = i64::try_from(limit).map_err(|_| Error::invalid("the memory limit does not fit 63 bits"))?;
        memory.insert("limit".into(), json!(limit));
        memory.insert("swap".into(), json!(limits.memory_swap_bytes.unwrap_or(limit.saturating_mul(2))));
    }
    if let Some(reservation) = limits.memory_reservation_bytes {
        memory.insert("reservation".into(), json!(reservation));
    }
    if let Some(swappiness) = limits.memory_swappiness {
        memory.insert("swappiness".into(), json!(swappiness));
    }
    if limits.oom_kill_disable {
        memory.insert("disableOOMKiller".into(), json!(true));
    }
    Ok(memory)
}

fn cpu(limits: &Limits) -> Map<String, Value> {
    let mut cpu = Map::new();
    if let Some(cpus) = limits.cpus {
        cpu.insert("quota".into(), json!((cpus * CPU_PERIOD_US as f64).round() as i64));
        cpu.insert("period".into(), json!(CPU_PERIOD_US));
    }
    let given = [
        ("quota", limits.cpu_quota_us.map(|v| json!(v))),
        ("period", limits.cpu_period_us.map(|v| json!(v))),
        ("shares", limits.cpu_shares.map(|v| json!(v))),
        ("realtimeRuntime", limits.cpu_rt_runtime_us.map(|v| json!(v))),
        ("realtimePeriod", limits.cpu_rt_period_us.map(|v| json!(v))),
        ("cpus", limits.cpuset_cpus.as_ref().map(|v| json!(v))),
        ("mems", limits.cpuset_mems.as_ref().map(|v| json!(v))),
    ];
    cpu.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    cpu
}

fn block_io(blkio: &Blkio, host: &HostFacts) -> Result<Map<String, Value>> {
    let mut map = Map::new();
    if let Some(weight) = blkio.weight {
        map.insert("weight".into(), json!(weight));
    }
    let lists = [
        ("weightDevice", "weight", &blkio.weight_device),
        ("throttleReadBpsDevice", "rate", &blkio.read_bps),
        ("throttleWriteBpsDevice", "rate", &blkio.write_bps),
        ("throttleReadIOPSDevice", "rate", &blkio.read_iops),
        ("throttleWriteIOPSDevice", "rate", &blkio.write_iops),
    ];
    for (key, number, values) in lists {
        let entry = |one: &DeviceValue| -> Result<Value> {
            let missing = || Error::failed(format!("the device {:?} was not looked at", one.path));
            let (major, minor) = host.disks.get(&one.path).ok_or_else(missing)?;
            Ok(json!({ "major": major, "minor": minor, number: one.value }))
        };
        if !values.is_empty() {
            map.insert(key.into(), values.iter().map(entry).collect::<Result<Vec<_>>>()?.into());
        }
    }
    Ok(map)
}
