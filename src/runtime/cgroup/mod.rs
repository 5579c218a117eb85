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
//! The limits themselves are in the module below. Not here: statistics (the engine reads the files), the program that device rules need on
//! version 2 (see [`crate::sys::device_filter`]).

mod limits;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cgroups_rs::fs::freezer::FreezerController;
use oci_spec::runtime::LinuxResources;

use crate::base::{Context as _, Error, Result};
use crate::sys::mount;

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
        resources.map_or(Ok(()), |resources| self.limit(resources))
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
        }
        // Also where our own was never made, or was taken away by someone who was killed then.
        // A group that the user named stays, with the limits that it may have.
        let own = self.name.to_string_lossy().starts_with("rhumb");
        for dir in self.everywhere().into_iter().filter(|_| own) {
            if let Some(parent) = dir.parent() {
                // Others may live there; whoever is last takes it away.
                let _ = fs::remove_dir(parent);
            }
        }
        Ok(())
    }

    /// The folders in all hierarchies, whether they exist or not.
    fn everywhere(&self) -> Vec<PathBuf> {
        let names: Vec<&str> = match self.layout {
            Layout::V2 => vec![""],
            Layout::V1 { unified } => ALWAYS.into_iter().chain(ON_DEMAND).chain(unified.then_some("unified")).collect(),
        };
        names.into_iter().map(|name| self.in_hierarchy(name)).collect()
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
    fn an_empty_parent_goes_also_without_its_child() {
        let cgroup = Cgroup::new(&name("orphan")).unwrap();
        let cgroup =
            Cgroup { name: PathBuf::from(format!("{}x/orphan", cgroup.name.parent().unwrap().display())), ..cgroup };
        let parents: Vec<PathBuf> = cgroup.everywhere().iter().map(|dir| dir.parent().unwrap().to_owned()).collect();
        let made: Vec<&PathBuf> = parents.iter().filter(|parent| fs::create_dir(parent).is_ok()).collect();
        assert!(!made.is_empty());
        cgroup.remove().unwrap();
        assert!(made.iter().all(|parent| !parent.exists()));
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
