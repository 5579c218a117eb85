//! Restart policies of containers that exist. The monitor carries them out; see `runtime::monitor`.

use crate::base::failpoint;
use crate::base::{Error, Id, Kind, Result};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::model::restart::RestartPolicy;
use crate::runtime::client;
use crate::store::db::{Noun, Phase};

impl Engine {
    /// Gives a container another restart policy, at once when it runs. A pause that has begun goes on to its restart, as
    /// with Docker.
    ///
    /// # Errors
    /// `conflict` for one that is removed at its end, or is being removed.
    pub fn container_set_restart(&self, container: &str, policy: RestartPolicy) -> Result<()> {
        let id = self.container_find(container)?.id;
        let _lock = self.lock_container(&id)?;
        let mut found = self.container_reload(&id)?;
        if found.phase == Phase::Removing {
            return Err(Error::conflict(format!("the container {:?} is being removed", found.name)));
        }
        check_restart(&found, policy)?;
        found.record.options.restart = policy;
        failpoint::hit("container.restart_policy.record")?;
        self.store.write(|tx| tx.update(Noun::Container, id.as_str(), &found.record))?;
        self.store.flush()?;
        failpoint::hit("container.restart_policy.monitor")?;
        self.tell_restart(&id, policy)
    }

    /// Tells the monitor, if there is one, what the record says by now. The container's lock is held.
    pub(super) fn tell_restart(&self, id: &Id, policy: RestartPolicy) -> Result<()> {
        let told = client::connect(&self.paths().container_run(id)).and_then(|mut monitor| monitor.set_restart(policy));
        match told {
            // There is none, or it is about to go: the next start reads the record.
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::Unavailable) => Ok(()),
            told => told,
        }
    }
}

/// One that is removed when it ends cannot be restarted.
pub(super) fn check_restart(found: &Found, policy: RestartPolicy) -> Result<()> {
    if found.record.options.auto_remove && policy != RestartPolicy::No {
        return Err(Error::conflict(format!("the container {:?} is removed when it ends", found.name))
            .with_hint("a restart policy and --rm exclude each other"));
    }
    Ok(())
}
