//! Descriptors that become readable when something happens: a counter that the kernel raises, and a watch on files.
//!
//! Waiting for them is [`crate::sys::socket::wait`]'s.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::EventfdFlags;
use rustix::fs::inotify;

/// A counter at zero, eventfd(2).
///
/// # Errors
/// What eventfd(2) gives.
pub fn counter() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Takes what a counter has, and sets it to zero.
///
/// # Errors
/// What read(2) gives.
pub fn take_count(counter: impl AsFd) -> io::Result<u64> {
    let mut bytes = [0; 8];
    match rustix::io::read(counter, &mut bytes) {
        Ok(8) => Ok(u64::from_ne_bytes(bytes)),
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(0),
        Err(errno) => Err(errno.into()),
    }
}

/// A watch on writes to these files, inotify(7).
///
/// # Errors
/// What inotify_init1(2) and inotify_add_watch(2) give.
pub fn watch(files: &[&Path]) -> io::Result<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    for file in files {
        inotify::add_watch(&watch, *file, inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE_SELF)?;
    }
    Ok(watch)
}

/// A watch on a folder: writes to its files, new files and new names of files, inotify(7).
///
/// # Errors
/// What inotify_init1(2) and inotify_add_watch(2) give.
pub fn watch_folder(folder: &Path) -> io::Result<OwnedFd> {
    use inotify::WatchFlags as F;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let what = F::MODIFY | F::CREATE | F::MOVED_TO | F::DELETE_SELF | F::ONLYDIR;
    inotify::add_watch(&watch, folder, what)?;
    Ok(watch)
}

/// Throws away what a watch has seen, so that it becomes readable anew.
///
/// # Errors
/// What read(2) gives.
pub fn drain(watch: impl AsFd) -> io::Result<()> {
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::read(&watch, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::{Interest, wait};
    use std::time::Duration;

    #[test]
    fn a_write_makes_the_watch_readable_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "a").unwrap();
        let watched = watch(&[&file]).unwrap();
        let readable = |timeout| {
            let mut interest = [Interest::new(watched.as_fd(), true, false)];
            wait(&mut interest, Some(Duration::from_millis(timeout))).unwrap();
            interest[0].readable()
        };
        assert!(!readable(0));
        std::fs::write(&file, "b").unwrap();
        assert!(readable(5000));
        drain(&watched).unwrap();
        assert!(!readable(0));
    }

    #[test]
    fn a_counter_counts_and_forgets() {
        let counter = counter().unwrap();
        rustix::io::write(&counter, &3u64.to_ne_bytes()).unwrap();
        assert_eq!(take_count(&counter).unwrap(), 3);
        assert_eq!(take_count(&counter).unwrap(), 0);
    }
}
