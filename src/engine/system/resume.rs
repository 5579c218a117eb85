//! Starting what restart policies ask for, after a boot. Docker's daemon does the same when it starts.
//!
//! It starts nothing that never ran, and ends nothing. Who runs it is the machine's business: see `scripts/rhumb.service`.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Id, Kind, Result};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::model::restart::RestartPolicy;
use crate::model::system::ResumeReport;
use crate::runtime::state::Life;
use crate::store::db::Phase;

/// What counts as the exit status of a container that the end of the machine took with it; Docker's number.
const LOST_EXIT_CODE: i32 = 255;

impl Engine {
    /// Starts the containers that were started before, do not run, and whose restart policy asks for it: `always` in any
    /// case, `unless-stopped` unless the user stopped it, `on-failure` when it failed or was lost. Containers whose
    /// namespaces others join are started before those. One failure does not stop the others.
    ///
    /// # Errors
    /// `interrupted`, and when nothing can be listed; what could not be started is in the report.
    pub fn system_resume(&self) -> Result<ResumeReport> {
        let mut report = ResumeReport::default();
        for id in in_order(self.container_rows()?) {
            self.check_interrupt()?;
            let resumed = self.container_resume(&id);
            match resumed {
                Ok(Resumed::Started) => report.started.push(id.to_string()),
                Ok(Resumed::Running) => report.running += 1,
                Ok(Resumed::Not) => {}
                // Removed meanwhile.
                Err(error) if error.kind() == Kind::NotFound && self.container_find(id.as_str()).is_err() => {}
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => report.failures.push(error.to_string()),
            }
        }
        Ok(report)
    }

    fn container_resume(&self, id: &Id) -> Result<Resumed> {
        let _lock = self.lock_container(id)?;
        let found = self.container_reload(id)?;
        if found.phase != Phase::Ready {
            return Ok(Resumed::Not);
        }
        match self.container_life(id)? {
            Life::Alive(_) => Ok(Resumed::Running),
            life if asks(found.record.options.restart, &life) => {
                self.container_start_locked(&found)
                    .map_err(|error| error.context(format!("resuming the container {:?}", found.name)))?;
                Ok(Resumed::Started)
            }
            _ => Ok(Resumed::Not),
        }
    }
}

enum Resumed {
    Started,
    Running,
    Not,
}

/// The policy asks for a start after such a life.
fn asks(policy: RestartPolicy, life: &Life) -> bool {
    match life {
        Life::Never | Life::Alive(_) => false,
        Life::Ended(exit) => {
            exit.started.is_some() && policy.wants(exit.exit_code, exit.stopped_by_user, exit.restart_count)
        }
        Life::Lost { last, .. } => {
            let (stopped, count) = last.as_ref().map_or((false, 0), |run| (run.stopped_by_user, run.restart_count));
            policy.wants(LOST_EXIT_CODE, stopped, count)
        }
    }
}

/// Oldest first, but each after those that it joins. A circle has no order: whoever is first in it fails.
fn in_order(rows: Vec<Found>) -> Vec<Id> {
    let rows: Vec<Found> = rows.into_iter().filter(|row| row.record.options.restart != RestartPolicy::No).collect();
    let by_id: BTreeMap<&str, &Found> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let mut ordered: Vec<Id> = Vec::with_capacity(rows.len());
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for row in &rows {
        // Depth first; a row is put out when all that it joins has been.
        let mut stack = vec![(row, joins(row))];
        if !seen.insert(row.id.as_str()) {
            continue;
        }
        while let Some((row, left)) = stack.last_mut() {
            let next = left.pop().and_then(|id| by_id.get(id).copied());
            match next {
                Some(next) if seen.insert(next.id.as_str()) => stack.push((next, joins(next))),
                Some(_) => {}
                None if left.is_empty() => {
                    ordered.push(row.id.clone());
                    stack.pop();
                }
                None => {}
            }
        }
    }
    ordered
}

/// The containers whose namespaces it joins, by id.
fn joins(row: &Found) -> Vec<&str> {
    row.record.options.joined().into_iter().flatten().collect()
}
