//! Layers whose folders have their entries in another order: for finding out what depends on it.
//!
//! A folder is made anew, and what is in it is put there from the last name to the first, as further names of the same
//! files: nothing is copied. What a file system makes of that is its own matter: many list entries as they came, others by
//! a hash of the name, where there is no other order to be had.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use super::{Solver, lock};
use crate::base::{Context as _, Digest, Error, Result};
use crate::store::scratch::Scratch;
use crate::sys::node;
use crate::sys::path::{Dir, EntryKind};

use super::walk::MOST_LEVELS;

/// The name of a layer's folder in its scratch folder.
const TREE: &str = "diff";

/// Layers that were made, by chain id.
#[derive(Default)]
pub(super) struct Disorder(Mutex<HashMap<Digest, Scratch>>);

impl Solver<'_> {
    /// The folders of layers in another order, highest first.
    pub(super) fn disordered(&self, layers: &[Digest]) -> Result<Vec<PathBuf>> {
        let mut made = lock(&self.disorder.0);
        let mut folders = Vec::with_capacity(layers.len());
        for id in layers.iter().rev() {
            if !made.contains_key(id) {
                let scratch = self.engine.store.scratch_dir("disorder")?;
                let from = self.engine.store.layer_diff(id);
                std::fs::create_dir(scratch.path().join(TREE))?;
                let (from, to) = (Dir::open(&from)?, Dir::open(&scratch.path().join(TREE))?);
                mirror(&from, &to, 0).context(|| format!("making the layer {id} in another order"))?;
                made.insert(id.clone(), scratch);
            }
            folders.push(made[id].path().join(TREE));
        }
        Ok(folders)
    }
}

/// Makes `to` what `from` is, the last entry first.
fn mirror(from: &Dir, to: &Dir, level: usize) -> Result<()> {
    if level > MOST_LEVELS {
        return Err(Error::unsupported(format!("the tree is deeper than {MOST_LEVELS} folders")));
    }
    let mut names = from.entries()?;
    names.sort_by(|(a, _), (b, _)| b.cmp(a));
    for (name, kind) in names {
        if kind == EntryKind::Dir {
            to.make_dir(&name, 0o700)?;
            mirror(&from.child(&name)?, &to.child(&name)?, level + 1)?;
        } else {
            node::make_hard_link(from, &name, to, &name)?;
        }
    }
    Ok(like(from, to)?)
}

/// Gives a folder everything that another one shows of itself.
fn like(from: &Dir, to: &Dir) -> io::Result<()> {
    let facts = node::facts_of(from)?;
    for (name, value) in node::xattrs(from, b"")? {
        node::set_xattr_of(to, &name, &value)?;
    }
    node::set_owner_of(to, facts.uid, facts.gid)?;
    node::set_mode_of(to, facts.mode)?;
    node::set_mtime_of(to, facts.mtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn a_mirror_shows_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::create_dir_all(one.join("a/b")).unwrap();
        std::fs::create_dir(&two).unwrap();
        std::fs::write(one.join("a/file"), "x").unwrap();
        std::os::unix::fs::symlink("file", one.join("a/link")).unwrap();
        std::fs::set_permissions(one.join("a"), std::fs::Permissions::from_mode(0o1750)).unwrap();
        mirror(&Dir::open(&one).unwrap(), &Dir::open(&two).unwrap(), 0).unwrap();
        for path in ["", "a", "a/b", "a/file", "a/link"] {
            let facts = |root: &PathBuf| {
                let facts = std::fs::symlink_metadata(root.join(path)).unwrap();
                (facts.mode(), facts.mtime(), facts.mtime_nsec(), facts.uid())
            };
            assert_eq!(facts(&one), facts(&two), "{path}");
        }
        let inode = |root: &PathBuf| std::fs::metadata(root.join("a/file")).unwrap().ino();
        assert_eq!(inode(&one), inode(&two));
    }
}
