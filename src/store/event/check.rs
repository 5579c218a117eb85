//! What `system check` finds in the log of events: lines that are none, and segments that are no files.
//!
//! A line that breaks off is what a killed writer or a full disk leaves, and no fault. An unreadable line is mended by
//! writing line ends over it, in its place: others may append meanwhile, and what it said is lost anyhow.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::base::{Context as _, Error, Result};
use crate::model::event::{BadLine, Event, MAX_LINE};
use crate::model::system::{CheckOptions, CheckReport, Problem};
use crate::store::Store;
use crate::sys::path::remove_tree;
use crate::sys::segments;

impl Store {
    /// Reads every event that is kept. A segment counts as one thing, a problem names its place.
    pub(in crate::store) fn check_events(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        let folder = self.paths().events();
        let numbers = match segments::list(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            listed => listed.context(|| format!("reading {folder:?}"))?,
        };
        for number in numbers {
            report.checked += 1;
            let path = segments::path(&folder, number);
            match segments::open(&folder, number) {
                Ok(Some(file)) => {
                    let mended = if options.repair { Some(path.as_path()) } else { None };
                    check_segment(&file, mended, &mut |offset, why| {
                        let name = format!("{}:{offset}", file_name(&path));
                        report.problems.push(problem(name, format!("an unreadable event: {why}"), options.repair));
                    })
                    .context(|| format!("checking {path:?}"))?;
                }
                Ok(None) => {}
                Err(error) => {
                    report.problems.push(problem(
                        file_name(&path),
                        format!("unreadable events: {error}"),
                        options.repair,
                    ));
                    if options.repair {
                        remove_tree(&path).context(|| format!("removing {path:?}"))?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_segment(file: &File, mended: Option<&Path>, found: &mut dyn FnMut(u64, &str)) -> Result<()> {
    let mut reader = BufReader::new(file);
    let (mut line, mut offset) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let whole = line.pop_if(|byte| *byte == b'\n').is_some();
        let why = match Event::from_line(&line) {
            _ if line.is_empty() => None,
            _ if !whole && read > MAX_LINE => Some("it is longer than an event can be".to_owned()),
            Ok(_) | Err(BadLine::Torn) => None,
            Err(BadLine::Damaged(error)) => Some(error.to_string()),
        };
        if let Some(why) = why {
            found(offset, &why);
            if let Some(path) = mended {
                blank(path, offset, line.len()).context(|| format!("mending {path:?}"))?;
            }
        }
        offset += read as u64;
    }
}

fn blank(path: &Path, offset: u64, length: usize) -> Result<()> {
    let file = File::options().write(true).open(path)?;
    file.write_all_at(&vec![b'\n'; length], offset).map_err(Error::from)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn problem(name: String, problem: String, repaired: bool) -> Problem {
    Problem { noun: "events".to_owned(), name, problem, repaired }
}
