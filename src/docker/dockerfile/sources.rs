//! What `ADD` takes besides paths: addresses and git repositories.

use percent_encoding::percent_decode_str;

use crate::base::{Digest, Error, Result, suggest};
use crate::model::build::Source;

/// Whether `ADD` fetches this, and does not look for a file.
pub(crate) fn is_remote(text: &str) -> bool {
    is_git(text) || is_url(text)
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// `git://…`, `ssh://…`, `git@host:path`, and `https://….git`, each perhaps with `?query` and `#ref:folder`.
fn is_git(text: &str) -> bool {
    let address = text.split(['#', '?']).next().unwrap_or_default();
    let at_host = address.split_once('@').is_some_and(|(user, rest)| {
        !user.is_empty() && user.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) && rest.contains(':')
    });
    address.starts_with("git://")
        || address.starts_with("ssh://")
        || (at_host && !address.contains("://"))
        || (is_url(address) && address.trim_end_matches('/').ends_with(".git"))
}

/// The source for an address.
///
/// # Errors
/// `invalid_argument` for a checksum that is none, and for what an address of git says twice or means nothing;
/// `unsupported` for what of that is not done.
pub(crate) fn remote(text: &str, checksum: Option<String>, keep_git_dir: bool, unpack: bool) -> Result<Source> {
    if !is_git(text) {
        let checksum = checksum.map(|text| Digest::parse(&text)).transpose()?;
        return Ok(Source::Url { url: text.to_owned(), checksum, unpack });
    }
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (url, query) = address.split_once('?').unwrap_or((address, ""));
    let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (mut reference, mut folder, mut checksum) = (some(reference), some(folder), checksum);
    let mut keep_git_dir = keep_git_dir;
    for (name, value) in asked(query)? {
        match (name.as_str(), value) {
            ("ref", Some(value)) => put(&mut reference, "reference", value)?,
            ("branch", Some(value)) => put(&mut reference, "reference", full("refs/heads/", value))?,
            ("tag", Some(value)) => put(&mut reference, "reference", full("refs/tags/", value))?,
            ("subdir", Some(value)) => put(&mut folder, "folder", value)?,
            ("checksum" | "commit", Some(value)) => put(&mut checksum, "checksum", value)?,
            ("keep-git-dir", value) => keep_git_dir = truth("keep-git-dir", value.as_deref())?,
            ("submodules", value) => {
                if !truth("submodules", value.as_deref())? {
                    return Err(Error::unsupported("the submodules of a repository are always fetched"));
                }
            }
            (name, None) if QUERIES.contains(&name) => {
                return Err(Error::invalid(format!("{name:?} in the address of a repository has no value")));
            }
            (name, _) => {
                let error = Error::invalid(format!("the address of a repository has no {name:?}"));
                let hint = suggest::hint(name, QUERIES).unwrap_or_else(|| format!("it takes {}", QUERIES.join(", ")));
                return Err(error.with_hint(hint));
            }
        }
    }
    Ok(Source::Git { url: url.to_owned(), reference, folder, checksum, keep_git_dir })
}

/// What the query of a repository's address may say, as Docker has it.
const QUERIES: [&str; 8] = ["ref", "branch", "tag", "subdir", "checksum", "commit", "keep-git-dir", "submodules"];

/// The names and values of a query; an empty value is none.
fn asked(query: &str) -> Result<Vec<(String, Option<String>)>> {
    let text = |text: &str| {
        String::from_utf8(percent_decode_str(text).collect())
            .map_err(|_| Error::invalid(format!("{text:?} in the address of a repository is no text")))
    };
    let parts = query.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")));
    parts.map(|(name, value)| Ok((text(name)?, Some(text(value)?).filter(|value| !value.is_empty())))).collect()
}

/// A whole name of a reference.
fn full(front: &str, name: String) -> String {
    if name.starts_with(front) { name } else { format!("{front}{name}") }
}

/// Sets what may be said more than once when it is the same.
fn put(known: &mut Option<String>, what: &str, value: String) -> Result<()> {
    match known {
        Some(known) if *known != value => Err(Error::invalid(format!(
            "the address of a repository says two things of the {what}: {known:?} and {value:?}"
        ))),
        _ => {
            *known = Some(value);
            Ok(())
        }
    }
}

fn truth(name: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(Error::invalid(format!("{name} is true or false, not {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths() {
        for yes in ["http://h/x", "https://h/x.git#v1:sub", "git@h:a/b.git", "git://h/x", "ssh://git@h/x"] {
            assert!(is_remote(yes), "{yes}");
        }
        for no in ["a/b", "a@b/c", "x.git", "@x:y", "ftp://h/x"] {
            assert!(!is_remote(no), "{no}");
        }
        let source = remote("https://h/x.git#v1:sub", None, true, false).unwrap();
        let Source::Git { url, reference, folder, keep_git_dir, .. } = source else { panic!("{source:?}") };
        assert_eq!(
            (url.as_str(), reference.as_deref(), folder.as_deref()),
            ("https://h/x.git", Some("v1"), Some("sub"))
        );
        assert!(keep_git_dir);
        assert!(remote("http://h/x", Some("md5:1".to_owned()), false, false).is_err());
    }

    #[test]
    fn an_address_of_git_may_have_a_query() {
        let commit = "0123456789012345678901234567890123456789";
        for (text, reference, folder, checksum) in [
            ("https://h/x.git?branch=main&subdir=a%2Fb", Some("refs/heads/main"), Some("a/b"), None),
            ("https://h/x.git?tag=v1", Some("refs/tags/v1"), None, None),
            ("ssh://git@h/x?tag=refs/tags/v1&ref=refs/tags/v1", Some("refs/tags/v1"), None, None),
            ("git@h:a/b.git?ref=pull/42/head", Some("pull/42/head"), None, None),
            ("https://h/x.git?subdir=a#v1:a", Some("v1"), Some("a"), None),
            (&format!("git://h/x?commit={commit}&submodules=1"), None, None, Some(commit)),
        ] {
            let Source::Git { url, reference: of, folder: at, checksum: is, .. } =
                remote(text, None, false, false).unwrap()
            else {
                panic!("{text}")
            };
            assert_eq!((of.as_deref(), at.as_deref(), is.as_deref()), (reference, folder, checksum), "{text}");
            assert!(!url.contains(['?', '#']), "{url}");
        }
        let kept = remote("https://h/x.git?keep-git-dir", None, false, false).unwrap();
        assert!(matches!(kept, Source::Git { keep_git_dir: true, .. }));
        let file = remote("https://h/x.tar?name=x.git", None, false, false).unwrap();
        assert!(matches!(&file, Source::Url { url, .. } if url == "https://h/x.tar?name=x.git"));
        for (text, wanted) in [
            ("https://h/x.git?branch=a&tag=a", "two things of the reference"),
            ("https://h/x.git?ref=a#b", "two things of the reference"),
            ("https://h/x.git?subdir=a#:b", "two things of the folder"),
            ("https://h/x.git?brnach=a", "has no \"brnach\""),
            ("https://h/x.git?tag=", "has no value"),
            ("https://h/x.git?keep-git-dir=x", "true or false"),
            ("https://h/x.git?submodules=false", "always fetched"),
            ("https://h/x.git?ref=%ff", "is no text"),
        ] {
            let error = remote(text, None, false, false).unwrap_err();
            assert!(error.message().contains(wanted), "{text}: {error}");
        }
        assert!(remote("https://h/x.git?checksum=1234567", Some("7654321".to_owned()), false, false).is_err());
    }
}
