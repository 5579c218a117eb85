//! The files of a log at the writer's side: append, rotate, clear. It never fails: what cannot be written is counted, since a
//! full disk must not stop a container.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{MAX_ENTRY_BYTES, compress, compressed, file, local, shift_count, shifts};
use crate::base::{Context as _, Error, Result};
use crate::model::log::{LogFiles, LogForm};
use crate::sys::fs::NO_FOLLOW;

/// The live file of a log and the older ones beside it.
pub(super) struct Files {
    state_dir: PathBuf,
    id: String,
    how: LogFiles,
    /// None until there is something to write: a file less for each of the many containers that say nothing.
    live: Option<File>,
    live_bytes: u64,
    /// Who compresses which of the older files.
    compressing: Option<(compress::Running, u32)>,
}

impl Files {
    /// # Errors
    /// `failed` when there is a link or something else than a file in the live one's place.
    pub(super) fn new(state_dir: &Path, id: &str, how: LogFiles) -> Result<Files> {
        let files = Files {
            state_dir: state_dir.to_owned(),
            id: id.to_owned(),
            how,
            live: None,
            live_bytes: 0,
            compressing: None,
        };
        let path = files.path(0);
        if std::fs::symlink_metadata(&path).is_ok_and(|facts| !facts.is_file()) {
            return Err(Error::failed(format!("the log {path:?} is not an ordinary file")));
        }
        Ok(files)
    }

    fn path(&self, number: u32) -> PathBuf {
        file(&self.state_dir, &self.id, self.how.form, number)
    }

    /// How many bytes the live file takes before the next one begins.
    pub(super) fn room(&self) -> u64 {
        match self.how.max_size_bytes {
            Some(max) => max.saturating_sub(self.live_bytes),
            None => u64::MAX,
        }
    }

    /// Nothing is in the live file: rotating it would be in vain.
    pub(super) fn is_empty(&self) -> bool {
        self.live_bytes == 0
    }

    /// Opens the live file, so that [`Files::room`] is true.
    pub(super) fn open(&mut self) -> Result<()> {
        if self.live.is_some() {
            return Ok(());
        }
        let path = self.path(0);
        let doing = || format!("opening the log {path:?}");
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o640).custom_flags(NO_FOLLOW);
        let live = options.open(&path).context(doing)?;
        let length = live.metadata().context(doing)?.len();
        // A monitor was killed inside a write: what it left of an entry goes, so that the next one can be read.
        self.live_bytes = whole_entries(&live, length, self.how.form).context(doing)?;
        if self.live_bytes < length {
            live.set_len(self.live_bytes).context(doing)?;
        }
        self.live = Some(live);
        Ok(())
    }

    /// Appends; returns how many bytes are in the file, which are less than all when the disk is full.
    pub(super) fn append(&mut self, bytes: &[u8]) -> std::result::Result<(), (usize, Error)> {
        self.open().map_err(|error| (0, error))?;
        let Some(live) = &mut self.live else { return Ok(()) };
        let mut written = 0;
        while written < bytes.len() {
            let error = match live.write(&bytes[written..]) {
                Ok(count) if count > 0 => {
                    written += count;
                    self.live_bytes += count as u64;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
                Ok(_) => ErrorKind::WriteZero.into(),
            };
            return Err((written, Error::from(error).context("writing the log")));
        }
        Ok(())
    }

    /// Takes the last `bytes` back: they are a part of an entry.
    pub(super) fn take_back(&mut self, bytes: usize) {
        let Some(live) = &self.live else { return };
        let wanted = self.live_bytes.saturating_sub(bytes as u64);
        // Making a file shorter needs no space. Should it fail all the same, the next opening repairs the file.
        match live.set_len(wanted) {
            Ok(()) => self.live_bytes = wanted,
            Err(_) => self.live = None,
        }
    }

    /// Shifts the files: the live one becomes the youngest of the older ones. What fails is tried again at the next entry.
    pub(super) fn rotate(&mut self) {
        let shift = shifts::begin(&shift_count(&self.state_dir, &self.id, self.how.form));
        let oldest = self.how.max_files - 1;
        let shifted = if oldest == 0 {
            std::fs::remove_file(self.path(0))
        } else {
            // There are as many older files as there were rotations, and a killed writer may have left a gap.
            let last = (1..oldest).find(|number| !is_there(&self.path(*number))).unwrap_or(oldest);
            self.forget(last);
            for number in (1..last).rev() {
                let (from, to) = (self.path(number), self.path(number + 1));
                // One of the two is there; another reason than that shows itself at the next rename onto it.
                let _ = std::fs::rename(&from, &to);
                let _ = std::fs::rename(compressed(&from), compressed(&to));
            }
            if let Some((_, number)) = self.compressing.as_mut().filter(|(_, number)| *number < last) {
                *number += 1;
            }
            std::fs::rename(self.path(0), self.path(1))
        };
        if let Some(shift) = shift {
            shift.end();
        }
        match shifted {
            Ok(()) => self.live = None,
            Err(error) if error.kind() == ErrorKind::NotFound => self.live = None,
            Err(_) => self.live_bytes = 0, // better a file that is too long than no log
        }
        self.compress();
    }

    /// Removes an older file in whichever form it is.
    fn forget(&mut self, number: u32) {
        if self.compressing.as_ref().is_some_and(|(_, compressing)| *compressing == number) {
            self.stop_compressing();
        }
        let path = self.path(number);
        for path in [compressed(&path), path] {
            // It need not be there; another reason shows itself at the next rename onto it.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Where a file is compressed to before it gets its name.
    fn unfinished(&self) -> PathBuf {
        let mut name = compressed(&self.path(0)).into_os_string();
        name.push(".tmp");
        PathBuf::from(name)
    }

    /// Has the youngest plain one of the older files compressed, unless one is under way. What fails leaves it plain.
    fn compress(&mut self) {
        if !self.how.compress || self.compressing.is_some() {
            return;
        }
        let Some((number, from)) = (1..self.how.max_files).find_map(|number| {
            let file = OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(self.path(number)).ok()?;
            Some((number, file))
        }) else {
            return;
        };
        // One that an earlier monitor began may be there.
        let _ = std::fs::remove_file(self.unfinished());
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o640).custom_flags(NO_FOLLOW);
        let started = options.open(self.unfinished()).and_then(|to| compress::start(from, to));
        self.compressing = started.ok().map(|process| (process, number));
    }

    /// A child of this process has ended: true when it was ours.
    pub(super) fn child_ended(&mut self, pid: i32, code: i32) -> bool {
        if self.compressing.as_ref().is_none_or(|(process, _)| !process.is(pid)) {
            return false;
        }
        let Some((_, number)) = self.compressing.take() else { return false };
        let plain = self.path(number);
        let named = code == 0 && std::fs::rename(self.unfinished(), compressed(&plain)).is_ok();
        // Readers look for the plain one first, so that one of the two is always there.
        if named && std::fs::remove_file(&plain).is_ok() {
            self.compress();
        } else {
            let _ = std::fs::remove_file(self.unfinished()); // the next one would replace it
        }
        true
    }

    /// Ends what is being compressed; the file stays as it is, for the next run or for ever.
    pub(super) fn stop_compressing(&mut self) {
        if let Some((process, _)) = self.compressing.take() {
            process.kill();
            let _ = std::fs::remove_file(self.unfinished()); // the next one would replace it
        }
    }

    /// Removes everything that was written.
    ///
    /// # Errors
    /// What removing gives; the oldest files go first, so that what is left has no gap.
    pub(super) fn clear(&mut self) -> Result<()> {
        self.stop_compressing();
        let _ = std::fs::remove_file(self.unfinished()); // one that a killed monitor left; the next one would replace it
        // What followers did not read and the user does not want is not missed.
        let count = shift_count(&self.state_dir, &self.id, self.how.form);
        let shift = is_there(&count).then(|| shifts::begin(&count)).flatten();
        let cleared = clear(&self.state_dir, &self.id, self.how.form);
        if let Some(shift) = shift {
            shift.end();
        }
        cleared?;
        self.live = None;
        self.live_bytes = 0;
        Ok(())
    }
}

/// Removes every file of a log that nobody writes. The oldest go first, so that what is left after a failure has no gap.
///
/// # Errors
/// What removing gives.
pub fn clear(state_dir: &Path, id: &str, form: LogForm) -> Result<()> {
    let path = |number| file(state_dir, id, form, number);
    // A killed writer may have left one number out.
    let oldest = (1..).find(|number| !is_there(&path(*number)) && !is_there(&path(number + 1))).unwrap_or(1);
    for number in (0..oldest).rev() {
        for path in [compressed(&path(number)), path(number)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::from(error).context(format!("removing {path:?}")));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// There is a file of this name, plain or compressed.
fn is_there(path: &Path) -> bool {
    [path, &compressed(path)].into_iter().any(|path| path.symlink_metadata().is_ok())
}

/// How much of a file is whole entries.
fn whole_entries(live: &File, length: u64, form: LogForm) -> std::io::Result<u64> {
    if length == 0 {
        return Ok(0);
    }
    match form {
        LogForm::Json => {
            let start = length.saturating_sub(MAX_ENTRY_BYTES as u64);
            let mut end = length;
            // The usual case is a file that ends with a line.
            let mut block = vec![0; 1];
            while end > start {
                let from = end.saturating_sub(block.len() as u64).max(start);
                let part = &mut block[..(end - from) as usize];
                live.read_exact_at(part, from)?;
                if let Some(at) = memchr::memrchr(b'\n', part) {
                    return Ok(from + at as u64 + 1);
                }
                end = from;
                block.resize(4096, 0);
            }
            // Not what we write; it stays for whoever wants to look at it, and is told to be unreadable.
            Ok(if start == 0 { 0 } else { length })
        }
        LogForm::Local => {
            if local::entry_before(live, length)?.is_some() {
                return Ok(length);
            }
            let mut offset = 0;
            let mut head = [0; local::LENGTH];
            while offset + (local::LENGTH as u64) < length {
                live.read_exact_at(&mut head, offset)?;
                match local::entry_length(&head) {
                    Ok(Some(entry)) if offset + entry as u64 <= length => offset += entry as u64,
                    _ => break,
                }
            }
            Ok(offset)
        }
    }
}
