//! The tar format: entries out of a stream and into one, every byte of it hostile.
//!
//! The headers are those of the `tar` crate (whose own unpacking turns pipes and devices into files and leaves PAX-sparse
//! files apart); the loop around them is ours, so that sizes are bounded, errors name the offset, and all three forms of
//! sparse files are understood. It touches no file system: see [`crate::store::layer`] and [`crate::store::pack`].
//!
//! Formats: POSIX.1-2017 `pax` ("ustar Interchange Format", "pax Extended Header"), GNU tar manual, "Storing Sparse
//! Files" and "Basic Tar Format".

pub(crate) mod number;
pub(crate) mod pax;
pub(crate) mod read;
pub(crate) mod sparse;
pub(crate) mod write;

use crate::sys::node::Time;

/// The unit of everything.
pub(crate) const BLOCK: usize = 512;

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An ordinary file with content.
    File,
    /// A further name of an earlier entry, named by `link`.
    HardLink,
    /// A symbolic link to `link`.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A folder.
    Dir,
    /// A named pipe.
    Fifo,
}

/// One entry with everything that extended headers said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name as written, any bytes but NUL.
    pub(crate) path: Vec<u8>,
    /// The target of a link as written.
    pub(crate) link: Vec<u8>,
    /// What it makes.
    pub(crate) kind: Kind,
    /// Permissions with the set-id and sticky bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// When the content changed.
    pub(crate) mtime: Time,
    /// Bytes of a file, holes included.
    pub(crate) size_bytes: u64,
    /// Where a sparse file has data, in order: offset and length.
    pub(crate) data: Option<Vec<(u64, u64)>>,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    /// Extended attributes, as `SCHILY.xattr.` records give them.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where its header begins in the stream.
    pub(crate) offset: u64,
}

/// Bytes for a message: quoted, escaped, cut.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
    let more = if bytes.len() > LONGEST { "…" } else { "" };
    format!("\"{}{more}\"", text.escape_debug())
}
