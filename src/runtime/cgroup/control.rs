//! Writing one control file, and what it means when the kernel refuses.
//!
//! It does not know which file means what.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use crate::base::{Error, Result};

/// Writes a value with one write, into a file that must exist.
pub(super) fn write(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    File::options().write(true).open(dir.join(file))?.write_all(value.as_bytes())
}

/// Sets what the messages call `what` by writing a file of the kernel's.
pub(super) fn set(dir: &Path, file: &str, what: &str, value: impl std::fmt::Display) -> Result<()> {
    let value = value.to_string();
    write(dir, file, &value).map_err(|error| refused(dir, file, what, &value, error))
}

/// Reads a file without the line's end.
pub(super) fn read(dir: &Path, file: &str) -> io::Result<String> {
    let mut text = std::fs::read_to_string(dir.join(file))?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// The answer of a setter of the library.
pub(super) trait Told {
    /// Says what was refused, and why.
    fn told(self, dir: &Path, file: &str, what: &str, value: impl std::fmt::Display) -> Result<()>;
}

impl Told for cgroups_rs::fs::error::Result<()> {
    fn told(self, dir: &Path, file: &str, what: &str, value: impl std::fmt::Display) -> Result<()> {
        self.map_err(|error| refused(dir, file, what, value, system_error(&error)))
    }
}

/// What the system said to the library.
pub(super) fn system_error(error: &cgroups_rs::fs::error::Error) -> io::Error {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(cause) => cause.raw_os_error().map_or_else(|| cause.kind().into(), io::Error::from_raw_os_error),
        None => io::Error::other(error.to_string()),
    }
}

/// The error for a value that was not taken.
pub(super) fn refused(dir: &Path, file: &str, what: &str, value: impl std::fmt::Display, error: io::Error) -> Error {
    if !dir.join(file).exists() {
        return if dir.exists() {
            missing(what, file)
        } else {
            Error::not_found("the container's cgroup is gone").with_source(error)
        };
    }
    let message = format!("the kernel refuses the {what} {value}");
    match error.raw_os_error() {
        // EPERM, EACCES, EROFS: the value is not at fault.
        Some(1 | 13 | 30) => Error::permission_denied(message).with_source(error),
        _ => Error::invalid(message).with_source(error),
    }
}

/// The error for something that this machine cannot limit.
pub(super) fn missing(what: &str, file: &str) -> Error {
    Error::unsupported(format!("this machine has no {what}: there is no cgroup file {file}"))
        .with_hint("leave it out, or enable the cgroup controller that has it")
}
