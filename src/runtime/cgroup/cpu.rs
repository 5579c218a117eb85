//! Processors: shares, quota and burst, real time, idle, and the sets of processors and memory nodes.

use std::collections::BTreeSet;
use std::path::Path;

use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuset::CpuSetController;
use oci_spec::runtime::LinuxCpu;

use super::control::{Told, missing, read, refused, set, system_error, write};
use super::place::Parents;
use super::{Cgroup, MOUNT};
use crate::base::{Context as _, Error, Result};

/// The range of shares, which the kernel forces silently.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;
/// More processors or memory nodes than any kernel is built for: a set is never expanded beyond (CVE-2018-20699).
const TOO_MANY: u32 = 65_536;

impl Cgroup {
    pub(super) fn limit_cpu(&self, cpu: &LinuxCpu) -> Result<()> {
        let shares = cpu.shares().filter(|shares| *shares != 0);
        let period = cpu.period().filter(|period| *period != 0);
        let quota = cpu.quota().filter(|quota| *quota != 0);
        let real_time =
            cpu.realtime_runtime().is_some_and(|us| us != 0) || cpu.realtime_period().is_some_and(|us| us != 0);
        if !real_time
            && cpu.idle().is_none()
            && cpu.burst().is_none()
            && shares.is_none()
            && period.is_none()
            && quota.is_none()
        {
            return Ok(());
        }
        let dir = self.controller("cpu")?;
        let controller = CpuController::new(dir.clone(), MOUNT.into(), self.is_v2());
        if real_time {
            self.limit_real_time(&dir, &controller, cpu)?;
        }
        let idle = cpu.idle().map(|idle| match idle {
            0 | 1 => Ok(idle),
            other => Err(Error::invalid(format!("{other} is no value for cpu idle: 0 or 1"))),
        });
        let idle = idle.transpose()?;
        // An idle cgroup takes no shares: they come before it, and after it is ended.
        if idle == Some(0) && (dir.join("cpu.idle").exists() || shares.is_none()) {
            set_idle(&dir, 0)?;
        }
        if let Some(shares) = shares {
            if !SHARES.contains(&shares) {
                return Err(Error::invalid(format!("cpu shares {shares} are not within 2 to 262144")));
            }
            let v2 = self.is_v2();
            let value = if v2 { weight_of(shares) } else { shares };
            let file = if v2 { "cpu.weight" } else { "cpu.shares" };
            controller.set_shares(value).told(&dir, file, "cpu shares", shares)?;
        }
        if idle == Some(1) {
            set_idle(&dir, 1)?;
        }
        if quota.is_some() || period.is_some() || cpu.burst().is_some() {
            self.limit_bandwidth(&dir, &controller, (quota, period, cpu.burst()))?;
        }
        Ok(())
    }

    /// Quota, period and burst hold against each other and against the parents: what is refused first may be taken when
    /// the others are there.
    fn limit_bandwidth(&self, dir: &Path, controller: &CpuController, (quota, period, burst): Bandwidth) -> Result<()> {
        if let (Some(quota @ 1..), Some(burst)) = (quota, burst)
            && burst > quota.unsigned_abs()
        {
            return Err(Error::invalid(format!("cpu burst {burst} is larger than the quota {quota}")));
        }
        let (file, burst_file) =
            if self.is_v2() { ("cpu.max", "cpu.max.burst") } else { ("cpu.cfs_quota_us", "cpu.cfs_burst_us") };
        let quota = quota.map(|quota| quota.max(-1));
        let bandwidth = || -> std::io::Result<()> {
            let result = if self.is_v2() && (quota.is_some() || period.is_some()) {
                controller.set_cfs_quota_and_period(quota, period)
            } else {
                // The period first; if it does not go with the old quota, after the new one.
                let early = period.map_or(Ok(()), |period| controller.set_cfs_period(period));
                quota.map_or(Ok(()), |quota| controller.set_cfs_quota(quota)).and_then(|()| match (early, period) {
                    (Err(_), Some(period)) if quota.is_some() => controller.set_cfs_period(period),
                    (early, _) => early,
                })
            };
            result.map_err(|error| system_error(&error))
        };
        let burst_of = |burst: u64| -> std::io::Result<()> { write(dir, burst_file, &burst.to_string()) };
        let no_burst = |burst: u64, error| refused(dir, burst_file, "cpu burst", burst, error);
        let refuse = |error| {
            let text = |number: Option<i64>| number.map_or("unchanged".to_owned(), |number| number.to_string());
            let period = period.and_then(|period| i64::try_from(period).ok());
            refused(dir, file, "cpu quota and period", format!("{}/{}", text(quota), text(period)), error)
        };
        match (bandwidth(), burst) {
            (Ok(()), None) => Ok(()),
            // Nothing to burst is what there is without the file.
            (Ok(()), Some(0)) if !dir.join(burst_file).exists() => Ok(()),
            (Ok(()), Some(burst)) => burst_of(burst).map_err(|error| no_burst(burst, error)),
            (Err(error), Some(burst)) if error.raw_os_error() == Some(22) => {
                burst_of(burst).map_err(|error| no_burst(burst, error))?;
                bandwidth().map_err(refuse)
            }
            (Err(error), _) => Err(refuse(error)),
        }
    }

    /// Real time is divided among cgroups, and new ones have none: parents of ours get what their child is to have.
    fn limit_real_time(&self, dir: &Path, controller: &CpuController, cpu: &LinuxCpu) -> Result<()> {
        if self.is_v2() || !dir.join("cpu.rt_runtime_us").exists() {
            return Err(missing("division of real time among cgroups", "cpu.rt_runtime_us"));
        }
        let runtime = cpu.realtime_runtime().filter(|us| *us != 0);
        let period = cpu.realtime_period().filter(|us| *us != 0);
        let give = |controller: &CpuController| -> std::io::Result<()> {
            let period = period.map_or(Ok(()), |us| controller.set_rt_period_us(us));
            period
                .and_then(|()| runtime.map_or(Ok(()), |us| controller.set_rt_runtime(us)))
                .map_err(|error| system_error(&error))
        };
        let first = give(controller);
        if first.as_ref().is_err_and(|error| error.raw_os_error() == Some(22)) {
            let own = self.place.removable(&[dir.to_owned()]);
            let own = own.iter().filter(|parent| dir.starts_with(parent));
            for parent in own.collect::<Vec<_>>().into_iter().rev() {
                // Whether it was enough shows below.
                let _ = give(&CpuController::new(parent.clone(), MOUNT.into(), false));
            }
        } else if first.is_ok() {
            return Ok(());
        }
        give(controller).map_err(|error| {
            let value = format!("{}/{}", runtime.unwrap_or_default(), period.unwrap_or_default());
            let error = refused(dir, "cpu.rt_runtime_us", "real time", value, error);
            match self.place.parents {
                Parents::Missing(_) => error.with_hint("the cgroups above must have as much real time, and to spare"),
                Parents::All => error.with_hint("there is not as much real time to spare"),
            }
        })
    }

    pub(super) fn limit_cpuset(&self, cpu: &LinuxCpu) -> Result<()> {
        let asked = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (cpus, mems) = (asked(cpu.cpus()), asked(cpu.mems()));
        if cpus.is_none() && mems.is_none() {
            return Ok(());
        }
        let dir = self.controller("cpuset")?;
        let controller = CpuSetController::new(dir.clone(), Path::new(MOUNT).join("cpuset"), self.is_v2());
        if !self.is_v2() {
            self.fill_cpuset(&dir)?;
        }
        if let Some(cpus) = cpus {
            let numbers = numbers(&cpus).ok_or_else(|| no_set("processors", &cpus))?;
            controller.set_cpus(&cpus).told(&dir, "cpuset.cpus", "set of processors", &cpus)?;
            self.expect_set(&dir, "cpuset.cpus", "processors", &numbers)?;
        }
        if let Some(mems) = mems {
            let numbers = numbers(&mems).ok_or_else(|| no_set("memory nodes", &mems))?;
            controller.set_mems(&mems).told(&dir, "cpuset.mems", "set of memory nodes", &mems)?;
            self.expect_set(&dir, "cpuset.mems", "memory nodes", &numbers)?;
        }
        Ok(())
    }

    /// Version 2 takes a set of which nothing is there, and then gives what the parent has.
    fn expect_set(&self, dir: &Path, file: &str, what: &str, asked: &BTreeSet<u32>) -> Result<()> {
        let file = if self.is_v2() { format!("{file}.effective") } else { file.to_owned() };
        let found = read(dir, &file).context(|| format!("reading {:?}", dir.join(&file)))?;
        match numbers(&found) {
            Some(found) if found.is_subset(asked) => Ok(()),
            _ => Err(Error::invalid(format!("of the {what} {asked:?} only {found:?} are there"))),
        }
    }
}

/// Quota, period and burst in microseconds, as far as asked for.
type Bandwidth = (Option<i64>, Option<u64>, Option<u64>);

fn set_idle(dir: &Path, idle: i64) -> Result<()> {
    if idle == 0 && !dir.join("cpu.idle").exists() {
        return Ok(()); // no cgroup of this kernel is idle
    }
    set(dir, "cpu.idle", "cpu idle", idle)
}

/// The mapping of shares 2 to 262144 onto weights 1 to 10000 that runtimes agree on.
fn weight_of(shares: u64) -> u64 {
    1 + (shares - 2) * 9999 / 262_142
}

fn no_set(what: &str, text: &str) -> Error {
    Error::invalid(format!("{text:?} is no set of {what}")).with_hint("a list of numbers and ranges: 0-2,4")
}

/// The numbers of a list like `0-2,4`.
pub(super) fn numbers(text: &str) -> Option<BTreeSet<u32>> {
    let mut set = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (u32, u32) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        if high >= TOO_MANY || low > high {
            return None;
        }
        set.extend(low..=high);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_a_bounded_list_of_numbers() {
        assert_eq!(numbers("0-2,4").unwrap(), BTreeSet::from([0, 1, 2, 4]));
        assert_eq!(numbers("0,1\n").unwrap(), numbers("0-1").unwrap());
        for text in ["0-4294967295", "x", "3-1", "-1", "0-", "1;2", "99999999999999999999"] {
            assert_eq!(numbers(text), None, "{text:?}");
        }
    }

    #[test]
    fn shares_become_weights() {
        assert_eq!([2, 512, 1024, 262_144].map(weight_of), [1, 20, 39, 10_000]);
    }
}
