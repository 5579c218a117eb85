//! Blobs of a repository: read as a stream that goes on where it broke off, and written.

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream;
use reqwest::{Body, Client, Response, StatusCode, Url, header};

use super::answer;
use super::place::Scope;
use super::remote::{Remote, Sent, TRIES, TRIES_OF_REFUSED, passes};
use crate::base::{Context as _, Digest, Error, Kind, Result};

/// How much of a file is sent at once.
const PIECE_BYTES: usize = 256 * 1024;
/// How long a registry may take to note a blob that it has.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a repository has under a digest. It gives exactly as many bytes as were asked for, or an error; what they are is for
/// the reader to check.
pub struct Blob<'a> {
    remote: &'a Remote,
    digest: Digest,
    url: Url,
    size_bytes: u64,
    at: u64,
    response: Option<Response>,
    piece: Vec<u8>,
    taken: usize,
    /// Tries since something came.
    tries: u32,
    /// Why it cannot be read on.
    error: Option<Error>,
}

impl Remote {
    /// A blob of this size; it is asked for with the first read.
    ///
    /// # Errors
    /// `invalid_argument` for a repository that can be no address.
    pub fn blob(&self, digest: &Digest, size_bytes: u64) -> Result<Blob<'_>> {
        Ok(Blob {
            remote: self,
            digest: digest.clone(),
            url: self.url(&["blobs", digest.as_str()])?,
            size_bytes,
            at: 0,
            response: None,
            piece: Vec::new(),
            taken: 0,
            tries: 0,
            error: None,
        })
    }

    /// Takes a blob over from another repository of the registry; gives whether that was possible.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`.
    pub fn mount(&self, digest: &Digest, from: &str) -> Result<bool> {
        let mut url = self.url(&["blobs", "uploads", ""])?;
        url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
        let ask = |client: &Client, url: Url| client.post(url).header(header::CONTENT_LENGTH, 0);
        let mounted = self.block(async {
            let mut response = self.send(&Scope::PushFrom(from), &url, &ask).await?;
            match response.status() {
                StatusCode::CREATED => Ok(true),
                // It has begun an upload instead, which nobody wants.
                StatusCode::ACCEPTED => {
                    if let Ok(place) = place(&response) {
                        let end = |client: &Client, url: Url| client.delete(url);
                        let _ = self.send(&Scope::Push, &place, &end).await;
                    }
                    Ok(false)
                }
                StatusCode::NOT_FOUND => Ok(false),
                _ => self.succeeded(&mut response).await.map(|()| false),
            }
        });
        match mounted {
            // Who may not read there may still write here.
            Err(error) if error.kind() == Kind::PermissionDenied => Ok(false),
            mounted => mounted,
        }
        .context(|| format!("taking {digest} over from {from} at {}", self.host()))
    }

    /// Writes a blob; `open` gives its bytes, anew for each try, and `sent` hears how many are on their way.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`; what the registry says, and what `open` gives.
    pub fn put_blob(
        &self,
        digest: &Digest,
        size_bytes: u64,
        open: &dyn Fn() -> Result<Box<dyn Read + Send>>,
        sent: &dyn Fn(u64),
    ) -> Result<()> {
        let uploads = self.url(&["blobs", "uploads", ""])?;
        let begin = |client: &Client, url: Url| client.post(url).header(header::CONTENT_LENGTH, 0);
        let there = self.url(&["blobs", digest.as_str()])?;
        let look = |client: &Client, url: Url| client.head(url);
        let upload = async {
            let mut tries = 0;
            loop {
                tries += 1;
                let mut response = self.send(&Scope::Push, &uploads, &begin).await?;
                self.succeeded(&mut response).await?;
                let mut place = place(&response)?;
                place.query_pairs_mut().append_pair("digest", digest.as_str());
                let Err(error) = self.put_once(&place, size_bytes, open()?, sent).await else { return Ok(()) };
                let again = match error.kind() {
                    Kind::Unavailable | Kind::Timeout => tries < TRIES,
                    Kind::Failed => answer::refuses_a_digest(&error) && tries < TRIES_OF_REFUSED,
                    _ => false,
                };
                if !again {
                    return Err(error);
                }
                self.pause(tries, None).await?;
                // Somebody else may have written it meanwhile.
                let mut response = self.send(&Scope::Push, &there, &look).await?;
                if response.status() != StatusCode::NOT_FOUND {
                    return self.succeeded(&mut response).await;
                }
            }
        };
        self.block(upload).context(|| format!("writing {digest} to {} at {}", self.repository(), self.host()))
    }

    /// One upload is for one try: what it has after one that broke off is not known.
    async fn put_once(
        &self,
        place: &Url,
        size_bytes: u64,
        content: Box<dyn Read + Send>,
        sent: &dyn Fn(u64),
    ) -> Result<()> {
        let count = Arc::new(AtomicU64::new(0));
        let content = Cell::new(Some((content, Arc::clone(&count))));
        let put = |client: &Client, url: Url| {
            let pieces = stream::try_unfold(content.take(), |content| async move {
                let Some((mut content, count)) = content else { return Ok(None) };
                let mut piece = vec![0; PIECE_BYTES];
                let length = content.read(&mut piece)?;
                piece.truncate(length);
                count.fetch_add(length as u64, Ordering::Relaxed);
                Ok::<_, io::Error>((length > 0).then_some((piece, Some((content, count)))))
            });
            client
                .put(url)
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, size_bytes)
                .body(Body::wrap_stream(pieces))
        };
        let alive = || {
            let count = count.load(Ordering::Relaxed);
            sent(count);
            count
        };
        let mut response = self.once(&Scope::Push, place, &put, &Sent::default(), &alive, PATIENCE).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.is_ours(place) {
            // What was said is too old by now; the next try says it anew.
            self.forget(&Scope::Push);
            return Err(Error::unavailable("the registry forgot who one is"));
        }
        self.succeeded(&mut response).await?;
        sent(size_bytes);
        Ok(())
    }
}

/// Where an upload goes on.
fn place(response: &Response) -> Result<Url> {
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let place = location.and_then(|location| response.url().join(location).ok());
    place
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .filter(|url| response.url().scheme() == "http" || url.scheme() == "https")
        .ok_or_else(|| Error::corrupt("the registry does not say where a blob is to go"))
}

impl Blob<'_> {
    /// Gets the next piece, from the registry or from a new answer of it.
    async fn next(&mut self) -> Result<()> {
        loop {
            let error = match self.piece_of_answer().await {
                Ok(true) => return Ok(()),
                Ok(false) => Error::unavailable("the connection ended too early"),
                Err(error) => error,
            };
            self.response = None;
            self.tries += 1;
            if self.tries >= TRIES || !passes(&error) {
                return Err(error);
            }
            self.remote.pause(self.tries, None).await?;
        }
    }

    async fn piece_of_answer(&mut self) -> Result<bool> {
        if self.response.is_none() {
            self.response = Some(self.ask().await?);
            if self.taken < self.piece.len() {
                return Ok(true);
            }
        }
        let Some(response) = &mut self.response else { return Ok(false) };
        let Some(piece) = self.remote.piece(response).await? else { return Ok(false) };
        self.keep(&piece)?;
        Ok(true)
    }

    /// Keeps what came until it is read.
    fn keep(&mut self, piece: &[u8]) -> Result<()> {
        if self.at + piece.len() as u64 > self.size_bytes {
            return Err(Error::corrupt(format!("it has more than {} bytes", self.size_bytes)));
        }
        self.piece.clear();
        self.piece.extend_from_slice(piece);
        self.taken = 0;
        self.at += piece.len() as u64;
        self.tries = 0;
        Ok(())
    }

    /// Asks for what is missing.
    async fn ask(&mut self) -> Result<Response> {
        let from = self.at;
        let ask = |client: &Client, url: Url| match from {
            0 => client.get(url),
            from => client.get(url).header(header::RANGE, format!("bytes={from}-")),
        };
        let mut response = self.remote.send(&Scope::Pull, &self.url, &ask).await?;
        self.remote.succeeded(&mut response).await?;
        let whole = response.status() != StatusCode::PARTIAL_CONTENT;
        let length = response.content_length();
        let wanted = if whole { self.size_bytes } else { self.size_bytes - from };
        if length.is_some_and(|length| length != wanted) {
            return Err(Error::corrupt(format!(
                "it has {} bytes and not {}",
                length.unwrap_or_default() + if whole { 0 } else { from },
                self.size_bytes
            )));
        }
        if !whole {
            let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
            if !range.is_some_and(|range| range.trim().starts_with(&format!("bytes {from}-"))) {
                return Err(Error::corrupt("the registry gives another part than was asked for"));
            }
            return Ok(response);
        }
        // It gives all from the beginning: what is known already is passed by.
        let mut skip = from;
        while skip > 0 {
            let piece = self.remote.piece(&mut response).await?;
            let piece = piece.ok_or_else(|| Error::unavailable("the connection ended too early"))?;
            let known = skip.min(piece.len() as u64);
            skip -= known;
            if let Some(new) = piece.get(known as usize..).filter(|new| !new.is_empty()) {
                self.keep(new)?;
            }
        }
        Ok(response)
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.error {
            return Err(io::Error::other(error.to_string()));
        }
        while self.taken == self.piece.len() {
            if self.at == self.size_bytes || out.is_empty() {
                return Ok(0);
            }
            let remote = self.remote;
            if let Err(error) = remote.connection.runtime.block_on(self.next()) {
                let kind = match error.kind() {
                    Kind::Interrupted => io::ErrorKind::Other,
                    Kind::NotFound => io::ErrorKind::NotFound,
                    Kind::Timeout => io::ErrorKind::TimedOut,
                    _ => io::ErrorKind::Other,
                };
                let told = io::Error::new(kind, error.to_string());
                self.error = Some(error);
                return Err(told);
            }
        }
        let length = out.len().min(self.piece.len() - self.taken);
        out[..length].copy_from_slice(&self.piece[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

impl Blob<'_> {
    /// What a failure to read is, in full: the kind of an error is not what an `io::Error` can carry.
    pub fn explain(&mut self, error: impl Into<Error>) -> Error {
        let doing = format!("reading {} of {} at {}", self.digest, self.remote.repository(), self.remote.host());
        self.error.take().map_or_else(|| error.into(), |own| own.context(doing))
    }
}
