//! Reading the tree: files, and Rust source as a flat list of tokens.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// A token with its line. Doc comments and string literals are literals here, so that prose never counts as code.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// The top folder of the project.
pub(crate) fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder of the project whose names end in `ending`, as paths from the top, sorted.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&top().join(folder), &mut found);
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    let mut found: Vec<PathBuf> =
        found.into_iter().map(|path| path.strip_prefix(top()).expect("below the top").to_owned()).collect();
    found.sort();
    found
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry.expect("reading a folder");
        let kind = entry.file_type().expect("the type of a file");
        match entry.file_name().to_str() {
            Some(".git" | "target") => {}
            _ if kind.is_dir() => walk(&entry.path(), found),
            _ if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

/// The text of a file of the project.
pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The parsed source of a file.
pub(crate) fn parse(path: &Path) -> syn::File {
    syn::parse_file(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tokens of a file, with groups flattened to their brackets.
pub(crate) fn tokens(path: &Path) -> Vec<Token> {
    let stream: TokenStream = text(path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut tokens = Vec::new();
    flatten(stream, &mut tokens);
    tokens
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    use proc_macro2::Delimiter::{Brace, Bracket, None, Parenthesis};
    for tree in stream {
        let line = tree.span().start().line;
        let mut push = |text: String, line| tokens.push(Token { text, line });
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Parenthesis => ("(", ")"),
                    Brace => ("{", "}"),
                    Bracket => ("[", "]"),
                    None => ("", ""),
                };
                push(open.into(), line);
                flatten(group.stream(), tokens);
                tokens.push(Token { text: close.into(), line: group.span_close().start().line });
            }
            TokenTree::Ident(ident) => push(ident.to_string(), line),
            TokenTree::Punct(punct) => push(punct.as_char().to_string(), line),
            TokenTree::Literal(_) => push("\"\"".into(), line),
        }
    }
}

/// Where the unit tests of a file begin, if it has any: the line of `#[cfg(test)]`, or the first of a file of tests alone.
/// Tests may do what code may not.
pub(crate) fn first_test_line(path: &Path) -> usize {
    if path.to_string_lossy().ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
        return 0;
    }
    let source = text(path);
    let position = source.lines().position(|line| line.trim() == "#[cfg(test)]");
    position.map_or(usize::MAX, |index| index + 1)
}

/// Panics with all complaints, one per line, unless there are none.
#[track_caller]
pub(crate) fn assert_none(rule: &str, complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{rule}\n  {}", complaints.join("\n  "));
}
