//! A tar stream over a folder that has content already: what `cp` does where it copies to.
//!
//! | there \ entry | folder | file | link, pipe, device |
//! |---|---|---|---|
//! | nothing | made | made | made |
//! | a folder | kept, gets mode, owner and time | refused | refused |
//! | anything else | refused | replaced at once by the whole file | removed, then made |
//! | something mounted, no folder | refused | refused | refused |
//!
//! On the host nothing is ever reached through a link: what comes out of a container must not choose where it goes. In a
//! container links in a path are followed as its own programs would, by the kernel and inside its root. Either way an entry
//! itself is never made through a link, and names with `..` are refused.
//!
//! Content is written to files without a name, so one that was there is old or new, whatever happens. Nothing is flushed:
//! a copy is as durable as `cp` makes it.

use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use crate::base::{Context as _, Error, Result, failpoint};
use crate::model::container::IdRange;
use crate::store::layer::decompress;
use crate::store::layer::unpack::{clean, split};
use crate::store::tar::read::Reader;
use crate::store::tar::{Entry, Kind, shown};
use crate::sys::new_file::NewFile;
use crate::sys::node::{self, Time};
use crate::sys::path::{Dir, EntryKind};

/// The mode of folders that no entry describes.
const IMPLIED_DIR_MODE: u32 = 0o755;
/// Content that is moved in one step.
const PIECE_BYTES: usize = 64 * 1024;
/// How deep a tree may be; every level holds a descriptor.
const MOST_LEVELS: usize = 520;
/// The bits that let a program be somebody else.
const SET_ID: u32 = 0o6000;

/// Where entries go.
pub enum Ground<'a> {
    /// A folder of the host.
    Host(&'a Dir),
    /// The folder at `path` in a container's root.
    Container {
        /// The root.
        root: &'a Dir,
        /// Absolute; the kernel resolves it inside the root.
        path: &'a [u8],
    },
}

/// To whom the files belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Whoever copies.
    Caller,
    /// Whom the archive says.
    Archive,
    /// This user and group.
    Fixed(u32, u32),
}

/// How entries become files.
#[derive(Debug, Clone, Copy)]
pub struct SpreadOptions {
    /// To whom they belong.
    pub owner: Owner,
    /// Numbers of owners are those of a user namespace, and the files get the host's.
    pub ids: Option<IdRange>,
    /// Keep set-id bits, file capabilities and access lists, and make devices: what grants rights. Otherwise they are left
    /// out.
    pub privileges: bool,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// Entries, without those that were left out.
    pub entries: u64,
    /// Bytes of content of ordinary files, holes left out.
    pub content_bytes: u64,
    /// Devices that were left out.
    pub skipped_devices: u64,
}

/// Spreads a tar, plain or compressed, over the ground. The stream is read to its end.
///
/// # Errors
/// `invalid_argument` for what may not be replaced, and for names that lead out; `corrupt` for what is no tar, or is cut
/// short; what the calls give. What was made before stays.
pub fn spread(ground: &Ground<'_>, stream: impl Read, options: SpreadOptions) -> Result<Spread> {
    let top = match ground {
        Ground::Host(dir) => dir.try_clone()?,
        Ground::Container { root, path } => root.open_dir_in(path)?,
    };
    let (compression, stream) = decompress::detect(stream)?;
    let mut reader = Reader::new(decompress::decompress(compression, stream)?);
    let mut spreader = Spreader {
        ground,
        top,
        open: Vec::new(),
        options,
        dir_times: Vec::new(),
        piece: vec![0; PIECE_BYTES],
        done: Spread::default(),
    };
    while let Some(entry) = reader.next()? {
        failpoint::hit("copy.entry")?;
        spreader
            .entry(&entry, &mut reader)
            .map_err(|error| error.context(format!("copying {}", shown(&entry.path))))?;
    }
    if !reader.has_end_mark() {
        return Err(Error::corrupt("the archive is cut short: it has no end mark"));
    }
    io::copy(&mut reader.into_inner(), &mut io::sink()).context(|| "reading the archive")?;
    spreader.finish()?;
    Ok(spreader.done)
}

struct Spreader<'a> {
    ground: &'a Ground<'a>,
    top: Dir,
    /// The folders on the way to the last entry, each with its name, since entries come folder by folder.
    open: Vec<(Vec<u8>, Dir)>,
    options: SpreadOptions,
    dir_times: Vec<(Vec<u8>, Time)>,
    piece: Vec<u8>,
    done: Spread,
}

impl Spreader<'_> {
    fn entry(&mut self, entry: &Entry, reader: &mut Reader<impl Read>) -> Result<()> {
        let path = clean(&entry.path)?;
        let Some((folder, name)) = split(&path) else {
            // The folder that was there keeps what it has.
            return match entry.kind {
                Kind::Dir => Ok(()),
                _ => Err(Error::invalid("an entry without a name is no folder")),
            };
        };
        let is_device = matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice);
        if is_device && !self.options.privileges {
            self.done.skipped_devices += 1;
            return Ok(());
        }
        let dir = self.folder(folder)?.try_clone()?;
        let there = match node::facts_at(&dir, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            facts => Some(facts?),
        };
        match (there.map(|there| there.kind), entry.kind) {
            (Some(EntryKind::Dir), kind) if kind != Kind::Dir => {
                return Err(Error::invalid(format!("cannot overwrite the folder {} with a non-folder", shown(&path))));
            }
            (Some(kind), Kind::Dir) if kind != EntryKind::Dir => {
                return Err(Error::invalid(format!("cannot overwrite the non-folder {} with a folder", shown(&path))));
            }
            (Some(_), kind) if kind != Kind::Dir && node::is_mount_point(&dir, name)? => {
                return Err(Error::conflict(format!("{} is mounted, and cannot be replaced", shown(&path)))
                    .with_hint("change what is mounted there, or write to it with exec"));
            }
            _ => {}
        }
        self.done.entries += 1;
        match entry.kind {
            Kind::File => self.file(entry, &dir, name, reader),
            Kind::Dir => self.dir(entry, &dir, name, &path, there.is_some()),
            Kind::HardLink => self.hard_link(entry, &dir, name, there.map(|there| there.identity)),
            Kind::Symlink => {
                if entry.link.is_empty() || entry.link.contains(&0) {
                    return Err(Error::invalid("a symbolic link leads nowhere"));
                }
                dir.remove(name)?;
                node::make_symlink(&dir, name, &entry.link)?;
                self.describe(entry, &dir, name)
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let kind = match entry.kind {
                    Kind::CharDevice => EntryKind::CharDevice,
                    Kind::BlockDevice => EntryKind::BlockDevice,
                    _ => EntryKind::Fifo,
                };
                dir.remove(name)?;
                node::make_node(&dir, name, kind, 0, entry.device)?;
                self.describe(entry, &dir, name)
            }
        }
    }

    fn file(&mut self, entry: &Entry, dir: &Dir, name: &[u8], reader: &mut Reader<impl Read>) -> Result<()> {
        let new = NewFile::create(dir)?;
        let file = new.file();
        let whole = [(0, entry.size_bytes)];
        for (offset, length) in entry.data.as_deref().unwrap_or(&whole) {
            let (mut at, mut left) = (*offset, *length);
            while left > 0 {
                let most = self.piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let count = reader.content(&mut self.piece[..most])?;
                if count == 0 {
                    return Err(Error::corrupt("the archive is cut short"));
                }
                file.write_all_at(&self.piece[..count], at)?;
                (at, left) = (at + count as u64, left - count as u64);
                self.done.content_bytes += count as u64;
            }
        }
        if entry.data.is_some() {
            file.set_len(entry.size_bytes)?;
        }
        failpoint::hit("copy.content")?;
        // In this order: a change of owner clears set-id bits and capabilities, and everything changes the time.
        if let Some((uid, gid)) = self.owner(entry) {
            node::set_owner_of(file, uid, gid)?;
        }
        node::set_mode_of(file, self.mode(entry))?;
        self.set_xattrs(entry, |attribute, value| node::set_xattr_of(file, attribute, value))?;
        node::set_mtime_of(file, entry.mtime)?;
        Ok(new.publish(name)?)
    }

    fn dir(&mut self, entry: &Entry, dir: &Dir, name: &[u8], path: &[u8], is_there: bool) -> Result<()> {
        if !is_there {
            match dir.make_dir(name, 0o700) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
        }
        let made = dir.child(name)?;
        if let Some((uid, gid)) = self.owner(entry) {
            node::set_owner_of(&made, uid, gid)?;
        }
        node::set_mode_of(&made, self.mode(entry))?;
        self.set_xattrs(entry, |attribute, value| node::set_xattr_of(&made, attribute, value))?;
        self.dir_times.push((path.to_vec(), entry.mtime));
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry, dir: &Dir, name: &[u8], there: Option<(u64, u64)>) -> Result<()> {
        let missing = || Error::invalid(format!("a hard link to {}, which is not there", shown(&entry.link)));
        let target = clean(&entry.link)?;
        let (target_folder, target_name) = split(&target).ok_or_else(missing)?;
        let from = self.folder(target_folder)?.try_clone()?;
        let facts = node::facts_at(&from, target_name).map_err(|_| missing())?;
        if facts.kind == EntryKind::Dir {
            return Err(Error::invalid(format!("a hard link to the folder {}", shown(&entry.link))));
        }
        if there == Some(facts.identity) {
            return Ok(());
        }
        dir.remove(name)?;
        Ok(node::make_hard_link(&from, target_name, dir, name)?)
    }

    /// Owner, mode, attributes and time of a link or node that was just made.
    fn describe(&self, entry: &Entry, dir: &Dir, name: &[u8]) -> Result<()> {
        if let Some((uid, gid)) = self.owner(entry) {
            node::set_owner(dir, name, uid, gid)?;
        }
        if entry.kind != Kind::Symlink {
            node::set_mode(dir, name, self.mode(entry))?;
        }
        self.set_xattrs(entry, |attribute, value| node::set_xattr(dir, name, attribute, value))?;
        Ok(node::set_mtime(dir, name, entry.mtime)?)
    }

    fn owner(&self, entry: &Entry) -> Option<(u32, u32)> {
        let (uid, gid) = match self.options.owner {
            Owner::Caller => return None,
            Owner::Archive => (entry.uid, entry.gid),
            Owner::Fixed(uid, gid) => (uid, gid),
        };
        Some(self.options.ids.map_or((uid, gid), |ids| ids.outside(uid, gid)))
    }

    fn mode(&self, entry: &Entry) -> u32 {
        if self.options.privileges { entry.mode } else { entry.mode & !SET_ID }
    }

    fn set_xattrs(&self, entry: &Entry, set: impl Fn(&[u8], &[u8]) -> io::Result<()>) -> Result<()> {
        for (name, value) in &entry.xattrs {
            let must = match name.as_slice() {
                b"security.capability" if self.options.privileges => true,
                b"system.posix_acl_access" | b"system.posix_acl_default" if self.options.privileges => false,
                name if name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") => false,
                _ => continue,
            };
            match set(name, value) {
                Err(error) if must || error.kind() == io::ErrorKind::StorageFull => {
                    return Err(Error::from(error).context(format!("setting the attribute {}", shown(name))));
                }
                // Not every kind of node and not every file system has them.
                _ => {}
            }
        }
        Ok(())
    }

    /// The folder at a clean path, made with those above it when it is missing.
    fn folder(&mut self, path: &[u8]) -> Result<&Dir> {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        if names.len() > MOST_LEVELS {
            return Err(Error::unsupported(format!("the tree is deeper than {MOST_LEVELS} folders")));
        }
        let shared = self.open.iter().zip(&names).take_while(|((open, _), name)| open == *name).count();
        self.open.truncate(shared);
        for (index, name) in names.iter().enumerate().skip(shared) {
            let above = self.open.last().map_or(&self.top, |(_, dir)| dir);
            let opened = match above.child(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => match above.make_dir(name, IMPLIED_DIR_MODE) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    _ => above.child(name),
                },
                other => other,
            };
            let dir = match (opened, self.ground) {
                (Ok(dir), _) => dir,
                // A link of the container's: its own programs would go through it.
                (Err(_), Ground::Container { root, path }) if above.kind_of(name).is_ok_and(is_link) => {
                    let whole = [&[*path][..], &names[..=index]].concat().join(&b'/');
                    root.open_dir_in(&whole).context(|| format!("opening the folder {}", shown(&whole)))?
                }
                (Err(error), _) => {
                    return Err(Error::from(error).context(format!("opening the folder {}", shown(name))));
                }
            };
            self.open.push((name.to_vec(), dir));
        }
        Ok(self.open.last().map_or(&self.top, |(_, dir)| dir))
    }

    fn finish(&mut self) -> Result<()> {
        for (path, mtime) in std::mem::take(&mut self.dir_times) {
            let Some((folder, name)) = split(&path) else { continue };
            let dir = self.folder(folder)?;
            // Somebody may have put something else there meanwhile.
            if dir.kind_of(name).is_ok_and(|kind| kind == EntryKind::Dir) {
                node::set_mtime(dir, name, mtime)?;
            }
        }
        Ok(())
    }
}

fn is_link(kind: EntryKind) -> bool {
    kind == EntryKind::Symlink
}
