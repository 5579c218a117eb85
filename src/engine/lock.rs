//! Locks between processes: one file for each thing that a verb changes (RELIABILITY.md, rule 5). Readers take none.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::{Context as _, Id, Kind, Result};
use crate::engine::Engine;
use crate::sys::lock::{self, Lock, Mode};

/// The longest wait for a lock.
const DEADLINE: Duration = Duration::from_secs(30);

impl Engine {
    /// Locks the container, waiting for whoever holds it.
    pub(super) fn lock_container(&self, id: &Id) -> Result<Lock> {
        let path = self.lock_path(id);
        self.with_lock_folder(|| lock::acquire(&path, Mode::Exclusive, DEADLINE))
            .context(|| format!("locking the container {}", id.short()))
    }

    /// Locks the container unless somebody holds it.
    pub(super) fn try_lock_container(&self, id: &Id) -> Result<Option<Lock>> {
        let path = self.lock_path(id);
        self.with_lock_folder(|| lock::try_acquire(&path, Mode::Exclusive))
            .context(|| format!("locking the container {}", id.short()))
    }

    /// Locks the volume, waiting for whoever holds it.
    pub(super) fn lock_volume(&self, id: &Id, mode: Mode) -> Result<Lock> {
        let path = self.paths().locks().join(format!("volume-{id}"));
        self.with_lock_folder(|| lock::acquire(&path, mode, DEADLINE))
            .context(|| format!("locking the volume {}", id.short()))
    }

    /// Locks the volume unless somebody holds it.
    pub(super) fn try_lock_volume(&self, id: &Id) -> Result<Option<Lock>> {
        let path = self.paths().locks().join(format!("volume-{id}"));
        self.with_lock_folder(|| lock::try_acquire(&path, Mode::Exclusive))
            .context(|| format!("locking the volume {}", id.short()))
    }

    /// Takes the lock of this name, waiting for whoever holds it.
    pub(super) fn lock_named(&self, name: &str) -> Result<Lock> {
        let path = self.paths().locks().join(name);
        self.with_lock_folder(|| lock::acquire(&path, Mode::Exclusive, DEADLINE))
            .context(|| format!("locking the {name}"))
    }

    /// Takes the lock of this name unless somebody holds it.
    pub(super) fn try_lock_named(&self, name: &str) -> Result<Option<Lock>> {
        let path = self.paths().locks().join(name);
        self.with_lock_folder(|| lock::try_acquire(&path, Mode::Exclusive)).context(|| format!("locking the {name}"))
    }

    /// The folder of locks is gone after a boot; it is made when somebody misses it.
    fn with_lock_folder<T>(&self, lock: impl Fn() -> Result<T>) -> Result<T> {
        match lock() {
            Err(error) if error.kind() == Kind::NotFound => {
                std::fs::create_dir_all(self.paths().locks())
                    .context(|| format!("making {:?}", self.paths().locks()))?;
                lock()
            }
            other => other,
        }
    }

    fn lock_path(&self, id: &Id) -> PathBuf {
        self.paths().locks().join(format!("container-{id}"))
    }
}
