//! How much room a tree takes: blocks on disk, files with several names once.

use std::collections::HashSet;
use std::io;

use crate::sys::node;
use crate::sys::path::{Dir, EntryKind};

/// Bytes on disk below a folder, without the folder itself. What goes while it is measured does not count.
pub(super) fn on_disk(dir: &Dir) -> io::Result<u64> {
    let mut total = 0u64;
    let mut seen = HashSet::new();
    let mut pending = vec![dir.try_clone()?];
    while let Some(dir) = pending.pop() {
        for (name, kind) in dir.entries()? {
            let facts = match node::facts_at(&dir, &name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                facts => facts?,
            };
            if kind == EntryKind::Dir || facts.links < 2 || seen.insert(facts.identity) {
                total = total.saturating_add(facts.allocated_bytes);
            }
            if kind == EntryKind::Dir {
                match dir.child(&name) {
                    Ok(child) => pending.push(child),
                    Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(total)
}
