//! Where a registry is and how it is reached: its address, what it speaks, and what was said of who one is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, StatusCode, Url, header};
use tokio::runtime::Runtime;

use super::access::Access;
use super::http::{self, is_loopback};
use super::remote::Checking;
use crate::base::{Context as _, Error, Kind, Result};

/// Where Docker Hub's registry answers.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// How long one waits for a registry to show what it speaks.
const PROBE: Duration = Duration::from_secs(10);

/// A repository, and who one is there.
pub(super) struct Place {
    /// The registry, as references name it.
    pub(super) host: String,
    /// The address before `<repository>/…`.
    pub(super) base: Url,
    /// The repository.
    pub(super) repository: String,
    /// How one reaches it.
    pub(super) access: Access,
    /// What to say of who one is, by what one wants to do.
    pub(super) said: Mutex<HashMap<String, header::HeaderValue>>,
}

/// What one wants to do.
pub(super) enum Scope<'a> {
    /// Nothing but to be known.
    None,
    /// To read.
    Pull,
    /// To write.
    Push,
    /// To write, and read in another repository.
    PushFrom(&'a str),
}

impl Place {
    /// Finds out what a registry that may be insecure speaks, and gives the place and a connection.
    pub(super) fn find(host: &str, repository: &str, access: Access, check: &Checking) -> Result<(Place, Connection)> {
        let connection = Connection::new(host, &access)?;
        let name = if host == HUB.0 { HUB.1 } else { host };
        let address = |scheme: &str| {
            Url::parse(&format!("{scheme}://{name}/v2/"))
                .map_err(|_| Error::invalid(format!("{host:?} is not the host of a registry")))
        };
        let mut base = address("https")?;
        if access.insecure || is_loopback(host) {
            let spoken = connection.runtime.block_on(spoken(&connection.own, base, address("http")?, check));
            base = spoken.context(|| format!("reaching the registry {host}"))?;
        }
        let said = Mutex::default();
        Ok((Place { host: host.to_owned(), base, repository: repository.to_owned(), access, said }, connection))
    }

    /// Whether an address is the registry's own.
    pub(super) fn is_ours(&self, url: &Url) -> bool {
        url.scheme() == self.base.scheme()
            && url.host_str() == self.base.host_str()
            && url.port_or_known_default() == self.base.port_or_known_default()
    }

    /// In the words of token servers.
    pub(super) fn scopes(&self, scope: &Scope<'_>) -> Vec<String> {
        let of = |repository: &str, what: &str| format!("repository:{repository}:{what}");
        match scope {
            Scope::None => Vec::new(),
            Scope::Pull => vec![of(&self.repository, "pull")],
            Scope::Push => vec![of(&self.repository, "pull,push")],
            Scope::PushFrom(other) => vec![of(&self.repository, "pull,push"), of(other, "pull")],
        }
    }

    /// What was said for these scopes.
    pub(super) fn said(&self, key: &str) -> Option<header::HeaderValue> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Forgets what was said for these scopes.
    pub(super) fn forget(&self, key: &str) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Remembers what to say for these scopes.
    pub(super) fn say(&self, key: &str, value: header::HeaderValue) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), value);
    }
}

/// What one thread reaches a registry with. Nothing here follows a redirect by itself.
pub(super) struct Connection {
    /// For the registry's own addresses: whom one trusts there, and what one shows, is for nobody else.
    pub(super) own: Client,
    /// For all others: token servers, and where blobs lie.
    pub(super) other: Client,
    /// What drives both.
    pub(super) runtime: Runtime,
}

impl Connection {
    /// A connection to be made, for one thread.
    pub(super) fn new(host: &str, access: &Access) -> Result<Connection> {
        let builder = || match is_loopback(host) {
            true => http::builder(false).no_proxy(),
            false => http::builder(false),
        };
        let unread =
            |error: reqwest::Error| Error::invalid(format!("a certificate for {host} cannot be read: {error}"));
        let mut authorities = Vec::new();
        for pem in &access.authorities {
            authorities.extend(reqwest::Certificate::from_pem_bundle(pem).map_err(unread)?);
        }
        let mut own = builder();
        // Who names an authority wants that it signed.
        if authorities.is_empty() {
            own = own.tls_danger_accept_invalid_certs(access.insecure || is_loopback(host));
        } else {
            own = own.tls_certs_merge(authorities);
        }
        if let Some(pem) = &access.identity {
            own = own.identity(reqwest::Identity::from_pem(pem).map_err(unread)?);
        }
        let build = |builder: reqwest::ClientBuilder| builder.build().map_err(|error| http::failed(&error));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context(|| "starting a runtime")?;
        Ok(Connection { own: build(own)?, other: build(builder())?, runtime })
    }
}

/// What an insecure registry speaks: https if it does, since a name and a password may be sent to it; otherwise http.
async fn spoken(client: &Client, https: Url, http: Url, check: &Checking) -> Result<Url> {
    let probe = |url: &Url| client.get(url.clone()).timeout(PROBE).send();
    match http::looking(check, probe(&https)).await {
        Ok(_) => Ok(https),
        Err(error) if error.kind() == Kind::Interrupted => Err(error),
        Err(secure) => match http::looking(check, probe(&http)).await {
            Ok(response) if matches!(response.status(), StatusCode::OK | StatusCode::UNAUTHORIZED) => Ok(http),
            // Something else than a registry: why there is none over https is what one wants to know.
            Ok(_) => Err(secure),
            Err(error) => Err(error),
        },
    }
}
