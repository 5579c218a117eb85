//! Container output: where it is kept and how it is read.

use serde::{Deserialize, Serialize};

use crate::base::Timestamp;

/// Where a container's output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogOptions {
    /// The driver.
    pub driver: LogDriver,
    /// Start a new file at this size, in bytes.
    pub max_size_bytes: Option<u64>,
    /// Keep so many files, the live one included.
    pub max_files: Option<u32>,
}

/// The kinds of logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Docker's json-file format: one `{"log":…,"stream":…,"time":…}` a line.
    #[default]
    JsonFile,
    /// Kept nowhere.
    None,
}

/// Which part of a log is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Go on until the container ends.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<usize>,
    /// Only lines from this time on.
    pub since: Option<Timestamp>,
    /// Only lines before this time.
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

/// One line of a log, or a piece of one longer than 16 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When it was read from the container.
    pub time: Timestamp,
    /// Which stream.
    pub stream: Stream,
    /// The bytes with their line end, if they have one.
    pub bytes: Vec<u8>,
}
