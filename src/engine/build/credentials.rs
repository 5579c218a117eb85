//! Who one is where something is fetched, by the ids that BuildKit gives to such secrets (docs.docker.com, "Build secrets"):
//!
//! ```text
//! GIT_AUTH_TOKEN     a token for repositories             GIT_AUTH_TOKEN.HOST     for those of a host
//! GIT_AUTH_HEADER    all of the header Authorization      GIT_AUTH_HEADER.HOST
//! HTTP_AUTH_TOKEN_HOST, HTTP_AUTH_HEADER_HOST             for files of a host
//! ```
//!
//! Nothing of it is sent unprotected, but to this machine itself.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::base::{Error, Result};
use crate::model::build::SecretValue;
use crate::registry::http::is_loopback;

/// Values by id.
type Secrets = BTreeMap<String, SecretValue>;

/// What of an address matters here.
struct Server<'a> {
    /// `scheme://host:port`.
    origin: String,
    /// `host:port`.
    authority: &'a str,
    safe: bool,
}

impl Server<'_> {
    fn of(url: &str) -> Option<Server<'_>> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let scheme = scheme.to_ascii_lowercase();
        let safe = scheme == "https" || (scheme == "http" && is_loopback(authority));
        matches!(scheme.as_str(), "http" | "https").then(|| Server {
            origin: format!("{scheme}://{authority}/"),
            authority,
            safe,
        })
    }

    /// The secret for this host, of an id that begins so: with the port and without.
    fn named<'a>(&self, secrets: &'a Secrets, begin: &str) -> Option<(String, &'a SecretValue)> {
        let host = match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => self.authority,
        };
        [self.authority, host].into_iter().find_map(|host| {
            let id = format!("{begin}{host}");
            secrets.iter().find(|(known, _)| known.eq_ignore_ascii_case(&id)).map(|(id, value)| (id.clone(), value))
        })
    }

    /// Refuses to tell anybody who listens.
    fn check(&self, id: &str) -> Result<()> {
        match self.safe {
            true => Ok(()),
            false => Err(Error::invalid(format!("the secret {id:?} is not sent to {} unprotected", self.authority))
                .with_hint("write https://, or leave the secret out")),
        }
    }
}

/// Whether an address is this machine's own, which no proxy need know of.
pub(super) fn is_here(url: &str) -> bool {
    Server::of(url).is_some_and(|server| is_loopback(server.authority))
}

/// Settings of git for one repository: names and values.
pub(super) fn of_git(secrets: &Secrets, url: &str) -> Result<Vec<(String, String)>> {
    let Some(server) = Server::of(url) else { return Ok(Vec::new()) };
    let own = |kind: &str| server.named(secrets, &format!("{kind}."));
    // What is for any host is for those alone that can be told.
    let any = |kind: &str| secrets.get(kind).filter(|_| server.safe).map(|value| (kind.to_owned(), value));
    let found = own("GIT_AUTH_HEADER").map(|found| (found, true));
    let found = found.or_else(|| own("GIT_AUTH_TOKEN").map(|found| (found, false)));
    let found = found.or_else(|| any("GIT_AUTH_HEADER").map(|found| (found, true)));
    let found = found.or_else(|| any("GIT_AUTH_TOKEN").map(|found| (found, false)));
    let Some(((id, value), whole)) = found else { return Ok(Vec::new()) };
    server.check(&id)?;
    let text = text(&id, value)?;
    let header = match whole {
        true => text.to_owned(),
        // The name is what servers take for one that is no user's.
        false => format!("basic {}", STANDARD.encode(format!("x-access-token:{text}"))),
    };
    Ok(vec![
        (format!("http.{}.extraHeader", server.origin), format!("Authorization: {header}")),
        // git would go on where it was led to, and say it there.
        ("http.followRedirects".to_owned(), "false".to_owned()),
    ])
}

/// The header Authorization for a file.
pub(super) fn of_file(secrets: &Secrets, url: &str) -> Result<Option<String>> {
    let Some(server) = Server::of(url) else { return Ok(None) };
    if let Some((id, value)) = server.named(secrets, "HTTP_AUTH_HEADER_") {
        server.check(&id)?;
        return Ok(Some(text(&id, value)?.to_owned()));
    }
    if let Some((id, value)) = server.named(secrets, "HTTP_AUTH_TOKEN_") {
        server.check(&id)?;
        return Ok(Some(format!("Bearer {}", text(&id, value)?)));
    }
    Ok(None)
}

/// A secret as part of a header; a file's last line end is no part of it.
fn text<'a>(id: &str, value: &'a SecretValue) -> Result<&'a str> {
    let text = std::str::from_utf8(&value.0).ok().map(|text| text.trim_end_matches(['\r', '\n']));
    text.filter(|text| !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
        .ok_or_else(|| Error::invalid(format!("the secret {id:?} cannot stand in a header")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(all: &[(&str, &str)]) -> Secrets {
        all.iter().map(|(id, value)| ((*id).to_owned(), SecretValue(value.as_bytes().to_vec()))).collect()
    }

    #[test]
    fn repositories_are_asked_with_the_secret_for_their_host() {
        let all = secrets(&[("GIT_AUTH_TOKEN", "a\n"), ("GIT_AUTH_HEADER.h.example", "Basic eA=="), ("other", "x")]);
        let of = |url: &str| of_git(&all, url).unwrap();
        let key = |origin: &str| format!("http.{origin}/.extraHeader");
        let own = "Authorization: Basic eA==";
        let settings = |origin: &str, header: &str| {
            [(key(origin), header.to_owned()), ("http.followRedirects".to_owned(), "false".to_owned())]
        };
        assert_eq!(of("https://h.example/a.git"), settings("https://h.example", own));
        assert_eq!(of("https://user@h.example:8443/a.git"), settings("https://h.example:8443", own));
        // printf x-access-token:a | base64
        let any = "Authorization: basic eC1hY2Nlc3MtdG9rZW46YQ==";
        assert_eq!(of("https://h2.example/a.git"), settings("https://h2.example", any));
        for url in ["git@h.example:a.git", "ssh://h.example/a.git", "git://h.example/a.git"] {
            assert!(of(url).is_empty(), "{url}");
        }
        assert!(of_git(&all, "http://h.example/a.git").unwrap_err().message().contains("unprotected"));
        assert!(of("http://h2.example/a.git").is_empty(), "the one for all is for those alone that can be told");
        assert_eq!(of("https://H.example/a.git").len(), 2);
        assert_eq!(of("http://127.0.0.1:8000/a.git").len(), 2);
        assert!(
            is_here("http://localhost:80/x") && !is_here("https://localhost.example/x") && !is_here("git@localhost:x")
        );
    }

    #[test]
    fn files_are_asked_for_with_the_secret_of_their_host_alone() {
        let all =
            secrets(&[("HTTP_AUTH_TOKEN_h", "t"), ("HTTP_AUTH_HEADER_g:81", "Basic x"), ("HTTP_AUTH_TOKEN_b", "a\nb")]);
        assert_eq!(of_file(&all, "https://h:99/x?y").unwrap().as_deref(), Some("Bearer t"));
        assert_eq!(of_file(&all, "https://g:81/x").unwrap().as_deref(), Some("Basic x"));
        for url in ["https://g/x", "https://g:82/x", "https://hh/x", "https://i/h"] {
            assert_eq!(of_file(&all, url).unwrap(), None, "{url}");
        }
        assert!(of_file(&all, "http://h/x").is_err());
        let error = of_file(&all, "https://b/x").unwrap_err().to_string();
        assert!(error.contains("HTTP_AUTH_TOKEN_b") && !error.contains("a\\nb"), "{error}");
    }
}
