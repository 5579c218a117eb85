//! Copying: what goes where, as a list; the list is the key's input and becomes the layer.
//!
//! ```text
//! sources ─▶ paths that match ─▶ entries with digests ─▶ places in the target ─▶ pieces of a layer
//! ```
//!
//! Rules are Docker's (Dockerfile reference, `COPY`): of a folder its content is copied; several sources, or a slash at its
//! end, make the target a folder; a link that is named itself is followed, others are copied as links. Links on the way
//! are followed inside their own tree alone, so that nothing outside of it is ever read or written (CVE-2024-23651 and
//! its kin).
//!
//! Files keep their times, which are no part of a key: programs such as make tell by them what changed. The user's epoch holds
//! them to it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Read;

use super::chmod::Mode;
use super::fetch::Fetched;
use super::pattern::{Matched, Matches, Owner, dangling, matches, missing};
use super::squash::is_whiteout;
use super::state::{State, clean};
use super::walk::{self, Item, Memory, Place, trimmed};
use crate::base::ignore::Ignore;
use crate::base::{Context as _, Digest, Error, Result, Timestamp};
use crate::engine::pipe::Check;
use crate::model::build::{Copy, Inline, Origin, Source};
use crate::store::assemble::{Body, Piece};
use crate::store::layer::is_tar;
use crate::store::scratch::Scratch;
use crate::sys::node::{self, Facts, Time};
use crate::sys::path::{Dir, EntryKind};

/// A tree that is copied from.
pub(super) struct Tree<'a> {
    pub(super) root: &'a Dir,
    pub(super) ignore: &'a Ignore,
    pub(super) memory: &'a mut Memory,
    /// Says whether to go on.
    pub(super) check: &'a Check<'a>,
    /// How messages call it.
    pub(super) name: String,
}

/// What is done with a tree.
pub(super) type Work<'a> = dyn FnMut(Tree<'_>) -> Result<()> + 'a;
/// Gives the tree of an origin to what is done with it.
pub(super) type Trees<'a> = dyn Fn(&Origin, &mut Work<'_>) -> Result<()> + 'a;

/// Where everything comes from.
pub(super) struct Sources<'a> {
    pub(super) tree: &'a Trees<'a>,
    pub(super) fetch: &'a dyn Fn(&Source) -> Result<Fetched>,
    pub(super) check: &'a Check<'a>,
}

/// The layer that a copy is.
#[derive(Debug, Default)]
pub(super) struct Planned {
    pub(super) pieces: Vec<Piece>,
    /// Where the files' contents are, by the number in the pieces.
    pub(super) roots: Vec<Dir>,
    /// Keeps what was fetched.
    _held: Vec<Scratch>,
}

/// What a copy needs to know of where it copies to.
pub(super) struct Target<'a> {
    pub(super) state: &'a State,
    /// The file system so far; none for nothing.
    pub(super) view: Option<&'a Dir>,
    /// Unpacks an archive.
    pub(super) unpack: &'a dyn Fn(&mut dyn Read) -> Result<Dir>,
}

/// Makes the list.
///
/// # Errors
/// `not_found` for a source that is not there, with what is alike; `invalid_argument` for a mode, an owner, a pattern.
pub(super) fn plan(copy: &Copy, target: &Target<'_>, from: &Sources<'_>) -> Result<Planned> {
    let exclude = Ignore::new(copy.exclude.iter().map(String::as_str))?;
    let (uid, gid) = owner(copy.chown.as_deref(), target.view)?;
    let mode = copy.chmod.as_deref().map(Mode::parse).transpose()?;
    let mut found = Vec::new();
    let mut roots = Vec::new();
    let mut held = Vec::new();
    for source in &copy.sources {
        match source {
            Source::Path { from: origin, pattern, optional, unpack } => (from.tree)(origin, &mut |mut tree| {
                let Matches { found: matched, literal, lost } = matches(&mut tree, pattern, &exclude, copy.parents)?;
                if let Some(lost) = lost.filter(|_| !optional) {
                    return Err(dangling(&tree, &lost));
                }
                // As with BuildKit a pattern may mean nothing: `yarn.lock*` is how one writes a file that may be missing.
                if matched.is_empty() && literal && !optional {
                    return Err(missing(&tree, pattern, &exclude));
                }
                let is_ours = matches!(origin, Origin::Context(_));
                let own = roots.len();
                roots.push(tree.root.try_clone()?);
                for mut one in matched {
                    let archive = if *unpack { unpacked(&tree, &one, target)? } else { None };
                    if let Some(dir) = archive {
                        let none = Ignore::default();
                        let items = walk::list(&dir, b"", &none, &exclude, &mut Memory::default(), from.check)?;
                        found.push(Found::Tree(Matched::archive(roots.len(), items)?));
                        roots.push(dir);
                        continue;
                    }
                    one.root = own;
                    if is_ours {
                        // It belongs to root, and what comes from an image keeps its owner.
                        one.owner = Owner::Given;
                    }
                    found.push(Found::Tree(one));
                }
                Ok(())
            })?,
            Source::Inline(inline) => found.push(Found::Inline(inline)),
            Source::Url { .. } | Source::Git { .. } => {
                let fetched = (from.fetch)(source)?;
                found.push(Found::Tree(remote(copy, &fetched, &exclude, target, from.check, &mut roots)?));
                held.push(fetched.scratch);
            }
        }
    }
    let named_folder = matches!(copy.target.rsplit('/').next(), None | Some("" | "." | ".."));
    let into_folder = named_folder || found.len() > 1 || copy.parents;
    let absolute = clean(&target.state.config.working_dir, &copy.target);
    let view = if copy.link { None } else { target.view };
    let mut layer = Layer { chown: copy.chown.is_some(), mode, ..Layer::new(view, (uid, gid), target.state.epoch) };
    let at = layer.place(trimmed(absolute.as_bytes()))?;
    let is_folder = at.facts.is_some_and(|facts| facts.kind == EntryKind::Dir);
    for one in &found {
        match one {
            Found::Inline(inline) => layer.inline(inline, &at.path, into_folder || is_folder)?,
            Found::Tree(one) => layer.tree(one, &at.path, into_folder || is_folder, copy.parents)?,
        }
    }
    Ok(Planned { pieces: layer.finish(), roots, _held: held })
}

/// The folder that `WORKDIR` makes, for the user so far; nothing when it is there.
pub(super) fn plan_folder(path: &str, state: &State, view: Option<&Dir>) -> Result<Planned> {
    let user = Some(state.config.user.as_str()).filter(|user| !user.is_empty());
    let mut layer = Layer { chown: true, ..Layer::new(view, owner(user, view)?, state.epoch) };
    let at = layer.place(trimmed(path.as_bytes()))?;
    match at.facts {
        Some(facts) if facts.kind == EntryKind::Dir => return Ok(Planned::default()),
        Some(_) => return Err(Error::invalid(format!("the working directory {path:?} is not a folder"))),
        None => layer.folder(&at.path)?,
    }
    Ok(Planned { pieces: layer.finish(), ..Planned::default() })
}

/// What a list of pieces is: everything that a layer shows but times.
pub(super) fn digest_of(piece: &Piece) -> Digest {
    let body = match &piece.body {
        Body::File { digest, .. } => format!("file {digest}"),
        Body::Inline(data) => format!("file {}", Digest::of(data)),
        other => format!("{other:?}"),
    };
    let text = format!("{body} {:o} {} {} {:?}", piece.mode, piece.uid, piece.gid, piece.xattrs);
    Digest::of(text.as_bytes())
}

enum Found<'a> {
    Inline(&'a Inline),
    Tree(Matched),
}

/// What was fetched, as a source that is there.
fn remote(
    copy: &Copy,
    fetched: &Fetched,
    exclude: &Ignore,
    target: &Target<'_>,
    check: &Check<'_>,
    roots: &mut Vec<Dir>,
) -> Result<Matched> {
    let none = Ignore::default();
    let mut memory = Memory::default();
    if fetched.unpack {
        let mut file = fetched.dir.open_file_in(&fetched.path)?;
        let dir = (target.unpack)(&mut file)?;
        let items = walk::list(&dir, b"", &none, exclude, &mut memory, check)?;
        roots.push(dir);
        return Matched::archive(roots.len() - 1, items);
    }
    let mut items = walk::list(&fetched.dir, &fetched.path, &none, exclude, &mut memory, check)?;
    for item in &mut items {
        item.facts.mtime = fetched.modified.unwrap_or(time_of(target.state.epoch));
        if fetched.commit && item.facts.kind != EntryKind::Symlink {
            // All that git knows of a mode.
            let executable = item.facts.kind == EntryKind::Dir || item.facts.mode & 0o100 != 0;
            item.facts.mode = if executable { 0o755 } else { 0o644 };
        }
    }
    let named = match (&fetched.name, fetched.commit) {
        (_, true) => Vec::new(),
        (Some(name), false) => name.clone().into_bytes(),
        (None, false) if copy.target.ends_with('/') => {
            return Err(Error::invalid("the address names no file").with_hint("write the file's name in the target"));
        }
        (None, false) => Vec::new(),
    };
    roots.push(fetched.dir.try_clone()?);
    Ok(Matched { root: roots.len() - 1, named, above: Vec::new(), items, owner: Owner::Given })
}

fn time_of(epoch: Timestamp) -> Time {
    Time { seconds: i64::try_from(epoch.as_secs()).unwrap_or(i64::MAX), nanos: 0 }
}

/// The content of a local archive; none when it is no archive.
fn unpacked(tree: &Tree<'_>, one: &Matched, target: &Target<'_>) -> Result<Option<Dir>> {
    let Some(item) = one.items.first().filter(|item| item.facts.kind == EntryKind::File) else { return Ok(None) };
    // What is compressed and no archive is a file as any other.
    if !is_tar(&mut tree.root.open_file_in(&item.path)?) {
        return Ok(None);
    }
    let mut file = tree.root.open_file_in(&item.path)?;
    let unpacked = (target.unpack)(&mut file);
    unpacked.map(Some).context(|| format!("unpacking {:?}", String::from_utf8_lossy(&one.named)))
}

/// `user[:group]` as numbers: names are looked up in the tree so far. A group that is not given is the user's number.
fn owner(text: Option<&str>, view: Option<&Dir>) -> Result<(u32, u32)> {
    let Some(text) = text else { return Ok((0, 0)) };
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    // As in BuildKit, a group alone leaves the files to the superuser.
    let uid = if user.is_empty() && group.is_some() { (0, None) } else { id_of(user, "etc/passwd", "user", view)? };
    let gid = match group.filter(|group| !group.is_empty()) {
        Some(group) => id_of(group, "etc/group", "group", view)?.0,
        None => uid.1.unwrap_or(uid.0),
    };
    Ok((uid.0, gid))
}

/// The number of a name and, in `passwd`, its group.
fn id_of(name: &str, file: &str, what: &str, view: Option<&Dir>) -> Result<(u32, Option<u32>)> {
    // An image without these files has the superuser all the same.
    if let Ok(number) = if name == "root" { Ok(0) } else { name.parse::<u32>() } {
        return Ok((number, None));
    }
    let mut text = String::new();
    if let Some(file) = view.and_then(|view| view.open_file_in(file.as_bytes()).ok()) {
        // Somebody else's file: no more than anybody needs.
        let _ = file.take(16 << 20).read_to_string(&mut text);
    }
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name)
        .and_then(|fields| {
            let number = fields.get(2)?.parse().ok()?;
            Some((number, fields.get(3).and_then(|group| group.parse().ok())))
        })
        .ok_or_else(|| {
            Error::not_found(format!("there is no {what} {name:?} in the image so far")).with_hint("give its number")
        })
}

/// The entries so far, by path: a later source replaces what an earlier one put there.
struct Layer<'a> {
    view: Option<&'a Dir>,
    places: HashMap<Vec<u8>, Place>,
    pieces: BTreeMap<Vec<u8>, Piece>,
    order: Vec<Vec<u8>>,
    /// The first name of files that have several: root and inode.
    seen: HashMap<(usize, (u64, u64)), Vec<u8>>,
    /// What further names of files are, should their first name become something else.
    further: HashMap<Vec<u8>, Body>,
    /// Which file each path is, as in `seen`.
    files: HashMap<Vec<u8>, (usize, (u64, u64))>,
    /// What folders of the file system so far have for folders.
    folders: HashMap<Vec<u8>, HashSet<Vec<u8>>>,
    owner: (u32, u32),
    chown: bool,
    mode: Option<Mode>,
    epoch: Timestamp,
}

impl<'a> Layer<'a> {
    fn new(view: Option<&'a Dir>, owner: (u32, u32), epoch: Timestamp) -> Layer<'a> {
        Layer {
            view,
            places: HashMap::new(),
            pieces: BTreeMap::new(),
            order: Vec::new(),
            seen: HashMap::new(),
            further: HashMap::new(),
            files: HashMap::new(),
            folders: HashMap::new(),
            owner,
            chown: false,
            mode: None,
            epoch,
        }
    }

    /// Where a path is in the file system so far.
    fn place(&mut self, path: &[u8]) -> Result<Place> {
        if let Some(place) = self.places.get(path) {
            return Ok(place.clone());
        }
        let place = match self.view {
            Some(view) => walk::resolve(view, path, true)?,
            None => Place { path: path.to_vec(), facts: None },
        };
        self.places.insert(path.to_vec(), place.clone());
        Ok(place)
    }

    fn inline(&mut self, inline: &Inline, target: &[u8], into_folder: bool) -> Result<()> {
        let path = if into_folder { join(target, inline.name.as_bytes()) } else { target.to_vec() };
        self.parents(&path)?;
        let mode = inline.mode.unwrap_or(0o644);
        let piece = Piece {
            path,
            body: Body::Inline(inline.data.clone()),
            mode: self.mode.as_ref().map_or(mode, |change| change.apply(mode, false)),
            uid: self.owner.0,
            gid: self.owner.1,
            mtime: self.now(),
            xattrs: Vec::new(),
        };
        self.put(piece);
        Ok(())
    }

    fn tree(&mut self, one: &Matched, target: &[u8], into_folder: bool, parents: bool) -> Result<()> {
        let first = &one.items[0];
        let name = one.named.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let is_dir = first.facts.kind == EntryKind::Dir;
        let base = match (parents, is_dir) {
            (true, _) => join(target, &one.named),
            (false, true) => target.to_vec(),
            (false, false) if into_folder => join(target, name),
            (false, false) => target.to_vec(),
        };
        if parents {
            self.folder(target)?;
            for folder in &one.above {
                self.folder_like(one, folder, &join(target, &folder.below))?;
            }
        }
        self.parents(&base)?;
        // In a layer it would hide what is below it, and there is nothing to be seen of it where it comes from.
        for item in one.items.iter().filter(|item| !is_whiteout(&item.facts)) {
            let wanted = join(&base, &item.below);
            // The folder that things are in may be a link in the file system so far.
            let (folder, last) = split(&wanted);
            let folder = self.place(folder)?.path;
            let mut path = join(&folder, last);
            if item.facts.kind == EntryKind::Dir {
                // Of a folder its content is copied: the target is as it is, or as any new folder.
                if item.below.is_empty() && !parents {
                    self.folder(&path)?;
                    continue;
                }
                let there = self.place(&path)?;
                if there.facts.is_some_and(|facts| facts.kind == EntryKind::Dir) {
                    path = there.path;
                }
                self.check_folder(&path, there.facts)?;
            }
            if path.is_empty() {
                continue;
            }
            // Who packed the archive knows what is in it.
            if item.facts.kind != EntryKind::Dir && one.owner != Owner::Archive && self.has_folder(&folder, last)? {
                let shown = walk::quoted_path(&path);
                return Err(Error::invalid(format!("{shown} is a folder, which a file would replace"))
                    .with_hint("remove it in a step before, if that is meant"));
            }
            let piece = self.piece(one, item, path);
            if !matches!(piece.body, Body::Dir) && self.pieces.get(&piece.path).is_some_and(|old| old.body == Body::Dir)
            {
                return Err(Error::invalid(format!(
                    "{} is a folder of one source and none of another",
                    walk::quoted_path(&piece.path)
                )));
            }
            self.put(piece);
        }
        Ok(())
    }

    fn piece(&mut self, one: &Matched, item: &Item, path: Vec<u8>) -> Piece {
        let root = one.root;
        let facts = &item.facts;
        let is_dir = facts.kind == EntryKind::Dir;
        if facts.kind == EntryKind::File && facts.links > 1 {
            self.files.insert(path.clone(), (root, facts.identity));
        } else {
            self.files.remove(&path);
        }
        let first = match facts.kind {
            EntryKind::File => self.seen.get(&(root, facts.identity)).filter(|first| **first != path).cloned(),
            _ => None,
        };
        let body = match first {
            Some(first) if facts.links > 1 => {
                self.further.insert(path.clone(), walk::body(item, root));
                Body::HardLink(first)
            }
            _ => {
                if facts.kind == EntryKind::File {
                    self.seen.insert((root, facts.identity), path.clone());
                }
                walk::body(item, root)
            }
        };
        let (uid, gid) = self.owner_of(one, facts);
        let is_link = facts.kind == EntryKind::Symlink;
        let mode = match &self.mode {
            Some(change) if !is_link && one.owner != Owner::Archive => change.apply(facts.mode, is_dir),
            _ => facts.mode,
        };
        Piece { path, body, mode, uid, gid, mtime: facts.mtime, xattrs: item.xattrs.clone() }
    }

    /// Whether there is a folder of this name, and no link to one, in a folder of the file system so far.
    fn has_folder(&mut self, folder: &[u8], name: &[u8]) -> Result<bool> {
        let Some(view) = self.view else { return Ok(false) };
        if !self.folders.contains_key(folder) {
            let is_there = self.place(folder)?.facts.is_some_and(|facts| facts.kind == EntryKind::Dir);
            let entries = match (is_there, folder.is_empty()) {
                (false, _) => Vec::new(),
                (true, true) => view.entries()?,
                (true, false) => view.open_dir_in(folder)?.entries()?,
            };
            let folders = entries.into_iter().filter(|(_, kind)| *kind == EntryKind::Dir).map(|(name, _)| name);
            self.folders.insert(folder.to_vec(), folders.collect());
        }
        Ok(self.folders[folder].contains(name))
    }

    fn owner_of(&self, one: &Matched, facts: &Facts) -> (u32, u32) {
        let keeps = match one.owner {
            Owner::Archive => true,
            Owner::Kept => !self.chown,
            Owner::Given => false,
        };
        if keeps { (facts.uid, facts.gid) } else { self.owner }
    }

    /// A folder as it is, or a new one with the mode, the owner and the attributes that it has where it comes from.
    fn folder_like(&mut self, one: &Matched, item: &Item, path: &[u8]) -> Result<()> {
        let there = self.place(path)?;
        if there.facts.is_some() || self.pieces.contains_key(&there.path) {
            return self.folder(path);
        }
        self.parents(&there.path)?;
        let (uid, gid) = self.owner_of(one, &item.facts);
        let (mode, mtime) = (item.facts.mode, item.facts.mtime);
        self.put(Piece { path: there.path, body: Body::Dir, mode, uid, gid, mtime, xattrs: item.xattrs.clone() });
        Ok(())
    }

    /// A folder never takes the place of something else, which would be lost without a word.
    fn check_folder(&self, path: &[u8], there: Option<Facts>) -> Result<()> {
        let is_other = match self.pieces.get(path) {
            Some(piece) => piece.body != Body::Dir,
            None => there.is_some_and(|facts| facts.kind != EntryKind::Dir),
        };
        match is_other {
            true => Err(Error::invalid(format!("{} is there, and is no folder", walk::quoted_path(path)))),
            false => Ok(()),
        }
    }

    /// The folders above a path, as they are or new.
    fn parents(&mut self, path: &[u8]) -> Result<()> {
        let cuts: Vec<usize> = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).collect();
        for cut in cuts {
            self.folder(&path[..cut])?;
        }
        Ok(())
    }

    /// A folder as it is, or a new one, with those above it.
    fn folder(&mut self, path: &[u8]) -> Result<()> {
        let there = self.place(path)?;
        // Through links, which stay.
        let path = there.path.as_slice();
        self.check_folder(path, there.facts)?;
        if path.is_empty() || self.pieces.contains_key(path) {
            return Ok(());
        }
        self.parents(path)?;
        let owner = if self.chown { self.owner } else { (0, 0) };
        let piece = match (there.facts, self.view) {
            (Some(facts), Some(view)) if facts.kind == EntryKind::Dir => Piece {
                path: path.to_vec(),
                body: Body::Dir,
                mode: facts.mode,
                uid: facts.uid,
                gid: facts.gid,
                mtime: facts.mtime,
                xattrs: node::xattrs(&view.open_dir_in(path)?, b"")?,
            },
            _ => Piece {
                path: path.to_vec(),
                body: Body::Dir,
                mode: 0o755,
                uid: owner.0,
                gid: owner.1,
                mtime: self.now(),
                xattrs: Vec::new(),
            },
        };
        self.put(piece);
        Ok(())
    }

    fn put(&mut self, piece: Piece) {
        if self.pieces.insert(piece.path.clone(), piece.clone()).is_none() {
            self.order.push(piece.path);
        }
    }

    fn now(&self) -> Time {
        time_of(self.epoch)
    }

    /// In an order in which a folder is before what is in it, and a file before its further names.
    fn finish(mut self) -> Vec<Piece> {
        let mut done = BTreeSet::new();
        let mut pieces = Vec::with_capacity(self.order.len());
        self.order.sort();
        // A later source may have replaced the first name of a file: its further names are files of their own then.
        for (path, body) in std::mem::take(&mut self.further) {
            let Some(Body::HardLink(first)) = self.pieces.get(&path).map(|piece| piece.body.clone()) else { continue };
            let is_file = self.pieces.get(&first).is_some_and(|piece| matches!(piece.body, Body::File { .. }));
            if (!is_file || self.files.get(&first) != self.files.get(&path))
                && let Some(piece) = self.pieces.get_mut(&path)
            {
                piece.body = body;
            }
        }
        let (links, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.order)
            .into_iter()
            .partition(|path| matches!(self.pieces[path].body, Body::HardLink(_)));
        for path in rest.into_iter().chain(links) {
            if done.insert(path.clone()) {
                pieces.extend(self.pieces.remove(&path));
            }
        }
        pieces
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match (folder, name) {
        (b"", name) => name.to_vec(),
        (folder, b"") => folder.to_vec(),
        (folder, name) => [folder, name].join(&b'/'),
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.iter().rposition(|byte| *byte == b'/').map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]))
}
