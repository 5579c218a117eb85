//! `rhumb logs`.

use std::fmt::Write as _;
use std::io::{BufWriter, IsTerminal as _, Stderr, Write as _};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::time::Duration;

use clap::Args;

use crate::base::{Context as _, Error, Result, Timestamp, units};
use crate::cli::out::Out;
use crate::cli::{Session, flags, out, report};
use crate::docker::logging;
use crate::model::log::{LogEntry, LogQuery, LogSink, Stream, missed_words};
use crate::sys::socket::{self, Interest};

// `rhumb logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Forget what was written so far instead of showing it
    #[arg(long, conflicts_with_all = ["details", "follow", "since", "tail", "timestamps", "until"])]
    clear: bool,
    /// Show labels, variables and the tag that the log driver was told to keep
    #[arg(long)]
    details: bool,
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Show only what came after a time, or within an age such as 10m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Show only the last lines: a number or all
    #[arg(short = 'n', long, value_name = "LINES", allow_hyphen_values = true)]
    tail: Option<String>,
    /// Show times
    #[arg(short, long)]
    timestamps: bool,
    /// Show only what came before a time, or an age such as 10m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Name or id
    container: String,
}

impl LogsArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        let query = LogQuery {
            follow: self.follow,
            tail: self.tail.as_deref().map_or(Ok(None), tail)?,
            since: time("--since", self.since.as_deref())?,
            until: time("--until", self.until.as_deref())?,
            stream: None,
        };
        let engine = session.engine()?;
        if self.clear {
            engine.container_logs_clear(&self.container)?;
            return Ok(0);
        }
        let mut printer = Printer {
            out: &mut session.out,
            err: BufWriter::with_capacity(BUFFER_BYTES, std::io::stderr()),
            timestamps: self.timestamps,
            details: self.details,
            head: String::new(),
        };
        let read = engine.container_logs(&self.container, &query, &mut printer);
        printer.err.flush().context(|| WRITING)?;
        let lost = read?;
        if !lost.is_none() && !out::is_broken() {
            session.out.flush()?;
            report::note(&format!("{} lines ({} bytes) of output are missing in this log", lost.lines, lost.bytes));
        }
        Ok(0)
    }
}

const WRITING: &str = "writing to standard error";
/// How much goes to standard error at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// Writes entries to the streams that they came from.
struct Printer<'a> {
    out: &'a mut Out,
    err: BufWriter<Stderr>,
    timestamps: bool,
    details: bool,
    /// What goes before an entry; kept for its allocation.
    head: String,
}

impl LogSink for Printer<'_> {
    fn entry(&mut self, entry: LogEntry<'_>) -> Result<ControlFlow<()>> {
        self.head.clear();
        if self.timestamps {
            // Writing to a string cannot fail.
            let _ = write!(self.head, "{} ", logging::fixed_time(entry.time));
        }
        if self.details {
            logging::details(entry.attrs, &mut self.head);
        }
        let head = self.head.as_bytes();
        // In order with what went to the other stream, when both are one terminal.
        match entry.stream {
            Stream::Stdout => {
                if !self.err.buffer().is_empty() {
                    self.err.flush().context(|| WRITING)?;
                }
                let mut writer = self.out.writer();
                out::written(writer.write_all(head).and_then(|()| writer.write_all(entry.bytes)))?;
            }
            Stream::Stderr => {
                self.out.flush()?;
                self.err.write_all(head).and_then(|()| self.err.write_all(entry.bytes)).context(|| WRITING)?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What came is shown before we wait. A reader that has gone is noticed here also when nothing is written.
    fn pause(&mut self) -> Result<ControlFlow<()>> {
        self.out.flush()?;
        self.err.flush().context(|| WRITING)?;
        let stdout = std::io::stdout();
        if stdout.is_terminal() {
            return Ok(ControlFlow::Continue(()));
        }
        let mut interest = [Interest::new(stdout.as_fd(), false, false)];
        socket::wait(&mut interest, Some(Duration::ZERO)).context(|| "looking at standard output")?;
        Ok(if interest[0].hung_up() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn missed(&mut self, files: u64) -> Result<()> {
        self.out.flush()?;
        self.err.flush().context(|| WRITING)?;
        report::note(&format!("note: {}", missed_words(files)));
        Ok(())
    }
}

/// A number of lines; none is all. As in Docker, a negative one is all too.
fn tail(text: &str) -> Result<Option<usize>> {
    match (text, text.parse::<i64>()) {
        ("all", _) => Ok(None),
        (_, Ok(lines)) => Ok(usize::try_from(lines).ok()),
        (_, Err(_)) => Err(Error::invalid(format!("option \"--tail\" takes a number or all, not {text:?}"))),
    }
}

/// A point in time, or an age.
fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>> {
    let Some(text) = text else { return Ok(None) };
    match (Timestamp::parse(text), units::parse_duration(text)) {
        (Ok(time), _) => Ok(Some(time)),
        (Err(_), Ok(age)) => Ok(Some(Timestamp::now().before(age))),
        (Err(error), Err(_)) => flags::flag(name, Err(error)),
    }
}
