//! Files by descriptor: what the standard library has no words for, and the one durable write.
//!
//! Nothing here resolves an untrusted path: that is [`crate::sys::path`].

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

/// Open flag of open(2): fail on a symbolic link instead of following it, and never wait for the other end of a FIFO.
pub const NO_FOLLOW: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// Makes an open file's content and metadata survive a power cut.
///
/// # Errors
/// What `fsync(2)` gives.
pub fn sync(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(file)?)
}

/// Makes the names in the folder at `path` survive a power cut.
///
/// # Errors
/// What opening or `fsync(2)` gives.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    sync(File::open(path)?)
}

/// Bytes that an ordinary process may still write to the file system at `path`.
///
/// # Errors
/// What `statvfs(3)` gives.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let facts = rustix::fs::statvfs(path)?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// Replaces the file at `path` so that a crash leaves the old content or the new one, whole.
///
/// Temporary file in the same folder (a dot, the name, a number), write, fsync, rename, fsync of the folder
/// (RELIABILITY.md, rule 2). The mode is exactly `mode`.
///
/// # Errors
/// What the steps give; nothing is left beside the file then.
pub fn write_durably(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);

    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} names no file")));
    };
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.{number}", std::process::id()));
    let beside = folder.join(beside);
    let write = || {
        // A file of this name is what an earlier process with our number left when it was killed.
        let mut file = match std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&beside)?;
                std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?
            }
            other => other?,
        };
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        sync_dir(folder)
    };
    write().inspect_err(|_| {
        // The first error is what the caller needs; a leftover is found by the next write of the same name.
        let _ = std::fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_durable_write_replaces_the_whole_file_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_durably(&path, 0o640, b"one, and longer").unwrap();
        write_durably(&path, 0o600, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_durable_write_over_a_folder_fails_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("x")).unwrap();
        assert!(write_durably(&folder.path().join("x"), 0o600, b"1").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
