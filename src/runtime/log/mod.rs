//! Docker's json-file log: written by the monitor, read by anyone, rotated by size.
//!
//! ```text
//! <state_dir>/<id>-json.log  .1  .2 …      {"log":"text\n","stream":"stdout","time":"2026-01-31T12:00:00.123456789Z"}
//! ```
//!
//! The live file has no number; `.1` is the youngest of the older ones. JSON text is Unicode, which output need not be:
//! a piece that is not UTF-8 is shown with replacement characters, as Docker does, and its bytes are kept exactly in a
//! further field, `"hex"`, which other readers ignore.

mod read;
mod write;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::read::read;
pub use self::write::Writer;
use crate::base::Timestamp;
use crate::model::log::Stream;

/// The longest piece of a line in one entry, in bytes; Docker's number.
pub const MAX_PIECE_BYTES: usize = 16 * 1024;
/// The longest line of a log file, in bytes: a piece in which every byte is escaped (`\u0000`) and given in hex.
const MAX_LINE_BYTES: usize = MAX_PIECE_BYTES * 8 + 256;

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    stream: Stream,
    time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    hex: Option<Cow<'a, str>>,
}

/// The file with this number; 0 is the live one.
fn file(state_dir: &Path, id: &str, number: u32) -> PathBuf {
    match number {
        0 => state_dir.join(format!("{id}-json.log")),
        number => state_dir.join(format!("{id}-json.log.{number}")),
    }
}

#[cfg(test)]
mod tests;
