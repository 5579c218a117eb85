//! Several layers as one: what is seen of them together, with what they take away from below.
//!
//! Layers are folders in overlayfs's own form (kernel documentation, filesystems/overlayfs.rst): a whiteout is a character
//! device 0/0, an opaque folder has an attribute. The highest layer that has a name says what it is; folders are merged down
//! to the first that is opaque, or that covers something else. Such a one is opaque in the result, since what it covered may
//! have been in the layers below as well.

use std::collections::{BTreeSet, HashMap};
use std::io;

use super::stage::placed;
use super::state::State;
use super::turn::Outcome;
use super::walk::MOST_LEVELS;
use super::{At, Solver, key};
use crate::base::{Digest, Error, Result};
use crate::model::build::{Action, Step};
use crate::store::assemble::{Body, Piece};
use crate::sys::node::{self, Facts};
use crate::sys::path::{Dir, EntryKind};

/// The attribute of a folder that hides what is below it.
const OPAQUE: &str = "trusted.overlay.opaque";

impl Solver<'_> {
    /// Steps that make one layer together: each is done, and kept, as any other; then their layers become one.
    pub(super) fn group(&self, at: At<'_>, steps: &[Step], state: &mut State, cached: bool) -> Result<Outcome> {
        let mut after = state.clone();
        let (mut all_cached, mut changed, mut key) = (cached, false, None);
        let mut why = String::new();
        for step in steps {
            self.check()?;
            let outcome = self.act(At { step, ..at }, &mut after, all_cached);
            let outcome = outcome.map_err(|error| match step.action {
                Action::Layer(_) => error,
                _ => placed(error, step),
            })?;
            self.log.ended((at.stage, at.index), true);
            if !outcome.cached && why.is_empty() {
                why = format!("{}: {}", step.text, outcome.why);
            }
            all_cached &= outcome.cached;
            changed |= outcome.changed;
            key = outcome.key.or(key);
        }
        let own = after.layers.split_off(state.layers.len());
        if own.len() < 2 {
            after.layers.extend(own);
            *state = after;
            return Ok(Outcome { cached: all_cached, changed, key, why });
        }
        let mut inputs = self.inputs("layers as one", state);
        own.iter().for_each(|layer| inputs.add("what a step of it came to", layer.chain_id.as_str()));
        inputs.add(key::EPOCH, state.epoch.as_secs().to_string());
        let outcome = self.keyed(at, &inputs, &mut after, |state| {
            let folders = own.iter().rev().map(|layer| Dir::open(&self.engine.store.layer_diff(&layer.chain_id)));
            let folders = folders.collect::<std::io::Result<Vec<Dir>>>()?;
            let pieces = squash(&folders)?;
            let parent = state.layers.last().map(|layer| layer.chain_id.clone());
            self.layer_of_pieces(&pieces, &folders, parent, Some(state.epoch)).map(Some)
        });
        let outcome = outcome.map_err(|error| placed(error, at.step))?;
        *state = after;
        let why = if why.is_empty() { outcome.why.clone() } else { why };
        Ok(Outcome { cached: all_cached && outcome.cached, why, ..outcome })
    }
}

/// The entries of the layers, highest first, as one list; the numbers of roots are theirs.
pub(super) fn squash(layers: &[Dir]) -> Result<Vec<Piece>> {
    let mut dirs = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        dirs.push((index, layer.try_clone()?));
    }
    let mut merge = Merge { pieces: Vec::new(), seen: HashMap::new() };
    merge.folder(&dirs, &mut Vec::new(), false)?;
    // A file before its further names, whatever the order of their paths.
    let (links, mut rest): (Vec<_>, Vec<_>) =
        merge.pieces.into_iter().partition(|piece| matches!(piece.body, Body::HardLink(_)));
    rest.extend(links);
    Ok(rest)
}

struct Merge {
    pieces: Vec<Piece>,
    /// The first name of files that have several: layer and inode.
    seen: HashMap<(usize, (u64, u64)), Vec<u8>>,
}

impl Merge {
    /// The folders that are one, highest first, with their paths in their layers.
    fn folder(&mut self, dirs: &[(usize, Dir)], path: &mut Vec<u8>, hides: bool) -> Result<()> {
        if path.iter().filter(|byte| **byte == b'/').count() > MOST_LEVELS {
            return Err(Error::unsupported(format!("the tree is deeper than {MOST_LEVELS} folders")));
        }
        let mut names = BTreeSet::new();
        for (_, dir) in dirs {
            names.extend(dir.entries()?.into_iter().map(|(name, _)| name));
        }
        for name in names {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.name(dirs, &name, path, hides)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn name(&mut self, dirs: &[(usize, Dir)], name: &[u8], path: &mut Vec<u8>, hides: bool) -> Result<()> {
        let mut found = dirs.iter().filter_map(|(index, dir)| match node::facts_at(dir, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            facts => Some(facts.map(|facts| (*index, dir, facts))),
        });
        let Some(first) = found.next() else { return Ok(()) };
        let (index, dir, facts) = first?;
        if is_whiteout(&facts) {
            if !hides {
                self.pieces.push(piece(path.clone(), Body::Whiteout, &facts, Vec::new()));
            }
            return Ok(());
        }
        if facts.kind != EntryKind::Dir {
            return self.leaf(index, dir, name, path, &facts);
        }
        let mut children = vec![(index, dir.child(name)?)];
        let mut covers = is_opaque(&children[0].1)?;
        while !covers {
            let Some(next) = found.next() else { break };
            let (index, dir, facts) = next?;
            if facts.kind != EntryKind::Dir {
                covers = true;
                break;
            }
            let child = dir.child(name)?;
            covers = is_opaque(&child)?;
            children.push((index, child));
        }
        let xattrs = node::xattrs(dir, name)?;
        self.pieces.push(piece(path.clone(), Body::Dir, &facts, xattrs));
        if covers && !hides {
            self.pieces.push(piece(path.clone(), Body::Opaque, &facts, Vec::new()));
        }
        self.folder(&children, path, hides || covers)
    }

    fn leaf(&mut self, root: usize, dir: &Dir, name: &[u8], path: &[u8], facts: &Facts) -> Result<()> {
        let body = match facts.kind {
            EntryKind::Symlink => Body::Symlink(node::read_symlink(dir, name)?),
            EntryKind::CharDevice => Body::Device(false, facts.device),
            EntryKind::BlockDevice => Body::Device(true, facts.device),
            EntryKind::File => match self.seen.get(&(root, facts.identity)) {
                Some(first) if facts.links > 1 => Body::HardLink(first.clone()),
                _ => {
                    self.seen.insert((root, facts.identity), path.to_vec());
                    let digest = Digest::of_reader(dir.open_file(name)?)?;
                    Body::File { root, path: path.to_vec(), size_bytes: facts.size_bytes, digest }
                }
            },
            _ => Body::Fifo,
        };
        let xattrs = if facts.kind == EntryKind::Symlink { Vec::new() } else { node::xattrs(dir, name)? };
        self.pieces.push(piece(path.to_vec(), body, facts, xattrs));
        Ok(())
    }
}

pub(super) fn is_whiteout(facts: &Facts) -> bool {
    facts.kind == EntryKind::CharDevice && facts.device == (0, 0)
}

fn is_opaque(dir: &Dir) -> io::Result<bool> {
    Ok(node::xattr(dir, b"", OPAQUE)?.is_some())
}

fn piece(path: Vec<u8>, body: Body, facts: &Facts, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Piece {
    let (mode, uid, gid, mtime) = (facts.mode, facts.uid, facts.gid, facts.mtime);
    Piece { path, body, mode, uid, gid, mtime, xattrs }
}
