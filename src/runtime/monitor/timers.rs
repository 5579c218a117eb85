//! When a monitor acts without being asked: one deadline for each thing that it may be waiting to do.
//!
//! Times are those of the monotonic clock, so that setting the machine's clock moves none of them. Nothing here acts: the
//! loop asks how long it may sleep and what is due.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::base::time;

/// What is done when its time has come; see `Monitor::on_time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Kill what was asked to end and has not.
    Kill,
    /// Begin a probe, or end one that takes too long.
    Check,
    /// Give back the memory that only the start needed.
    Settle,
    /// Begin another resolver.
    Names,
    /// Hear clients that knock again.
    Hear,
    /// Begin the next run.
    Restart,
}

/// The deadlines that are set, at most one of each kind.
#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets one, instead of what it was set to before.
    pub(super) fn set(&mut self, timer: Timer, after: Duration) {
        self.deadlines.insert(timer, time::deadline(after));
    }

    /// Sets one no longer.
    pub(super) fn clear(&mut self, timer: Timer) {
        self.deadlines.remove(&timer);
    }

    /// Sets one no longer; how long it had left.
    pub(super) fn take(&mut self, timer: Timer) -> Option<Duration> {
        self.deadlines.remove(&timer).map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Forgets all that a run had set.
    pub(super) fn clear_all(&mut self) {
        self.deadlines.retain(|timer, _| *timer == Timer::Hear);
    }

    /// It is set and not due yet.
    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.deadlines.contains_key(&timer)
    }

    /// How long until the first one; none when nothing is set.
    pub(super) fn left(&self) -> Option<Duration> {
        self.deadlines.values().min().map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Takes one out whose time has come, the earliest first.
    pub(super) fn take_due(&mut self) -> Option<Timer> {
        let (timer, at) = self.deadlines.iter().min_by_key(|(_, at)| **at)?;
        let timer = (*at <= Instant::now()).then_some(*timer)?;
        self.deadlines.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_timer_is_due_once_and_in_order() {
        let mut timers = Timers::default();
        assert_eq!((timers.left(), timers.take_due()), (None, None));
        timers.set(Timer::Settle, Duration::ZERO);
        timers.set(Timer::Hear, Duration::from_secs(3600));
        assert_eq!(timers.left(), Some(Duration::ZERO));
        assert_eq!((timers.take_due(), timers.take_due()), (Some(Timer::Settle), None));
        assert!(timers.is_set(Timer::Hear) && timers.left().unwrap() > Duration::from_secs(3500));
        // A second time replaces the first.
        timers.set(Timer::Hear, Duration::ZERO);
        assert_eq!((timers.take_due(), timers.left()), (Some(Timer::Hear), None));
        timers.set(Timer::Check, Duration::from_secs(3600));
        assert!(timers.take(Timer::Check).unwrap() > Duration::from_secs(3500));
        assert_eq!((timers.take(Timer::Check), timers.left()), (None, None));
    }
}
