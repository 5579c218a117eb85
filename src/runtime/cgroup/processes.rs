//! Who is in the cgroup: joining it, freezing and thawing, signals to all.
//!
//! Not here: the end of the cgroup itself, which waits for its processes.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cgroups_rs::fs::Controller as _;
use cgroups_rs::fs::cpuset::CpuSetController;
use cgroups_rs::fs::freezer::FreezerController;

use super::control::{self, system_error};
use super::hierarchies::{self, Layout, MOUNT, UNIFIED, read_processes};
use super::place::clean;
use super::{Cgroup, PATIENCE};
use crate::base::{Context as _, Error, Result};
use crate::sys::{mount, process, signal};

/// How often a running container's processes are looked for again that are to be moved.
const ROUNDS: u32 = 20;

/// Moves the calling stage, which has one thread, through its entrances.
pub(crate) fn enter(entrances: Vec<File>) -> Result<()> {
    for mut file in entrances {
        file.write_all(b"0").context(|| "moving into the container's cgroup")?;
    }
    Ok(())
}

/// The cgroup of this folder is frozen, or is about to be.
pub(super) fn is_frozen(dir: &Path) -> io::Result<bool> {
    for (file, thawed) in [("cgroup.freeze", "0"), ("freezer.state", "THAWED")] {
        match control::read(dir, file) {
            Ok(state) if state != thawed => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(19) => {} // ENODEV
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

impl Cgroup {
    /// The cgroup2 folder, for birth in it.
    pub(crate) fn unified_folder(&self) -> Result<Option<OwnedFd>> {
        let Some(path) = self.unified() else { return Ok(None) };
        Ok(Some(mount::open_folder(&path).context(|| format!("opening the cgroup {path:?}"))?))
    }

    /// The `tasks` files through which a stage moves itself into version 1 hierarchies, see [`enter`].
    pub(crate) fn entrances(&self) -> Result<Vec<File>> {
        self.entrances_below(&[])
    }

    /// As [`Cgroup::unified_folder`], for a further process of a container: in the cgroup below the container's that
    /// `below` names (`exec --cgroup`). Without one, and if the container has handed its controllers on to cgroups of its
    /// own, so that the kernel takes no process at the top any more, in that of its first process.
    ///
    /// # Errors
    /// `not_found` when the cgroup is not there, `invalid_argument` for a path that leads out.
    pub(crate) fn unified_folder_below(&self, below: &[String], init: i32) -> Result<Option<OwnedFd>> {
        let Some(top) = self.unified() else { return Ok(None) };
        let name = if self.is_v2() { "" } else { UNIFIED };
        let path = match sub_folder(below, name)? {
            Some(sub) => top.join(sub),
            None if self.is_v2() && control::read(&top, "cgroup.subtree_control").is_ok_and(|all| !all.is_empty()) => {
                folder_of(init).filter(|folder| folder.starts_with(&top)).unwrap_or(top)
            }
            None => top,
        };
        match mount::open_folder(&path) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(no_such(&path).with_source(error)),
            Err(error) => Err(Error::from(error).context(format!("opening the cgroup {path:?}"))),
        }
    }

    /// As [`Cgroup::entrances`], in the cgroups below that `below` names: `[CONTROLLER[,CONTROLLER…]:]PATH`.
    ///
    /// # Errors
    /// As [`Cgroup::unified_folder_below`]; `invalid_argument` for a controller that the container is not in.
    pub(crate) fn entrances_below(&self, below: &[String]) -> Result<Vec<File>> {
        let mut files = Vec::new();
        if self.is_v2() {
            if let Some(one) = below.iter().find(|one| one.contains(':')) {
                return Err(Error::invalid(format!("{one:?} names controllers: cgroup v2 has one hierarchy")));
            }
            return Ok(files);
        }
        // One that the container is not in would be passed over.
        let known = if below.iter().any(|one| one.contains(':')) { self.views() } else { Vec::new() };
        for (one, controllers) in below.iter().filter_map(|one| Some((one, one.split_once(':')?.0))) {
            let mut named = controllers.split(',');
            if let Some(unknown) = named.find(|name| known.iter().all(|(known, _)| known != name)) {
                return Err(Error::invalid(format!("unknown controller {unknown} in the sub cgroup path {one:?}")));
            }
        }
        for name in self.layout.names().into_iter().filter(|name| *name != UNIFIED) {
            let mut dir = self.folder(name);
            let sub = sub_folder(below, name)?;
            dir.extend(&sub);
            let path = dir.join("tasks");
            match File::options().write(true).open(&path) {
                Ok(file) => files.push(file),
                // A hierarchy that is not used.
                Err(error) if error.kind() == ErrorKind::NotFound && (sub.is_none() || !self.folder(name).exists()) => {
                }
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_such(&dir).with_source(error)),
                Err(error) => return Err(Error::from(error).context(format!("opening {path:?}"))),
            }
        }
        Ok(files)
    }

    /// All processes, over all hierarchies.
    pub(crate) fn processes(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        for name in self.layout.names() {
            let dir = self.folder(name);
            read_processes(&dir, &mut pids).context(|| format!("reading the cgroup {dir:?}"))?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// It is frozen, or about to be.
    pub(crate) fn is_frozen(&self) -> Result<bool> {
        for dir in self.freezers() {
            if is_frozen(&dir).context(|| format!("reading the cgroup {dir:?}"))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Freezes or thaws all processes and waits until they are. What could not be frozen in time is thawed again.
    ///
    /// # Errors
    /// `timeout` after ten seconds, `not_found` when the cgroup is gone.
    pub(crate) fn set_frozen(&self, frozen: bool) -> Result<()> {
        let doing = if frozen { "freezing the container" } else { "thawing the container" };
        let freezers = self.freezers();
        let Some(dir) = freezers.first() else {
            return Err(Error::not_found("the container's cgroup is gone, or has no freezer").context(doing));
        };
        if frozen {
            return self.freeze(dir).map_err(|error| match change(dir, false) {
                Ok(()) => error.context(doing),
                Err(failure) => error.context(format!("{doing} (and thawing it again failed: {failure})")),
            });
        }
        // Somebody may have used the other one.
        freezers.iter().try_for_each(|dir| change(dir, false).and_then(|()| wait(dir, false))).context(|| doing)
    }

    fn freeze(&self, dir: &Path) -> Result<()> {
        change(dir, true)?;
        wait(dir, true)
    }

    /// Sends a signal to all processes, and none that is forked meanwhile is left out. Does not wait for what they do.
    pub(crate) fn kill_all(&self, signal: i32) -> Result<()> {
        let doing = "signalling the container's processes";
        if signal == signal::KILL
            && let Some(unified) = self.unified()
        {
            match control::write(&unified, "cgroup.kill", "1") {
                Ok(()) => {
                    // Where somebody used version 1's freezer beside it, a process dies only when thawed.
                    let mut others = self.freezers().into_iter().filter(|dir| *dir != unified);
                    return others.try_for_each(|dir| change(&dir, false)).context(|| doing);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {} // gone, or before Linux 5.14
                Err(error) => return Err(Error::from(error).context(doing)),
            }
        }
        // While they are frozen nobody forks. Those who cannot be frozen are asked again until nobody new is there.
        let was_frozen = self.is_frozen()?;
        let frozen = was_frozen || self.set_frozen(true).is_ok();
        let result = self.signal_each(signal);
        if frozen && (!was_frozen || signal == signal::KILL) {
            // Of version 1, a frozen process dies only when thawed.
            match self.set_frozen(false) {
                Err(error) if result.is_ok() && !self.freezers().is_empty() => return Err(error),
                _ => {}
            }
        }
        result
    }

    /// One by one, each through a descriptor that is checked to be of a process that is in the cgroup still.
    pub(super) fn signal_each(&self, signal: i32) -> Result<()> {
        let mut done: Vec<i32> = Vec::new();
        for _ in 0..ROUNDS {
            let mut new = self.processes()?;
            new.retain(|pid| !done.contains(pid));
            if new.is_empty() {
                break;
            }
            let pidfds: Vec<(i32, OwnedFd)> =
                new.iter().filter_map(|pid| Some((*pid, process::pidfd(*pid).ok()?))).collect();
            let still = self.processes()?;
            for (_, pidfd) in pidfds.iter().filter(|(pid, _)| still.contains(pid)) {
                match process::signal(pidfd.as_fd(), signal) {
                    Ok(()) => {}
                    Err(error) if error.raw_os_error() == Some(3) => {} // ESRCH: it went by itself
                    Err(error) => return Err(Error::from(error).context("signalling the container's processes")),
                }
            }
            done.extend(new);
        }
        Ok(())
    }

    /// Enters a hierarchy of version 1 that a running container was not in so far.
    pub(super) fn join_later(&self, name: &'static str) -> Result<()> {
        let dir = self.folder(name);
        if dir.exists() || !hierarchies::root(name).join("cgroup.procs").exists() {
            return Ok(()); // if it is missing, the limit that needs it says so
        }
        hierarchies::make(&dir).map_err(|error| super::explain(error, &dir))?;
        if name == "cpuset" {
            self.fill_cpuset(&dir)?;
        }
        for _ in 0..ROUNDS {
            let mut inside = Vec::new();
            read_processes(&dir, &mut inside).context(|| format!("reading the cgroup {dir:?}"))?;
            let outside: Vec<i32> = self.processes()?.into_iter().filter(|pid| !inside.contains(pid)).collect();
            if outside.is_empty() {
                return Ok(());
            }
            for pid in outside {
                match control::write(&dir, "cgroup.procs", &pid.to_string()) {
                    Err(error) if error.raw_os_error() != Some(3) => {
                        return Err(Error::from(error).context(format!("moving the container into {dir:?}")));
                    }
                    _ => {} // moved, or it went by itself
                }
            }
        }
        Err(Error::conflict(format!("the container forks too fast to be moved into {dir:?}")))
    }

    /// A new cpuset of version 1 is empty, and nothing can be in it until it has what its parents have.
    pub(super) fn fill_cpuset(&self, dir: &Path) -> Result<()> {
        let controller = CpuSetController::new(dir.to_owned(), Path::new(MOUNT).join("cpuset"), false);
        controller.create().map_err(|error| system_error(&error)).context(|| format!("filling {dir:?}"))
    }

    /// The folders with a freezer, the one that is used first.
    fn freezers(&self) -> Vec<PathBuf> {
        let first = self.unified().filter(|dir| dir.join("cgroup.freeze").exists());
        let second = (self.layout != Layout::V2).then(|| self.folder("freezer")).filter(|dir| dir.exists());
        first.into_iter().chain(second).collect()
    }
}

/// The text that runc has for this, which callers look for.
fn no_such(dir: &Path) -> Error {
    Error::not_found(format!(
        "error adding pid to the cgroup: {}/cgroup.procs: no such file or directory",
        dir.display()
    ))
}

/// The path below the container's cgroup in one hierarchy, if one was asked for.
fn sub_folder(below: &[String], hierarchy: &str) -> Result<Option<PathBuf>> {
    for one in below {
        let (controllers, path) = one.split_once(':').map_or((None, one.as_str()), |(names, path)| (Some(names), path));
        if path.is_empty() || Path::new(path).components().any(|part| part == std::path::Component::ParentDir) {
            return Err(Error::invalid(format!("bad sub cgroup path: {path} is not a sub cgroup path")));
        }
        if controllers.is_none_or(|names| names.split(',').any(|name| name == hierarchy)) {
            return Ok(Some(clean(Path::new(path))));
        }
    }
    Ok(None)
}

/// The cgroup2 folder of a process, on a machine with version 2 alone.
fn folder_of(pid: i32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(MOUNT).join(clean(Path::new(path))))
}

/// Asks the kernel to freeze or thaw, which it begins to do.
fn change(dir: &Path, frozen: bool) -> Result<()> {
    let v2 = dir.join("cgroup.freeze").exists();
    let freezer = FreezerController::new(dir.to_owned(), MOUNT.into(), v2);
    let result = if frozen { freezer.freeze() } else { freezer.thaw() };
    result.map_err(|error| system_error(&error).into())
}

/// Waits until all of a cgroup is frozen or thawed.
fn wait(dir: &Path, frozen: bool) -> Result<()> {
    let v2 = dir.join("cgroup.freeze").exists();
    let start = Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        let done = if v2 {
            let goal = if frozen { "frozen 1" } else { "frozen 0" };
            fs::read_to_string(dir.join("cgroup.events"))?.lines().any(|line| line == goal)
        } else {
            fs::read_to_string(dir.join("freezer.state"))?.trim() == if frozen { "FROZEN" } else { "THAWED" }
        };
        if done {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(Error::timeout("the kernel did not finish within 10 s"));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
        if frozen && !v2 {
            // Version 1 may stay half-way when processes came meanwhile.
            change(dir, true)?;
        }
    }
}
