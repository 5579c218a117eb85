//! Mounts by descriptor, with the mount API of Linux 5.2 and later: what is mounted and where are both pinned before,
//! so that no name is looked up twice (CVE-2021-30465).
#![expect(unsafe_code, reason = "mount_setattr and pivot_root by descriptor have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

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

/// Makes a new file system instance of type `kind`, attached nowhere. `options` are keys with or without values.
///
/// # Errors
/// What fsopen(2), fsconfig(2) and fsmount(2) give.
pub fn new_filesystem(
    kind: &str,
    source: Option<&str>,
    options: &[(String, Option<String>)],
    attributes: u64,
) -> io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(source) = source {
        rustix::mount::fsconfig_set_string(fs.as_fd(), "source", source)?;
    }
    for (key, value) in options {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(fs.as_fd(), key, value)?,
            None => rustix::mount::fsconfig_set_flag(fs.as_fd(), key)?,
        }
    }
    rustix::mount::fsconfig_create(fs.as_fd())?;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    Ok(rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

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

/// Makes the attached mount `root` the root of this namespace and lets go of the old one (pivot_root(2), "pivot_root(".",
/// ".")").
///
/// # Errors
/// What fchdir(2), pivot_root(2) and umount2(2) give.
pub fn enter_root(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    // The old root lies over the new one now; the working folder is the new one beneath.
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)?;
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
        match rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {} // it went with its parent
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {
                // Locked by an outer user namespace: covered.
                rustix::mount::mount("tmpfs", &point, "tmpfs", rustix::mount::MountFlags::RDONLY, c"")?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    let old = open_folder(Path::new("/"))?;
    attach(root, old.as_fd())?;
    change_root(root)
}

/// Where in this namespace a procfs or sysfs is mounted from its root, but not below the mount `root`.
fn whole_system_mounts_outside(root: BorrowedFd<'_>) -> io::Result<Vec<std::path::PathBuf>> {
    use std::os::unix::ffi::OsStringExt as _;
    let root = mount_id(root)?;
    let text = std::fs::read("/proc/self/mountinfo")?;
    let mut parents = std::collections::HashMap::new();
    let mut found = Vec::new();
    // id parent device root point options … - type source options (proc_pid_mountinfo(5)).
    for line in text.split(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let number = |field: usize| fields.get(field).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let (Some(id), Some(parent)) = (number(0), number(1)) else { continue };
        parents.insert(id, parent);
        let kind = fields.iter().skip_while(|field| **field != b"-").nth(1);
        if fields.get(3) == Some(&&b"/"[..]) && matches!(kind, Some(&b"proc" | &b"sysfs")) {
            found.push((id, std::ffi::OsString::from_vec(unescape(fields[4])).into()));
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
    Ok(rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MNT_ID)?.stx_mnt_id)
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

fn resolve(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: u32, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    // A rename elsewhere on the machine makes the kernel give up its guarantee for one attempt (openat2(2), EAGAIN).
    let mut attempts = 0;
    loop {
        let result = rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode), resolve);
        match result {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) if attempts < 100 => attempts += 1,
            other => return Ok(other?),
        }
    }
}

/// Pins what `path` names below `root`, where absolute names and links start at `root`. Nothing is opened for use.
///
/// # Errors
/// What openat2(2) gives.
pub fn pin(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    resolve(root, path, OFlags::PATH, 0, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// As [`pin`], and no part of `path` may be a link.
///
/// # Errors
/// What openat2(2) gives; `LOOP` for a link.
pub fn pin_strictly(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    resolve(root, path, OFlags::PATH, 0, flags)
}

/// Opens a regular file below `root` for reading without ever waiting for it.
///
/// # Errors
/// What openat2(2) gives; `InvalidInput` when it is something else than a regular file.
pub fn open_regular(root: BorrowedFd<'_>, path: &Path) -> io::Result<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = resolve(root, path, flags, 0, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file.into())
}

/// Opens a file on a procfs of our own, of which neither links nor mounts can lead away (CVE-2025-52881).
///
/// # Errors
/// What openat2(2) gives.
pub fn open_in_proc(proc: BorrowedFd<'_>, path: &str, write: bool) -> io::Result<std::fs::File> {
    let flags = if write { OFlags::WRONLY } else { OFlags::RDONLY };
    let limits = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    Ok(resolve(proc, Path::new(path), flags, 0, limits)?.into())
}

/// Opens a device below `root` for reading and writing.
///
/// # Errors
/// What openat2(2) gives.
pub fn open_device(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    resolve(root, path, flags, 0, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Pins `name` in the open folder `dir` and says what it is; a link is not followed.
///
/// # Errors
/// What openat(2) and fstat(2) give.
pub fn look(dir: BorrowedFd<'_>, name: &Path) -> io::Result<(OwnedFd, Kind)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let kind = kind(&fd)?;
    Ok((fd, kind))
}

/// Where a pinned link leads.
///
/// # Errors
/// What readlinkat(2) gives.
pub fn read_link(link: BorrowedFd<'_>) -> io::Result<std::path::PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let target = rustix::fs::readlinkat(link, "", Vec::new())?;
    Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
}

/// Makes the folder `name` in the open folder `dir` (an existing one is fine) and pins it; a link is refused.
///
/// # Errors
/// What mkdirat(2) and openat2(2) give.
pub fn make_dir(dir: BorrowedFd<'_>, name: &Path, mode: u32) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let limits = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    resolve(dir, name, OFlags::PATH | OFlags::DIRECTORY, 0, limits)
}

/// Makes the empty file `name` in the open folder `dir` (an existing one is fine) and pins it; a link is refused.
///
/// # Errors
/// What openat(2) gives.
pub fn make_file(dir: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    let limits = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match resolve(dir, name, OFlags::PATH | OFlags::NOFOLLOW, 0, limits) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            drop(resolve(dir, name, flags, 0o644, limits)?);
            resolve(dir, name, OFlags::PATH | OFlags::NOFOLLOW, 0, limits)
        }
        other => other,
    }
}

/// Makes a device node in the open folder `dir`, owned by `uid:gid`.
///
/// # Errors
/// What mknodat(2) and fchownat(2) give.
pub fn make_device(
    dir: BorrowedFd<'_>,
    name: &Path,
    device: Device,
    mode: u32,
    (uid, gid): (u32, u32),
) -> io::Result<()> {
    let kind = match device.kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    let number = rustix::fs::makedev(device.major, device.minor);
    rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(mode), number)?;
    if (uid, gid) != (0, 0) {
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Makes a symbolic link in the open folder `dir`; an existing entry stays.
///
/// # Errors
/// What symlinkat(2) gives.
pub fn make_link(target: &str, dir: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    match rustix::fs::symlinkat(target, dir, name) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What a device node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Characters.
    Char,
    /// Blocks.
    Block,
    /// A named pipe.
    Fifo,
}

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Characters or blocks.
    pub kind: DeviceKind,
    /// Its driver.
    pub major: u32,
    /// Which of the driver's.
    pub minor: u32,
}

/// The null device.
pub const NULL: Device = Device { kind: DeviceKind::Char, major: 1, minor: 3 };

/// What an open file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Dir,
    /// A symbolic link.
    Link,
    /// A device.
    Device(Device),
    /// Anything else.
    Other,
}

/// What an open or pinned file is.
///
/// # Errors
/// What fstat(2) gives.
pub fn kind(fd: impl AsFd) -> io::Result<Kind> {
    let stat = rustix::fs::fstat(fd)?;
    let device = |kind| {
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        Kind::Device(Device { kind, major, minor })
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Link,
        FileType::CharacterDevice => device(DeviceKind::Char),
        FileType::BlockDevice => device(DeviceKind::Block),
        _ => Kind::Other,
    })
}

/// Opens a folder of the host, only to refer to it.
///
/// # Errors
/// What open(2) gives.
pub fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens the folder `path` inside the open folder `dir`, only to refer to it.
///
/// # Errors
/// What openat2(2) gives; a link or `..` that leads away is refused.
pub fn open_folder_in(dir: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    resolve(dir, path, OFlags::PATH | OFlags::DIRECTORY, 0, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// An open file is a pipe or a terminal's end below `/dev/pts`.
///
/// # Errors
/// What fstat(2) gives.
pub fn is_pipe_or_terminal(fd: impl AsFd) -> io::Result<bool> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => true,
        // Unix 98 terminals have eight majors from 136 on (the kernel's devices.txt).
        FileType::CharacterDevice => (136..=143).contains(&rustix::fs::major(stat.st_rdev)),
        _ => false,
    })
}

/// Changes the owner of an open file: of a pipe or terminal, so the owner of a pipe or terminal that its user can open it anew.
///
/// # Errors
/// What fchown(2) gives.
pub fn give_to(fd: impl AsFd, uid: u32) -> io::Result<()> {
    Ok(rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None)?)
}
