//! The log of events: appending, reading and checking. Its lines are [`crate::model::event`]'s, its segments
//! [`crate::sys::segments`]'.
//!
//! Events are kept as long as [`LIMITS`] allow: some fifty thousand of them. They stand in the order in which they were
//! written, each after what it tells was true. Of several writers at once, or when the clock is set back, one may carry an
//! earlier time than the one before it.
//!
//! What can be lost: the event of a process that is killed between the fact and its event; what a full disk refuses (the
//! verb goes on, and says so); the last seconds before a power cut, since nothing waits for the disk here.

mod check;
mod read;

pub use read::EventReader;

use crate::base::{Context as _, Result};
use crate::model::event::Event;
use crate::store::Store;
use crate::sys::segments::{self, Limits};

/// How much is kept: 16 MiB.
pub const LIMITS: Limits = crate::sys::segments::EVENTS;

impl Store {
    /// Writes an event down.
    ///
    /// # Errors
    /// `no_space` and what else writing gives.
    pub fn event_append(&self, event: &Event) -> Result<()> {
        let folder = self.paths().events();
        segments::append(&folder, &event.to_line(), LIMITS).context(|| format!("writing an event to {folder:?}"))
    }
}
