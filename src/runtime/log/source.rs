//! The files of a log at the readers' side: one file and how far it was read, and all of them in order while the writer
//! shifts them.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{MAX_ENTRY_BYTES, compress, compressed, file, json, local, shift_count, shifts};
use crate::base::{Context as _, Error, Result, Timestamp};
use crate::model::log::{LogEntry, LogForm};
use crate::sys::fs::NO_FOLLOW;

/// How much is read at once.
const BLOCK_BYTES: usize = 256 * 1024;
/// How often the youngest file is opened anew when the writer shifts the files in between. More often than it can, one
/// would think; only one that was killed meanwhile never ends that.
const ATTEMPTS: u32 = 100;
/// How long a shift may take that is waited for between two attempts.
const SHIFTING: Duration = Duration::from_micros(50);

/// Whose content a compressed file has, and the content.
type Packed = (Option<(u64, u64)>, Box<dyn Read + Send>);

/// A log file and how far it was read.
pub(super) struct Source {
    pub(super) path: PathBuf,
    form: LogForm,
    file: File,
    /// For a compressed file: whose content it has, and the content.
    packed: Option<Packed>,
    /// Which file of the log it is, counted from its beginning; none when the writer shifted them all the time.
    sequence: Option<i64>,
    /// Where the next entry begins.
    offset: u64,
    /// So many entries are passed over first.
    skip: usize,
    /// What was read from there on, and how much of that was given.
    block: Vec<u8>,
    given: usize,
}

/// What a look for the next entry found.
pub(super) enum Next<'a> {
    Entry(LogEntry<'a>),
    /// Nothing whole for now. A piece of an entry may be there, and may go again.
    Nothing,
}

/// Reads entries of either form; keeps what it needs for the next one.
pub(super) enum Decoder {
    Json(json::Decoder),
    Local(local::Decoder),
}

impl Decoder {
    pub(super) fn new(form: LogForm) -> Decoder {
        match form {
            LogForm::Json => Decoder::Json(json::Decoder::default()),
            LogForm::Local => Decoder::Local(local::Decoder::default()),
        }
    }
}

impl Source {
    /// None when there is no such file.
    pub(super) fn open(path: PathBuf, form: LogForm) -> Result<Option<Source>> {
        // The plain file goes when the compressed one has its name.
        for (packed, path) in [(false, path.clone()), (true, compressed(&path))] {
            let doing = || format!("opening the log {path:?}");
            let file = match OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::from(error).context(doing())),
            };
            return Source::new(path, form, file, packed).map(Some);
        }
        Ok(None)
    }

    fn new(path: PathBuf, form: LogForm, file: File, packed: bool) -> Result<Source> {
        let packed = match packed {
            true => Some(compress::open(file.try_clone().context(|| format!("opening the log {path:?}"))?)),
            false => None,
        };
        Ok(Source { path, form, file, packed, sequence: None, offset: 0, skip: 0, block: Vec::new(), given: 0 })
    }

    fn doing(&self) -> String {
        format!("reading the log {:?}", self.path)
    }

    fn facts(&self) -> Result<std::fs::Metadata> {
        self.file.metadata().context(|| self.doing())
    }

    /// The other one, which was opened later, is the same file under another name or compressed meanwhile. As long as it
    /// is open its inode is given to no other file, but one that was compressed before may have had it.
    fn is_same(&self, later: &Source) -> Result<bool> {
        let own = self.facts()?;
        let inode = (own.dev(), own.ino());
        Ok(match (&self.packed, &later.packed) {
            (None, None) | (Some(_), Some(_)) => {
                let later = later.facts()?;
                inode == (later.dev(), later.ino())
            }
            // Its plain name goes when the compressed file has its own.
            (None, Some((origin, _))) => own.nlink() == 0 && *origin == Some(inode),
            (Some(_), None) => false,
        })
    }

    /// It has this name.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let there = std::fs::symlink_metadata(path).map(|facts| (facts.dev(), facts.ino()));
        matches!((self.facts(), there), (Ok(own), Ok(there)) if (own.dev(), own.ino()) == there)
    }

    /// Nothing was written to it since this time.
    fn is_older_than(&self, time: Timestamp) -> bool {
        let written = self.file.metadata().and_then(|facts| facts.modified());
        written.is_ok_and(|written| Timestamp::from_system(written) < time)
    }

    /// The next whole entry. What has no end yet is looked at anew each time.
    ///
    /// # Errors
    /// `corrupt` names file and offset of what is no entry.
    pub(super) fn next<'a>(&'a mut self, decoder: &'a mut Decoder) -> Result<Next<'a>> {
        let (at, range) = loop {
            let Some(range) = self.whole_entry()? else {
                if self.fill()? {
                    continue;
                }
                return Ok(Next::Nothing);
            };
            let at = self.offset;
            self.given = range.end + usize::from(self.form == LogForm::Json);
            self.offset += (self.given - range.start) as u64;
            if self.form == LogForm::Json && is_rest(&self.block[range.clone()]) {
                continue;
            }
            if self.skip == 0 {
                break (at, range);
            }
            self.skip -= 1;
        };
        let entry = &self.block[range];
        let decoded = match decoder {
            Decoder::Json(decoder) => decoder.decode(entry),
            Decoder::Local(decoder) => decoder.decode(entry),
        };
        decoded.map(Next::Entry).map_err(|why| unreadable(&self.path, at, &why))
    }

    /// Where the next entry is in the block, when all of it is there; for JSON without its line end.
    fn whole_entry(&self) -> Result<Option<std::ops::Range<usize>>> {
        let rest = &self.block[self.given..];
        let found = match self.form {
            LogForm::Json => memchr::memchr(b'\n', rest),
            LogForm::Local => {
                let length = local::entry_length(rest).map_err(|why| unreadable(&self.path, self.offset, &why))?;
                length.filter(|length| *length <= rest.len())
            }
        };
        if found.is_none() && rest.len() > MAX_ENTRY_BYTES {
            return Err(unreadable(&self.path, self.offset, "the entry is too long"));
        }
        Ok(found.map(|length| self.given..self.given + length))
    }

    /// Reads on; false when there was nothing to read. What was read and not given is forgotten then, since a writer on a
    /// full disk takes pieces of entries back.
    fn fill(&mut self) -> Result<bool> {
        self.block.drain(..self.given);
        self.given = 0;
        let kept = self.block.len();
        self.block.resize(kept + BLOCK_BYTES, 0);
        let into = &mut self.block[kept..];
        let read = match &mut self.packed {
            None => self.file.read_at(into, self.offset + kept as u64),
            Some((_, content)) => content.read(into),
        };
        self.block.truncate(kept + *read.as_ref().unwrap_or(&0));
        if read.context(|| self.doing())? > 0 {
            return Ok(true);
        }
        if self.packed.is_some() {
            return Ok(false);
        }
        self.block.clear();
        // Somebody emptied it, as people do with Docker's log files.
        if self.file.metadata().context(|| self.doing())?.len() < self.offset {
            self.offset = 0;
        }
        Ok(false)
    }

    /// Goes to the first of the last `wanted` entries; how many there are, if they are less.
    fn go_to_last(&mut self, wanted: usize) -> Result<usize> {
        if self.packed.is_some() {
            // Only from its start can it be read.
            let again = self.file.try_clone().context(|| self.doing())?;
            let mut all = Source::new(self.path.clone(), self.form, again, true)?;
            let mut count = 0;
            loop {
                match all.whole_entry()? {
                    Some(range) => {
                        all.given = range.end + usize::from(all.form == LogForm::Json);
                        count += usize::from(all.form == LogForm::Local || !is_rest(&all.block[range]));
                    }
                    None if all.fill()? => {}
                    None => break,
                }
            }
            self.skip = count - count.min(wanted);
            return Ok(count.min(wanted));
        }
        let (found, offset) = self.last(wanted)?;
        (self.offset, self.given) = (offset, 0);
        self.block.clear();
        Ok(found)
    }

    /// How many whole entries up to `wanted` it has, and where the first of those begins.
    fn last(&self, wanted: usize) -> Result<(usize, u64)> {
        let end = self.file.metadata().context(|| self.doing())?.len();
        match self.form {
            LogForm::Json => self.last_lines(wanted, end),
            LogForm::Local => self.last_messages(wanted, end),
        }
    }

    fn last_lines(&self, wanted: usize, mut end: u64) -> Result<(usize, u64)> {
        let mut block = vec![0; BLOCK_BYTES.min(usize::try_from(end).unwrap_or(BLOCK_BYTES))];
        let mut newlines = 0;
        while end > 0 {
            let start = end.saturating_sub(block.len() as u64);
            let part = &mut block[..(end - start) as usize];
            self.file.read_exact_at(part, start).context(|| self.doing())?;
            for at in memchr::memrchr_iter(b'\n', part) {
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

    fn last_messages(&self, wanted: usize, end: u64) -> Result<(usize, u64)> {
        let (mut found, mut at) = (0, end);
        while found < wanted && at > 0 {
            match local::entry_before(&self.file, at).context(|| self.doing())? {
                Some(start) => (found, at) = (found + 1, start),
                // The end is torn: only from the start can be told where it begins.
                None => return self.last_messages_from_start(wanted, end),
            }
        }
        Ok((found, at))
    }

    fn last_messages_from_start(&self, wanted: usize, end: u64) -> Result<(usize, u64)> {
        let (mut starts, mut at) = (VecDeque::new(), 0);
        let mut head = [0; local::LENGTH];
        while at + (head.len() as u64) < end {
            self.file.read_exact_at(&mut head, at).context(|| self.doing())?;
            let length = local::entry_length(&head).map_err(|why| unreadable(&self.path, at, &why))?;
            let next = at + length.unwrap_or(usize::MAX) as u64;
            if next > end {
                break;
            }
            starts.push_back(at);
            if starts.len() > wanted {
                starts.pop_front();
            }
            at = next;
        }
        Ok((starts.len(), starts.front().copied().unwrap_or(at)))
    }
}

/// Every file there is with something from `since` on, oldest first.
///
/// They are opened from the youngest on. The writer only ever gives a file a higher number, so none is missed, and one may be
/// met twice. While it shifts them one number is free.
pub(super) fn all(state_dir: &Path, id: &str, form: LogForm, since: Option<Timestamp>) -> Result<VecDeque<Source>> {
    let mut files: VecDeque<Source> = VecDeque::new();
    let Some((mut number, youngest)) = youngest(state_dir, id, form)? else { return Ok(files) };
    files.push_front(youngest);
    let mut free = 0;
    while free < 2 {
        number += 1;
        let Some(mut source) = Source::open(file(state_dir, id, form, number), form)? else {
            free += 1;
            continue;
        };
        free = 0;
        let mut known = false;
        for younger in &files {
            known |= younger.is_same(&source)?;
        }
        if known {
            continue;
        }
        if since.is_some_and(|since| source.is_older_than(since)) {
            break;
        }
        source.sequence = files.front().and_then(|younger| younger.sequence).map(|sequence| sequence - 1);
        files.push_front(source);
    }
    Ok(files)
}

/// The youngest file, and its number: 1 when the live file is still to come.
fn youngest(state_dir: &Path, id: &str, form: LogForm) -> Result<Option<(u32, Source)>> {
    let count = shift_count(state_dir, id, form);
    let mut attempts = 0..ATTEMPTS;
    loop {
        let before = shifts::read(&count);
        let mut found = None;
        for number in 0..2 {
            if let Some(source) = Source::open(file(state_dir, id, form, number), form)? {
                found = Some((number, source));
                break;
            }
        }
        let steady = before.filter(|_| shifts::read(&count) == before);
        if steady.is_none() && attempts.next().is_some() {
            std::thread::sleep(SHIFTING);
            continue;
        }
        if let (Some((number, source)), Some(shifts)) = (&mut found, steady) {
            source.sequence = i64::try_from(shifts).ok().map(|shifts| shifts - i64::from(*number));
        }
        return Ok(found);
    }
}

/// The files that hold the last `wanted` entries, oldest first, the first of them from the first of those on.
pub(super) fn last(state_dir: &Path, id: &str, form: LogForm, wanted: usize) -> Result<VecDeque<Source>> {
    let mut files = all(state_dir, id, form, None)?;
    let mut missing = wanted;
    let mut first = files.len();
    while missing > 0 && first > 0 {
        first -= 1;
        missing -= files[first].go_to_last(missing)?;
    }
    if wanted == 0
        && let Some(live) = files.back_mut()
    {
        // A follower wants what comes after.
        first = first.saturating_sub(1);
        live.go_to_last(0)?;
    }
    Ok(files.split_off(first))
}

/// The files that the writer began after this one, oldest first, and how many between went before they could be read.
/// Without one, or when nobody can tell, every file there is.
pub(super) fn after(
    current: Option<&Source>,
    state_dir: &Path,
    id: &str,
    form: LogForm,
) -> Result<(VecDeque<Source>, u64)> {
    let mut files = all(state_dir, id, form, None)?;
    let Some(current) = current else { return Ok((files, 0)) };
    // The youngest is the one when several look like it.
    for at in (0..files.len()).rev() {
        if current.is_same(&files[at])? {
            return Ok((files.split_off(at + 1), 0));
        }
    }
    let Some(expected) = current.sequence.map(|sequence| sequence + 1) else { return Ok((files, 0)) };
    let Some(at) = files.iter().position(|source| source.sequence.is_some_and(|sequence| sequence >= expected)) else {
        return Ok((files, 0));
    };
    let missed = files[at].sequence.map_or(0, |sequence| sequence.abs_diff(expected));
    Ok((files.split_off(at), missed))
}

/// A line that a crash left: a piece of an entry that the next writer ended, or the NUL characters of a power cut.
fn is_rest(line: &[u8]) -> bool {
    (line.starts_with(b"{\"log\":") && !line.ends_with(b"}")) || line.iter().all(|byte| *byte == 0)
}

fn unreadable(path: &Path, offset: u64, why: &str) -> Error {
    Error::corrupt(format!("the log {path:?} is unreadable at byte {offset}: {why}"))
}
