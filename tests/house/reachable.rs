//! No file is forgotten: every Rust file is part of a crate, every script under `tests/` lies where a harness walks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::source::{assert_none, files, parse, top};

/// The files that `mod` lines reach from a crate's first file.
fn reached(file: &Path, found: &mut BTreeSet<PathBuf>) {
    if !found.insert(file.to_owned()) {
        return;
    }
    let folder = file.parent().expect("a file lies in a folder");
    let stem = file.file_stem().expect("a name").to_string_lossy();
    let below = if ["mod", "main", "lib"].contains(&&*stem) { folder.to_owned() } else { folder.join(&*stem) };
    inner(&parse(file).items, folder, &below, found);
}

fn inner(items: &[syn::Item], folder: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) {
    for item in items {
        let syn::Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        if let Some((_, items)) = &module.content {
            inner(items, folder, &below.join(&name), found);
            continue;
        }
        let next = match path_attribute(module) {
            Some(path) => normal(&folder.join(path)),
            None => [below.join(format!("{name}.rs")), below.join(&name).join("mod.rs")]
                .into_iter()
                .find(|path| top().join(path).exists())
                .unwrap_or_else(|| panic!("mod {name} of {} has no file", folder.display())),
        };
        reached(&next, found);
    }
}

fn path_attribute(module: &syn::ItemMod) -> Option<String> {
    let attribute = module.attrs.iter().find(|attribute| attribute.path().is_ident("path"))?;
    let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return None };
    Some(text.value())
}

/// The path with `..` taken out.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => assert!(parts.pop(), "{} leaves the project", path.display()),
            other => parts.push(other),
        }
    }
    parts
}

/// The software that tests/interop_software.rs builds.
const BUILT: &str = "tests/build/software";

#[test]
fn every_rust_file_is_part_of_a_crate() {
    let mut found = BTreeSet::new();
    let all = [files("src", ".rs"), files("tests", ".rs"), files("build.rs", "")].concat();
    // What is built in containers is no part of ours.
    let all: Vec<PathBuf> = all.into_iter().filter(|path| !path.starts_with(BUILT)).collect();
    let is_root = |path: &&PathBuf| {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["src", "main.rs" | "lib.rs"] | ["tests", _, "main.rs"] => true,
            ["tests", file] => file.ends_with(".rs"),
            _ => false,
        }
    };
    for root in all.iter().filter(is_root) {
        reached(root, &mut found);
    }
    let forgotten = all.iter().filter(|path| !found.contains(*path)).map(|path| path.display().to_string());
    assert_none("a file that no mod line reaches", forgotten.collect());
}

#[test]
fn every_test_script_lies_where_it_is_run() {
    // Definitions (`.d.rhai`) describe an API; nobody runs them.
    let scripts = files("tests", ".rhai").into_iter().filter(|path| !path.to_string_lossy().ends_with(".d.rhai"));
    let lost = scripts.filter(|path| !path.starts_with("tests/script") && !path.starts_with(BUILT));
    assert_none(
        "scripts under tests/ belong to tests/script, or are what a test builds",
        lost.map(|path| path.display().to_string()).collect(),
    );
}

/// A map that nobody checks drifts: each module of the crate is on it, and nothing else is.
#[test]
fn the_map_shows_every_module() {
    let source = crate::source::text(Path::new("src/lib.rs"));
    let map = source.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a map in src/lib.rs");
    let line = |line: &str| {
        let line = line.trim_start_matches("//! ").trim_start_matches(|c: char| c.is_ascii_digit());
        line.split_whitespace().next().map(str::to_owned)
    };
    let shown: BTreeSet<String> = map.lines().filter_map(line).filter(|name| name != "//!").collect();
    let there = files("src", ".rs").into_iter().map(|path| {
        let first = path.iter().nth(1).expect("a name below src").to_string_lossy().into_owned();
        first.trim_end_matches(".rs").to_owned()
    });
    let there: BTreeSet<String> = there.filter(|name| name != "lib").collect();
    assert_eq!(shown, there, "the map in src/lib.rs and the folders of src differ");
}
