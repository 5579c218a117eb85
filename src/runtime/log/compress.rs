//! Compresses a log file that is no longer written: a short-lived process of its own, since the monitor has one thread and
//! must not stand still for a second.
//!
//! ```text
//! rhumb [compress] PID     standard input is the file, standard output where the compressed one goes
//! ```
//!
//! It knows no names and dies with the monitor PID; what it leaves half-made then is replaced by the next one. A compressed
//! file tells in its header which file's content it has, so that a follower finds its place.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};

use crate::base::failpoint;
use crate::sys::{process, self_exe, signal};

/// The hidden verb.
pub const VERB: &str = "[compress]";

/// Which subfield of the header it is (RFC 1952, 2.3.1.1), and its length: device and inode.
const SUBFIELD: [u8; 4] = [b'R', b'h', 16, 0];

/// The process itself; its exit status.
pub fn main(parent: &str) -> i32 {
    match run(parent) {
        Ok(()) => 0,
        Err(_) => 1, // the file stays as it is
    }
}

fn run(parent: &str) -> io::Result<()> {
    process::die_with_parent()?;
    if std::os::unix::process::parent_id().to_string() != parent {
        return Ok(());
    }
    process::close_inherited_from(3)?;
    let _ = process::set_name(c"rhumb-compress"); // only listings show it
    let from = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let to = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    write(from, to)?.sync_data()
}

/// Writes the content of `from`, compressed, to `to`.
pub(super) fn write(mut from: File, to: File) -> io::Result<File> {
    let facts = from.metadata()?;
    let mut extra = SUBFIELD.to_vec();
    extra.extend_from_slice(&facts.dev().to_le_bytes());
    extra.extend_from_slice(&facts.ino().to_le_bytes());
    let mut encoder = GzBuilder::new().extra(extra).write(to, Compression::fast());
    io::copy(&mut from, &mut encoder)?;
    let mut to = encoder.finish()?;
    to.flush()?;
    Ok(to)
}

/// Starts the process.
pub(super) fn start(from: File, to: File) -> io::Result<Running> {
    let program = self_exe::open()?;
    let mut command = Command::new(self_exe::path(&program));
    command.arg0("rhumb").arg(VERB).arg(std::process::id().to_string());
    command.env_clear().envs(failpoint::environment()).current_dir("/");
    let child = command.stdin(from).stdout(to).stderr(Stdio::null()).spawn()?;
    // Whoever takes in the children of this process tells us of its end.
    Ok(Running { pid: i32::try_from(child.id()).unwrap_or_default(), pidfd: process::pidfd(child.id() as i32)? })
}

/// A process that compresses.
pub(super) struct Running {
    pid: i32,
    pidfd: std::os::fd::OwnedFd,
}

impl Running {
    /// It has this number.
    pub(super) fn is(&self, pid: i32) -> bool {
        self.pid == pid
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        // It may have ended by itself.
        let _ = process::signal(self.pidfd.as_fd(), signal::KILL);
    }
}

/// A compressed file: which file's content it has, and the content.
pub(super) fn open(file: File) -> (Option<(u64, u64)>, Box<dyn Read + Send>) {
    let decoder = GzDecoder::new(io::BufReader::with_capacity(64 * 1024, FromStart { file, offset: 0 }));
    let extra = decoder.header().and_then(|header| header.extra());
    let identity = extra.and_then(|extra| extra.strip_prefix(&SUBFIELD)).and_then(|numbers| {
        let number = |at: usize| Some(u64::from_le_bytes(numbers.get(at..at + 8)?.try_into().ok()?));
        Some((number(0)?, number(8)?))
    });
    (identity, Box::new(decoder))
}

/// Reads a file from its start, wherever others that share the descriptor are.
struct FromStart {
    file: File,
    offset: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_file_tells_whose_content_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plain");
        let content = b"line\n".repeat(100_000);
        std::fs::write(&path, &content).unwrap();
        let packed = dir.path().join("packed");
        write(File::open(&path).unwrap(), File::create(&packed).unwrap()).unwrap();
        assert!(packed.metadata().unwrap().len() < 10_000);
        let (identity, mut reader) = open(File::open(&packed).unwrap());
        let facts = path.metadata().unwrap();
        assert_eq!(identity, Some((facts.dev(), facts.ino())));
        let mut back = Vec::new();
        reader.read_to_end(&mut back).unwrap();
        assert!(back == content);
        let (identity, mut reader) = open(File::open(&path).unwrap());
        assert!(identity.is_none() && reader.read_to_end(&mut back).is_err());
    }
}
