//! Finding the program in the container, executing it, and saying why that cannot be: in the words that Docker's users and
//! the runtimes before know.

use std::convert::Infallible;
use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::base::error::CommandFailure;
use crate::base::{Error, Result};
use crate::runtime::launch::Launch;
use crate::sys::process;

/// Exit status of a command that cannot be executed.
pub(crate) const NOT_EXECUTABLE: i32 = 126;
/// Exit status of a command that is not there.
pub(crate) const NOT_FOUND: i32 = 127;
/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Looks for the program as the user that this process is, and keeps where it is.
///
/// # Errors
/// `command_failed` with 126 or 127.
pub(super) fn find(launch: &mut Launch) -> Result<()> {
    let name = name(launch)?;
    let mut denied = None;
    for candidate in candidates(launch, &name) {
        match process::may_execute(&candidate) {
            Ok(()) => {
                launch.program = Some(candidate);
                return Ok(());
            }
            Err(error) => note(&mut denied, &name, &candidate, &error),
        }
    }
    Err(missing(denied, &name))
}

/// Executes the program. Nothing is allocated between the filter and the program but for errors.
///
/// # Errors
/// `command_failed` with 126 or 127: it returns only when that failed.
pub(super) fn execute(launch: &mut Launch, confine: impl FnOnce(&mut Launch) -> Result<()>) -> Result<Infallible> {
    let name = name(launch)?;
    let strings = |texts: &[String]| -> Result<Vec<CString>> { texts.iter().map(|text| c_string(text)).collect() };
    let (args, env) = (strings(&launch.args)?, strings(&launch.env)?);
    let candidates = match launch.program.take() {
        Some(found) => vec![found],
        None => candidates(launch, &name),
    };
    let paths = strings(&candidates)?;
    confine(launch)?;
    let mut denied = None;
    for (candidate, path) in candidates.iter().zip(&paths) {
        note(&mut denied, &name, candidate, &process::exec(path, &args, &env));
    }
    Err(missing(denied, &name))
}

fn name(launch: &Launch) -> Result<String> {
    let name = launch.args.first().filter(|name| !name.is_empty());
    name.cloned().ok_or_else(|| refuse("", "no command specified", NOT_FOUND))
}

/// Where the program may be: itself when it is a path, otherwise in the folders of the container's own `PATH`.
fn candidates(launch: &Launch, name: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    let path = launch.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
    // An empty entry is the working folder; Docker refuses to run programs from there by name.
    let folders = path.unwrap_or(DEFAULT_PATH).split(':').filter(|folder| !matches!(*folder, "" | "."));
    folders.map(|folder| format!("{folder}/{name}")).collect()
}

/// Remembers why a candidate was none: another folder may still have one that can be executed.
fn note(denied: &mut Option<Error>, name: &str, candidate: &str, error: &io::Error) {
    let absent = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    if name.contains('/') || !absent || Path::new(candidate).is_file() {
        denied.get_or_insert_with(|| explain(name, candidate, error));
    }
}

fn missing(denied: Option<Error>, name: &str) -> Error {
    denied.unwrap_or_else(|| refuse(name, "executable file not found in $PATH", NOT_FOUND))
}

fn explain(name: &str, path: &str, error: &io::Error) -> Error {
    let exists = std::fs::metadata(path);
    match (error.kind(), exists) {
        (_, Ok(metadata)) if metadata.is_dir() => refuse(name, "is a directory", NOT_EXECUTABLE),
        (ErrorKind::NotFound, Ok(_)) => {
            refuse(name, "its interpreter or loader is missing: no such file or directory", NOT_FOUND)
        }
        (ErrorKind::NotFound | ErrorKind::NotADirectory, _) => {
            refuse(name, &format!("stat {path}: no such file or directory"), NOT_FOUND)
        }
        (ErrorKind::PermissionDenied, _) => refuse(name, "permission denied", NOT_EXECUTABLE),
        _ if error.raw_os_error() == Some(8) => refuse(name, "exec format error", NOT_EXECUTABLE), // ENOEXEC
        _ => refuse(name, &error.to_string(), NOT_EXECUTABLE),
    }
}

fn refuse(name: &str, why: &str, exit_code: i32) -> Error {
    let failure = CommandFailure { exit_code, ..CommandFailure::default() };
    Error::command_failed(format!("exec: {name:?}: {why}"), failure)
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::invalid(format!("{text:?} contains a NUL character")))
}
