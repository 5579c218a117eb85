//! Copies a tree as it is: every kind of node, owners, modes, times, attributes, hard links, holes.
//!
//! Both sides are walked on descriptors; what the source's owner swaps meanwhile can make the copy fail, not leave it.
//! What belongs to overlayfs (its attributes, its whiteouts) is left out: it means something in a layer only.

use std::collections::HashMap;
use std::io;

use super::sorted;
use crate::sys::fs::copy_content;
use crate::sys::node::{self, Facts};
use crate::sys::path::{Dir, EntryKind};

/// How deep a tree may be: each level keeps two descriptors open.
const MAX_DEPTH: usize = 256;

/// Where a file with several names was copied to first, by its identity: the open folder and the name in it.
type Seen = HashMap<(u64, u64), (Dir, Vec<u8>)>;

/// Copies the content of `from`, and its own owner, mode, time and attributes, into the empty folder `to`.
pub(super) fn copy(from: &Dir, to: &Dir) -> io::Result<()> {
    folder(from, to, &mut Seen::new(), 0)
}

fn folder(from: &Dir, to: &Dir, seen: &mut Seen, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("folders lie more than {MAX_DEPTH} deep")));
    }
    for (name, kind) in sorted(from)? {
        entry(from, to, &name, kind, seen, depth).map_err(|error| named(&name, &error))?;
    }
    top(from, to)
}

/// Moves the content of `from` into `to`, an empty folder on the same file system that others have open, with owner,
/// mode, time and attributes.
pub(super) fn move_into(from: &Dir, to: &Dir) -> io::Result<()> {
    for (name, _) in sorted(from)? {
        node::rename(from, &name, to, &name)?;
    }
    top(from, to)
}

/// The folder's own owner, mode, time and attributes.
fn top(from: &Dir, to: &Dir) -> io::Result<()> {
    let facts = node::facts_of(from)?;
    attributes(from, to, b"", b"")?;
    node::set_owner(to, b"", facts.uid, facts.gid)?;
    node::set_mode(to, b"", facts.mode)?;
    node::set_mtime(to, b"", facts.mtime)
}

fn entry(from: &Dir, to: &Dir, name: &[u8], kind: EntryKind, seen: &mut Seen, depth: usize) -> io::Result<()> {
    if kind == EntryKind::Dir {
        to.make_dir(name, 0o700)?;
        return folder(&from.child(name)?, &to.child(name)?, seen, depth + 1);
    }
    let facts = node::facts_at(from, name)?;
    if facts.kind == EntryKind::CharDevice && facts.device == (0, 0) {
        return Ok(());
    }
    if facts.links > 1
        && let Some((dir, earlier)) = seen.get(&facts.identity)
    {
        return node::make_hard_link(dir, earlier, to, name);
    }
    match kind {
        EntryKind::File => {
            copy_content(&from.open_file(name)?, &to.create_file(name, 0o600)?)?;
        }
        EntryKind::Symlink => node::make_symlink(to, name, &node::read_symlink(from, name)?)?,
        kind => node::make_node(to, name, kind, facts.mode, facts.device)?,
    }
    finish(from, to, name, &facts)?;
    if facts.links > 1 {
        seen.insert(facts.identity, (to.try_clone()?, name.to_vec()));
    }
    Ok(())
}

/// Owner first: it takes set-id bits and capabilities away.
fn finish(from: &Dir, to: &Dir, name: &[u8], facts: &Facts) -> io::Result<()> {
    node::set_owner(to, name, facts.uid, facts.gid)?;
    if facts.kind != EntryKind::Symlink {
        node::set_mode(to, name, facts.mode)?;
    }
    attributes(from, to, name, name)?;
    node::set_mtime(to, name, facts.mtime)
}

fn attributes(from: &Dir, to: &Dir, name: &[u8], new_name: &[u8]) -> io::Result<()> {
    for (attribute, value) in node::xattrs(from, name)? {
        if attribute.starts_with(b"trusted.overlay.") || attribute.starts_with(b"user.overlay.") {
            continue;
        }
        node::set_xattr(to, new_name, &attribute, &value)?;
    }
    Ok(())
}

/// The error with the name at which it came up, from the inside out.
fn named(name: &[u8], error: &io::Error) -> io::Error {
    let text = format!("{}: {error}", String::from_utf8_lossy(name).escape_debug());
    io::Error::new(error.kind(), text)
}
