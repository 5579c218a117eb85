//! What a layer holds, read to its end and not unpacked: for whoever wants to know whether an archive is good without a
//! disk to put it on, tests of hostile ones and fuzzing above all.
//!
//! Names are checked and whiteouts read as unpacking does. What only a file system can refuse, such as a hard link to
//! nothing, is not seen here.

use std::io::{self, Read};

use super::decompress;
use super::unpack::{MOST_ENTRIES, clean};
use super::whiteout::{self, Name};
use crate::base::{Error, Result};
use crate::store::tar::read::Reader;
use crate::store::tar::shown;

/// The bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name, relative and plain; with `hides` the name that it hides.
    pub path: Vec<u8>,
    /// It is a whiteout.
    pub hides: bool,
    /// Bytes of its content, holes not counted.
    pub content_bytes: u64,
}

/// Reads a layer, compressed or not, of at most `most_bytes` bytes when it is not.
///
/// # Errors
/// As importing it, for what is wrong with the archive itself; `invalid_argument` when it is larger.
pub fn look(stream: impl Read, most_bytes: u64) -> Result<Vec<Seen>> {
    let (compression, stream) = decompress::detect(stream)?;
    let mut reader = Reader::new(decompress::decompress(compression, stream)?.take(most_bytes));
    let mut all = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    while let Some(entry) = reader.next()? {
        if all.len() as u64 >= MOST_ENTRIES {
            return Err(Error::invalid(format!("the archive has more than {MOST_ENTRIES} entries")));
        }
        let named = |error: Error| error.context(format!("looking at {}", shown(&entry.path)));
        let hidden = hidden_by(&entry.path).map_err(named)?;
        let hides = hidden.is_some();
        let path = hidden.map_or_else(|| clean(&entry.path), Ok).map_err(named)?;
        let mut content_bytes = 0;
        loop {
            match reader.content(&mut piece).map_err(named)? {
                0 => break,
                length => content_bytes += length as u64,
            }
        }
        all.push(Seen { path, hides, content_bytes });
    }
    let mut rest = reader.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    match rest.limit() {
        0 => Err(Error::invalid(format!("the archive has more than {most_bytes} bytes"))),
        _ => Ok(all),
    }
}

/// The clean path that an entry of this name hides in lower layers; none for an ordinary entry, and for one that makes its
/// folder opaque.
///
/// # Errors
/// `invalid_argument` for a name that leads out or hides nothing.
pub fn hidden_by(name: &[u8]) -> Result<Option<Vec<u8>>> {
    let path = clean(name)?;
    Ok(match whiteout::decode(&path)? {
        Name::Whiteout(hidden) => {
            let folder = path.iter().rposition(|byte| *byte == b'/').map_or(&path[..0], |at| &path[..=at]);
            Some([folder, hidden].concat())
        }
        Name::Plain | Name::Opaque | Name::Ignored => None,
    })
}
