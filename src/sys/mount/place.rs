//! Places below a root: pinned, looked at and made one name at a time, never through a link that leads out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

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
/// What openat(2) gives; `LOOP` for a link.
pub fn make_file(dir: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    let limits = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let pinned = match resolve(dir, name, OFlags::PATH | OFlags::NOFOLLOW, 0, limits) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            drop(resolve(dir, name, flags, 0o644, limits)?);
            resolve(dir, name, OFlags::PATH | OFlags::NOFOLLOW, 0, limits)?
        }
        other => other?,
    };
    // A link at the end is pinned itself with these flags (openat2(2), RESOLVE_NO_SYMLINKS).
    match kind(&pinned)? {
        Kind::Link => Err(rustix::io::Errno::LOOP.into()),
        _ => Ok(pinned),
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
    if device.major > Device::MAX_MAJOR || device.minor > Device::MAX_MINOR {
        // The system call cuts larger ones, and makes another device.
        return Err(io::ErrorKind::InvalidInput.into());
    }
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

/// Makes a symbolic link in the open folder `dir` in the place of whatever file has the name.
///
/// # Errors
/// What unlinkat(2) and symlinkat(2) give; `IsADirectory` for a folder.
pub fn replace_by_link(target: &str, dir: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    match rustix::fs::symlinkat(target, dir, name) {
        Err(rustix::io::Errno::EXIST) => {
            if rustix::fs::readlinkat(dir, name, Vec::new()).is_ok_and(|there| there.to_bytes() == target.as_bytes()) {
                return Ok(());
            }
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            Ok(rustix::fs::symlinkat(target, dir, name)?)
        }
        other => Ok(other?),
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

impl Device {
    /// The largest number of a driver that the kernel has.
    pub const MAX_MAJOR: u32 = (1 << 12) - 1;
    /// The largest number of a driver's device.
    pub const MAX_MINOR: u32 = (1 << 20) - 1;
}

/// What makes terminals.
pub const TERMINAL_MULTIPLEXER: Device = Device { kind: DeviceKind::Char, major: 5, minor: 2 };
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
        FileType::Fifo => Kind::Device(Device { kind: DeviceKind::Fifo, major: 0, minor: 0 }),
        _ => Kind::Other,
    })
}

/// The permissions of an open or pinned file, with the set-id and sticky bits.
///
/// # Errors
/// What fstat(2) gives.
pub fn mode(fd: impl AsFd) -> io::Result<u32> {
    Ok(rustix::fs::fstat(fd)?.st_mode & 0o7777)
}

/// The number of the file system that holds an open file.
///
/// # Errors
/// What fstat(2) gives.
pub fn device_number(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_dev)
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

/// Changes the owner, and with `gid` the group, of an open file: of a pipe or terminal, so that its user can open it anew.
///
/// # Errors
/// What fchown(2) gives.
pub fn give_to(fd: impl AsFd, uid: u32, gid: Option<u32>) -> io::Result<()> {
    Ok(rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), gid.map(rustix::fs::Gid::from_raw))?)
}
