//! How often the files of a log were shifted, so that a follower knows how many of them went before it could read them:
//! inodes are used again, and numbers in names move.
//!
//! ```text
//! <log>.shifts    twice the number of shifts, and one more while the files are being shifted, in decimal
//! ```
//!
//! A log that was never shifted has no such file. It is written over in its own block, which needs no space on a full disk;
//! where even the first one cannot be made, followers are not told what they missed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::sys::fs::NO_FOLLOW;

/// Digits of the largest number, and a line end.
const LENGTH: usize = 21;

/// A shift under way.
pub(super) struct Shift {
    file: File,
    count: u64,
}

/// Says that the files are being shifted; none when that cannot be written.
pub(super) fn begin(path: &Path) -> Option<Shift> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o640).custom_flags(NO_FOLLOW);
    let file = options.open(path).ok()?;
    // One that a killed writer did not end counts as well.
    let count = count(&file).next_multiple_of(2) + 1;
    write(&file, count)?;
    Some(Shift { file, count })
}

impl Shift {
    /// Says that they are shifted.
    pub(super) fn end(self) {
        // What was written a moment ago can be written over.
        let _ = write(&self.file, self.count + 1);
    }
}

/// How often they were shifted; none while they are.
pub(super) fn read(path: &Path) -> Option<u64> {
    let file = OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path);
    let count = file.map_or(0, |file| count(&file));
    count.is_multiple_of(2).then_some(count / 2)
}

fn count(file: &File) -> u64 {
    let mut text = [0; LENGTH];
    let length = file.read_at(&mut text, 0).unwrap_or(0);
    std::str::from_utf8(&text[..length]).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn write(file: &File, count: u64) -> Option<()> {
    file.write_all_at(format!("{count:020}\n").as_bytes(), 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_are_counted_also_the_one_that_was_not_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shifts");
        assert_eq!(read(&path), Some(0));
        let shift = begin(&path).unwrap();
        assert_eq!(read(&path), None);
        shift.end();
        assert_eq!(read(&path), Some(1));
        drop(begin(&path).unwrap());
        assert_eq!(read(&path), None);
        begin(&path).unwrap().end();
        assert_eq!(read(&path), Some(3));
    }
}
