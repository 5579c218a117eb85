//! Flags of limits for the commands of a build: how they run, and no part of what they come to.

use clap::Args;

use crate::base::{Error, Result, units};
use crate::docker::{isolation, words};
use crate::model::limits::Limits;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits of each RUN")]
pub(crate) struct StepLimits {
    /// Limit memory
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Limit memory and swap together; -1 for any swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Set the relative weight; 1024 is normal
    #[arg(short, long, value_name = "WEIGHT")]
    cpu_shares: Option<u64>,
    /// Limit cpu time in a period, in microseconds
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Set the length of a period, in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_period: Option<u64>,
    /// Use these processors only, such as 0-2,4
    #[arg(long, value_name = "SET")]
    cpuset_cpus: Option<String>,
    /// Use these memory nodes only
    #[arg(long, value_name = "SET")]
    cpuset_mems: Option<String>,
    /// Put the cgroup of each command below this one
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
}

impl StepLimits {
    /// # Errors
    /// `invalid_argument` for what could lead out of the hierarchy.
    pub(crate) fn cgroup_parent(&self) -> Result<Option<String>> {
        let parent = self.cgroup_parent.as_deref().map(isolation::cgroup_parent).transpose();
        parent.map_err(|error| error.context("reading --cgroup-parent"))
    }

    /// # Errors
    /// `invalid_argument` names the flag.
    pub(crate) fn limits(&self) -> Result<Limits> {
        let of = |flag: &'static str| move |error: Error| error.context(format!("reading {flag}"));
        let size = |flag, text: &Option<String>| text.as_deref().map(units::parse_bytes).transpose().map_err(of(flag));
        let set = |flag, text: &Option<String>| text.as_deref().map(words::cpuset).transpose().map_err(of(flag));
        let swap = match self.memory_swap.as_deref() {
            Some("-1") => Some(-1),
            _ => size("--memory-swap", &self.memory_swap)?.and_then(|bytes| i64::try_from(bytes).ok()),
        };
        Ok(Limits {
            // Zero is Docker's "not set".
            memory_bytes: size("--memory", &self.memory)?.filter(|bytes| *bytes > 0),
            memory_swap_bytes: swap.filter(|bytes| *bytes != 0),
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            cpu_quota_us: self.cpu_quota.filter(|quota| *quota != 0),
            cpu_period_us: self.cpu_period.filter(|period| *period > 0),
            cpuset_cpus: set("--cpuset-cpus", &self.cpuset_cpus)?,
            cpuset_mems: set("--cpuset-mems", &self.cpuset_mems)?,
            ..Limits::default()
        })
    }
}
