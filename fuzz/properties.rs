//! What holds for any bytes whatever: the functions that the fuzz targets call, and tests/security/corpus.rs with the corpus.

use rhumb::base::ignore::{self, Ignore};
use rhumb::docker::dockerfile;
use rhumb::docker::dockerfile::check::{About, check};
use rhumb::docker::dockerfile::translate::{Options, translate};
use rhumb::runtime::oci;
use rhumb::store::layer::look;

/// The longest ignore file here: what it costs grows with patterns and paths.
const MOST_TEXT: usize = 4096;
/// The most bytes that an archive may unpack to here.
const MOST_BYTES: u64 = 64 << 20;

/// A config.json is planned or refused with one line, and none that says something twice about its namespaces is taken.
pub(crate) fn config(bytes: &[u8]) {
    match oci::plan(bytes) {
        Ok(planned) => {
            // Planning has no memory: the same text gives the same plan.
            assert_eq!(oci::plan(bytes).ok().as_ref(), Some(&planned));
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.to_string().contains('\n'), "{error}"),
    }
}

/// A layer is read to its end or refused with one line; no name of it has a part that walks, and no whiteout hides more than
/// one name.
pub(crate) fn layer(bytes: &[u8]) {
    match look::look(bytes, MOST_BYTES) {
        Ok(seen) => seen.iter().for_each(|entry| plain(&entry.path)),
        Err(error) => assert!(!error.to_string().is_empty() && !error.to_string().contains('\n'), "{error}"),
    }
}

/// A name that hides another hides one plain one, in the same folder.
pub(crate) fn whiteout(bytes: &[u8]) {
    let Ok(Some(hidden)) = look::hidden_by(bytes) else { return };
    plain(&hidden);
    let depth = |path: &[u8]| path.iter().filter(|byte| **byte == b'/').count();
    assert!(depth(&hidden) <= depth(bytes));
}

/// A Dockerfile is read, checked, translated and printed as a script, or refused with one line.
pub(crate) fn dockerfile(bytes: &[u8]) {
    let one_line = |error: rhumb::base::Error| {
        assert!(!error.to_string().is_empty() && !error.to_string().contains('\n'), "{error}");
    };
    match dockerfile::parse("Dockerfile", bytes) {
        Err(error) => one_line(error),
        Ok(file) => {
            check(&file, &About::default());
            match translate(&file, &Options::default(), &mut |_, _| Ok(None)) {
                Ok(made) => assert!(dockerfile::print::script(&made.graph, &[]).starts_with("#!")),
                Err(error) => one_line(error),
            }
        }
    }
}

/// An ignore file, and behind a zero byte paths: it is read or refused with one line, in pieces as in whole, and a walk that
/// passes by a folder misses nothing that is not left out.
pub(crate) fn ignore(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (patterns, paths) = text.split_once('\0').unwrap_or((&text, ""));
    if patterns.len() > MOST_TEXT {
        return;
    }
    let ignore = match Ignore::parse(patterns) {
        Err(error) => return assert!(!error.to_string().is_empty() && !error.to_string().contains('\n'), "{error}"),
        Ok(ignore) => ignore,
    };
    let lines = ignore::lines(patterns);
    assert_eq!(Ignore::new(lines.iter().map(String::as_str)).ok().as_ref(), Some(&ignore));
    let is_name = |part: &str| !matches!(part, "" | "." | "..");
    for path in paths.lines().filter(|path| path.len() < 100 && path.split('/').all(is_name)).take(20) {
        let out = ignore.excludes(path);
        for (end, _) in path.match_indices('/') {
            assert!(out || !ignore.excludes_all_below(&path[..end]), "{path:?} is passed by at {end}");
        }
    }
}

/// Relative, and every part a name.
fn plain(path: &[u8]) {
    assert!(!path.starts_with(b"/") && !path.contains(&0), "{path:?}");
    if !path.is_empty() {
        let walks = path.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b".."));
        assert!(!walks, "{path:?}");
    }
}
