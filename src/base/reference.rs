//! Image references: `[host[:port]/]path[:tag][@digest]` (the distribution project's reference grammar, with Docker's
//! normalisation: no host means `docker.io`, one path component there means `library/…`, no tag means `latest`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Error, Result};

/// The longest name that registries accept, in characters.
const MAX_NAME: usize = 255;

/// A normalised image reference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads and normalises a reference.
    ///
    /// # Errors
    /// `invalid_argument` when it does not follow the grammar.
    pub fn parse(text: &str) -> Result<Reference> {
        let refuse = |why: &str| {
            let shown: String = text.chars().take(300).collect();
            Error::invalid(format!("{shown:?} is not an image reference: {why}"))
                .with_hint("write [registry/]name[:tag], such as debian:12")
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).map_err(|error| refuse(error.message()))?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rfind(':') {
            Some(colon) if !rest[colon..].contains('/') => (&rest[..colon], Some(&rest[colon + 1..])),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(refuse("a tag is up to 128 letters, digits, dots, dashes and underscores"));
        }
        let (host, path) = match name.split_once('/') {
            Some((first, path))
                if first.contains(['.', ':'])
                    || first == "localhost"
                    || first.bytes().any(|b| b.is_ascii_uppercase()) =>
            {
                (first, path.to_owned())
            }
            _ => ("docker.io", name.to_owned()),
        };
        if !is_host(host) {
            return Err(refuse("the registry's host is malformed"));
        }
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        let path = if host == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path };
        if !path.split('/').all(is_component) {
            let upper = path.bytes().any(|b| b.is_ascii_uppercase());
            return Err(refuse(if upper {
                "a name is lower-case"
            } else {
                "a name is lower-case letters and digits, separated by . _ - or /"
            }));
        }
        if host.len() + 1 + path.len() > MAX_NAME {
            return Err(refuse("the name is longer than 255 characters"));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Reference { host: host.to_owned(), path, tag, digest })
    }

    /// The registry's host, with its port when it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository on that host: `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; absent only when there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when the reference names one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository at a digest. A tag beside it would say nothing: it may have moved.
    pub fn at(&self, digest: &Digest) -> Reference {
        Reference { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// As people write it: without `docker.io/library/`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The repository as people write it, without tag and digest.
    pub fn familiar_name(&self) -> String {
        match (self.host.as_str(), self.path.strip_prefix("library/")) {
            ("docker.io", Some(name)) => name.to_owned(),
            ("docker.io", None) => self.path.clone(),
            _ => format!("{}/{}", self.host, self.path),
        }
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{tag}{digest}")
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128 && tag.bytes().next().is_some_and(word) && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// `[a-z0-9]+((.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(|b| alphanumeric(*b)) || !bytes.last().is_some_and(|b| alphanumeric(*b)) {
        return false;
    }
    text.split(|c: char| alphanumeric(c as u8) && c.is_ascii())
        .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    };
    let port_ok =
        port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok());
    let v6 = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    port_ok && v6.map_or_else(|| name.split('.').all(label), |v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
}

/// In full: `docker.io/library/debian:12`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.host, self.path, self.suffix())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;
    fn try_from(text: String) -> Result<Reference> {
        Reference::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

/// An address without the user and the password that may be in it.
pub fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
    format!("{scheme}://{host}{}", &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised_as_docker_does() {
        let cases = [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("me/app", "docker.io/me/app:latest", "me/app:latest"),
            ("localhost/app:1", "localhost/app:1", "localhost/app:1"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
            ("ghcr.io/x/y_z__a-b--c.d:v1.2", "ghcr.io/x/y_z__a-b--c.d:v1.2", "ghcr.io/x/y_z__a-b--c.d:v1.2"),
            ("hello-base:1", "docker.io/library/hello-base:1", "hello-base:1"),
        ];
        for (text, full, familiar) in cases {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(Reference::parse(full).unwrap(), reference);
        }
    }

    #[test]
    fn hostile_references_are_refused() {
        let long = "a".repeat(300);
        for text in [
            "",
            ":",
            "/",
            "a//b",
            "../x",
            "a/../b",
            "Debian",
            "a:",
            "a:b:c",
            "-a",
            "a.",
            "a..b",
            "a___b",
            "a@sha256:1",
            "a b",
            "a\n",
            "é",
            "host:99999/a",
            &long,
            "a:-x",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
