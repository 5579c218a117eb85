//! The undo stack: every step that leaves something behind pushes its reversal first.
//!
//! ```text
//! let mut undo = Undo::new();
//! undo.push("removing the folder", move || remove(&folder));
//! create(&folder)?;
//! …
//! undo.disarm();            // all went well: keep everything
//! ```
//!
//! A reversal must treat "already gone" as success, since it is pushed before its step. An `Undo` that is dropped while
//! armed unwinds too, so that `?` is enough; [`Undo::unwind`] also reports what the reversals could not do.

use crate::base::{Error, Result};

type Reversal<'a> = Box<dyn FnOnce() -> Result<()> + Send + 'a>;

/// A stack of reversals.
#[derive(Default)]
pub struct Undo<'a> {
    steps: Vec<(&'static str, Reversal<'a>)>,
}

impl<'a> Undo<'a> {
    /// An empty stack.
    pub fn new() -> Undo<'a> {
        Undo { steps: Vec::new() }
    }

    /// Adds a reversal; `doing` starts with a verb and names it in errors.
    pub fn push(&mut self, doing: &'static str, reversal: impl FnOnce() -> Result<()> + Send + 'a) {
        self.steps.push((doing, Box::new(reversal)));
    }

    /// Forgets all reversals: what was done stays.
    pub fn disarm(mut self) {
        self.steps.clear();
    }

    /// Runs the reversals, last first, and returns `error` with every failure of theirs in its chain.
    #[must_use]
    pub fn unwind(mut self, error: Error) -> Error {
        let failures = self.run();
        failures.into_iter().fold(error, |error, (doing, failure)| {
            let message = error.message().to_owned();
            error.context(format!("{message} (and {doing} failed: {failure})"))
        })
    }

    fn run(&mut self) -> Vec<(&'static str, Error)> {
        let mut failures = Vec::new();
        while let Some((doing, reversal)) = self.steps.pop() {
            if let Err(error) = reversal() {
                failures.push((doing, error));
            }
        }
        failures
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        // The error that led here is already on its way to the user; `system check` finds what a failed reversal left.
        self.run();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn reversals_run_last_first_unless_disarmed() {
        let log = Mutex::new(Vec::new());
        let add = |number| {
            log.lock().unwrap().push(number);
            Ok(())
        };
        {
            let mut undo = Undo::new();
            undo.push("one", || add(1));
            undo.push("two", || add(2));
        }
        assert_eq!(*log.lock().unwrap(), [2, 1]);
        let mut undo = Undo::new();
        undo.push("three", || add(3));
        undo.disarm();
        assert_eq!(*log.lock().unwrap(), [2, 1]);
    }

    #[test]
    fn unwind_reports_failures_and_keeps_the_kind() {
        let mut undo = Undo::new();
        undo.push("removing x", || Err(Error::failed("busy")));
        let error = undo.unwind(Error::no_space("disk full"));
        assert_eq!(error.kind(), crate::base::Kind::NoSpace);
        assert!(error.to_string().contains("removing x failed: busy"), "{error}");
    }
}
