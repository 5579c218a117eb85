//! One file from an address, and a server's answer as it is: `http` and `https`, with this system's certificates and name
//! servers.
//!
//! It follows redirects, but never from `https` to `http`; it sends what it is given to say who one is, though to no other
//! host that it is led to, keeps no cookies and unpacks nothing.
//! Every wait is short, and between two of them it looks whether somebody wants it to end.

use std::io::Write;
use std::sync::Once;
use std::time::{Duration, Instant, SystemTime};

use percent_encoding::percent_decode_str;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode, header};

use crate::base::reference::without_user;
use crate::base::{Context as _, Error, Kind, Result, Timestamp};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(30);
/// How long nothing may come.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// How often one looks whether it is to end.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// The most redirects.
pub(super) const MOST_REDIRECTS: usize = 10;

/// Says again and again whether what is under way is to end.
pub(super) type Check<'a> = dyn Fn() -> Result<()> + 'a;

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The last part of the address's path, if it has one.
    pub name: Option<String>,
    /// When the file changed, as the server says.
    pub modified: Option<Timestamp>,
}

/// Writes what is behind an address to `out`. `check` is asked again and again, and its error ends the fetch.
///
/// # Errors
/// `invalid_argument` for what is no address; `not_found`, `permission_denied` and `unavailable` as the server says, and when
/// it cannot be reached; `timeout`; what `check` and writing give.
pub fn fetch(
    url: &str,
    authorization: Option<&str>,
    check: &dyn Fn() -> Result<()>,
    out: &mut dyn Write,
) -> Result<Fetched> {
    let doing = || format!("fetching {}", without_user(url));
    let address = reqwest::Url::parse(url).map_err(|error| Error::invalid(error.to_string())).context(doing)?;
    if !matches!(address.scheme(), "http" | "https") {
        return Err(Error::invalid(format!("{url:?} is no address that can be fetched")));
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context(|| "starting a runtime")?;
    let mut headers = header::HeaderMap::new();
    if let Some(text) = authorization {
        let value = header::HeaderValue::from_str(text).map_err(|_| Error::invalid("that is no header"));
        let mut value = value.context(doing)?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    runtime.block_on(download(address, headers, check, out)).context(doing)
}

async fn download(
    address: reqwest::Url,
    headers: header::HeaderMap,
    check: &dyn Fn() -> Result<()>,
    out: &mut dyn Write,
) -> Result<Fetched> {
    let segment = address.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default().to_owned();
    let mut response = looking(check, client(&address, true)?.get(address).headers(headers).send()).await?;
    let status = response.status();
    if !status.is_success() {
        return Err(refused(status));
    }
    while let Some(piece) = looking(check, response.chunk()).await? {
        out.write_all(&piece).context(|| "writing what was fetched")?;
    }
    Ok(Fetched { name: Some(decoded(&segment)).filter(|name| !name.is_empty()), modified: modified(&response) })
}

/// What is asked of a server.
#[derive(Debug, Clone)]
pub struct Question {
    /// The address.
    pub url: String,
    /// Further headers; a value may be a secret, and is in no message.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Redirects are followed.
    pub follow: bool,
    /// The largest answer, in bytes.
    pub most_bytes: usize,
}

/// What it answered, whatever that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Where it came from in the end.
    pub url: String,
    /// Its headers, in order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Asks a server, and gives its answer also when that says that it failed. `check` is asked again and again, and its error
/// ends it.
///
/// # Errors
/// `invalid_argument` for what is no address or no header; `unavailable` when it cannot be reached; `timeout`; `failed` for
/// an answer that is too large; what `check` gives.
pub fn get(question: &Question, check: &dyn Fn() -> Result<()>) -> Result<Answer> {
    let doing = || format!("getting {}", question.url);
    let address =
        reqwest::Url::parse(&question.url).map_err(|error| Error::invalid(error.to_string())).context(doing)?;
    if !matches!(address.scheme(), "http" | "https") {
        return Err(Error::invalid(format!("{:?} is no address that can be asked", question.url))
            .with_hint("begin it with http:// or https://"));
    }
    let mut headers = header::HeaderMap::new();
    for (name, value) in &question.headers {
        let wrong = || Error::invalid(format!("{name:?} is not a header that can be sent"));
        let key = header::HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = header::HeaderValue::from_bytes(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context(|| "starting a runtime")?;
    runtime.block_on(ask(address, headers, question, check)).context(doing)
}

async fn ask(
    address: reqwest::Url,
    headers: header::HeaderMap,
    question: &Question,
    check: &dyn Fn() -> Result<()>,
) -> Result<Answer> {
    let sent = client(&address, question.follow)?.get(address).headers(headers).send();
    let mut response = looking(check, sent).await?;
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut answer = Answer {
        status: response.status().as_u16(),
        url: response.url().to_string(),
        headers: response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: Vec::new(),
    };
    answer.body = body(&mut response, question.most_bytes, check).await?;
    Ok(answer)
}

/// The rest of an answer, which has a limit.
pub(super) async fn body(response: &mut Response, most_bytes: usize, check: &Check<'_>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = looking(check, response.chunk()).await? {
        if body.len() + piece.len() > most_bytes {
            return Err(Error::failed("the answer is too large to read at once"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Waits for something of the client's, though not for ever, and looks meanwhile whether it is to end.
pub(super) async fn looking<T>(
    check: &Check<'_>,
    work: impl Future<Output = std::result::Result<T, reqwest::Error>>,
) -> Result<T> {
    waiting(check, work, &|| 0, SILENCE).await
}

/// As [`looking`]; the wait is given up when `alive` has not counted on for so long.
pub(super) async fn waiting<T>(
    check: &Check<'_>,
    work: impl Future<Output = std::result::Result<T, reqwest::Error>>,
    alive: &dyn Fn() -> u64,
    patience: Duration,
) -> Result<T> {
    let mut work = std::pin::pin!(work);
    let (mut seen, mut since) = (alive(), Instant::now());
    loop {
        match tokio::time::timeout(LOOK, &mut work).await {
            Ok(done) => return done.map_err(|error| failed(&error)),
            Err(_) => check()?,
        }
        let now = alive();
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > patience {
            return Err(Error::timeout(format!("nothing came for {} s", patience.as_secs())));
        }
    }
}

/// A client that goes through this environment's proxy, but not to this machine itself.
fn client(address: &reqwest::Url, follow: bool) -> Result<Client> {
    let builder = match address.host_str().is_some_and(is_loopback) {
        true => builder(follow).no_proxy(),
        false => builder(follow),
    };
    builder.build().map_err(|error| failed(&error))
}

/// Whether a host is this machine: what stays on it may go unprotected, as with Docker.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What all clients have in common.
pub(super) fn builder(follow: bool) -> ClientBuilder {
    static PROVIDER: Once = Once::new();
    // Somebody who chose one before has a reason.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let policy = Policy::custom(move |attempt| {
        let was_safe = attempt.previous().iter().any(|url| url.scheme() == "https");
        if !follow {
            attempt.stop()
        } else if attempt.previous().len() > MOST_REDIRECTS {
            attempt.error("there are too many redirects")
        } else if was_safe && attempt.url().scheme() != "https" {
            attempt.error("it redirects from https to http")
        } else {
            attempt.follow()
        }
    });
    Client::builder().user_agent(concat!("rhumb/", env!("CARGO_PKG_VERSION"))).redirect(policy).connect_timeout(CONNECT)
}

pub(super) fn failed(error: &reqwest::Error) -> Error {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    // The innermost one says what it was; those around it say that it was.
    let why = causes.pop().unwrap_or_else(|| error.to_string());
    // What the resolver says is for whoever wrote it.
    let why = if why.starts_with("no records found for") { "its name has no address".to_owned() } else { why };
    let kind = if error.is_timeout() { Kind::Timeout } else { Kind::Unavailable };
    Error::new(kind, crate::base::error::quoted(&why))
}

/// The error that a status means.
pub(super) fn refused(status: StatusCode) -> Error {
    let kind = match status.as_u16() {
        404 | 410 => Kind::NotFound,
        401 | 403 | 407 => Kind::PermissionDenied,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("the server says {status}"))
}

fn modified(response: &Response) -> Option<Timestamp> {
    let text = response.headers().get(header::LAST_MODIFIED)?.to_str().ok()?;
    let time = httpdate::parse_http_date(text).ok()?;
    (time >= SystemTime::UNIX_EPOCH).then(|| Timestamp::from_system(time))
}

/// A part of a path without `%XX`; what would be no name of a file is none.
fn decoded(segment: &str) -> String {
    match String::from_utf8(percent_decode_str(segment).collect()) {
        Ok(name) if name != "." && name != ".." && !name.contains(['/', '\0']) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    /// Answers each request with the next text, and gives the port.
    fn server(answers: Vec<String>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        port
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}")
    }

    fn get(port: u16, path: &str) -> Result<(Fetched, Vec<u8>)> {
        let mut out = Vec::new();
        let fetched = fetch(&format!("http://127.0.0.1:{port}{path}"), None, &|| Ok(()), &mut out)?;
        Ok((fetched, out))
    }

    #[test]
    fn a_file_comes_with_its_name_and_time() {
        let date = "Last-Modified: Thu, 01 Jan 1970 00:01:40 GMT\r\n";
        let port = server(vec![answer("302 Found", "Location: /b\r\n", ""), answer("200 OK", date, "hello")]);
        let (fetched, bytes) = get(port, "/dir/a%20file?x=y").unwrap();
        assert_eq!(bytes, b"hello");
        assert_eq!(fetched.name.as_deref(), Some("a file"));
        assert_eq!(fetched.modified.unwrap().as_secs(), 100);
    }

    #[test]
    fn what_the_server_says_is_the_kind_of_the_error() {
        let status = ["404 Not Found", "403 Forbidden", "500 Oops"];
        let port = server(status.map(|status| answer(status, "", "")).to_vec());
        for kind in [Kind::NotFound, Kind::PermissionDenied, Kind::Unavailable] {
            assert_eq!(get(port, "/x").unwrap_err().kind(), kind);
        }
        assert_eq!(
            fetch("file:///etc/passwd", None, &|| Ok(()), &mut Vec::new()).unwrap_err().kind(),
            Kind::InvalidArgument
        );
        assert_eq!(get(1, "/").unwrap_err().kind(), Kind::Unavailable);
    }

    #[test]
    fn it_ends_when_it_is_to_end_and_a_cut_file_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        let stop = || Err(Error::interrupted("enough"));
        assert_eq!(fetch(&url, None, &stop, &mut Vec::new()).unwrap_err().kind(), Kind::Interrupted);
        let port = server(vec!["HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf".to_owned()]);
        assert!(get(port, "/").is_err());
    }

    #[test]
    fn names_are_names() {
        for (segment, name) in [("a", "a"), ("a%2Fb", ""), ("..", ""), ("%2e%2E", ""), ("100%", "100%"), ("%zz", "%zz")]
        {
            assert_eq!(decoded(segment), name, "{segment}");
        }
    }
}
