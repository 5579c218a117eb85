//! What a monitor tells of its container: events, each after what it tells is true.
//!
//! It appends to the same log as engines do, and holds nothing of it open. A container may be renamed while it runs: its
//! present name is in a small file of the run folder then, which [`renamed`] writes.
//!
//! A health check's own processes are not told of, unlike with Docker: a check every second would push everything else out
//! of the log within minutes. Of a further process that could not be executed only its making is told.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::base::{Context as _, Error, Result, failpoint};
use crate::model::event::{CONTAINER, DAEMON, Event, VOLUME};
use crate::runtime::plan::Plan;
use crate::runtime::state::ExitRecord;
use crate::sys::segments;

/// The container's name, in the run folder, when it was renamed since its monitor was made.
const NAME: &str = "name";
/// The most that is read of it, in bytes.
const MAX_NAME: u64 = 1024;

/// Where a monitor tells what happens, and as whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventSource {
    /// The folder of the log.
    pub folder: PathBuf,
    /// What every event of the container has: labels, image and name.
    pub attributes: BTreeMap<String, String>,
    /// The volumes that it mounts.
    pub volumes: Vec<MountedVolume>,
    /// Events that could not be written and were not yet told of.
    #[serde(skip)]
    pub lost: Arc<AtomicU64>,
}

/// A volume that a container mounts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountedVolume {
    /// Its name.
    pub name: String,
    /// Where in the container.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
}

impl Plan {
    /// Tells that something has happened to the container.
    pub(crate) fn tell(&self, action: &str, attributes: &[(&str, &dyn Display)]) {
        let Some(source) = &self.events else { return };
        let event = Event::new(CONTAINER, action, self.id.as_str()).with_all(&source.attributes);
        let event = attributes.iter().fold(event, |event, (name, value)| event.with(name, value));
        source.append(match present_name(&self.run_dir) {
            Some(name) => event.with("name", name),
            None => event,
        });
    }

    /// Tells that the container was started.
    pub(crate) fn tell_started(&self) {
        let Some(source) = &self.events else { return };
        for volume in &source.volumes {
            let event = Event::new(VOLUME, "mount", volume.name.as_str()).with("container", &self.id);
            let event = event.with("driver", "local").with("destination", &volume.target).with("propagation", "");
            source.append(event.with("read/write", !volume.read_only));
        }
        self.tell("start", &[]);
    }

    /// Tells how a run of the container ended; nothing of one that was never started.
    pub(crate) fn tell_ended(&self, record: &ExitRecord) {
        let (Some(source), Some(started)) = (&self.events, record.started) else { return };
        // Whole seconds, as Docker has them.
        let seconds = record.finished.as_nanos().saturating_sub(started.as_nanos()) / 1_000_000_000;
        self.tell("die", &[("exitCode", &record.exit_code), ("execDuration", &seconds)]);
        for volume in &source.volumes {
            let event = Event::new(VOLUME, "unmount", volume.name.as_str()).with("container", &self.id);
            source.append(event.with("driver", "local"));
        }
    }
}

impl EventSource {
    fn append(&self, event: Event) {
        let append = |event: &Event| -> Result<()> {
            failpoint::hit("monitor.event.append")?;
            Ok(segments::append(&self.folder, &event.to_line(), segments::EVENTS)?)
        };
        let lost = self.lost.swap(0, Ordering::Relaxed);
        // On a full disk neither can be written; a container's end is worth more than the count.
        let written = append(&event);
        let told = match lost {
            0 => Ok(()),
            _ => append(&Event::new(DAEMON, "lost", "").with("events", lost)),
        };
        let still = if told.is_ok() { 0 } else { lost };
        self.lost.fetch_add(still + u64::from(written.is_err()), Ordering::Relaxed);
    }
}

/// Makes a new name of a container known to its monitor; without one nothing is done.
///
/// # Errors
/// What writing to the run folder gives.
pub fn renamed(run_dir: &Path, name: &str) -> Result<()> {
    let path = run_dir.join(NAME);
    let temporary = path.with_extension("tmp");
    match std::fs::write(&temporary, name).and_then(|()| std::fs::rename(&temporary, &path)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::from(error)),
        _ => Ok(()),
    }
    .context(|| format!("writing {path:?}"))
}

fn present_name(run_dir: &Path) -> Option<String> {
    let mut name = String::new();
    let file = std::fs::File::open(run_dir.join(NAME)).ok()?;
    file.take(MAX_NAME).read_to_string(&mut name).ok().filter(|length| *length > 0)?;
    Some(name)
}
