//! What the pattern of a source means in its tree: the paths, with everything below them, that are not left out.

use super::copy::Tree;
use super::state::clean;
use super::walk::{self, Item};
use crate::base::ignore::{Ignore, Pattern};
use crate::base::{Error, Result, suggest};
use crate::sys::path::{Dir, EntryKind};

/// The most folders that a pattern looks into.
const MOST_MATCHES: usize = 1_000_000;

/// A source that is there.
pub(super) struct Matched {
    pub(super) root: usize,
    /// Its path as it was named, in the tree.
    pub(super) named: Vec<u8>,
    pub(super) items: Vec<Item>,
    /// Files belong to whom they did, unless another owner is given.
    pub(super) keep_owner: bool,
}

/// What a pattern means.
pub(super) struct Matches {
    pub(super) found: Vec<Matched>,
    /// It is the name of one path.
    pub(super) literal: bool,
}

/// The paths that a pattern means, with everything below them.
pub(super) fn matches(tree: &mut Tree<'_>, pattern: &str, exclude: &Ignore, parents: bool) -> Result<Matches> {
    let text = clean("/", pattern);
    let text = text.trim_start_matches('/');
    let read = |text: &str| if parents { Pattern::new(text) } else { Pattern::plain(text) };
    let compiled = read(text)?;
    // What is in front of `/./` is not kept with the path.
    let pivot = match pattern.split_once("/./").filter(|_| parents) {
        Some((front, _)) => Some(read(clean("/", front).trim_start_matches('/'))?),
        None => None,
    };
    let literal = compiled.is_literal() || text.is_empty();
    let mut paths: Vec<Vec<u8>> = Vec::new();
    if literal {
        paths.push(text.replace('\\', "").into_bytes());
    } else {
        expand(tree.root, &compiled, &mut Vec::new(), &mut paths)?;
        paths.sort();
    }
    let mut found = Vec::new();
    for bytes in paths {
        // Patterns are text. Of a name that is none they see signs that stand for what cannot be read.
        let path = String::from_utf8_lossy(&bytes);
        if !path.is_empty() && tree.ignore.excludes(&path) && tree.ignore.excludes_all_below(&path) {
            continue;
        }
        let place = walk::resolve(tree.root, &bytes, true)?;
        if place.facts.is_none() {
            continue;
        }
        // A link to something that is left out leads nowhere.
        let led_to = String::from_utf8_lossy(&place.path);
        if led_to != path && tree.ignore.excludes(&led_to) && tree.ignore.excludes_all_below(&led_to) {
            continue;
        }
        let items = walk::list(tree.root, &place.path, tree.ignore, exclude, tree.memory)?;
        let Some(first) = items.first() else { continue };
        let is_file = first.facts.kind != EntryKind::Dir;
        // What is excluded is so below its source: a file that is a source itself has its name there.
        let name = path.rsplit('/').next().unwrap_or_default();
        let excluded = exclude.excludes(&path) || exclude.excludes(name);
        if is_file && (tree.ignore.excludes(&path) || tree.ignore.excludes(&led_to) || excluded) {
            continue;
        }
        let front = pivot.as_ref().map_or(0, |pivot| path.len() - behind(pivot, &path).len());
        // The front that goes is text in all but a rare case, in which the path stays whole.
        let kept = bytes.get(front..).filter(|kept| path.ends_with(&*String::from_utf8_lossy(kept))).unwrap_or(&bytes);
        found.push(Matched { root: 0, named: kept.to_vec(), items, keep_owner: false });
    }
    Ok(Matches { found, literal })
}

/// What is left of a path behind the shortest beginning that a pattern means.
fn behind<'a>(pivot: &Pattern, path: &'a str) -> &'a str {
    let mut ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let end = ends.find(|end| pivot.matches(&path[..*end]));
    end.map_or(path, |end| path[end..].trim_start_matches('/'))
}

fn expand(dir: &Dir, pattern: &Pattern, path: &mut Vec<u8>, found: &mut Vec<Vec<u8>>) -> Result<()> {
    if found.len() > MOST_MATCHES {
        return Err(Error::unsupported(format!("a pattern matches more than {MOST_MATCHES} paths")));
    }
    for (name, kind) in dir.entries()? {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let text = String::from_utf8_lossy(path).into_owned();
        if pattern.matches(&text) {
            found.push(path.clone());
        } else if kind == EntryKind::Dir && pattern.can_match_below(&text) {
            expand(&dir.child(&name)?, pattern, path, found)?;
        }
        path.truncate(length);
    }
    Ok(())
}

/// The error of a source that is not there, with what is alike.
pub(super) fn missing(tree: &Tree<'_>, pattern: &str) -> Error {
    let path = clean("/", pattern);
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let error = Error::not_found(format!("{pattern:?} is not in {}", tree.name));
    let led_to = walk::resolve(tree.root, path.as_bytes(), true).map(|place| place.path).unwrap_or_default();
    if [path.trim_start_matches('/'), &String::from_utf8_lossy(&led_to)].iter().any(|path| tree.ignore.excludes(path)) {
        return error.with_hint("an ignore pattern leaves it out");
    }
    if pattern.split('/').any(|part| part == "..") {
        return error.with_hint("nothing above it is seen: give the build another context, or one more by name");
    }
    let names: Vec<String> = walk::resolve(tree.root, folder.as_bytes(), true)
        .ok()
        .filter(|place| place.facts.is_some())
        .and_then(|place| match place.path.is_empty() {
            true => tree.root.entries().ok(),
            false => tree.root.open_dir_in(&place.path).and_then(|dir| dir.entries()).ok(),
        })
        .into_iter()
        .flatten()
        .map(|(name, _)| String::from_utf8_lossy(&name).into_owned())
        .collect();
    match suggest::hint(name, names.iter().map(String::as_str)) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
