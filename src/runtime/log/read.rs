//! Reading a log: selection, the last entries, following until the container has ended.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::file;
use super::source::{self, Decoder, Next, Source};
use crate::base::{Context as _, Error, Result, Timestamp};
use crate::model::log::{LogEntry, LogForm, LogQuery, LogSink, Stream};
use crate::runtime::state::{Life, life};
use crate::sys::notify;
use crate::sys::socket::{self, Interest};

/// How often a follower looks for what no watch tells: the end of the monitor, an interruption.
const FOLLOW_PAUSE: Duration = Duration::from_millis(50);
/// How long a follower lets things come in before it looks, so that it reads much at once.
const GATHER: Duration = Duration::from_millis(2);

/// Gives the matching entries to `sink` in order, until it breaks. With `follow` it goes on until the container has ended
/// (its monitor is gone, also after restarts) and everything was read, or `until` has come.
///
/// # Errors
/// `corrupt` names file and offset of an unreadable entry; `interrupted`; what `sink` gives.
pub fn read(
    state_dir: &Path,
    run_dir: &Path,
    id: &str,
    form: LogForm,
    query: &LogQuery,
    interrupt: &AtomicBool,
    sink: &mut dyn LogSink,
) -> Result<()> {
    // Before the first look: what is written after it wakes us.
    let watch = query.follow.then(|| notify::watch_folder(state_dir).ok()).flatten();
    // As with Docker, the end of a run is the end, also when another one follows.
    let run = if query.follow { run_of(state_dir, run_dir)? } else { None };
    // With a stream of its own, only reading everything tells which entries are the last ones.
    let files = match query.tail.filter(|_| query.stream.is_none()) {
        Some(entries) => source::last(state_dir, id, form, entries)?,
        None => source::all(state_dir, id, form, query.since.filter(|_| query.tail.is_none()))?,
    };
    let tail = query.tail.filter(|_| query.stream.is_some()).map(|entries| Tail { entries, kept: VecDeque::new() });
    let mut reader = Reader { query, tail, interrupt, sink, decoder: Decoder::new(form) };
    let mut place = Place { state_dir, id, form, current: None, next: VecDeque::new() };
    for mut source in files {
        if reader.drain(&mut source)?.is_break() {
            return Ok(());
        }
        place.current = Some(source);
    }
    if reader.give_tail()?.is_break() || !query.follow {
        return Ok(());
    }
    loop {
        // Asked before reading: what was written before the end is then read for certain.
        let alive = run.is_some() && run_of(state_dir, run_dir)? == run;
        if reader.follow(&mut place)?.is_break() {
            return Ok(());
        }
        if !alive || query.until.is_some_and(|until| Timestamp::now() > until) || reader.sink.pause()?.is_break() {
            return Ok(());
        }
        if interrupt.load(Ordering::Relaxed) {
            return Err(Error::interrupted("interrupted"));
        }
        pause(watch.as_ref())?;
    }
}

/// Where a follower is.
struct Place<'a> {
    state_dir: &'a Path,
    id: &'a str,
    form: LogForm,
    current: Option<Source>,
    /// The files after that one, as far as they are known: held open, they are not lost when the writer removes them.
    next: VecDeque<Source>,
}

impl Place<'_> {
    /// Goes to the next file, if there is one; how many there were between that are gone.
    fn go_on(&mut self) -> Result<Option<u64>> {
        let mut missed = 0;
        if self.next.is_empty() {
            (self.next, missed) = source::after(self.current.as_ref(), self.state_dir, self.id, self.form)?;
        }
        let Some(next) = self.next.pop_front() else { return Ok(None) };
        self.current = Some(next);
        Ok(Some(missed))
    }
}

/// The run that is under way, known by its beginning.
fn run_of(state_dir: &Path, run_dir: &Path) -> Result<Option<Timestamp>> {
    Ok(match life(state_dir, run_dir)? {
        Life::Alive(run) if run.ended.is_none() => Some(run.started),
        _ => None,
    })
}

/// Waits until something in the folder changed, for a moment.
fn pause(watch: Option<&OwnedFd>) -> Result<()> {
    let doing = || "waiting for the log";
    let Some(watch) = watch else {
        std::thread::sleep(FOLLOW_PAUSE / 2);
        return Ok(());
    };
    let mut interest = [Interest::new(watch.as_fd(), true, false)];
    socket::wait(&mut interest, Some(FOLLOW_PAUSE)).context(doing)?;
    if interest[0].readable() {
        std::thread::sleep(GATHER);
        notify::drain(watch).context(doing)?;
    }
    Ok(())
}

/// Filters, keeps the last entries of a stream when only those are wanted, gives the rest on.
struct Reader<'a> {
    query: &'a LogQuery,
    tail: Option<Tail>,
    interrupt: &'a AtomicBool,
    sink: &'a mut dyn LogSink,
    decoder: Decoder,
}

/// The last entries so far.
struct Tail {
    entries: usize,
    kept: VecDeque<Kept>,
}

/// An entry that outlives the block that it was read from.
struct Kept {
    time: Timestamp,
    stream: Stream,
    bytes: Vec<u8>,
    attrs: Vec<(String, String)>,
}

impl Reader<'_> {
    /// Gives every whole entry that is there.
    fn drain(&mut self, source: &mut Source) -> Result<ControlFlow<()>> {
        let Reader { query, tail, interrupt, sink, decoder } = self;
        loop {
            if interrupt.load(Ordering::Relaxed) {
                return Err(Error::interrupted("interrupted"));
            }
            let Next::Entry(entry) = source.next(decoder)? else { return Ok(ControlFlow::Continue(())) };
            if query.stream.is_some_and(|stream| entry.stream != stream) {
                continue;
            }
            let flow = match tail {
                Some(tail) => {
                    tail.take(entry);
                    ControlFlow::Continue(())
                }
                None => give(query, *sink, entry)?,
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
    }

    /// Gives the collected last entries; from then on every entry goes through at once.
    fn give_tail(&mut self) -> Result<ControlFlow<()>> {
        for kept in self.tail.take().into_iter().flat_map(|tail| tail.kept) {
            let Kept { time, stream, bytes, attrs } = &kept;
            if give(self.query, self.sink, LogEntry { time: *time, stream: *stream, bytes, attrs })?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Gives what came since the last look, from the present file and from every one that was begun after it.
    fn follow(&mut self, place: &mut Place<'_>) -> Result<ControlFlow<()>> {
        let live = file(place.state_dir, place.id, place.form, 0);
        loop {
            // Asked before reading: a file that is not the live one any more gets nothing more.
            let is_live = place.current.as_ref().is_some_and(|source| source.is_at(&live));
            if let Some(source) = &mut place.current
                && self.drain(source)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            if is_live {
                return Ok(ControlFlow::Continue(()));
            }
            match place.go_on()? {
                None => return Ok(ControlFlow::Continue(())),
                Some(0) => {}
                Some(files) => self.sink.missed(files)?,
            }
        }
    }
}

impl Tail {
    fn take(&mut self, entry: LogEntry<'_>) {
        if self.kept.len() == self.entries {
            self.kept.pop_front();
        }
        if self.entries > 0 {
            let LogEntry { time, stream, bytes, attrs } = entry;
            self.kept.push_back(Kept { time, stream, bytes: bytes.to_vec(), attrs: attrs.to_vec() });
        }
    }
}

fn give(query: &LogQuery, sink: &mut dyn LogSink, entry: LogEntry<'_>) -> Result<ControlFlow<()>> {
    if query.since.is_some_and(|since| entry.time < since) {
        return Ok(ControlFlow::Continue(()));
    }
    if query.until.is_some_and(|until| entry.time > until) {
        return Ok(ControlFlow::Break(()));
    }
    sink.entry(entry)
}
