//! A repository of a registry (OCI distribution specification 1.1): manifests and what refers to them, tags.
//!
//! ```text
//! request ─▶ 401 ─▶ auth ─▶ again            429, 5xx, a broken connection ─▶ a pause ─▶ again
//! ```
//!
//! What is said of who one is goes to the registry itself only: not where it redirects to, not to another address for an
//! upload (CVE-2020-15157). Every answer is bounded and every wait ends, also when `check` says so.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::Deserialize;

use super::access::Access;
use super::answer::{self, index_entries};
use super::place::{Connection, Place, Scope};
use super::{auth, http};
use crate::base::{Context as _, Digest, Error, Kind, Reference, Result};

/// The most bytes of a manifest, an index, or a list of tags.
pub const MOST_MANIFEST_BYTES: usize = 4 << 20;
/// The most bytes that are read of what a registry says of an error.
const MOST_ERROR_BYTES: usize = 64 << 10;
/// The most tags of a repository.
const MOST_TAGS: usize = 200_000;
/// How long reading a manifest or a list may take.
const LONGEST_DOCUMENT: Duration = Duration::from_secs(300);
/// How often something is tried.
pub(super) const TRIES: u32 = 5;
/// How often one writes what a registry refuses although it is right: Debian's does when many write the same at a time.
pub(super) const TRIES_OF_REFUSED: u32 = 3;
/// How often one tries to reach a registry.
const TRIES_OF_ABSENT: u32 = 2;
/// The pause before the second try; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(300);
/// The longest pause that a registry may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
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
    pub(super) connection: Connection,
    check: Arc<Checking>,
}

/// What is known of a request that was sent.
#[derive(Default)]
pub(super) struct Sent {
    /// It asks, and changes nothing.
    reads: Cell<bool>,
    /// Nobody was there.
    nobody: Cell<bool>,
}

/// Makes a request to an address, which redirects may lead elsewhere.
pub(super) type Make<'a> = dyn Fn(&Client, Url) -> RequestBuilder + 'a;

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
        let (place, connection) = Place::find(host, repository, access, &*check)?;
        Ok(Remote { at: Arc::new(place), connection, check })
    }

    /// The same repository for another thread, whose waits end with an error also when `stop` is set.
    ///
    /// # Errors
    /// What making a connection gives.
    pub fn again(&self, stop: &Arc<AtomicBool>) -> Result<Remote> {
        let connection = Connection::new(&self.at.host, &self.at.access)?;
        let (check, stop) = (Arc::clone(&self.check), Arc::clone(stop));
        let check = move || match stop.load(Ordering::Relaxed) {
            true => Err(Error::interrupted("another transfer failed")),
            false => check(),
        };
        Ok(Remote { at: Arc::clone(&self.at), connection, check: Arc::new(check) })
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
        let signing = || format!("signing in at {}", self.at.host);
        let found = self.block(self.document(&Scope::None, &self.at.base, "", MOST_ERROR_BYTES));
        let found = found.map_err(|error| match error.kind() {
            Kind::NotFound => Error::unsupported("it is not a registry (OCI distribution specification)"),
            _ => error,
        });
        found.context(signing).map(drop)
    }

    /// A manifest or an index by its tag or its digest, of these media types.
    ///
    /// # Errors
    /// `not_found`, `permission_denied`, `unavailable`; `corrupt` when its digest is another.
    pub fn manifest(&self, which: &str, media_types: &[&str]) -> Result<Manifest> {
        let url = self.url(&["manifests", which])?;
        let found = self.block(async {
            let accept = media_types.join(", ");
            let (headers, bytes) = self.document(&Scope::Pull, &url, &accept, MOST_MANIFEST_BYTES).await?;
            let text = |name: header::HeaderName| headers.get(name)?.to_str().ok();
            let named = text(header::HeaderName::from_static(CONTENT_DIGEST)).and_then(|text| Digest::parse(text).ok());
            let media_type = text(header::CONTENT_TYPE).unwrap_or_default();
            let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
            let digest = Digest::of(&bytes);
            match Digest::parse(which).ok().or(named) {
                Some(expected) if expected != digest => {
                    Err(Error::corrupt(format!("what came has the digest {digest}, and not {expected}")))
                }
                _ => Ok(Manifest { bytes, digest, media_type }),
            }
        });
        found.context(|| format!("reading {} of {}", self.named(which), self.at.host))
    }

    /// Puts a manifest under a tag or its digest. Gives whether the registry took note of what it refers to.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`; what the registry says.
    pub fn put_manifest(&self, which: &str, media_type: &str, bytes: &[u8]) -> Result<bool> {
        let url = self.url(&["manifests", which])?;
        let put =
            |client: &Client, url: Url| client.put(url).header(header::CONTENT_TYPE, media_type).body(bytes.to_vec());
        self.block(async {
            let mut tries = 0;
            loop {
                tries += 1;
                let mut response = self.send(&Scope::Push, &url, &put).await?;
                match self.succeeded(&mut response).await {
                    Ok(()) => return Ok(response.headers().contains_key(OCI_SUBJECT)),
                    Err(error) if tries < TRIES_OF_REFUSED && answer::refuses_a_digest(&error) => {
                        self.pause(tries, None).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
        })
        .context(|| format!("writing {} at {}", self.named(which), self.at.host))
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

    /// The repository's tags.
    ///
    /// # Errors
    /// `not_found`, `permission_denied`, `unavailable`, `corrupt`.
    pub fn tags(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let listing = || format!("listing the tags of {} at {}", self.at.repository, self.at.host);
        let mut all = Vec::new();
        let mut next = Some(self.url(&["tags", "list"])?);
        while let Some(url) = next.take() {
            let read = self.block(self.document(&Scope::Pull, &url, "", MOST_MANIFEST_BYTES));
            let (headers, bytes) = read.context(listing)?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| Error::corrupt(crate::base::error::quoted(&error)))
                .context(listing)?;
            let before = all.len();
            let tags = page.tags.unwrap_or_default();
            all.extend(tags.into_iter().filter(|tag| Reference::parse(&format!("x:{tag}")).is_ok()));
            if all.len() > MOST_TAGS {
                return Err(Error::corrupt(format!("there are more than {MOST_TAGS}")).context(listing()));
            }
            // Another host has no pages of this list, and a page that says nothing ends it.
            let link = answer::next_page(&url, &headers);
            next = link.filter(|link| self.at.is_ours(link) && all.len() > before);
        }
        Ok(all)
    }

    /// Whether a blob is there, and need not be written.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let url = self.url(&["blobs", digest.as_str()])?;
        let ask = |client: &Client, url: Url| client.head(url);
        self.block(async {
            let mut response = self.send(&Scope::Push, &url, &ask).await?;
            match response.status() {
                StatusCode::NOT_FOUND => Ok(false),
                _ => self.succeeded(&mut response).await.map(|()| true),
            }
        })
        .context(|| format!("asking for {digest} of {} at {}", self.at.repository, self.at.host))
    }

    // ---- requests ----

    pub(super) fn block<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.connection.runtime.block_on(work)
    }

    /// The client for an address.
    fn client(&self, url: &Url) -> &Client {
        if self.at.is_ours(url) { &self.connection.own } else { &self.connection.other }
    }

    /// Whether an address is the registry's own.
    pub(super) fn is_ours(&self, url: &Url) -> bool {
        self.at.is_ours(url)
    }

    /// What was said of who one is, for an address: nothing when it is not the registry's own.
    fn said(&self, scope: &Scope<'_>, url: &Url) -> Option<header::HeaderValue> {
        self.at.is_ours(url).then(|| self.at.said(&self.at.scopes(scope).join(" "))).flatten()
    }

    /// An address in the repository.
    pub(super) fn url(&self, parts: &[&str]) -> Result<Url> {
        self.at.base.join(&format!("{}/{}", self.at.repository, parts.join("/"))).map_err(|_| malformed())
    }

    fn named(&self, which: &str) -> String {
        let between = if which.contains(':') { '@' } else { ':' };
        format!("{}{between}{which}", self.at.repository)
    }

    /// Reads a small answer whole.
    pub(super) async fn document(
        &self,
        scope: &Scope<'_>,
        url: &Url,
        accept: &str,
        most_bytes: usize,
    ) -> Result<(header::HeaderMap, Vec<u8>)> {
        let ask = |client: &Client, url: Url| match accept {
            "" => client.get(url),
            accept => client.get(url).header(header::ACCEPT, accept),
        };
        let begun = Instant::now();
        let patient = || match begun.elapsed() < LONGEST_DOCUMENT {
            true => (self.check)(),
            false => Err(Error::timeout("the registry does not come to an end")),
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let mut response = self.send(scope, url, &ask).await?;
            self.succeeded(&mut response).await?;
            match http::body(&mut response, most_bytes, &patient).await {
                Ok(bytes) => return Ok((response.headers().clone(), bytes)),
                Err(error) if tries < TRIES && passes(&error) => self.pause(tries, None).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a request, which is made anew for each try, until there is an answer that is one.
    pub(super) async fn send(&self, scope: &Scope<'_>, url: &Url, make: &Make<'_>) -> Result<Response> {
        let (mut tries, mut answered) = (0, false);
        loop {
            tries += 1;
            let sent = Sent::default();
            let response = match self.follow(scope, url, make, &sent).await {
                Ok(response) => response,
                // Who is not there is likely not to come in a moment.
                Err(error) if sent.nobody.get() && tries >= TRIES_OF_ABSENT => return Err(error),
                Err(error) if tries < TRIES && passes(&error) => {
                    self.pause(tries, None).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match response.status() {
                // Once: what was said before may be too old, what is said now is not. Only the registry itself may ask.
                StatusCode::UNAUTHORIZED if self.at.is_ours(response.url()) && !answered => {
                    let Some(challenge) = auth::challenge(response.headers()) else { return Ok(response) };
                    answered = true;
                    self.say(scope, &challenge).await?;
                }
                // Debian's registry says 500 while it notes a blob that another one writes.
                StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
                    if tries < TRIES =>
                {
                    self.pause(tries, answer::retry_after(response.headers())).await?;
                }
                _ => return Ok(response),
            }
        }
    }

    /// Sends a request once, and where it reads, to where it is redirected.
    async fn follow(&self, scope: &Scope<'_>, url: &Url, make: &Make<'_>, sent: &Sent) -> Result<Response> {
        let mut at = url.clone();
        for _ in 0..=http::MOST_REDIRECTS {
            let response = self.once(scope, &at, make, sent, &|| 0, http::SILENCE).await?;
            // What writes goes elsewhere only as the registry's protocol says, by the place of an upload.
            let next = if sent.reads.get() { answer::redirect(&response)? } else { None };
            let Some(next) = next else { return Ok(response) };
            at = next;
        }
        Err(Error::failed("there are too many redirects"))
    }

    /// Sends a request once.
    pub(super) async fn once(
        &self,
        scope: &Scope<'_>,
        url: &Url,
        make: &Make<'_>,
        sent: &Sent,
        alive: &dyn Fn() -> u64,
        patience: Duration,
    ) -> Result<Response> {
        let client = self.client(url);
        let mut request = make(client, url.clone()).build().map_err(|error| http::failed(&error))?;
        if let Some(said) = self.said(scope, url) {
            request.headers_mut().insert(header::AUTHORIZATION, said);
        }
        sent.reads.set(matches!(*request.method(), Method::GET | Method::HEAD));
        let answer = client.execute(request);
        let work = async { answer.await.inspect_err(|error| sent.nobody.set(error.is_connect())) };
        http::waiting(&*self.check, work, alive, patience).await
    }

    /// Finds out what to say of who one is.
    async fn say(&self, scope: &Scope<'_>, challenge: &auth::Challenge) -> Result<()> {
        let scopes = self.at.scopes(scope);
        let who = self.at.access.credentials.as_ref();
        let client = |url: &Url| self.client(url);
        let mut tries = 0;
        loop {
            tries += 1;
            match auth::answer(&client, &self.at.base, challenge, who, &scopes, &*self.check).await {
                Ok(said) => {
                    self.at.say(&scopes.join(" "), said);
                    return Ok(());
                }
                Err(error) if tries < TRIES && passes(&error) => self.pause(tries, None).await?,
                Err(error) => return Err(self.denied(error)),
            }
        }
    }

    /// Forgets what was said of who one is.
    pub(super) fn forget(&self, scope: &Scope<'_>) {
        self.at.forget(&self.at.scopes(scope).join(" "));
    }

    /// Waits for the next piece of an answer.
    pub(super) async fn piece(&self, response: &mut Response) -> Result<Option<Vec<u8>>> {
        Ok(http::looking(&*self.check, response.chunk()).await?.map(Into::into))
    }

    /// Waits before another try.
    pub(super) async fn pause(&self, tries: u32, asked: Option<Duration>) -> Result<()> {
        let pause = asked.unwrap_or(PAUSE * 2_u32.saturating_pow(tries.saturating_sub(1).min(8)));
        let until = Instant::now() + pause.min(LONGEST_PAUSE);
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            (self.check)()?;
            tokio::time::sleep(left.min(http::LOOK)).await;
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

/// Whether what failed may go well in a moment.
pub(super) fn passes(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Timeout)
}

fn malformed() -> Error {
    Error::invalid("the repository cannot be part of an address")
}
