//! Processes of a container as the machine sees them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::Timestamp;

/// One process, whichever way it came into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The host's number of it.
    pub pid: i32,
    /// The host's number of its parent.
    pub ppid: i32,
    /// The host's number of its effective user.
    pub uid: u32,
    /// The host's name of that user; the number where it has none.
    pub user: String,
    /// Percent of one processor over its whole life, at most 99 as ps(1) shows it.
    pub cpu_percent: u32,
    /// When it was started.
    pub started: Timestamp,
    /// Its controlling terminal, `pts/0`.
    pub terminal: Option<String>,
    /// Processor time so far.
    pub cpu_time: Duration,
    /// Its command line, or its name in brackets when it shows none.
    pub command: String,
}

/// What ps(1) said of a container's processes: as many cells in every row as there are titles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessTable {
    /// Column titles.
    pub titles: Vec<String>,
    /// One row for each process.
    pub rows: Vec<Vec<String>>,
}
