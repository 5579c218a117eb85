//! Waiting for the end of a container: that it does not run, that it ends the next time, that it is removed. What happens
//! inside a container is waited for in `waits`.

use std::time::{Duration, Instant};

use crate::base::{Error, Kind, Result, time, units};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::engine::container::state::of_life;
use crate::model::container::{State, Status, WaitCondition};
use crate::runtime::state::{Life, RunState};

/// How often it is looked whether a container that does not run has been started or removed.
const LOOK: Duration = Duration::from_millis(25);
/// How long is waited further where many wait.
const ASIDE: Duration = Duration::from_millis(200);

impl Engine {
    /// Waits for the condition and returns the state that fulfilled it, or the last one of a container that is gone by
    /// then. The end of a run counts as an end also when the restart policy begins another one, as with Docker.
    ///
    /// # Errors
    /// `timeout` carries the container's last log lines; `interrupted`.
    pub fn container_wait(
        &self,
        container: &str,
        condition: WaitCondition,
        timeout: Option<Duration>,
    ) -> Result<State> {
        let found = self.container_find(container)?;
        let deadline = timeout.map(time::deadline);
        let waited = match condition {
            WaitCondition::NotRunning => self.wait_run(&found, deadline),
            WaitCondition::NextExit => self.wait_next(&found, deadline),
            WaitCondition::Removed => self.wait_removed(&found, deadline),
        };
        waited.map_err(|error| match error.kind() {
            Kind::Timeout => {
                let name = &found.name;
                let waited = units::short_duration(timeout.unwrap_or_default());
                let what = match condition {
                    WaitCondition::NotRunning => "still runs",
                    WaitCondition::NextExit => "has not ended",
                    WaitCondition::Removed => "is still there",
                };
                self.with_log_tail(&found.id, Error::timeout(format!("the container {name:?} {what} after {waited}")))
            }
            _ => error,
        })
    }

    /// Until it does not run, or its run ends.
    fn wait_run(&self, found: &Found, deadline: Option<Instant>) -> Result<State> {
        let Some(mut monitor) = self.monitor_if_alive(&found.id)? else {
            return Ok(of_life(self.container_life(&found.id)?));
        };
        match monitor.wait(deadline, &self.interrupt) {
            Ok(exit) => Ok(of_life(Life::Ended(exit))),
            // The monitor died, or had told everybody already: say what is known.
            Err(error) if error.kind() == Kind::Unavailable => Ok(of_life(self.life_once_settled(&found.id)?)),
            // It has so many clients that this one is not to hold a place.
            Err(error) if error.kind() == Kind::Conflict => {
                drop(monitor);
                self.wait_aside(found, deadline)
            }
            Err(error) => Err(error),
        }
    }

    /// As [`Engine::wait_run`] without a connection.
    fn wait_aside(&self, found: &Found, deadline: Option<Instant>) -> Result<State> {
        let mut begun = None;
        loop {
            match self.container_life(&found.id)? {
                Life::Alive(run) if run.ended.is_none() && *begun.get_or_insert(run.started) == run.started => {
                    self.pause(deadline)?;
                    std::thread::sleep(ASIDE);
                }
                Life::Alive(RunState { ended: Some(exit), .. }) => return Ok(of_life(Life::Ended(exit))),
                life => return Ok(of_life(life)),
            }
        }
    }

    /// Until a run ends that has not ended yet.
    fn wait_next(&self, found: &Found, deadline: Option<Instant>) -> Result<State> {
        let before = of_life(self.container_life(&found.id)?);
        if before.status.is_alive() {
            return self.wait_run(found, deadline);
        }
        let mut now = before.clone();
        while self.is_there(found)? {
            now = of_life(self.container_life(&found.id)?);
            match now.status {
                status if status.is_alive() => return self.wait_run(found, deadline),
                // It ran between two looks.
                Status::Exited if now.finished != before.finished => return Ok(now),
                _ => self.pause(deadline)?,
            }
        }
        Ok(now)
    }

    fn wait_removed(&self, found: &Found, deadline: Option<Instant>) -> Result<State> {
        let mut last = of_life(self.container_life(&found.id)?);
        while self.is_there(found)? {
            last = match of_life(self.container_life(&found.id)?) {
                // One with --rm is gone so soon after that nobody would see how it ended.
                state if state.status.is_alive() => self.wait_run(found, deadline)?,
                // Its files go first.
                state if state.status == Status::Created => last,
                state => state,
            };
            self.pause(deadline)?;
        }
        Ok(last)
    }

    fn is_there(&self, found: &Found) -> Result<bool> {
        match self.container_reload(&found.id) {
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            other => other.map(|_| true),
        }
    }

    fn pause(&self, deadline: Option<Instant>) -> Result<()> {
        self.check_interrupt()?;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::timeout("timed out"));
        }
        std::thread::sleep(LOOK);
        Ok(())
    }
}
