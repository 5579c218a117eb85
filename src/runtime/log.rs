//! Docker's json-file log: written by the monitor, read by anyone, rotated by size.
//!
//! ```text
//! <state_dir>/<id>-json.log  .1  .2 …      {"log":"text\n","stream":"stdout","time":"2026-01-31T12:00:00.123456789Z"}
//! ```

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::base::Result;
use crate::model::log::{LogEntry, LogQuery};

/// Gives the matching entries to `each` in order, until it breaks. With `follow` it goes on until the container has ended
/// (its monitor's lock is free) and everything was read.
///
/// # Errors
/// `corrupt` names file and offset of an unreadable line; `interrupted`; what `each` gives.
pub fn read(
    state_dir: &Path,
    run_dir: &Path,
    id: &str,
    query: &LogQuery,
    interrupt: &AtomicBool,
    each: &mut dyn FnMut(LogEntry) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let _ = (state_dir, run_dir, id, query, interrupt, each);
    todo!()
}
