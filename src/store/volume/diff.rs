//! The difference of two trees: type, content, mode, owner, time, attributes, link target, device.
//!
//! Contents are compared as streams, nothing is kept in memory but names. Which names share an inode is not compared:
//! the content is the same. Nor is the time of the two top folders, which say when the trees were made.

use std::fs::File;
use std::io::{self, Read};

use super::sorted;
use crate::model::volume::{Difference, DifferenceKind};
use crate::sys::node::{self, Facts};
use crate::sys::path::{Dir, EntryKind};

const BUFFER_BYTES: usize = 1 << 17;
const MAX_DEPTH: usize = 256;

/// What would have to change in `from` to become `to`, by path.
pub(super) fn diff(from: &Dir, to: &Dir) -> io::Result<Vec<Difference>> {
    let mut found = Vec::new();
    if !same_facts(&node::facts_of(from)?, &node::facts_of(to)?, false) || attributes_differ(from, to, b"")? {
        found.push(Difference { path: ".".to_owned(), kind: DifferenceKind::Changed });
    }
    folders(from, to, "", &mut found, 0)?;
    Ok(found)
}

fn folders(from: &Dir, to: &Dir, prefix: &str, found: &mut Vec<Difference>, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("folders lie more than {MAX_DEPTH} deep")));
    }
    let (ours, theirs) = (sorted(from)?, sorted(to)?);
    let (mut a, mut b) = (ours.iter().peekable(), theirs.iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((ours, _)), Some((theirs, _))) => ours.cmp(theirs),
        };
        match order {
            std::cmp::Ordering::Less => {
                let (name, kind) = a.next().expect("it was just seen");
                whole(from, prefix, name, *kind, DifferenceKind::Removed, found, depth)?;
            }
            std::cmp::Ordering::Greater => {
                let (name, kind) = b.next().expect("it was just seen");
                whole(to, prefix, name, *kind, DifferenceKind::Added, found, depth)?;
            }
            std::cmp::Ordering::Equal => {
                let (name, ours) = a.next().expect("it was just seen");
                let (_, theirs) = b.next().expect("it was just seen");
                let path = join(prefix, name);
                if differ(from, to, name)? {
                    found.push(Difference { path: path.clone(), kind: DifferenceKind::Changed });
                }
                match (ours, theirs) {
                    (EntryKind::Dir, EntryKind::Dir) => {
                        folders(&from.child(name)?, &to.child(name)?, &path, found, depth + 1)?;
                    }
                    (EntryKind::Dir, _) => below(&from.child(name)?, &path, DifferenceKind::Removed, found, depth)?,
                    (_, EntryKind::Dir) => below(&to.child(name)?, &path, DifferenceKind::Added, found, depth)?,
                    _ => {}
                }
            }
        }
    }
}

/// A name that only one side has, with everything below it.
fn whole(
    dir: &Dir,
    prefix: &str,
    name: &[u8],
    kind: EntryKind,
    what: DifferenceKind,
    found: &mut Vec<Difference>,
    depth: usize,
) -> io::Result<()> {
    let path = join(prefix, name);
    found.push(Difference { path: path.clone(), kind: what });
    if kind == EntryKind::Dir { below(&dir.child(name)?, &path, what, found, depth) } else { Ok(()) }
}

fn below(dir: &Dir, path: &str, what: DifferenceKind, found: &mut Vec<Difference>, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("folders lie more than {MAX_DEPTH} deep")));
    }
    for (name, kind) in sorted(dir)? {
        whole(dir, path, &name, kind, what, found, depth + 1)?;
    }
    Ok(())
}

fn join(prefix: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if prefix.is_empty() { name.into_owned() } else { format!("{prefix}/{name}") }
}

fn differ(from: &Dir, to: &Dir, name: &[u8]) -> io::Result<bool> {
    let (ours, theirs) = (node::facts_at(from, name)?, node::facts_at(to, name)?);
    if !same_facts(&ours, &theirs, true) || attributes_differ(from, to, name)? {
        return Ok(true);
    }
    match ours.kind {
        EntryKind::File => {
            Ok(ours.size_bytes != theirs.size_bytes || contents_differ(from.open_file(name)?, to.open_file(name)?)?)
        }
        EntryKind::Symlink => Ok(node::read_symlink(from, name)? != node::read_symlink(to, name)?),
        EntryKind::CharDevice | EntryKind::BlockDevice => Ok(ours.device != theirs.device),
        _ => Ok(false),
    }
}

fn same_facts(ours: &Facts, theirs: &Facts, time: bool) -> bool {
    (ours.kind, ours.mode, ours.uid, ours.gid) == (theirs.kind, theirs.mode, theirs.uid, theirs.gid)
        && (!time || ours.mtime == theirs.mtime)
}

fn attributes_differ(from: &Dir, to: &Dir, name: &[u8]) -> io::Result<bool> {
    Ok(node::xattrs(from, name)? != node::xattrs(to, name)?)
}

fn contents_differ(mut ours: File, mut theirs: File) -> io::Result<bool> {
    let (mut one, mut two) = (vec![0u8; BUFFER_BYTES], vec![0u8; BUFFER_BYTES]);
    loop {
        let n = fill(&mut ours, &mut one)?;
        let m = fill(&mut theirs, &mut two)?;
        if one[..n] != two[..m] {
            return Ok(true);
        }
        if n == 0 {
            return Ok(false);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::volume::{copy, size};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    /// A tree with every kind of node that a container can leave behind.
    fn hostile(path: &Path) -> Dir {
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/file"), b"content").unwrap();
        fs::hard_link(path.join("a/file"), path.join("a/b/hard")).unwrap();
        symlink("/etc/passwd", path.join("out")).unwrap();
        symlink("nowhere", path.join("dangling")).unwrap();
        let dir = Dir::open(path).unwrap();
        node::make_node(&dir, b"pipe", EntryKind::Fifo, 0o640, (0, 0)).unwrap();
        node::make_node(&dir, b"socket", EntryKind::Socket, 0o600, (0, 0)).unwrap();
        node::make_node(&dir, b"null", EntryKind::CharDevice, 0o666, (1, 3)).unwrap();
        node::make_node(&dir, b"disk", EntryKind::BlockDevice, 0o600, (7, 250)).unwrap();
        fs::write(path.join("setuid"), b"x").unwrap();
        node::set_owner(&dir, b"setuid", 1000, 1001).unwrap();
        node::set_mode(&dir, b"setuid", 0o6755).unwrap();
        node::set_xattr(&dir, b"setuid", b"user.note", b"\0\xff").unwrap();
        let odd = std::ffi::OsStr::new("x").to_owned();
        let mut odd_bytes = odd.into_encoded_bytes();
        odd_bytes.extend([0xff, b'\n', 0x80]);
        dir.create_file(&odd_bytes, 0o600).unwrap();
        let sparse = dir.create_file(b"sparse", 0o600).unwrap();
        std::os::unix::fs::FileExt::write_at(&sparse, b"end", 50 << 20).unwrap();
        sparse.set_len(60 << 20).unwrap();
        node::set_mtime(&dir, b"a", node::Time { seconds: 1_000_000, nanos: 123_456_789 }).unwrap();
        node::set_mode(&dir, b"", 0o1777).unwrap();
        dir
    }

    #[test]
    fn a_copy_of_anything_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let source = hostile(&folder.path().join("one"));
        fs::create_dir(folder.path().join("two")).unwrap();
        let target = Dir::open(&folder.path().join("two")).unwrap();
        copy::copy(&source, &target).unwrap();
        assert_eq!(diff(&source, &target).unwrap(), []);
        let facts = |dir: &Dir, name: &[u8]| node::facts_at(dir, name).unwrap();
        let inner = target.child(b"a").unwrap();
        assert_eq!(facts(&inner, b"file").identity, facts(&inner.child(b"b").unwrap(), b"hard").identity);
        assert!(facts(&target, b"sparse").allocated_bytes < 1 << 20);
        assert_eq!(facts(&target, b"").mode, 0o1777);
        assert!(size::on_disk(&target).unwrap() < 1 << 20);
    }

    #[test]
    fn every_kind_of_change_is_found_at_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let source = hostile(&folder.path().join("one"));
        let two = folder.path().join("two");
        fs::create_dir(&two).unwrap();
        let target = Dir::open(&two).unwrap();
        copy::copy(&source, &target).unwrap();
        let keep_time = |dir: &Dir, name: &[u8], change: &dyn Fn()| {
            let before = node::facts_at(dir, name).unwrap().mtime;
            change();
            node::set_mtime(dir, name, before).unwrap();
        };
        keep_time(&target, b"a", &|| {
            fs::remove_file(two.join("a/b/hard")).unwrap();
            fs::write(two.join("a/new"), b"new").unwrap();
        });
        keep_time(&target.child(b"a").unwrap(), b"file", &|| fs::write(two.join("a/file"), b"Content").unwrap());
        keep_time(&target.child(b"a").unwrap(), b"b", &|| {});
        fs::remove_file(two.join("out")).unwrap();
        symlink("/etc/shadow", two.join("out")).unwrap();
        node::set_xattr(&target, b"setuid", b"user.note", b"other").unwrap();
        fs::set_permissions(two.join("pipe"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(two.join("socket")).unwrap();
        fs::create_dir(two.join("socket")).unwrap();
        fs::write(two.join("socket/inner"), b"").unwrap();
        node::set_owner(&target, b"null", 5, 0).unwrap();
        let found = diff(&source, &target).unwrap();
        let kinds = |path: &str| found.iter().find(|d| d.path == path).map(|d| d.kind);
        assert_eq!(kinds("a/b/hard"), Some(DifferenceKind::Removed));
        assert_eq!(kinds("a/new"), Some(DifferenceKind::Added));
        assert_eq!(kinds("socket/inner"), Some(DifferenceKind::Added));
        for changed in ["a/file", "out", "setuid", "pipe", "socket", "null"] {
            assert_eq!(kinds(changed), Some(DifferenceKind::Changed), "{changed}");
        }
        for same in ["a", "disk", "dangling", "sparse", "."] {
            assert_eq!(kinds(same), None, "{same}");
        }
        let back: Vec<_> = diff(&target, &source).unwrap();
        assert_eq!(back.iter().find(|d| d.path == "a/new").unwrap().kind, DifferenceKind::Removed);
        assert_eq!(back.len(), found.len());
    }
}
