//! The engine's side of the talk with a monitor.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::base::Result;
use crate::model::exec::ExecOptions;
use crate::model::log::Stream;
use crate::runtime::plan::Plan;
use crate::runtime::state::ExitRecord;

/// A connection to a container's monitor. Dropping it never stops the container.
pub struct Monitor {}

/// What an attached client does with the container's streams.
pub struct Attachment<'a> {
    /// Copied to the container's standard input until its end; none closes it at once for an exec.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Takes output. An error ends the attachment.
    pub output: &'a mut (dyn FnMut(Stream, &[u8]) -> Result<()> + Send),
    /// The user's terminal: its size is passed on now and whenever it changes.
    pub terminal: Option<BorrowedFd<'a>>,
    /// Bytes on standard input that end the attachment; empty for none.
    pub detach_keys: Vec<u8>,
    /// Yields signal numbers, one byte each, to send to the container (sig-proxy).
    pub signals: Option<BorrowedFd<'a>>,
    /// Ends the attachment with `interrupted` when set.
    pub interrupt: &'a AtomicBool,
    /// Ends the attachment with `timeout`.
    pub deadline: Option<Instant>,
}

/// How an attachment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachEnd {
    /// The container, or the exec'd process, ended with this status.
    Exited(i32),
    /// The user typed the detach keys.
    Detached,
}

/// Starts a monitor for `plan`, which makes everything up to the point where the container's command is about to be
/// executed, and then waits for [`Monitor::start`]. The caller may attach in between, so no output is missed.
///
/// # Errors
/// Whatever made a step fail, with everything undone: nothing is left in the kernel.
pub fn create(plan: &Plan) -> Result<Monitor> {
    let _ = plan;
    todo!()
}

/// Connects to the monitor of a running container.
///
/// # Errors
/// `conflict` when no monitor is there.
pub fn connect(run_dir: &Path) -> Result<Monitor> {
    let _ = run_dir;
    todo!()
}

impl Monitor {
    /// Lets the command be executed. Returns when it was, or could not be.
    ///
    /// # Errors
    /// `command_failed` with exit code 127 (not found) or 126 (not executable); others as they come.
    pub fn start(&mut self) -> Result<()> {
        todo!()
    }

    /// Attaches to the first process; for a created container before [`Monitor::start`], which `started` then does once
    /// the attachment stands.
    ///
    /// # Errors
    /// `interrupted`, `timeout`; `unavailable` when the monitor goes away.
    pub fn attach(&mut self, attachment: Attachment<'_>, start: bool) -> Result<AttachEnd> {
        let _ = (attachment, start);
        todo!()
    }

    /// Runs a further process, attached.
    ///
    /// # Errors
    /// As [`Monitor::attach`]; `command_failed` with 126 or 127 when it cannot be executed; `conflict` when the container
    /// does not run.
    pub fn exec(&mut self, options: &ExecOptions, attachment: Attachment<'_>) -> Result<AttachEnd> {
        let _ = (options, attachment);
        todo!()
    }

    /// Runs a further process without streams; returns its host pid.
    ///
    /// # Errors
    /// As [`Monitor::exec`].
    pub fn exec_detached(&mut self, options: &ExecOptions) -> Result<i32> {
        let _ = options;
        todo!()
    }

    /// Waits for the end of the container.
    ///
    /// # Errors
    /// `timeout`, `interrupted`; `unavailable` when the monitor dies without a record.
    pub fn wait(&mut self, deadline: Option<Instant>, interrupt: &AtomicBool) -> Result<ExitRecord> {
        let _ = (deadline, interrupt);
        todo!()
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// `conflict` when it has ended.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        let _ = signal;
        todo!()
    }

    /// Sends `signal`, and SIGKILL to all processes after `grace`; returns when the container has ended.
    ///
    /// # Errors
    /// `timeout` when even SIGKILL does not help within ten seconds.
    pub fn stop(&mut self, signal: i32, grace: Duration, interrupt: &AtomicBool) -> Result<ExitRecord> {
        let _ = (signal, grace, interrupt);
        todo!()
    }

    /// Freezes or thaws all processes.
    ///
    /// # Errors
    /// `conflict` when it is in that state already.
    pub fn set_paused(&mut self, paused: bool) -> Result<()> {
        let _ = paused;
        todo!()
    }

    /// Tells the monitor that this client cleans up after the container has ended, so that it does not run `on_exit`.
    /// If this connection closes before the monitor has ended, the monitor runs it after all.
    ///
    /// # Errors
    /// `unavailable` when the monitor is gone.
    pub fn take_over_cleanup(&mut self) -> Result<()> {
        todo!()
    }

    /// Waits until the monitor process itself is gone (its lock is free), so that run state can be removed.
    ///
    /// # Errors
    /// `timeout` after ten seconds.
    pub fn join(self) -> Result<()> {
        todo!()
    }
}
