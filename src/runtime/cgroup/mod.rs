//! The cgroup of a container over all hierarchies of the machine. The one door to `cgroups-rs`.
//!
//! ```text
//! /sys/fs/cgroup/<controller>/rhumb-1a2b3c4d/<id>     version 1: one folder in each hierarchy that is used
//! /sys/fs/cgroup/unified/rhumb-1a2b3c4d/<id>          hybrid: for cgroup.kill, cgroup.freeze and birth in the cgroup
//! /sys/fs/cgroup/rhumb-1a2b3c4d/<id>                  version 2: everything
//!
//! place        names and parents, kept in a state          control     writing one file, and what its refusal means
//! hierarchies  which there are, their folders              processes   who is in it: freezing, killing, joining
//! limits       the order of the limits; memory, cpu, block, devices, others: one resource each
//! delegation   whose it is                                statistics  what was used
//! oom          a word when the out-of-memory killer strikes
//! ```
//!
//! Traps of the library and the kernel that this is built around (all measured):
//! - `FsManager` takes absolute paths for ordinary files and says Ok: only its controllers are used, on paths made here,
//!   and only their setters that give their errors back.
//! - a write to `cgroup.procs` takes a lock over all forks of the machine and with it an RCU grace period, 15 ms when it
//!   was idle. A thread that writes `0` to version 1's `tasks` moves itself without it, in 0.02 ms; and clone3 gives birth
//!   in a cgroup2 folder. No process is ever moved in any other way when one is started.
//! - no limit is left out silently: what the machine lacks is an error when it was asked for, and only then.
//!
//! Not here: the program that device rules need on version 2 (see [`crate::sys::device_filter`]).

mod block;
mod control;
mod cpu;
mod delegation;
mod devices;
mod hierarchies;
mod limits;
mod memory;
mod oom;
mod others;
mod place;
mod processes;
mod statistics;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;

use crate::base::{Context as _, Error, Result};
use crate::sys::signal;

pub(crate) use delegation::owner;
use hierarchies::{Layout, MOUNT, UNIFIED, make, remove_tree};
pub(crate) use oom::OomWatch;
pub(crate) use place::Place;
pub(crate) use processes::enter;

/// How long processes may take to go, to freeze or to thaw.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a cgroup may be busy with processes that have ended.
const AFTERGLOW: Duration = Duration::from_secs(1);

/// Whether the machine has cgroup version 2 and nothing beside it.
///
/// # Errors
/// `unsupported` without any cgroups.
pub(crate) fn is_version_2_alone() -> Result<bool> {
    Ok(Layout::of_machine()? == Layout::V2)
}

/// The cgroup of one container, which may not exist yet.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    place: Place,
    layout: Layout,
}

impl Cgroup {
    /// The cgroup with a relative name of the engine's, `rhumb-1a2b3c4d/<id>`.
    pub(crate) fn new(name: &str) -> Result<Cgroup> {
        Cgroup::at(Place::own(name)?)
    }

    /// The cgroup that a specification asks for with `linux.cgroupsPath`, before it is made: parents that are missing now
    /// are taken away with it.
    pub(crate) fn for_spec(path: Option<&Path>, id: &str) -> Result<Cgroup> {
        let layout = Layout::of_machine()?;
        let mut place = Place::asked(path, id)?;
        place.look(&layout.wanted(None).into_iter().map(hierarchies::root).collect::<Vec<_>>());
        Ok(Cgroup { place, layout })
    }

    /// The cgroup at a place that was kept.
    pub(crate) fn at(place: Place) -> Result<Cgroup> {
        Ok(Cgroup { place, layout: Layout::of_machine()? })
    }

    /// What another process needs to find this cgroup.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Makes the folders and sets the limits. A cgroup that exists already is taken over when nobody is in it.
    ///
    /// # Errors
    /// `conflict` when somebody is in it or it is frozen; `no_space` when the kernel allows no further cgroup;
    /// `unsupported` for a limit that the machine lacks. Nothing new is left then.
    pub(crate) fn create(&self, resources: Option<&LinuxResources>) -> Result<()> {
        let mut made = Vec::new();
        let result = self
            .make_folders(resources, &mut made)
            .and_then(|()| resources.map_or(Ok(()), |resources| self.limit(resources, false)));
        result.map_err(|error| {
            let failures: Vec<String> =
                made.iter().rev().filter_map(|dir| Some(format!("{dir:?}: {}", remove_tree(dir).err()?))).collect();
            self.remove_parents(&made);
            if failures.is_empty() {
                return error;
            }
            let message = error.message().to_owned();
            error.context(format!("{message} (and removing the cgroup failed: {})", failures.join(", ")))
        })
    }

    /// Changes limits while the container runs: what `resources` does not mention stays as it is.
    ///
    /// # Errors
    /// As [`Cgroup::create`]; limits that came before the refused one are set then.
    pub(crate) fn update(&self, resources: &LinuxResources) -> Result<()> {
        if self.folders().is_empty() {
            return Err(Error::not_found("the container's cgroup is gone"));
        }
        if self.layout != Layout::V2 {
            for name in hierarchies::on_demand(resources) {
                self.join_later(name)?;
            }
        }
        self.limit(resources, true)
    }

    /// The container's view of the hierarchies: name below `/sys/fs/cgroup` (empty on version 2) and folder on the host.
    pub(crate) fn views(&self) -> Vec<(&'static str, PathBuf)> {
        let all = self.layout.names().into_iter().map(|name| (name, self.folder(name)));
        all.filter(|(_, dir)| dir.exists()).collect()
    }

    /// How many processes the out-of-memory killer ended here.
    pub(crate) fn oom_kills(&self) -> u64 {
        let (name, file) = if self.is_v2() { ("", "memory.events") } else { ("memory", "memory.oom_control") };
        // Gone or unreadable is "none that we know of": this is a remark in the exit record, not a decision.
        let text = fs::read_to_string(self.folder(name).join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// Kills what is left, waits for it, and removes the folders; also parents of its own that are empty. Idempotent.
    pub(crate) fn remove(&self) -> Result<()> {
        let everywhere: Vec<PathBuf> = self.layout.names().into_iter().map(|name| self.folder(name)).collect();
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        let mut rounds = 0;
        for dir in &everywhere {
            loop {
                match remove_tree(dir) {
                    Ok(()) => break,
                    Err(error) if error.raw_os_error() == Some(16) && start.elapsed() < PATIENCE => {} // EBUSY
                    Err(error) if error.raw_os_error() == Some(16) => {
                        let left = self.processes().unwrap_or_default();
                        return Err(Error::timeout(format!("processes {left:?} do not die")).with_source(error));
                    }
                    Err(error) => return Err(Error::from(error).context(format!("removing the cgroup {dir:?}"))),
                }
                self.kill_all(signal::KILL)?;
                rounds += 1;
                if rounds % 4 == 0 {
                    // Somebody with the right to do so has left one of the hierarchies.
                    self.signal_each(signal::KILL)?;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        }
        // Also where our own was never made, or was taken away by someone who was killed then.
        self.remove_parents(&everywhere);
        Ok(())
    }

    /// As [`Cgroup::remove`] for a container that can have no process any more: whoever is in it is another's and is left
    /// alone. False then.
    pub(crate) fn remove_unused(&self) -> Result<bool> {
        let everywhere: Vec<PathBuf> = self.layout.names().into_iter().map(|name| self.folder(name)).collect();
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        for dir in &everywhere {
            while let Err(error) = remove_tree(dir) {
                match error.raw_os_error() {
                    // EBUSY: for a moment also with processes that have ended.
                    Some(16) if start.elapsed() < AFTERGLOW => {
                        std::thread::sleep(pause);
                        pause = (pause * 2).min(Duration::from_millis(20));
                    }
                    Some(16) => return Ok(false),
                    _ => return Err(Error::from(error).context(format!("removing the cgroup {dir:?}"))),
                }
            }
        }
        self.remove_parents(&everywhere);
        Ok(true)
    }

    fn remove_parents(&self, folders: &[PathBuf]) {
        for parent in self.place.removable(folders) {
            // Others may live there; whoever is last takes it away.
            let _ = fs::remove_dir(parent);
        }
    }

    fn make_folders(&self, resources: Option<&LinuxResources>, made: &mut Vec<PathBuf>) -> Result<()> {
        for name in self.layout.wanted(resources) {
            let dir = self.folder(name);
            if make(&dir).map_err(|error| explain(error, &dir))? {
                made.push(dir);
            } else {
                self.expect_unused(&dir)?;
            }
        }
        if self.is_v2() {
            self.enable_controllers();
        } else {
            // It is joined where somebody else made it, though it is not needed, and would hold whoever joins fast.
            Self::expect_thawed(&self.folder("freezer"))?;
        }
        Ok(())
    }

    /// A cgroup that exists may be taken over only when it is empty: with it all that is in it would be killed at the end.
    fn expect_unused(&self, dir: &Path) -> Result<()> {
        let mut pids = Vec::new();
        hierarchies::read_processes(dir, &mut pids).context(|| format!("reading the cgroup {dir:?}"))?;
        if !pids.is_empty() {
            return Err(Error::conflict(format!(
                "container's cgroup is not empty: {} process(es) found in {dir:?}",
                pids.len()
            )));
        }
        Self::expect_thawed(dir)
    }

    fn expect_thawed(dir: &Path) -> Result<()> {
        if processes::is_frozen(dir).context(|| format!("reading the cgroup {dir:?}"))? {
            return Err(Error::conflict(format!("container's cgroup unexpectedly frozen: {dir:?}")));
        }
        Ok(())
    }

    fn folder(&self, hierarchy: &str) -> PathBuf {
        let mut folder = hierarchies::root(hierarchy);
        folder.push(&self.place.name);
        folder
    }

    /// The cgroup2 folder, if there is one.
    fn unified(&self) -> Option<PathBuf> {
        match self.layout {
            Layout::V2 => Some(self.folder("")),
            Layout::V1 { unified: true } => Some(self.folder(UNIFIED)),
            Layout::V1 { unified: false } => None,
        }
        .filter(|dir| dir.exists())
    }

    /// The folders that exist.
    fn folders(&self) -> Vec<PathBuf> {
        self.views().into_iter().map(|(_, dir)| dir).collect()
    }

    fn is_v2(&self) -> bool {
        self.layout == Layout::V2
    }

    /// The folder of a controller, which must exist for a limit to mean anything.
    fn controller(&self, name: &str) -> Result<PathBuf> {
        let dir = self.folder(if self.is_v2() { "" } else { name });
        if dir.exists() {
            Ok(dir)
        } else {
            Err(Error::unsupported(format!("the kernel has no cgroup controller {name:?}"))
                .with_hint("leave the limit out, or mount the controller below /sys/fs/cgroup"))
        }
    }

    /// Enables all controllers from the root down to the parent. One that cannot be is an error only when a limit needs
    /// it: its files are missing then.
    fn enable_controllers(&self) {
        let available = fs::read_to_string(Path::new(MOUNT).join("cgroup.controllers")).unwrap_or_default();
        let all: Vec<String> = available.split_whitespace().map(|name| format!("+{name}")).collect();
        let mut dir = PathBuf::from(MOUNT);
        for part in std::iter::once(None).chain(self.place.name.parent().into_iter().flatten().map(Some)) {
            dir.extend(part);
            let control = |controllers: &str| control::write(&dir, "cgroup.subtree_control", controllers);
            if control(&all.join(" ")).is_err() {
                for one in &all {
                    let _ = control(one);
                }
            }
        }
    }
}

/// The names of the cgroups below `parent`, over all hierarchies.
pub(crate) fn names_below(parent: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for hierarchy in Layout::of_machine()?.names() {
        let dir = hierarchies::root(hierarchy).join(parent);
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

/// What it means that a folder cannot be made.
fn explain(error: io::Error, dir: &Path) -> Error {
    let doing = format!("making the cgroup {dir:?}");
    match error.raw_os_error() {
        // EAGAIN
        Some(11) => Error::no_space("the kernel allows no further cgroup here")
            .with_hint("see cgroup.max.descendants and cgroup.max.depth of the folders above")
            .with_source(error)
            .context(doing),
        // EROFS
        Some(30) => Error::from(error).with_hint("the hierarchy is mounted read-only").context(doing),
        _ => Error::from(error).context(doing),
    }
}

#[cfg(test)]
mod tests;
