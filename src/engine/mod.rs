//! Floor 4: the facade. One file per noun, one method per verb: synchronous, typed, and it never prints.
//!
//! Rank inside this floor: volume, image < container < system. A verb that changes something is one typed operation here,
//! whatever front end asked for it.

pub mod container;
pub mod image;
pub mod system;
pub mod volume;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::base::{Paths, Result};
use crate::store::Store;

/// How an engine is opened.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// The state root; none is [`crate::base::paths::DEFAULT_ROOT`].
    pub root: Option<PathBuf>,
    /// Set by a front end when the user presses Ctrl-C: every wait ends with `interrupted`.
    pub interrupt: Arc<AtomicBool>,
}

/// The engine over one state root. Cheap to clone, safe to share between threads.
#[derive(Clone)]
pub struct Engine {
    store: Store,
    interrupt: Arc<AtomicBool>,
}

impl Engine {
    /// Opens the state root, making it when it is missing, and finishes or undoes what an earlier process left half-done.
    ///
    /// # Errors
    /// `permission_denied` when not root or the root cannot be written; as [`Store::open`].
    pub fn open(options: &EngineOptions) -> Result<Engine> {
        let _ = options;
        todo!()
    }

    /// The layout of the state root.
    pub fn paths(&self) -> &Paths {
        self.store.paths()
    }

    /// The flag that ends waits.
    pub fn interrupt(&self) -> &Arc<AtomicBool> {
        &self.interrupt
    }
}
