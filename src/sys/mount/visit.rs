//! A look into mount namespaces, and trees of mounts that are attached nowhere: for whoever reads and writes a container's
//! files from outside.
//!
//! A thread of its own goes where the mounts are and comes back with a descriptor; nothing in there is executed or loaded
//! (CVE-2019-14271). The thread touches no file there but opens the root.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::MoveMountFlags;

use crate::base::{Error, Result};
use crate::sys::mount::{Propagation, clone_tree, open_folder, set_spread};
use crate::sys::namespace;
use crate::sys::overlay::in_a_thread;

/// The root of the mount namespace of a process, whatever root the process has made its own since. It shows what is
/// mounted there as long as the namespace lives.
///
/// # Errors
/// `ESRCH` when the process has ended; what setns(2) and open(2) give.
pub fn root_of(pidfd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    in_a_thread(|| {
        // A thread that shares its root with others cannot change its mount namespace (setns(2)).
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?;
        namespace::join(pidfd, namespace::MOUNT)?;
        open_folder(Path::new("/"))
    })
}

/// Attaches `root`, a mount that is attached nowhere, in a mount namespace that exists meanwhile, lets `furnish` attach
/// others in it, and gives a copy of the whole that is attached nowhere: a kill leaves nothing, and nobody else sees it.
///
/// # Errors
/// What `furnish` gives, and the calls.
pub fn assemble(root: OwnedFd, furnish: impl FnOnce(BorrowedFd<'_>) -> Result<()> + Send) -> Result<OwnedFd> {
    in_a_thread(|| {
        namespace::new_mount_namespace()?;
        set_spread(Propagation::Private)?;
        // Above the root of this namespace, where no path leads and nothing is covered: it only matters that it is
        // attached, since the kernel attaches nothing to what is not.
        rustix::mount::move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(|error| Error::from(io::Error::from(error)).context("attaching a root"))?;
        furnish(root.as_fd())?;
        Ok(clone_tree(root.as_fd(), true)?)
    })
}
