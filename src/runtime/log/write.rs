//! The monitor's side: bytes of two streams to lines of JSON. It never fails and never blocks on anything but the disk:
//! what cannot be written is dropped and counted, since a full disk must not stop a container.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::{Line, MAX_PIECE_BYTES, file};
use crate::base::id::hex;
use crate::base::{Context as _, Error, Result, Timestamp};
use crate::model::log::{LogDriver, LogOptions, Stream};
use crate::sys::fs::NO_FOLLOW;

/// A log that is being written.
pub struct Writer {
    state_dir: PathBuf,
    id: String,
    options: LogOptions,
    /// None until there is something to write: a file less for each of the many containers that say nothing.
    live: Option<File>,
    live_bytes: u64,
    /// Lines that have no end yet.
    partial: [Vec<u8>; 2],
    /// Text for the next write; kept for its allocation.
    text: Vec<u8>,
    /// The last write ended inside a line.
    torn: bool,
    dropped_bytes: u64,
}

impl Writer {
    /// The log of a container, going on where an earlier run ended. The file is made with the first output.
    ///
    /// # Errors
    /// `failed` when there is a link or something else than a file in its place.
    pub fn open(state_dir: &std::path::Path, id: &str, options: &LogOptions) -> Result<Writer> {
        let path = file(state_dir, id, 0);
        if std::fs::symlink_metadata(&path).is_ok_and(|facts| !facts.is_file()) {
            return Err(Error::failed(format!("the log {path:?} is not an ordinary file")));
        }
        Ok(Writer {
            state_dir: state_dir.to_owned(),
            id: id.to_owned(),
            options: options.clone(),
            live: None,
            live_bytes: 0,
            partial: [Vec::new(), Vec::new()],
            text: Vec::new(),
            torn: false,
            dropped_bytes: 0,
        })
    }

    fn open_live(&mut self) -> Result<()> {
        let path = file(&self.state_dir, &self.id, 0);
        let doing = || format!("opening the log {path:?}");
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o640).custom_flags(NO_FOLLOW);
        let live = options.open(&path).context(doing)?;
        self.live_bytes = live.metadata().context(doing)?.len();
        self.torn = self.live_bytes > 0 && !ends_with_newline(&live, self.live_bytes);
        self.live = Some(live);
        Ok(())
    }

    /// Adds what a stream gave. Whole lines, and pieces of long ones, go to the file at once.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.options.driver == LogDriver::None {
            return;
        }
        let time = Timestamp::now();
        let mut partial = std::mem::take(&mut self.partial[stream as usize]);
        let mut rest = bytes;
        while !rest.is_empty() {
            let line_end = rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let room = MAX_PIECE_BYTES - partial.len();
            let take = line_end.unwrap_or(rest.len()).min(room);
            partial.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
            if partial.last() == Some(&b'\n') {
                self.add(stream, time, &partial);
                partial.clear();
            } else if partial.len() == MAX_PIECE_BYTES {
                let whole = whole_characters(&partial);
                self.add(stream, time, &partial[..whole]);
                partial.drain(..whole);
            }
        }
        self.partial[stream as usize] = partial;
        self.flush();
    }

    /// Writes lines that never got their end. The container has ended.
    pub fn finish(&mut self) {
        let time = Timestamp::now();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let partial = std::mem::take(&mut self.partial[stream as usize]);
            if !partial.is_empty() {
                self.add(stream, time, &partial);
            }
        }
        self.flush();
    }

    /// Bytes of text that did not fit the disk.
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    fn add(&mut self, stream: Stream, time: Timestamp, bytes: &[u8]) {
        let line = match std::str::from_utf8(bytes) {
            Ok(text) => Line { log: Cow::Borrowed(text), stream, time, hex: None },
            Err(_) => Line { log: String::from_utf8_lossy(bytes), stream, time, hex: Some(Cow::Owned(hex(bytes))) },
        };
        let start = self.text.len();
        // Writing to a Vec cannot fail, and the value is plain data; a failure would only lose this line.
        if serde_json::to_writer(&mut self.text, &line).is_err() {
            self.text.truncate(start);
            return;
        }
        self.text.push(b'\n');
    }

    fn flush(&mut self) {
        if self.text.is_empty() {
            return;
        }
        if self.live.is_none() && self.open_live().is_err() {
            self.dropped_bytes += self.text.len() as u64;
            self.text.clear();
            return;
        }
        self.rotate_if_full();
        let Some(live) = &mut self.live else { return };
        if self.torn {
            // The piece of a line before us gets an end, so that only it is unreadable.
            self.text.insert(0, b'\n');
            self.torn = false;
        }
        let mut written = 0;
        while written < self.text.len() {
            match live.write(&self.text[written..]) {
                Ok(count) if count > 0 => written += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                _ => {
                    self.torn = written > 0 && self.text[written - 1] != b'\n';
                    self.dropped_bytes += (self.text.len() - written) as u64;
                    break;
                }
            }
        }
        self.live_bytes += written as u64;
        self.text.clear();
    }

    /// Shifts the files when the live one has reached its size. What fails is tried again at the next line.
    fn rotate_if_full(&mut self) {
        let Some(max) = self.options.max_size_bytes else { return };
        if self.live_bytes == 0 || self.live_bytes + self.text.len() as u64 <= max {
            return;
        }
        let keep = self.options.max_files.unwrap_or(1).max(1);
        let name = |number| file(&self.state_dir, &self.id, number);
        let shifted = if keep == 1 {
            std::fs::remove_file(name(0))
        } else {
            for number in (1..keep - 1).rev() {
                // There are as many older files as there were rotations; a missing one is no fault.
                let _ = std::fs::rename(name(number), name(number + 1));
            }
            std::fs::rename(name(0), name(1))
        };
        if shifted.is_ok() && self.open_live().is_err() {
            self.live_bytes = 0; // the old descriptor goes on: better a file without a name than no container
        }
    }
}

fn ends_with_newline(file: &File, len: u64) -> bool {
    use std::os::unix::fs::FileExt as _;
    let mut last = [0];
    file.read_exact_at(&mut last, len - 1).is_ok() && last[0] == b'\n'
}

/// How much of `bytes` ends on a character: at most three bytes less, if it is UTF-8 at all.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}
