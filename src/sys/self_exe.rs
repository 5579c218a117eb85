//! Our own program, in a form that nobody can write through.
//!
//! A process in a container can reach the program that entered it through `/proc/PID/exe` and, with enough rights,
//! reopen it for writing (CVE-2019-5736). Hence monitors, and the stages that they fork, run from a private read-only
//! mount of the program's file; where the kernel refuses that, from a sealed copy in memory.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags};

use crate::sys::mount::{self, Attributes};

/// A handle of our own program; keep it until the program was executed through [`path`].
///
/// # Errors
/// What opening or copying the program gives.
pub fn open() -> io::Result<OwnedFd> {
    read_only_mount().or_else(|_| sealed_copy())
}

/// The path that executes the program behind `handle`, in this process and its children.
pub fn path(handle: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// Whether this process runs from a program that nobody can write through: one on a read-only mount, or a sealed copy.
///
/// # Errors
/// What opening the program gives.
pub fn is_read_only() -> io::Result<bool> {
    let program = std::fs::File::open("/proc/self/exe")?;
    if rustix::fs::fstatvfs(&program)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // Other file systems than those in memory have no seals.
    Ok(rustix::fs::fcntl_get_seals(&program).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

fn read_only_mount() -> io::Result<OwnedFd> {
    let tree = mount::clone_tree_at("/proc/self/exe", false)?;
    mount::set_attributes(tree.as_fd(), Attributes { set: mount::READ_ONLY | mount::NO_DEV, ..Attributes::default() })?;
    Ok(tree)
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = std::fs::File::from(rustix::fs::memfd_create("rhumb", flags)?);
    io::copy(&mut std::fs::File::open("/proc/self/exe")?, &mut copy)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_handle_can_be_reopened_for_writing() {
        for handle in [read_only_mount().unwrap(), sealed_copy().unwrap()] {
            assert!(std::fs::File::open(path(&handle)).is_ok());
            let write = std::fs::OpenOptions::new().write(true).open(path(&handle));
            let refused = match write {
                Err(_) => true,
                Ok(mut file) => io::Write::write(&mut file, b"x").is_err(),
            };
            assert!(refused);
        }
    }
}
