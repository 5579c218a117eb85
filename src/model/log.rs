//! Container output: where it is kept and how it is read.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::base::{Result, Timestamp};

/// How much waits for a sink in non-blocking mode unless told otherwise, in bytes; Docker's number.
pub const DEFAULT_BUFFER_BYTES: u64 = 1024 * 1024;
/// The size of a file of the driver `local` unless told otherwise, in bytes; Docker's number.
pub const LOCAL_MAX_SIZE_BYTES: u64 = 20 * 1024 * 1024;
/// How many files the driver `local` keeps unless told otherwise; Docker's number.
pub const LOCAL_MAX_FILES: u32 = 5;

/// Where a container's output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogOptions {
    /// The driver.
    pub driver: LogDriver,
    /// Start a new file at this size, in bytes; none is the driver's default.
    pub max_size_bytes: Option<u64>,
    /// Keep so many files, the live one included; none is the driver's default.
    pub max_files: Option<u32>,
    /// Compress the files that are no longer written; none is the driver's default.
    pub compress: Option<bool>,
    /// Drop output that a sink does not take in time instead of holding the container back.
    pub non_blocking: bool,
    /// How much waits for a sink in non-blocking mode, in bytes; none is [`DEFAULT_BUFFER_BYTES`].
    pub max_buffer_bytes: Option<u64>,
    /// How the container is called in the log, with `{{.Name}}` and the like; none is the driver's default.
    pub tag: Option<String>,
    /// Labels of the container that go with every entry.
    pub labels: Vec<String>,
    /// As `labels`, by a regular expression over their names.
    pub labels_regex: Option<String>,
    /// Variables of its environment that go with every entry.
    pub env: Vec<String>,
    /// As `env`, by a regular expression over their names.
    pub env_regex: Option<String>,
    /// For the driver `syslog`.
    pub syslog: SyslogOptions,
    /// The copy that can be read of a log that goes elsewhere.
    pub cache: CacheOptions,
    /// The options as they were written: what `inspect` shows.
    pub config: BTreeMap<String, String>,
}

/// The kinds of logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Docker's json-file format: one `{"log":…,"stream":…,"time":…}` a line.
    #[default]
    JsonFile,
    /// Docker's binary format, smaller and with a limit by default.
    Local,
    /// Sent to a syslog server.
    Syslog,
    /// Sent to systemd's journal.
    Journald,
    /// Kept nowhere.
    None,
}

impl LogDriver {
    /// Every driver.
    pub const ALL: [LogDriver; 5] =
        [LogDriver::JsonFile, LogDriver::Local, LogDriver::Syslog, LogDriver::Journald, LogDriver::None];

    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            LogDriver::JsonFile => "json-file",
            LogDriver::Local => "local",
            LogDriver::Syslog => "syslog",
            LogDriver::Journald => "journald",
            LogDriver::None => "none",
        }
    }

    /// Its entries go to somebody else.
    pub fn is_remote(self) -> bool {
        matches!(self, LogDriver::Syslog | LogDriver::Journald)
    }
}

/// Options of the driver `syslog`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyslogOptions {
    /// `unix://`, `unixgram://`, `tcp://` or `udp://` and a path or a host and port; none is this machine's own.
    pub address: Option<String>,
    /// The facility's number, 0 to 23; none is `daemon` (3).
    pub facility: Option<u8>,
    /// The form of a message.
    pub format: SyslogFormat,
}

/// The forms of syslog messages that Docker knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogFormat {
    /// As `syslog(3)` writes them to this machine's own daemon: no host name.
    #[default]
    Unix,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424 with seconds.
    Rfc5424,
    /// RFC 5424 with microseconds.
    Rfc5424Micro,
}

/// The copy, in the form of the driver `local`, that `logs` reads when the log itself goes to somebody else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheOptions {
    /// Keep none.
    pub disabled: bool,
    /// As for `local`.
    pub max_size_bytes: Option<u64>,
    /// As for `local`.
    pub max_files: Option<u32>,
    /// As for `local`.
    pub compress: Option<bool>,
}

/// How a log is kept in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFiles {
    /// The form of an entry.
    pub form: LogForm,
    /// Start a new file at this size, in bytes; none is never.
    pub max_size_bytes: Option<u64>,
    /// Keep so many files, the live one included.
    pub max_files: u32,
    /// Compress those that are no longer written.
    pub compress: bool,
}

/// The forms of entries in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogForm {
    /// A line of JSON.
    Json,
    /// A binary message between its lengths.
    Local,
}

impl LogOptions {
    /// How the log, or its readable copy, is kept in files; none when nothing of it is.
    pub fn files(&self) -> Option<LogFiles> {
        let local = |size: Option<u64>, files: Option<u32>, compress: Option<bool>| {
            let max_files = files.unwrap_or(LOCAL_MAX_FILES).max(1);
            LogFiles {
                form: LogForm::Local,
                max_size_bytes: Some(size.unwrap_or(LOCAL_MAX_SIZE_BYTES)).filter(|size| *size > 0),
                max_files,
                compress: compress.unwrap_or(true) && max_files > 1,
            }
        };
        match self.driver {
            LogDriver::JsonFile => Some(LogFiles {
                form: LogForm::Json,
                max_size_bytes: self.max_size_bytes,
                max_files: self.max_files.unwrap_or(1).max(1),
                compress: self.compress.unwrap_or(false),
            }),
            LogDriver::Local => Some(local(self.max_size_bytes, self.max_files, self.compress)),
            LogDriver::Syslog | LogDriver::Journald if !self.cache.disabled => {
                Some(local(self.cache.max_size_bytes, self.cache.max_files, self.cache.compress))
            }
            LogDriver::Syslog | LogDriver::Journald | LogDriver::None => None,
        }
    }
}

/// Which part of a log is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Go on until the container ends.
    pub follow: bool,
    /// Only the last so many entries, counted before anything else is left out, but for `stream`.
    pub tail: Option<usize>,
    /// Only entries from this time on.
    pub since: Option<Timestamp>,
    /// Only entries up to this time; a follower stops when it has come.
    pub until: Option<Timestamp>,
    /// Only this stream.
    pub stream: Option<Stream>,
}

/// An output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name in a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// One line of a log, or a piece of one longer than 16 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEntry<'a> {
    /// When it was read from the container.
    pub time: Timestamp,
    /// Which stream.
    pub stream: Stream,
    /// The bytes with their line end, if they have one.
    pub bytes: &'a [u8],
    /// What goes with it: labels, variables, the tag, in the order of their names.
    pub attrs: &'a [(String, String)],
}

/// What takes the entries of a log.
pub trait LogSink {
    /// Takes one entry; a break ends the reading.
    ///
    /// # Errors
    /// Ends the reading with this error.
    fn entry(&mut self, entry: LogEntry<'_>) -> Result<ControlFlow<()>>;

    /// There is nothing more for now: called by a follower before each wait, a few times a second at least.
    ///
    /// # Errors
    /// Ends the reading with this error.
    fn pause(&mut self) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// So many files of the log went, as the container's log options say, before a follower could read them: what they held
    /// is missing between the last entry and the next one.
    ///
    /// # Errors
    /// Ends the reading with this error.
    fn missed(&mut self, _files: u64) -> Result<()> {
        Ok(())
    }
}

impl<F: FnMut(LogEntry<'_>) -> Result<ControlFlow<()>>> LogSink for F {
    fn entry(&mut self, entry: LogEntry<'_>) -> Result<ControlFlow<()>> {
        self(entry)
    }
}

/// What a follower says of files of a log that went before it could read them.
pub fn missed_words(files: u64) -> String {
    let files = if files == 1 { "a file".to_owned() } else { format!("{files} files") };
    format!("output is missing here: {files} of the log went before it could be read, for a newer one")
}

/// Output that did not get into a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLoss {
    /// Lines, or pieces of long ones.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl LogLoss {
    /// Nothing was lost.
    pub fn is_none(&self) -> bool {
        *self == LogLoss::default()
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: LogLoss) -> LogLoss {
        LogLoss { lines: self.lines + other.lines, bytes: self.bytes + other.bytes }
    }

    /// Counts one more entry.
    pub fn add(&mut self, bytes: usize) {
        self.lines += 1;
        self.bytes += bytes as u64;
    }
}
