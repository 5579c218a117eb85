//! Entering a root file system that is attached in this mount namespace.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::{attach, open_folder};

/// Makes the attached mount `root` the root of this namespace and lets go of the old one (pivot_root(2), "pivot_root(".",
/// ".")").
///
/// # Errors
/// What fchdir(2), pivot_root(2) and umount2(2) give.
pub fn enter_root(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    // The old root lies over the new one now; the working folder is the new one beneath.
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// Makes an empty folder the root of this mount namespace, which nothing leads out of.
///
/// # Errors
/// What making, attaching and entering a file system gives.
pub fn enter_nothing() -> io::Result<()> {
    super::set_spread(super::Propagation::Private)?;
    let options = [("nr_inodes".to_owned(), Some("1".to_owned()))];
    let nothing = super::new_filesystem("tmpfs", Some("tmpfs"), &options, super::READ_ONLY)?;
    let old = super::open_folder(std::path::Path::new("/"))?;
    super::attach(nothing.as_fd(), old.as_fd())?;
    drop(old);
    enter_root(nothing.as_fd())
}

/// Takes an attached mount away again, by its descriptor; the working folder is `/` afterwards.
///
/// # Errors
/// What fchdir(2) and umount2(2) give.
pub fn let_go(mount: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(mount)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// Moves the attached mount `root` over the old root of this namespace, which stays beneath, and enters it.
///
/// What stays beneath would give a process that makes a user namespace of its own the right to mount an unmasked proc, so
/// every whole procfs and sysfs outside of `root` is taken away first.
///
/// # Errors
/// What mount(2), move_mount(2) and chroot(2) give.
pub fn move_root(root: BorrowedFd<'_>) -> io::Result<()> {
    for point in whole_system_mounts_outside(root)? {
        // Spreads to nobody: the namespace was made a slave or private before.
        match rustix::mount::unmount(&point, UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::NOENT) => {} // it went with its parent
            Err(Errno::INVAL | Errno::PERM) => {
                // Locked by an outer user namespace: covered.
                rustix::mount::mount("tmpfs", &point, "tmpfs", MountFlags::RDONLY, c"")?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    let old = open_folder(Path::new("/"))?;
    attach(root, old.as_fd())?;
    change_root(root)
}

/// Where in this namespace a procfs or sysfs is mounted from its root, but not below the mount `root`.
fn whole_system_mounts_outside(root: BorrowedFd<'_>) -> io::Result<Vec<PathBuf>> {
    let root = mount_id(root)?;
    let text = std::fs::read("/proc/self/mountinfo")?;
    let mut parents = HashMap::new();
    let mut found = Vec::new();
    // id parent device root point options … - type source options (proc_pid_mountinfo(5)).
    for line in text.split(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let number = |field: usize| fields.get(field).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let (Some(id), Some(parent)) = (number(0), number(1)) else { continue };
        parents.insert(id, parent);
        let kind = fields.iter().skip_while(|field| **field != b"-").nth(1);
        if fields.get(3) == Some(&&b"/"[..]) && matches!(kind, Some(&b"proc" | &b"sysfs")) {
            found.push((id, OsString::from_vec(unescape(fields[4])).into()));
        }
    }
    let inside = |mut id: u64| loop {
        match parents.get(&id) {
            _ if id == root => return true,
            Some(parent) if *parent != id => id = *parent,
            _ => return false,
        }
    };
    Ok(found.into_iter().filter(|(id, _)| !inside(*id)).map(|(_, point)| point).collect())
}

/// The number of the mount that holds an open file, as in mountinfo.
fn mount_id(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Spaces and the like are written as three octal digits in mountinfo.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => (plain.push(byte), rest = &after[3..]).0,
            None => (plain.push(*first), rest = after).0,
        }
    }
    plain
}

/// Makes the folder `root` the root of this process.
///
/// # Errors
/// What fchdir(2) and chroot(2) give.
pub fn change_root(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}
