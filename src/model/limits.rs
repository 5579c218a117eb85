//! Resource limits, in the units that cgroups take.

use serde::{Deserialize, Serialize};

use crate::model::restart::RestartPolicy;

/// Limits on a container as a whole; `None` is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together, in bytes; -1 is unlimited swap. None with a memory limit is twice that limit.
    pub memory_swap_bytes: Option<i64>,
    /// Soft memory limit, in bytes.
    pub memory_reservation_bytes: Option<u64>,
    /// Processors' worth of time: 1.5.
    pub cpus: Option<f64>,
    /// Microseconds of cpu time in a period; excludes `cpus`.
    pub cpu_quota_us: Option<i64>,
    /// The length of a period in microseconds.
    pub cpu_period_us: Option<u64>,
    /// Relative weight, 1024 is normal.
    pub cpu_shares: Option<u64>,
    /// Processors it may run on: `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes it may use.
    pub cpuset_mems: Option<String>,
    /// Number of processes and threads; -1 is unlimited.
    pub pids: Option<i64>,
    /// How readily the kernel swaps, 0 to 100; cgroup version 1 alone has it.
    pub memory_swappiness: Option<u64>,
    /// Processes over the memory limit wait instead of being killed; cgroup version 1 alone can.
    pub oom_kill_disable: bool,
    /// Microseconds of real-time scheduling in a period; cgroup version 1 alone has it.
    pub cpu_rt_runtime_us: Option<i64>,
    /// The length of such a period in microseconds.
    pub cpu_rt_period_us: Option<u64>,
    /// Limits of disks.
    pub blkio: Blkio,
}

/// Limits of input and output of block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Blkio {
    /// Relative weight, 10 to 1000.
    pub weight: Option<u16>,
    /// Weights for single devices, 10 to 1000.
    pub weight_device: Vec<DeviceValue>,
    /// Bytes read in a second.
    pub read_bps: Vec<DeviceValue>,
    /// Bytes written in a second.
    pub write_bps: Vec<DeviceValue>,
    /// Reads in a second.
    pub read_iops: Vec<DeviceValue>,
    /// Writes in a second.
    pub write_iops: Vec<DeviceValue>,
}

impl Blkio {
    /// Every device that a limit names.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let lists = [&self.weight_device, &self.read_bps, &self.write_bps, &self.read_iops, &self.write_iops];
        lists.into_iter().flatten().map(|one| one.path.as_str())
    }
}

/// A number for one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceValue {
    /// The device's path on the host, `/dev/sda`.
    pub path: String,
    /// The number.
    pub value: u64,
}

/// A resource limit of processes, setrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// The name without `RLIMIT_`, lower-case: `nofile`.
    pub name: String,
    /// The limit that a process may raise up to `hard`; `None` is unlimited.
    pub soft: Option<u64>,
    /// The ceiling; `None` is unlimited.
    pub hard: Option<u64>,
}

/// What changes of a container that exists: what is `None`, empty or false stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerUpdate {
    /// New limits. Of the limits of disks the weight alone can change.
    pub limits: Limits,
    /// Another restart policy.
    pub restart: Option<RestartPolicy>,
}
