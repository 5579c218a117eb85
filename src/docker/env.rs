//! Environment and label entries: `NAME=value`, `NAME` (inherited), and files of them.
//!
//! The only place of the dialect that reads this process's environment, and only for names that were asked for.

use std::path::Path;

use crate::base::{Context, Error, Result};
use crate::docker::value::split_pair;

/// The largest environment or label file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads one `-e` entry. A bare name takes the value that this process has, and is nothing when it has none.
///
/// # Errors
/// `invalid_argument` for an empty name or a NUL byte.
pub fn entry(text: &str) -> Result<Option<(String, String)>> {
    let (name, value) = split_pair(text);
    resolve(name, value)
}

/// An entry whose value may be missing, see [`entry`].
///
/// # Errors
/// As there.
pub(crate) fn resolve(name: String, value: Option<String>) -> Result<Option<(String, String)>> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Error::invalid(format!("{name:?} is not a name of an environment variable")));
    }
    match value {
        Some(value) if value.contains('\0') => Err(Error::invalid(format!("the value of {name:?} holds a NUL byte"))),
        Some(value) => Ok(Some((name, value))),
        None => match std::env::var(&name) {
            Ok(value) => Ok(Some((name, value))),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Error::invalid(format!("the environment variable {name:?} is not UTF-8")))
            }
        },
    }
}

/// Reads an environment file as `docker run --env-file` does: a `NAME=value` or a `NAME` a line, `#` starts a comment line,
/// nothing is unquoted.
///
/// # Errors
/// `not_found`; `invalid_argument` names the line.
pub fn file(path: &Path) -> Result<Vec<(String, String)>> {
    let mut entries = Vec::new();
    for (number, name, value) in lines(path)? {
        let at = || format!("reading line {number} of {path:?}");
        entries.extend(resolve(name, value).context(at)?);
    }
    Ok(entries)
}

/// Reads a label file: as [`file`], but a bare name is a label without a value.
///
/// # Errors
/// As there.
pub fn label_file(path: &Path) -> Result<Vec<(String, String)>> {
    Ok(lines(path)?.into_iter().map(|(_, name, value)| (name, value.unwrap_or_default())).collect())
}

/// Reads one label: `name=value` or `name`.
///
/// # Errors
/// `invalid_argument` for an empty name.
pub fn label(text: &str) -> Result<(String, String)> {
    match split_pair(text) {
        (name, _) if name.is_empty() => {
            Err(Error::invalid(format!("{text:?} is not a label")).with_hint("write name=value"))
        }
        (name, value) => Ok((name, value.unwrap_or_default())),
    }
}

/// The entries of a file with their line numbers.
fn lines(path: &Path) -> Result<Vec<(usize, String, Option<String>)>> {
    let reading = || format!("reading {path:?}");
    let about = std::fs::metadata(path).context(reading)?;
    if about.is_dir() {
        return Err(Error::invalid("it is a folder").context(reading()));
    }
    if about.len() > MAX_FILE_BYTES {
        return Err(Error::invalid(format!("it is larger than {MAX_FILE_BYTES} bytes")).context(reading()));
    }
    let text = std::fs::read(path).context(reading)?;
    let text = String::from_utf8(text).map_err(|_| Error::invalid("it is not UTF-8").context(reading()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = split_pair(line);
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(Error::invalid(format!("line {} has no valid name: {name:?}", index + 1)).context(reading()));
        }
        entries.push((index + 1, name, value));
    }
    Ok(entries)
}
