//! A tar stream into a folder: every entry inside it, nothing outside touched, whatever the names say.
//!
//! - A name is split into plain components first; `..` anywhere is refused, a leading `/` is dropped.
//! - The folder above an entry is opened with the kernel resolving links inside the root ([`Dir::open_dir_in`]), the
//!   entry itself is made by name and never through a link. What is in its way is removed first.
//! - A hard link names something inside the root, and changes nothing about it.
//! - Of extended attributes only those on a short list are kept: `trusted.overlay.*` and `user.overlay.*` would steer the
//!   union file system.
//! - Folders get their times last, since filling them changes them.
//!
//! It does not decompress or hash, and it does not flush: the caller does that once for the whole tree.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use super::whiteout::{self, Name};
use crate::base::{Context as _, Error, Kind as ErrorKind, Result};
use crate::store::tar::read::Reader;
use crate::store::tar::{Entry, Kind, shown};
use crate::sys::node::{self, Time};
use crate::sys::path::{Dir, EntryKind, is_fault_of_name};

/// The most entries in one archive. The largest images have a few hundred thousand.
pub(in crate::store) const MOST_ENTRIES: u64 = 4_000_000;
/// The most bytes of content in one archive.
pub(in crate::store) const MOST_CONTENT_BYTES: u64 = 1 << 40;
/// The mode of folders that no entry describes.
const IMPLIED_DIR_MODE: u32 = 0o755;
/// Content that is moved in one step.
const PIECE_BYTES: usize = 64 * 1024;

/// What an archive is unpacked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Purpose {
    /// A layer of an image: whiteouts are translated for overlayfs, unknown attributes dropped.
    Layer,
    /// A tree of its own, such as a volume: names mean what they say, attributes are kept but for overlayfs's.
    Tree,
}

/// What an archive held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::store) struct Unpacked {
    /// Entries, whiteouts included.
    pub(in crate::store) entries: u64,
    /// Bytes of content of ordinary files, holes left out.
    pub(in crate::store) content_bytes: u64,
    /// Whether the archive had its end mark; without it, it may have been cut between two entries.
    pub(in crate::store) end_mark: bool,
}

/// Unpacks a plain tar into an empty folder. The stream is read to its end.
///
/// # Errors
/// `corrupt` for what is no tar; `invalid_argument` for entries that would leave the folder or cannot be made;
/// `no_space`. The folder holds a part then.
pub(in crate::store) fn unpack(root: &Dir, stream: impl Read, purpose: Purpose) -> Result<Unpacked> {
    let mut reader = Reader::new(stream);
    let mut unpacker = Unpacker {
        root,
        purpose,
        parent: None,
        dir_times: Vec::new(),
        piece: vec![0; PIECE_BYTES],
        done: Unpacked::default(),
    };
    while let Some(entry) = reader.next()? {
        unpacker.done.entries += 1;
        if unpacker.done.entries > MOST_ENTRIES {
            return Err(Error::invalid(format!("the archive has more than {MOST_ENTRIES} entries")));
        }
        unpacker.entry(&entry, &mut reader).map_err(|error| {
            error.context(format!("unpacking {} (at byte {} of the tar)", shown(&entry.path), entry.offset))
        })?;
    }
    unpacker.finish()?;
    let mut done = unpacker.done;
    done.end_mark = reader.has_end_mark();
    // What is behind the end mark belongs to the digest: it is read, and otherwise ignored.
    let mut rest = reader.into_inner();
    io::copy(&mut rest, &mut io::sink()).context(|| "reading the archive")?;
    Ok(done)
}

/// What the kernel refuses about a name is the archive's fault, not the caller's file system's.
fn fault(error: io::Error) -> Error {
    if is_fault_of_name(&error) {
        Error::new(ErrorKind::InvalidArgument, error.to_string())
    } else {
        Error::from(error)
    }
}

struct Unpacker<'a> {
    root: &'a Dir,
    purpose: Purpose,
    /// The folder of the last entry, since entries come folder by folder.
    parent: Option<(Vec<u8>, Dir)>,
    dir_times: Vec<(Vec<u8>, Time)>,
    piece: Vec<u8>,
    done: Unpacked,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &Entry, reader: &mut Reader<impl Read>) -> Result<()> {
        let path = clean(&entry.path)?;
        let Some((folder, name)) = split(&path) else { return self.root_entry(entry) };
        if self.purpose == Purpose::Layer {
            match whiteout::decode(&path)? {
                Name::Plain => {}
                Name::Ignored => return Ok(()),
                Name::Opaque => return whiteout::make_opaque(self.folder(folder)?, b"").map_err(fault),
                Name::Whiteout(hidden) => {
                    return whiteout::make(self.folder(folder)?, hidden).map_err(fault);
                }
            }
        }
        match entry.kind {
            Kind::File => self.file(entry, folder, name, reader),
            Kind::HardLink => self.hard_link(entry, folder, name),
            Kind::Dir => self.dir(entry, folder, name, &path),
            Kind::Symlink => {
                if entry.link.is_empty() || entry.link.contains(&0) {
                    return Err(Error::invalid("a symbolic link leads nowhere"));
                }
                self.make(folder, name, |dir| node::make_symlink(dir, name, &entry.link))?;
                self.describe(entry, folder, name)
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let kind = match entry.kind {
                    Kind::CharDevice => EntryKind::CharDevice,
                    Kind::BlockDevice => EntryKind::BlockDevice,
                    _ => EntryKind::Fifo,
                };
                self.make(folder, name, |dir| node::make_node(dir, name, kind, 0, entry.device))?;
                self.describe(entry, folder, name)
            }
        }
    }

    /// The entry of the root itself, `./`.
    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Dir {
            return Err(Error::invalid("an entry without a name is no folder"));
        }
        node::set_owner(self.root, b"", entry.uid, entry.gid).map_err(fault)?;
        node::set_mode(self.root, b"", entry.mode).map_err(fault)?;
        self.set_xattrs(entry, |name, value| node::set_xattr_of(self.root, name, value))?;
        self.dir_times.push((Vec::new(), entry.mtime));
        Ok(())
    }

    fn file(&mut self, entry: &Entry, folder: &[u8], name: &[u8], reader: &mut Reader<impl Read>) -> Result<()> {
        let file = self.make(folder, name, |dir| dir.create_file(name, 0o600))?;
        self.write_content(&file, entry, reader)?;
        // In this order: a change of owner clears set-id bits and capabilities, and everything changes the time.
        node::set_owner_of(&file, entry.uid, entry.gid).map_err(fault)?;
        node::set_mode_of(&file, entry.mode).map_err(fault)?;
        self.set_xattrs(entry, |name, value| node::set_xattr_of(&file, name, value))?;
        node::set_mtime_of(&file, entry.mtime).map_err(fault)
    }

    fn write_content(&mut self, file: &File, entry: &Entry, reader: &mut Reader<impl Read>) -> Result<()> {
        let whole = [(0, entry.size_bytes)];
        let stretches = entry.data.as_deref().unwrap_or(&whole);
        for (offset, length) in stretches {
            let (mut at, mut left) = (*offset, *length);
            while left > 0 {
                let most = self.piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let count = reader.content(&mut self.piece[..most])?;
                if count == 0 {
                    return Err(Error::corrupt("the archive is cut short"));
                }
                self.done.content_bytes += count as u64;
                if self.done.content_bytes > MOST_CONTENT_BYTES {
                    return Err(Error::invalid(format!("the archive has more than {MOST_CONTENT_BYTES} bytes")));
                }
                file.write_all_at(&self.piece[..count], at).map_err(fault)?;
                (at, left) = (at + count as u64, left - count as u64);
            }
        }
        if entry.data.is_some() {
            file.set_len(entry.size_bytes).map_err(fault)?;
        }
        Ok(())
    }

    fn dir(&mut self, entry: &Entry, folder: &[u8], name: &[u8], path: &[u8]) -> Result<()> {
        let parent = self.folder(folder)?;
        let mut hides = false;
        match parent.make_dir(name, 0o700) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let there = node::facts_at(parent, name).map_err(fault)?;
                if there.kind != EntryKind::Dir {
                    hides = self.purpose == Purpose::Layer && whiteout::is_whiteout(&there);
                    self.clear_way(folder, name)?;
                    self.folder(folder)?.make_dir(name, 0o700).map_err(fault)?;
                }
            }
            other => other.map_err(fault)?,
        }
        let made = self.folder(folder)?.child(name).map_err(fault)?;
        if hides {
            // A whiteout and then a folder of the same name: the folder hides what is below it.
            whiteout::make_opaque(&made, b"").map_err(fault)?;
        }
        node::set_owner_of(&made, entry.uid, entry.gid).map_err(fault)?;
        node::set_mode_of(&made, entry.mode).map_err(fault)?;
        self.set_xattrs(entry, |name, value| node::set_xattr_of(&made, name, value))?;
        self.dir_times.push((path.to_vec(), entry.mtime));
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry, folder: &[u8], name: &[u8]) -> Result<()> {
        let target = clean(&entry.link)?;
        let missing = || Error::invalid(format!("a hard link to {}, which is not there", shown(&entry.link)));
        let (target_folder, target_name) = split(&target).ok_or_else(missing)?;
        // The target's folder first: `folder` keeps only one open.
        let from = self.root.open_dir_in(target_folder).map_err(|_| missing())?;
        let there = node::facts_at(&from, target_name).map_err(|_| missing())?;
        if there.kind == EntryKind::Dir {
            return Err(Error::invalid(format!("a hard link to the folder {}", shown(&entry.link))));
        }
        let same = |dir: &Dir| node::facts_at(dir, name).is_ok_and(|found| found.identity == there.identity);
        if same(self.folder(folder)?) {
            return Ok(());
        }
        self.make(folder, name, |dir| node::make_hard_link(&from, target_name, dir, name))
    }

    /// Owner, mode, attributes and time of a link or node that was just made.
    fn describe(&mut self, entry: &Entry, folder: &[u8], name: &[u8]) -> Result<()> {
        self.folder(folder)?;
        let (_, dir) = self.parent.as_ref().expect("the folder was opened on the line above");
        node::set_owner(dir, name, entry.uid, entry.gid).map_err(fault)?;
        if entry.kind != Kind::Symlink {
            node::set_mode(dir, name, entry.mode).map_err(fault)?;
        }
        self.set_xattrs(entry, |attribute, value| node::set_xattr(dir, name, attribute, value))?;
        node::set_mtime(dir, name, entry.mtime).map_err(fault)
    }

    /// Makes something called `name`, clearing its way when something is there.
    fn make<T>(&mut self, folder: &[u8], name: &[u8], make: impl Fn(&Dir) -> io::Result<T>) -> Result<T> {
        match make(self.folder(folder)?) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.clear_way(folder, name)?;
                make(self.folder(folder)?).map_err(fault)
            }
            other => other.map_err(fault),
        }
    }

    fn clear_way(&mut self, folder: &[u8], name: &[u8]) -> Result<()> {
        self.folder(folder)?.remove(name).map_err(fault)?;
        // The open folder may have been below what was removed.
        self.parent = None;
        Ok(())
    }

    /// The folder at a clean path, made with those above it when it is missing.
    fn folder(&mut self, path: &[u8]) -> Result<&Dir> {
        if self.parent.as_ref().is_none_or(|(open, _)| open != path) {
            let dir = self.root.make_dir_all_in(path, IMPLIED_DIR_MODE);
            let dir = dir.map_err(fault).context(|| format!("opening the folder {}", shown(path)))?;
            self.parent = Some((path.to_vec(), dir));
        }
        Ok(&self.parent.as_ref().expect("it was set above").1)
    }

    fn set_xattrs(&self, entry: &Entry, set: impl Fn(&[u8], &[u8]) -> io::Result<()>) -> Result<()> {
        for (name, value) in &entry.xattrs {
            let must = match attribute_rule(name, self.purpose) {
                Rule::Drop => continue,
                Rule::Try => false,
                Rule::Must => true,
            };
            match set(name, value) {
                Ok(()) => {}
                // Not every kind of node and not every file system has them; a missing capability would change what
                // the program may do, so that is told.
                Err(error) if !must && is_unsettable(&error) => {}
                Err(error) => return Err(fault(error).context(format!("setting the attribute {}", shown(name)))),
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        // Inner folders first is not needed: setting a time does not change the time of the folder above.
        for (path, mtime) in std::mem::take(&mut self.dir_times) {
            match split(&path) {
                None => node::set_mtime(self.root, b"", mtime).map_err(fault)?,
                Some((folder, name)) => {
                    // A later entry may have replaced it.
                    let Ok(folder) = self.root.open_dir_in(folder) else { continue };
                    if folder.kind_of(name).is_ok_and(|kind| kind == EntryKind::Dir) {
                        node::set_mtime(&folder, name, mtime).map_err(fault)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn is_unsettable(error: &io::Error) -> bool {
    // user.* on links and devices is EPERM (xattr(7)).
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput)
}

enum Rule {
    Drop,
    Try,
    Must,
}

/// Whether an attribute may be in an archive of this purpose.
pub(in crate::store) fn keeps_attribute(name: &[u8], purpose: Purpose) -> bool {
    !matches!(attribute_rule(name, purpose), Rule::Drop)
}

/// What becomes of an attribute (SECURITY.md, "overlay xattr injection").
fn attribute_rule(name: &[u8], purpose: Purpose) -> Rule {
    let steers_overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    match name {
        _ if steers_overlay => Rule::Drop,
        b"security.capability" => Rule::Must,
        b"system.posix_acl_access" | b"system.posix_acl_default" => Rule::Try,
        _ if name.starts_with(b"user.") => Rule::Try,
        _ if purpose == Purpose::Tree && name.starts_with(b"trusted.") => Rule::Try,
        _ => Rule::Drop,
    }
}

/// Plain components joined by `/`; empty for the root.
pub(in crate::store) fn clean(path: &[u8]) -> Result<Vec<u8>> {
    if path.contains(&0) {
        return Err(Error::invalid(format!("the name {} has a NUL byte in it", shown(path))));
    }
    let mut clean = Vec::with_capacity(path.len());
    for component in path.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(Error::invalid(format!("the name {} would leave the layer", shown(path)))),
            plain => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(plain);
            }
        }
    }
    Ok(clean)
}

/// Folder and name of a clean path; none for the root.
pub(in crate::store) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}
