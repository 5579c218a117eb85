//! Shared memory of another container: a copy of what is mounted in a mount namespace that is not ours.
//!
//! The kernel copies mounts of the caller's own namespace alone, so a thread of its own goes there and comes back with a
//! descriptor. Only a tmpfs is given out, and only where it is mounted: of what else there is in that container, nothing.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};

use crate::sys::mount::{clone_tree, open_folder, pin_strictly};
use crate::sys::namespace;

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// A copy of the tmpfs that is mounted at `path` in the mount namespace, attached nowhere. No part of the path may be a
/// link.
///
/// # Errors
/// `InvalidInput` when something else is there; what setns(2), openat2(2) and open_tree(2) give.
pub fn clone_tmpfs_of(namespace: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let enter = || {
        // A thread that shares its root with others cannot change its mount namespace (setns(2)).
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?;
        namespace::join(namespace, namespace::MOUNT)?;
        let root = open_folder(Path::new("/"))?;
        let there = pin_strictly(root.as_fd(), path)?;
        let is_tmpfs = rustix::fs::fstatfs(&there)?.f_type as u64 == TMPFS_MAGIC;
        let facts = rustix::fs::statx(&there, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        if !is_tmpfs || !facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no tmpfs is mounted there"));
        }
        clone_tree(there.as_fd(), false)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, enter)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the other namespace failed")))
    })
}
