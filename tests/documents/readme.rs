//! README.md: every `sh` block runs in one shell after the other on one root, every `rhai` block as a script on a root of
//! its own, and every `console` block holds commands that this file knows to be true.

use std::path::Path;
use std::process::Command;

use crate::blocks::{Block, blocks};
use crate::support::Rhumb;
use crate::support::process::{self, PATIENCE};

fn readme(language: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let all = blocks(&std::fs::read_to_string(path).expect("README.md"));
    let known = ["sh", "rhai", "console"];
    for block in &all {
        assert!(known.contains(&block.language.as_str()), "README.md:{}: a block that nobody tests", block.line);
    }
    all.into_iter().filter(|block| block.language == language).collect()
}

#[test]
fn shell_blocks_run_in_order() {
    let rhumb = Rhumb::new();
    let found = readme("sh");
    assert!(found.len() >= 3, "the tour is gone");
    for block in found {
        let mut command = Command::new("/bin/sh");
        command.args(["-euc", &block.text]);
        rhumb.environ(&mut command);
        let outcome = process::run(&mut command, None, PATIENCE);
        assert!(outcome.success() && outcome.stderr.is_empty(), "README.md:{}:\n{outcome}", block.line);
    }
}

#[test]
fn script_blocks_run() {
    let found = readme("rhai");
    assert!(found.len() >= 3, "the tour is gone");
    for block in found {
        let rhumb = Rhumb::new();
        let outcome = rhumb.script(&block.text);
        assert!(outcome.success() && outcome.stderr.is_empty(), "README.md:{}:\n{outcome}", block.line);
        let left = rhumb.run(["ps", "-aq"]).ok();
        assert_eq!(left, "", "README.md:{} leaves a container", block.line);
    }
}

#[test]
fn console_blocks_are_commands_that_something_proves() {
    // `tests/interop_runtime.rs` runs podman and Docker with these words, and programs of its own.
    let proof = include_str!("../interop_runtime.rs");
    let engines = |line: &str| match line.split_once(' ') {
        Some(("podman" | "docker" | "dockerd", words)) => words
            .split_whitespace()
            .filter_map(|word| word.strip_suffix("=/usr/local/bin/rhumb-runc").or(Some(word)))
            .filter(|word| word.starts_with("--"))
            .all(|word| proof.contains(&format!("\"{word}"))),
        // `tests/interop_registry.rs` does the same with a registry that is there.
        Some(("rhumb", words)) => words
            .split_whitespace()
            .enumerate()
            .filter(|(place, word)| *place == 0 || word.starts_with("--"))
            .all(|(_, word)| include_str!("../interop_registry.rs").contains(&format!("\"{word}\""))),
        _ => false,
    };
    for block in readme("console") {
        for line in block.text.lines() {
            let known = [
                "cargo test",
                "cargo build --release",
                "install target/*/release/rhumb /usr/local/bin/",
                "ln -s rhumb /usr/local/bin/rhumb-runc",
            ];
            let script = line.strip_prefix("cargo run --release -- ");
            let exists = script.is_some_and(|file| Path::new(env!("CARGO_MANIFEST_DIR")).join(file).is_file());
            assert!(
                known.contains(&line) || exists || engines(line),
                "README.md:{}: {line:?} is not tested",
                block.line
            );
        }
    }
}
