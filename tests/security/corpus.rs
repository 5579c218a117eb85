//! The corpora of the fuzz targets, replayed through the same properties: whatever once crashed stays mended.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../../fuzz/properties.rs"]
mod properties;

/// Goes through all files of one corpus, each as it is and cut at some places.
fn replay(name: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files = 0;
    for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = fs::read(&path).unwrap();
        let begin = Instant::now();
        property(&bytes);
        (0..bytes.len()).step_by((bytes.len() / 50).max(1)).for_each(|cut| property(&bytes[..cut]));
        assert!(begin.elapsed() < Duration::from_secs(20), "{} took {:?}", path.display(), begin.elapsed());
        files += 1;
    }
    assert!(files >= 8, "{folder:?} has {files} files");
}

#[test]
fn the_corpus_of_configurations() {
    replay("config", properties::config);
}

#[test]
fn the_corpus_of_layers() {
    replay("layer", properties::layer);
}

#[test]
fn the_corpus_of_whiteouts() {
    replay("whiteout", properties::whiteout);
}

#[test]
fn the_corpus_of_dockerfiles() {
    replay("dockerfile", properties::dockerfile);
}

#[test]
fn the_corpus_of_ignore_files() {
    replay("ignore", properties::ignore);
}
