//! What is known of a registry before it is asked: who one is there, and whom one trusts.

use std::fmt;
use std::sync::Arc;

use crate::base::Result;

/// Who one is at a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password, or a token in its place.
        password: String,
    },
    /// What a token server gave for good; Docker's "identity token", a refresh token of OAuth 2.
    Identity(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How one reaches a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Who one is; none is anybody.
    pub credentials: Option<Credentials>,
    /// It may speak plain HTTP, or show a certificate that nobody signed.
    pub insecure: bool,
    /// Certificates, in PEM, of further authorities.
    pub authorities: Vec<Vec<u8>>,
    /// A certificate and its key, in PEM, that one shows.
    pub identity: Option<Vec<u8>>,
}

/// What a front end knows.
pub trait Known: Send + Sync {
    /// How one reaches a registry, but for who one is.
    ///
    /// # Errors
    /// What looking gives: what cannot be read is an error, never nobody (CVE-2021-41092).
    fn trust(&self, host: &str) -> Result<Access>;

    /// Who one is there.
    ///
    /// # Errors
    /// As [`Known::trust`].
    fn credentials(&self, host: &str) -> Result<Option<Credentials>>;
}

/// Finds what is known of a registry by its host, with its port if it has one. The default knows nothing of any.
#[derive(Clone, Default)]
pub struct Registries(Option<Arc<dyn Known>>);

impl Registries {
    /// What a front end has read, or reads when it is asked.
    pub fn new(known: impl Known + 'static) -> Registries {
        Registries(Some(Arc::new(known)))
    }

    /// What is known of this one, but for who one is.
    ///
    /// # Errors
    /// As [`Known::trust`].
    pub fn trust(&self, host: &str) -> Result<Access> {
        self.0.as_ref().map_or_else(|| Ok(Access::default()), |known| known.trust(host))
    }

    /// What is known of this one.
    ///
    /// # Errors
    /// As [`Known::trust`].
    pub fn access(&self, host: &str) -> Result<Access> {
        let credentials = self.0.as_ref().map(|known| known.credentials(host)).transpose()?.flatten();
        Ok(Access { credentials, ..self.trust(host)? })
    }
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registries")
    }
}
