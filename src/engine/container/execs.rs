//! The further processes of containers: which there are, how they ended, ending one.
//!
//! Their monitor knows them, so they are known as long as the container's present run goes on, and the last few that have
//! ended with them. Starting one is in `process`.

use std::time::Duration;

use crate::base::{Error, Id, Kind, Result, failpoint, signal};
use crate::engine::Engine;
use crate::model::container::Container;
use crate::model::exec::Exec;
use crate::runtime::client;

/// How long an inspect waits for a monitor to name the further processes: they are not worth hanging.
const PATIENCE: Duration = Duration::from_secs(1);

impl Engine {
    /// One container with its live state, its further processes, and what is missing in its log.
    ///
    /// # Errors
    /// As [`Engine::container_get`].
    pub fn container_inspect(&self, container: &str) -> Result<Container> {
        let mut found = self.container_get(container)?;
        if found.state.status.is_alive()
            && let Ok(mut monitor) = client::connect(&self.paths().container_run(&found.record.id))
            // One that ends just now, or is stopped, has none that could be named.
            && let Ok(execs) = monitor.execs_within(PATIENCE)
        {
            found.state.execs = execs.into_iter().filter(Exec::is_running).map(|exec| exec.id).collect();
            found.state.log_lost = monitor.log_lost(PATIENCE).unwrap_or_default();
        }
        Ok(found)
    }

    /// The further processes of a container, oldest first: those that run, and the last that have ended. None for a
    /// container that does not run.
    ///
    /// # Errors
    /// `not_found`; `timeout` when its monitor does not answer.
    pub fn container_execs(&self, container: &str) -> Result<Vec<Exec>> {
        let found = self.container_find(container)?;
        let asked = self.container_monitor(&found.id, &found.name).and_then(|mut monitor| monitor.execs());
        match asked {
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::Unavailable) => Ok(Vec::new()),
            asked => asked,
        }
    }

    /// One further process, by its id or a unique beginning of it.
    ///
    /// # Errors
    /// `not_found`, also when the container does not run; `conflict` when several begin so.
    pub fn container_exec_inspect(&self, container: &str, exec: &str) -> Result<Exec> {
        let mut fits = self.container_execs(container)?;
        fits.retain(|known| !exec.is_empty() && known.id.as_str().starts_with(exec));
        match (fits.pop(), fits.is_empty()) {
            (Some(found), true) => Ok(found),
            (Some(_), false) => Err(Error::conflict(format!("several processes begin with {exec:?}"))),
            (None, _) => Err(Error::not_found(format!("no such process {exec:?} in the container {container:?}"))),
        }
    }

    /// Sends a signal to a further process (a name with or without `SIG`, or a number); none is SIGKILL. Returns its
    /// identity.
    ///
    /// # Errors
    /// As [`Engine::container_exec_inspect`]; `conflict` when it has ended; `invalid_argument` for an unknown signal.
    pub fn container_exec_kill(&self, container: &str, exec: &str, signal: Option<&str>) -> Result<Id> {
        let signal = signal.map_or(Ok(signal::KILL), signal::parse)?;
        let id = self.container_exec_inspect(container, exec)?.id;
        let found = self.container_find(container)?;
        failpoint::hit("container.exec.kill")?;
        self.container_monitor(&found.id, &found.name)?.kill_exec(&id, signal)?;
        Ok(id)
    }
}
