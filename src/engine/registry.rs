//! Registries as such: who one is there, and what they have.

use std::sync::Arc;

use crate::base::{Reference, Result};
use crate::engine::Engine;
use crate::registry::access::{Access, Credentials};
use crate::registry::remote::{Checking, Remote};

impl Engine {
    /// Asks a registry whether it knows who one says that one is. Nothing is kept.
    ///
    /// # Errors
    /// `permission_denied` when it does not; `unavailable`.
    pub fn registry_sign_in(&self, host: &str, credentials: &Credentials) -> Result<()> {
        // Who one was there before does not matter: it may be what is to be mended.
        let access = Access { credentials: Some(credentials.clone()), ..self.registries.trust(host)? };
        Remote::of_host(host, "", access, self.checking())?.sign_in()
    }

    /// The tags of a repository, sorted.
    ///
    /// # Errors
    /// `not_found`, `permission_denied`, `unavailable`.
    pub fn registry_tags(&self, repository: &str) -> Result<Vec<String>> {
        let mut tags = self.remote(&Reference::parse(repository)?)?.tags()?;
        tags.sort();
        Ok(tags)
    }

    /// What ends every wait for a registry.
    fn checking(&self) -> Arc<Checking> {
        let engine = self.clone();
        Arc::new(move || engine.check_interrupt())
    }

    /// The repository of a reference.
    ///
    /// # Errors
    /// `unavailable`; what looking up who one is gives.
    pub(in crate::engine) fn remote(&self, reference: &Reference) -> Result<Remote> {
        Remote::open(reference, self.registries.access(reference.host())?, self.checking())
    }
}
