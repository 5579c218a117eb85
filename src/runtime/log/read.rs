//! The readers' side: the files in order, filters, the last lines, following until the container has ended.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Line, MAX_LINE_BYTES, file};
use crate::base::{Context as _, Error, Result};
use crate::model::log::{LogEntry, LogQuery};
use crate::runtime::state::{Life, life};
use crate::sys::fs::NO_FOLLOW;

/// How often a follower looks for more.
const FOLLOW_PAUSE: Duration = Duration::from_millis(20);
/// How much is read at once.
const BLOCK_BYTES: usize = 64 * 1024;

/// Gives the matching entries to `each` in order, until it breaks. With `follow` it goes on until the container has ended
/// (its monitor is gone) and everything was read.
///
/// # Errors
/// `corrupt` names file and offset of an unreadable line; `interrupted`; what `each` gives.
pub fn read(
    state_dir: &Path,
    run_dir: &Path,
    id: &str,
    query: &LogQuery,
    interrupt: &AtomicBool,
    each: &mut dyn FnMut(LogEntry) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let plain_tail = query.tail.filter(|_| query.since.is_none() && query.until.is_none() && query.stream.is_none());
    let (mut files, skip) = match plain_tail {
        Some(lines) => last_files(state_dir, id, lines)?,
        None => (all_files(state_dir, id)?, 0),
    };
    let mut live = files.pop_back();
    let mut sink = Sink { query, tail: query.tail.map(|_| VecDeque::new()), interrupt, each };
    let mut offset = skip;
    for mut older in files {
        older.offset = std::mem::take(&mut offset);
        if drain(&mut older, &mut sink)?.is_break() {
            return Ok(());
        }
    }
    if let Some(live) = &mut live {
        live.offset = offset;
        if drain(live, &mut sink)?.is_break() {
            return Ok(());
        }
    }
    if sink.give_tail()?.is_break() || !query.follow {
        return Ok(());
    }
    loop {
        // Asked before reading: what was written before the end is then read for certain.
        let alive = matches!(life(state_dir, run_dir)?, Life::Alive(_));
        let rotated = match &live {
            Some(live) => !live.is_at(&file(state_dir, id, 0)),
            None => true,
        };
        if let Some(live) = &mut live
            && drain(live, &mut sink)?.is_break()
        {
            return Ok(());
        }
        if rotated && let Some(next) = Source::open(file(state_dir, id, 0))? {
            live = Some(next);
            continue;
        }
        if !alive {
            return Ok(());
        }
        if interrupt.load(Ordering::Relaxed) {
            return Err(Error::interrupted("interrupted"));
        }
        std::thread::sleep(FOLLOW_PAUSE);
    }
}

/// A log file and how far it was read.
struct Source {
    path: PathBuf,
    file: File,
    /// Where the next line begins.
    offset: u64,
}

impl Source {
    fn open(path: PathBuf) -> Result<Option<Source>> {
        match OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(&path) {
            Ok(file) => Ok(Some(Source { path, file, offset: 0 })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::from(error).context(format!("opening the log {path:?}"))),
        }
    }

    fn is_at(&self, path: &Path) -> bool {
        match (self.file.metadata(), std::fs::symlink_metadata(path)) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        }
    }
}

/// Every file there is, oldest first.
fn all_files(state_dir: &Path, id: &str) -> Result<VecDeque<Source>> {
    let mut files = VecDeque::new();
    for number in 0.. {
        match Source::open(file(state_dir, id, number))? {
            Some(source) => files.push_front(source),
            None => break,
        }
    }
    Ok(files)
}

/// The files that hold the last `lines` lines, oldest first, and where in the first of them to begin.
fn last_files(state_dir: &Path, id: &str, lines: usize) -> Result<(VecDeque<Source>, u64)> {
    let mut files = VecDeque::new();
    let mut missing = lines;
    for number in 0.. {
        let Some(source) = Source::open(file(state_dir, id, number))? else { break };
        let (found, offset) = lines_from_end(&source, missing)?;
        files.push_front(source);
        missing -= found;
        if missing == 0 {
            return Ok((files, offset));
        }
    }
    Ok((files, 0))
}

/// How many whole lines up to `wanted` the file has, and where the first of those begins.
fn lines_from_end(source: &Source, wanted: usize) -> Result<(usize, u64)> {
    let doing = || format!("reading the log {:?}", source.path);
    let mut end = source.file.metadata().context(doing)?.len();
    let mut block = vec![0; BLOCK_BYTES];
    let mut newlines = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES as u64);
        let part = &mut block[..(end - start) as usize];
        source.file.read_exact_at(part, start).context(doing)?;
        for (at, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            // The newline before the first wanted line ends the search.
            if newlines == wanted {
                return Ok((wanted, start + at as u64 + 1));
            }
            newlines += 1;
        }
        end = start;
    }
    Ok((newlines, 0))
}

/// Filters, keeps the last lines when only those are wanted, gives the rest on.
struct Sink<'a> {
    query: &'a LogQuery,
    tail: Option<VecDeque<LogEntry>>,
    interrupt: &'a AtomicBool,
    each: &'a mut dyn FnMut(LogEntry) -> Result<ControlFlow<()>>,
}

impl Sink<'_> {
    fn take(&mut self, entry: LogEntry) -> Result<ControlFlow<()>> {
        let query = self.query;
        let wanted = query.since.is_none_or(|since| entry.time >= since)
            && query.until.is_none_or(|until| entry.time < until)
            && query.stream.is_none_or(|stream| entry.stream == stream);
        match &mut self.tail {
            _ if !wanted => Ok(ControlFlow::Continue(())),
            Some(tail) => {
                tail.push_back(entry);
                if tail.len() > query.tail.unwrap_or(0) {
                    tail.pop_front();
                }
                Ok(ControlFlow::Continue(()))
            }
            None => (self.each)(entry),
        }
    }

    /// Gives the collected last lines; from then on every entry goes through at once.
    fn give_tail(&mut self) -> Result<ControlFlow<()>> {
        for entry in self.tail.take().into_iter().flatten() {
            if (self.each)(entry)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Reads every whole line that is there. What has no end yet is left for the next time; after a killed monitor it never
/// gets one, and nobody misses it.
fn drain(source: &mut Source, sink: &mut Sink<'_>) -> Result<ControlFlow<()>> {
    use std::io::{BufRead as _, Seek as _};
    let doing = |source: &Source| format!("reading the log {:?}", source.path);
    source.file.seek(std::io::SeekFrom::Start(source.offset)).context(|| doing(source))?;
    let mut reader = std::io::BufReader::with_capacity(BLOCK_BYTES, &source.file);
    let mut line = Vec::new();
    loop {
        if sink.interrupt.load(Ordering::Relaxed) {
            return Err(Error::interrupted("interrupted"));
        }
        line.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        let count = reader.by_ref().take(limit).read_until(b'\n', &mut line).context(|| doing(source))?;
        if line.last() != Some(&b'\n') {
            if count as u64 == limit {
                return Err(unreadable(source, "the line is too long"));
            }
            return Ok(ControlFlow::Continue(()));
        }
        let entry = parse(&line).map_err(|why| unreadable(source, &why));
        source.offset += count as u64;
        match entry {
            Ok(entry) => {
                if sink.take(entry)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            // The piece of a line that a killed monitor or a full disk left, and that the next writer ended.
            Err(_) if line.starts_with(b"{\"log\":") && !line.ends_with(b"}\n") => {}
            Err(error) => return Err(error),
        }
    }
}

fn unreadable(source: &Source, why: &str) -> Error {
    Error::corrupt(format!("the log {:?} is unreadable at byte {}: {why}", source.path, source.offset))
}

fn parse(line: &[u8]) -> Result<LogEntry, String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let bytes = match &line.hex {
        Some(hex) => unhex(hex).ok_or("the field \"hex\" is malformed")?,
        None => line.log.into_owned().into_bytes(),
    };
    Ok(LogEntry { time: line.time, stream: line.stream, bytes })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()).collect()
}
