//! Containers: every verb, in files by what the verb is about.
//!
//! ```text
//! decide   options + image → record (pure)          spec    record → OCI specification (pure)
//! create   record, folders, volumes                 start   monitor, attach, run, oneshot
//! state    record + run state → facts; get, list    end     wait, stop, kill, pause, remove, prune
//! execs    further processes: listed, killed
//! waits    until it is healthy, listens, answers, says so
//! process  exec                                     content export, volume, copy-up
//! changes  diff, size, commit                       logs    reading and clearing, what goes with an entry
//! copy     cp, both ways
//! host     what a specification asks of the machine  ids     ranges of ids for user namespaces
//! cdi      devices by their vendors' names
//! seccomp  the filter of system calls (pure)         top     its processes
//! resolver whose names it knows, and whom it asks for others
//! restart  policies of containers that exist          wait    for their end
//! network  its networks at a start, published ports  connect  joining and leaving networks
//! reach    whom it reaches, and how it is reached from here
//! stats    what it uses                              update  other limits
//! step     a command of a build                  beside  a service for one
//! ```
//!
//! `container` is always what a user writes: a name, an id, or a unique beginning of an id.
//!
//! A verb that makes or takes away holds the container's lock and keeps the record's phase true: `Creating` and
//! `Removing` records belong to a verb under way, or to one that died; [`Engine::container_recover`] ends those.

mod beside;
pub(in crate::engine) mod cdi;
mod changes;
mod connect;
mod content;
mod copy;
mod create;
mod decide;
mod end;
mod execs;
mod files;
mod host;
mod ids;
mod logs;
mod names;
mod network;
mod process;
mod reach;
mod resolver;
mod restart;
mod seccomp;
mod spec;
mod start;
mod state;
mod stats;
mod step;
mod tell;
mod top;
mod update;
mod wait;
mod waits;

pub(in crate::engine) use beside::{Beside, Standing};
pub(in crate::engine) use step::{StepOverlay, StepRun};

pub use copy::{CopySource, CopyTarget};
pub use start::REAP;

pub(in crate::engine) use content::{disk_usage, view};

pub use crate::runtime::client::{AttachEnd, Attachment};

use crate::base::{Error, Id, Result};
use crate::engine::Engine;
use crate::model::container::ContainerRecord;
use crate::store::db::{Noun, Phase, Tx};

/// The most that a captured stream may hold, in bytes; a command that writes more fails with a clear error.
pub const MAX_CAPTURE_BYTES: usize = 64 * 1024 * 1024;

/// A container's record with its name and phase.
pub(in crate::engine) struct Found {
    pub(in crate::engine) id: Id,
    pub(in crate::engine) name: String,
    pub(in crate::engine) phase: Phase,
    pub(in crate::engine) record: ContainerRecord,
}

impl Engine {
    /// What a user wrote, to the record.
    pub(in crate::engine) fn container_find(&self, container: &str) -> Result<Found> {
        self.store.read(|tx| find(tx, container))
    }

    /// As [`Engine::container_find`] by identity, after a lock was taken: the record may have gone meanwhile.
    pub(in crate::engine) fn container_reload(&self, id: &Id) -> Result<Found> {
        self.container_find(id.as_str())
    }

    /// The cgroup of all containers of this state root: `rhumb`, or `rhumb-1a2b3c4d` when the root is not the default.
    pub(in crate::engine) fn cgroup_parent(&self) -> String {
        match self.paths().root_id().as_str() {
            "" => "rhumb".to_owned(),
            root_id => format!("rhumb-{root_id}"),
        }
    }

    /// The cgroup of a container, relative to each hierarchy's root.
    pub(in crate::engine) fn cgroup_of(&self, record: &ContainerRecord) -> String {
        match &record.options.cgroup_parent {
            Some(parent) => {
                let parts = parent.split('/').filter(|part| !part.is_empty());
                parts.chain([record.id.as_str()]).collect::<Vec<_>>().join("/")
            }
            None => self.cgroup_of_id(&record.id),
        }
    }

    /// As [`Engine::cgroup_of`] for a container of which nothing is known but that it was in the engine's own group.
    pub(in crate::engine) fn cgroup_of_id(&self, id: &Id) -> String {
        format!("{}/{id}", self.cgroup_parent())
    }
}

fn find(tx: &Tx<'_>, container: &str) -> Result<Found> {
    let container = container.strip_prefix('/').unwrap_or(container);
    let id = tx.find(Noun::Container, container)?;
    let missing = || Error::not_found(format!("no such container {container:?}"));
    let row = tx.get::<ContainerRecord>(Noun::Container, &id)?.ok_or_else(missing)?;
    Ok(Found {
        name: tell::name_or_short(row.names, &row.body.id),
        phase: row.phase,
        id: row.body.id.clone(),
        record: row.body,
    })
}

#[cfg(test)]
mod race_tests;
