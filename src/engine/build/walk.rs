//! What is in a folder, with digests of contents that are remembered between builds.
//!
//! A file whose inode, size and times are what they were has the content that it had: that is what `git status` relies
//! on, too. One that changed within the last two seconds is read again, since its next change might not show.
//!
//! Walks are on descriptors and follow no link; a path that a user names is resolved inside of the folder.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::ignore::Ignore;
use crate::base::{Context as _, Digest, Error, Result, Timestamp};
use crate::engine::pipe::{Check, Checked};
use crate::store::assemble::{Body, Piece};
use crate::sys::node::{self, Facts};
use crate::sys::path::{Dir, EntryKind};

/// How deep a tree may be; every level holds a descriptor.
pub(super) const MOST_LEVELS: usize = 400;
/// The most entries of one copy.
const MOST_ENTRIES: usize = 5_000_000;
/// The most links on the way to one path, as the kernel has it.
const MOST_LINKS: usize = 40;
/// A file that is younger is not remembered.
const SETTLED_S: u64 = 2;

/// An entry that was found.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its path below where the walk began; empty for that itself.
    pub(super) below: Vec<u8>,
    /// Its path in the root.
    pub(super) path: Vec<u8>,
    pub(super) facts: Facts,
    /// The target of a link.
    pub(super) link: Vec<u8>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The content of a file.
    pub(super) digest: Option<Digest>,
}

/// Contents that are known from earlier builds, by path.
#[derive(Debug, Default)]
pub(super) struct Memory {
    known: HashMap<Vec<u8>, (Stamp, Digest)>,
    file: Option<PathBuf>,
    changed: bool,
}

/// By what a file is known again: device, inode, size, time of content and of inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp(u64, u64, u64, i64, u32, i64, u32);

impl Stamp {
    fn of(facts: &Facts) -> Stamp {
        let (device, inode) = facts.identity;
        let (content, inode_time) = (facts.mtime, facts.ctime);
        Stamp(device, inode, facts.size_bytes, content.seconds, content.nanos, inode_time.seconds, inode_time.nanos)
    }
}

impl Memory {
    /// What the file holds; one that cannot be read is as good as none.
    pub(super) fn load(file: PathBuf) -> Memory {
        let mut known = HashMap::new();
        let text = std::fs::read(&file).unwrap_or_default();
        for line in text.split(|byte| *byte == 0) {
            // stamp, digest, path: the path is the only one that may hold anything.
            let mut parts = line.splitn(9, |byte| *byte == b' ');
            let mut number = || parts.next().and_then(|part| std::str::from_utf8(part).ok()?.parse::<i128>().ok());
            let numbers: Vec<i128> = (0..7).map_while(|_| number()).collect();
            let [device, inode, size, seconds, nanos, inode_seconds, inode_nanos] = numbers[..] else { continue };
            let digest = parts.next().and_then(|part| Digest::parse(std::str::from_utf8(part).ok()?).ok());
            let (Some(digest), Some(path)) = (digest, parts.next()) else { continue };
            let stamp = Stamp(
                device as u64,
                inode as u64,
                size as u64,
                seconds as i64,
                nanos as u32,
                inode_seconds as i64,
                inode_nanos as u32,
            );
            known.insert(path.to_vec(), (stamp, digest));
        }
        Memory { known, file: Some(file), changed: false }
    }

    /// Keeps what was learnt. That it cannot costs time alone.
    pub(super) fn save(&self) {
        let (Some(file), true) = (&self.file, self.changed) else { return };
        let mut text = Vec::new();
        for (path, (stamp, digest)) in &self.known {
            let Stamp(device, inode, size, seconds, nanos, inode_seconds, inode_nanos) = stamp;
            let head = format!("{device} {inode} {size} {seconds} {nanos} {inode_seconds} {inode_nanos} {digest} ");
            text.extend_from_slice(head.as_bytes());
            text.extend_from_slice(path);
            text.push(0);
        }
        let beside = file.with_extension(format!("{}", std::process::id()));
        // A memory that is lost is built up again.
        let _ = std::fs::create_dir_all(file.parent().unwrap_or(file));
        if std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, file)).is_err() {
            let _ = std::fs::remove_file(&beside);
        }
    }

    fn digest(&mut self, dir: &Dir, name: &[u8], path: &[u8], facts: &Facts, check: &Check<'_>) -> io::Result<Digest> {
        let stamp = Stamp::of(facts);
        if let Some((known, digest)) = self.known.get(path)
            && *known == stamp
        {
            return Ok(digest.clone());
        }
        // Before it is read: what changes meanwhile changed after this.
        let now = i64::try_from(Timestamp::now().as_secs()).unwrap_or(i64::MAX);
        let file = dir.open_file(name)?;
        // One more than it had shows that it grows.
        let stream = file.take(facts.size_bytes.saturating_add(1));
        let digest = Digest::of_reader(Checked { stream, check })?;
        let youngest = facts.mtime.seconds.max(facts.ctime.seconds);
        if self.file.is_some() && youngest.saturating_add(SETTLED_S as i64) < now {
            self.known.insert(path.to_vec(), (stamp, digest.clone()));
            self.changed = true;
        }
        Ok(digest)
    }
}

/// Everything at and below `start`, a path without links in `root`, sorted; what `ignore` leaves out (paths in the root)
/// and what `exclude` does is not there.
///
/// # Errors
/// `unsupported` for a tree that is too deep or too large; what reading and `check`, which is asked for each, give.
pub(super) fn list(
    root: &Dir,
    start: &[u8],
    ignore: &Ignore,
    exclude: &Ignore,
    memory: &mut Memory,
    check: &Check<'_>,
) -> Result<Vec<Item>> {
    let mut walk = Walk { ignore, exclude, memory, check, found: Vec::new() };
    let start = trimmed(start);
    let parent_path = start.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &start[..at]);
    let doing = || format!("reading {:?}", String::from_utf8_lossy(start));
    if start.is_empty() {
        let facts = node::facts_of(root)?;
        walk.push(root, b"", b"", b"", facts).context(doing)?;
        walk.folder(root, b"", b"", 0).context(doing)?;
    } else {
        let parent = open_dir(root, parent_path).context(doing)?;
        let name = start.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let facts = node::facts_at(&parent, name).context(doing)?;
        walk.push(&parent, name, start, b"", facts).context(doing)?;
        if facts.kind == EntryKind::Dir {
            let dir = parent.child(name).context(doing)?;
            walk.folder(&dir, start, b"", 0).context(doing)?;
        }
    }
    Ok(walk.found)
}

fn open_dir(root: &Dir, path: &[u8]) -> io::Result<Dir> {
    if path.is_empty() { root.try_clone() } else { root.open_dir_in(path) }
}

/// A path without slashes at its ends.
pub(super) fn trimmed(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(start, |at| at + 1);
    &path[start..end]
}

struct Walk<'a> {
    ignore: &'a Ignore,
    exclude: &'a Ignore,
    memory: &'a mut Memory,
    check: &'a Check<'a>,
    found: Vec<Item>,
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Dir, path: &[u8], below: &[u8], level: usize) -> Result<()> {
        if level > MOST_LEVELS {
            return Err(Error::unsupported(format!("the tree is deeper than {MOST_LEVELS} folders")));
        }
        let mut names = dir.entries()?;
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, _) in names {
            let (path, below) = (joined(path, &name), joined(below, &name));
            let facts = match node::facts_at(dir, &name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                facts => facts?,
            };
            let (in_root, in_source) = (String::from_utf8_lossy(&path), String::from_utf8_lossy(&below));
            let out = self.ignore.excludes(&in_root) || self.exclude.excludes(&in_source);
            let is_dir = facts.kind == EntryKind::Dir;
            if out {
                let all_out = self.ignore.excludes_all_below(&in_root) || self.exclude.excludes_all_below(&in_source);
                if !is_dir || all_out {
                    continue;
                }
                // Something below may have been taken back: then the folder is there for it.
                let before = self.found.len();
                self.push(dir, &name, &path, &below, facts)?;
                self.folder(&dir.child(&name)?, &path, &below, level + 1)?;
                if self.found.len() == before + 1 {
                    self.found.pop();
                }
                continue;
            }
            self.push(dir, &name, &path, &below, facts)?;
            if is_dir {
                self.folder(&dir.child(&name)?, &path, &below, level + 1)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, dir: &Dir, name: &[u8], path: &[u8], below: &[u8], facts: Facts) -> Result<()> {
        (self.check)()?;
        if facts.kind == EntryKind::Socket {
            return Ok(());
        }
        if self.found.len() >= MOST_ENTRIES {
            return Err(Error::unsupported(format!("more than {MOST_ENTRIES} files are to be copied")));
        }
        let digest = match facts.kind {
            EntryKind::File => Some(
                self.memory
                    .digest(dir, name, path, &facts, self.check)
                    .context(|| format!("reading {:?}", String::from_utf8_lossy(path)))?,
            ),
            _ => None,
        };
        let link = if facts.kind == EntryKind::Symlink { node::read_symlink(dir, name)? } else { Vec::new() };
        let xattrs = if facts.kind == EntryKind::Symlink { Vec::new() } else { node::xattrs(dir, name)? };
        self.found.push(Item { below: below.to_vec(), path: path.to_vec(), facts, link, xattrs, digest });
        Ok(())
    }
}

fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, name].join(&b'/') }
}

/// A path in quotes: other paths are written in other ways, also those that are no text.
pub(super) fn quoted_path(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("b\"{}\"", path.escape_ascii()),
    }
}

/// What of an entry a command can see.
pub(super) fn facts_text(item: &Item) -> String {
    let facts = &item.facts;
    let (mode, uid, gid) = (facts.mode, facts.uid, facts.gid);
    format!("{:?} {mode:o} {uid} {gid} {:?} {:?} {:?}", facts.kind, item.link, item.xattrs, item.digest)
}

/// What an entry of the root with this number is, when no name of it came before.
pub(super) fn body(item: &Item, root: usize) -> Body {
    let facts = &item.facts;
    match facts.kind {
        EntryKind::Dir => Body::Dir,
        EntryKind::Symlink => Body::Symlink(item.link.clone()),
        EntryKind::Fifo | EntryKind::Socket => Body::Fifo,
        EntryKind::CharDevice => Body::Device(false, facts.device),
        EntryKind::BlockDevice => Body::Device(true, facts.device),
        EntryKind::File => Body::File {
            root,
            path: item.path.clone(),
            size_bytes: facts.size_bytes,
            digest: item.digest.clone().unwrap_or_else(|| Digest::of(b"")),
        },
    }
}

/// An entry below a folder, unchanged.
pub(super) fn piece_as_is(item: &Item, folder: &[u8]) -> Piece {
    let facts = &item.facts;
    let path = if item.below.is_empty() { folder.to_vec() } else { [folder, &item.below].join(&b'/') };
    let (mode, uid, gid, mtime) = (facts.mode, facts.uid, facts.gid, facts.mtime);
    Piece { path, body: body(item, 0), mode, uid, gid, mtime, xattrs: item.xattrs.clone() }
}

/// A folder of the root by itself: a path without links.
pub(super) fn folder_alone(root: &Dir, path: &[u8], below: &[u8]) -> Result<Item> {
    let dir = open_dir(root, path)?;
    let (facts, xattrs) = (node::facts_of(&dir)?, node::xattrs(&dir, b"")?);
    Ok(Item { below: below.to_vec(), path: path.to_vec(), facts, link: Vec::new(), xattrs, digest: None })
}

/// Where a path leads, without links on the way, and the facts of what is there.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Without a slash in front; empty for the root.
    pub(super) path: Vec<u8>,
    /// None when nothing is there.
    pub(super) facts: Option<Facts>,
}

/// Follows a path inside of `root`, as chroot(2) would. Of what does not exist the names are kept.
///
/// # Errors
/// `invalid_argument` for too many links; what reading gives.
pub(super) fn resolve(root: &Dir, path: &[u8], follow_last: bool) -> Result<Place> {
    let mut rest: Vec<Vec<u8>> = parts(path).rev().map(<[u8]>::to_vec).collect();
    let mut so_far: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    let mut facts = Some(node::facts_of(root)?);
    while let Some(part) = rest.pop() {
        if part == b".." {
            so_far.pop();
            let here = so_far.join(&b'/');
            facts = facts_in(root, &here)?;
            continue;
        }
        so_far.push(part);
        let here = so_far.join(&b'/');
        facts = if facts.is_some() { facts_in(root, &here)? } else { None };
        let is_link = facts.is_some_and(|facts| facts.kind == EntryKind::Symlink);
        if is_link && (follow_last || !rest.is_empty()) {
            links += 1;
            if links > MOST_LINKS {
                let text = String::from_utf8_lossy(path);
                return Err(Error::invalid(format!("there are too many links on the way to {text:?}")));
            }
            let name = so_far.pop().unwrap_or_default();
            let dir = open_dir(root, &so_far.join(&b'/'))?;
            let target = node::read_symlink(&dir, &name)?;
            if target.starts_with(b"/") {
                so_far.clear();
            }
            rest.extend(parts(&target).rev().map(<[u8]>::to_vec));
            facts = facts_in(root, &so_far.join(&b'/'))?;
        }
    }
    Ok(Place { path: so_far.join(&b'/'), facts })
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// The facts of a path without links; none when it is not there.
fn facts_in(root: &Dir, path: &[u8]) -> Result<Option<Facts>> {
    if path.is_empty() {
        return Ok(Some(node::facts_of(root)?));
    }
    let cut = path.iter().rposition(|byte| *byte == b'/');
    let (folder, name) = cut.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
    let gone = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let found = open_dir(root, folder).and_then(|dir| node::facts_at(&dir, name));
    match found {
        Err(error) if gone(&error) => Ok(None),
        found => Ok(Some(found.context(|| format!("looking at {:?}", String::from_utf8_lossy(path)))?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_never_leaves_its_root() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("root/usr/lib")).unwrap();
        std::fs::write(folder.path().join("secret"), "").unwrap();
        let at = |name: &str| folder.path().join("root").join(name);
        symlink("/usr/lib", at("lib")).unwrap();
        symlink("../../../../secret", at("escape")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let root = Dir::open(&at("")).unwrap();
        let shown = |path: &str| {
            let place = resolve(&root, path.as_bytes(), true).unwrap();
            (String::from_utf8(place.path).unwrap(), place.facts.is_some())
        };
        assert_eq!(shown("/lib/x"), ("usr/lib/x".to_owned(), false));
        assert_eq!(shown("lib/../lib"), ("usr/lib".to_owned(), true));
        assert_eq!(shown("escape"), ("secret".to_owned(), false));
        assert_eq!(shown("../../secret"), ("secret".to_owned(), false));
        assert!(resolve(&root, b"loop/x", true).is_err());
    }

    #[test]
    fn what_is_remembered_is_not_read_again_and_a_change_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("a\n b"), "one").unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
        let root = Dir::open(&tree).unwrap();
        let memory_file = folder.path().join("memory");
        let none = Ignore::default();
        let mut memory = Memory::load(memory_file.clone());
        let first = list(&root, b"", &none, &none, &mut memory, &|| Ok(())).unwrap();
        // Too young to be remembered.
        assert!(!memory.changed);
        std::fs::File::open(tree.join("a\n b")).unwrap().set_modified(old).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(3100));
        let mut memory = Memory::load(memory_file.clone());
        list(&root, b"", &none, &none, &mut memory, &|| Ok(())).unwrap();
        assert!(memory.changed);
        memory.save();
        let mut memory = Memory::load(memory_file);
        assert_eq!(memory.known.len(), 1);
        let again = list(&root, b"", &none, &none, &mut memory, &|| Ok(())).unwrap();
        assert_eq!(first[1].digest, again[1].digest);
        std::fs::write(tree.join("a\n b"), "two").unwrap();
        std::fs::File::open(tree.join("a\n b")).unwrap().set_modified(old).unwrap();
        let changed = list(&root, b"", &none, &none, &mut memory, &|| Ok(())).unwrap();
        assert_ne!(first[1].digest, changed[1].digest);
    }
}
