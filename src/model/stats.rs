//! What a container has used, as its cgroups and its network interfaces count it. The same words for cgroup version 1
//! and 2. What the machine does not count is zero or empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{Id, Timestamp};

/// A reading of all counters of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// The processors and memory nodes it may use, where that is limited.
    pub cpuset: Option<CpusetStats>,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: PidsStats,
    /// Block devices.
    pub blkio: BlkioStats,
    /// Huge pages by their size, `2MB`.
    pub hugetlb: BTreeMap<String, HugetlbStats>,
    /// RDMA devices by name.
    pub rdma: BTreeMap<String, RdmaStats>,
}

/// Processor time, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// All of it.
    pub total_ns: u64,
    /// In the kernel.
    pub kernel_ns: u64,
    /// In programs.
    pub user_ns: u64,
    /// All of it, for each processor; empty on version 2.
    pub percpu_ns: Vec<u64>,
    /// In the kernel, for each processor.
    pub percpu_kernel_ns: Vec<u64>,
    /// In programs, for each processor.
    pub percpu_user_ns: Vec<u64>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// How long it waited for a new period.
    pub throttled_ns: u64,
    /// How long somebody waited for a processor.
    pub pressure: Option<Pressure>,
}

/// Where it may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpusetStats {
    /// Processors.
    pub cpus: Vec<u16>,
    /// Memory nodes.
    pub mems: Vec<u16>,
    /// The switches and numbers of version 1 by their file names without `cpuset.`: `cpu_exclusive`, `mem_hardwall`, …
    pub switches: BTreeMap<String, i64>,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    /// Of files, which can be dropped.
    pub cache: u64,
    /// Memory as it is limited.
    pub usage: MemoryEntry,
    /// Memory and swap together.
    pub swap: MemoryEntry,
    /// The kernel's for it; no longer limited by itself.
    pub kernel: MemoryEntry,
    /// Of that, for TCP.
    pub kernel_tcp: MemoryEntry,
    /// Cgroups below count here as well.
    pub use_hierarchy: bool,
    /// The kernel's own words and numbers, `memory.stat`.
    pub raw: BTreeMap<String, u64>,
    /// How often what happened: `oom`, `oom_kill`, and on version 2 `low`, `high`, `max`, `oom_group_kill`.
    pub events: BTreeMap<String, u64>,
    /// How long somebody waited for memory.
    pub pressure: Option<Pressure>,
}

/// One kind of memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryEntry {
    /// The limit; `u64::MAX` or nearly so when there is none.
    pub limit: u64,
    /// Now.
    pub usage: u64,
    /// The most there ever was.
    pub max: u64,
    /// How often the limit was reached.
    pub failcnt: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// At most; 0 when there is no limit.
    pub limit: u64,
}

/// Block devices, with those of cgroups below.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioStats {
    /// Bytes transferred.
    pub io_service_bytes: Vec<BlkioEntry>,
    /// Requests.
    pub io_serviced: Vec<BlkioEntry>,
    /// Requests that wait.
    pub io_queued: Vec<BlkioEntry>,
    /// Time of requests in the device, in nanoseconds.
    pub io_service_time: Vec<BlkioEntry>,
    /// Time of requests in queues, in nanoseconds.
    pub io_wait_time: Vec<BlkioEntry>,
    /// Requests that became one with others.
    pub io_merged: Vec<BlkioEntry>,
    /// Time that the device was its, in milliseconds.
    pub io_time: Vec<BlkioEntry>,
    /// Sectors transferred.
    pub sectors: Vec<BlkioEntry>,
    /// How long somebody waited for a device.
    pub pressure: Option<Pressure>,
}

/// One counter of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioEntry {
    /// The device's driver.
    pub major: u64,
    /// Which of the driver's devices.
    pub minor: u64,
    /// `Read`, `Write`, …; empty where it is not divided.
    pub op: String,
    /// The count.
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HugetlbStats {
    /// Now.
    pub usage: u64,
    /// The most there ever was; version 1 alone counts it.
    pub max: u64,
    /// How often the limit was reached.
    pub failcnt: u64,
}

/// One RDMA device; a limit of `u32::MAX` is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RdmaStats {
    /// Handles in use.
    pub handles: u32,
    /// Objects in use.
    pub objects: u32,
    /// Handles at most.
    pub handles_limit: u32,
    /// Objects at most.
    pub objects_limit: u32,
}

/// How much of the time somebody waited for a resource (the kernel's pressure stall information).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// At least one task waited.
    pub some: PressureLine,
    /// All tasks waited.
    pub full: PressureLine,
}

/// One line of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PressureLine {
    /// Percent of the last ten seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// In all, in microseconds.
    pub total_us: u64,
}

// The percentages are numbers of the kernel with two digits: never NaN.
impl Eq for Pressure {}
impl Eq for PressureLine {}

/// Counters of one network interface since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkStats {
    /// Bytes that came.
    pub rx_bytes: u64,
    /// Packets that came.
    pub rx_packets: u64,
    /// Of those, broken ones.
    pub rx_errors: u64,
    /// Packets that came and were dropped.
    pub rx_dropped: u64,
    /// Bytes that were sent.
    pub tx_bytes: u64,
    /// Packets that were sent.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets that were to be sent and were dropped.
    pub tx_dropped: u64,
}

/// One reading of a running container, and of the machine at the same moment: two of them tell how busy it was between.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// When.
    pub taken: Timestamp,
    /// What its cgroups count.
    pub stats: Stats,
    /// Its own network interfaces but the loopback; empty with the host's network.
    pub networks: BTreeMap<String, NetworkStats>,
    /// Processor time of the whole machine, idle time included, in nanoseconds.
    pub system_cpu_ns: u64,
    /// Processors that the machine has.
    pub online_cpus: u64,
    /// Memory that the machine has, in bytes.
    pub machine_memory_bytes: u64,
}

/// A container with its reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Its identity.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// None when it does not run.
    pub sample: Option<Sample>,
}

/// What a container uses, in the words of people: see `docker::stats` for how it is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Of one processor: 100 is one that is never idle, so two give 200 at most.
    pub cpu_percent: f64,
    /// Without what the kernel could drop at once, in bytes.
    pub memory_bytes: u64,
    /// Its limit, or the machine's memory, in bytes.
    pub memory_limit_bytes: u64,
    /// The share of the limit.
    pub memory_percent: f64,
    /// Bytes that came over its networks.
    pub rx_bytes: u64,
    /// Bytes that it sent.
    pub tx_bytes: u64,
    /// Bytes read from block devices.
    pub read_bytes: u64,
    /// Bytes written to block devices.
    pub written_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}
