//! Logs: written by the monitor, read by anyone, rotated by size.
//!
//! ```text
//! <state_dir>/<id>-json.log  .1  .2.gz …    one line of JSON an entry, Docker's json-file
//! <state_dir>/local.log      .1  .2.gz …    one message between its lengths an entry, Docker's local
//! ```
//!
//! The live file has no number; `.1` is the youngest of the older ones, which may be compressed. Those who hold the live
//! file open notice by its inode that it became an older one; a compressed file tells whose content it has. How often the
//! files were shifted stands beside them.
//!
//! ```text
//! cut     bytes of two streams → entries           json, local   an entry ↔ bytes of a file
//! write   what the monitor holds                   files         the files of a log, for the writer
//! read    selection, the last entries, following   source        the files of a log, for readers
//! shifts  how often they were shifted
//! remote  entries on their way to others           syslog, journald   an entry → a message
//! compress  a short-lived process of its own
//! ```
//!
//! The writer waits for nobody but the disk: who takes entries over a socket has a queue of bounded size.

pub mod compress;
mod cut;
mod files;
mod journald;
mod json;
mod local;
mod read;
mod remote;
mod shifts;
mod source;
mod syslog;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::files::clear;
pub use self::journald::SOCKET as JOURNAL;
pub use self::read::read;
pub use self::remote::Peer;
pub use self::write::Writer;
use crate::model::log::LogForm;

/// The longest piece of a line in one entry, in bytes; Docker's number.
pub const MAX_PIECE_BYTES: usize = 16 * 1024;
/// The most that goes with every entry as labels, variables and the tag, in bytes.
pub const MAX_ATTRS_BYTES: usize = 64 * 1024;
/// The longest entry of a file, in bytes: a piece in which every byte is escaped (`\u0000`) and given in hex, and what goes
/// with it, every byte escaped.
const MAX_ENTRY_BYTES: usize = (MAX_PIECE_BYTES + MAX_ATTRS_BYTES) * 8 + 256;

/// What a log says about its container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFacts {
    /// What goes with every entry: labels, variables, the tag.
    pub attrs: BTreeMap<String, String>,
    /// How the container is called in a log that many write to.
    pub tag: String,
    /// Its name.
    pub name: String,
    /// Its image, as the user wrote it.
    pub image: String,
    /// The machine's name.
    pub host: String,
    /// Who takes the entries; none when they are only kept here.
    pub peer: Option<Peer>,
}

/// The file with this number; 0 is the live one.
fn file(state_dir: &Path, id: &str, form: LogForm, number: u32) -> PathBuf {
    let name = match form {
        LogForm::Json => format!("{id}-json.log"),
        LogForm::Local => "local.log".to_owned(),
    };
    match number {
        0 => state_dir.join(name),
        number => state_dir.join(format!("{name}.{number}")),
    }
}

/// The name of a file when it is compressed.
fn compressed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    PathBuf::from(name)
}

/// Where it says how often the files were shifted.
fn shift_count(state_dir: &Path, id: &str, form: LogForm) -> PathBuf {
    let mut name = file(state_dir, id, form, 0).into_os_string();
    name.push(".shifts");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
