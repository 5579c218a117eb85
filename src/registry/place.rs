//! Where a registry is and how it is reached: its address, what it speaks, and what was said of who one is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use reqwest::{Client, StatusCode, Url, header};
use tokio::runtime::Runtime;

use super::access::Access;
use super::http;
use super::remote::Checking;
use crate::base::{Context as _, Error, Kind, Result};

/// Where Docker Hub's registry answers.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

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
    /// To remove.
    Delete,
    /// To see what there is.
    Catalog,
}

impl Place {
    /// Finds out what a registry that may be insecure speaks, and gives the place and a connection.
    pub(super) fn find(
        host: &str,
        repository: &str,
        access: Access,
        check: &Checking,
    ) -> Result<(Place, Client, Runtime)> {
        let (client, runtime) = connection(host, &access)?;
        let name = if host == HUB.0 { HUB.1 } else { host };
        let address = |scheme: &str| {
            Url::parse(&format!("{scheme}://{name}/v2/"))
                .map_err(|_| Error::invalid(format!("{host:?} is not the host of a registry")))
        };
        let mut base = address("https")?;
        if access.insecure || is_loopback(host) {
            let spoken = runtime.block_on(spoken(&client, base, address("http")?, check));
            base = spoken.context(|| format!("reaching the registry {host}"))?;
        }
        let said = Mutex::default();
        Ok((Place { host: host.to_owned(), base, repository: repository.to_owned(), access, said }, client, runtime))
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
            Scope::Delete => vec![of(&self.repository, "delete")],
            Scope::Catalog => vec!["registry:catalog:*".to_owned()],
        }
    }

    /// What was said for these scopes.
    pub(super) fn said(&self, key: &str) -> Option<header::HeaderValue> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Remembers what to say for these scopes.
    pub(super) fn say(&self, key: &str, value: header::HeaderValue) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), value);
    }
}

/// A client and what drives it, for one thread.
pub(super) fn connection(host: &str, access: &Access) -> Result<(Client, Runtime)> {
    let mut builder = http::builder(true);
    if is_loopback(host) {
        builder = builder.no_proxy();
    }
    if access.insecure || is_loopback(host) {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    let unread = |error: reqwest::Error| Error::invalid(format!("a certificate for {host} cannot be read: {error}"));
    let mut authorities = Vec::new();
    for pem in &access.authorities {
        authorities.extend(reqwest::Certificate::from_pem_bundle(pem).map_err(unread)?);
    }
    builder = builder.tls_certs_merge(authorities);
    if let Some(pem) = &access.identity {
        builder = builder.identity(reqwest::Identity::from_pem(pem).map_err(unread)?);
    }
    let client = builder.build().map_err(|error| http::failed(&error))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context(|| "starting a runtime")?;
    Ok((client, runtime))
}

/// What an insecure registry speaks: whoever answers as a registry over http does, and otherwise https.
async fn spoken(client: &Client, https: Url, http: Url, check: &Checking) -> Result<Url> {
    match http::looking(check, client.get(http.clone()).timeout(http::SILENCE).send()).await {
        Ok(response) if matches!(response.status(), StatusCode::OK | StatusCode::UNAUTHORIZED) => Ok(http),
        Err(error) if error.kind() == Kind::Interrupted => Err(error),
        first => match http::looking(check, client.get(https.clone()).timeout(http::SILENCE).send()).await {
            Ok(_) => Ok(https),
            // Why the first did not answer is what one wants to know.
            Err(error) => first.map(|_| http).map_err(|_| error),
        },
    }
}

/// Whether a host is this machine: what stays on it may go unprotected, as with Docker.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
