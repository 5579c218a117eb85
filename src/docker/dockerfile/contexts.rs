//! What a build takes its files from, as `docker build` and `--build-context` name it.
//!
//! ```text
//! DIR                      https://HOST/x.tar.gz          oci-layout://DIR[:TAG|@DIGEST]
//! docker-image://IMAGE     https://HOST/x.git#REF:DIR     git@HOST:x.git, git://…, ssh://…
//!                          https://HOST/x.git?ref=REF&subdir=DIR
//! ```

use std::path::{Path, PathBuf};

use super::sources::{is_remote, remote};
use super::translate::Named;
use super::{IGNORE_FILE, MAX_BYTES, ignore_lines, ignore_text};
use crate::base::reference::without_user;
use crate::base::{Error, Result};
use crate::engine::Engine;
use crate::engine::build::FetchedContext;
use crate::model::build::Credentials;

/// Whether a context is not a folder of this machine.
pub(crate) fn is_elsewhere(context: &str) -> bool {
    is_remote(context) || context.contains("://")
}

/// Fetches a build context.
///
/// # Errors
/// As fetching; `unsupported` for an address of another kind.
pub(crate) fn fetched(
    engine: &Engine,
    context: &str,
    credentials: &Credentials,
    keep_git_dir: bool,
) -> Result<FetchedContext> {
    if !is_remote(context) {
        return Err(Error::unsupported(format!("the build context {:?} cannot be fetched", without_user(context)))
            .with_hint("name a folder, an archive behind http or https, or a git repository"));
    }
    let source = remote(context, None, keep_git_dir, false)?;
    engine
        .build_context_fetch(&source, credentials, MAX_BYTES)
        .map_err(|error| error.context(format!("fetching the build context {:?}", without_user(context))))
}

/// The patterns of what is not in a context that was fetched: those of the Dockerfile's own ignore file, or the usual one.
///
/// # Errors
/// What reading gives.
pub(crate) fn ignored(context: &FetchedContext, dockerfile: Option<&str>) -> Result<Vec<String>> {
    let own = dockerfile.map(|name| format!("{name}.dockerignore"));
    for name in own.iter().map(String::as_str).chain([IGNORE_FILE]) {
        if let Some(text) = context.read(name, MAX_BYTES)? {
            return ignore_text(name, text);
        }
    }
    Ok(Vec::new())
}

/// Reads what `--build-context` names, and fetches or loads what is elsewhere. What was fetched is there as long as `held`
/// has it.
///
/// # Errors
/// `not_found` for a folder that is not there; as fetching and loading.
pub(crate) fn named(
    engine: &mut dyn FnMut() -> Result<Engine>,
    value: &str,
    credentials: &Credentials,
    held: &mut Vec<FetchedContext>,
) -> Result<Named> {
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok(Named::Image(image.to_owned()));
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        let (path, wanted) = layout_of(layout);
        return Ok(Named::Image(engine()?.image_load_one(path, wanted)?.id.to_string()));
    }
    if is_elsewhere(value) {
        let context = fetched(&engine()?, value, credentials, false)?;
        let Some(path) = context.path().map(Path::to_owned) else {
            return Err(Error::invalid(format!("the build context {value:?} is no archive")));
        };
        let ignore = ignored(&context, None)?;
        held.push(context);
        return Ok(Named::Folder(path, ignore));
    }
    let folder = PathBuf::from(value);
    if !folder.is_dir() {
        return Err(Error::not_found(format!("the build context {value:?} is no folder")));
    }
    let ignore = ignore_lines(&folder.join(IGNORE_FILE))?;
    Ok(Named::Folder(folder, ignore))
}

/// A layout's path, and which of its images is meant.
fn layout_of(text: &str) -> (&Path, Option<&str>) {
    if let Some((path, digest)) = text.split_once('@') {
        return (Path::new(path), Some(digest));
    }
    if Path::new(text).exists() {
        return (Path::new(text), None);
    }
    // A name has colons, and so may a path.
    let cuts = || text.rmatch_indices(':').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let cut = cuts().find(|(path, _)| Path::new(path).exists()).or_else(|| cuts().next());
    match cut {
        Some((path, wanted)) if !path.is_empty() && !wanted.is_empty() => (Path::new(path), Some(wanted)),
        _ => (Path::new(text), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_has_a_path_and_perhaps_a_tag_or_a_digest() {
        for (text, path, wanted) in [
            ("/a/b", "/a/b", None),
            ("a:1.2", "a", Some("1.2")),
            ("/:repository/name:1", "/", Some("repository/name:1")),
            (":x", ":x", None),
            ("a@sha256:00", "a", Some("sha256:00")),
        ] {
            assert_eq!(layout_of(text), (Path::new(path), wanted), "{text}");
        }
    }
}
