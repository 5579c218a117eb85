//! What a name in a folder is and belongs to, read and set without following it: nodes, links, owners, modes, times and
//! extended attributes.
//!
//! Every function takes an open [`Dir`] and one plain name; an empty name is the folder itself where that is said.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use crate::sys::path::{Dir, EntryKind};

/// The most that the kernel keeps in one extended attribute, and in the list of their names (xattr(7)).
const XATTR_LIMIT_BYTES: usize = 64 * 1024;

/// A point in time as inodes keep it: seconds since the epoch, negative before it, and nanoseconds after that second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// The facts of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What it is.
    pub kind: EntryKind,
    /// Permissions with the set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content; of a link, of its target.
    pub size_bytes: u64,
    /// Bytes on disk.
    pub allocated_bytes: u64,
    /// When the content changed.
    pub mtime: Time,
    /// When anything about it changed.
    pub ctime: Time,
    /// How many names it has.
    pub links: u64,
    /// The number of its file system and its own.
    pub identity: (u64, u64),
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

#[allow(clippy::useless_conversion, reason = "the number of links has 32 bits on other architectures")]
fn facts(stat: &Stat) -> io::Result<Facts> {
    let kind = EntryKind::from_type(FileType::from_raw_mode(stat.st_mode))
        .ok_or_else(|| io::Error::other("the inode has an unknown type"))?;
    Ok(Facts {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size_bytes: stat.st_size.unsigned_abs(),
        allocated_bytes: stat.st_blocks.unsigned_abs() * 512,
        mtime: Time { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
        ctime: Time { seconds: stat.st_ctime, nanos: u32::try_from(stat.st_ctime_nsec).unwrap_or(0) },
        links: u64::from(stat.st_nlink),
        identity: (stat.st_dev, stat.st_ino),
        device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
    })
}

/// The facts of an open file or folder.
///
/// # Errors
/// What `fstat(2)` gives.
pub fn facts_of(file: impl AsFd) -> io::Result<Facts> {
    facts(&rustix::fs::fstat(file)?)
}

/// The facts of `name`; of the folder itself when it is empty.
///
/// # Errors
/// `NotFound`.
pub fn facts_at(dir: &Dir, name: &[u8]) -> io::Result<Facts> {
    facts(&rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)?)
}

/// Whether something is mounted at `name`, in whatever mount namespace the folder was reached. Replacing or removing the
/// name would take that mount away from those who have it, where it is not our own namespace (namespaces(7), mounts).
///
/// # Errors
/// `NotFound`.
pub fn is_mount_point(dir: &Dir, name: &[u8]) -> io::Result<bool> {
    use rustix::fs::{StatxAttributes, StatxFlags};
    let facts = rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)?;
    Ok(facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Makes a pipe, socket or device node with exactly this mode; `device` is used for devices only.
///
/// # Errors
/// `AlreadyExists`; `PermissionDenied` without `CAP_MKNOD`; `InvalidInput` for other kinds.
pub fn make_node(dir: &Dir, name: &[u8], kind: EntryKind, mode: u32, device: (u32, u32)) -> io::Result<()> {
    let (kind, device) = match kind {
        EntryKind::CharDevice => (FileType::CharacterDevice, rustix::fs::makedev(device.0, device.1)),
        EntryKind::BlockDevice => (FileType::BlockDevice, rustix::fs::makedev(device.0, device.1)),
        EntryKind::Fifo => (FileType::Fifo, 0),
        EntryKind::Socket => (FileType::Socket, 0),
        _ => return Err(Errno::INVAL.into()),
    };
    Ok(rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(mode), device)?)
}

/// Makes a symbolic link; the target is kept as it is.
///
/// # Errors
/// `AlreadyExists`.
pub fn make_symlink(dir: &Dir, name: &[u8], target: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}

/// The target of a symbolic link.
///
/// # Errors
/// `InvalidInput` when it is none.
pub fn read_symlink(dir: &Dir, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes())
}

/// Gives a file a further name; a symbolic link is linked itself.
///
/// # Errors
/// `AlreadyExists`, `NotFound`, `PermissionDenied` for a folder.
pub fn make_hard_link(from: &Dir, existing: &[u8], dir: &Dir, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::linkat(from, existing, dir, name, AtFlags::empty())?)
}

/// Moves a name, replacing a file or an empty folder.
///
/// # Errors
/// What `renameat(2)` gives.
pub fn rename(from: &Dir, name: &[u8], to: &Dir, new_name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::renameat(from, name, to, new_name)?)
}

/// Sets owner and group of `name`, or of the folder itself when it is empty. The kernel clears set-id bits and
/// capabilities of files: set those afterwards.
///
/// # Errors
/// `PermissionDenied`; `InvalidInput` for the number that means "unchanged".
pub fn set_owner(dir: &Dir, name: &[u8], uid: u32, gid: u32) -> io::Result<()> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::INVAL.into());
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    Ok(rustix::fs::chownat(dir, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)?)
}

/// Sets owner and group of an open file; as [`set_owner`].
///
/// # Errors
/// As there.
pub fn set_owner_of(file: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::INVAL.into());
    }
    Ok(rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// Sets the mode of `name`, which must not be a symbolic link; of the folder itself when it is empty.
///
/// # Errors
/// `Unsupported` for a link, `PermissionDenied`.
pub fn set_mode(dir: &Dir, name: &[u8], mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    if name.is_empty() {
        return Ok(rustix::fs::fchmod(dir, mode)?);
    }
    // A path descriptor pins the inode, whatever it is; its entry in /proc is the one way to change its mode before
    // fchmodat2(2), which Linux has since 6.6.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&node)?.st_mode) == FileType::Symlink {
        return Err(Errno::OPNOTSUPP.into());
    }
    Ok(rustix::fs::chmod(crate::sys::path::of_descriptor(&node), mode)?)
}

/// Sets the mode of an open file or folder.
///
/// # Errors
/// `PermissionDenied`.
pub fn set_mode_of(file: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
}

fn modified(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
    }
}

/// Sets the time of the last change of content, of the folder itself when the name is empty.
///
/// # Errors
/// `PermissionDenied`.
pub fn set_mtime(dir: &Dir, name: &[u8], mtime: Time) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    Ok(rustix::fs::utimensat(dir, name, &modified(mtime), flags)?)
}

/// Sets the time of the last change of content of an open file.
///
/// # Errors
/// `PermissionDenied`.
pub fn set_mtime_of(file: impl AsFd, mtime: Time) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &modified(mtime))?)
}

/// A path to `name` through the descriptor of its folder, for the calls that know no descriptor-relative form; they must
/// be those that do not follow the last component.
fn through(dir: &Dir, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(if name.is_empty() { b"." } else { name });
    path
}

/// All extended attributes of `name` (of the folder itself when it is empty), sorted by name. None where the file system
/// has none.
///
/// # Errors
/// What `llistxattr(2)` and `lgetxattr(2)` give; an attribute that goes in between is left out.
pub fn xattrs(dir: &Dir, name: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = through(dir, name);
    match rustix::fs::llistxattr_query(path.as_slice()) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut buffer = vec![0u8; XATTR_LIMIT_BYTES];
    let length = rustix::fs::llistxattr(path.as_slice(), buffer.as_mut_slice())?;
    let mut names: Vec<Vec<u8>> =
        buffer[..length].split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    names.sort();
    let mut found = Vec::with_capacity(names.len());
    for attribute in names {
        match rustix::fs::lgetxattr(path.as_slice(), attribute.as_slice(), buffer.as_mut_slice()) {
            Ok(length) => found.push((attribute, buffer[..length].to_vec())),
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(found)
}

/// One extended attribute of `name` (of the folder itself when it is empty).
///
/// # Errors
/// What `lgetxattr(2)` gives besides "there is none".
pub fn xattr(dir: &Dir, name: &[u8], attribute: &str) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0u8; XATTR_LIMIT_BYTES];
    match rustix::fs::lgetxattr(through(dir, name), attribute, buffer.as_mut_slice()) {
        Ok(length) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Sets an extended attribute of `name` (of the folder itself when it is empty).
///
/// # Errors
/// `Unsupported` where the file system has none, `PermissionDenied`.
pub fn set_xattr(dir: &Dir, name: &[u8], attribute: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(through(dir, name), attribute, value, XattrFlags::empty())?)
}

/// Sets an extended attribute of an open file or folder.
///
/// # Errors
/// As [`set_xattr`].
pub fn set_xattr_of(file: impl AsFd, attribute: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, attribute, value, XattrFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        dir.create_file(b"file", 0o600).unwrap();
        make_symlink(&dir, b"link", b"file").unwrap();
        make_node(&dir, b"null", EntryKind::CharDevice, 0o600, (1, 3)).unwrap();
        make_node(&dir, b"pipe", EntryKind::Fifo, 0o600, (0, 0)).unwrap();
        let time = Time { seconds: -5, nanos: 7 };
        for name in [&b"file"[..], b"link", b"null", b"pipe", b""] {
            set_owner(&dir, name, 12, 34).unwrap();
            set_mtime(&dir, name, time).unwrap();
            let facts = facts_at(&dir, name).unwrap();
            assert_eq!((facts.uid, facts.gid, facts.mtime), (12, 34, time));
        }
        for name in [&b"file"[..], b"null", b"pipe", b""] {
            set_mode(&dir, name, 0o6751).unwrap();
            assert_eq!(facts_at(&dir, name).unwrap().mode, 0o6751);
        }
        assert!(set_mode(&dir, b"link", 0o600).is_err());
        assert_eq!(facts_at(&dir, b"null").unwrap().device, (1, 3));
        assert_eq!(read_symlink(&dir, b"link").unwrap(), b"file");
        make_hard_link(&dir, b"link", &dir, b"hard").unwrap();
        assert_eq!(facts_at(&dir, b"hard").unwrap().kind, EntryKind::Symlink);
        assert_eq!(facts_at(&dir, b"hard").unwrap().links, 2);
        assert!(set_owner(&dir, b"file", u32::MAX, 0).is_err());
    }

    #[test]
    fn attributes_are_listed_sorted_and_per_node() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        dir.create_file(b"file", 0o600).unwrap();
        make_symlink(&dir, b"link", b"file").unwrap();
        assert!(xattrs(&dir, b"file").unwrap().is_empty());
        set_xattr(&dir, b"file", b"user.b", b"2").unwrap();
        set_xattr(&dir, b"file", b"user.a", b"").unwrap();
        set_xattr(&dir, b"link", b"trusted.x", b"l").unwrap();
        set_xattr(&dir, b"", b"user.d", &[0, 255]).unwrap();
        let names: Vec<_> = xattrs(&dir, b"file").unwrap();
        assert_eq!(names, [(b"user.a".to_vec(), b"".to_vec()), (b"user.b".to_vec(), b"2".to_vec())]);
        assert_eq!(xattr(&dir, b"link", "trusted.x").unwrap().unwrap(), b"l");
        assert_eq!(xattr(&dir, b"file", "trusted.x").unwrap(), None);
        assert_eq!(xattrs(&dir, b"").unwrap()[0].1, [0, 255]);
    }
}
