//! Resource limits, in the units that cgroups take.

use serde::{Deserialize, Serialize};

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
