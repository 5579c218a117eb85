//! HTTP in scripts: `host::http_get`. The one door to the HTTP client.
//!
//! The client has a thread of its own, so that Ctrl-C ends the wait at once. Certificates are those that this machine
//! trusts. Nothing is sent but GET: who wants more has programs for it.

use std::io::Read as _;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::{Context as _, Error, Kind, Result};
use crate::script::container::DEFAULT_WAIT;
use crate::script::context::{Host, tag};
use crate::script::convert::Keys;
use crate::script::error::{Fallible, Raise};
use crate::script::secret::bytes_of;
use crate::script::setup::MAX_STRING_BYTES;

/// How often Ctrl-C is looked for.
const POLL: Duration = Duration::from_millis(10);
/// How many redirections are followed.
const MAX_REDIRECTS: usize = 10;

struct Wanted {
    url: String,
    headers: HeaderMap,
    timeout: Duration,
    follow: bool,
}

struct Answer {
    status: u16,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn wanted(url: &str, options: Map) -> Result<Wanted> {
    let mut keys = Keys::new("host::http_get", options);
    let mut headers = HeaderMap::new();
    if let Some(map) = keys.take("headers") {
        let map = map.read_lock::<Map>().ok_or_else(|| Error::invalid("\"headers\" of host::http_get is a map"))?;
        for (name, value) in map.iter() {
            let wrong = || Error::invalid(format!("{name:?} is not a header that can be sent"));
            let text = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            // The value may be a secret: it is in no message.
            let mut value = HeaderValue::from_bytes(&bytes_of(value)?).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(text, value);
        }
    }
    let timeout = keys.duration("timeout")?.unwrap_or(DEFAULT_WAIT);
    let follow = keys.optional_flag("follow")?.unwrap_or(true);
    keys.finish()?;
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err(
            Error::invalid(format!("{url:?} is not a URL of HTTP")).with_hint("begin it with http:// or https://")
        );
    }
    Ok(Wanted { url: url.to_owned(), headers, timeout, follow })
}

fn get(host: &Host, wanted: Wanted) -> Result<Answer> {
    let url = wanted.url.clone();
    let begin = Instant::now();
    let limit = wanted.timeout;
    let (sender, receiver) = sync_channel(1);
    let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
        // Whoever waits for it may have been stopped.
        let _ = sender.send(fetch(wanted));
    });
    thread.context(|| "starting a thread")?;
    loop {
        match receiver.recv_timeout(POLL) {
            Ok(answer) => return answer.context(|| format!("getting {url}")),
            Err(RecvTimeoutError::Disconnected) => return Err(Error::failed(format!("getting {url} failed"))),
            Err(RecvTimeoutError::Timeout) if host.is_stopping() => return Err(Error::interrupted("interrupted")),
            // The client has the same limit; names that nobody answers for are not under it.
            Err(RecvTimeoutError::Timeout) if begin.elapsed() > limit + POLL => {
                return Err(Error::timeout(format!("getting {url} took longer than {limit:?}")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn fetch(wanted: Wanted) -> Result<Answer> {
    // Fails when an earlier call did it, and is as good then.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = if wanted.follow { Policy::limited(MAX_REDIRECTS) } else { Policy::none() };
    let client = Client::builder()
        .user_agent(concat!("rhumb/", env!("CARGO_PKG_VERSION")))
        .redirect(redirects)
        .timeout(wanted.timeout)
        .build()
        .map_err(translate)?;
    let response = client.get(&wanted.url).headers(wanted.headers).send().map_err(translate)?;
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Ok(Answer {
        status: response.status().as_u16(),
        url: response.url().to_string(),
        headers: response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body(response)?,
    })
}

fn body(response: Response) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = response.take(MAX_STRING_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => Error::timeout("the answer took too long"),
        _ => Error::unavailable("the answer was cut off").with_source(error),
    })?;
    match bytes.len() > MAX_STRING_BYTES {
        true => Err(Error::failed("the answer is too large to read at once")),
        false => Ok(bytes),
    }
}

fn translate(error: reqwest::Error) -> Error {
    let kind = match &error {
        error if error.is_timeout() => Kind::Timeout,
        error if error.is_builder() => Kind::InvalidArgument,
        error if error.is_connect() || error.is_request() => Kind::Unavailable,
        _ => Kind::Failed,
    };
    // The innermost one says why; those around it repeat the address, which the caller names.
    let mut inner: &dyn std::error::Error = &error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    Error::new(kind, inner.to_string())
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod http_functions {
    use super::*;

    /// Gets a URL over HTTP or HTTPS: `status ok body headers url elapsed`. A status that is no success is no error, `ok` is
    /// false then; a server that cannot be reached is `unavailable`. Options: `headers`, `timeout` (60 s), `follow`
    /// (redirections, which it does).
    ///
    /// ```rhai
    /// try {
    ///     print(host::http_get("http://127.0.0.1:9/", #{ timeout: 5.s }).status);
    /// } catch (e) {
    ///     assert(e.kind == "unavailable");
    /// }
    /// ```
    #[rhai_fn(name = "http_get", return_raw)]
    pub fn http_get_with(ctx: NativeCallContext, url: ImmutableString, options: Map) -> Fallible<Map> {
        let begin = Instant::now();
        let host = tag(&ctx)?.host;
        let answer = wanted(&url, options).and_then(|wanted| get(&host, wanted)).raise(&ctx)?;
        let mut headers = Map::new();
        for (name, value) in answer.headers {
            // One that comes several times is a list, as HTTP reads it (RFC 9110 5.2).
            let text = match headers.get(name.as_str()) {
                Some(before) => format!("{before}, {value}"),
                None => value,
            };
            headers.insert(name.into(), text.into());
        }
        let mut map = Map::new();
        map.insert("status".into(), i64::from(answer.status).into());
        map.insert("ok".into(), (200..300).contains(&answer.status).into());
        map.insert("url".into(), answer.url.into());
        map.insert("headers".into(), headers.into());
        map.insert("body".into(), String::from_utf8_lossy(&answer.body).into_owned().into());
        map.insert("elapsed".into(), Dynamic::from(begin.elapsed()));
        Ok(map)
    }

    #[rhai_fn(name = "http_get", return_raw)]
    pub fn http_get_default(ctx: NativeCallContext, url: ImmutableString) -> Fallible<Map> {
        http_get_with(ctx, url, Map::new())
    }
}
