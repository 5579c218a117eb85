//! A repository of a registry (OCI distribution specification 1.1): manifests and what refers to them, tags, blobs.
//!
//! ```text
//! request ─▶ 401 ─▶ auth ─▶ again            429, 5xx, a broken connection ─▶ a pause ─▶ again
//! ```
//!
//! What is said of who one is goes to the registry itself only: not where it redirects to, not to another address for an
//! upload (CVE-2020-15157). Every answer is bounded and every wait ends, also when `check` says so.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::access::Access;
use super::answer::{self, index_entries};
use super::place::{Place, Scope, connection};
use super::{auth, http};
use crate::base::{Context as _, Digest, Error, Kind, Reference, Result};

/// The most bytes of a manifest, an index, or a list of tags.
pub const MOST_MANIFEST_BYTES: usize = 4 << 20;
/// The most bytes that are read of what a registry says of an error.
const MOST_ERROR_BYTES: usize = 64 << 10;
/// The most pages of a listing.
const MOST_PAGES: usize = 10_000;
/// How often something is tried.
pub(super) const TRIES: u32 = 5;
/// How often one tries to reach a registry.
const TRIES_OF_ABSENT: u32 = 2;
/// The pause before the second try; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(300);
/// The longest pause that a registry may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often one looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// The header with a manifest's digest.
const CONTENT_DIGEST: &str = "docker-content-digest";
/// The header of a registry that knows what refers to what.
const OCI_SUBJECT: &str = "oci-subject";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Says again and again whether what is under way is to end; from several threads.
pub type Checking = dyn Fn() -> Result<()> + Send + Sync;

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// As it is.
    pub bytes: Vec<u8>,
    /// The digest of that.
    pub digest: Digest,
    /// What the registry says that it is.
    pub media_type: String,
}

/// A repository of a registry, and a connection of this thread's own.
pub struct Remote {
    at: Arc<Place>,
    pub(super) client: Client,
    pub(super) runtime: Runtime,
    check: Arc<Checking>,
}

impl Remote {
    /// The repository of a reference. Nothing is asked of it yet but, where a registry may be insecure, what it speaks.
    ///
    /// # Errors
    /// `unavailable` when it cannot be reached.
    pub fn open(reference: &Reference, access: Access, check: Arc<Checking>) -> Result<Remote> {
        Remote::of_host(reference.host(), reference.path(), access, check)
    }

    /// A registry as such.
    ///
    /// # Errors
    /// As [`Remote::open`]; `invalid_argument` for what is no host.
    pub fn of_host(host: &str, repository: &str, access: Access, check: Arc<Checking>) -> Result<Remote> {
        let (place, client, runtime) = Place::find(host, repository, access, &*check)?;
        Ok(Remote { at: Arc::new(place), client, runtime, check })
    }

    /// The same repository for another thread.
    ///
    /// # Errors
    /// What making a connection gives.
    pub fn again(&self) -> Result<Remote> {
        let (client, runtime) = connection(&self.at.host, &self.at.access)?;
        Ok(Remote { at: Arc::clone(&self.at), client, runtime, check: Arc::clone(&self.check) })
    }

    /// The registry's host, as references name it.
    pub fn host(&self) -> &str {
        &self.at.host
    }

    /// The repository.
    pub fn repository(&self) -> &str {
        &self.at.repository
    }

    /// Shows who one is, without wanting anything.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`.
    pub fn sign_in(&self) -> Result<()> {
        let url = self.at.base.clone();
        let ask = |client: &Client| Ok(client.get(url.clone()));
        self.block(async {
            let mut response = self.send(&Scope::None, &ask).await?;
            if response.status() == StatusCode::NOT_FOUND {
                return Err(Error::unsupported("it is not a registry (OCI distribution specification)"));
            }
            self.succeeded(&mut response).await
        })
        .context(|| format!("signing in at {}", self.at.host))
    }

    /// A manifest or an index by its tag or its digest, of these media types.
    ///
    /// # Errors
    /// `not_found`, `permission_denied`, `unavailable`; `corrupt` when its digest is another.
    pub fn manifest(&self, which: &str, media_types: &[&str]) -> Result<Manifest> {
        let url = self.url(&["manifests", which])?;
        let accept = media_types.join(", ");
        let ask = |client: &Client| Ok(client.get(url.clone()).header(header::ACCEPT, &accept));
        self.block(async {
            let mut response = self.send(&Scope::Pull, &ask).await?;
            self.succeeded(&mut response).await?;
            let text = |name: header::HeaderName| response.headers().get(name)?.to_str().ok().map(str::to_owned);
            let media_type = text(header::CONTENT_TYPE).unwrap_or_default();
            let named = text(header::HeaderName::from_static(CONTENT_DIGEST));
            let bytes = http::body(&mut response, MOST_MANIFEST_BYTES, &*self.check).await?;
            let digest = Digest::of(&bytes);
            let asked = Digest::parse(which).ok();
            if let Some(expected) = asked.or_else(|| named.and_then(|named| Digest::parse(&named).ok()))
                && expected != digest
            {
                return Err(Error::corrupt(format!("what came has the digest {digest}, and not {expected}")));
            }
            let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
            Ok(Manifest { bytes, digest, media_type })
        })
        .context(|| format!("reading {} of {}", self.named(which), self.at.host))
    }

    /// Puts a manifest under a tag or its digest. Gives whether the registry took note of what it refers to.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`; what the registry says.
    pub fn put_manifest(&self, which: &str, media_type: &str, bytes: &[u8]) -> Result<bool> {
        let url = self.url(&["manifests", which])?;
        let put =
            |client: &Client| Ok(client.put(url.clone()).header(header::CONTENT_TYPE, media_type).body(bytes.to_vec()));
        self.block(async {
            let mut response = self.send(&Scope::Push, &put).await?;
            self.succeeded(&mut response).await?;
            Ok(response.headers().contains_key(OCI_SUBJECT))
        })
        .context(|| format!("writing {} at {}", self.named(which), self.at.host))
    }

    /// Takes a manifest away, by its digest, or a tag where the registry can.
    ///
    /// # Errors
    /// `not_found`, `permission_denied`, `unsupported` where nothing is removed, `unavailable`.
    pub fn remove_manifest(&self, which: &str) -> Result<()> {
        let url = self.url(&["manifests", which])?;
        let remove = |client: &Client| Ok(client.delete(url.clone()));
        self.block(async {
            let mut response = self.send(&Scope::Delete, &remove).await?;
            self.succeeded(&mut response).await
        })
        .context(|| format!("removing {} at {}", self.named(which), self.at.host))
    }

    /// Puts a manifest that refers to another one (`subject`), and sees to it that it is found there: by the registry's own
    /// index, or by the tag that stands for it (OCI distribution specification, "Referrers Tag Schema").
    ///
    /// # Errors
    /// As [`Remote::put_manifest`].
    pub fn put_referrer(
        &self,
        subject: &Digest,
        media_type: &str,
        bytes: &[u8],
        entry: &serde_json::Value,
    ) -> Result<()> {
        let digest = Digest::of(bytes);
        if self.put_manifest(digest.as_str(), media_type, bytes)? {
            return Ok(());
        }
        let tag = subject.as_str().replacen(':', "-", 1);
        let mut entries = match self.manifest(&tag, &[INDEX_TYPE]) {
            Ok(index) => index_entries(&index.bytes)?,
            Err(error) if error.kind() == Kind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        if entries.iter().any(|known| known["digest"] == entry["digest"]) {
            return Ok(());
        }
        entries.push(entry.clone());
        let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries });
        self.put_manifest(&tag, INDEX_TYPE, index.to_string().as_bytes()).map(drop)
    }

    /// The descriptors of what refers to a manifest.
    ///
    /// # Errors
    /// As [`Remote::manifest`].
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<serde_json::Value>> {
        let url = self.url(&["referrers", subject.as_str()])?;
        let ask = |client: &Client| Ok(client.get(url.clone()).header(header::ACCEPT, INDEX_TYPE));
        let found = self
            .block(async {
                let mut response = self.send(&Scope::Pull, &ask).await?;
                if response.status() == StatusCode::NOT_FOUND {
                    return Ok(None);
                }
                self.succeeded(&mut response).await?;
                http::body(&mut response, MOST_MANIFEST_BYTES, &*self.check).await.map(Some)
            })
            .context(|| format!("asking what refers to {subject} at {}", self.at.host))?;
        match found {
            Some(bytes) => index_entries(&bytes),
            None => match self.manifest(&subject.as_str().replacen(':', "-", 1), &[INDEX_TYPE]) {
                Ok(index) => index_entries(&index.bytes),
                Err(error) if error.kind() == Kind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error),
            },
        }
    }

    /// The repository's tags.
    ///
    /// # Errors
    /// `not_found`, `permission_denied`, `unavailable`, `corrupt`.
    pub fn tags(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let first = self.url(&["tags", "list"])?;
        self.pages(first, &Scope::Pull, |page: Page| page.tags.unwrap_or_default())
            .context(|| format!("listing the tags of {} at {}", self.at.repository, self.at.host))
    }

    /// The registry's repositories.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`, `corrupt`; `not_found` where nothing is listed.
    pub fn repositories(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        let first = self.at.base.join("_catalog").map_err(|_| malformed())?;
        self.pages(first, &Scope::Catalog, |page: Page| page.repositories.unwrap_or_default())
            .context(|| format!("listing the repositories of {}", self.at.host))
    }

    fn pages<P: for<'a> Deserialize<'a>>(
        &self,
        first: Url,
        scope: &Scope<'_>,
        names: impl Fn(P) -> Vec<String>,
    ) -> Result<Vec<String>> {
        let mut all = Vec::new();
        let mut next = Some(first);
        for _ in 0..MOST_PAGES {
            let Some(url) = next.take() else { return Ok(all) };
            let ask = |client: &Client| Ok(client.get(url.clone()));
            let (bytes, link) = self.block(async {
                let mut response = self.send(scope, &ask).await?;
                self.succeeded(&mut response).await?;
                let link = answer::next_page(&url, response.headers());
                Ok((http::body(&mut response, MOST_MANIFEST_BYTES, &*self.check).await?, link))
            })?;
            let page: P =
                serde_json::from_slice(&bytes).map_err(|error| Error::corrupt(crate::base::error::quoted(&error)))?;
            all.extend(names(page));
            // Another host has no pages of this list.
            next = link.filter(|link| self.at.is_ours(link) && *link != url);
        }
        Err(Error::corrupt("the list has no end"))
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`.
    pub fn has_blob(&self, digest: &Digest, to_push: bool) -> Result<bool> {
        let url = self.url(&["blobs", digest.as_str()])?;
        let ask = |client: &Client| Ok(client.head(url.clone()));
        let scope = if to_push { Scope::Push } else { Scope::Pull };
        self.block(async {
            let mut response = self.send(&scope, &ask).await?;
            match response.status() {
                StatusCode::NOT_FOUND => Ok(false),
                _ => self.succeeded(&mut response).await.map(|()| true),
            }
        })
        .context(|| format!("asking for {digest} of {} at {}", self.at.repository, self.at.host))
    }

    // ---- requests ----

    pub(super) fn block<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(work)
    }

    /// An address in the repository.
    pub(super) fn url(&self, parts: &[&str]) -> Result<Url> {
        self.at.base.join(&format!("{}/{}", self.at.repository, parts.join("/"))).map_err(|_| malformed())
    }

    fn named(&self, which: &str) -> String {
        let between = if which.contains(':') { '@' } else { ':' };
        format!("{}{between}{which}", self.at.repository)
    }

    /// Sends a request, which is made anew for each try, until there is an answer that is one.
    pub(super) async fn send(
        &self,
        scope: &Scope<'_>,
        make: &dyn Fn(&Client) -> Result<RequestBuilder>,
    ) -> Result<Response> {
        self.send_with(scope, make, &|| 0, http::SILENCE).await
    }

    /// As [`Remote::send`]; nothing is given up as long as `alive` counts on.
    pub(super) async fn send_with(
        &self,
        scope: &Scope<'_>,
        make: &dyn Fn(&Client) -> Result<RequestBuilder>,
        alive: &dyn Fn() -> u64,
        patience: Duration,
    ) -> Result<Response> {
        let scopes = self.at.scopes(scope);
        let key = scopes.join(" ");
        let (mut tries, mut answered) = (0, false);
        loop {
            tries += 1;
            let mut request = make(&self.client)?.build().map_err(|error| http::failed(&error))?;
            let ours = self.at.is_ours(request.url());
            if let Some(said) = ours.then(|| self.at.said(&key)).flatten() {
                request.headers_mut().insert(header::AUTHORIZATION, said);
            }
            let absent = Cell::new(false);
            let sent = self.client.execute(request);
            let work = async { sent.await.inspect_err(|error| absent.set(error.is_connect())) };
            let response = match self.waiting(work, alive, patience).await {
                Ok(response) => response,
                // Who is not there is likely not to come in a moment.
                Err(error) if absent.get() && tries >= TRIES_OF_ABSENT => return Err(error),
                Err(error) if tries < TRIES && matches!(error.kind(), Kind::Unavailable | Kind::Timeout) => {
                    self.pause(tries, None).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match response.status() {
                // Once: what was said before may be too old, what is said now is not.
                StatusCode::UNAUTHORIZED if ours && !answered => {
                    let Some(challenge) = auth::challenge(response.headers()) else { return Ok(response) };
                    answered = true;
                    let who = self.at.access.credentials.as_ref();
                    let said = auth::answer(&self.client, &self.at.base, &challenge, who, &scopes, &*self.check);
                    self.at.say(&key, said.await.map_err(|error| self.denied(error))?);
                }
                StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
                    if tries < TRIES =>
                {
                    let after = answer::retry_after(response.headers());
                    self.pause(tries, after).await?;
                }
                _ => return Ok(response),
            }
        }
    }

    /// Waits for something, and looks meanwhile whether it is to end.
    pub(super) async fn waiting<T>(
        &self,
        work: impl Future<Output = std::result::Result<T, reqwest::Error>>,
        alive: &dyn Fn() -> u64,
        patience: Duration,
    ) -> Result<T> {
        let mut work = std::pin::pin!(work);
        let (mut seen, mut since) = (alive(), Instant::now());
        loop {
            match tokio::time::timeout(LOOK, &mut work).await {
                Ok(done) => return done.map_err(|error| http::failed(&error)),
                Err(_) => (self.check)()?,
            }
            let now = alive();
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > patience {
                return Err(Error::timeout(format!("nothing came for {} s", patience.as_secs())));
            }
        }
    }

    /// Waits before another try.
    pub(super) async fn pause(&self, tries: u32, asked: Option<Duration>) -> Result<()> {
        let pause = asked.unwrap_or(PAUSE * 2_u32.saturating_pow(tries.saturating_sub(1).min(8)));
        let until = Instant::now() + pause.min(LONGEST_PAUSE);
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            (self.check)()?;
            tokio::time::sleep(left.min(LOOK)).await;
        }
        (self.check)()
    }

    /// The error of an answer that is one, with what the registry says.
    pub(super) async fn succeeded(&self, response: &mut Response) -> Result<()> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let bytes = http::body(response, MOST_ERROR_BYTES, &*self.check).await.unwrap_or_default();
        let error = answer::refused(status, &bytes);
        Err(if error.kind() == Kind::PermissionDenied { self.denied(error) } else { error })
    }

    fn denied(&self, error: Error) -> Error {
        if error.kind() != Kind::PermissionDenied {
            return error;
        }
        let host = &self.at.host;
        error.with_hint(match self.at.access.credentials {
            None => format!("sign in: rhumb login {host}"),
            Some(_) => format!("sign in as somebody who may do that: rhumb login {host}"),
        })
    }
}

fn malformed() -> Error {
    Error::invalid("the repository cannot be part of an address")
}
