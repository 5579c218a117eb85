//! Habits (CONVENTIONS.md) that a test can hold: module docs, file length, no unfinished code, no traces of where the
//! code was written, every test one that runs.

use std::path::{Path, PathBuf};

use crate::source::{assert_none, files, first_test_line, text, tokens};

/// The most lines of a source file; past it, look for the two things it is.
const MAX_LINES: usize = 600;

fn rust_files() -> Vec<PathBuf> {
    [files("src", ".rs"), files("tests", ".rs")].concat()
}

/// Every text file of the project that people wrote.
fn written_files() -> Vec<PathBuf> {
    let endings = [".rs", ".rhai", ".toml", ".md", ".sh", ".sql", ".txt"];
    let mut all = files("", "");
    all.retain(|path| {
        let name = path.to_string_lossy();
        endings.iter().any(|ending| name.ends_with(ending)) || name.starts_with(".ci/") || name == "LICENSE"
    });
    all
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut complaints = Vec::new();
    for path in rust_files() {
        if !text(&path).starts_with("//! ") {
            complaints.push(path.display().to_string());
        }
    }
    for path in [files("scripts", ".rhai"), files("stdlib", ".rhai"), files("tests", ".rhai")].concat() {
        let source = text(&path);
        let first = source.lines().find(|line| !line.starts_with("#!")).unwrap_or_default();
        if !first.starts_with("//") {
            complaints.push(path.display().to_string());
        }
    }
    assert_none("a Rust file begins with //!, a script with //", complaints);
}

#[test]
fn no_file_is_too_long() {
    let long = rust_files().into_iter().filter_map(|path| {
        let lines = text(&path).lines().count();
        (lines > MAX_LINES).then(|| format!("{}: {lines} lines", path.display()))
    });
    assert_none("split by meaning", long.collect());
}

#[test]
fn nothing_is_unfinished_or_left_out() {
    let mut complaints = Vec::new();
    for path in rust_files() {
        let tokens = tokens(&path);
        for (index, token) in tokens.iter().enumerate() {
            let next = tokens.get(index + 1).map_or("", |next| next.text.as_str());
            let before = if index == 0 { "" } else { tokens[index - 1].text.as_str() };
            let found = match token.text.as_str() {
                "todo" | "unimplemented" | "dbg" => next == "!",
                "ignore" => before == "[" && (next == "]" || next == "="),
                _ => false,
            };
            if found {
                complaints.push(format!("{}:{}: {}", path.display(), token.line, token.text));
            }
        }
    }
    assert_none("no todo!, no unimplemented!, no dbg!, no ignored test", complaints);
}

#[test]
fn unwrap_is_for_tests() {
    let mut complaints = Vec::new();
    for path in files("src", ".rs") {
        let tests = first_test_line(&path);
        let tokens = tokens(&path);
        for pair in tokens.windows(3) {
            let called = pair[0].text == "." && pair[1].text == "unwrap" && pair[2].text == "(";
            if called && pair[1].line < tests {
                complaints.push(format!("{}:{}", path.display(), pair[1].line));
            }
        }
    }
    assert_none("write expect(\"the invariant\") or return the error", complaints);
}

/// Unit tests stand last in a file: a reader may stop there, and the rules above rely on it.
#[test]
fn unit_tests_stand_last() {
    let mut complaints = Vec::new();
    for path in files("src", ".rs") {
        let items = crate::source::parse(&path).items;
        let is_tests = |item: &syn::Item| matches!(item, syn::Item::Mod(module) if module.ident == "tests");
        if let Some(position) = items.iter().position(is_tests)
            && position + 1 != items.len()
        {
            complaints.push(path.display().to_string());
        }
    }
    assert_none("mod tests is the last item", complaints);
}

#[test]
fn text_is_clean() {
    let mut complaints = Vec::new();
    for path in written_files() {
        let content = text(&path);
        for (index, line) in content.lines().enumerate() {
            let place = || format!("{}:{}", path.display(), index + 1);
            if line.trim_end() != line {
                complaints.push(format!("{}: white space at the end", place()));
            }
            if line.contains('\t') {
                complaints.push(format!("{}: a tab", place()));
            }
            if line.contains('\r') {
                complaints.push(format!("{}: a carriage return", place()));
            }
        }
        if !content.ends_with('\n') || content.ends_with("\n\n") {
            complaints.push(format!("{}: ends in no newline or in several", path.display()));
        }
    }
    assert_none("plain text", complaints);
}

/// The project does not know the place where it is developed.
#[test]
fn no_traces_of_a_workplace() {
    // Written in pieces, or this file would be the first to be found.
    let forbidden =
        [["/wo", "rk/"], ["/root", "/.cargo"], ["work", "tree"], ["local", "host:5000"]].map(|two| two.concat());
    let mut complaints = Vec::new();
    for path in written_files() {
        for (index, line) in text(&path).lines().enumerate() {
            for needle in forbidden.iter().filter(|needle| line.contains(needle.as_str())) {
                complaints.push(format!("{}:{}: {needle}", path.display(), index + 1));
            }
        }
    }
    assert_none("a path or a name that means nothing to others", complaints);
}

/// The failpoints' names are unique, so that a test that kills at one knows where it kills.
#[test]
fn every_failpoint_has_one_place() {
    let mut places: Vec<(String, String)> = Vec::new();
    let mut complaints = Vec::new();
    for path in files("src", ".rs").into_iter().filter(|path| path != Path::new("src/base/failpoint.rs")) {
        for (index, line) in text(&path).lines().enumerate() {
            for rest in line.split("failpoint::hit(\"").skip(1) {
                let name = rest.split('"').next().expect("a first part").to_owned();
                let place = format!("{}:{}", path.display(), index + 1);
                if name.split('.').count() < 2 {
                    complaints.push(format!("{place}: {name} is not noun.verb.step"));
                }
                if let Some((_, other)) = places.iter().find(|(known, _)| *known == name) {
                    complaints.push(format!("{place}: {name} is also in {other}"));
                }
                places.push((name, place));
            }
        }
    }
    assert_none("names of failpoints", complaints);
}

#[test]
fn the_top_holds_what_the_readme_says() {
    let allowed =
        ["Cargo.toml", "Cargo.lock", "fuzz", "src", "scripts", "stdlib", "tests", "README.md", "LICENSE", "target"];
    let entries = std::fs::read_dir(crate::source::top()).expect("reading the top folder");
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let extra =
        names.filter(|name| !name.starts_with('.') && name != "rustfmt.toml" && !allowed.contains(&name.as_str()));
    assert_none("files at the top", extra.collect());
}
