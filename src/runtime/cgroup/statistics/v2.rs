//! The counters of version 2, all in one folder, in the words of version 1.

use std::collections::BTreeMap;
use std::io;

use super::{Reader, number};
use crate::model::stats::{
    BlkioEntry, BlkioStats, CpuStats, CpusetStats, HugetlbStats, MemoryEntry, MemoryStats, PidsStats, Stats,
};

pub(super) fn read(folder: &Reader) -> io::Result<Stats> {
    let limit = folder.number("pids.max")?;
    let (cpus, mems) = (folder.list("cpuset.cpus")?, folder.list("cpuset.mems")?);
    let limited = !cpus.is_empty() || !mems.is_empty();
    Ok(Stats {
        cpu: cpu(folder)?,
        cpuset: limited.then(|| CpusetStats { cpus, mems, ..CpusetStats::default() }),
        memory: memory(folder)?,
        pids: PidsStats { current: folder.number("pids.current")?, limit: if limit == u64::MAX { 0 } else { limit } },
        blkio: blkio(folder)?,
        hugetlb: folder.huge_pages(|folder, size| {
            let events = folder.keyed(&format!("hugetlb.{size}.events"))?;
            let usage = folder.number(&format!("hugetlb.{size}.current"))?;
            Ok(HugetlbStats { usage, max: 0, failcnt: get(&events, "max") })
        })?,
        rdma: folder.rdma()?,
    })
}

fn get(map: &BTreeMap<String, u64>, key: &str) -> u64 {
    map.get(key).copied().unwrap_or(0)
}

fn cpu(folder: &Reader) -> io::Result<CpuStats> {
    let stat = folder.keyed("cpu.stat")?;
    let ns = |key: &str| get(&stat, key).saturating_mul(1000);
    Ok(CpuStats {
        total_ns: ns("usage_usec"),
        kernel_ns: ns("system_usec"),
        user_ns: ns("user_usec"),
        periods: get(&stat, "nr_periods"),
        throttled_periods: get(&stat, "nr_throttled"),
        throttled_ns: ns("throttled_usec"),
        pressure: folder.pressure("cpu.pressure")?,
        ..CpuStats::default()
    })
}

/// Version 2 counts swap alone; here it is with memory, as in version 1.
fn memory(folder: &Reader) -> io::Result<MemoryStats> {
    let raw = folder.keyed("memory.stat")?;
    let events = folder.keyed("memory.events")?;
    let usage = MemoryEntry {
        limit: folder.number("memory.max")?,
        usage: folder.number("memory.current")?,
        max: folder.number("memory.peak")?,
        failcnt: get(&events, "max"),
    };
    let swap_events = folder.keyed("memory.swap.events")?;
    let swap = MemoryEntry {
        limit: folder.number("memory.swap.max")?.saturating_add(usage.limit),
        usage: folder.number("memory.swap.current")? + usage.usage,
        max: 0,
        failcnt: get(&swap_events, "max"),
    };
    Ok(MemoryStats {
        cache: get(&raw, "file"),
        usage,
        swap,
        kernel: MemoryEntry { limit: u64::MAX, usage: get(&raw, "kernel"), max: 0, failcnt: 0 },
        kernel_tcp: MemoryEntry { limit: u64::MAX, usage: get(&raw, "sock"), max: 0, failcnt: 0 },
        use_hierarchy: true,
        raw,
        events,
        pressure: folder.pressure("memory.pressure")?,
    })
}

fn blkio(folder: &Reader) -> io::Result<BlkioStats> {
    let mut stats = parse(&folder.text("io.stat")?);
    stats.pressure = folder.pressure("io.pressure")?;
    Ok(stats)
}

/// Lines like `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn parse(text: &str) -> BlkioStats {
    let mut stats = BlkioStats::default();
    for line in text.lines() {
        let mut parts = line.split_whitespace();
        let device = parts.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(major, minor)| (major.parse(), minor.parse())) else {
            continue;
        };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut stats.io_service_bytes, "Read"),
                "wbytes" => (&mut stats.io_service_bytes, "Write"),
                "dbytes" => (&mut stats.io_service_bytes, "Discard"),
                "rios" => (&mut stats.io_serviced, "Read"),
                "wios" => (&mut stats.io_serviced, "Write"),
                "dios" => (&mut stats.io_serviced, "Discard"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value: number(value) });
        }
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_devices_become_lists() {
        let stats = parse("8:0 rbytes=4096 wbytes=1 rios=2 wios=3 dbytes=0 dios=0 cost.usage=5\n7:1\n");
        assert_eq!(stats.io_service_bytes.len(), 3);
        assert_eq!(stats.io_serviced[1], BlkioEntry { major: 8, minor: 0, op: "Write".to_owned(), value: 3 });
    }
}
