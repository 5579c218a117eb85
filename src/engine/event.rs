//! Events: what verbs tell of themselves, and reading it.
//!
//! A verb tells an event after what it tells is true. No verb fails because its event could not be written: that is
//! remembered, for a front end to say ([`Engine::lost_events`]). A process that is killed between a fact and its event
//! loses the event; see [`crate::store::event`].

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::{Error, Result, Timestamp, failpoint, time};
use crate::engine::Engine;
use crate::model::event::{Event, EventItem, EventQuery, EventStart};

/// How often a reader that waits looks at its limits.
const TICK: Duration = Duration::from_millis(50);

/// Events that could not be written: how many, and why. Shared by all that are made from one.
#[derive(Debug, Clone, Default)]
pub struct LostEvents(Arc<Mutex<Option<(u64, Error)>>>);

impl LostEvents {
    /// What was lost since the last call, in words.
    pub fn take(&self) -> Option<String> {
        let (count, why) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let what = if count == 1 { "an event was".to_owned() } else { format!("{count} events were") };
        Some(format!("{what} not recorded: {why}"))
    }

    fn add(&self, why: Error) {
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, why) = lost.take().map_or((0, why), |(count, first)| (count, first));
        *lost = Some((count + 1, why));
    }
}

impl Engine {
    /// Tells that something has happened.
    pub(in crate::engine) fn tell(&self, event: &Event) {
        let written = failpoint::hit("engine.event.append").and_then(|()| self.store.event_append(event));
        if let Err(error) = written {
            self.lost_events.add(error);
        }
    }

    /// The events that this engine could not write.
    pub fn lost_events(&self) -> &LostEvents {
        &self.lost_events
    }

    /// Gives what `query` asks for to `each`, in the order in which it was written, until `each` breaks, there is no more,
    /// or, of a query that follows, `until` or `deadline` has passed. What cannot be read is given as a note.
    ///
    /// # Errors
    /// `invalid_argument` when `until` is before `since`; `interrupted`; what `each` gives.
    pub fn system_events(
        &self,
        query: &EventQuery,
        deadline: Option<Instant>,
        each: &mut dyn FnMut(EventItem) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if let (EventStart::Since(since), Some(until)) = (query.start, query.until)
            && until < since
        {
            return Err(Error::invalid(format!("since ({since}) is after until ({until})")));
        }
        let mut reader = match query.start {
            EventStart::Now => self.store.event_reader_from_now()?,
            EventStart::Oldest | EventStart::Since(_) => self.store.event_reader(),
        };
        // The clock may be set while we wait: how long is decided now.
        let left = |until: Timestamp| until.as_nanos().saturating_sub(Timestamp::now().as_nanos());
        let until = query.until.map(|until| time::deadline(Duration::from_nanos(left(until))));
        let deadline = until.into_iter().chain(deadline).min();
        loop {
            // Before the look, so that nothing of before the deadline is missed.
            let late = !query.follow || deadline.is_some_and(|deadline| deadline <= Instant::now());
            while let Some(item) = reader.read()? {
                let wanted = match &item {
                    EventItem::Event(event) => query.takes(event),
                    EventItem::Note(_) => true,
                };
                if wanted && each(item)?.is_break() {
                    return Ok(());
                }
                self.check_interrupt()?;
            }
            if late {
                return Ok(());
            }
            self.check_interrupt()?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            reader.wait(left.into_iter().chain([TICK]).min().unwrap_or(TICK))?;
        }
    }
}
