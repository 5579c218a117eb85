//! Who one is, said as a registry wants it: `Basic` (RFC 7617), or a `Bearer` token that a token server gives (the
//! distribution project's "Token Authentication Specification" and "OAuth2").
//!
//! Credentials go to the registry itself and to the token server that it names, never elsewhere and never from https to
//! http. Tokens are kept for this process only.

use reqwest::{Client, StatusCode, Url, header};
use serde::Deserialize;

use super::access::Credentials;
use super::http::{self, Check};
use crate::base::{Error, Result};

/// The most bytes of an answer of a token server.
const MOST_TOKEN_BYTES: usize = 1 << 20;
/// What we call ourselves at a token server.
const CLIENT_ID: &str = "rhumb";

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A name and a password.
    Basic,
    /// A token from this server.
    Bearer { realm: String, service: Option<String> },
}

/// What an answer's headers ask for: a token before a password.
pub(super) fn challenge(headers: &header::HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut basic = false;
    for text in texts {
        for asked in http_auth::parse_challenges(text).unwrap_or_default() {
            let param = |name: &str| {
                let found = asked.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            if asked.scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = param("realm")
            {
                return Some(Challenge::Bearer { realm, service: param("service") });
            }
            basic |= asked.scheme.eq_ignore_ascii_case("basic");
        }
    }
    basic.then_some(Challenge::Basic)
}

/// What to say to a registry that asked.
///
/// # Errors
/// `permission_denied` when one has nothing to say, or the token server does not accept it; `corrupt` for an answer that is
/// none; what asking gives.
pub(super) async fn answer<'c>(
    client_for: &dyn Fn(&Url) -> &'c Client,
    registry: &Url,
    challenge: &Challenge,
    credentials: Option<&Credentials>,
    scopes: &[String],
    check: &Check<'_>,
) -> Result<header::HeaderValue> {
    match (challenge, credentials) {
        (Challenge::Basic, Some(Credentials::Password { user, password })) => {
            let request = client_for(registry).get(registry.clone()).basic_auth(user, Some(password)).build();
            let request = request.map_err(|error| http::failed(&error))?;
            let said = request.headers().get(header::AUTHORIZATION).cloned();
            said.ok_or_else(|| Error::failed("the name and the password are not said"))
        }
        (Challenge::Basic, _) => Err(Error::permission_denied("the registry wants to know who you are")),
        (Challenge::Bearer { realm, service }, credentials) => {
            let realm = Url::parse(realm)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https"))
                .ok_or_else(|| Error::corrupt("the registry names a token server that has no address"))?;
            if registry.scheme() == "https" && realm.scheme() != "https" {
                return Err(Error::permission_denied(
                    "the registry wants a token to be fetched where everybody can read it",
                ));
            }
            let token = token(client_for(&realm), realm, service.as_deref(), credentials, scopes, check).await?;
            sensitive(&format!("Bearer {token}"))
        }
    }
}

fn sensitive(text: &str) -> Result<header::HeaderValue> {
    let mut value = header::HeaderValue::from_str(text)
        .map_err(|_| Error::corrupt("the token server gave what cannot be sent as a token"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

async fn token(
    client: &Client,
    mut realm: Url,
    service: Option<&str>,
    credentials: Option<&Credentials>,
    scopes: &[String],
    check: &Check<'_>,
) -> Result<String> {
    let server = realm.host_str().unwrap_or_default().to_owned();
    let request = match credentials {
        Some(Credentials::Identity(identity)) => {
            let scope = scopes.join(" ");
            client.post(realm).form(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", identity),
                ("client_id", CLIENT_ID),
                ("service", service.unwrap_or_default()),
                ("scope", &scope),
            ])
        }
        credentials => {
            {
                let mut query = realm.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for scope in scopes {
                    query.append_pair("scope", scope);
                }
                if let Some(Credentials::Password { user, .. }) = credentials {
                    query.append_pair("account", user);
                }
            }
            let request = client.get(realm);
            match credentials {
                Some(Credentials::Password { user, password }) => request.basic_auth(user, Some(password)),
                _ => request,
            }
        }
    };
    let mut response = http::looking(check, request.send()).await?;
    let status = response.status();
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let why = if credentials.is_some() { "does not accept the name and the password" } else { "lets nobody in" };
        return Err(Error::permission_denied(format!("the token server {server} {why}")));
    }
    if !status.is_success() {
        return Err(http::refused(status).context(format!("asking the token server {server}")));
    }
    let body = http::body(&mut response, MOST_TOKEN_BYTES, check).await?;
    let malformed = || Error::corrupt(format!("the token server {server} gave no token"));
    let Token { token, access_token } = serde_json::from_slice(&body).map_err(|_| malformed())?;
    token.or(access_token).filter(|token| !token.is_empty()).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[&str]) -> Option<Challenge> {
        let mut map = header::HeaderMap::new();
        for text in headers {
            map.append(header::WWW_AUTHENTICATE, text.parse().unwrap());
        }
        challenge(&map)
    }

    #[test]
    fn challenges_are_read_in_every_form() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        assert_eq!(asked(&[r#"Basic realm="x""#]), Some(Challenge::Basic));
        assert_eq!(
            asked(&[r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull,push",error="invalid_token""#]),
            bearer("https://a/t", Some("s"))
        );
        assert_eq!(asked(&[r#"basic realm="x", bearer realm="https://a/t""#]), bearer("https://a/t", None));
        assert_eq!(asked(&[r#"Basic realm="x""#, r#"Bearer realm="https://a""#]), bearer("https://a", None));
        for nothing in [&[][..], &["Bearer"], &["Negotiate"], &["\"\"\""], &["Bearer service=x"]] {
            assert_eq!(asked(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn what_is_said_is_in_no_message() {
        let value = sensitive("Bearer secret").unwrap();
        assert!(!format!("{value:?}").contains("secret"));
        assert!(sensitive("Bearer a\nb").is_err());
    }
}
