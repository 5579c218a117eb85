//! What the pattern of a source means in its tree: the paths, with everything below them, that are not left out.

use super::copy::Tree;
use super::squash::is_whiteout;
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
    /// The folders above what is kept of that path, as they are in the tree; only where the path is kept.
    pub(super) above: Vec<Item>,
    pub(super) items: Vec<Item>,
    pub(super) owner: Owner,
}

/// To whom files belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// To the owner that is given, or to root.
    Given,
    /// To whom they did, unless another owner is given.
    Kept,
    /// To whom the archive says, which says their modes as well: as with Docker, flags are for what is copied as it is.
    Archive,
}

impl Matched {
    /// What was in an archive.
    pub(super) fn archive(root: usize, items: Vec<Item>) -> Result<Matched> {
        if let Some(item) = items.iter().find(|item| is_whiteout(&item.facts)) {
            let shown = walk::quoted_path(&item.path);
            return Err(Error::invalid(format!("{shown} of the archive would hide what is below it"))
                .with_hint("it is the tar of a layer: remove such entries, or load the image that it is of"));
        }
        Ok(Matched { root, named: Vec::new(), above: Vec::new(), items, owner: Owner::Archive })
    }
}

/// What a pattern means.
pub(super) struct Matches {
    pub(super) found: Vec<Matched>,
    /// It is the name of one path.
    pub(super) literal: bool,
    /// A link that it means, and that leads nowhere.
    pub(super) lost: Option<Vec<u8>>,
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
    let (mut found, mut lost) = (Vec::new(), None);
    for bytes in paths {
        // Patterns are text. Of a name that is none they see signs that stand for what cannot be read.
        let path = String::from_utf8_lossy(&bytes);
        if !path.is_empty() && tree.ignore.excludes(&path) && tree.ignore.excludes_all_below(&path) {
            continue;
        }
        let place = walk::resolve(tree.root, &bytes, true)?;
        // What is excluded is so below its source: a file that is a source itself has its name there.
        let name = path.rsplit('/').next().unwrap_or_default();
        let excluded = tree.ignore.excludes(&path) || exclude.excludes(&path) || exclude.excludes(name);
        if place.facts.is_none() {
            if !literal && !excluded && lost.is_none() {
                lost = Some(bytes);
            }
            continue;
        }
        // A link to something that is left out leads nowhere.
        let led_to = String::from_utf8_lossy(&place.path);
        if led_to != path && tree.ignore.excludes(&led_to) && tree.ignore.excludes_all_below(&led_to) {
            continue;
        }
        let items = walk::list(tree.root, &place.path, tree.ignore, exclude, tree.memory, tree.check)?;
        let Some(first) = items.first() else { continue };
        let is_file = first.facts.kind != EntryKind::Dir;
        if is_file && (excluded || tree.ignore.excludes(&led_to)) {
            continue;
        }
        let front = pivot.as_ref().map_or(0, |pivot| path.len() - behind(pivot, &path).len());
        // The front that goes is text in all but a rare case, in which the path stays whole.
        let kept = bytes.get(front..).filter(|kept| path.ends_with(&*String::from_utf8_lossy(kept))).unwrap_or(&bytes);
        let above = if parents { above(tree.root, &bytes, kept)? } else { Vec::new() };
        found.push(Matched { root: 0, named: kept.to_vec(), above, items, owner: Owner::Kept });
    }
    Ok(Matches { found, literal, lost })
}

/// The folders above the kept end of a path.
fn above(root: &Dir, path: &[u8], kept: &[u8]) -> Result<Vec<Item>> {
    let front = path.len() - kept.len();
    let cuts = kept.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    cuts.map(|cut| walk::folder_alone(root, &walk::resolve(root, &path[..front + cut], true)?.path, &kept[..cut]))
        .collect()
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

/// The error of a link that leads nowhere.
pub(super) fn dangling(tree: &Tree<'_>, path: &[u8]) -> Error {
    Error::not_found(format!("{} is a link that leads nowhere in {}", walk::quoted_path(path), tree.name))
        .with_hint("links are followed inside of it alone")
}

/// The error of a source that is not there, with what is alike.
pub(super) fn missing(tree: &Tree<'_>, pattern: &str, exclude: &Ignore) -> Error {
    let path = clean("/", pattern);
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let error = Error::not_found(format!("{pattern:?} is not in {}", tree.name));
    let led_to = walk::resolve(tree.root, path.as_bytes(), true).map(|place| place.path).unwrap_or_default();
    if [path.trim_start_matches('/'), &String::from_utf8_lossy(&led_to)].iter().any(|path| tree.ignore.excludes(path)) {
        return error.with_hint("an ignore pattern leaves it out");
    }
    let itself = walk::resolve(tree.root, path.as_bytes(), false).ok().and_then(|place| place.facts);
    if itself.is_some() && [path.trim_start_matches('/'), name].iter().any(|path| exclude.excludes(path)) {
        return error.with_hint("--exclude leaves it out");
    }
    if itself.is_some_and(|facts| facts.kind == EntryKind::Symlink) {
        return dangling(tree, path.trim_start_matches('/').as_bytes());
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
