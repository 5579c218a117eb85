//! What containers' verbs tell of themselves: Docker's attributes, and who tells what.
//!
//! ```text
//! engine    create attach detach rename restart stop destroy prune, and every verb of what is inside
//! monitor   mount start pause unpause kill resize oom exec_… health_status die unmount
//! ```

use std::sync::Arc;

use crate::base::{Id, Result};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::model::container::{ContainerRecord, MountPointKind};
use crate::model::event::{CONTAINER, Event};
use crate::runtime::tell::{EventSource, MountedVolume};
use crate::store::db::Noun;

impl Engine {
    /// Tells that something was done with a container, under the name that it has.
    pub(super) fn tell_of(&self, record: &ContainerRecord, name: &str, action: &str) {
        self.tell(&event(record, name, action));
    }

    /// As [`Engine::tell_of`] for one that was looked up.
    pub(super) fn tell_of_found(&self, found: &Found, action: &str) {
        self.tell_of(&found.record, &found.name, action);
    }
}

impl Engine {
    /// What a container's monitor tells as. To be called when the run folder is there: whoever renames the container later
    /// leaves its name in it.
    pub(super) fn event_source(&self, record: &ContainerRecord) -> Result<EventSource> {
        let (names, volumes) = self.store.read(|tx| {
            let volumes = record.mounts.iter().filter_map(|point| match &point.kind {
                MountPointKind::Volume { id, .. } => Some((id, point)),
                _ => None,
            });
            let volumes = volumes.map(|(id, point)| {
                let names = tx.names(Noun::Volume, id.as_str())?;
                let name = names.into_iter().next().unwrap_or_else(|| id.to_string());
                Ok(MountedVolume { name, target: point.target.clone(), read_only: point.read_only })
            });
            Ok((tx.names(Noun::Container, record.id.as_str())?, volumes.collect::<Result<_>>()?))
        })?;
        let attributes = event(record, &name_or_short(names, &record.id), "").attributes;
        Ok(EventSource { folder: self.paths().events(), attributes, volumes, lost: Arc::default() })
    }
}

/// An event with a container's own attributes: its labels, and what no label of the same name can hide.
pub(super) fn event(record: &ContainerRecord, name: &str, action: &str) -> Event {
    let event = Event::new(CONTAINER, action, record.id.as_str()).with_all(&record.labels);
    event.with("image", &record.image).with("name", name)
}

/// The name of a container that has none, which only one that is being removed can be.
pub(super) fn name_or_short(names: Vec<String>, id: &Id) -> String {
    names.into_iter().next().unwrap_or_else(|| id.short().to_owned())
}
