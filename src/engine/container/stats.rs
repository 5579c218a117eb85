//! What containers use: readings of all their counters, one or two a second apart.

use std::time::{Duration, Instant};

use crate::base::{Kind, Result};
use crate::engine::Engine;
use crate::model::container::{ContainerFilter, ContainerRecord, NetworkMode, Status};
use crate::model::stats::{Reading, Sample};
use crate::runtime::counters;
use crate::runtime::state::{Life, RunState};

/// How far two readings are apart, from which it follows how busy a container is; Docker's number.
const APART: Duration = Duration::from_secs(1);
/// How often a wait looks at the interrupt flag.
const TICK: Duration = Duration::from_millis(20);

impl Engine {
    /// Reads the counters of these containers, or when none is named of all that run, with `all` of all there are.
    ///
    /// # Errors
    /// `not_found` for one that is named.
    pub fn container_samples(&self, containers: &[String], all: bool) -> Result<Vec<Reading>> {
        let mut readings = Vec::new();
        if containers.is_empty() {
            let filter = ContainerFilter { all, ..ContainerFilter::default() };
            for container in self.container_list(&filter)? {
                if all || matches!(container.state.status, Status::Running | Status::Paused) {
                    readings.push(self.read(container.name, &container.record)?);
                }
            }
        }
        for container in containers {
            let found = self.container_find(container)?;
            readings.push(self.read(found.name, &found.record)?);
        }
        Ok(readings)
    }

    /// Two readings of each container, about a second apart: how long it takes does not grow with their number. One that is
    /// removed in between is left out.
    ///
    /// # Errors
    /// As [`Engine::container_samples`]; `interrupted`.
    pub fn container_stats(&self, containers: &[String], all: bool) -> Result<Vec<(Option<Sample>, Reading)>> {
        let begun = Instant::now();
        let mut earlier = self.container_samples(containers, all)?;
        if earlier.iter().any(|reading| reading.sample.is_some()) {
            self.pause_until(begun + APART)?;
        }
        let mut both = Vec::with_capacity(earlier.len());
        for first in &mut earlier {
            match self.container_find(first.id.as_str()) {
                Ok(found) => both.push((first.sample.take(), self.read(found.name, &found.record)?)),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(both)
    }

    fn pause_until(&self, then: Instant) -> Result<()> {
        loop {
            self.check_interrupt()?;
            let left = then.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(TICK));
        }
    }

    fn read(&self, name: String, record: &ContainerRecord) -> Result<Reading> {
        let sample = match self.container_life(&record.id)? {
            Life::Alive(run) => self.sample(record, &run)?,
            _ => None,
        };
        Ok(Reading { id: record.id.clone(), name, sample })
    }

    /// None when it has ended by now.
    fn sample(&self, record: &ContainerRecord, run: &RunState) -> Result<Option<Sample>> {
        // The host's interfaces are not the container's.
        let init = run.init.filter(|_| record.options.network_mode != NetworkMode::Host);
        match counters::sample(&self.cgroup_of(record), init) {
            Ok(sample) => Ok(Some(sample)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error.context(format!("reading the counters of the container {}", record.id.short()))),
        }
    }
}
