//! What holds for any bytes whatever: the functions that the fuzz targets call, and tests/security/corpus.rs with the corpus.

use rhumb::docker::dockerfile;
use rhumb::docker::dockerfile::check::{About, check};
use rhumb::docker::dockerfile::translate::{Options, translate};
use rhumb::runtime::oci;
use rhumb::store::layer::look;

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

/// Relative, and every part a name.
fn plain(path: &[u8]) {
    assert!(!path.starts_with(b"/") && !path.contains(&0), "{path:?}");
    if !path.is_empty() {
        let walks = path.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b".."));
        assert!(!walks, "{path:?}");
    }
}
