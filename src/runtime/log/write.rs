//! The monitor's side: bytes of two streams to entries in files and on sockets. It never fails and never waits for anything
//! but the disk: what cannot be written is counted, and said in the log itself as soon as there is room again.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use super::cut::Cutter;
use super::files::Files;
use super::remote::{Form, Remote};
use super::{LogFacts, journald, json, local, syslog};
use crate::base::{Error, Result, Timestamp};
use crate::model::log::{DEFAULT_BUFFER_BYTES, LogDriver, LogForm, LogLoss, LogOptions, Stream};

/// So many bytes of entries are written at once; a read of many short lines becomes several writes.
const BATCH_BYTES: usize = 64 * 1024;

/// How much of a stream is taken at once when its entries go over a socket: each has a head, which is longer than a short
/// line, and what the receiver does not take must wait here.
const REMOTE_READ_BYTES: usize = 4 * 1024;

/// A log that is being written.
pub struct Writer {
    cutters: [Cutter; 2],
    kept: Option<Kept>,
    remote: Option<Remote>,
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
        let form = match options.driver {
            LogDriver::Syslog => Some(Form::Syslog(syslog::Encoder::new(&options.syslog, facts))),
            LogDriver::Journald => Some(Form::Journald(journald::Encoder::new(id, facts))),
            LogDriver::JsonFile | LogDriver::Local | LogDriver::None => None,
        };
        let limit = options.max_buffer_bytes.unwrap_or(DEFAULT_BUFFER_BYTES);
        let limit = options.non_blocking.then_some(usize::try_from(limit).unwrap_or(usize::MAX));
        let remote = facts.peer.clone().zip(form).map(|(peer, form)| Remote::new(peer, form, limit));
        Ok(Writer { cutters: Default::default(), kept, remote })
    }

    /// Adds what a stream gave. Whole lines, and pieces of long ones, go to the file at once.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.kept.is_none() && self.remote.is_none() {
            return;
        }
        let time = Timestamp::now();
        let Writer { cutters, kept, remote } = self;
        cutters[stream as usize].cut(bytes, |entry| add(kept, remote, stream, time, entry));
        self.flush();
    }

    /// Writes lines that never got their end, and gives who takes entries a moment for the last ones. The container has
    /// ended.
    pub fn finish(&mut self) {
        let time = Timestamp::now();
        let Writer { cutters, kept, remote } = self;
        for stream in [Stream::Stdout, Stream::Stderr] {
            cutters[stream as usize].finish(|entry| add(kept, remote, stream, time, entry));
        }
        self.flush();
        if let Some(remote) = &mut self.remote {
            remote.finish();
        }
        if let Some(kept) = &mut self.kept {
            kept.files.stop_compressing();
        }
    }

    /// Output that did not get into the log: the disk was full, or who takes entries was slow or not there.
    pub fn lost(&self) -> LogLoss {
        let kept = self.kept.as_ref().map(|kept| kept.lost);
        let remote = self.remote.as_ref().map(Remote::lost);
        kept.into_iter().chain(remote).fold(LogLoss::default(), LogLoss::and)
    }

    /// How many bytes of a stream may be written at once, at most `usual`.
    pub(in crate::runtime) fn appetite(&self, usual: usize) -> usize {
        if self.remote.is_some() { usual.min(REMOTE_READ_BYTES) } else { usual }
    }

    /// The container has to wait: who takes its entries is slow, and none may be dropped.
    pub(in crate::runtime) fn is_full(&self) -> bool {
        self.remote.as_ref().is_some_and(Remote::is_full)
    }

    /// What is to become writable before [`Writer::flush`] can do more.
    pub(in crate::runtime) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.remote.as_ref()?.waits_for()
    }

    /// How long until [`Writer::flush`] is to be called; none when it need not be.
    pub(in crate::runtime) fn left(&self) -> Option<Duration> {
        self.remote.as_ref()?.left()
    }

    /// A child of this process has ended: true when it was the log's.
    pub(in crate::runtime) fn child_ended(&mut self, pid: i32, code: i32) -> bool {
        self.kept.as_mut().is_some_and(|kept| kept.files.child_ended(pid, code))
    }

    /// Forgets everything that was written here. Those who follow go on with what comes.
    ///
    /// # Errors
    /// What removing the files gives.
    pub fn clear(&mut self) -> Result<()> {
        self.kept.as_mut().map_or(Ok(()), |kept| kept.files.clear())
    }

    /// Writes what waits.
    pub(in crate::runtime) fn flush(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.flush();
        }
        if let Some(remote) = &mut self.remote {
            remote.flush();
        }
    }
}

fn add(kept: &mut Option<Kept>, remote: &mut Option<Remote>, stream: Stream, time: Timestamp, entry: &[u8]) {
    if let Some(kept) = kept {
        kept.add(stream, time, entry);
    }
    if let Some(remote) = remote {
        remote.add(stream, time, entry);
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
