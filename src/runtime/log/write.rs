//! The monitor's side: bytes of two streams to entries in files. It never fails and never waits for anything but the disk:
//! what cannot be written is counted, and said in the log itself as soon as there is room again.

use std::path::Path;

use super::cut::Cutter;
use super::files::Files;
use super::{LogFacts, json, local};
use crate::base::{Error, Result, Timestamp};
use crate::model::log::{LogForm, LogLoss, LogOptions, Stream};

/// So many bytes of entries are written at once; a read of many short lines becomes several writes.
const BATCH_BYTES: usize = 64 * 1024;

/// A log that is being written.
pub struct Writer {
    cutters: [Cutter; 2],
    kept: Option<Kept>,
}

impl Writer {
    /// The log of a container, going on where an earlier run ended. The file is made with the first output.
    ///
    /// # Errors
    /// `failed` when there is a link or something else than a file in its place.
    pub fn open(state_dir: &Path, id: &str, options: &LogOptions, facts: &LogFacts) -> Result<Writer> {
        let kept = match options.files() {
            None => None,
            Some(how) => Some(Kept {
                files: Files::new(state_dir, id, how)?,
                form: match how.form {
                    LogForm::Json => Encoder::Json(json::Encoder::new(facts)),
                    LogForm::Local => Encoder::Local(local::Encoder::new(facts)),
                },
                batch: Vec::new(),
                entries: Vec::new(),
                lost: LogLoss::default(),
                untold: LogLoss::default(),
                why: String::new(),
            }),
        };
        Ok(Writer { cutters: Default::default(), kept })
    }

    /// Adds what a stream gave. Whole lines, and pieces of long ones, go to the file at once.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.kept.is_none() {
            return;
        }
        let time = Timestamp::now();
        let Writer { cutters, kept } = self;
        cutters[stream as usize].cut(bytes, |entry| {
            if let Some(kept) = kept {
                kept.add(stream, time, entry);
            }
        });
        self.flush();
    }

    /// Writes lines that never got their end. The container has ended.
    pub fn finish(&mut self) {
        let time = Timestamp::now();
        let Writer { cutters, kept } = self;
        for stream in [Stream::Stdout, Stream::Stderr] {
            cutters[stream as usize].finish(|entry| {
                if let Some(kept) = kept {
                    kept.add(stream, time, entry);
                }
            });
        }
        self.flush();
    }

    /// Output that did not fit the disk.
    pub fn lost(&self) -> LogLoss {
        self.kept.as_ref().map_or(LogLoss::default(), |kept| kept.lost)
    }

    /// Forgets everything that was written. Those who follow go on with what comes.
    ///
    /// # Errors
    /// What removing the files gives.
    pub fn clear(&mut self) -> Result<()> {
        self.kept.as_mut().map_or(Ok(()), |kept| kept.files.clear())
    }

    fn flush(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.flush();
        }
    }
}

enum Encoder {
    Json(json::Encoder),
    Local(local::Encoder),
}

/// The part of a log that is kept in files.
struct Kept {
    files: Files,
    form: Encoder,
    /// Entries for the next write; kept for its allocation.
    batch: Vec<u8>,
    /// Where each entry of the batch ends, and how much of the output it is.
    entries: Vec<(usize, usize)>,
    lost: LogLoss,
    /// What was lost since it was last said.
    untold: LogLoss,
    why: String,
}

impl Kept {
    fn add(&mut self, stream: Stream, time: Timestamp, bytes: &[u8]) {
        let start = self.batch.len();
        match &mut self.form {
            Encoder::Json(encoder) => encoder.encode(stream, time, bytes, &mut self.batch),
            Encoder::Local(encoder) => encoder.encode(stream, time, bytes, &mut self.batch),
        }
        if let Err(error) = self.files.open() {
            self.batch.truncate(start);
            self.lose(bytes.len(), &error);
            return;
        }
        if self.batch.len() as u64 > self.files.room() && (start > 0 || !self.files.is_empty()) {
            let entry = self.batch.split_off(start);
            self.flush();
            self.files.rotate();
            self.batch.extend_from_slice(&entry);
        }
        self.entries.push((self.batch.len(), bytes.len()));
        if self.batch.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if !self.untold.is_none() {
            self.tell();
        }
        if let Err((written, error)) = self.files.append(&self.batch) {
            let whole = self.entries.iter().take_while(|(end, _)| *end <= written).count();
            let good = whole.checked_sub(1).map_or(0, |last| self.entries[last].0);
            self.files.take_back(written - good);
            for (_, bytes) in std::mem::take(&mut self.entries).into_iter().skip(whole) {
                self.lose(bytes, &error);
            }
        }
        self.batch.clear();
        self.entries.clear();
    }

    fn lose(&mut self, bytes: usize, error: &Error) {
        self.lost.add(bytes);
        self.untold.add(bytes);
        self.why = error.chain().pop().unwrap_or_else(|| error.message().to_owned());
    }

    /// Says in the log what is missing in it, if there is room.
    fn tell(&mut self) {
        let LogLoss { lines, bytes } = self.untold;
        let text = format!("rhumb: {lines} lines ({bytes} bytes) of output are missing here: {}\n", self.why);
        let mut entry = Vec::new();
        let (stream, time) = (Stream::Stderr, Timestamp::now());
        match &mut self.form {
            Encoder::Json(encoder) => encoder.encode(stream, time, text.as_bytes(), &mut entry),
            Encoder::Local(encoder) => encoder.encode(stream, time, text.as_bytes(), &mut entry),
        }
        match self.files.append(&entry) {
            Ok(()) => self.untold = LogLoss::default(),
            Err((written, _)) => self.files.take_back(written),
        }
    }
}
