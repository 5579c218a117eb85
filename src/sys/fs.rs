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

/// Whether what is at `path` lies in memory (tmpfs).
///
/// # Errors
/// What `statfs(2)` gives.
pub fn is_in_memory(path: &Path) -> io::Result<bool> {
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    Ok(rustix::fs::statfs(path)?.f_type == TMPFS)
}

/// Writes everything that is dirty on the file system of `file` to its disk: one call for a whole tree.
///
/// # Errors
/// What `syncfs(2)` gives, also for errors of earlier writes.
pub fn sync_file_system(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file)?)
}

/// The next stretch of data at or after `offset`: its start and its length. None when only a hole is left. Moves the
/// file's position. A file system without holes answers with everything.
///
/// # Errors
/// What `lseek(2)` gives.
pub fn next_data(file: impl AsFd, offset: u64) -> io::Result<Option<(u64, u64)>> {
    use rustix::fs::SeekFrom;
    let start = match rustix::fs::seek(&file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    match rustix::fs::seek(&file, SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some((start, end.saturating_sub(start)))),
        // Somebody cut the file in between.
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Frees the blocks of a stretch of a file, which reads as zeros then; its size stays.
///
/// # Errors
/// `Unsupported` where the file system cannot.
pub fn punch_hole(file: impl AsFd, offset: u64, length: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags as F;
    Ok(rustix::fs::fallocate(file, F::PUNCH_HOLE | F::KEEP_SIZE, offset, length)?)
}

/// Makes the content of `to` that of `from`: by shared blocks where the file system can (FICLONE), otherwise stretch by
/// stretch inside the kernel, with holes kept. `to` must be empty.
///
/// # Errors
/// What the calls give; `to` may hold a part then.
pub fn copy_content(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let size = from.metadata()?.len();
    let mut offset = 0;
    while let Some((start, length)) = next_data(from, offset)? {
        let end = start.saturating_add(length).min(size);
        copy_range(from, to, start, end)?;
        if end >= size {
            break;
        }
        offset = end;
    }
    to.set_len(size)
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let (mut read, mut written) = (start, start);
    while read < end {
        let length = usize::try_from(end - read).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), length) {
            Ok(0) => return Ok(()), // the file was cut meanwhile
            Ok(_) => {}
            Err(rustix::io::Errno::XDEV | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL) => {
                let mut buffer = vec![0; 128 * 1024];
                while read < end {
                    let most = buffer.len().min(usize::try_from(end - read).unwrap_or(usize::MAX));
                    let count = from.read_at(&mut buffer[..most], read)?;
                    if count == 0 {
                        return Ok(());
                    }
                    to.write_all_at(&buffer[..count], read)?;
                    read += count as u64;
                }
                return Ok(());
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
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
    fn a_copy_keeps_content_and_holes() {
        use std::os::unix::fs::{FileExt as _, MetadataExt as _};
        let folder = tempfile::tempdir().unwrap();
        let open = |name| {
            std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(folder.path().join(name)).unwrap()
        };
        let (from, to) = (open("a"), open("b"));
        from.write_all_at(b"middle", 5 << 20).unwrap();
        from.set_len(9 << 20).unwrap();
        copy_content(&from, &to).unwrap();
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), std::fs::read(folder.path().join("b")).unwrap());
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20);
        assert_eq!(next_data(&from, 0).unwrap().map(|(start, _)| start), Some(5 << 20));
        punch_hole(&from, 5 << 20, 1 << 20).unwrap();
        assert_eq!(next_data(&from, 0).unwrap(), None);
    }

    #[test]
    fn a_durable_write_over_a_folder_fails_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("x")).unwrap();
        assert!(write_durably(&folder.path().join("x"), 0o600, b"1").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
