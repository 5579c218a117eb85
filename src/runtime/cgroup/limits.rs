//! Limits: writing them with `cgroups-rs` and reading each back, since the library swallows errors. Device rules on
//! version 2 are a program of [`crate::sys::device_filter`].
//!
//! Not here: which folders there are, and how they come and go.

use std::fs;
use std::path::Path;

use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuset::CpuSetController;
use cgroups_rs::fs::devices::{DevicePermissions, DeviceType, DevicesController};
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Controller as _, MaxValue};
use oci_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxPids, LinuxResources};

use super::{Cgroup, MOUNT, from_library};
use crate::base::{Context as _, Error, Result};
use crate::sys::device_filter;

impl Cgroup {
    /// Sets all limits of the folders, which exist.
    pub(super) fn limit(&self, resources: &LinuxResources) -> Result<()> {
        if let Some(memory) = resources.memory() {
            self.limit_memory(memory)?;
        }
        if let Some(cpu) = resources.cpu() {
            self.limit_cpu(cpu)?;
        }
        if let Some(pids) = resources.pids() {
            self.limit_pids(pids)?;
        }
        if let Some(devices) = resources.devices().as_ref() {
            self.limit_devices(devices)?;
        }
        Ok(())
    }

    fn limit_memory(&self, memory: &LinuxMemory) -> Result<()> {
        if memory.limit().or(memory.swap()).or(memory.reservation()).is_none() {
            return Ok(());
        }
        let dir = self.controller("memory")?;
        let controller = MemController::new(dir.clone(), MOUNT.into(), self.is_v2());
        let names = if self.is_v2() {
            ["memory.max", "memory.swap.max", "memory.low"]
        } else {
            ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes"]
        };
        if let Some(limit) = memory.limit() {
            controller.set_limit(limit).map_err(|error| refused("memory limit", limit, error))?;
            verify_bytes(&dir.join(names[0]), limit)?;
        }
        if let Some(swap) = memory.swap() {
            // Version 1 counts memory and swap together, version 2 swap alone.
            let value = match (self.is_v2(), swap) {
                (true, 0..) => (swap - memory.limit().unwrap_or(0)).max(0),
                _ => swap,
            };
            if dir.join(names[1]).exists() {
                controller.set_memswap_limit(value).map_err(|error| refused("swap limit", swap, error))?;
                verify_bytes(&dir.join(names[1]), value)?;
            } else if machine_has_swap()? {
                return Err(Error::unsupported("the kernel does not account for swap")
                    .with_hint("boot with swapaccount=1, or set the swap limit to -1"));
            }
        }
        if let Some(reservation) = memory.reservation() {
            controller
                .set_soft_limit(reservation)
                .map_err(|error| refused("memory reservation", reservation, error))?;
            verify_bytes(&dir.join(names[2]), reservation)?;
        }
        Ok(())
    }

    fn limit_cpu(&self, cpu: &LinuxCpu) -> Result<()> {
        if let Some(shares) = cpu.shares() {
            let dir = self.controller("cpu")?;
            // The kernel's mapping of shares 2 to 262144 onto weights 1 to 10000.
            let value = if self.is_v2() { 1 + (shares.saturating_sub(2) * 9999) / 262_142 } else { shares };
            let controller = CpuController::new(dir.clone(), MOUNT.into(), self.is_v2());
            controller.set_shares(value).map_err(|error| refused("cpu shares", shares, error))?;
            let file = dir.join(if self.is_v2() { "cpu.weight" } else { "cpu.shares" });
            verify(&file, &value.clamp(if self.is_v2() { 1 } else { 2 }, 262_144).to_string())?;
        }
        if cpu.quota().is_some() || cpu.period().is_some() {
            let dir = self.controller("cpu")?;
            let controller = CpuController::new(dir.clone(), MOUNT.into(), self.is_v2());
            if let Some(period) = cpu.period() {
                controller.set_cfs_period(period).map_err(|error| refused("cpu period", period, error))?;
            }
            if let Some(quota) = cpu.quota() {
                controller.set_cfs_quota(quota).map_err(|error| refused("cpu quota", quota, error))?;
            }
            let text = |value: Option<String>, other: &str| value.unwrap_or_else(|| other.to_owned());
            let quota = cpu.quota().map(|quota| quota.to_string());
            let period = cpu.period().map(|period| period.to_string());
            if self.is_v2() {
                let quota = quota.filter(|quota| quota != "-1");
                verify(&dir.join("cpu.max"), &format!("{} {}", text(quota, "max"), text(period, "100000")))?;
            } else {
                verify(&dir.join("cpu.cfs_quota_us"), &text(quota, "-1"))?;
                verify(&dir.join("cpu.cfs_period_us"), &text(period, "100000"))?;
            }
        }
        if cpu.cpus().is_some() || cpu.mems().is_some() {
            let dir = self.controller("cpuset")?;
            let controller = CpuSetController::new(dir.clone(), Path::new(MOUNT).join("cpuset"), self.is_v2());
            if !self.is_v2() {
                // Fills in what the parents have, without which nothing can be set.
                controller.create().map_err(from_library)?;
            }
            if let Some(cpus) = cpu.cpus() {
                controller.set_cpus(cpus).map_err(|error| refused("set of processors", cpus, error))?;
                verify_list(&dir.join("cpuset.cpus"), cpus)?;
            }
            if let Some(mems) = cpu.mems() {
                controller.set_mems(mems).map_err(|error| refused("set of memory nodes", mems, error))?;
                verify_list(&dir.join("cpuset.mems"), mems)?;
            }
        }
        Ok(())
    }

    fn limit_pids(&self, pids: &LinuxPids) -> Result<()> {
        let limit = pids.limit();
        if limit <= 0 {
            return Ok(()); // -1 and 0 are Docker's "no limit", which a new cgroup has
        }
        let dir = self.controller("pids")?;
        let controller = PidController::new(dir.clone(), MOUNT.into(), self.is_v2());
        controller.set_pid_max(MaxValue::Value(limit)).map_err(|error| refused("process limit", limit, error))?;
        verify(&dir.join("pids.max"), &limit.to_string())
    }

    fn limit_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<()> {
        if self.is_v2() {
            let Some(program) = device_filter::program(&device_rules(rules)?) else { return Ok(()) };
            let dir = self.in_hierarchy("");
            return device_filter::attach(&program, &dir)
                .map_err(|error| Error::from(error).with_hint("the kernel needs CONFIG_CGROUP_BPF"))
                .context(|| format!("attaching device rules to {dir:?}"));
        }
        let dir = self.controller("devices")?;
        let controller = DevicesController::new(dir, MOUNT.into());
        for rule in rules {
            let kind = match rule.typ() {
                None | Some(LinuxDeviceType::A) => DeviceType::All,
                Some(LinuxDeviceType::B) => DeviceType::Block,
                Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceType::Char,
                Some(LinuxDeviceType::P) => continue, // a pipe is no device to the kernel's rules
            };
            let access = rule.access().as_deref().unwrap_or("rwm");
            let access =
                DevicePermissions::from_str(access).map_err(|error| refused("device access", access, error))?;
            let (major, minor) = (rule.major().unwrap_or(-1), rule.minor().unwrap_or(-1));
            let apply = if rule.allow() { DevicesController::allow_device } else { DevicesController::deny_device };
            apply(&controller, kind, major, minor, &access)
                .map_err(|error| refused("device rule", format!("{major}:{minor}"), error))?;
        }
        Ok(())
    }
}

/// The rules as version 2 takes them.
fn device_rules(rules: &[LinuxDeviceCgroup]) -> Result<Vec<device_filter::Rule>> {
    use device_filter::{MAKE, Nodes, READ, Rule, WRITE};
    let mut converted = Vec::new();
    for rule in rules {
        let nodes = match rule.typ() {
            None | Some(LinuxDeviceType::A) => None,
            Some(LinuxDeviceType::B) => Some(Nodes::Block),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Nodes::Char),
            Some(LinuxDeviceType::P) => continue, // a pipe is no device to the kernel's rules
        };
        let mut access = 0;
        for letter in rule.access().as_deref().unwrap_or("rwm").chars() {
            access |= match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MAKE,
                other => return Err(Error::invalid(format!("{other:?} is no access to a device"))),
            };
        }
        // -1 is "all of them", as a missing number is.
        let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        let (major, minor) = (number(rule.major()), number(rule.minor()));
        converted.push(Rule { allow: rule.allow(), nodes, major, minor, access });
    }
    Ok(converted)
}

fn machine_has_swap() -> Result<bool> {
    let text = fs::read_to_string("/proc/swaps").context(|| "reading \"/proc/swaps\"")?;
    Ok(text.lines().count() > 1)
}

fn refused(what: &str, value: impl std::fmt::Display, error: cgroups_rs::fs::error::Error) -> Error {
    let cause = from_library(error);
    Error::invalid(format!("the kernel refuses the {what} {value}")).with_source(cause)
}

fn verify(file: &Path, expected: &str) -> Result<()> {
    let found = fs::read_to_string(file).context(|| format!("reading {file:?}"))?;
    if found.trim() == expected {
        Ok(())
    } else {
        Err(Error::unsupported(format!("{file:?} is {:?} after {expected:?} was written", found.trim())))
    }
}

/// Byte limits are kept in whole pages; -1 and huge ones are unlimited.
fn verify_bytes(file: &Path, expected: i64) -> Result<()> {
    let found = fs::read_to_string(file).context(|| format!("reading {file:?}"))?;
    let found = found.trim();
    let page = 64 * 1024; // the largest page of the supported machines
    let same = match (found.parse::<i64>(), expected) {
        (Ok(found), 0..) => found <= expected && expected - found < page || found > i64::MAX - page,
        (Ok(found), _) => found > i64::MAX - page,
        (Err(_), expected) => found == "max" && (expected < 0 || expected > i64::MAX - page),
    };
    if same { Ok(()) } else { Err(Error::unsupported(format!("{file:?} is {found:?} after {expected} was written"))) }
}

/// Lists of numbers may come back in another spelling: `0,1` as `0-1`.
fn verify_list(file: &Path, expected: &str) -> Result<()> {
    let found = fs::read_to_string(file).context(|| format!("reading {file:?}"))?;
    let numbers = |text: &str| -> Option<std::collections::BTreeSet<u32>> {
        let mut set = std::collections::BTreeSet::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high): (u32, u32) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
            if high >= 65_536 {
                return None; // CVE-2018-20699: a range is never expanded beyond what a machine can have
            }
            set.extend(low..=high);
        }
        Some(set)
    };
    match (numbers(&found), numbers(expected)) {
        (Some(found), Some(expected)) if found == expected => Ok(()),
        _ => Err(Error::unsupported(format!("{file:?} is {:?} after {expected:?} was written", found.trim()))),
    }
}
