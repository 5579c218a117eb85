//! What containers' verbs tell of themselves: Docker's attributes, and who tells what.
//!
//! ```text
//! engine    create attach detach rename restart stop destroy prune, and every verb of what is inside
//! monitor   mount start pause unpause kill resize oom exec_… health_status die unmount
//! ```

use crate::base::Id;
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::model::container::ContainerRecord;
use crate::model::event::{CONTAINER, Event};

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

/// An event with a container's own attributes: its labels, and what no label of the same name can hide.
pub(super) fn event(record: &ContainerRecord, name: &str, action: &str) -> Event {
    let event = Event::new(CONTAINER, action, record.id.as_str()).with_all(&record.labels);
    event.with("image", &record.image).with("name", name)
}

/// The name of a container that has none, which only one that is being removed can be.
pub(super) fn name_or_short(names: Vec<String>, id: &Id) -> String {
    names.into_iter().next().unwrap_or_else(|| id.short().to_owned())
}
