//! Trees to tar: deterministic (sorted names, numeric ids), with hard links, xattrs, device nodes and sparse files.
//!
//! The tree is walked on descriptors and no link is followed, so what somebody does to it meanwhile can change what is
//! read but not where. The archive is whole whatever happens: a file that shrinks is filled up with zeros and counted, one
//! that grows is cut at the size it had, one that vanishes is left out. Sockets are left out and counted.
//!
//! It compresses nothing and does not know where the bytes go.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::base::{Context as _, Error, Kind as ErrorKind, Result, Timestamp};
use crate::model::container::IdRange;
use crate::store::assemble::clamped;
use crate::store::layer::unpack::{self, Purpose};
use crate::store::layer::whiteout;
use crate::store::tar::write::Writer;
use crate::store::tar::{Entry, Kind, shown, sparse};
use crate::sys::node::{self, Facts};
use crate::sys::path::{Dir, EntryKind};

/// How deep a tree may be; every level holds a descriptor.
const MOST_LEVELS: usize = 512;
/// Content that is moved in one step.
const PIECE_BYTES: usize = 64 * 1024;
/// Attributes by which overlayfs says that content is elsewhere: such a folder cannot become a layer.
const ELSEWHERE: [&[u8]; 2] = [b"trusted.overlay.redirect", b"trusted.overlay.metacopy"];

/// What a tree is packed as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PackForm {
    /// A tree as it is, for a backup or an export.
    #[default]
    Tree,
    /// A layer from a plain tree: attributes as an import keeps them; names that would read as whiteouts are refused.
    Layer,
    /// A layer from an overlay's upper folder: whiteouts and opaque folders are translated.
    Upper,
}

/// How a tree is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackOptions {
    /// What it becomes.
    pub form: PackForm,
    /// Begin with an entry `./` that carries owner, mode and time of the folder itself.
    pub root_entry: bool,
    /// Keep times to the nanosecond (a PAX header for most entries); otherwise to the second.
    pub nanoseconds: bool,
    /// Owners are shown by a user namespace: the archive gets their numbers inside of it.
    pub ids: Option<IdRange>,
    /// No time is later than this.
    pub latest: Option<Timestamp>,
    /// Fail before packing the folder with this identity, into which the archive is unpacked.
    pub avoid: Option<(u64, u64)>,
}

/// Something that is packed, and how it is called in the archive.
pub struct Top<'a> {
    /// The folder it is in.
    pub dir: &'a Dir,
    /// Its name there; empty for the folder itself.
    pub name: &'a [u8],
    /// Its path in the archive.
    pub alias: &'a [u8],
}

/// What went into an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packed {
    /// Entries, the root's included.
    pub entries: u64,
    /// Bytes of content, holes left out.
    pub content_bytes: u64,
    /// Sockets that were left out.
    pub skipped_sockets: u64,
    /// Files that shrank while they were read and were filled up with zeros.
    pub changed_files: u64,
    /// The latest time of any entry, to the second; none for an empty archive.
    pub newest: Option<Timestamp>,
}

/// Writes the folder at `tree` as a tar to `out`.
///
/// # Errors
/// `not_found`; `invalid_argument` when it is no folder, or a name cannot be in a layer; `unsupported` when it is deeper
/// than 512 levels; what reading and writing give.
pub fn pack(tree: &Path, options: &PackOptions, out: &mut dyn Write) -> Result<Packed> {
    let root = open(tree)?;
    let mut packer = Packer::new(options, out);
    if options.root_entry {
        packer.folder_entry(&root, b"./").context(|| format!("packing {tree:?}"))?;
    }
    packer.folder(&root, &mut Vec::new(), 0).context(|| format!("packing {tree:?}"))?;
    packer.finish()
}

/// Writes what `tops` name, with everything below, as one tar to `out`.
///
/// # Errors
/// `not_found` when one is not there; otherwise as [`pack`].
pub fn pack_tops(tops: &[Top<'_>], options: &PackOptions, out: &mut dyn Write) -> Result<Packed> {
    let mut packer = Packer::new(options, out);
    for top in tops {
        let mut path = top.alias.to_vec();
        let packed = match top.name {
            b"" => packer
                .folder_entry(top.dir, &[top.alias, b"/"].concat())
                .and_then(|()| packer.folder(top.dir, &mut path, 0)),
            name => packer.name(top.dir, name, &mut path, 0).map_err(|gone| match gone {
                Gone::Vanished => Error::not_found(format!("{} is gone", shown(name))),
                Gone::Failed(error) => error,
            }),
        };
        packed.context(|| format!("packing {}", shown(top.alias)))?;
    }
    packer.finish()
}

fn open(tree: &Path) -> Result<Dir> {
    Dir::open(tree).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => Error::invalid(format!("{tree:?} is not a folder")),
        _ => Error::from(error).context(format!("opening {tree:?}")),
    })
}

struct Packer<'a> {
    options: &'a PackOptions,
    writer: Writer<io::BufWriter<&'a mut dyn Write>>,
    /// The first name of each file that has several.
    seen: HashMap<(u64, u64), Vec<u8>>,
    piece: Vec<u8>,
    done: Packed,
}

impl<'a> Packer<'a> {
    fn new(options: &'a PackOptions, out: &'a mut dyn Write) -> Packer<'a> {
        Packer {
            options,
            writer: Writer::new(io::BufWriter::with_capacity(PIECE_BYTES, out)),
            seen: HashMap::new(),
            piece: vec![0; PIECE_BYTES],
            done: Packed::default(),
        }
    }

    fn finish(self) -> Result<Packed> {
        self.writer.finish().and_then(|mut out| out.flush()).context(|| "writing the archive")?;
        Ok(self.done)
    }

    /// The entry of an open folder.
    fn folder_entry(&mut self, dir: &Dir, path: &[u8]) -> Result<()> {
        let facts = node::facts_of(dir)?;
        if self.options.avoid == Some(facts.identity) {
            return Err(Error::invalid("a folder cannot be copied into itself"));
        }
        let mut entry = self.describe(path, &facts, Kind::Dir);
        entry.xattrs = self.xattrs(dir, b"", path)?;
        self.put(&entry)
    }

    /// Everything in a folder. `path` is its own, empty for the root, and the same again afterwards.
    fn folder(&mut self, dir: &Dir, path: &mut Vec<u8>, level: usize) -> Result<()> {
        if level > MOST_LEVELS {
            return Err(Error::unsupported(format!("the tree is deeper than {MOST_LEVELS} folders")));
        }
        if self.options.form == PackForm::Upper && is_opaque(dir, path)? {
            let mark = [path.as_slice(), whiteout::opaque_name()].join(&b'/');
            let mark = mark.strip_prefix(b"/").unwrap_or(&mark);
            let facts = node::facts_of(dir)?;
            let mut entry = self.describe(mark, &facts, Kind::File);
            (entry.mode, entry.size_bytes) = (0o600, 0);
            self.put(&entry)?;
        }
        let mut names = dir.entries().context(|| format!("reading the folder {}", shown(path)))?;
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, _) in names {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            match self.name(dir, &name, path, level) {
                Ok(()) => {}
                Err(Gone::Vanished) => self.seen.retain(|_, first| first != path),
                Err(Gone::Failed(error)) => return Err(error.context(format!("packing {}", shown(path)))),
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn name(&mut self, dir: &Dir, name: &[u8], path: &mut Vec<u8>, level: usize) -> Result<(), Gone> {
        let facts = node::facts_at(dir, name)?;
        if self.options.form == PackForm::Upper && whiteout::is_whiteout(&facts) {
            return Ok(self.whiteout(name, path, &facts)?);
        }
        if self.options.form != PackForm::Tree && name.starts_with(b".wh.") {
            let error = format!("the name {} would hide another in a layer", shown(name));
            return Err(Error::invalid(error).into());
        }
        if facts.links > 1 && facts.kind != EntryKind::Dir && facts.kind != EntryKind::Socket {
            if let Some(first) = self.seen.get(&facts.identity) {
                let link = first.clone();
                let entry = Entry { link, ..self.describe(path, &facts, Kind::HardLink) };
                return Ok(self.put(&entry)?);
            }
            self.seen.insert(facts.identity, path.clone());
        }
        let kind = match facts.kind {
            EntryKind::Dir => return self.subfolder(dir, name, path, level),
            EntryKind::File => return self.file(dir, name, path),
            EntryKind::Socket => {
                self.done.skipped_sockets += 1;
                return Ok(());
            }
            EntryKind::Symlink => Kind::Symlink,
            EntryKind::Fifo => Kind::Fifo,
            EntryKind::CharDevice => Kind::CharDevice,
            EntryKind::BlockDevice => Kind::BlockDevice,
        };
        let mut entry = self.describe(path, &facts, kind);
        if kind == Kind::Symlink {
            entry.link = node::read_symlink(dir, name)?;
        }
        entry.xattrs = self.xattrs(dir, name, path)?;
        Ok(self.put(&entry)?)
    }

    fn subfolder(&mut self, dir: &Dir, name: &[u8], path: &mut Vec<u8>, level: usize) -> Result<(), Gone> {
        let inner = dir.child(name)?;
        path.push(b'/');
        let entry = self.folder_entry(&inner, path);
        path.pop();
        entry?;
        Ok(self.folder(&inner, path, level + 1)?)
    }

    fn whiteout(&mut self, name: &[u8], path: &[u8], facts: &Facts) -> Result<()> {
        let folder = &path[..path.len() - name.len()];
        let path = [folder, &whiteout::encode(name)].concat();
        let mut entry = self.describe(&path, facts, Kind::File);
        (entry.mode, entry.size_bytes) = (0, 0);
        self.put(&entry)
    }

    fn file(&mut self, dir: &Dir, name: &[u8], path: &[u8]) -> Result<(), Gone> {
        let file = dir.open_file(name)?;
        let facts = node::facts_of(&file)?;
        let mut entry = self.describe(path, &facts, Kind::File);
        entry.xattrs = self.xattrs(dir, name, path)?;
        if facts.allocated_bytes < facts.size_bytes {
            entry.data = data_of(&file, facts.size_bytes)?;
        }
        self.put(&entry)?;
        let whole = [(0, facts.size_bytes)];
        let mut shrank = false;
        for (offset, length) in entry.data.as_deref().unwrap_or(&whole) {
            shrank |= self.stretch(&file, *offset, *length).context(|| format!("packing {}", shown(path)))?;
        }
        self.done.changed_files += u64::from(shrank);
        Ok(())
    }

    /// Writes a stretch of a file; true when it was no longer all there.
    fn stretch(&mut self, file: &File, offset: u64, length: u64) -> io::Result<bool> {
        let (mut at, end) = (offset, offset + length);
        let mut shrank = false;
        while at < end {
            let most = self.piece.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let mut count = match file.read_at(&mut self.piece[..most], at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if count == 0 {
                shrank = true;
                self.piece[..most].fill(0);
                count = most;
            }
            self.writer.content(&self.piece[..count])?;
            at += count as u64;
            self.done.content_bytes += count as u64;
        }
        Ok(shrank)
    }

    fn describe(&self, path: &[u8], facts: &Facts, kind: Kind) -> Entry {
        let mtime = match (self.options.nanoseconds, self.options.latest) {
            (true, None) => facts.mtime,
            (_, latest) => clamped(facts.mtime, latest),
        };
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        let (uid, gid) = self.options.ids.map_or((facts.uid, facts.gid), |ids| ids.inside(facts.uid, facts.gid));
        Entry {
            path: path.to_vec(),
            link: Vec::new(),
            kind,
            mode: facts.mode,
            uid,
            gid,
            mtime,
            size_bytes: if kind == Kind::File { facts.size_bytes } else { 0 },
            data: None,
            device: if is_device { facts.device } else { (0, 0) },
            xattrs: Vec::new(),
            offset: 0,
        }
    }

    fn xattrs(&self, dir: &Dir, name: &[u8], path: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = node::xattrs(dir, name).context(|| format!("reading the attributes of {}", shown(path)))?;
        if self.options.form == PackForm::Upper && found.iter().any(|(name, _)| ELSEWHERE.contains(&name.as_slice())) {
            return Err(Error::unsupported(format!("the content of {} is in another layer", shown(path)))
                .with_hint("mount the overlay with redirect_dir=off and metacopy=off"));
        }
        let purpose = if self.options.form == PackForm::Tree { Purpose::Tree } else { Purpose::Layer };
        found.retain(|(name, _)| unpack::keeps_attribute(name, purpose));
        Ok(found)
    }

    fn put(&mut self, entry: &Entry) -> Result<()> {
        self.writer.entry(entry).context(|| "writing the archive")?;
        self.done.entries += 1;
        if let Ok(seconds) = u64::try_from(entry.mtime.seconds) {
            let time = Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000));
            self.done.newest = self.done.newest.max(Some(time));
        }
        Ok(())
    }
}

fn is_opaque(dir: &Dir, path: &[u8]) -> Result<bool> {
    let value = node::xattr(dir, b"", whiteout::OPAQUE_ATTRIBUTE);
    let value = value.context(|| format!("reading the attributes of {}", shown(path)))?;
    // "x" marks a folder that holds whiteouts in attributes, and hides nothing (kernel document "overlayfs").
    Ok(value.is_some_and(|value| value == b"y"))
}

/// Where a file has data, ending at its size; none when that is everywhere or too scattered to be worth it.
fn data_of(file: &File, size_bytes: u64) -> io::Result<Option<sparse::Map>> {
    let mut map = sparse::Map::new();
    let mut at = 0;
    while at < size_bytes {
        let Some((start, length)) = crate::sys::fs::next_data(file, at)? else { break };
        let end = start.saturating_add(length).min(size_bytes);
        if start >= size_bytes || end <= at {
            break;
        }
        map.push((start, end - start));
        at = end;
        if map.len() >= sparse::MOST_STRETCHES {
            return Ok(None);
        }
    }
    match map.as_slice() {
        [(0, length)] if *length == size_bytes => return Ok(None),
        _ if at < size_bytes => map.push((size_bytes, 0)),
        _ => {}
    }
    Ok(Some(map))
}

/// Why a name was not packed: it is gone, which is nothing, or a failure.
enum Gone {
    Vanished,
    Failed(Error),
}

impl From<Error> for Gone {
    fn from(error: Error) -> Gone {
        match error.kind() {
            ErrorKind::NotFound => Gone::Vanished,
            _ => Gone::Failed(error),
        }
    }
}

impl From<io::Error> for Gone {
    fn from(error: io::Error) -> Gone {
        match error.kind() {
            io::ErrorKind::NotFound => Gone::Vanished,
            _ => Gone::Failed(error.into()),
        }
    }
}
