//! `rhumb update`: other limits and another restart policy for containers that exist.

use clap::Args;

use crate::base::{Error, Result};
use crate::cli::Session;
use crate::cli::container::Names;
use crate::cli::flags::{flag, size};
use crate::docker::{devices, words};
use crate::model::limits::{Blkio, ContainerUpdate, Limits};

// `rhumb update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Set the relative weight of input and output, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u64>,
    /// Set the length of a period, in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_period: Option<u64>,
    /// Limit cpu time in a period, in microseconds; -1 for no limit
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Set the length of a real-time period, in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_rt_period: Option<u64>,
    /// Limit real-time scheduling in a period, in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_rt_runtime: Option<i64>,
    /// Set the relative weight; 1024 is normal
    #[arg(short, long, value_name = "WEIGHT")]
    cpu_shares: Option<u64>,
    /// Limit processors' worth of time, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<f64>,
    /// Use these processors only, such as 0-2,4
    #[arg(long, value_name = "SET")]
    cpuset_cpus: Option<String>,
    /// Use these memory nodes only
    #[arg(long, value_name = "SET")]
    cpuset_mems: Option<String>,
    /// Refused: the kernel has no such limit any more
    #[arg(long, value_name = "SIZE", hide = true)]
    kernel_memory: Option<String>,
    /// Limit memory
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Set the memory that is kept under pressure
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// Limit memory and swap together; -1 for any swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Limit processes and threads; -1 for any number
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Restart: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    #[command(flatten)]
    names: Names,
}

impl UpdateArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        let update = self.update()?;
        if !self.names_a_change() {
            return Err(Error::invalid("you must provide one or more flags when using this command")
                .with_hint("such as --memory 512m; see rhumb update --help"));
        }
        self.names.each(session, |engine, name| engine.container_update(name, &update))
    }

    /// Whether a flag was given, whatever its value: zero is "leave it", as with Docker.
    fn names_a_change(&self) -> bool {
        let Self { blkio_weight, cpu_period, cpu_quota, cpu_rt_period, cpu_rt_runtime, cpu_shares, cpus, .. } = self;
        let Self { cpuset_cpus, cpuset_mems, memory, memory_reservation, memory_swap, pids_limit, restart, .. } = self;
        let numbers = [blkio_weight, cpu_period, cpu_rt_period, cpu_shares].into_iter().any(Option::is_some);
        let signed = [cpu_quota, cpu_rt_runtime, pids_limit].into_iter().any(Option::is_some);
        let texts = [cpuset_cpus, cpuset_mems, memory, memory_reservation, memory_swap, restart];
        numbers || signed || cpus.is_some() || texts.into_iter().any(Option::is_some)
    }

    fn update(&self) -> Result<ContainerUpdate> {
        if self.kernel_memory.is_some() {
            return Err(Error::unsupported("option \"--kernel-memory\" is not supported")
                .with_hint("the kernel has no such limit any more"));
        }
        if self.cpus.is_some_and(|cpus| !cpus.is_finite() || cpus < 0.0) {
            return Err(Error::invalid("option \"--cpus\" takes a number of zero or more"));
        }
        let limits = Limits {
            memory_bytes: size("--memory", self.memory.as_deref())?,
            memory_swap_bytes: match self.memory_swap.as_deref() {
                Some("-1") => Some(-1),
                text => size("--memory-swap", text)?.and_then(|bytes| i64::try_from(bytes).ok()),
            },
            memory_reservation_bytes: size("--memory-reservation", self.memory_reservation.as_deref())?,
            // Zero is Docker's "not given".
            cpus: self.cpus.filter(|cpus| *cpus > 0.0),
            cpu_quota_us: self.cpu_quota.filter(|quota| *quota != 0),
            cpu_period_us: self.cpu_period.filter(|period| *period > 0),
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            cpuset_cpus: flag("--cpuset-cpus", self.cpuset_cpus.as_deref().map(words::cpuset).transpose())?,
            cpuset_mems: flag("--cpuset-mems", self.cpuset_mems.as_deref().map(words::cpuset).transpose())?,
            pids: self.pids_limit.filter(|pids| *pids != 0),
            cpu_rt_runtime_us: self.cpu_rt_runtime.filter(|time| *time != 0),
            cpu_rt_period_us: self.cpu_rt_period.filter(|time| *time > 0),
            blkio: Blkio {
                weight: flag("--blkio-weight", devices::weight_of(self.blkio_weight.unwrap_or(0)))?,
                ..Blkio::default()
            },
            ..Limits::default()
        };
        let restart = flag("--restart", self.restart.as_deref().map(words::restart).transpose())?;
        Ok(ContainerUpdate { limits, restart })
    }
}
