//! Leases: what a process is about to use is kept until it has said so in a record.
//!
//! ```text
//! let _lease = store.lease()?;              // a locked file locks/lease-<id>
//! let layer = store.layer_import(…)?;       // the new layer and its blob are used by the lease
//! store.write(|tx| tx.insert(Image …))?;    // now a record uses them
//! ```                                       // the lease ends, its uses go
//!
//! Between an import and the record that needs it there is no user, so a sweep by another process would take it. A
//! lease is a user of its own kind. It lives as long as its lock file is locked: a killed process holds nothing back.
//!
//! The clones of one [`Store`] share one lease; it ends when the last [`Lease`] is dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::base::{Id, Result};
use crate::store::Store;
use crate::store::db::{Db, Noun, Tx};
use crate::sys::lock::{self, Lock, Mode};

/// How the names of the lock files of leases begin.
pub(super) const LEASE_PREFIX: &str = "lease-";

/// Keeps what this store imports from being swept.
#[derive(Clone)]
pub struct Lease(#[expect(dead_code, reason = "held for its end")] Arc<Held>);

/// The lease that the clones of a store share, if one is held.
pub(super) type Current = Mutex<Weak<Held>>;

pub(super) struct Held {
    id: String,
    db: Arc<Db>,
    /// Something was noted for it: otherwise its end is no transaction.
    noted: AtomicBool,
    _lock: Lock,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !*self.noted.get_mut() {
            return;
        }
        // When this fails the lease is still dead, since its lock ends: the next sweep forgets it.
        let _ = self.db.transact(true, |tx| tx.end_lease(&self.id));
    }
}

impl Store {
    /// Takes a lease, or a share in the one that is held: whatever this store or a clone of it imports is kept while the
    /// value lives. Take it before the first import of a verb, drop it after the record that uses the imports.
    ///
    /// # Errors
    /// `no_space` and what else making a lock file gives.
    pub fn lease(&self) -> Result<Lease> {
        let mut current = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = current.upgrade() {
            return Ok(Lease(held));
        }
        let id = Id::random()?.short().to_owned();
        let path = self.paths().locks().join(format!("{LEASE_PREFIX}{id}"));
        let lock = lock::acquire(&path, Mode::Exclusive, lock::DEADLINE)?.remove_on_drop();
        let held = Arc::new(Held { id, db: self.db.clone(), noted: AtomicBool::new(false), _lock: lock });
        *current = Arc::downgrade(&held);
        Ok(Lease(held))
    }

    /// Notes in a transaction that the lease held by this store needs `target`; nothing when none is held.
    pub(super) fn lease_in(&self, tx: &Tx<'_>, target: (Noun, &str)) -> Result<()> {
        let held = self.lease.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        match held {
            Some(held) => {
                held.noted.store(true, Ordering::Relaxed);
                tx.lease(&held.id, target)
            }
            None => Ok(()),
        }
    }

    /// Forgets, in a transaction, the leases whose processes are gone.
    pub(super) fn end_dead_leases(&self, tx: &Tx<'_>) -> Result<()> {
        for lease in tx.leases()? {
            let path = self.paths().locks().join(format!("{LEASE_PREFIX}{lease}"));
            let dead = !path.exists() || lock::try_acquire(&path, Mode::Exclusive)?.map(Lock::remove_on_drop).is_some();
            if dead {
                tx.end_lease(&lease)?;
            }
        }
        Ok(())
    }
}
