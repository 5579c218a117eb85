//! Files that are mounted for a command: folders of this machine, of other stages and of images.
//!
//! ```text
//! one folder, read-only                     a bind of it
//! with ignore patterns                      an overlay: a folder of whiteouts over the context
//! several layers                            an overlay of the folder in each layer
//! writable                                  an overlay with an upper folder that is dropped afterwards
//! a file                                    a bind, or of a copy when it is writable
//! ```
//!
//! The overlay is mounted by the container, in its own namespace. Paths are resolved in their own tree first, so that no
//! link leads out of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Solver;
use super::mounts::Prepared;
use super::walk::{self, Memory, piece_as_is};
use crate::base::ignore::Ignore;
use crate::base::{Context as _, Digest, Error, Result};
use crate::engine::container::StepOverlay;
use crate::engine::pipe::{Checked, through};
use crate::model::build::Origin;
use crate::sys::node;
use crate::sys::overlay;
use crate::sys::path::{Dir, EntryKind};

/// The attribute of a folder that hides what is below it.
const OPAQUE: &str = "trusted.overlay.opaque";

impl Solver<'_> {
    /// Mounts what a path of an origin means.
    pub(super) fn bind(
        &self,
        from: &Origin,
        source: &str,
        writable: bool,
        target: String,
        prepared: &mut Prepared,
    ) -> Result<()> {
        if let Origin::Context(index) = from {
            return self.bind_context(*index, source, writable, target, prepared);
        }
        let layers = self.layers_of(from)?;
        let Some(view) = self.engine.build_view(&layers)? else {
            let empty = prepared.folder(self.engine)?;
            return prepared.bind(&empty, target, !writable);
        };
        let place = walk::resolve(&view, source.as_bytes(), true)?;
        let Some(facts) = place.facts else {
            return Err(Error::not_found(format!("{source:?} is not there")));
        };
        let folders: Vec<PathBuf> = layers.iter().rev().map(|id| self.engine.store.layer_diff(id)).collect();
        if facts.kind != EntryKind::Dir {
            let is_there = |folder: &&PathBuf| Dir::open(folder).and_then(|dir| dir.open_path_in(&place.path)).is_ok();
            let Some(top) = folders.iter().find(is_there) else {
                return Err(Error::not_found(format!("{source:?} is not there")));
            };
            return self.bind_file(&view, &joined(top, &place.path), &place.path, writable, target, prepared);
        }
        let lower = stacked(&folders, &place.path).context(|| format!("looking for {source:?} in the layers"))?;
        match lower.as_slice() {
            [only] if !writable => prepared.bind(only, target, true),
            _ if overlay::takes_layers_one_by_one() => prepared.overlay(self.engine, lower, writable, target),
            _ if writable => Err(old_kernel()),
            _ => self.bind_copy(&view, &place.path, &Ignore::default(), target, prepared),
        }
    }

    fn bind_context(
        &self,
        index: usize,
        source: &str,
        writable: bool,
        target: String,
        prepared: &mut Prepared,
    ) -> Result<()> {
        let (root, ignore) = self.context(index)?;
        let place = walk::resolve(&root, source.as_bytes(), true)?;
        let shown = String::from_utf8_lossy(&place.path).into_owned();
        let ignored = !shown.is_empty() && ignore.excludes(&shown);
        let facts = place.facts.filter(|facts| facts.kind == EntryKind::Dir || !ignored);
        let Some(facts) = facts else {
            let error = Error::not_found(format!("{source:?} is not in the build context"));
            return Err(if ignored { error.with_hint("an ignore pattern leaves it out") } else { error });
        };
        let folder = std::path::absolute(&self.graph.contexts[index].path)?;
        let path = joined(&folder, &place.path);
        if facts.kind != EntryKind::Dir {
            return self.bind_file(&root, &path, &place.path, writable, target, prepared);
        }
        let mask = if self.graph.contexts[index].ignore.is_empty() {
            None
        } else {
            let mask = prepared.folder(self.engine)?;
            let dir = if place.path.is_empty() { root.try_clone()? } else { root.open_dir_in(&place.path)? };
            let out = Dir::open(&mask)?;
            alike(&out, &dir)?;
            let hidden = hide(&dir, &place.path, &ignore, &out, 0).context(|| "hiding what is ignored")?;
            hidden.then_some(mask)
        };
        match (mask, writable) {
            (None, false) => prepared.bind(&path, target, true),
            (mask, writable) if overlay::takes_layers_one_by_one() => {
                prepared.overlay(self.engine, mask.into_iter().chain([path]).collect(), writable, target)
            }
            (_, true) => Err(old_kernel()),
            (_, false) => self.bind_copy(&root, &place.path, &ignore, target, prepared),
        }
    }

    fn bind_file(
        &self,
        root: &Dir,
        path: &Path,
        below: &[u8],
        writable: bool,
        target: String,
        prepared: &mut Prepared,
    ) -> Result<()> {
        if !writable {
            return prepared.bind(path, target, true);
        }
        let mut file = root.open_file_in(below)?;
        let facts = node::facts_of(&file)?;
        let copy = prepared.folder(self.engine)?.join("file");
        let mut out = File::options().write(true).create_new(true).mode(0o600).open(&copy)?;
        io::copy(&mut file, &mut out)?;
        std::os::unix::fs::fchown(&out, Some(facts.uid), Some(facts.gid))?;
        out.set_permissions(std::fs::Permissions::from_mode(facts.mode))?;
        prepared.bind(&copy, target, false)
    }

    /// For kernels whose overlay takes no layers one by one: a copy, for the time of the build.
    fn bind_copy(
        &self,
        root: &Dir,
        path: &[u8],
        ignore: &Ignore,
        target: String,
        prepared: &mut Prepared,
    ) -> Result<()> {
        let items = walk::list(root, path, ignore, &Ignore::default(), &mut Memory::default(), &|| self.check())?;
        let pieces: Vec<_> = items.iter().map(|item| piece_as_is(item, b"flat")).collect();
        let layer = self.layer_of_pieces(&pieces, &[root.try_clone()?], None, None)?;
        prepared.bind(&self.engine.store.layer_diff(&layer.chain_id).join("flat"), target, true)
    }

    /// Puts a copy of what a path of an origin means into a folder: what a cache begins with.
    pub(super) fn fill(&self, from: &Origin, source: &str, folder: &Path) -> Result<()> {
        use crate::store::assemble::assemble;
        use crate::store::spread::{Ground, Owner, SpreadOptions, spread};
        self.with_tree(from, &mut |tree| {
            let place = walk::resolve(tree.root, source.as_bytes(), true)?;
            if place.facts.is_none_or(|facts| facts.kind != EntryKind::Dir) {
                return Err(Error::not_found(format!("{source:?} is not a folder of {}", tree.name)));
            }
            let items = walk::list(tree.root, &place.path, tree.ignore, &Ignore::default(), tree.memory, tree.check)?;
            let pieces: Vec<_> =
                items.iter().filter(|item| !item.below.is_empty()).map(|item| piece_as_is(item, b"")).collect();
            let ground = Dir::open(folder)?;
            let how = SpreadOptions { owner: Owner::Archive, ids: None, privileges: true };
            let roots = [tree.root.try_clone()?];
            through(
                |stream| assemble(&pieces, &roots, None, &mut Checked { stream, check: tree.check }),
                |reader| spread(&Ground::Host(&ground), reader, how),
            )?;
            Ok(())
        })
    }

    /// What a mount shows, as inputs of a key.
    pub(super) fn origin_inputs(
        &self,
        from: &Origin,
        source: &str,
        exact: bool,
        inputs: &mut super::key::Inputs,
    ) -> Result<()> {
        let Origin::Context(index) = from else {
            let layers = self.layers_of(from)?;
            if let Some(view) = self.engine.build_view(&layers)?.filter(|_| exact && is_part(source)) {
                let place = walk::resolve(&view, source.as_bytes(), true)?;
                if place.facts.is_none() {
                    return Err(Error::not_found(format!("{source:?} is not there")));
                }
                let none = Ignore::default();
                for item in walk::list(&view, &place.path, &none, &none, &mut Memory::default(), &|| self.check())? {
                    let shown = walk::quoted_path(&item.path);
                    inputs.add(format!("the file {shown}"), walk::facts_text(&item));
                }
                return Ok(());
            }
            inputs.add("what is mounted", layers.iter().map(Digest::to_string).collect::<String>());
            return Ok(());
        };
        let (root, ignore) = self.context(*index)?;
        let place = walk::resolve(&root, source.as_bytes(), true)?;
        if place.facts.is_none() {
            return Err(Error::not_found(format!("{source:?} is not in the build context")));
        }
        let memory = self.memory_of(*index);
        let mut memory = super::lock(&memory);
        for item in walk::list(&root, &place.path, &ignore, &Ignore::default(), &mut memory, &|| self.check())? {
            let shown = walk::quoted_path(&item.path);
            inputs.add(format!("the file {shown}"), walk::facts_text(&item));
        }
        Ok(())
    }
}

impl Prepared {
    fn overlay(
        &mut self,
        engine: &crate::engine::Engine,
        lower: Vec<PathBuf>,
        writable: bool,
        target: String,
    ) -> Result<()> {
        let upper = match writable {
            false => None,
            true => {
                let folder = self.folder(engine)?;
                let (upper, work) = (folder.join("upper"), folder.join("work"));
                std::fs::create_dir(&upper)?;
                std::fs::create_dir(&work)?;
                // The overlay's own folder is the upper one.
                if let Some(first) = lower.first() {
                    alike(&Dir::open(&upper)?, &Dir::open(first)?)?;
                }
                Some((upper, work))
            }
        };
        self.overlays.push(StepOverlay { target, lower, upper });
        Ok(())
    }
}

/// Whether a path is a part of its tree, and not all of it: then it is worth looking at the files.
pub(super) fn is_part(source: &str) -> bool {
    super::state::clean("/", source) != "/"
}

fn old_kernel() -> Error {
    Error::unsupported("files cannot be mounted writable on this kernel").with_hint("Linux 6.7 or later is needed")
}

fn joined(folder: &Path, below: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    if below.is_empty() { folder.to_owned() } else { folder.join(std::ffi::OsStr::from_bytes(below)) }
}

/// Gives a folder another one's owner and mode.
fn alike(folder: &Dir, other: &Dir) -> io::Result<()> {
    let facts = node::facts_of(other)?;
    node::set_owner_of(folder, facts.uid, facts.gid)?;
    node::set_mode_of(folder, facts.mode)
}

/// The folder at `path` in each of the layers, highest first, down to the one that hides the rest.
fn stacked(layers: &[PathBuf], path: &[u8]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    'layers: for layer in layers {
        let mut dir = Dir::open(layer)?;
        let mut last = node::xattr(&dir, b"", OPAQUE)?.is_some();
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            match node::facts_at(&dir, part) {
                Ok(facts) if facts.kind == EntryKind::Dir => {}
                // A whiteout, or something that a higher layer replaced.
                Ok(_) => break 'layers,
                Err(error) if error.kind() == io::ErrorKind::NotFound && last => break 'layers,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue 'layers,
                Err(error) => return Err(error.into()),
            }
            dir = dir.child(part)?;
            last |= node::xattr(&dir, b"", OPAQUE)?.is_some();
        }
        found.push(joined(layer, path));
        if last {
            break;
        }
    }
    Ok(found)
}

/// Makes whiteouts in `out` for what is ignored of a folder; gives whether there are any.
fn hide(dir: &Dir, path: &[u8], ignore: &Ignore, out: &Dir, level: usize) -> Result<bool> {
    if level > walk::MOST_LEVELS {
        return Err(Error::unsupported("the build context is too deep"));
    }
    let mut hidden = false;
    for (name, kind) in dir.entries()? {
        let path = if path.is_empty() { name.clone() } else { [path, &name].join(&b'/') };
        let text = String::from_utf8_lossy(&path).into_owned();
        let excluded = ignore.excludes(&text);
        if excluded && (kind != EntryKind::Dir || ignore.excludes_all_below(&text)) {
            node::make_node(out, &name, EntryKind::CharDevice, 0, (0, 0))?;
            hidden = true;
        } else if kind == EntryKind::Dir {
            let child = dir.child(&name)?;
            out.make_dir(&name, 0o700)?;
            let below = out.child(&name)?;
            alike(&below, &child)?;
            if hide(&child, &path, ignore, &below, level + 1)? {
                hidden = true;
            } else {
                out.remove(&name)?;
            }
        }
    }
    Ok(hidden)
}
