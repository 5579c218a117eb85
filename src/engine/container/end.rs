//! Ending containers: stop, kill, pause, restart, remove, rename, prune.

use std::time::{Duration, Instant};

use crate::base::failpoint;
use crate::base::signal;
use crate::base::{Context as _, Error, Id, Kind, Result};
use crate::engine::Engine;
use crate::engine::container::start::NEVER;
use crate::engine::container::state::of_life;
use crate::engine::container::{Found, find, names, tell};
use crate::model::container::{
    ContainerFilter, ContainerRecord, ContainerRemove, DEFAULT_STOP_GRACE, MountPointKind, Status,
};
use crate::model::event::{CONTAINER, Event};
use crate::model::system::{PruneFilter, PruneReport};
use crate::runtime::client::{self, Monitor};
use crate::runtime::state::{Life, kill_monitor, sweep};
use crate::runtime::tell::renamed;
use crate::store::db::{Noun, Phase};
use crate::sys::path::remove_tree;

/// How long a monitor that does not answer any more may take to go.
const MONITOR_GONE: Duration = Duration::from_secs(10);

impl Engine {
    /// Sends the stop signal, and SIGKILL after the grace period; nothing for a container that does not run.
    ///
    /// # Errors
    /// `interrupted`, `invalid_argument` for an unknown signal.
    pub fn container_stop(&self, container: &str, signal: Option<&str>, grace: Option<Duration>) -> Result<()> {
        let found = self.container_find(container)?;
        let signal = signal::parse(signal.unwrap_or(&found.record.stop_signal))?;
        match self.monitor_if_alive(&found.id)? {
            Some(monitor) => {
                self.stop_monitor(monitor, &found, signal, grace)?;
                self.tell_of_found(&found, "stop");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn stop_monitor(&self, mut monitor: Monitor, found: &Found, signal: i32, grace: Option<Duration>) -> Result<()> {
        let grace = grace.or(found.record.options.stop_grace_period).unwrap_or(DEFAULT_STOP_GRACE);
        failpoint::hit("container.stop.signal")?;
        match monitor.stop(signal, grace, &self.interrupt) {
            Ok(_) => monitor.join(),
            // It ended by itself, or its monitor died, while we asked.
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Conflict) => {
                self.life_once_settled(&found.id).map(|_| ())
            }
            Err(error) => Err(error.context(format!("stopping the container {:?}", found.name))),
        }
    }

    /// Stops, with this signal or its own, and starts. The count of its restart policy begins anew.
    ///
    /// # Errors
    /// As stop and start.
    pub fn container_restart(&self, container: &str, signal: Option<&str>, grace: Option<Duration>) -> Result<()> {
        let id = self.container_find(container)?.id;
        // Held over both halves: in between, one with `--rm` would look like one that ended, and be taken away.
        let _lock = self.lock_container(&id)?;
        let found = self.container_reload(&id)?;
        let signal = signal::parse(signal.unwrap_or(&found.record.stop_signal))?;
        if let Some(mut monitor) = self.monitor_if_alive(&id)? {
            if found.record.options.auto_remove {
                monitor.take_over_cleanup()?;
            }
            self.stop_monitor(monitor, &found, signal, grace)?;
            self.tell_of_found(&found, "stop");
        }
        self.container_start_locked(&found)?;
        self.tell_of_found(&found, "restart");
        Ok(())
    }

    /// Sends a signal (a name with or without `SIG`, or a number) to the first process; none is SIGKILL.
    ///
    /// # Errors
    /// `conflict` when it does not run.
    pub fn container_kill(&self, container: &str, signal: Option<&str>) -> Result<()> {
        let signal = signal.map_or(Ok(signal::KILL), signal::parse)?;
        let found = self.container_find(container)?;
        let mut monitor = self.container_monitor(&found.id, &found.name)?;
        failpoint::hit("container.kill.signal")?;
        monitor.signal(signal).context(|| format!("killing the container {:?}", found.name))?;
        if signal == signal::KILL {
            // The next command shall see it ended.
            match monitor.wait(Some(Instant::now() + MONITOR_GONE), &self.interrupt) {
                Ok(_) => monitor.join()?,
                Err(error) if error.kind() == Kind::Unavailable => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Freezes all processes.
    ///
    /// # Errors
    /// `conflict` when it does not run or is frozen.
    pub fn container_pause(&self, container: &str) -> Result<()> {
        let found = self.container_find(container)?;
        self.container_monitor(&found.id, &found.name)?.set_paused(true)
    }

    /// Thaws all processes.
    ///
    /// # Errors
    /// `conflict` when it is not frozen.
    pub fn container_unpause(&self, container: &str) -> Result<()> {
        let found = self.container_find(container)?;
        self.container_monitor(&found.id, &found.name)?.set_paused(false)
    }

    /// Removes a container.
    ///
    /// # Errors
    /// `conflict` when it runs and `force` is not set.
    pub fn container_remove(&self, container: &str, how: ContainerRemove) -> Result<()> {
        let id = self.container_find(container)?.id;
        let lock = self.lock_container(&id)?;
        let found = match self.container_reload(&id) {
            Err(error) if error.kind() == Kind::NotFound => {
                drop(lock.remove_on_drop());
                return Err(error);
            }
            found => found?,
        };
        if let Some(mut monitor) = self.monitor_if_alive(&id)? {
            if !how.force {
                let status = of_life(self.container_life(&id)?).status;
                let status = if status.is_alive() { status } else { Status::Running };
                return Err(Error::conflict(format!("the container {:?} is {status}", found.name))
                    .with_hint("stop it first, or remove it with force"));
            }
            // A monitor that goes away by itself is just as well; one that is stopped is found out by this.
            let silent = monitor.take_over_cleanup().is_err_and(|error| error.kind() == Kind::Timeout);
            failpoint::hit("container.remove.kill")?;
            if silent {
                self.kill_silent_monitor(&id)?;
            } else {
                match monitor.stop(signal::KILL, Duration::ZERO, &NEVER) {
                    Ok(_) => monitor.join()?,
                    Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Conflict) => {
                        if let Life::Alive(_) = self.life_once_settled(&id)? {
                            self.kill_silent_monitor(&id)?;
                        }
                    }
                    Err(error) => return Err(error.context(format!("killing the container {:?}", found.name))),
                }
            }
        }
        let volumes = how.volumes || found.record.options.auto_remove;
        self.container_take_away(found.record, volumes)?;
        drop(lock.remove_on_drop());
        Ok(())
    }

    /// Kills a monitor that does not answer: the container's processes go with it or are swept after.
    fn kill_silent_monitor(&self, id: &Id) -> Result<()> {
        if let Life::Alive(run) = self.container_life(id)? {
            kill_monitor(&run, &self.paths().container_run(id))
                .context(|| format!("killing the monitor of the container {}", id.short()))?;
        }
        Ok(())
    }

    /// Removes a container that does not run and whose lock is held; a later command finishes it when this one dies.
    pub(in crate::engine) fn container_take_away(&self, mut record: ContainerRecord, volumes: bool) -> Result<()> {
        let id = record.id.clone();
        if !volumes {
            // What the record calls anonymous goes with it, also when a later command has to finish this.
            for point in &mut record.mounts {
                if let MountPointKind::Volume { anonymous, .. } = &mut point.kind {
                    *anonymous = false;
                }
            }
        }
        failpoint::hit("container.remove.phase")?;
        self.store.write(|tx| {
            tx.update(Noun::Container, id.as_str(), &record)?;
            tx.set_phase(Noun::Container, id.as_str(), Phase::Removing)
        })?;
        // Or a power cut could bring back a record whose files are gone.
        self.store.flush()?;
        self.container_dismantle(&record, volumes)
    }

    /// Takes away everything of a container that does not run, the record last. Idempotent: a later call finishes what an
    /// earlier one could not.
    pub(in crate::engine) fn container_dismantle(&self, record: &ContainerRecord, volumes: bool) -> Result<()> {
        let id = &record.id;
        // Whoever finds it from here on has to finish this. One that is still `Creating` says so already.
        if self.store.read(|tx| tx.phase(Noun::Container, id.as_str()))? == Some(Phase::Ready) {
            self.store.write(|tx| tx.set_phase(Noun::Container, id.as_str(), Phase::Removing))?;
        }
        failpoint::hit("container.remove.sweep")?;
        sweep(&self.cgroup_of(record), &self.paths().container_run(id))?;
        let sent = self.network_release(id)?;
        failpoint::hit("container.remove.files")?;
        let folder = self.paths().container(id);
        remove_tree(&folder).context(|| format!("removing {folder:?}"))?;
        failpoint::hit("container.remove.volumes")?;
        if volumes {
            self.remove_anonymous_volumes(record)?;
        }
        failpoint::hit("container.remove.record")?;
        let gone = self.store.write(|tx| {
            let names = tx.names(Noun::Container, id.as_str())?;
            Ok(tx.delete(Noun::Container, id.as_str())?.then(|| tell::name_or_short(names, id)))
        })?;
        // None: somebody else was faster, and told it.
        if let Some(name) = gone {
            self.tell_of(record, &name, "destroy");
        }
        drop(sent);
        Ok(())
    }

    fn remove_anonymous_volumes(&self, record: &ContainerRecord) -> Result<()> {
        for point in &record.mounts {
            let MountPointKind::Volume { id, anonymous: true, .. } = &point.kind else { continue };
            self.store.write(|tx| tx.drop_use((Noun::Container, record.id.as_str()), (Noun::Volume, id.as_str())))?;
            match self.volume_remove_anonymous(id) {
                // Another container took it over with `volumes_from`.
                Err(error) if error.kind() == Kind::Conflict => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Removes an ended `--rm` container whose monitor and client are both gone; true when it did, or somebody else does.
    pub(super) fn container_sweep_ephemeral(&self, found: &Found) -> Result<bool> {
        if matches!(self.container_life(&found.id)?, Life::Never) {
            return Ok(false);
        }
        let Some(lock) = self.try_lock_container(&found.id)? else { return Ok(true) };
        if matches!(self.container_life(&found.id)?, Life::Alive(_)) {
            return Ok(false);
        }
        self.container_dismantle(&found.record, true)?;
        drop(lock.remove_on_drop());
        Ok(true)
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// `already_exists`, `invalid_argument`.
    pub fn container_rename(&self, container: &str, name: &str) -> Result<()> {
        let name = name.strip_prefix('/').unwrap_or(name);
        names::check(name)?;
        failpoint::hit("container.rename.record")?;
        let found = self.store.write(|tx| {
            // Looked up in here: another command may rename or remove it just now.
            let found = find(tx, container)?;
            if found.name == name {
                return Err(Error::invalid(format!("the container is called {name:?} already")));
            }
            if let Some(holder) = tx.named(Noun::Container, name)? {
                let short = holder.get(..Id::SHORT).unwrap_or(&holder);
                return Err(Error::already_exists(format!("the name {name:?} is taken by the container {short}")));
            }
            tx.name(Noun::Container, name, found.id.as_str())?;
            tx.unname(Noun::Container, &found.name)?;
            Ok(found)
        })?;
        self.store.flush()?;
        // Others look for it under the old name until it starts again; the rename is done.
        let _ = self.rename_endpoints(&found.id, name);
        // Events of a monitor that does not learn it go on under the old name; the rename is done.
        let _ = renamed(&self.paths().container_run(&found.id), name);
        self.tell(&tell::event(&found.record, name, "rename").with("oldName", format!("/{}", found.name)));
        Ok(())
    }

    /// Removes all containers that do not run and suit.
    ///
    /// # Errors
    /// `interrupted`, and when nothing can be listed; what could not be removed is in the report.
    pub fn container_prune(&self, filter: &PruneFilter) -> Result<PruneReport> {
        let mut report = PruneReport::default();
        for container in self.container_list(&ContainerFilter { all: true, ..ContainerFilter::default() })? {
            let record = &container.record;
            if container.state.status.is_alive() || !filter.fits(Some(record.created), &record.labels) {
                continue;
            }
            self.check_interrupt()?;
            let id = container.record.id;
            let freed = super::content::disk_usage(&self.paths().container(&id));
            match self.container_remove(id.as_str(), ContainerRemove::default()) {
                // Started or removed by another command meanwhile.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => continue,
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => {
                    report.failures.push(format!("removing the container {:?}: {error}", container.name));
                }
                Ok(()) => {
                    report.freed_bytes += freed;
                    report.items.push(id.to_string());
                }
            }
        }
        self.tell(&Event::new(CONTAINER, "prune", "").with("reclaimed", report.freed_bytes));
        Ok(report)
    }

    /// The monitor of a container, or none when the container does not run.
    pub(super) fn monitor_if_alive(&self, id: &Id) -> Result<Option<Monitor>> {
        let begun = Instant::now();
        while matches!(self.container_life(id)?, Life::Alive(_)) {
            match client::connect(&self.paths().container_run(id)) {
                Ok(monitor) => return Ok(Some(monitor)),
                // It is on its way up or down.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::Unavailable) => {
                    if begun.elapsed() > MONITOR_GONE {
                        return Err(error.context(format!("reaching the monitor of the container {}", id.short())));
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// What is known once the monitor, which does not answer any more, is gone.
    pub(super) fn life_once_settled(&self, id: &Id) -> Result<Life> {
        let begun = Instant::now();
        loop {
            match self.container_life(id)? {
                Life::Alive(_) if begun.elapsed() < MONITOR_GONE => std::thread::sleep(Duration::from_millis(2)),
                life => return Ok(life),
            }
        }
    }
}
