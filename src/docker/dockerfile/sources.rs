//! What `ADD` takes besides paths: addresses and git repositories.

use crate::base::{Digest, Result};
use crate::model::build::Source;

/// Whether `ADD` fetches this, and does not look for a file.
pub(crate) fn is_remote(text: &str) -> bool {
    is_git(text) || is_url(text)
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// `git://…`, `ssh://…`, `git@host:path`, and `https://….git`, each perhaps with `#ref:folder`.
fn is_git(text: &str) -> bool {
    let address = text.split('#').next().unwrap_or_default();
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
/// `invalid_argument` for a checksum that is none.
pub(crate) fn remote(text: &str, checksum: Option<String>, keep_git_dir: bool, unpack: bool) -> Result<Source> {
    if !is_git(text) {
        let checksum = checksum.map(|text| Digest::parse(&text)).transpose()?;
        return Ok(Source::Url { url: text.to_owned(), checksum, unpack });
    }
    let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Ok(Source::Git { url: url.to_owned(), reference: some(reference), folder: some(folder), checksum, keep_git_dir })
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
}
