//! Usage as `docker stats` computes and shows it (docker/cli, `cli/command/container/stats_helpers.go`, tells how).
//!
//! Processor time is compared with the machine's between two readings; memory is shown without file pages that nobody used
//! lately, which the kernel could drop at once; a limit above the machine's memory is none.

use serde_json::{Value, json};

use crate::base::units::{binary_size, human_size};
use crate::docker::format::Listing;
use crate::model::stats::{Reading, Sample, Usage};

/// The titles of the columns of a live view.
pub const TITLES: [&str; 8] =
    ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];

/// `docker stats`.
pub const LISTING: Listing = Listing {
    type_name: "*container.statsContext",
    columns: &[
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("ID", "CONTAINER ID"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    table: r"{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
    raw: None,
    quiet_wins: false,
};
/// What is shown where there is no number yet.
const UNKNOWN: &str = "--";

/// What a container uses now; `earlier` is a reading of the same run, or there is no processor time yet.
pub fn usage(earlier: Option<&Sample>, now: &Sample) -> Usage {
    let memory = memory_used(now);
    let limit = match (now.stats.memory.usage.limit, now.machine_memory_bytes) {
        (0, machine) => machine,
        (limit, 0) => limit,
        (limit, machine) => limit.min(machine),
    };
    let moved = |letters: [char; 2]| {
        let entries = now.stats.blkio.io_service_bytes.iter();
        entries.filter(|entry| entry.op.starts_with(letters)).map(|entry| entry.value).sum()
    };
    Usage {
        cpu_percent: earlier.map_or(0.0, |earlier| cpu_percent(earlier, now)),
        memory_bytes: memory,
        memory_limit_bytes: limit,
        memory_percent: if limit == 0 { 0.0 } else { memory as f64 / limit as f64 * 100.0 },
        rx_bytes: now.networks.values().map(|network| network.rx_bytes).sum(),
        tx_bytes: now.networks.values().map(|network| network.tx_bytes).sum(),
        read_bytes: moved(['r', 'R']),
        written_bytes: moved(['w', 'W']),
        pids: now.stats.pids.current,
    }
}

/// The container's share of the machine's processor time, times the processors. A counter that went back belongs to
/// another run.
fn cpu_percent(earlier: &Sample, now: &Sample) -> f64 {
    let used = now.stats.cpu.total_ns.checked_sub(earlier.stats.cpu.total_ns);
    let passed = now.system_cpu_ns.checked_sub(earlier.system_cpu_ns);
    match (used, passed) {
        (Some(used), Some(passed)) if passed > 0 => used as f64 / passed as f64 * now.online_cpus as f64 * 100.0,
        _ => 0.0,
    }
}

/// Version 1 has a total over the cgroups below, version 2 counts so by itself.
fn memory_used(sample: &Sample) -> u64 {
    let memory = &sample.stats.memory;
    let droppable = ["total_inactive_file", "inactive_file"].iter().find_map(|name| memory.raw.get(*name));
    match droppable {
        Some(droppable) if *droppable < memory.usage.usage => memory.usage.usage - droppable,
        _ => memory.usage.usage,
    }
}

/// A row as Docker's templates see it. `given` is what the user wrote for it, if anything.
pub fn row(reading: &Reading, usage: Option<&Usage>, given: Option<&str>, no_trunc: bool) -> Value {
    let id = if no_trunc { reading.id.as_str() } else { reading.id.short() };
    let cells = cells(usage);
    json!({
        "BlockIO": cells.block,
        "CPUPerc": cells.cpu,
        "Container": given.unwrap_or(id),
        "ID": id,
        "MemPerc": cells.memory_percent,
        "MemUsage": cells.memory,
        "Name": reading.name,
        "NetIO": cells.network,
        "PIDs": cells.pids,
    })
}

/// The numbers of a row as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells {
    /// `0.07%`.
    pub cpu: String,
    /// `1.5MiB / 64MiB`.
    pub memory: String,
    /// `2.34%`.
    pub memory_percent: String,
    /// `1.2kB / 0B`.
    pub network: String,
    /// `4.1MB / 0B`.
    pub block: String,
    /// `1`.
    pub pids: String,
}

/// Usage as text; none is not known yet.
pub fn cells(usage: Option<&Usage>) -> Cells {
    let unknown = || UNKNOWN.to_owned();
    let pair = |one: String, other: String| format!("{one} / {other}");
    let Some(usage) = usage else {
        return Cells {
            cpu: unknown(),
            memory: pair(unknown(), unknown()),
            memory_percent: unknown(),
            network: unknown(),
            block: unknown(),
            pids: unknown(),
        };
    };
    Cells {
        cpu: format!("{:.2}%", usage.cpu_percent),
        memory: pair(binary_size(usage.memory_bytes), binary_size(usage.memory_limit_bytes)),
        memory_percent: format!("{:.2}%", usage.memory_percent),
        network: pair(human_size(usage.rx_bytes), human_size(usage.tx_bytes)),
        block: pair(human_size(usage.read_bytes), human_size(usage.written_bytes)),
        pids: usage.pids.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stats::{BlkioEntry, MemoryEntry, NetworkStats};

    fn sample(cpu_ns: u64, system_cpu_ns: u64) -> Sample {
        let mut sample = Sample { system_cpu_ns, online_cpus: 2, machine_memory_bytes: 1 << 30, ..Sample::default() };
        sample.stats.cpu.total_ns = cpu_ns;
        sample.stats.memory.usage = MemoryEntry { limit: u64::MAX, usage: 64 << 20, ..MemoryEntry::default() };
        sample
    }

    #[test]
    fn processor_time_is_compared_with_the_machines() {
        // Half of one of two processors over a second.
        let (before, now) = (sample(1_000_000_000, 10_000_000_000), sample(1_500_000_000, 12_000_000_000));
        assert_eq!(usage(Some(&before), &now).cpu_percent, 50.0);
        assert_eq!(usage(None, &now).cpu_percent, 0.0);
        assert_eq!(usage(Some(&now), &before).cpu_percent, 0.0, "another run");
        assert_eq!(usage(Some(&now), &now).cpu_percent, 0.0, "no time has passed");
    }

    #[test]
    fn memory_is_what_cannot_be_dropped_of_what_there_is() {
        let mut now = sample(0, 0);
        let got = |now: &Sample| {
            let usage = usage(None, now);
            (usage.memory_bytes >> 20, usage.memory_limit_bytes >> 20, usage.memory_percent)
        };
        assert_eq!(got(&now), (64, 1024, 6.25));
        now.stats.memory.raw.insert("inactive_file".into(), 32 << 20);
        assert_eq!(got(&now), (32, 1024, 3.125));
        now.stats.memory.raw.insert("total_inactive_file".into(), 48 << 20);
        now.stats.memory.usage.limit = 64 << 20;
        assert_eq!(got(&now), (16, 64, 25.0));
        // More than all: counters are not read at one moment.
        now.stats.memory.raw.insert("total_inactive_file".into(), 65 << 20);
        assert_eq!(got(&now), (64, 64, 100.0));
    }

    #[test]
    fn numbers_are_shown_as_docker_shows_them() {
        let mut now = sample(0, 0);
        for (op, value) in [("Read", 4_100_000), ("Write", 1000), ("Sync", 7), ("", 9)] {
            now.stats.blkio.io_service_bytes.push(BlkioEntry { major: 8, minor: 0, op: op.into(), value });
        }
        for name in ["eth0", "eth1"] {
            now.networks.insert(name.into(), NetworkStats { rx_bytes: 640, tx_bytes: 10, ..NetworkStats::default() });
        }
        now.stats.pids.current = 3;
        let cells = cells(Some(&usage(None, &now)));
        assert_eq!([cells.cpu, cells.memory, cells.memory_percent], ["0.00%", "64MiB / 1GiB", "6.25%"]);
        assert_eq!([cells.network, cells.block, cells.pids], ["1.28kB / 20B", "4.1MB / 1kB", "3"]);
        assert_eq!(super::cells(None).memory, "-- / --");
    }
}
