//! Commands run inside a container, and what comes of a command anywhere.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
