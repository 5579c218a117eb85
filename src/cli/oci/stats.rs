//! `events`: what happens to a container and what it uses, one JSON object per line, in runc's words.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::base::{Error, Result, units};
use crate::cli::oci::options::EventsArgs;
use crate::cli::oci::print;
use crate::model::stats::{BlkioEntry, CpusetStats, MemoryEntry, Stats};
use crate::runtime::oci::{self, Event, Root, Watch};

/// Prints statistics once, or what happens until the container has ended.
pub(crate) fn events(root: &Root, args: &EventsArgs) -> Result<()> {
    let say = |kind: &str, data: Option<Value>| {
        let mut event = json!({"type": kind, "id": args.id});
        if let Some(data) = data {
            event["data"] = data;
        }
        print(&format!("{event}\n"))
    };
    if args.stats {
        return say("stats", Some(data(&oci::stats(root, &args.id)?)));
    }
    let interval = units::parse_duration(&args.interval)?;
    if interval.is_zero() {
        return Err(Error::invalid("duration interval must be greater than 0"));
    }
    let mut watch = Watch::begin(root, &args.id)?;
    let mut due = Instant::now() + interval;
    loop {
        match watch.next(due.saturating_duration_since(Instant::now()))? {
            Event::OutOfMemory => say("oom", None)?,
            Event::Ended => return Ok(()),
            Event::Nothing => {
                // It may end between the two looks.
                if let Ok(stats) = oci::stats(root, &args.id) {
                    say("stats", Some(data(&stats)))?;
                }
                due = Instant::now() + interval;
            }
        }
    }
}

fn data(stats: &Stats) -> Value {
    let cpu = &stats.cpu;
    let memory = &stats.memory;
    let hugetlb: BTreeMap<&String, Value> = stats
        .hugetlb
        .iter()
        .map(|(size, one)| (size, json!({"usage": one.usage, "max": one.max, "failcnt": one.failcnt})))
        .collect();
    json!({
        "cpu": {
            "usage": {
                "total": cpu.total_ns,
                "percpu": cpu.percpu_ns,
                "percpu_kernel": cpu.percpu_kernel_ns,
                "percpu_user": cpu.percpu_user_ns,
                "kernel": cpu.kernel_ns,
                "user": cpu.user_ns,
            },
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled_ns,
            },
        },
        "cpuset": stats.cpuset.as_ref().map(cpuset).unwrap_or_else(|| json!({})),
        "memory": {
            "cache": memory.cache,
            "usage": entry(memory.usage),
            "swap": entry(memory.swap),
            "kernel": entry(memory.kernel),
            "kernelTCP": entry(memory.kernel_tcp),
            "raw": memory.raw,
        },
        "pids": {"current": stats.pids.current, "limit": stats.pids.limit},
        "blkio": {
            "ioServiceBytesRecursive": devices(&stats.blkio.io_service_bytes),
            "ioServicedRecursive": devices(&stats.blkio.io_serviced),
            "ioQueueRecursive": devices(&stats.blkio.io_queued),
            "ioServiceTimeRecursive": devices(&stats.blkio.io_service_time),
            "ioWaitTimeRecursive": devices(&stats.blkio.io_wait_time),
            "ioMergedRecursive": devices(&stats.blkio.io_merged),
            "ioTimeRecursive": devices(&stats.blkio.io_time),
            "sectorsRecursive": devices(&stats.blkio.sectors),
        },
        "hugetlb": hugetlb,
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

fn entry(entry: MemoryEntry) -> Value {
    json!({"limit": entry.limit, "usage": entry.usage, "max": entry.max, "failcnt": entry.failcnt})
}

fn cpuset(stats: &CpusetStats) -> Value {
    let mut all = Map::new();
    all.insert("cpus".to_owned(), json!(stats.cpus));
    all.insert("mems".to_owned(), json!(stats.mems));
    all.extend(stats.switches.iter().map(|(name, number)| (name.clone(), json!(number))));
    all.into()
}

fn devices(entries: &[BlkioEntry]) -> Vec<Value> {
    let entry =
        |entry: &BlkioEntry| json!({"major": entry.major, "minor": entry.minor, "op": entry.op, "value": entry.value});
    entries.iter().map(entry).collect()
}
