//! Memory: limit, swap, reservation, and what else version 1 has.

use std::io;
use std::path::Path;

use cgroups_rs::fs::memory::MemController;
use oci_spec::runtime::LinuxMemory;

use super::control::{self, Told, missing, read, refused, set, system_error};
use super::{Cgroup, MOUNT};
use crate::base::{Context as _, Error, Result};

const LIMIT_V1: &str = "memory.limit_in_bytes";
const SWAP_V1: &str = "memory.memsw.limit_in_bytes";
const LIMIT_V2: &str = "memory.max";
const SWAP_V2: &str = "memory.swap.max";

impl Cgroup {
    pub(super) fn limit_memory(&self, memory: &LinuxMemory, live: bool) -> Result<()> {
        let asked = |what: &str, value: Option<i64>| match value {
            None | Some(0) => Ok(None),
            Some(-1..) => Ok(value),
            Some(value) => Err(Error::invalid(format!("{value} is no {what}: bytes, or -1 for no limit"))),
        };
        let limit = asked("memory limit", memory.limit())?;
        let swap = asked("memory+swap limit", memory.swap())?;
        let reservation = asked("memory reservation", memory.reservation())?;
        let kernel = asked("kernel memory limit", memory.kernel())?;
        let kernel_tcp = asked("kernel TCP memory limit", memory.kernel_tcp())?;
        if let Some(swappiness) = memory.swappiness().filter(|swappiness| *swappiness > 100) {
            return Err(Error::invalid(format!("memory swappiness {swappiness} is not within 0 to 100")));
        }
        let numbers = [limit, swap, reservation, kernel, kernel_tcp].iter().any(Option::is_some);
        let switches = [memory.disable_oom_killer(), memory.use_hierarchy()].iter().any(Option::is_some);
        if !numbers && !switches && memory.swappiness().is_none() {
            return Ok(());
        }
        let dir = self.controller("memory")?;
        let numbers = Numbers { limit, swap, reservation, kernel, kernel_tcp };
        if self.is_v2() { limit_v2(&dir, memory, &numbers) } else { limit_v1(&dir, memory, &numbers, live) }
    }
}

/// What was asked for, in bytes; -1 is no limit.
struct Numbers {
    limit: Option<i64>,
    swap: Option<i64>,
    reservation: Option<i64>,
    kernel: Option<i64>,
    kernel_tcp: Option<i64>,
}

fn limit_v1(dir: &Path, memory: &LinuxMemory, numbers: &Numbers, live: bool) -> Result<()> {
    let controller = MemController::new(dir.to_owned(), MOUNT.into(), false);
    if let Some(asked) = memory.use_hierarchy() {
        let value = if asked { "1" } else { "0" };
        // Since Linux 5.11 it is always on.
        if read(dir, "memory.use_hierarchy").context(|| "reading memory.use_hierarchy")? != value {
            set(dir, "memory.use_hierarchy", "hierarchical accounting", value)?;
        }
    }
    if let Some(reservation) = numbers.reservation {
        let told = controller.set_soft_limit(reservation);
        told.told(dir, "memory.soft_limit_in_bytes", "memory reservation", reservation)?;
    }
    limit_and_swap_v1(dir, &controller, numbers)?;
    if numbers.kernel.is_some_and(|kernel| kernel > 0) {
        // Newer kernels take the number and do nothing.
        set(dir, "memory.kmem.limit_in_bytes", "kernel memory limit", numbers.kernel.unwrap_or(-1))?;
        let kept = read(dir, "memory.kmem.limit_in_bytes").context(|| "reading memory.kmem.limit_in_bytes")?;
        if kept.parse::<i64>().is_ok_and(|kept| kept > i64::MAX - (1 << 20)) {
            return Err(Error::unsupported("this kernel has no limit on kernel memory of its own")
                .with_hint("kernel memory counts as memory: limit that"));
        }
    }
    if let Some(kernel_tcp) = numbers.kernel_tcp {
        let told = controller.set_tcp_limit(kernel_tcp);
        told.told(dir, "memory.kmem.tcp.limit_in_bytes", "kernel TCP memory limit", kernel_tcp)?;
    }
    if let Some(swappiness) = memory.swappiness() {
        controller.set_swappiness(swappiness).told(dir, "memory.swappiness", "memory swappiness", swappiness)?;
    }
    match memory.disable_oom_killer() {
        Some(true) => controller.disable_oom_killer().told(dir, "memory.oom_control", "switch", "disableOOMKiller"),
        // A new cgroup has one.
        Some(false) if live => set(dir, "memory.oom_control", "switch for the out-of-memory killer", 0),
        _ => Ok(()),
    }
}

/// The kernel holds that the limit is never above that of memory and swap together: raising begins with the latter,
/// lowering with the former.
fn limit_and_swap_v1(dir: &Path, controller: &MemController, numbers: &Numbers) -> Result<()> {
    let has_swap = dir.join(SWAP_V1).exists();
    // No limit on memory is none on both, or it would be refused.
    let swap = if numbers.limit == Some(-1) && has_swap { numbers.swap.or(Some(-1)) } else { numbers.swap };
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (numbers.limit, swap)
        && swap < limit
    {
        return Err(below(swap, limit));
    }
    let swap = match swap {
        Some(swap) if !has_swap => {
            if swap > 0 && machine_has_swap()? {
                return Err(missing("limit on swap", SWAP_V1).with_hint("boot with swapaccount=1, or set it to -1"));
            }
            None // without swap there is nothing to limit
        }
        swap => swap,
    };
    let set_limit = |limit: i64| controller.set_limit(limit).map_err(|error| system_error(&error));
    let set_swap = |swap: i64| controller.set_memswap_limit(swap).map_err(|error| system_error(&error));
    let no_limit = |limit: i64, error: io::Error| {
        if error.raw_os_error() == Some(16) {
            // EBUSY: the kernel could not free enough.
            let number = |file| read(dir, file).unwrap_or_default();
            let (now, peak) = (number("memory.usage_in_bytes"), number("memory.max_usage_in_bytes"));
            return Error::conflict(format!(
                "unable to set memory limit to {limit} (current usage: {now}, peak usage: {peak})"
            ));
        }
        let above = error.raw_os_error() == Some(22); // EINVAL
        let error = refused(dir, LIMIT_V1, "memory limit", limit, error);
        if above {
            error.with_hint("it may not be above the limit of memory and swap: raise that as well")
        } else {
            error
        }
    };
    let no_swap = |swap: i64, error: io::Error| refused(dir, SWAP_V1, "memory+swap limit", swap, error);
    match (numbers.limit, swap) {
        (Some(limit), Some(swap)) => match set_limit(limit) {
            Ok(()) => set_swap(swap).map_err(|error| no_swap(swap, error)),
            Err(error) if error.raw_os_error() == Some(22) => {
                set_swap(swap).map_err(|error| no_swap(swap, error))?;
                set_limit(limit).map_err(|error| no_limit(limit, error))
            }
            Err(error) => Err(no_limit(limit, error)),
        },
        (Some(limit), None) => set_limit(limit).map_err(|error| no_limit(limit, error)),
        (None, Some(swap)) => set_swap(swap).map_err(|error| no_swap(swap, error)),
        (None, None) => Ok(()),
    }
}

fn limit_v2(dir: &Path, memory: &LinuxMemory, numbers: &Numbers) -> Result<()> {
    let none = |what: &str| {
        Err(Error::unsupported(format!("cgroup v2 has no {what}")).with_hint("leave it out of the memory limits"))
    };
    if numbers.kernel.is_some_and(|kernel| kernel > 0) {
        return none("limit on kernel memory of its own");
    }
    if numbers.kernel_tcp.is_some_and(|kernel| kernel > 0) {
        return none("limit on kernel TCP memory");
    }
    if memory.swappiness().is_some() {
        return none("swappiness");
    }
    if memory.disable_oom_killer() == Some(true) {
        return none("switch for the out-of-memory killer");
    }
    if memory.use_hierarchy() == Some(false) {
        return none("accounting without hierarchy");
    }
    let swap = swap_alone(dir, numbers)?;
    if memory.check_before_update() == Some(true) {
        refuse_below_usage(dir, numbers)?;
    }
    let controller = MemController::new(dir.to_owned(), MOUNT.into(), true);
    if let Some(swap) = swap {
        if dir.join(SWAP_V2).exists() {
            controller.set_memswap_limit(swap).told(dir, SWAP_V2, "swap limit", swap)?;
        } else if swap >= 0 && (!dir.join(LIMIT_V2).exists() || machine_has_swap()?) {
            return Err(missing("limit on swap", SWAP_V2));
        }
    }
    if let Some(limit) = numbers.limit {
        controller.set_limit(limit).told(dir, LIMIT_V2, "memory limit", limit)?;
    }
    match numbers.reservation {
        Some(-1) => set(dir, "memory.low", "memory reservation", "max"),
        Some(bytes) => controller.set_soft_limit(bytes).told(dir, "memory.low", "memory reservation", bytes),
        None => Ok(()),
    }
}

/// A specification counts memory and swap together, version 2 swap alone.
fn swap_alone(dir: &Path, numbers: &Numbers) -> Result<Option<i64>> {
    let swap = match (numbers.limit, numbers.swap) {
        (Some(-1), None) => return Ok(Some(-1)),
        (_, None) => return Ok(None),
        (_, Some(-1)) => return Ok(Some(-1)),
        (_, Some(swap)) => swap,
    };
    let limit = match numbers.limit {
        Some(limit) => limit,
        None => {
            let now = read(dir, LIMIT_V2).map_err(|error| refused(dir, LIMIT_V2, "memory limit", "", error))?;
            now.parse().unwrap_or(-1)
        }
    };
    match limit {
        -1 => Err(Error::invalid("unable to set swap limit without memory limit")),
        limit if swap < limit => Err(below(swap, limit)),
        limit => Ok(Some(swap - limit)),
    }
}

fn below(swap: i64, limit: i64) -> Error {
    Error::invalid(format!("memory+swap limit {swap} should be >= memory limit {limit}"))
}

/// Version 1 refuses a limit below what is used, version 2 kills; this is how the former is asked for on the latter.
fn refuse_below_usage(dir: &Path, numbers: &Numbers) -> Result<()> {
    let Some(limit) = numbers.limit.filter(|limit| *limit > 0) else { return Ok(()) };
    let usage = match control::read(dir, "memory.current") {
        Ok(usage) => usage.parse::<i64>().unwrap_or(0),
        Err(error) => return Err(refused(dir, "memory.current", "memory limit", limit, error)),
    };
    if limit <= usage {
        return Err(Error::conflict(format!("rejecting memory limit {limit} <= usage {usage}")));
    }
    match numbers.swap.filter(|swap| *swap > 0) {
        Some(swap) if swap <= usage => {
            Err(Error::conflict(format!("rejecting memory+swap limit {swap} <= usage {usage}")))
        }
        _ => Ok(()),
    }
}

fn machine_has_swap() -> Result<bool> {
    let text = std::fs::read_to_string("/proc/swaps").context(|| "reading \"/proc/swaps\"")?;
    Ok(text.lines().count() > 1)
}
