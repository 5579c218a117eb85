//! Where errors of `rhumb oci` go: to standard error, and to the file of `--log` as runc writes it, which engines read.

use std::fs::OpenOptions;
use std::io::Write as _;

use crate::base::{Error, Timestamp};
use crate::cli::oci::options::{Global, LogFormat};

/// Says that the verb failed.
pub(crate) fn error(global: &Global, error: &Error) {
    write(global, "error", &error.to_string());
    if global.log.is_some() || global.log_format == LogFormat::Text {
        let hint = error.hint().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        // Nobody is left to tell when standard error is closed.
        let _ = std::io::stderr().lock().write_all(format!("rhumb oci: {error}\n{hint}").as_bytes());
    }
}

/// Says what went wrong on the side.
pub(crate) fn warning(global: &Global, message: &str) {
    write(global, "warning", message);
    if global.log.is_none() && global.log_format == LogFormat::Text {
        // As above.
        let _ = std::io::stderr().lock().write_all(format!("rhumb oci: warning: {message}\n").as_bytes());
    }
}

/// Says what is done, when `--debug` asks for it: to the log file, or where there is none to standard error.
pub(crate) fn debug(global: &Global, message: impl FnOnce() -> String) {
    if global.debug {
        let line = line(global, "debug", &message());
        if global.log.is_some() || global.log_format == LogFormat::Json {
            return add(global, &line);
        }
        // Nobody is left to tell when standard error is closed.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

/// Adds a line to the log file; without one, a line in JSON goes to standard error when that format is asked for.
fn write(global: &Global, level: &str, message: &str) {
    add(global, &line(global, level, message));
}

fn line(global: &Global, level: &str, message: &str) -> String {
    let time = Timestamp::now().to_string();
    match global.log_format {
        LogFormat::Json => format!("{}\n", serde_json::json!({"level": level, "msg": message, "time": time})),
        LogFormat::Text => format!("time={time:?} level={level} msg={message:?}\n"),
    }
}

fn add(global: &Global, line: &str) {
    match &global.log {
        Some(path) => {
            // One write, so that lines of two processes stay whole. A log that cannot be written fails nothing.
            let file = OpenOptions::new().append(true).create(true).open(path);
            let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
        }
        None if global.log_format == LogFormat::Json => {
            // As above.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
        None => {}
    }
}
