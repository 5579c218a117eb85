//! Limits and kernel parameters of an option map.

use serde_json::Value;

use crate::base::Result;
use crate::docker::options::fields;
use crate::docker::options::keys::Known;
use crate::docker::value::Field;
use crate::docker::{devices, words};
use crate::model::container::ContainerOptions;
use crate::model::limits::{Blkio, DeviceValue, Ulimit};

/// The keys of Compose's `blkio_config`.
const BLKIO_KEYS: Known<'_> = &[
    ("blkio_weight", &["weight"]),
    ("blkio_weight_device", &["weight_device"]),
    ("device_read_bps", &[]),
    ("device_read_iops", &[]),
    ("device_write_bps", &[]),
    ("device_write_iops", &[]),
];

/// Limits and kernel parameters.
pub(super) fn resources(canonical: &str, field: &Field<'_>, options: &mut ContainerOptions) -> Result<bool> {
    let limits = &mut options.limits;
    let wrap = |error| field.wrap(error);
    match canonical {
        "mem_limit" => limits.memory_bytes = Some(field.bytes()?).filter(|bytes| *bytes > 0),
        "memswap_limit" => limits.memory_swap_bytes = Some(field.bytes_or_unlimited()?).filter(|bytes| *bytes != 0),
        "mem_reservation" => limits.memory_reservation_bytes = Some(field.bytes()?).filter(|bytes| *bytes > 0),
        "cpus" => {
            let cpus = field.number()?;
            if cpus < 0.0 {
                return Err(field.expected("a number of zero or more"));
            }
            limits.cpus = Some(cpus).filter(|cpus| *cpus > 0.0);
        }
        "cpu_quota" => limits.cpu_quota_us = Some(field.integer()?).filter(|quota| *quota != 0),
        "cpu_period" => limits.cpu_period_us = Some(field.unsigned()?).filter(|period| *period > 0),
        "cpu_shares" => limits.cpu_shares = Some(field.unsigned()?).filter(|shares| *shares > 0),
        "cpuset" => limits.cpuset_cpus = Some(words::cpuset(&field.string()?).map_err(wrap)?),
        "cpuset_mems" => limits.cpuset_mems = Some(words::cpuset(&field.string()?).map_err(wrap)?),
        "pids_limit" => limits.pids = Some(field.integer()?).filter(|pids| *pids != 0),
        "ulimits" => options.ulimits = ulimits(field)?,
        "shm_size" => options.shm_size_bytes = Some(field.bytes()?).filter(|bytes| *bytes > 0),
        "sysctls" => {
            for (name, value) in field.pairs()? {
                let value = value.ok_or_else(|| field.expected("a value for every name"))?;
                options.sysctls.insert(name, value);
            }
        }
        "mem_swappiness" => {
            // -1 is Docker's "not set".
            limits.memory_swappiness = match field.integer()? {
                -1 => None,
                0..=100 => Some(field.unsigned()?),
                _ => return Err(field.expected("a number from 0 to 100, or -1")),
            };
        }
        "oom_kill_disable" => limits.oom_kill_disable = field.bool()?,
        "cpu_rt_period" => limits.cpu_rt_period_us = Some(microseconds(field)?).filter(|time| *time > 0),
        "cpu_rt_runtime" => {
            let time = i64::try_from(microseconds(field)?).map_err(|_| field.expected("microseconds"))?;
            limits.cpu_rt_runtime_us = Some(time).filter(|time| *time > 0);
        }
        "blkio_config" => {
            for (canonical, field) in fields(field.map()?, BLKIO_KEYS, &[])? {
                blkio(canonical, &field, &mut limits.blkio)?;
            }
        }
        "blkio_weight"
        | "blkio_weight_device"
        | "device_read_bps"
        | "device_read_iops"
        | "device_write_bps"
        | "device_write_iops" => blkio(canonical, field, &mut limits.blkio)?,
        "oom_score_adj" => {
            let adjust = i32::try_from(field.integer()?).ok().filter(|n| (-1000..=1000).contains(n));
            options.oom_score_adj = Some(adjust.ok_or_else(|| field.expected("a number from -1000 to 1000"))?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A number of microseconds, or a duration such as `400ms`.
fn microseconds(field: &Field<'_>) -> Result<u64> {
    match field.value {
        Value::String(text) if text.parse::<u64>().is_err() => {
            u64::try_from(field.duration()?.as_micros()).map_err(|_| field.expected("microseconds"))
        }
        _ => field.unsigned(),
    }
}

fn blkio(canonical: &str, field: &Field<'_>, limits: &mut Blkio) -> Result<()> {
    let wrap = |error| field.wrap(error);
    let each = |number: &str, read: fn(&str) -> Result<DeviceValue>, bytes: bool| -> Result<Vec<DeviceValue>> {
        field.items().into_iter().map(|item| device_value(item, number, read, bytes)).collect()
    };
    match canonical {
        "blkio_weight" => limits.weight = devices::weight_of(field.unsigned()?).map_err(wrap)?,
        "blkio_weight_device" => limits.weight_device = each("weight", devices::device_weight, false)?,
        "device_read_bps" => limits.read_bps = each("rate", devices::bytes_rate, true)?,
        "device_read_iops" => limits.read_iops = each("rate", devices::operations_rate, false)?,
        "device_write_bps" => limits.write_bps = each("rate", devices::bytes_rate, true)?,
        _ => limits.write_iops = each("rate", devices::operations_rate, false)?,
    }
    Ok(())
}

/// Docker's `path:number`, or Compose's map of `path` and the number.
fn device_value(
    item: Field<'_>,
    number: &str,
    read: fn(&str) -> Result<DeviceValue>,
    bytes: bool,
) -> Result<DeviceValue> {
    let Value::Object(map) = item.value else {
        return read(&item.word()?).map_err(|error| item.wrap(error));
    };
    let (mut path, mut value) = (None, None);
    for (canonical, inner) in fields(map, &[("path", &[]), (number, &[])], &[])? {
        match canonical {
            "path" => path = Some(inner.word()?),
            _ if bytes => value = Some(inner.bytes()?),
            _ => value = Some(inner.unsigned()?),
        }
    }
    let (Some(path), Some(value)) = (path, value) else {
        return Err(item.expected(&format!("maps with path and {number}")));
    };
    if number == "weight" {
        devices::weight_of(value).map_err(|error| item.wrap(error))?;
    }
    devices::device_value(&path, value).map_err(|error| item.wrap(error))
}

/// Docker's strings, or Compose's map of numbers or `soft` and `hard`.
fn ulimits(field: &Field<'_>) -> Result<Vec<Ulimit>> {
    let wrap = |error| field.wrap(error);
    let Value::Object(map) = field.value else {
        let strings = field.strings().map_err(|_| field.expected("a map, or strings such as \"nofile=1024:2048\""))?;
        return strings.iter().map(|text| words::ulimit(text)).collect::<Result<_>>().map_err(wrap);
    };
    let mut limits = Vec::new();
    for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
        let limit = Field { key: name, value };
        let (soft, hard) = match value {
            Value::Object(inner) => {
                let (mut soft, mut hard) = (None, None);
                for (canonical, field) in fields(inner, &[("soft", &[]), ("hard", &[])], &[])? {
                    match canonical {
                        "soft" => soft = Some(field.integer()?),
                        _ => hard = Some(field.integer()?),
                    }
                }
                match (soft, hard) {
                    (Some(soft), Some(hard)) => (soft, hard),
                    _ => return Err(limit.expected("both soft and hard")),
                }
            }
            _ => (limit.integer()?, limit.integer()?),
        };
        limits.push(words::ulimit_of(name, soft, hard).map_err(wrap)?);
    }
    Ok(limits)
}
