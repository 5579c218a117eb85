//! The log of a build: what every step wrote, line by line, with the step's number, since steps run side by side.
//!
//! ```text
//! builds/logs/<build>     #1 RUN make
//!                         #1 | gcc -c main.c
//!                         #1 done in 0.4s                 or: failed after …, or cached
//! ```

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::{Context as _, Error, Result};
use crate::engine::Engine;

/// How many logs are kept when some are removed, and how many there are before that: which are the oldest is asked rarely.
const KEPT_LOGS: usize = 100;
const MOST_LOGS: usize = 120;
/// A log is no longer: a step that never stops writing fills no disk.
const MOST_LOG_BYTES: usize = 256 << 20;
/// A line that is longer is written in pieces.
const MOST_LINE_BYTES: usize = 64 << 10;

/// A log that is written.
#[derive(Default)]
pub(super) struct Log(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// None when it cannot be written, which is no reason to fail a build.
    file: Option<File>,
    /// How much more it takes.
    room: usize,
    /// Lines that wait for the next one: of steps that are found there are many at once.
    held: Vec<u8>,
    steps: usize,
    running: HashMap<(usize, usize), Running>,
}

struct Running {
    number: usize,
    begun: Instant,
    line: Vec<u8>,
}

impl Log {
    pub(super) fn new(file: Option<File>) -> Log {
        Log(Mutex::new(Inner { file, room: MOST_LOG_BYTES, ..Inner::default() }))
    }

    pub(super) fn began(&self, step: (usize, usize), text: &str) {
        let mut inner = super::lock(&self.0);
        inner.steps += 1;
        let number = inner.steps;
        inner.running.insert(step, Running { number, begun: Instant::now(), line: Vec::new() });
        inner.put(format!("#{number} {text}\n").as_bytes());
    }

    pub(super) fn cached(&self, text: &str) {
        let mut inner = super::lock(&self.0);
        inner.steps += 1;
        let number = inner.steps;
        inner.held.extend_from_slice(format!("#{number} {text}\n#{number} cached\n").as_bytes());
    }

    pub(super) fn output(&self, step: (usize, usize), bytes: &[u8]) {
        let mut inner = super::lock(&self.0);
        let Some(running) = inner.running.get_mut(&step) else { return };
        let mut text = Vec::new();
        running.line.extend_from_slice(bytes);
        let held = std::mem::take(&mut running.line);
        for line in held.split_inclusive(|byte| *byte == b'\n') {
            if line.ends_with(b"\n") || line.len() > MOST_LINE_BYTES {
                running.write(line, &mut text);
            } else {
                running.line = line.to_vec();
            }
        }
        inner.put(&text);
    }

    /// A whole line of something else than the step's command.
    pub(super) fn line(&self, step: (usize, usize), line: &[u8]) {
        let mut inner = super::lock(&self.0);
        let Some(running) = inner.running.get(&step) else { return };
        let mut text = Vec::new();
        running.write(line, &mut text);
        inner.put(&text);
    }

    /// The step is over, well or not.
    pub(super) fn ended(&self, step: (usize, usize), well: bool) {
        let mut inner = super::lock(&self.0);
        let Some(running) = inner.running.remove(&step) else { return };
        let mut text = Vec::new();
        if !running.line.is_empty() {
            running.write(&running.line, &mut text);
        }
        let word = if well { "done in" } else { "failed after" };
        let time = shown(running.begun.elapsed());
        text.extend_from_slice(format!("#{} {word} {time}\n", running.number).as_bytes());
        inner.put(&text);
    }
}

impl Inner {
    fn put(&mut self, bytes: &[u8]) {
        let held = std::mem::take(&mut self.held);
        self.write(&held);
        self.write(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some(file) = self.file.as_mut() else { return };
        // The error of a step shows what it wrote anyway.
        let _ = file.write_all(&bytes[..bytes.len().min(self.room)]);
        if bytes.len() > self.room {
            let _ = writeln!(file, "\n(the log ends here: it is {} MiB long)", MOST_LOG_BYTES >> 20);
            self.file = None;
        }
        self.room = self.room.saturating_sub(bytes.len());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        super::lock(&self.0).put(b"");
    }
}

impl Running {
    fn write(&self, line: &[u8], text: &mut Vec<u8>) {
        text.extend_from_slice(format!("#{} | ", self.number).as_bytes());
        text.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        text.push(b'\n');
    }
}

fn shown(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

impl Engine {
    /// What the steps of a build wrote: by its identity, or of the last one.
    ///
    /// # Errors
    /// `not_found`.
    pub fn build_log(&self, id: Option<&str>) -> Result<Vec<u8>> {
        let logs = self.build_logs()?;
        let found = match id {
            None => logs.last(),
            Some(id) => logs.iter().find(|log| !id.is_empty() && log.starts_with(id)),
        };
        let Some(name) = found else {
            return Err(match id {
                Some(id) => Error::not_found(format!("there is no log of a build {id:?}")),
                None => Error::not_found("nothing was built yet"),
            });
        };
        let path = self.paths().builds().join("logs").join(name);
        std::fs::read(&path).context(|| format!("reading {path:?}"))
    }

    /// The identities of builds whose logs are kept, the oldest first.
    ///
    /// # Errors
    /// What reading gives.
    pub fn build_logs(&self) -> Result<Vec<String>> {
        let Ok(entries) = std::fs::read_dir(self.paths().builds().join("logs")) else { return Ok(Vec::new()) };
        let mut logs = Vec::new();
        for entry in entries {
            let entry = entry?;
            let time = entry.metadata()?.modified()?;
            logs.push((time, entry.file_name().to_string_lossy().into_owned()));
        }
        logs.sort();
        Ok(logs.into_iter().map(|(_, name)| name).collect())
    }

    /// A new log; the oldest goes when there are many. None when it cannot be made, which stops no build.
    pub(super) fn build_log_create(&self, id: &str) -> Option<File> {
        let folder = self.paths().builds().join("logs");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
        if std::fs::read_dir(&folder).map_or(0, Iterator::count) >= MOST_LOGS {
            let logs = self.build_logs().unwrap_or_default();
            for old in logs.iter().take(logs.len().saturating_sub(KEPT_LOGS - 1)) {
                let _ = std::fs::remove_file(folder.join(old));
            }
        }
        File::create(folder.join(id)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_no_longer_than_it_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = Log::new(Some(File::create(&path).unwrap()));
        super::super::lock(&log.0).room = 40;
        log.began((0, 0), "RUN yes");
        (0..1000).for_each(|_| log.output((0, 0), b"y\n"));
        log.ended((0, 0), true);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("#1 RUN yes\n#1 | y\n") && text.contains("(the log ends here"), "{text}");
        assert!(text.len() < 100, "{text}");
    }
}
