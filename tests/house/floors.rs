//! The floors and the doors of DESIGN.md §2: a module imports from lower floors only, and every library has one door.

use std::path::{Path, PathBuf};

use crate::source::{Token, assert_none, files, first_test_line, tokens};

/// The floors, lowest first; modules on one floor never import each other.
const FLOORS: &[(usize, &[&str])] = &[
    (0, &["base"]),
    (1, &["model"]),
    (2, &["sys"]),
    (3, &["store", "runtime", "net", "registry"]),
    (4, &["engine"]),
    (5, &["docker"]),
    (6, &["script"]),
    (7, &["cli", "repl", "http"]),
    (8, &["main", "lib"]),
];

/// The rank inside `engine`; modules of one rank never import each other. `mod.rs` is the common ground of all.
const ENGINE: &[(usize, &[&str])] = &[
    (0, &["event"]),
    (1, &["volume", "network", "image", "registry"]),
    (2, &["container"]),
    (3, &["build"]),
    (4, &["system"]),
];

/// Every library that is not plain data or a small algorithm, and the paths that may name it.
const DOORS: &[(&str, &[&str])] = &[
    ("libc", &["src/sys/"]),
    ("nix", &["src/sys/"]),
    ("rustix", &["src/sys/"]),
    ("caps", &["src/sys/"]),
    ("rusqlite", &["src/store/db"]),
    ("tar", &["src/store/"]),
    ("memchr", &["src/runtime/log/"]),
    ("serde_path_to_error", &["src/runtime/oci/validate.rs"]),
    ("regex", &["src/engine/container/"]),
    ("flate2", &["src/store/", "src/runtime/log/"]),
    ("zstd", &["src/store/"]),
    ("liblzma", &["src/store/"]),
    ("bzip2", &["src/store/"]),
    ("object", &["src/engine/image"]),
    ("cgroups_rs", &["src/runtime/cgroup"]),
    ("syscalls", &["src/runtime/seccomp/"]),
    ("hickory_proto", &["src/net/dns/"]),
    ("rtnetlink", &["src/net/netlink.rs"]),
    ("tokio", &["src/net/netlink.rs", "src/registry/"]),
    ("reqwest", &["src/registry/"]),
    ("rustls", &["src/registry/"]),
    ("httpdate", &["src/registry/"]),
    ("futures_util", &["src/net/netlink.rs", "src/registry/"]),
    ("http_auth", &["src/registry/"]),
    ("base64", &["src/docker/registry.rs", "src/engine/build/credentials.rs"]),
    ("netlink_bindings", &["src/net/nft.rs", "src/net/conntrack.rs"]),
    ("netlink_socket2", &["src/net/nft.rs", "src/net/conntrack.rs"]),
    ("sha2", &["src/base/digest.rs"]),
    ("humantime", &["src/base/time.rs", "src/base/units.rs"]),
    ("strsim", &["src/base/suggest.rs"]),
    ("rhai", &["src/script/"]),
    ("include_dir", &["src/script/"]),
    ("annotate_snippets", &["src/script/"]),
    ("serde_yaml_ng", &["src/script/", "src/engine/container/cdi.rs"]),
    ("clap", &["src/cli/"]),
    ("rustyline", &["src/repl/"]),
    ("comfy_table", &["src/script/", "src/cli/"]),
    ("csv", &["src/docker/words.rs"]),
    ("shell_words", &["src/docker/", "src/cli/"]),
];

/// The module directly below the crate that a source file belongs to.
fn module(path: &Path) -> String {
    let below = path.strip_prefix("src").expect("a file of src");
    let first = below.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn rank(table: &[(usize, &[&str])], name: &str) -> Option<usize> {
    table.iter().find(|(_, names)| names.contains(&name)).map(|(rank, _)| *rank)
}

/// The paths that follow `crate::` in the tokens, each as far as single names go: `crate::{base::Id, sys}` gives
/// `[base, Id]` and `[sys]`. `super` chains that leave a top module do not exist: see the test for it.
fn crate_paths(tokens: &[Token]) -> Vec<(Vec<String>, usize)> {
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if token.text == "crate" && follows(tokens, index + 1, "::") {
            collect(tokens, index + 3, &mut Vec::new(), &mut found);
        }
    }
    found
}

fn follows(tokens: &[Token], index: usize, what: &str) -> bool {
    what.chars().enumerate().all(|(at, c)| tokens.get(index + at).is_some_and(|token| token.text == c.to_string()))
}

/// Reads one tree of a use or path from `index`; returns the index behind it.
fn collect(
    tokens: &[Token],
    mut index: usize,
    before: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let depth = before.len();
    while let Some(token) = tokens.get(index) {
        if token.text == "{" {
            index += 1;
            while tokens.get(index).is_some_and(|token| token.text != "}") {
                index = collect(tokens, index, before, found);
                while tokens.get(index).is_some_and(|token| token.text != "," && token.text != "}") {
                    index += 1; // `as name`
                }
                if follows(tokens, index, ",") {
                    index += 1;
                }
            }
            before.truncate(depth);
            return index + 1;
        }
        before.push(token.text.clone());
        index += 1;
        if !follows(tokens, index, "::") || follows(tokens, index + 2, "<") {
            found.push((before.clone(), token.line));
            break;
        }
        index += 2;
    }
    before.truncate(depth);
    index
}

#[test]
fn imports_come_from_lower_floors_only() {
    let mut complaints = Vec::new();
    for path in files("src", ".rs") {
        let own = module(&path);
        let Some(floor) = rank(FLOORS, &own) else {
            complaints.push(format!("{}: the module {own} has no floor", path.display()));
            continue;
        };
        for (used, line) in crate_paths(&tokens(&path)) {
            // A name that is no module is an item of the crate's root, which has none but modules.
            let Some(other) = rank(FLOORS, &used[0]) else {
                complaints.push(format!("{}:{line}: crate::{} has no floor", path.display(), used[0]));
                continue;
            };
            if used[0] != own && other >= floor {
                complaints.push(format!(
                    "{}:{line}: {own} (floor {floor}) imports {} (floor {other})",
                    path.display(),
                    used[0]
                ));
            }
        }
    }
    assert_none("a module imports only from lower floors, never sideways", complaints);
}

#[test]
fn nouns_of_the_engine_keep_their_rank() {
    let mut complaints = Vec::new();
    for path in files("src/engine", ".rs") {
        let below = path.strip_prefix("src/engine").expect("a file of engine");
        let own = below.components().next().expect("a name").as_os_str().to_string_lossy();
        let own = own.trim_end_matches(".rs").to_owned();
        let Some(floor) = rank(ENGINE, &own) else { continue };
        for (used, line) in crate_paths(&tokens(&path)) {
            if used[0] == "engine"
                && let Some(other) = used.get(1).and_then(|name| rank(ENGINE, name))
                && used[1] != own
                && other >= floor
            {
                complaints.push(format!("{}:{line}: {own} imports {}", path.display(), used[1]));
            }
        }
    }
    assert_none("volume, network, image, registry < container < build < system", complaints);
}

#[test]
fn super_stays_inside_a_top_module() {
    let mut complaints = Vec::new();
    for path in files("src", ".rs") {
        let tests = first_test_line(&path);
        // How many times a file may go up and still be inside its top module; inline modules but tests do not exist.
        let folders = path.strip_prefix("src").expect("a file of src").components().count() - 1;
        let allowed = if path.ends_with("mod.rs") { folders.saturating_sub(1) } else { folders };
        let tokens = tokens(&path);
        for (index, token) in tokens.iter().enumerate() {
            let starts = token.text == "super" && (index < 3 || tokens[index - 3].text != "super");
            if starts && token.line < tests {
                let length = (0..).take_while(|n| tokens.get(index + n * 3).is_some_and(|t| t.text == "super")).count();
                if length > allowed.max(1) {
                    complaints.push(format!("{}:{}: leaves its top module; write crate::", path.display(), token.line));
                }
            }
        }
    }
    assert_none("between floors paths are written with crate::", complaints);
}

#[test]
fn every_library_has_one_door() {
    let mut complaints = Vec::new();
    for path in files("src", ".rs") {
        let name = path.to_string_lossy();
        let tests = first_test_line(&path);
        let tokens = tokens(&path);
        for (library, doors) in DOORS {
            if doors.iter().any(|door| name.starts_with(door)) {
                continue;
            }
            for (index, token) in tokens.iter().enumerate() {
                let in_path = index >= 2 && tokens[index - 1].text == ":" && tokens[index - 2].text == ":";
                let absolute = in_path && (index == 2 || !is_name(&tokens[index - 3].text));
                let used = index >= 1 && tokens[index - 1].text == "use" && follows(&tokens, index + 1, ";");
                let is_path = follows(&tokens, index + 1, "::") || used;
                if token.text == *library && is_path && (!in_path || absolute) && token.line < tests {
                    complaints.push(format!("{name}:{}: {library} belongs to {}", token.line, doors.join(" or ")));
                }
            }
        }
    }
    assert_none("one door per library", complaints);
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && !["use", "as", "in", "dyn", "impl"].contains(&text)
}

/// Without this, a library that comes later would have no door and no test would say so.
#[test]
fn every_dependency_has_a_door_or_is_plain_data() {
    let anywhere = ["serde", "serde_json", "oci_spec", "ipnet", "percent_encoding"];
    let manifest = crate::source::text(Path::new("Cargo.toml"));
    let begin = manifest.find("[dependencies]").expect("dependencies");
    let rest = &manifest[begin + 1..];
    let section = &rest[..rest.find("\n[").unwrap_or(rest.len())];
    let names = section.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim().replace('-', "_"));
    let known = |name: &String| anywhere.contains(&name.as_str()) || DOORS.iter().any(|(library, _)| library == name);
    let unknown: Vec<String> =
        names.filter(|name| !name.starts_with('#') && !name.is_empty()).filter(|name| !known(name)).collect();
    assert_none("a dependency without a door", unknown);
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    let mut complaints = Vec::new();
    for path in files("src", ".rs").into_iter().filter(|path| !path.starts_with("src/sys")) {
        for token in tokens(&path).iter().filter(|token| token.text == "unsafe") {
            complaints.push(format!("{}:{}", path.display(), token.line));
        }
    }
    assert_none("unsafe only in src/sys", complaints);
}

/// No globals: the engine and what is below it gets its state root and never looks for it.
#[test]
fn the_environment_is_read_by_front_ends_alone() {
    let allowed = [
        "src/base/failpoint.rs",
        "src/sys/",
        "src/docker/env.rs",
        "src/script/",
        "src/cli/",
        "src/repl/",
        "src/main.rs",
    ];
    let mut complaints = Vec::new();
    for path in files("src", ".rs") {
        let tests = first_test_line(&path);
        if allowed.iter().any(|start| path.to_string_lossy().starts_with(start)) {
            continue;
        }
        let tokens = tokens(&path);
        for (index, token) in tokens.iter().enumerate() {
            let reads = token.text == "env"
                && follows(&tokens, index + 1, "::")
                && tokens.get(index + 3).is_some_and(|next| next.text.starts_with("var"));
            if reads && token.line < tests {
                complaints.push(format!("{}:{}", path.display(), token.line));
            }
        }
    }
    assert_none("std::env::var below the front ends", complaints);
}

#[test]
fn groups_in_a_use_are_understood() {
    let source = "use crate::{base::{Id, Error as E}, sys}; fn f() { crate::model::limits::Limits::<u8>::new() }";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), source).unwrap();
    let found: Vec<String> =
        crate_paths(&tokens(&PathBuf::from(file.path()))).into_iter().map(|(path, _)| path.join("::")).collect();
    assert_eq!(found, ["base::Id", "base::Error", "sys", "model::limits::Limits"]);
}
