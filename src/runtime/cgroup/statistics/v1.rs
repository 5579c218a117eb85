//! The counters of version 1, one folder for each controller.

use std::io;

use super::{Reader, number};
use crate::model::stats::{
    BlkioEntry, BlkioStats, CpuStats, CpusetStats, HugetlbStats, MemoryEntry, MemoryStats, PidsStats, Stats,
};

/// Nanoseconds of a tick of `cpuacct.stat`: the kernel tells programs of 100 in a second, whatever it has itself.
const TICK_NS: u64 = 10_000_000;
/// Files of `cpuset` that hold one number.
const SWITCHES: [&str; 9] = [
    "cpu_exclusive",
    "mem_exclusive",
    "mem_hardwall",
    "memory_migrate",
    "memory_pressure",
    "memory_spread_page",
    "memory_spread_slab",
    "sched_load_balance",
    "sched_relax_domain_level",
];

pub(super) fn read(folder: impl Fn(&str) -> Reader) -> io::Result<Stats> {
    let pids = folder("pids");
    let limit = pids.number("pids.max")?;
    let hugetlb = folder("hugetlb");
    Ok(Stats {
        cpu: cpu(&folder("cpuacct"), &folder("cpu"))?,
        cpuset: cpuset(&folder("cpuset"))?,
        memory: memory(&folder("memory"))?,
        pids: PidsStats { current: pids.number("pids.current")?, limit: if limit == u64::MAX { 0 } else { limit } },
        blkio: blkio(&folder("blkio"))?,
        hugetlb: hugetlb.huge_pages(|reader, size| {
            let file = |name: &str| format!("hugetlb.{size}.{name}");
            Ok(HugetlbStats {
                usage: reader.number(&file("usage_in_bytes"))?,
                max: reader.number(&file("max_usage_in_bytes"))?,
                failcnt: reader.number(&file("failcnt"))?,
            })
        })?,
        rdma: folder("rdma").rdma()?,
    })
}

fn cpu(account: &Reader, quota: &Reader) -> io::Result<CpuStats> {
    let ticks = account.keyed("cpuacct.stat")?;
    let throttling = quota.keyed("cpu.stat")?;
    let get = |map: &std::collections::BTreeMap<String, u64>, key: &str| map.get(key).copied().unwrap_or(0);
    let mut stats = CpuStats {
        total_ns: account.number("cpuacct.usage")?,
        kernel_ns: get(&ticks, "system").saturating_mul(TICK_NS),
        user_ns: get(&ticks, "user").saturating_mul(TICK_NS),
        periods: get(&throttling, "nr_periods"),
        throttled_periods: get(&throttling, "nr_throttled"),
        throttled_ns: get(&throttling, "throttled_time"),
        ..CpuStats::default()
    };
    // "cpu user system", then a line for each processor.
    for line in account.text("cpuacct.usage_all")?.lines().skip(1) {
        let numbers: Vec<u64> = line.split(' ').map(number).collect();
        if let [_, user, system] = numbers[..] {
            stats.percpu_user_ns.push(user);
            stats.percpu_kernel_ns.push(system);
        }
    }
    stats.percpu_ns = account.text("cpuacct.usage_percpu")?.split_whitespace().map(number).collect();
    Ok(stats)
}

fn cpuset(folder: &Reader) -> io::Result<Option<CpusetStats>> {
    if !folder.0.exists() {
        return Ok(None);
    }
    let mut stats =
        CpusetStats { cpus: folder.list("cpuset.cpus")?, mems: folder.list("cpuset.mems")?, ..CpusetStats::default() };
    for name in SWITCHES {
        let text = folder.text(&format!("cpuset.{name}"))?;
        if let Ok(value) = text.trim().parse() {
            stats.switches.insert(name.to_owned(), value);
        }
    }
    Ok(Some(stats))
}

fn memory(folder: &Reader) -> io::Result<MemoryStats> {
    let entry = |kind: &str| -> io::Result<MemoryEntry> {
        let file = |name: &str| format!("memory.{kind}{name}");
        Ok(MemoryEntry {
            limit: folder.number(&file("limit_in_bytes"))?,
            usage: folder.number(&file("usage_in_bytes"))?,
            max: folder.number(&file("max_usage_in_bytes"))?,
            failcnt: folder.number(&file("failcnt"))?,
        })
    };
    let raw = folder.keyed("memory.stat")?;
    let mut events = folder.keyed("memory.oom_control")?;
    events.retain(|key, _| key == "oom_kill");
    Ok(MemoryStats {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("")?,
        swap: entry("memsw.")?,
        kernel: entry("kmem.")?,
        kernel_tcp: entry("kmem.tcp.")?,
        use_hierarchy: folder.number("memory.use_hierarchy")? == 1,
        raw,
        events,
        pressure: None,
    })
}

/// Which files count depends on the scheduler; what the throttling counts is there in any case.
fn blkio(folder: &Reader) -> io::Result<BlkioStats> {
    let read = |name: &str| -> io::Result<Vec<BlkioEntry>> {
        for kind in ["", "bfq.", "throttle."] {
            let entries = entries(&folder.text(&format!("blkio.{kind}{name}_recursive"))?);
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    };
    Ok(BlkioStats {
        io_service_bytes: read("io_service_bytes")?,
        io_serviced: read("io_serviced")?,
        io_queued: read("io_queued")?,
        io_service_time: read("io_service_time")?,
        io_wait_time: read("io_wait_time")?,
        io_merged: read("io_merged")?,
        io_time: read("time")?,
        sectors: read("sectors")?,
        pressure: None,
    })
}

/// Lines like `8:0 Read 4096` or `8:0 17`; the sum over all devices is left out.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let line = |line: &str| -> Option<BlkioEntry> {
        let mut parts = line.split_whitespace();
        let (major, minor) = parts.next()?.split_once(':')?;
        let (op, value) = match (parts.next()?, parts.next()) {
            (op, Some(value)) => (op, value),
            (value, None) => ("", value),
        };
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_devices_are_read_with_and_without_a_direction() {
        let entry = |op: &str, value| BlkioEntry { major: 8, minor: 1, op: op.to_owned(), value };
        assert_eq!(entries("8:1 Read 4096\n8:1 Total 4096\nTotal 4096\n"), [entry("Read", 4096), entry("Total", 4096)]);
        assert_eq!(entries("8:1 7\n"), [entry("", 7)]);
    }
}
