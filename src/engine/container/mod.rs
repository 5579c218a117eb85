//! Containers: every verb.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::base::{Id, Result};
use crate::engine::Engine;
use crate::model::container::{Container, ContainerFilter, ContainerOptions, ContainerRemove, State};
use crate::model::exec::{ExecOptions, Output};
use crate::model::log::{LogEntry, LogQuery};
use crate::model::system::PruneReport;
use crate::model::volume::Volume;
pub use crate::runtime::client::{AttachEnd, Attachment};

/// The most that a captured stream may hold, in bytes; a command that writes more fails with a clear error.
pub const MAX_CAPTURE_BYTES: usize = 64 * 1024 * 1024;

// `container` is always what a user writes: a name, an id, or a unique beginning of an id.
impl Engine {
    /// Makes a container from an image (a reference or an id) without starting it.
    ///
    /// # Errors
    /// `not_found` for the image or a container named in the options; `already_exists` for the name;
    /// `invalid_argument`, `unsupported` for options.
    pub fn container_create(&self, image: &str, options: &ContainerOptions) -> Result<Id> {
        todo!()
    }

    /// Starts a created or ended container.
    ///
    /// # Errors
    /// `conflict` when it runs; `command_failed` with 126 or 127 when its command cannot be executed.
    pub fn container_start(&self, container: &str) -> Result<()> {
        todo!()
    }

    /// Starts a created or ended container with its streams attached from the first byte, until it ends or the user
    /// detaches. A container with `auto_remove` is gone afterwards.
    ///
    /// # Errors
    /// As [`Engine::container_start`]; `interrupted`, `timeout`.
    pub fn container_start_attached(&self, container: &str, attachment: Attachment<'_>) -> Result<AttachEnd> {
        todo!()
    }

    /// Creates and starts. When the start fails the container stays, unless it has `auto_remove`.
    ///
    /// # Errors
    /// As create and start.
    pub fn container_run(&self, image: &str, options: &ContainerOptions) -> Result<Id> {
        todo!()
    }

    /// Creates, starts attached, removes: one command and what came of it. `options.auto_remove` is implied.
    ///
    /// # Errors
    /// As create and start; `timeout`, `interrupted` (the container is gone then too). A non-zero exit is data.
    pub fn container_oneshot(
        &self,
        image: &str,
        options: &ContainerOptions,
        stdin: Option<&[u8]>,
        timeout: Option<Duration>,
    ) -> Result<Output> {
        todo!()
    }

    /// Attaches to a running container.
    ///
    /// # Errors
    /// `conflict` when it does not run.
    pub fn container_attach(&self, container: &str, attachment: Attachment<'_>) -> Result<AttachEnd> {
        todo!()
    }

    /// One container with its live state.
    ///
    /// # Errors
    /// `not_found`, `conflict` when a beginning of an id fits several.
    pub fn container_get(&self, container: &str) -> Result<Container> {
        todo!()
    }

    /// The matching containers, newest first.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn container_list(&self, filter: &ContainerFilter) -> Result<Vec<Container>> {
        todo!()
    }

    /// The container of this name if it exists with the same image and options (started when it does not run); made and
    /// started when it is missing; `conflict` with what differs otherwise.
    ///
    /// # Errors
    /// As run.
    pub fn container_ensure(&self, name: &str, image: &str, options: &ContainerOptions) -> Result<Id> {
        todo!()
    }

    /// Waits until a container does not run (at once if so) and returns its state. With `removed`, waits until it is gone.
    ///
    /// # Errors
    /// `timeout` carries the container's last log lines; `interrupted`.
    pub fn container_wait(&self, container: &str, timeout: Option<Duration>) -> Result<State> {
        todo!()
    }

    /// Sends the stop signal, and SIGKILL after the grace period; nothing for a container that does not run.
    ///
    /// # Errors
    /// `interrupted`, `invalid_argument` for an unknown signal.
    pub fn container_stop(&self, container: &str, signal: Option<&str>, grace: Option<Duration>) -> Result<()> {
        todo!()
    }

    /// Stops and starts.
    ///
    /// # Errors
    /// As stop and start.
    pub fn container_restart(&self, container: &str, grace: Option<Duration>) -> Result<()> {
        todo!()
    }

    /// Sends a signal (a name with or without `SIG`, or a number) to the first process; none is SIGKILL.
    ///
    /// # Errors
    /// `conflict` when it does not run.
    pub fn container_kill(&self, container: &str, signal: Option<&str>) -> Result<()> {
        todo!()
    }

    /// Freezes all processes.
    ///
    /// # Errors
    /// `conflict` when it does not run or is frozen.
    pub fn container_pause(&self, container: &str) -> Result<()> {
        todo!()
    }

    /// Thaws all processes.
    ///
    /// # Errors
    /// `conflict` when it is not frozen.
    pub fn container_unpause(&self, container: &str) -> Result<()> {
        todo!()
    }

    /// Removes a container.
    ///
    /// # Errors
    /// `conflict` when it runs and `force` is not set.
    pub fn container_remove(&self, container: &str, how: ContainerRemove) -> Result<()> {
        todo!()
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// `already_exists`, `invalid_argument`.
    pub fn container_rename(&self, container: &str, name: &str) -> Result<()> {
        todo!()
    }

    /// Runs a command in a running container and captures its output. A non-zero exit is data.
    ///
    /// # Errors
    /// `conflict` when it does not run; `command_failed` with 126 or 127; `timeout`, `interrupted` (the command is killed).
    pub fn container_exec(
        &self,
        container: &str,
        options: &ExecOptions,
        stdin: Option<&[u8]>,
        timeout: Option<Duration>,
    ) -> Result<Output> {
        todo!()
    }

    /// Runs a command in a running container with its streams attached.
    ///
    /// # Errors
    /// As [`Engine::container_exec`].
    pub fn container_exec_attached(
        &self,
        container: &str,
        options: &ExecOptions,
        attachment: Attachment<'_>,
    ) -> Result<AttachEnd> {
        todo!()
    }

    /// Starts a command in a running container and leaves it.
    ///
    /// # Errors
    /// As [`Engine::container_exec`].
    pub fn container_exec_detached(&self, container: &str, options: &ExecOptions) -> Result<()> {
        todo!()
    }

    /// Gives log entries to `each` until it breaks or there are no more.
    ///
    /// # Errors
    /// `unsupported` when the container keeps no log; what `each` gives.
    pub fn container_logs(
        &self,
        container: &str,
        query: &LogQuery,
        each: &mut dyn FnMut(LogEntry) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        todo!()
    }

    /// Writes the container's whole file system, without its mounts, as a tar.
    ///
    /// # Errors
    /// What writing gives.
    pub fn container_export(&self, container: &str, out: &mut dyn Write) -> Result<()> {
        todo!()
    }

    /// The volume mounted at `target`.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub fn container_volume(&self, container: &str, target: &str) -> Result<Volume> {
        todo!()
    }

    /// Removes all containers that do not run.
    ///
    /// # Errors
    /// The first failure.
    pub fn container_prune(&self) -> Result<PruneReport> {
        todo!()
    }
}
