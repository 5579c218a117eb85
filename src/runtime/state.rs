//! The state files of a container and what they mean together with the monitor's lock.
//!
//! ```text
//! <run_dir>/monitor.lock     flock, held exclusively by the monitor for its whole life
//! <run_dir>/state.json       RunState, replaced by rename
//! <run_dir>/control.sock     where the monitor listens
//! <state_dir>/exit.json      ExitRecord, written durably before the monitor goes
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::{Result, Timestamp};

/// What the monitor says of a live container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// The boot it lives in; another boot voids it.
    pub boot_id: String,
    /// The monitor's process and its start time in clock ticks since boot.
    pub monitor: (i32, u64),
    /// The container's first process and its start time; none before it was made.
    pub init: Option<(i32, u64)>,
    /// When it was started.
    pub started: Timestamp,
    /// Frozen.
    pub paused: bool,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// When it was started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
    /// The exit status; 128 plus the number for a signal; 126 and 127 when the command could not be executed.
    pub exit_code: i32,
    /// The kernel's out-of-memory killer ended one of its processes.
    pub oom_killed: bool,
    /// Why it could not be started.
    pub error: Option<String>,
}

/// What is known of a container's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// No trace of a start.
    Never,
    /// A monitor holds it.
    Alive(RunState),
    /// It ended and the monitor recorded how.
    Ended(ExitRecord),
    /// It was started, and its monitor is gone without a record; the text says what is known.
    Lost {
        /// What the monitor last said.
        last: Option<RunState>,
        /// `the monitor was killed` or `the machine was restarted`.
        why: String,
    },
}

/// Reads what is known. Never waits.
///
/// # Errors
/// `corrupt` when a state file cannot be read.
pub fn life(state_dir: &Path, run_dir: &Path) -> Result<Life> {
    let _ = (state_dir, run_dir);
    todo!()
}

/// Ends and removes whatever a lost or ended container left in the kernel: processes in its cgroup, the cgroup, the run
/// folder. Idempotent; "already gone" is success. Must not be called while a monitor holds the container.
///
/// # Errors
/// `timeout` when processes do not die within ten seconds.
pub fn sweep(cgroup: &str, run_dir: &Path) -> Result<()> {
    let _ = (cgroup, run_dir);
    todo!()
}

/// The names of the cgroups below `parent` (`rhumb-1a2b3c4d`), over all hierarchies: what a check compares with the records.
///
/// # Errors
/// What reading the hierarchies gives.
pub fn cgroups_below(parent: &str) -> Result<Vec<String>> {
    let _ = parent;
    todo!()
}
