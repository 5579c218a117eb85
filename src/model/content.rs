//! What is inside a container: what it changed of its image, how large that is, how it is committed and copied.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// A path at which a container differs from its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute, in the container. Any bytes but zero: see [`Change::shown`].
    pub path: PathBuf,
    /// How it differs.
    pub kind: ChangeKind,
}

impl Change {
    /// The path for people: what is no text, or would steer a terminal, is escaped.
    pub fn shown(&self) -> String {
        printable(self.path.as_os_str().as_bytes())
    }
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The image has it not.
    Added,
    /// The image has it otherwise; of a folder, also when only something in it changed.
    Changed,
    /// Only the image has it.
    Deleted,
}

impl ChangeKind {
    /// Docker's letter.
    pub fn letter(self) -> char {
        match self {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        }
    }

    /// Docker's number in its API.
    pub fn number(self) -> u8 {
        match self {
            ChangeKind::Changed => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        }
    }

    /// The word that scripts see.
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Added => "added",
            ChangeKind::Changed => "changed",
            ChangeKind::Deleted => "deleted",
        }
    }
}

/// How large a container is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerSize {
    /// Of the files that it made or changed: their sizes, those with several names once.
    pub writable_bytes: u64,
    /// Of these and its image's.
    pub virtual_bytes: u64,
}

/// How a container becomes an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitOptions {
    /// Who made it.
    pub author: Option<String>,
    /// A remark in the history.
    pub message: Option<String>,
    /// Dockerfile instructions that change the config, in order.
    pub changes: Vec<String>,
    /// Freeze the container meanwhile when it runs.
    pub pause: bool,
}

impl Default for CommitOptions {
    fn default() -> CommitOptions {
        CommitOptions { author: None, message: None, changes: Vec::new(), pause: true }
    }
}

/// How files are copied out of a container or into it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Out: keep owners, set-id bits, capabilities and devices. In: give all to the container's user.
    pub archive: bool,
    /// Follow a link that the source is.
    pub follow_link: bool,
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, folders, links and the rest.
    pub entries: u64,
    /// Bytes of content, holes left out.
    pub content_bytes: u64,
    /// Sockets that were left out.
    pub skipped_sockets: u64,
    /// Devices that were left out.
    pub skipped_devices: u64,
}

/// Bytes of a name as text: what is no UTF-8 as `\xff`, control characters as Rust escapes them.
pub fn printable(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                character if steers(character) => text.extend(character.escape_default()),
                character => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to a String cannot fail");
        }
    }
    text
}

/// Control characters, and those that turn the direction of the text around them (CVE-2021-42574).
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_steer_a_terminal_are_escaped() {
        assert_eq!(printable("/tmp/naïve file".as_bytes()), "/tmp/naïve file");
        assert_eq!(printable(b"/a\x1b[2J\nb\xff"), "/a\\u{1b}[2J\\nb\\xff");
        assert_eq!(printable("/a\u{202e}b".as_bytes()), "/a\\u{202e}b");
    }
}
