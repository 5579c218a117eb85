//! Mounts by descriptor, with the mount API of Linux 5.2 and later: what is mounted and where are both pinned before,
//! so that no name is looked up twice (CVE-2021-30465).
//!
//! Below: [`place`], where something is mounted or made; [`filesystem`], new file systems; [`root`], entering a root;
//! [`shared`], shared memory of another container; [`visit`], a look into a container from outside.
#![expect(unsafe_code, reason = "mount_setattr has no safe wrapper")]

mod filesystem;
mod place;
mod root;
mod shared;
mod visit;

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

pub use filesystem::{NewFilesystem, mount_detached, new_filesystem, reconfigure};
pub use place::{
    Device, DeviceKind, Kind, NULL, TERMINAL_MULTIPLEXER, device_number, give_to, is_pipe_or_terminal, kind, look,
    make_device, make_dir, make_file, make_link, mode, open_device, open_folder, open_folder_in, open_in_proc,
    open_regular, pin, pin_strictly, read_link, replace_by_link,
};
pub use root::{change_root, enter_nothing, enter_root, let_go, move_root};
pub use shared::clone_tmpfs_of;
pub use visit::{assemble, root_of};

/// `MOUNT_ATTR_RDONLY`.
pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// `MOUNT_ATTR_NOSUID`.
pub const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// `MOUNT_ATTR_NODEV`.
pub const NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;
/// `MOUNT_ATTR_NOEXEC`.
pub const NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
/// `MOUNT_ATTR_NOATIME`.
pub const NO_ATIME: u64 = libc::MOUNT_ATTR_NOATIME;
/// `MOUNT_ATTR_STRICTATIME`.
pub const STRICT_ATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
/// `MOUNT_ATTR_NODIRATIME`.
pub const NO_DIR_ATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
/// `MOUNT_ATTR_NOSYMFOLLOW`.
pub const NO_SYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
/// The field that holds how access times are kept.
pub const ATIME_FIELD: u64 = libc::MOUNT_ATTR__ATIME;

/// How changes below a mount spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    /// As it is.
    #[default]
    Keep,
    /// Neither way.
    Private,
    /// From the host into the container.
    Slave,
    /// Both ways.
    Shared,
    /// Neither way, and it cannot be bound.
    Unbindable,
}

/// A change of mount attributes.
#[derive(Debug, Default, Clone, Copy)]
pub struct Attributes<'a> {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// Propagation to set.
    pub propagation: Propagation,
    /// Show files with the ids of this user namespace.
    pub user_namespace: Option<BorrowedFd<'a>>,
    /// The mounts below as well.
    pub recursive: bool,
}

/// A copy of the mount that holds `path` (looked up in the host), rooted there, attached nowhere.
///
/// # Errors
/// What open_tree(2) gives.
pub fn clone_tree_at(path: impl AsRef<Path>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    Ok(rustix::mount::open_tree(CWD, path.as_ref(), flags)?)
}

/// As [`clone_tree_at`] of a file that is open already.
///
/// # Errors
/// What open_tree(2) gives.
pub fn clone_tree(fd: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    Ok(rustix::mount::open_tree(fd, "", flags)?)
}

/// Changes the attributes of a mount.
///
/// # Errors
/// What mount_setattr(2) gives.
pub fn set_attributes(mount: BorrowedFd<'_>, change: Attributes<'_>) -> io::Result<()> {
    let propagation = match change.propagation {
        Propagation::Keep => 0,
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
        Propagation::Unbindable => libc::MS_UNBINDABLE,
    };
    // Access time modes share one field: it must be cleared to be set.
    let atime = if change.set & (NO_ATIME | STRICT_ATIME) != 0 { ATIME_FIELD } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: change.set | if change.user_namespace.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: change.clear | atime,
        propagation,
        userns_fd: change.user_namespace.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path and structure live through the call and the structure's size is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What is mounted already where a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mounted {
    /// Its attributes, the way that access times are kept included.
    pub attributes: u64,
    /// The root of a procfs.
    pub is_proc: bool,
    /// The root of a sysfs.
    pub is_sys: bool,
}

/// Looks at the mount that holds an open file.
///
/// # Errors
/// What fstatfs(2) and fstat(2) give.
pub fn mounted(fd: BorrowedFd<'_>) -> io::Result<Mounted> {
    let facts = rustix::fs::fstatfs(fd)?;
    let flags = facts.f_flags as u64;
    // Both file systems number their root 1 (PROC_ROOT_INO of the kernel; kernfs gives its root the first number).
    let is_root = || rustix::fs::fstat(fd).map(|stat| stat.st_ino == 1);
    // ST_* of <sys/statvfs.h>, and what a mount is that has none of the flags for access times.
    let pairs = [
        (libc::ST_RDONLY, READ_ONLY),
        (libc::ST_NOSUID, NO_SUID),
        (libc::ST_NODEV, NO_DEV),
        (libc::ST_NOEXEC, NO_EXEC),
        (libc::ST_NODIRATIME, NO_DIR_ATIME),
        (ST_NOSYMFOLLOW, NO_SYMFOLLOW),
    ];
    let mut attributes = pairs.iter().filter(|(flag, _)| flags & *flag != 0).fold(0, |all, (_, one)| all | one);
    if flags & libc::ST_NOATIME != 0 {
        attributes |= NO_ATIME;
    } else if flags & libc::ST_RELATIME == 0 {
        attributes |= STRICT_ATIME;
    }
    Ok(Mounted {
        attributes,
        is_proc: facts.f_type as u64 == PROC_MAGIC && is_root()?,
        is_sys: facts.f_type as u64 == SYSFS_MAGIC && is_root()?,
    })
}

const ST_NOSYMFOLLOW: u64 = 0x2000;
const PROC_MAGIC: u64 = libc::PROC_SUPER_MAGIC as u64;
const SYSFS_MAGIC: u64 = 0x6265_6572;

/// Attaches a mount onto an open file or folder.
///
/// # Errors
/// What move_mount(2) gives.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// Sets how changes to all mounts of this namespace spread: as `Private`, they stay here and nothing of others arrives; as
/// `Slave`, what others mount later still arrives.
///
/// # Errors
/// What mount(2) gives.
pub fn set_spread(propagation: Propagation) -> io::Result<()> {
    let flags = match propagation {
        Propagation::Keep => return Ok(()),
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        Propagation::Shared => MountPropagationFlags::SHARED,
        Propagation::Unbindable => MountPropagationFlags::UNBINDABLE,
    };
    Ok(rustix::mount::mount_change("/", flags | MountPropagationFlags::REC)?)
}
