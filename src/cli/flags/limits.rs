//! Flags of limits: memory, processors, processes, disks.

use clap::Args;

use crate::base::{Error, Result};
use crate::cli::flags::{each, flag, size};
use crate::docker::{devices, words};
use crate::model::container::ContainerOptions;
use crate::model::limits::Blkio;

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitFlags {
    /// Limit memory
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Limit memory and swap together; -1 for any swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Set the memory that is kept under pressure
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// Limit processors' worth of time, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<f64>,
    /// Limit cpu time in a period, in microseconds
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Set the length of a period, in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_period: Option<u64>,
    /// Set the relative weight; 1024 is normal
    #[arg(short, long, value_name = "WEIGHT")]
    cpu_shares: Option<u64>,
    /// Use these processors only, such as 0-2,4
    #[arg(long, value_name = "SET")]
    cpuset_cpus: Option<String>,
    /// Use these memory nodes only
    #[arg(long, value_name = "SET")]
    cpuset_mems: Option<String>,
    /// Limit processes and threads; -1 for any number
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Limit a resource of each process, such as nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// Set how readily the kernel swaps, 0 to 100
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    memory_swappiness: Option<i64>,
    /// Let processes wait for memory instead of killing them
    #[arg(long)]
    oom_kill_disable: bool,
    /// Limit real-time scheduling in a period, in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_rt_runtime: Option<i64>,
    /// Set the length of a real-time period, in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_rt_period: Option<u64>,
    /// Set the relative weight of input and output, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u64>,
    /// Set the relative weight for a device
    #[arg(long, value_name = "DEVICE:WEIGHT")]
    blkio_weight_device: Vec<String>,
    /// Limit bytes read from a device in a second
    #[arg(long, value_name = "DEVICE:SIZE")]
    device_read_bps: Vec<String>,
    /// Limit bytes written to a device in a second
    #[arg(long, value_name = "DEVICE:SIZE")]
    device_write_bps: Vec<String>,
    /// Limit reads from a device in a second
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_read_iops: Vec<String>,
    /// Limit writes to a device in a second
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_write_iops: Vec<String>,
    /// Adjust the out-of-memory killer's choice, -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,
}

impl LimitFlags {
    pub(super) fn apply(&self, options: &mut ContainerOptions) -> Result<()> {
        let limits = &mut options.limits;
        limits.memory_bytes = size("--memory", self.memory.as_deref())?;
        limits.memory_swap_bytes = match self.memory_swap.as_deref() {
            Some("-1") => Some(-1),
            text => size("--memory-swap", text)?.and_then(|bytes| i64::try_from(bytes).ok()),
        };
        limits.memory_reservation_bytes = size("--memory-reservation", self.memory_reservation.as_deref())?;
        limits.cpus = match self.cpus {
            Some(cpus) if !cpus.is_finite() || cpus < 0.0 => {
                return Err(Error::invalid(format!("option \"--cpus\" takes a number of zero or more, not {cpus}")));
            }
            cpus => cpus.filter(|cpus| *cpus > 0.0),
        };
        // Zero is Docker's "not set".
        limits.cpu_quota_us = self.cpu_quota.filter(|quota| *quota != 0);
        limits.cpu_period_us = self.cpu_period.filter(|period| *period > 0);
        limits.cpu_shares = self.cpu_shares.filter(|shares| *shares > 0);
        limits.cpuset_cpus = flag("--cpuset-cpus", self.cpuset_cpus.as_deref().map(words::cpuset).transpose())?;
        limits.cpuset_mems = flag("--cpuset-mems", self.cpuset_mems.as_deref().map(words::cpuset).transpose())?;
        limits.pids = self.pids_limit.filter(|pids| *pids != 0);
        limits.memory_swappiness = match self.memory_swappiness {
            None | Some(-1) => None,
            Some(number @ 0..=100) => Some(number.unsigned_abs()),
            Some(number) => {
                let error = format!("option \"--memory-swappiness\" takes a number from 0 to 100, not {number}");
                return Err(Error::invalid(error));
            }
        };
        limits.oom_kill_disable = self.oom_kill_disable;
        limits.cpu_rt_runtime_us = self.cpu_rt_runtime.filter(|time| *time != 0);
        limits.cpu_rt_period_us = self.cpu_rt_period.filter(|time| *time > 0);
        limits.blkio = Blkio {
            weight: flag("--blkio-weight", devices::weight_of(self.blkio_weight.unwrap_or(0)))?,
            weight_device: each("--blkio-weight-device", &self.blkio_weight_device, devices::device_weight)?,
            read_bps: each("--device-read-bps", &self.device_read_bps, devices::bytes_rate)?,
            write_bps: each("--device-write-bps", &self.device_write_bps, devices::bytes_rate)?,
            read_iops: each("--device-read-iops", &self.device_read_iops, devices::operations_rate)?,
            write_iops: each("--device-write-iops", &self.device_write_iops, devices::operations_rate)?,
        };
        options.ulimits = each("--ulimit", &self.ulimit, words::ulimit)?;
        options.oom_score_adj = match self.oom_score_adj {
            Some(score) if !(-1000..=1000).contains(&score) => {
                let error = format!("option \"--oom-score-adj\" takes a number from -1000 to 1000, not {score}");
                return Err(Error::invalid(error));
            }
            score => score,
        };
        Ok(())
    }
}
