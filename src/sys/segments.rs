//! A log of lines that many processes append to at once, in segments of limited size, of which the oldest go.
//!
//! ```text
//! <folder>/0000000001.jsonl     full: as long as a segment may be, or longer by the last lines; nobody appends to it again
//! <folder>/0000000002.jsonl     the last one: lines go here
//! ```
//!
//! A line is one write(2) to a file opened with O_APPEND, which the kernel does under the file's lock: lines of several
//! writers never mix. There is no other lock that anybody could be caught holding. A writer has a shared flock(2) on the
//! segment while it writes, and takes the next one when the segment is full, or when that lock is refused; whoever must
//! know that no more lines will come into a full segment takes the exclusive lock for a moment ([`is_over`]). Nobody ever
//! waits for either.
//!
//! Whoever is killed in the middle of a line, or finds the disk full there, leaves a beginning of it. Lines that begin with
//! a line end of their own are not harmed by that.
//!
//! It does not know what the lines say, and does not make them survive a power cut.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::sys::fs::NO_FOLLOW;

/// How large such a log may become.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A segment of this many bytes is full.
    pub segment_bytes: u64,
    /// So many segments are kept, the last one included.
    pub segments: usize,
}

/// The log of events: 16 MiB, some fifty thousand of them.
pub const EVENTS: Limits = Limits { segment_bytes: 2 * 1024 * 1024, segments: 8 };

/// Digits in a segment's name.
const DIGITS: usize = 10;
const EXTENSION: &str = ".jsonl";
/// How many segments that others have filled, or that are no files, are passed by before a writer gives up.
const MOST_PASSED: usize = 64;

/// Appends `line`, making folder (mode 0700) and segment (mode 0600) as needed, and taking away the oldest segments when a
/// new one begins.
///
/// # Errors
/// What the steps give; a full disk may keep a beginning of the line.
pub fn append(folder: &Path, line: &[u8], limits: Limits) -> io::Result<()> {
    let there = match list(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            Vec::new()
        }
        there => there?,
    };
    let mut number = there.last().copied().unwrap_or(1);
    for _ in 0..MOST_PASSED {
        if append_to(&path(folder, number), line, limits)? {
            // The first line of a new segment: whoever wrote it takes the oldest away. Two of them do no harm.
            if there.last().is_some_and(|last| *last != number) {
                remove_oldest(folder, limits)?;
            }
            return Ok(());
        }
        number = number.checked_add(1).ok_or_else(|| io::Error::other("there are no more numbers for segments"))?;
    }
    Err(io::Error::other("all segments are full at once"))
}

/// False when the segment is full, or is no file.
fn append_to(path: &Path, line: &[u8], limits: Limits) -> io::Result<bool> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(NO_FOLLOW).open(path);
    let mut file = match opened {
        Ok(file) => file,
        // A link, a folder, a FIFO without a reader: nothing that we made.
        Err(error) if std::fs::symlink_metadata(path).is_ok_and(|facts| !facts.is_file()) => {
            drop(error);
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let takes_more = |file: &File| file.metadata().map(|facts| facts.is_file() && facts.len() < limits.segment_bytes);
    if !takes_more(&file)? {
        return Ok(false);
    }
    match file.try_lock_shared() {
        Ok(()) => {}
        // Somebody makes sure that it is over.
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Others may have filled it, and a reader may have left it, before the lock was ours.
    if !takes_more(&file)? {
        return Ok(false);
    }
    match file.write(line)? {
        written if written == line.len() => Ok(true),
        _ => Err(ErrorKind::StorageFull.into()),
    }
}

fn remove_oldest(folder: &Path, limits: Limits) -> io::Result<()> {
    let there = list(folder)?;
    for number in &there[..there.len().saturating_sub(limits.segments)] {
        match std::fs::remove_file(path(folder, *number)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The numbers of the segments, rising.
///
/// # Errors
/// `NotFound` when there is no such folder, and what reading it gives.
pub fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        numbers.extend(entry?.file_name().to_str().and_then(number_of));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let plain = digits.len() >= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| plain && path_name(*number) == name)
}

fn path_name(number: u64) -> String {
    format!("{number:0DIGITS$}{EXTENSION}")
}

/// Where a segment is.
pub fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(path_name(number))
}

/// Opens a segment to read it; none when it is gone.
///
/// # Errors
/// `InvalidData` when it is no file; what opening gives.
pub fn open(folder: &Path, number: u64) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path(folder, number)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.metadata()?.is_file() {
        true => Ok(Some(file)),
        false => Err(io::Error::new(ErrorKind::InvalidData, "it is not a file")),
    }
}

/// Nothing will be appended to this segment any more: what is read after this is all of it. `false` may change.
///
/// # Errors
/// What looking at it gives.
pub fn is_over(folder: &Path, number: u64, segment: &File, limits: Limits) -> io::Result<bool> {
    // One that has a successor was full once, whatever has been cut from it since.
    let full = segment.metadata()?.len() >= limits.segment_bytes;
    if !full && list(folder)?.last().is_none_or(|last| *last <= number) {
        return Ok(false);
    }
    match segment.try_lock() {
        Ok(()) => segment.unlock().map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { segment_bytes: 100, segments: 3 };

    #[test]
    fn a_full_segment_is_followed_by_another_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        for number in 0..95 {
            append(&folder, format!("line {number:04}\n").as_bytes(), LIMITS).unwrap();
        }
        let there = list(&folder).unwrap();
        assert_eq!(there, [8, 9, 10]);
        let text: String =
            there.iter().map(|number| std::fs::read_to_string(path(&folder, *number)).unwrap()).collect();
        let expected: String = (70..95).map(|number| format!("line {number:04}\n")).collect();
        assert_eq!(text, expected);
        let is_over = |number| is_over(&folder, number, &open(&folder, number).unwrap().unwrap(), LIMITS).unwrap();
        assert!(is_over(9) && !is_over(10));
        File::options().write(true).open(path(&folder, 9)).unwrap().set_len(5).unwrap();
        assert!(is_over(9));
        assert!(open(&folder, 1).unwrap().is_none());
    }

    #[test]
    fn what_is_no_segment_is_passed_by() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::create_dir(path(folder, 3)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path(folder, 4)).unwrap();
        for name in ["5.jsonl", "x", "0000000099.json", "00000000001.jsonl", "-000000099.jsonl"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        append(folder, b"line\n", LIMITS).unwrap();
        assert_eq!(list(folder).unwrap(), [3, 4, 5]);
        assert_eq!(std::fs::read(path(folder, 5)).unwrap(), b"line\n");
        assert!(open(folder, 3).is_err() && open(folder, 4).is_err());
    }

    #[test]
    fn writers_leave_a_segment_that_a_reader_left() {
        let folder = tempfile::tempdir().unwrap();
        append(folder.path(), &[b'x'; 99], LIMITS).unwrap();
        let reader = open(folder.path(), 1).unwrap().unwrap();
        assert!(!is_over(folder.path(), 1, &reader, LIMITS).unwrap());
        // One that has the lock is not waited for.
        reader.lock().unwrap();
        append(folder.path(), b"y", LIMITS).unwrap();
        assert_eq!(list(folder.path()).unwrap(), [1, 2]);
    }
}
