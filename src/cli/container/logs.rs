//! `rhumb logs`.

use std::io::Write as _;
use std::ops::ControlFlow;

use clap::Args;

use crate::base::{Context as _, Error, Result, Timestamp, units};
use crate::cli::{Session, flags, out};
use crate::model::log::{LogEntry, LogQuery, Stream};

// `rhumb logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Show only the last lines: a number or all
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<String>,
    /// Show only what came after a time, or within an age such as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show only what came before a time, or an age such as 10m
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show times
    #[arg(short, long)]
    timestamps: bool,
    /// Name or id
    container: String,
}

impl LogsArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        let tail = match self.tail.as_deref() {
            None | Some("all" | "-1") => None,
            Some(lines) => Some(
                lines
                    .parse()
                    .map_err(|_| Error::invalid(format!("option \"--tail\" takes a number or all, not {lines:?}")))?,
            ),
        };
        let query = LogQuery {
            follow: self.follow,
            tail,
            since: time("--since", self.since.as_deref())?,
            until: time("--until", self.until.as_deref())?,
            stream: None,
        };
        let engine = session.engine()?;
        let mut stderr = std::io::stderr().lock();
        let mut each = |entry: LogEntry| -> Result<ControlFlow<()>> {
            let stamp = if self.timestamps { format!("{} ", log_time(entry.time)) } else { String::new() };
            match entry.stream {
                Stream::Stdout => {
                    let mut writer = session.out.writer();
                    out::written(writer.write_all(stamp.as_bytes()).and_then(|()| writer.write_all(&entry.bytes)))?;
                    if self.follow {
                        session.out.flush()?;
                    }
                }
                Stream::Stderr => {
                    // In order with what went to standard output, when both are one terminal.
                    session.out.flush()?;
                    let written = stderr.write_all(stamp.as_bytes()).and_then(|()| stderr.write_all(&entry.bytes));
                    written.context(|| "writing to standard error")?;
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        engine.container_logs(&self.container, &query, &mut each)?;
        Ok(0)
    }
}

/// Nine digits of a second, so that columns line up.
fn log_time(time: Timestamp) -> String {
    let text = time.to_string();
    let text = text.trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{fraction:0<9}Z")
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
