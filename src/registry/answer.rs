//! What answers of registries mean: their errors, their lists, and when to ask again.

use std::time::Duration;

use reqwest::{Response, StatusCode, Url, header};
use serde::Deserialize;

use crate::base::{Error, Kind, Result};

/// Where an answer to a question redirects to; none when it does not. Never from https to http.
pub(super) fn redirect(response: &Response) -> Result<Option<Url>> {
    if !matches!(response.status().as_u16(), 301..=303 | 307 | 308) {
        return Ok(None);
    }
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let Some(next) = location.and_then(|location| response.url().join(location).ok()) else { return Ok(None) };
    match (response.url().scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => Ok(Some(next)),
        _ => Err(Error::failed("it redirects from https to where everybody can read it")),
    }
}

/// Where a listing goes on: `Link: <…>; rel="next"` (RFC 5988).
pub(super) fn next_page(of: &Url, headers: &header::HeaderMap) -> Option<Url> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let (address, what) = link.trim().strip_prefix('<')?.split_once('>')?;
    what.contains("next").then(|| of.join(address).ok()).flatten()
}

/// How long to wait, in seconds or until a time.
pub(super) fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(std::time::SystemTime::now()).ok()
}

/// The descriptors of an index.
pub(super) fn index_entries(bytes: &[u8]) -> Result<Vec<serde_json::Value>> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<serde_json::Value>,
    }
    let index: Index =
        serde_json::from_slice(bytes).map_err(|error| Error::corrupt(crate::base::error::quoted(&error)))?;
    Ok(index.manifests)
}

/// What a registry says of an error (OCI distribution specification, "Error Codes"), which may be anything.
pub(super) fn refused(status: StatusCode, bytes: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    #[derive(Deserialize)]
    struct All {
        errors: Vec<Said>,
    }
    let said = serde_json::from_slice::<All>(bytes).ok().and_then(|all| all.errors.into_iter().next());
    let kind = match (status.as_u16(), said.as_ref().map(|said| said.code.as_str())) {
        (404 | 410, _) => Kind::NotFound,
        (401 | 403 | 407, _) | (_, Some("DENIED" | "UNAUTHORIZED")) => Kind::PermissionDenied,
        (405 | 501, _) | (_, Some("UNSUPPORTED")) => Kind::Unsupported,
        (400..=499, _) if status != StatusCode::TOO_MANY_REQUESTS => Kind::Failed,
        _ => Kind::Unavailable,
    };
    let shown = |text: &str| crate::base::error::quoted(&text.chars().take(300).collect::<String>());
    Error::new(
        kind,
        match said {
            Some(Said { code, message }) if !code.is_empty() || !message.is_empty() => {
                format!("the registry says {status}: {} {}", shown(&code), shown(&message)).trim_end().to_owned()
            }
            _ => format!("the registry says {status}"),
        },
    )
}

/// Whether a registry says that a digest is wrong.
pub(super) fn refuses_a_digest(error: &Error) -> bool {
    error.kind() == Kind::Failed && error.message().contains("DIGEST_INVALID")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_what_registries_mean() {
        for (status, text, kind) in [
            (404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"x"}]}"#, Kind::NotFound),
            (403, "<html>", Kind::PermissionDenied),
            (400, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#, Kind::PermissionDenied),
            (405, r#"{"errors":[{"code":"UNSUPPORTED"}]}"#, Kind::Unsupported),
            (400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"x"}]}"#, Kind::Failed),
            (429, "", Kind::Unavailable),
            (503, "{}", Kind::Unavailable),
        ] {
            let error = refused(StatusCode::from_u16(status).unwrap(), text.as_bytes());
            assert_eq!(error.kind(), kind, "{status} {text}");
        }
        let hostile = r#"{"errors":[{"code":"A","message":"\u001b[2Jx\ny"}]}"#;
        let error = refused(StatusCode::BAD_REQUEST, hostile.as_bytes());
        assert!(!error.message().chars().any(char::is_control), "{error}");
    }

    #[test]
    fn lists_go_on_and_pauses_have_an_end() {
        let of = Url::parse("https://r.example/v2/_catalog?n=2").unwrap();
        let headers = |name: header::HeaderName, value: &str| {
            let mut headers = header::HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            headers
        };
        let next = |value: &str| next_page(&of, &headers(header::LINK, value)).map(|url| url.to_string());
        assert_eq!(
            next(r#"</v2/_catalog?last=b>; rel="next""#).as_deref(),
            Some("https://r.example/v2/_catalog?last=b")
        );
        assert_eq!(next(r#"</v2/_catalog>; rel="prev""#), None);
        assert_eq!(next("nothing"), None);
        let after = |value: &str| retry_after(&headers(header::RETRY_AFTER, value));
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Thu, 01 Jan 1970 00:00:00 GMT"), None);
        assert_eq!(after("soon"), None);
    }
}
