//! Every `tests/script/<noun>/*.rhai` runs to its end on a root of its own with the image `base:1`, and leaves nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::Rhumb;
use crate::support::process;

/// What the longest of them may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

fn scripts(noun: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/script").join(noun);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rhai"));
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", dir.display());
    paths
}

fn run_all(noun: &str) {
    for path in scripts(noun) {
        let rhumb = Rhumb::with_base();
        let outcome = process::run(&mut rhumb.command([&path]), None, PATIENCE);
        assert!(outcome.success(), "{}:\n{outcome}", path.display());
        assert_eq!(rhumb.run(["ps", "-aq"]).ok(), "", "{} leaves a container", path.display());
        rhumb.assert_consistent();
    }
}

#[test]
fn build() {
    run_all("build");
}

#[test]
fn container() {
    run_all("container");
}

#[test]
fn image() {
    run_all("image");
}

#[test]
fn volume() {
    run_all("volume");
}

#[test]
fn system() {
    run_all("system");
}

#[test]
fn globals() {
    run_all("globals");
}

/// Whole programs as users write them, which make their own images.
#[test]
fn examples() {
    run_all("examples");
}

#[test]
fn every_folder_is_walked() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/script");
    let folders = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).filter(|e| e.path().is_dir());
    let mut names: Vec<String> = folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, ["build", "container", "examples", "globals", "image", "system", "volume"]);
}
