//! Reading the log of events: one cursor over all segments, so that history and what happens now are one stream without a
//! seam.
//!
//! It holds one open segment and one piece of it in memory, whatever the log has become, and keeps no lock. What it cannot
//! read it says in words and goes on behind it.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::LIMITS;
use crate::base::{Context as _, Error, Result};
use crate::model::event::{BadLine, Event, EventItem, MAX_LINE};
use crate::store::Store;
use crate::sys::notify;
use crate::sys::segments;
use crate::sys::socket::{self, Interest};

/// How much is read at once, in bytes.
const PIECE: usize = 64 * 1024;
/// How long a wait lasts when nothing can be watched.
const POLL: Duration = Duration::from_millis(20);

/// A place in the log from which reading goes on.
#[derive(Debug)]
pub struct EventReader {
    folder: PathBuf,
    segment: Option<Segment>,
    /// The number of the last segment that was left, or could not be read.
    left: u64,
    buffer: Vec<u8>,
    /// How much of the buffer has been given out.
    taken: usize,
    /// The rest of the line is not wanted: it is too long, or was begun before we were.
    skipping: bool,
    watch: Option<std::os::fd::OwnedFd>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    file: File,
    /// Where in it the buffer ends.
    offset: u64,
}

impl Store {
    /// Reads from the oldest event on.
    pub fn event_reader(&self) -> EventReader {
        EventReader::new(self.paths().events())
    }

    /// Reads only what is written after this.
    ///
    /// # Errors
    /// What looking at the log gives.
    pub fn event_reader_from_now(&self) -> Result<EventReader> {
        let mut reader = EventReader::new(self.paths().events());
        reader.go_to_end()?;
        Ok(reader)
    }
}

impl EventReader {
    fn new(folder: PathBuf) -> EventReader {
        EventReader { folder, segment: None, left: 0, buffer: Vec::new(), taken: 0, skipping: false, watch: None }
    }

    fn go_to_end(&mut self) -> Result<()> {
        let Some(last) = self.numbers()?.pop() else { return Ok(()) };
        // One that cannot be read, or has gone just now: what comes next is in later ones.
        self.left = last;
        let Ok(Some(mut file)) = segments::open(&self.folder, last) else { return Ok(()) };
        let offset = file.seek(SeekFrom::End(0)).context(|| format!("reading {:?}", self.path(last)))?;
        self.segment = Some(Segment { number: last, file, offset });
        // At the end of a line this passes by the line end with which the next one begins.
        self.skipping = true;
        Ok(())
    }

    /// The next event, or a note about something that is not one; none when there is nothing more yet.
    ///
    /// # Errors
    /// What reading the disk gives.
    pub fn read(&mut self) -> Result<Option<EventItem>> {
        loop {
            if let Some(item) = self.next_in_buffer() {
                return Ok(Some(item));
            }
            if self.fill()? {
                continue;
            }
            match &self.segment {
                Some(segment) => {
                    let is_over = || segments::is_over(&self.folder, segment.number, &segment.file, LIMITS);
                    let doing = || format!("looking at {:?}", self.path(segment.number));
                    if !self.is_orphan() && !is_over().context(doing)? {
                        return Ok(None);
                    }
                    // What came before that was known to be the last.
                    if self.fill()? {
                        continue;
                    }
                    self.leave();
                }
                None => match self.open_next()? {
                    Opened::Yes => {}
                    Opened::Note(words) => return Ok(Some(EventItem::Note(words))),
                    Opened::No => return Ok(None),
                },
            }
        }
    }

    /// Waits until there may be more to read, but no longer than `most`.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn wait(&mut self, most: Duration) -> Result<()> {
        if self.watch.is_none() {
            self.watch = notify::watch_folder(&self.folder).ok();
            if self.watch.is_some() {
                // Something may have come just before.
                return Ok(());
            }
        }
        // No folder yet, or no more watches for this user: then it is looked at often.
        let Some(watch) = &self.watch else {
            std::thread::sleep(most.min(POLL));
            return Ok(());
        };
        let mut interests = [Interest::new(std::os::fd::AsFd::as_fd(watch), true, false)];
        socket::wait(&mut interests, Some(most)).context(|| "waiting for events")?;
        if interests[0].readable() {
            notify::drain(watch).context(|| "waiting for events")?;
            if !self.folder.is_dir() {
                // Taken away by hand: the next one is another folder.
                self.watch = None;
            }
        }
        Ok(())
    }

    fn next_in_buffer(&mut self) -> Option<EventItem> {
        loop {
            let rest = &self.buffer[self.taken..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                if rest.len() > MAX_LINE && !self.skipping {
                    self.skipping = true;
                    let words = self.note(self.taken, "a line is longer than an event can be");
                    self.drop_buffer();
                    return Some(EventItem::Note(words));
                }
                if self.skipping {
                    self.drop_buffer();
                }
                return None;
            };
            let (start, line) = (self.taken, &rest[..end]);
            let skipped = std::mem::take(&mut self.skipping);
            let parsed = (!skipped && !line.is_empty()).then(|| Event::from_line(line));
            self.taken += end + 1;
            match parsed {
                Some(Ok(event)) => return Some(EventItem::Event(event)),
                Some(Err(BadLine::Damaged(error))) => {
                    return Some(EventItem::Note(self.note(start, &error.to_string())));
                }
                // Nobody was told that it was written.
                Some(Err(BadLine::Torn)) | None => {}
            }
        }
    }

    fn note(&self, at: usize, words: &str) -> String {
        let Some(segment) = &self.segment else { return words.to_owned() };
        let offset = segment.offset - (self.buffer.len() - at) as u64;
        format!("unreadable event in {:?} at byte {offset}: {words}", self.path(segment.number))
    }

    /// Reads on in the segment; false at its end.
    fn fill(&mut self) -> Result<bool> {
        let Some(segment) = &mut self.segment else { return Ok(false) };
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + PIECE, 0);
        let read = loop {
            match segment.file.read(&mut self.buffer[held..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        let number = segment.number;
        let read = read.context(|| format!("reading {:?}", self.path(number)))?;
        if let Some(segment) = &mut self.segment {
            segment.offset += read as u64;
        }
        Ok(read > 0)
    }

    fn drop_buffer(&mut self) {
        self.taken = self.buffer.len();
    }

    /// The whole log was taken away by hand, and perhaps another one begun.
    fn is_orphan(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        self.segment.as_ref().is_some_and(|segment| segment.file.metadata().is_ok_and(|facts| facts.nlink() == 0))
    }

    /// Leaves a segment that was read to its end. A line without an end is one that broke off.
    fn leave(&mut self) {
        let orphan = self.is_orphan();
        if let Some(segment) = self.segment.take() {
            // The oldest goes while it is read, and the others stay; a log that begins anew has lower numbers.
            let later = self.numbers().is_ok_and(|numbers| numbers.last().is_some_and(|last| *last > segment.number));
            self.left = if orphan && !later { 0 } else { segment.number };
        }
        self.buffer.clear();
        (self.taken, self.skipping) = (0, false);
    }

    fn open_next(&mut self) -> Result<Opened> {
        let Some(number) = self.numbers()?.into_iter().find(|number| *number > self.left) else {
            return Ok(Opened::No);
        };
        // The oldest segments are always missing; one between two is not.
        let missing = self.left > 0 && number > self.left + 1;
        match segments::open(&self.folder, number) {
            Ok(Some(file)) => {
                self.segment = Some(Segment { number, file, offset: 0 });
                self.buffer.shrink_to(2 * PIECE);
            }
            // Gone since the folder was read.
            Ok(None) => return Ok(Opened::Yes),
            Err(error) => {
                self.left = number;
                return Ok(Opened::Note(format!("unreadable events: opening {:?}: {error}", self.path(number))));
            }
        }
        match missing {
            true => Ok(Opened::Note(format!("the events before {:?} are gone: they were too old", self.path(number)))),
            false => Ok(Opened::Yes),
        }
    }

    fn numbers(&self) -> Result<Vec<u64>> {
        match segments::list(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(Error::from).context(|| format!("reading {:?}", self.folder)),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        segments::path(Path::new(&self.folder), number)
    }
}

/// What became of the next segment.
enum Opened {
    Yes,
    No,
    Note(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Paths;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Paths::new(folder.path().join("root"))).unwrap();
        (folder, store)
    }

    fn event(number: usize) -> Event {
        Event::new("container", "start", number.to_string()).with("padding", "x".repeat(400))
    }

    fn drain(reader: &mut EventReader) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(item) = reader.read().unwrap() {
            seen.push(match item {
                EventItem::Event(event) => event.id,
                EventItem::Note(words) => words,
            });
        }
        seen
    }

    fn write(store: &Store, bytes: &[u8]) {
        let last = segments::list(&store.paths().events()).unwrap().pop().unwrap();
        let path = segments::path(&store.paths().events(), last);
        std::io::Write::write_all(&mut File::options().append(true).open(path).unwrap(), bytes).unwrap();
    }

    #[test]
    fn history_and_what_follows_are_one_stream() {
        let (_folder, store) = store();
        let (mut all, mut none) = (store.event_reader(), store.event_reader_from_now().unwrap());
        assert!(drain(&mut all).is_empty() && drain(&mut none).is_empty());
        store.event_append(&event(0)).unwrap();
        let mut later = store.event_reader_from_now().unwrap();
        store.event_append(&event(1)).unwrap();
        for reader in [&mut all, &mut none] {
            assert_eq!(drain(reader), ["0", "1"]);
        }
        assert_eq!(drain(&mut later), ["1"]);
        store.event_append(&event(2)).unwrap();
        assert_eq!((drain(&mut all), drain(&mut later)), (vec!["2".to_owned()], vec!["2".to_owned()]));
    }

    #[test]
    fn what_is_torn_is_passed_by_and_what_is_damaged_is_told() {
        let (_folder, store) = store();
        store.event_append(&event(0)).unwrap();
        let mut reader = store.event_reader();
        let line = event(1).to_line();
        write(&store, &line[..line.len() / 2]);
        assert_eq!(drain(&mut reader), ["0"]);
        store.event_append(&event(2)).unwrap();
        assert_eq!(drain(&mut reader), ["2"]);
        write(&store, b"garbage\x1b[2J\n");
        write(&store, &vec![b'y'; 3 * MAX_LINE]);
        store.event_append(&event(3)).unwrap();
        let seen = drain(&mut reader);
        assert!(seen[0].contains("0000000001.jsonl") && seen[0].contains("at byte") && !seen[0].contains('\x1b'));
        assert!(seen[1].contains("longer") && seen[2..] == ["3"], "{seen:?}");
        let options = crate::model::system::CheckOptions { repair: true, rehash: false };
        let problems = store.check(options).unwrap().problems;
        assert!(problems.len() >= 2 && problems.iter().all(|problem| problem.repaired), "{problems:?}");
        assert!(store.check(options).unwrap().problems.is_empty());
        assert_eq!(drain(&mut store.event_reader()), ["0", "2", "3"]);
    }

    #[test]
    fn a_slow_reader_is_told_what_it_missed_and_a_fast_one_misses_nothing() {
        let (_folder, store) = store();
        store.event_append(&event(0)).unwrap();
        let (mut slow, mut fast) = (store.event_reader(), store.event_reader());
        assert_eq!(slow.read().unwrap().map(|item| matches!(item, EventItem::Event(_))), Some(true));
        let count = usize::try_from(LIMITS.segment_bytes).unwrap() * (LIMITS.segments + 2) / 500;
        let mut seen = 0;
        for number in 1..count {
            store.event_append(&event(number)).unwrap();
            if number % 1000 == 0 {
                seen += drain(&mut fast).len();
            }
        }
        assert_eq!(seen + drain(&mut fast).len(), count);
        let left = drain(&mut slow);
        let note = left.iter().position(|words| words.contains("too old")).unwrap();
        assert_eq!(left.last().unwrap(), &(count - 1).to_string());
        assert!(note > 100 && note < left.len() - 1);
        let kept: u64 =
            std::fs::read_dir(store.paths().events()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(kept <= LIMITS.segment_bytes * (LIMITS.segments as u64 + 1), "{kept}");
    }

    #[test]
    fn a_log_that_was_taken_away_begins_anew() {
        let (_folder, store) = store();
        store.event_append(&event(0)).unwrap();
        let mut reader = store.event_reader();
        assert_eq!(drain(&mut reader), ["0"]);
        std::fs::remove_dir_all(store.paths().events()).unwrap();
        assert!(drain(&mut reader).is_empty());
        store.event_append(&event(1)).unwrap();
        assert_eq!(drain(&mut reader), ["1"]);
    }

    #[test]
    fn a_wait_ends_when_something_is_written() {
        let (_folder, store) = store();
        store.event_append(&event(0)).unwrap();
        let mut reader = store.event_reader_from_now().unwrap();
        reader.wait(Duration::ZERO).unwrap();
        let begun = std::time::Instant::now();
        reader.wait(Duration::from_millis(30)).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(30));
        store.event_append(&event(1)).unwrap();
        reader.wait(Duration::from_secs(60)).unwrap();
        assert_eq!(drain(&mut reader), ["1"]);
    }
}
