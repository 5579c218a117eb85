//! A step of a build: a command in a container of its own whose changes are taken out of it.
//!
//! The container is on record as one that goes away when it ends, so that whatever is killed, it is cleaned up after as
//! any other; it has layers and a config, but no image.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Mount, Spec};

use crate::base::failpoint;
use crate::base::{Error, Result, Timestamp};
use crate::engine::Engine;
use crate::engine::container::create::Made;
use crate::engine::container::start::NEVER;
use crate::engine::container::{AttachEnd, Attachment};
use crate::engine::pipe::through;
use crate::model::container::{ContainerOptions, ContainerRemove};
use crate::model::image::{Image, Layer};
use crate::model::log::Stream;
use crate::store::layer::LayerSource;
use crate::store::pack::{PackForm, PackOptions, pack};
use crate::sys::signal;

/// What runs, and who hears of it.
pub(in crate::engine) struct StepRun<'a> {
    /// Layers and config; it need not be on record.
    pub(in crate::engine) image: &'a Image,
    /// The container.
    pub(in crate::engine) options: ContainerOptions,
    /// Variables that are never written down.
    pub(in crate::engine) secret_env: Vec<(String, String)>,
    /// The folders of the layers, highest first, when they are others than the store's.
    pub(in crate::engine) lower: Option<Vec<PathBuf>>,
    /// Its umask; none is the usual one.
    pub(in crate::engine) umask: Option<u32>,
    /// What is mounted by overlays, besides the mounts of the options.
    pub(in crate::engine) overlays: &'a [StepOverlay],
    /// The targets of all these mounts, in the order in which the user has them.
    pub(in crate::engine) mount_order: &'a [String],
    /// Take also what a command changed that failed.
    pub(in crate::engine) take_failed: bool,
    /// Takes output.
    pub(in crate::engine) output: &'a mut (dyn FnMut(Stream, &[u8]) -> Result<()> + Send),
    /// What it reads; none is nothing.
    pub(in crate::engine) stdin: Option<std::os::fd::BorrowedFd<'a>>,
    /// The user's terminal.
    pub(in crate::engine) terminal: Option<std::os::fd::BorrowedFd<'a>>,
    /// Ends it when it is set.
    pub(in crate::engine) interrupt: &'a std::sync::atomic::AtomicBool,
    /// When it must have ended.
    pub(in crate::engine) deadline: Option<Instant>,
}

/// Several folders as one, for the time of the command.
pub(in crate::engine) struct StepOverlay {
    /// Where, absolute in the container.
    pub(in crate::engine) target: String,
    /// Highest first.
    pub(in crate::engine) lower: Vec<PathBuf>,
    /// Where writes go, and overlay's own folder; none makes it read-only.
    pub(in crate::engine) upper: Option<(PathBuf, PathBuf)>,
}

impl StepOverlay {
    fn mount(&self) -> Result<Mount> {
        // A comma would separate options, and quotes keep it from that.
        let option = |name: &str, path: &Path| match path.to_str().filter(|path| !path.contains(['"', '\\'])) {
            Some(path) => Ok(format!("{name}=\"{path}\"")),
            None => Err(Error::unsupported(format!("{path:?} cannot be an option of a mount"))),
        };
        let mut options = vec!["index=off".to_owned(), "metacopy=off".to_owned(), "nodev".to_owned()];
        for path in &self.lower {
            options.push(option("lowerdir+", path)?);
        }
        match &self.upper {
            Some((upper, work)) => options.extend([option("upperdir", upper)?, option("workdir", work)?]),
            None => options.push("ro".to_owned()),
        }
        let mut mount = Mount::default();
        mount.set_typ(Some("overlay".to_owned())).set_source(Some(PathBuf::from("overlay")));
        mount.set_destination(PathBuf::from(&self.target)).set_options(Some(options));
        Ok(mount)
    }
}

/// Adds variables that are never written down: the options, which are on record, do not have them.
pub(super) fn add_secret_env(spec: &mut Spec, secret: Vec<(String, String)>) {
    if let Some(process) = spec.process_mut() {
        let secret = secret.into_iter().map(|(name, value)| format!("{name}={value}"));
        let env = process.env().iter().flatten().cloned().chain(secret).collect();
        process.set_env(Some(env));
    }
}

/// Puts the mounts of a step into the specification, outer ones before those in them.
fn arrange(spec: &mut Spec, overlays: &[StepOverlay], order: &[String]) -> Result<()> {
    if overlays.is_empty() {
        return Ok(());
    }
    let place = |mount: &Mount| order.iter().position(|target| Path::new(target) == mount.destination());
    let all = spec.mounts().iter().flatten().cloned();
    let (mut own, mut rest): (Vec<Mount>, Vec<Mount>) = all.partition(|mount| place(mount).is_some());
    for overlay in overlays {
        own.push(overlay.mount()?);
    }
    own.sort_by_key(|mount| (mount.destination().components().count(), place(mount)));
    rest.extend(own);
    spec.set_mounts(Some(rest));
    Ok(())
}

impl Engine {
    /// Runs the command to its end. When that was well, or failures are to be taken as well, `take` gets the folder with everything that it changed. The
    /// container is gone afterwards.
    ///
    /// # Errors
    /// As create and start; `timeout`, `interrupted`.
    pub(in crate::engine) fn container_step<T>(
        &self,
        step: StepRun<'_>,
        take: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<(i32, Option<T>)> {
        let options = ContainerOptions { auto_remove: true, ..step.options };
        let mut made = self.container_make_of(step.image, &options)?;
        add_secret_env(&mut made.spec, step.secret_env);
        if let Some(process) = made.spec.process_mut() {
            let mut user = process.user().clone();
            user.set_umask(step.umask);
            process.set_user(user);
        }
        if let Err(error) = arrange(&mut made.spec, step.overlays, step.mount_order) {
            return Err(self.container_abandon(made, error));
        }
        let mut monitor = match self.container_launch(&made.record, Some(&made.spec), step.lower) {
            Ok(monitor) => monitor,
            Err(error) => return Err(self.container_abandon(made, error)),
        };
        // Held to the end: whoever finds it free knows that the build is dead, and ends the step.
        let Made { record, lock, .. } = made;
        let attachment = Attachment {
            stdin: step.stdin,
            output: step.output,
            terminal: step.terminal,
            detach_keys: Vec::new(),
            signals: None,
            interrupt: step.interrupt,
            deadline: step.deadline,
        };
        let end = monitor.attach(attachment, true);
        let taken = match &end {
            Ok(AttachEnd::Exited(code)) if *code == 0 || step.take_failed => failpoint::hit("build.step.ended")
                .and_then(|()| take(&self.paths().container(&record.id).join("upper")))
                .map(Some),
            _ => Ok(None),
        };
        let force = ContainerRemove { force: true, volumes: true };
        match end {
            Ok(AttachEnd::Exited(code)) => {
                monitor.join()?;
                self.container_dismantle(&record, true)?;
                drop(lock.remove_on_drop());
                Ok((code, taken?))
            }
            Ok(AttachEnd::Detached) => {
                drop(lock);
                self.container_remove(record.id.as_str(), force)?;
                Err(Error::failed("the step was left"))
            }
            Err(error) => {
                // On this connection: while its command is being executed nobody else finds it alive. One that has ended by
                // itself does not mind.
                let _ = monitor.stop(signal::KILL, Duration::ZERO, &NEVER);
                match monitor.join().and_then(|()| self.container_dismantle(&record, true)) {
                    Ok(()) => drop(lock.remove_on_drop()),
                    Err(_) => {
                        drop(lock);
                        // Nobody else would end it; a failure is found by the next command.
                        let _ = self.container_remove(record.id.as_str(), force);
                    }
                }
                Err(error)
            }
        }
    }

    /// What is in an upper folder as a layer on top of `below`; none when it is empty. No time in it is later than
    /// `latest`.
    ///
    /// # Errors
    /// As an import.
    pub(in crate::engine) fn layer_of_upper(
        &self,
        upper: &Path,
        below: Option<&Layer>,
        latest: Option<Timestamp>,
    ) -> Result<Option<Layer>> {
        let source =
            LayerSource { parent: below.map(|layer| layer.chain_id.clone()), compress: true, ..LayerSource::default() };
        let options = PackOptions { form: PackForm::Upper, latest, ..PackOptions::default() };
        if std::fs::read_dir(upper)?.next().is_none() {
            return Ok(None);
        }
        let (packed, layer) =
            through(|writer| pack(upper, &options, writer), |reader| self.store.layer_import(reader, &source))?;
        Ok((packed.entries > 0).then_some(layer))
    }
}
