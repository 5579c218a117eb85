//! Locks between processes: `flock(2)` on files, with a deadline and the holder's name in the error.
//!
//! A lock belongs to the open file description, so it ends with the last descriptor, however its process ends; when it is
//! dropped it is released at once, also for a child that inherited the descriptor. The
//! holder is read from `/proc/locks`: nothing is written to a lock file, so that locking works with no byte free.
//!
//! It does not queue: waiters poll with a short back-off. Fairness is not promised, a deadline is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::base::{Context as _, Error, Result};

/// How long a lock is waited for unless told otherwise (RELIABILITY.md, rule 5).
pub const DEADLINE: Duration = Duration::from_secs(10);

const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Who else may hold the lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Other shared holders.
    Shared,
    /// Nobody.
    Exclusive,
}

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    remove: bool,
}

impl Lock {
    /// Takes the lock file away together with the lock. Only for an exclusive lock; a waiter notices and starts anew.
    #[must_use]
    pub fn remove_on_drop(mut self) -> Lock {
        self.remove = true;
        self
    }

    /// Whether its path still names what is locked.
    ///
    /// # Errors
    /// As [`is_at`].
    pub fn is_current(&self) -> io::Result<bool> {
        is_at(&self.file, &self.path)
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.remove {
            // While it is locked nobody else can hold it; if it cannot be removed it stays, empty and free.
            let _ = std::fs::remove_file(&self.path);
        }
        unlock(&self.file);
    }
}

/// Releases a lock now. Closing the descriptor would do so only when no other process has a copy of it, and a child has
/// one between its fork and its exec.
pub fn unlock(file: impl AsFd) {
    // The end of the descriptor releases it in any case.
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
}

/// Locks the file at `path`, making it (mode 0600) when it is missing, and waits up to `deadline`.
///
/// # Errors
/// `timeout` names the holder; otherwise what opening the file gives.
pub fn acquire(path: &Path, mode: Mode, deadline: Duration) -> Result<Lock> {
    wait(path, deadline, || try_acquire(path, mode))
}

/// Locks a folder, which must exist, and waits up to `deadline`.
///
/// # Errors
/// As [`acquire`]; `not_found`.
pub fn acquire_folder(path: &Path, mode: Mode, deadline: Duration) -> Result<Lock> {
    wait(path, deadline, || {
        let file = File::open(path).context(|| format!("opening {path:?}"))?;
        let locked = try_lock(&file, mode).context(|| format!("locking {path:?}"))?;
        Ok(locked.then(|| Lock { file, path: path.to_owned(), remove: false }))
    })
}

fn wait(path: &Path, deadline: Duration, try_once: impl Fn() -> Result<Option<Lock>>) -> Result<Lock> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(lock) = try_once()? {
            return Ok(lock);
        }
        if start.elapsed() >= deadline {
            let holder = holder_of(path);
            return Err(Error::timeout(format!(
                "waited {} s for the lock {path:?}, held by {holder}",
                deadline.as_secs()
            )));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Locks the file at `path` if that is possible at once.
///
/// # Errors
/// What opening the file gives.
pub fn try_acquire(path: &Path, mode: Mode) -> Result<Option<Lock>> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .context(|| format!("opening the lock {path:?}"))?;
        if !try_lock(&file, mode).context(|| format!("locking {path:?}"))? {
            return Ok(None);
        }
        // The holder before us may have removed the file: then we hold a lock that nobody else will ever see.
        if is_at(&file, path)? {
            return Ok(Some(Lock { file, path: path.to_owned(), remove: false }));
        }
    }
}

/// Locks an open file or folder if that is possible at once.
///
/// # Errors
/// What `flock(2)` gives besides "would block".
pub fn try_lock(file: impl AsFd, mode: Mode) -> io::Result<bool> {
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether `path` still names the open `file`.
///
/// # Errors
/// What `stat(2)` gives besides "not found".
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Who holds a kernel lock of any kind on the file at `path`, in words for an error message.
pub fn holder_of(path: &Path) -> String {
    let pids = holders(path);
    match pids.as_slice() {
        [] => "an unknown process".to_owned(),
        [pid] => describe(*pid),
        [pid, others @ ..] => format!("{} and {} more", describe(*pid), others.len()),
    }
}

/// The processes that `/proc/locks` lists for a file (proc(5)); lines of waiters, marked `->`, are left out.
fn holders(path: &Path) -> Vec<u32> {
    let (Ok(metadata), Ok(table)) = (std::fs::metadata(path), std::fs::read_to_string("/proc/locks")) else {
        return Vec::new();
    };
    let inode = format!(":{}", metadata.ino());
    let mut pids: Vec<u32> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, kind, _, _, pid, file, ..] = fields.as_slice() else { return None };
            (*kind != "->" && file.ends_with(&inode)).then(|| pid.parse().ok())?
        })
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn describe(pid: u32) -> String {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let program = command.split(|b| *b == 0).next().unwrap_or_default();
    if program.is_empty() {
        format!("process {pid}")
    } else {
        format!("process {pid} ({})", String::from_utf8_lossy(program).escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[test]
    fn an_exclusive_lock_excludes_and_the_error_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = acquire(&path, Mode::Exclusive, DEADLINE).unwrap();
        assert!(try_acquire(&path, Mode::Shared).unwrap().is_none());
        let error = acquire(&path, Mode::Exclusive, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        assert!(try_acquire(&path, Mode::Exclusive).unwrap().is_some());
    }

    #[test]
    fn shared_locks_live_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let one = try_acquire(&path, Mode::Shared).unwrap();
        let two = try_acquire(&path, Mode::Shared).unwrap();
        assert!(one.is_some() && two.is_some());
        assert!(try_acquire(&path, Mode::Exclusive).unwrap().is_none());
    }

    #[test]
    fn a_removed_lock_file_never_lets_two_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = acquire(&path, Mode::Exclusive, DEADLINE).unwrap().remove_on_drop();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(!path.exists());
    }
}
