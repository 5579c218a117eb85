//! The documentation of the script API: every example runs, and the definitions are the ones in the golden file.
//!
//! `UPDATE_GOLDEN=1 cargo test --test script` writes golden files anew; the change is then reviewed as a change of the API.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use rhumb::script::doc;

use crate::support::{BASE, Rhumb};

/// Compares with a golden file, or replaces it.
#[track_caller]
pub(crate) fn assert_golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected != actual {
        let differs = expected.lines().zip(actual.lines()).position(|(a, b)| a != b);
        let line = differs.unwrap_or_else(|| expected.lines().count().min(actual.lines().count()));
        panic!(
            "{name} differs at line {}:\n  golden: {:?}\n  actual: {:?}\nUPDATE_GOLDEN=1 writes it anew",
            line + 1,
            expected.lines().nth(line),
            actual.lines().nth(line)
        );
    }
}

#[test]
fn the_api_is_the_golden_one() {
    assert_golden("api.d.rhai", &doc::definitions());
}

#[test]
fn every_example_runs() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["tag", BASE, "base:latest"]).ok();
    let mut text = String::from("// Every example of the documentation.\n");
    let mut count = 0;
    let mut seen = std::collections::BTreeSet::new();
    for entry in doc::documented() {
        for example in entry.examples() {
            if seen.insert(example.clone()) {
                count += 1;
                writeln!(text, "print(\"## {}\");\n{{\n{example}\n}}", entry.full_name()).unwrap();
            }
        }
    }
    assert!(count > 120, "only {count} examples were found");
    let outcome = rhumb.script_with(&text, &[], Duration::from_secs(240));
    let last = outcome.stdout.lines().rev().find(|line| line.starts_with("## ")).unwrap_or_default();
    assert!(outcome.success(), "the example of {last} fails:\n{}", outcome.stderr);
    assert_eq!(rhumb.run(["ps", "-aq"]).ok(), "", "an example leaves a container");
    assert_eq!(rhumb.run(["volume", "ls", "-q"]).ok(), "", "an example leaves a volume");
}

#[test]
fn doc_prints_what_help_says() {
    let rhumb = Rhumb::new();
    let all = rhumb.run(["doc"]).ok();
    assert!(all.contains("container::run(image: Image | string, options: map) -> Container"), "{all}");
    let one = rhumb.run(["doc", "Container.stop"]).ok();
    assert!(one.contains("grace period"), "{one}");
    let error = rhumb.run(["doc", "contaner"]).fails(3);
    assert!(error.contains("did you mean \"container\"?"), "{error}");
    let module = rhumb.run(["-e", "help(\"volume\")"]).ok();
    assert!(module.contains("volume::create"), "{module}");
}
