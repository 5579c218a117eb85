//! Starting containers: the monitor, attaching from the first byte, run and oneshot.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use oci_spec::runtime::Spec;

use crate::base::failpoint;
use crate::base::signal;
use crate::base::{Context as _, Error, Id, Kind, Result};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::engine::container::create::Made;
use crate::engine::container::host;
use crate::engine::container::process::{Capture, feed};
use crate::engine::container::spec::{self, Joined};
use crate::engine::container::{AttachEnd, Attachment};
use crate::model::container::{
    Attached, Container, ContainerOptions, ContainerRecord, DEFAULT_STOP_GRACE, NetworkMode,
};
use crate::model::exec::Output;
use crate::net::nft::Sent;
use crate::runtime::client::{self, Monitor};
use crate::runtime::plan::{self, Pauses, Plan, Rootfs, Stop};
use crate::runtime::skeleton;
use crate::runtime::state::{Life, sweep};
use crate::store::db::Phase;
use crate::sys;
use crate::sys::lock::Mode;
use crate::sys::path::remove_tree;

/// The hidden verb that clears up after a container, and removes it when it has `--rm`; [`crate::engine::container`] documents its arguments:
/// the state root and the id.
pub const REAP: &str = "[reap]";

impl Engine {
    /// Starts a created or ended container; nothing to do for one that runs, as with Docker.
    ///
    /// # Errors
    /// `conflict` for a paused one;
    /// `command_failed` with 126 or 127 when its command cannot be executed; what a step gives otherwise.
    pub fn container_start(&self, container: &str) -> Result<()> {
        let id = self.container_find(container)?.id;
        let _lock = self.lock_container(&id)?;
        self.container_start_locked(&self.container_reload(&id)?)
    }

    /// Starts a container whose lock is held.
    pub(in crate::engine) fn container_start_locked(&self, found: &Found) -> Result<()> {
        let life = self.container_life(&found.id)?;
        require_whole(found, &life)?;
        match life {
            Life::Alive(run) if run.paused => {
                return Err(Error::conflict(format!("the container {:?} is paused", found.name))
                    .with_hint("unpause it instead"));
            }
            Life::Alive(_) => return Ok(()),
            _ => {}
        }
        let mut monitor = self.container_launch(&found.record, None, None)?;
        monitor.start().context(|| format!("starting the container {:?}", found.name))
    }

    /// Starts a created or ended container with its streams attached from the first byte, until it ends or the user
    /// detaches; one that runs is only attached to. A container with `auto_remove` is gone afterwards.
    ///
    /// # Errors
    /// As [`Engine::container_start`]; `interrupted`, `timeout`.
    pub fn container_start_attached(&self, container: &str, attachment: Attachment<'_>) -> Result<AttachEnd> {
        let id = self.container_find(container)?.id;
        let lock = self.lock_container(&id)?;
        let found = self.container_reload(&id)?;
        let life = self.container_life(&id)?;
        require_whole(&found, &life)?;
        if matches!(life, Life::Alive(_)) {
            drop(lock);
            return self.container_attach(container, attachment);
        }
        let mut monitor = self.container_launch(&found.record, None, None)?;
        drop(lock);
        self.tell_of_found(&found, "attach");
        let end = monitor.attach(attachment, true);
        self.tell_detached(&found.id, &end);
        self.container_ended(monitor, &found.record, end)
    }

    /// Creates and starts. When the start fails the container stays, unless it has `auto_remove`.
    ///
    /// # Errors
    /// As create and start.
    pub fn container_run(&self, image: &str, options: &ContainerOptions) -> Result<Id> {
        let made = self.container_make(image, options)?;
        self.tell_of(&made.record, &made.name, "create");
        let id = made.record.id.clone();
        let started = self.container_launch(&made.record, Some(&made.spec), None).and_then(|mut monitor| {
            failpoint::hit("container.run.start")?;
            monitor.start()
        });
        match started {
            // It stays `Creating`: should its monitor be lost, a later command takes it away.
            Ok(()) if options.auto_remove => Ok(id),
            Ok(()) => self.container_settle(&made.record).map(|()| id),
            Err(error) => Err(self.container_abandon(made, error)),
        }
    }

    /// As [`Engine::container_run`], attached from the first byte until the container ends or the user detaches.
    /// `created` learns the identity before anything runs.
    ///
    /// # Errors
    /// As create and [`Engine::container_start_attached`].
    pub fn container_run_attached(
        &self,
        image: &str,
        options: &ContainerOptions,
        created: &mut dyn FnMut(&Id) -> Result<()>,
        attachment: Attachment<'_>,
    ) -> Result<AttachEnd> {
        let made = self.container_make(image, options)?;
        self.tell_of(&made.record, &made.name, "create");
        let launched =
            created(&made.record.id).and_then(|()| self.container_launch(&made.record, Some(&made.spec), None));
        let mut monitor = match launched {
            Ok(monitor) => monitor,
            Err(error) => return Err(self.container_abandon(made, error)),
        };
        // From here on the monitor makes the container stay, or go; see `container_recover`.
        if !options.auto_remove {
            self.container_settle(&made.record)?;
        }
        let Made { record, name, lock, .. } = made;
        drop(lock);
        self.tell_of(&record, &name, "attach");
        let end = monitor.attach(attachment, true);
        self.tell_detached(&record.id, &end);
        let mut sent = Ok(Sent::NOTHING);
        if record.options.auto_remove && has_ended(&end) {
            // First of all, since what the kernel does of it afterwards takes a while; whoever has the lock does it himself.
            if let Ok(Some(_lock)) = self.try_lock_container(&record.id) {
                sent = self.network_release(&record.id);
            }
            // The record still says Creating, so what we cannot finish others will. The monitor needs its folder no more,
            // and while it takes the cgroups away we have nothing else to do; a failure shows again below.
            let _ = remove_tree(&self.paths().container(&record.id));
        }
        let end = self.container_ended(monitor, &record, end);
        drop(sent); // what failed was tried again
        end
    }

    /// Creates, starts attached, removes: one command and what came of it. `options.auto_remove` is implied.
    ///
    /// # Errors
    /// As create and start; `timeout`, `interrupted` (the container is gone then too). A non-zero exit is data.
    pub fn container_oneshot(
        &self,
        image: &str,
        options: &ContainerOptions,
        stdin: Option<&[u8]>,
        timeout: Option<Duration>,
    ) -> Result<Output> {
        let attached = Attached { stdin: stdin.is_some(), stdout: true, stderr: true };
        let options = ContainerOptions { auto_remove: true, stdin_open: stdin.is_some(), attached, ..options.clone() };
        let begun = Instant::now();
        let mut capture = Capture::default();
        let mut id = None;
        let end = feed(stdin, |stdin| {
            let attachment = Attachment {
                stdin,
                output: &mut |stream, bytes| capture.take(stream, bytes),
                terminal: None,
                detach_keys: Vec::new(),
                signals: None,
                interrupt: &self.interrupt,
                deadline: timeout.map(|timeout| begun + timeout),
            };
            let mut created = |made: &Id| {
                id = Some(made.clone());
                Ok(())
            };
            self.container_run_attached(image, &options, &mut created, attachment)
        });
        match (end, id) {
            (Ok(AttachEnd::Exited(code)), _) => Ok(capture.output(code, begun.elapsed())),
            (Ok(AttachEnd::Detached), _) => Err(Error::failed("the command was detached from")),
            (Err(error), Some(id)) => {
                // Timed out or interrupted: nobody else would end it. Already gone is fine.
                let _ = self.container_remove(
                    id.as_str(),
                    crate::model::container::ContainerRemove { force: true, volumes: true },
                );
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Attaches to a running container.
    ///
    /// # Errors
    /// `conflict` when it does not run.
    pub fn container_attach(&self, container: &str, attachment: Attachment<'_>) -> Result<AttachEnd> {
        let found = self.container_find(container)?;
        let mut monitor = self.container_monitor(&found.id, &found.name)?;
        self.tell_of_found(&found, "attach");
        let end = monitor.attach(attachment, false);
        self.tell_detached(&found.id, &end);
        end
    }

    /// Tells when a user has left a container, which may have been renamed since it was looked up.
    fn tell_detached(&self, id: &Id, end: &Result<AttachEnd>) {
        if matches!(end, Ok(AttachEnd::Detached))
            && let Ok(found) = self.container_reload(id)
        {
            self.tell_of_found(&found, "detach");
        }
    }

    /// The container of this name if it exists with the same image and options (started when it does not run); made and
    /// started when it is missing.
    ///
    /// # Errors
    /// `conflict` with what differs; as run.
    pub fn container_ensure(&self, name: &str, image: &str, options: &ContainerOptions) -> Result<Id> {
        let mut wanted = ContainerOptions { name: Some(name.to_owned()), ..options.clone() };
        let Container { record, state, .. } = match self.container_get(name) {
            Err(error) if error.kind() == Kind::NotFound => match self.container_run(image, &wanted) {
                // Another command was faster.
                Err(error) if error.kind() == Kind::AlreadyExists => self.container_get(name)?,
                ran => return ran,
            },
            found => found?,
        };
        self.resolve_networks(&mut wanted)?;
        self.container_resolve_names(&mut wanted)?;
        // The name that it was made with; it may have been renamed since.
        wanted.name.clone_from(&record.options.name);
        let mut differences = differing_options(&record.options, &wanted)?;
        if self.image_get(image)?.id != record.image_id {
            differences.insert(0, "image".to_owned());
        }
        if !differences.is_empty() {
            return Err(Error::conflict(format!(
                "the container {name:?} exists with another {}",
                differences.join(", ")
            ))
            .with_hint("remove it first, or ask for what it has"));
        }
        if !state.status.is_alive() {
            self.container_start(record.id.as_str())?;
        }
        Ok(record.id)
    }

    /// A monitor for a container that does not run, ready to be told to start. Holds nothing but kernel objects. `ready` is
    /// its specification and `lower` the folders of its layers, highest first, when they are known.
    pub(super) fn container_launch(
        &self,
        record: &ContainerRecord,
        ready: Option<&Spec>,
        lower: Option<Vec<PathBuf>>,
    ) -> Result<Monitor> {
        let id = &record.id;
        let (state_dir, run_dir) = (self.paths().container(id), self.paths().container_run(id));
        failpoint::hit("container.start.sweep")?;
        if !matches!(self.container_life(id)?, Life::Never) {
            sweep(&self.cgroup_of(record), &run_dir)?;
            if record.options.auto_remove {
                // The kernel refuses a volatile overlay's folders a second time unless this one is made anew
                // (Documentation/filesystems/overlayfs.rst, "Volatile mount").
                let work = state_dir.join("work");
                sys::path::remove_tree(&work).context(|| format!("removing {work:?}"))?;
                std::fs::create_dir(&work).context(|| format!("making {work:?}"))?;
            }
        }
        drop(self.network_release(id)?);
        // Its sockets and what it says of the container are nobody else's, wherever the folder is (CVE-2020-15257).
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&run_dir)
            .context(|| format!("making {run_dir:?}"))?;
        let others = self.joined_containers(record)?;
        let spec = match ready.filter(|_| others == Others::default()) {
            Some(spec) => spec.clone(),
            None => self.container_spec(record, &others.joined())?,
        };
        let mut lower = lower.unwrap_or_else(|| self.lower_dirs(&record.layers));
        skeleton::ensure(&self.paths().mount_points())?;
        lower.push(self.paths().mount_points());
        let plan = Plan {
            id: id.to_string(),
            spec,
            rootfs: Rootfs::Overlay {
                lower,
                upper: state_dir.join("upper"),
                work: state_dir.join("work"),
                volatile: record.options.auto_remove,
            },
            user: record.user.clone(),
            group_add: record.options.group_add.clone(),
            state_dir,
            run_dir,
            cgroup: self.cgroup_of(record),
            log: record.options.log.clone(),
            log_facts: self.log_facts(record)?,
            stdin_open: record.options.stdin_open,
            stdin_once: record.options.stdin_open && record.options.attached.stdin,
            init: record.options.init,
            probe: record.probe(),
            stop: Stop {
                signal: signal::parse(&record.stop_signal)?,
                grace: record.options.stop_grace_period.unwrap_or(DEFAULT_STOP_GRACE),
            },
            restart: record.options.restart,
            pauses: Pauses::default(),
            stop_signal: own_stop_signal(record)?,
            joined: self.joined_plan(record, &others),
            // A step of a build is nobody's container.
            events: if record.image.is_empty() { None } else { Some(self.event_source(record)?) },
            ephemeral: record.options.auto_remove,
            hold_network: record.options.network_mode == NetworkMode::Bridge,
            on_exit: match record.options.auto_remove || record.options.network_mode == NetworkMode::Bridge {
                true => vec![REAP.to_owned(), self.paths().root().to_string_lossy().into_owned(), id.to_string()],
                false => Vec::new(),
            },
        };
        failpoint::hit("container.start.monitor")?;
        // No restore and no filling may exchange a volume between its mount and the monitor that tells of it.
        let held = record.volumes().map(|id| self.store.volume_hold(id, Mode::Shared)).collect::<Result<Vec<_>>>()?;
        let endpoints = self.container_lease(record)?;
        let created = client::create(&plan).and_then(|mut monitor| {
            self.container_attach_networks(&mut monitor, &endpoints)?;
            Ok(monitor)
        });
        drop(held);
        let mut monitor = match created {
            Ok(monitor) => monitor,
            Err(error) => {
                return Err(match self.network_release(id) {
                    Ok(_) => error,
                    Err(more) => error.context(format!("and leaving its networks failed: {more}")),
                });
            }
        };
        // A joined container may have ended, and its pid been given away, while the monitor opened its namespaces.
        if others != Others::default() && self.joined_containers(record)? != others {
            return Err(Error::conflict("the container whose namespaces are joined ended meanwhile"));
        }
        if record.options.auto_remove {
            monitor.take_over_cleanup()?;
        }
        Ok(monitor)
    }

    /// After the attachment: an ephemeral container that ended goes, one that was detached from is left to its monitor.
    fn container_ended(&self, monitor: Monitor, record: &ContainerRecord, end: Result<AttachEnd>) -> Result<AttachEnd> {
        // A monitor whose container is to run again stays.
        if !has_ended(&end) || monitor.ended().is_some_and(|exit| exit.restarting) {
            return end;
        }
        monitor.join()?;
        if record.options.auto_remove {
            let lock = self.lock_container(&record.id)?;
            self.container_dismantle(record, true)?;
            drop(lock.remove_on_drop());
        }
        end
    }

    /// After a failed start: an ephemeral container goes, another one stays and says why.
    pub(super) fn container_abandon(&self, made: Made, error: Error) -> Error {
        let Made { record, lock, .. } = made;
        if !record.options.auto_remove {
            return match self.container_settle(&record) {
                Ok(()) => error,
                Err(more) => error.context(format!("the container was left half-made: {more}")),
            };
        }
        match self.container_dismantle(&record, true) {
            Ok(()) => {
                drop(lock.remove_on_drop());
                error
            }
            Err(more) => error.context(format!("removing the container failed too: {more}")),
        }
    }

    /// The specification as a start makes it.
    pub(super) fn container_spec(&self, record: &ContainerRecord, joined: &Joined) -> Result<Spec> {
        spec::spec(record, self.paths(), joined, &host::facts(&record.options)?)
    }

    /// Where a monitor finds the joined containers again.
    fn joined_plan(&self, record: &ContainerRecord, others: &Others) -> Vec<plan::Joined> {
        let pids = [others.network, others.ipc, others.pid];
        let joined = record.options.joined().into_iter().zip(pids);
        let joined = joined.filter_map(|(other, pid)| Some((Id::parse(other?).ok()?, pid?)));
        let (containers, runs) = (|id: &Id| self.paths().container(id), |id: &Id| self.paths().container_run(id));
        joined.map(|(id, pid)| plan::Joined { pid, state_dir: containers(&id), run_dir: runs(&id) }).collect()
    }

    fn joined_containers(&self, record: &ContainerRecord) -> Result<Others> {
        let pid = |other: Option<&str>| -> Result<Option<i32>> {
            let Some(other) = other else { return Ok(None) };
            let id = Id::parse(other)?;
            let pid = match self.container_life(&id)? {
                Life::Alive(run) => run.init.map(|(pid, _)| pid),
                _ => None,
            };
            let missing =
                || Error::conflict(format!("the container {} does not run, so it cannot be joined", id.short()));
            pid.map(Some).ok_or_else(missing)
        };
        let [network, ipc, pid_namespace] = record.options.joined();
        Ok(Others { network: pid(network)?, pid: pid(pid_namespace)?, ipc: pid(ipc)? })
    }
}

/// The stop signal that options or image gave it; the default one is none that was given.
fn own_stop_signal(record: &ContainerRecord) -> Result<Option<i32>> {
    let number = signal::parse(&record.stop_signal)?;
    Ok(Some(number).filter(|number| record.options.stop_signal.is_some() || *number != signal::TERM))
}

/// The container has ended; it was not merely left.
fn has_ended(end: &Result<AttachEnd>) -> bool {
    match end {
        Ok(AttachEnd::Exited(_)) => true,
        Ok(AttachEnd::Detached) => false,
        Err(error) => error.failure().is_some(),
    }
}

/// First processes of the containers whose namespaces are joined.
#[derive(Default, PartialEq, Eq)]
struct Others {
    network: Option<i32>,
    pid: Option<i32>,
    ipc: Option<i32>,
}

impl Others {
    fn joined(&self) -> Joined {
        let path = |pid: Option<i32>, kind: &str| pid.map(|pid| format!("/proc/{pid}/ns/{kind}"));
        Joined {
            network: path(self.network, "net"),
            pid: path(self.pid, "pid"),
            ipc: path(self.ipc, "ipc"),
            shared_memory: self.ipc.map(|pid| format!("/proc/{pid}/root/dev/shm")),
        }
    }
}

/// One that is being removed, or whose maker died half-way, does not start.
fn require_whole(found: &Found, life: &Life) -> Result<()> {
    let short = found.id.short();
    match (found.phase, life) {
        (Phase::Removing, _) => Err(Error::conflict(format!("the container {short} is being removed"))),
        (Phase::Creating, Life::Never) => {
            Err(Error::conflict(format!("the command that made the container {short} died; it is being removed")))
        }
        _ => Ok(()),
    }
}

/// The keys in which two sets of options differ.
fn differing_options(a: &ContainerOptions, b: &ContainerOptions) -> Result<Vec<String>> {
    let map = |options: &ContainerOptions| match serde_json::to_value(options) {
        Ok(serde_json::Value::Object(map)) => Ok(map),
        _ => Err(Error::failed("container options are not a map")),
    };
    let (a, b) = (map(a)?, map(b)?);
    Ok(a.into_iter().filter(|(key, value)| b.get(key) != Some(value)).map(|(key, _)| key).collect())
}

/// A flag for waits that nothing interrupts.
pub(super) static NEVER: AtomicBool = AtomicBool::new(false);
