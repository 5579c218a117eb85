//! Lists of files to tar: what a build copies becomes a layer without a container and without a tree on disk.
//!
//! The list says what every entry is; contents are read below given folders, on descriptors, and must have the digests
//! that the list has: a file that changed since it was listed is an error, or a cache would remember the wrong content.

use std::fs::File;
use std::io::{self, Read as _, Write};

use crate::base::digest::Hasher;
use crate::base::{Context as _, Digest, Error, Result, Timestamp};
use crate::store::layer::unpack::{self, Purpose};
use crate::store::tar::write::Writer;
use crate::store::tar::{Entry, Kind, shown};
use crate::sys::node::Time;
use crate::sys::path::Dir;

/// Content that is moved in one step.
const PIECE_BYTES: usize = 64 * 1024;

/// One entry of a layer to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its path in the layer, without a slash in front.
    pub path: Vec<u8>,
    /// What it is.
    pub body: Body,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When it changed; kept to the second.
    pub mtime: Time,
    /// Its extended attributes; those that no layer keeps are left out.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A folder.
    Dir,
    /// A file with the content of another.
    File {
        /// Below which of the folders.
        root: usize,
        /// Its path there, resolved inside of it.
        path: Vec<u8>,
        /// How long it is.
        size_bytes: u64,
        /// What is in it.
        digest: Digest,
    },
    /// A file with this content.
    Inline(Vec<u8>),
    /// A link to a path.
    Symlink(Vec<u8>),
    /// A further name of an entry before it.
    HardLink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// Nothing, in the place of something in a layer below.
    Whiteout,
    /// After its folder: nothing of it in the layers below is seen.
    Opaque,
    /// A device: block or character, major and minor number.
    Device(bool, (u32, u32)),
}

/// Writes the entries, in their order, as a tar. No time is later than `latest`.
///
/// # Errors
/// `conflict` when a file is not what the list says; `invalid_argument` for a name that would hide another in a layer;
/// what reading and writing give.
pub fn assemble(pieces: &[Piece], roots: &[Dir], latest: Option<Timestamp>, out: &mut dyn Write) -> Result<()> {
    let mut writer = Writer::new(io::BufWriter::with_capacity(PIECE_BYTES, out));
    for piece in pieces {
        put(&mut writer, piece, roots, latest).context(|| format!("copying {}", shown(&piece.path)))?;
    }
    writer.finish().and_then(|mut out| out.flush()).context(|| "writing the layer")
}

/// The earlier one of a file's time and the latest that is allowed, to the second.
pub(in crate::store) fn clamped(time: Time, latest: Option<Timestamp>) -> Time {
    let latest = latest.map(|latest| i64::try_from(latest.as_secs()).unwrap_or(i64::MAX));
    Time { seconds: latest.map_or(time.seconds, |latest| time.seconds.min(latest)), nanos: 0 }
}

fn put(
    writer: &mut Writer<io::BufWriter<&mut dyn Write>>,
    piece: &Piece,
    roots: &[Dir],
    latest: Option<Timestamp>,
) -> Result<()> {
    let name = piece.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name.starts_with(b".wh.") {
        return Err(Error::invalid(format!("the name {} would hide another in a layer", shown(name))));
    }
    let mut entry = Entry {
        path: piece.path.clone(),
        link: Vec::new(),
        kind: Kind::File,
        mode: piece.mode,
        uid: piece.uid,
        gid: piece.gid,
        mtime: clamped(piece.mtime, latest),
        size_bytes: 0,
        data: None,
        device: (0, 0),
        xattrs: piece.xattrs.clone(),
        offset: 0,
    };
    entry.xattrs.retain(|(name, _)| unpack::keeps_attribute(name, Purpose::Layer));
    match &piece.body {
        Body::Dir => {
            entry.kind = Kind::Dir;
            entry.path.push(b'/');
        }
        Body::Symlink(target) => (entry.kind, entry.link) = (Kind::Symlink, target.clone()),
        Body::HardLink(first) => (entry.kind, entry.link) = (Kind::HardLink, first.clone()),
        Body::Fifo => entry.kind = Kind::Fifo,
        Body::Opaque => entry.path.extend_from_slice(b"/.wh..wh..opq"),
        Body::Whiteout => {
            let at = entry.path.len() - name.len();
            entry.path.splice(at..at, *b".wh.");
        }
        Body::Device(block, numbers) => {
            entry.kind = if *block { Kind::BlockDevice } else { Kind::CharDevice };
            entry.device = *numbers;
        }
        Body::Inline(data) => {
            entry.size_bytes = data.len() as u64;
            writer.entry(&entry)?;
            return Ok(writer.content(data)?);
        }
        Body::File { root, path, size_bytes, digest } => {
            let root = roots.get(*root).ok_or_else(|| Error::failed("the list names a folder that is not there"))?;
            let file = root.open_file_in(path)?;
            entry.size_bytes = *size_bytes;
            writer.entry(&entry)?;
            return content(writer, file, *size_bytes, digest);
        }
    }
    Ok(writer.entry(&entry)?)
}

fn content(
    writer: &mut Writer<io::BufWriter<&mut dyn Write>>,
    mut file: File,
    size_bytes: u64,
    digest: &Digest,
) -> Result<()> {
    let changed = || Error::conflict("the file changed while it was copied").with_hint("build again");
    let mut hasher = Hasher::new();
    let mut left = size_bytes;
    let mut piece = vec![0; PIECE_BYTES];
    while left > 0 {
        let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = match file.read(&mut piece[..most]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            return Err(changed());
        }
        hasher.update(&piece[..count]);
        writer.content(&piece[..count])?;
        left -= count as u64;
    }
    if hasher.finish() == *digest { Ok(()) } else { Err(changed()) }
}
