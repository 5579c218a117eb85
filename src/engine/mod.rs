//! Floor 4: the facade. One file per noun, one method per verb: synchronous, typed, and it never prints.
//!
//! Rank inside this floor: event, volume, network, image < container < build < system. A verb that changes something is
//! one typed operation here, whatever front end asked for it.

pub mod build;
pub mod container;
pub mod event;
pub mod image;
mod lanes;
mod lock;
pub mod network;
mod pipe;
pub mod registry;
pub mod system;
pub mod volume;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::{Context as _, Error, Paths, Result, paths};
use crate::engine::event::LostEvents;
use crate::model::image::Pull;
use crate::registry::access::Registries;
use crate::store::Store;
use crate::sys;

/// How an engine is opened.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// The state root; none is [`crate::base::paths::DEFAULT_ROOT`].
    pub root: Option<PathBuf>,
    /// Set by a front end when the user presses Ctrl-C: every wait ends with `interrupted`.
    pub interrupt: Arc<AtomicBool>,
    /// Where programs of this machine are looked up besides the usual folders: a front end gives what PATH says.
    pub search_path: Vec<PathBuf>,
    /// Variables that say how one gets out of this network, for programs that are started: `https_proxy` and its kin.
    pub proxies: Vec<(String, OsString)>,
    /// The network of containers that say nothing of one, in Docker's words: `none`, or a network; none is `bridge`.
    pub default_network: Option<String>,
    /// When images that are asked for are fetched from their registries: `missing` (so it is without), `always`, `never`.
    pub pull: Option<String>,
    /// The most bytes that builds keep for the next one; without it all is kept until somebody prunes.
    pub build_cache: Option<String>,
    /// What is known of registries: who one is there, and whom one trusts.
    pub registries: Registries,
    /// Takes up what could not be written of what happened, for a front end to say.
    pub lost_events: LostEvents,
}

/// The engine over one state root. Cheap to clone, safe to share between threads.
#[derive(Clone)]
pub struct Engine {
    store: Store,
    interrupt: Arc<AtomicBool>,
    search_path: Arc<[PathBuf]>,
    proxies: Arc<[(String, OsString)]>,
    default_network: Option<Arc<str>>,
    pull: Pull,
    build_cache: Option<Arc<str>>,
    registries: Registries,
    lost_events: LostEvents,
}

impl Engine {
    /// Opens the state root, making it when it is missing, and finishes or undoes what an earlier process left half-done.
    ///
    /// # Errors
    /// `permission_denied` when not root or the root cannot be written; as [`Store::open`].
    pub fn open(options: &EngineOptions) -> Result<Engine> {
        if !sys::user::is_root() {
            return Err(Error::permission_denied("containers need the superuser's rights")
                .with_hint("run it as root, for example with sudo; there is no rootless mode yet"));
        }
        let root = options.root.clone().unwrap_or_else(|| PathBuf::from(paths::DEFAULT_ROOT));
        let root = std::path::absolute(&root).context(|| format!("finding the state root {root:?}"))?;
        let store = Store::open(&Paths::new(root))?;
        let engine = Engine {
            store,
            interrupt: Arc::clone(&options.interrupt),
            search_path: options.search_path.clone().into(),
            proxies: options.proxies.clone().into(),
            default_network: options.default_network.as_deref().filter(|name| !name.is_empty()).map(Arc::from),
            pull: options.pull.as_deref().filter(|text| !text.is_empty()).map_or(Ok(Pull::default()), Pull::parse)?,
            build_cache: options.build_cache.as_deref().filter(|text| !text.is_empty()).map(Arc::from),
            registries: options.registries.clone(),
            lost_events: options.lost_events.clone(),
        };
        engine.recover()?;
        Ok(engine)
    }

    /// Finishes or undoes every verb whose process died in the middle of it. Idempotent, and cheap when there is none. One
    /// thing that cannot be ended now must not stop every command: it is left to a later one, whoever names it is told
    /// why, and `system check` lists it.
    fn recover(&self) -> Result<()> {
        self.container_recover()?;
        self.build_recover()?;
        self.volume_recover()?;
        self.network_recover()?;
        self.store.recover()
    }

    /// The layout of the state root.
    pub fn paths(&self) -> &Paths {
        self.store.paths()
    }

    /// When images are fetched from their registries.
    pub fn pull_policy(&self) -> Pull {
        self.pull
    }

    /// The flag that ends waits.
    pub fn interrupt(&self) -> &Arc<AtomicBool> {
        &self.interrupt
    }

    fn check_interrupt(&self) -> Result<()> {
        if self.interrupt.load(Ordering::Relaxed) { Err(Error::interrupted("interrupted")) } else { Ok(()) }
    }
}
