//! The cgroup of a container over all hierarchies of the machine. The one door to `cgroups-rs`.
//!
//! ```text
//! /sys/fs/cgroup/<controller>/rhumb-1a2b3c4d/<id>     version 1: one folder in each hierarchy that is used
//! /sys/fs/cgroup/unified/rhumb-1a2b3c4d/<id>          hybrid: for cgroup.kill, cgroup.freeze and birth in the cgroup
//! /sys/fs/cgroup/rhumb-1a2b3c4d/<id>                  version 2: everything
//! ```
//!
//! Traps of the library and the kernel that this file is built around (all measured):
//! - `FsManager` takes absolute paths for ordinary files and says Ok: only its controllers are used, on paths made here.
//! - errors of enabling controllers are swallowed, so every limit is read back.
//! - a write to `cgroup.procs` takes a lock over all forks of the machine and with it an RCU grace period, 15 ms when it
//!   was idle. A thread that writes `0` to version 1's `tasks` moves itself without it, in 0.02 ms; and clone3 gives birth
//!   in a cgroup2 folder. No process is ever moved in any other way here.
//!
//! Not here: statistics (the engine reads the files), the program that device rules need on
//! version 2 (see [`crate::sys::device_filter`]).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuset::CpuSetController;
use cgroups_rs::fs::devices::{DevicePermissions, DeviceType, DevicesController};
use cgroups_rs::fs::freezer::FreezerController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Controller as _, MaxValue};
use oci_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxPids, LinuxResources};

use crate::base::{Context as _, Error, Result};
use crate::sys::{device_filter, mount};

/// Where the hierarchies are.
const MOUNT: &str = "/sys/fs/cgroup";
/// Version 1 hierarchies that every container is in: limits can be set later and statistics are always there.
const ALWAYS: [&str; 6] = ["memory", "cpu", "cpuacct", "pids", "devices", "blkio"];
/// Further ones, only when something asks for them.
const ON_DEMAND: [&str; 2] = ["cpuset", "freezer"];
/// What version 2 has to enable for the limits that exist.
const ENABLE: &str = "+cpu +memory +pids +io +cpuset";
/// How long processes may take to go.
const DYING: Duration = Duration::from_secs(10);

/// What kind of hierarchies the machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    /// One hierarchy.
    V2,
    /// Version 1, perhaps with a cgroup2 tree beside.
    V1 { unified: bool },
}

/// The cgroup of one container, which may not exist yet.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    name: PathBuf,
    layout: Layout,
}

impl Cgroup {
    /// The cgroup with a relative name, `rhumb-1a2b3c4d/<id>`.
    pub(crate) fn new(name: &str) -> Result<Cgroup> {
        let path = PathBuf::from(name);
        let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !plain || path.components().count() < 2 {
            return Err(Error::invalid(format!("{name:?} is not the name of a container's cgroup")));
        }
        Ok(Cgroup { name: path, layout: layout()? })
    }

    /// Makes the folders and sets the limits.
    pub(crate) fn create(&self, resources: Option<&LinuxResources>) -> Result<()> {
        for dir in self.wanted(resources) {
            make(&dir).context(|| format!("making the cgroup {dir:?}"))?;
        }
        if self.layout == Layout::V2 {
            self.enable_controllers()?;
        }
        let Some(resources) = resources else { return Ok(()) };
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

    /// The cgroup2 folder, for birth in it.
    pub(crate) fn unified_folder(&self) -> Result<Option<OwnedFd>> {
        let Some(path) = self.unified() else { return Ok(None) };
        Ok(Some(mount::open_folder(&path).context(|| format!("opening the cgroup {path:?}"))?))
    }

    /// The `tasks` files through which a stage moves itself into version 1 hierarchies, see [`enter`].
    pub(crate) fn entrances(&self) -> Result<Vec<File>> {
        let mut files = Vec::new();
        if self.is_v2() {
            return Ok(files);
        }
        for name in ALWAYS.into_iter().chain(ON_DEMAND) {
            let path = self.in_hierarchy(name).join("tasks");
            match File::options().write(true).open(&path) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == ErrorKind::NotFound => {} // a hierarchy that is not used
                Err(error) => return Err(Error::from(error).context(format!("opening {path:?}"))),
            }
        }
        Ok(files)
    }

    /// The container's view of the hierarchies: name below `/sys/fs/cgroup` (empty on version 2) and folder on the host.
    pub(crate) fn views(&self) -> Vec<(&'static str, PathBuf)> {
        match self.layout {
            Layout::V2 => vec![("", self.in_hierarchy(""))],
            Layout::V1 { unified } => {
                let all = ALWAYS.into_iter().chain(ON_DEMAND).chain(unified.then_some("unified"));
                all.map(|name| (name, self.in_hierarchy(name))).filter(|(_, dir)| dir.exists()).collect()
            }
        }
    }

    /// How many processes the out-of-memory killer ended here.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match self.layout {
            Layout::V2 => self.in_hierarchy("").join("memory.events"),
            Layout::V1 { .. } => self.in_hierarchy("memory").join("memory.oom_control"),
        };
        // Gone or unreadable is "none that we know of": this is a remark in the exit record, not a decision.
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// Freezes or thaws all processes and waits until they are.
    pub(crate) fn set_frozen(&self, frozen: bool) -> Result<()> {
        let doing = || if frozen { "freezing the container" } else { "thawing the container" };
        let Some(unified) = self.unified() else {
            let dir = self.in_hierarchy("freezer");
            let freezer = FreezerController::new(dir.clone(), MOUNT.into(), false);
            if frozen { freezer.freeze() } else { freezer.thaw() }.map_err(from_library).context(doing)?;
            let goal = if frozen { "FROZEN" } else { "THAWED" };
            return wait_until(|| Ok(fs::read_to_string(dir.join("freezer.state"))?.trim() == goal)).context(doing);
        };
        let freezer = FreezerController::new(unified.clone(), MOUNT.into(), true);
        if frozen { freezer.freeze() } else { freezer.thaw() }.map_err(from_library).context(doing)?;
        let goal = if frozen { "frozen 1" } else { "frozen 0" };
        wait_until(|| Ok(fs::read_to_string(unified.join("cgroup.events"))?.lines().any(|line| line == goal)))
            .context(doing)
    }

    /// Kills all processes. Does not wait.
    pub(crate) fn kill_all(&self) -> Result<()> {
        if let Some(unified) = self.unified() {
            match fs::write(unified.join("cgroup.kill"), "1") {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotFound && !unified.exists() => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {} // before Linux 5.14
                Err(error) => return Err(Error::from(error).context("killing the container's processes")),
            }
        }
        // One by one, each through a descriptor that is checked to be of a process that is in the cgroup still.
        for pid in self.processes()? {
            let Ok(pidfd) = crate::sys::process::pidfd(pid) else { continue };
            if self.processes()?.contains(&pid) {
                match crate::sys::process::signal(std::os::fd::AsFd::as_fd(&pidfd), crate::sys::signal::KILL) {
                    Ok(()) => {}
                    Err(error) if error.raw_os_error() == Some(3) => {} // ESRCH: it went by itself
                    Err(error) => return Err(Error::from(error).context("killing the container's processes")),
                }
            }
        }
        Ok(())
    }

    /// All processes, over all hierarchies.
    pub(crate) fn processes(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        let dirs = self.existing_v1().into_iter().chain(self.unified());
        for dir in dirs {
            read_processes(&dir, &mut pids).context(|| format!("reading the cgroup {dir:?}"))?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Kills what is left, waits for it, and removes the folders; also the parent when it is empty. Idempotent.
    pub(crate) fn remove(&self) -> Result<()> {
        let dirs: Vec<PathBuf> = self.all_existing();
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        for dir in dirs {
            loop {
                match remove_tree(&dir) {
                    Ok(()) => break,
                    Err(error) if error.raw_os_error() == Some(16) && start.elapsed() < DYING => {} // EBUSY
                    Err(error) if error.raw_os_error() == Some(16) => {
                        let left = self.processes().unwrap_or_default();
                        return Err(Error::timeout(format!("processes {left:?} do not die")).with_source(error));
                    }
                    Err(error) => return Err(Error::from(error).context(format!("removing the cgroup {dir:?}"))),
                }
                self.kill_all()?;
                // A frozen process of version 1 dies only when thawed.
                if self.in_hierarchy("freezer").join("freezer.state").exists() {
                    self.set_frozen(false)?;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            if let Some(parent) = dir.parent() {
                // Others may live there; whoever is last takes it away.
                let _ = fs::remove_dir(parent);
            }
        }
        Ok(())
    }

    fn wanted(&self, resources: Option<&LinuxResources>) -> Vec<PathBuf> {
        let Layout::V1 { unified } = self.layout else { return vec![self.in_hierarchy("")] };
        let cpuset = resources
            .and_then(|resources| resources.cpu().as_ref())
            .is_some_and(|cpu| cpu.cpus().is_some() || cpu.mems().is_some());
        let mut names: Vec<&str> = ALWAYS.to_vec();
        names.extend(cpuset.then_some("cpuset"));
        // Freezing and killing are the unified tree's where there is one.
        names.push(if unified { "unified" } else { "freezer" });
        let present = names.into_iter().filter(|name| Path::new(MOUNT).join(name).exists());
        present.map(|name| self.in_hierarchy(name)).collect()
    }

    fn in_hierarchy(&self, hierarchy: &str) -> PathBuf {
        Path::new(MOUNT).join(hierarchy).join(&self.name)
    }

    fn unified(&self) -> Option<PathBuf> {
        match self.layout {
            Layout::V2 => Some(self.in_hierarchy("")),
            Layout::V1 { unified: true } => Some(self.in_hierarchy("unified")),
            Layout::V1 { unified: false } => None,
        }
        .filter(|dir| dir.exists())
    }

    fn existing_v1(&self) -> Vec<PathBuf> {
        if self.layout == Layout::V2 {
            return Vec::new();
        }
        let names = ALWAYS.into_iter().chain(ON_DEMAND);
        names.map(|name| self.in_hierarchy(name)).filter(|dir| dir.exists()).collect()
    }

    fn all_existing(&self) -> Vec<PathBuf> {
        self.existing_v1().into_iter().chain(self.unified()).collect()
    }

    fn is_v2(&self) -> bool {
        self.layout == Layout::V2
    }

    /// The folder of a controller, which must exist for a limit to mean anything.
    fn controller(&self, name: &str) -> Result<PathBuf> {
        let dir = if self.is_v2() { self.in_hierarchy("") } else { self.in_hierarchy(name) };
        if dir.exists() {
            Ok(dir)
        } else {
            Err(Error::unsupported(format!("the kernel has no cgroup controller {name:?}"))
                .with_hint("leave the limit out, or mount the controller below /sys/fs/cgroup"))
        }
    }

    fn enable_controllers(&self) -> Result<()> {
        let mut dir = PathBuf::from(MOUNT);
        let parents = self.name.parent().into_iter().flat_map(Path::components);
        for part in std::iter::once(None).chain(parents.map(Some)) {
            if let Some(part) = part {
                dir.push(part);
            }
            let control = dir.join("cgroup.subtree_control");
            for controller in ENABLE.split(' ') {
                // A controller that is missing is an error only when a limit needs it; reading that back finds it.
                let _ = fs::write(&control, controller);
            }
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

/// Moves the calling stage, which has one thread, through its entrances.
pub(crate) fn enter(entrances: Vec<File>) -> Result<()> {
    for mut file in entrances {
        file.write_all(b"0").context(|| "moving into the container's cgroup")?;
    }
    Ok(())
}

/// The names of the cgroups below `parent`, over all hierarchies.
pub(crate) fn names_below(parent: &str) -> Result<Vec<String>> {
    let layout = layout()?;
    let hierarchies: Vec<&str> = match layout {
        Layout::V2 => vec![""],
        Layout::V1 { .. } => ALWAYS.into_iter().chain(ON_DEMAND).chain(["unified"]).collect(),
    };
    let mut names = Vec::new();
    for hierarchy in hierarchies {
        let dir = Path::new(MOUNT).join(hierarchy).join(parent);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::from(error).context(format!("reading {dir:?}"))),
        };
        for entry in entries {
            let entry = entry.context(|| format!("reading {dir:?}"))?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                names.extend(entry.file_name().into_string());
            }
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn layout() -> Result<Layout> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        Ok(Layout::V2)
    } else if mount.join("memory").exists() || mount.join("pids").exists() {
        Ok(Layout::V1 { unified: mount.join("unified/cgroup.controllers").exists() })
    } else {
        Err(Error::unsupported("no cgroup file system below /sys/fs/cgroup")
            .with_hint("mount cgroup2 there, or the version 1 controllers in folders of their names"))
    }
}

/// Makes a cgroup and its parents. Another container's end may take the parent away in between: then again.
fn make(dir: &Path) -> io::Result<()> {
    let mut attempts = 0;
    loop {
        match fs::create_dir_all(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound && attempts < 50 => attempts += 1,
            result => return result,
        }
    }
}

/// Removes a cgroup and those that its processes made below it.
fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    remove_tree(&entry.path())?;
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn read_processes(dir: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let mut text = String::new();
    match File::open(dir.join("cgroup.procs")).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => {}
        // Gone, or threaded, in which case the parent lists them.
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(95) => return Ok(()),
        Err(error) => return Err(error),
    }
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            read_processes(&entry.path(), pids)?;
        }
    }
    Ok(())
}

fn wait_until(mut done: impl FnMut() -> io::Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !done()? {
        if start.elapsed() > DYING {
            return Err(Error::timeout("the kernel did not finish within 10 s"));
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

fn machine_has_swap() -> Result<bool> {
    let text = fs::read_to_string("/proc/swaps").context(|| "reading \"/proc/swaps\"")?;
    Ok(text.lines().count() > 1)
}

fn from_library(error: cgroups_rs::fs::error::Error) -> Error {
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(cause) => {
            let kind = cause.raw_os_error().map_or_else(|| io::Error::from(cause.kind()), io::Error::from_raw_os_error);
            Error::from(kind)
        }
        None => Error::failed(error.to_string()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder};

    fn name(test: &str) -> String {
        format!("rhumb-test{}/{test}", std::process::id())
    }

    #[test]
    fn limits_are_read_back_and_everything_is_removed() {
        let cgroup = Cgroup::new(&name("limits")).unwrap();
        let resources = LinuxResourcesBuilder::default()
            .memory(LinuxMemoryBuilder::default().limit(64 << 20).build().unwrap())
            .pids(LinuxPidsBuilder::default().limit(17).build().unwrap())
            .build()
            .unwrap();
        cgroup.create(Some(&resources)).unwrap();
        assert!(!cgroup.all_existing().is_empty());
        assert_eq!(cgroup.oom_kills(), 0);
        cgroup.remove().unwrap();
        cgroup.remove().unwrap();
        assert!(cgroup.all_existing().is_empty());
    }

    #[test]
    fn a_limit_that_the_kernel_refuses_is_an_error() {
        let cgroup = Cgroup::new(&name("refused")).unwrap();
        let cpu = oci_spec::runtime::LinuxCpuBuilder::default().cpus("4000-4001").build().unwrap();
        let resources = LinuxResourcesBuilder::default().cpu(cpu).build().unwrap();
        assert!(cgroup.create(Some(&resources)).is_err());
        cgroup.remove().unwrap();
    }

    #[test]
    fn names_cannot_leave_the_hierarchy() {
        for name in ["", "/", "/x/y", "a/../b", "..", "a", "./a/b"] {
            assert!(Cgroup::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_process_in_a_swept_cgroup_is_killed() {
        let cgroup = Cgroup::new(&name("kill")).unwrap();
        cgroup.create(None).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        for dir in cgroup.all_existing() {
            fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        assert_eq!(cgroup.processes().unwrap(), [child.id() as i32]);
        // It stays a zombie of ours until waited for, but a zombie does not keep a cgroup.
        cgroup.remove().unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
