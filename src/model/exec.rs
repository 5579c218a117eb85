//! Commands run inside a container, and what comes of a command anywhere.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Id, Timestamp};

/// A further process in a running container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecOptions {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Environment over the container's.
    pub env: Vec<(String, String)>,
    /// `user[:group]`; none is the container's.
    pub user: Option<String>,
    /// The working directory; none is the container's.
    pub working_dir: Option<String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Extended privileges: every capability that the engine holds.
    pub privileged: bool,
}

/// A further process of a container, as the container's monitor knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Its identity.
    pub id: Id,
    /// The host's process id.
    pub pid: i32,
    /// The program and its arguments; a long list is cut.
    pub args: Vec<String>,
    /// `user[:group]` when it is not the container's.
    pub user: Option<String>,
    /// It has a terminal.
    pub tty: bool,
    /// It has extended privileges.
    pub privileged: bool,
    /// It is a probe of the health check.
    pub health_check: bool,
    /// When it was asked for.
    pub started: Timestamp,
    /// How it ended, 128 plus the number for a signal; none while it runs.
    pub exit_code: Option<i32>,
}

impl Exec {
    /// It has not ended.
    pub fn is_running(&self) -> bool {
        self.exit_code.is_none()
    }
}

/// How a command ended and what it wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit status, 128 plus the number for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub elapsed: Duration,
}
