//! Paths inside a tree that somebody else wrote: opened, made and removed on descriptors.
//!
//! A [`Dir`] is an open folder. Functions that take a *name* work on one component and never follow a symbolic link at
//! it. Functions ending in `_in` take a *path*, which the kernel resolves as if the folder were the root of a `chroot`
//! (`openat2(2)`, `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`): `..` and absolute links stay inside.
//!
//! What an attacker who writes to the tree at the same time can still do: make any call fail, and choose which object
//! *inside* the tree it reaches.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

/// How often a resolution that raced with a rename is repeated (`EAGAIN`, see openat2(2)).
const RACE_RETRIES: u32 = 128;
/// How deep a removal descends before it moves what is below to the top; bounds descriptors and stack.
const REMOVE_DEPTH: u32 = 48;
/// How often a folder that fills up again while it is emptied is emptied.
const REMOVE_ROUNDS: u32 = 1000;
/// Bytes that one `getdents64` call may fill.
const LISTING_BUFFER_BYTES: usize = 32 * 1024;

/// What a name in a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder.
    Dir,
    /// An ordinary file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A socket.
    Socket,
}

impl EntryKind {
    pub(super) fn from_type(kind: FileType) -> Option<EntryKind> {
        Some(match kind {
            FileType::Directory => EntryKind::Dir,
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Symlink,
            FileType::Fifo => EntryKind::Fifo,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Socket => EntryKind::Socket,
            FileType::Unknown => return None,
        })
    }
}

/// An open folder.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Dir> for OwnedFd {
    fn from(dir: Dir) -> OwnedFd {
        dir.0
    }
}

impl From<Dir> for File {
    fn from(dir: Dir) -> File {
        dir.0.into()
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens a folder by a path that is trusted, following links.
    ///
    /// # Errors
    /// What `open(2)` gives.
    pub fn open(path: &Path) -> io::Result<Dir> {
        Ok(Dir(rustix::fs::open(path, DIRECTORY, Mode::empty())?))
    }

    /// A second descriptor of an open folder that somebody else holds.
    ///
    /// # Errors
    /// `NotADirectory` for anything else; when there are too many open files.
    pub fn from_fd(fd: BorrowedFd<'_>) -> io::Result<Dir> {
        Ok(Dir(rustix::fs::openat(fd, c".", DIRECTORY, Mode::empty())?))
    }

    /// A second descriptor of the same folder.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn try_clone(&self) -> io::Result<Dir> {
        Ok(Dir(self.0.try_clone()?))
    }

    /// Opens the folder called `name`; a link is an error.
    ///
    /// # Errors
    /// `NotADirectory` for anything else, `ELOOP` for a link.
    pub fn child(&self, name: &[u8]) -> io::Result<Dir> {
        check_name(name)?;
        Ok(Dir(rustix::fs::openat(&self.0, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?))
    }

    /// Opens the ordinary file called `name` for reading. Never follows a link, never waits for a pipe, never touches a
    /// device.
    ///
    /// # Errors
    /// `InvalidInput` when it is not an ordinary file, otherwise what `open(2)` gives.
    pub fn open_file(&self, name: &[u8]) -> io::Result<File> {
        check_name(name)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // A device may act when it is opened: look at it through a path descriptor first.
        let path = rustix::fs::openat(&self.0, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let before = rustix::fs::fstat(&path)?;
        ordinary(&before)?;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        ordinary(&rustix::fs::fstat(&file)?)?;
        Ok(file.into())
    }

    /// Makes a new ordinary file called `name` and opens it for writing and reading.
    ///
    /// # Errors
    /// `AlreadyExists` for anything of that name, links too.
    pub fn create_file(&self, name: &[u8], mode: u32) -> io::Result<File> {
        check_name(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(mode))?.into())
    }

    /// Makes a folder called `name`.
    ///
    /// # Errors
    /// `AlreadyExists` for anything of that name.
    pub fn make_dir(&self, name: &[u8], mode: u32) -> io::Result<()> {
        check_name(name)?;
        Ok(rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(mode))?)
    }

    /// Opens the folder at `path`, resolved inside this one.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory` and what else `openat2(2)` gives.
    pub fn open_dir_in(&self, path: &[u8]) -> io::Result<Dir> {
        self.open_in(path, DIRECTORY, 0).map(Dir)
    }

    /// Opens the ordinary file at `path`, resolved inside this folder, for reading; see [`Dir::open_file`].
    ///
    /// # Errors
    /// As [`Dir::open_file`].
    pub fn open_file_in(&self, path: &[u8]) -> io::Result<File> {
        let found = self.open_in(path, OFlags::PATH, 0)?;
        ordinary(&rustix::fs::fstat(&found)?)?;
        reopen(&found, OFlags::RDONLY)
    }

    /// Makes (mode as given) or empties the ordinary file at `path`, resolved inside this folder, for writing.
    ///
    /// # Errors
    /// `InvalidInput` when something else than an ordinary file is there, otherwise what `openat2(2)` gives.
    pub fn create_file_in(&self, path: &[u8], mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file: File = self.open_in(path, flags, mode)?.into();
        ordinary(&rustix::fs::fstat(&file)?)?;
        file.set_len(0)?;
        Ok(file)
    }

    /// Opens whatever is at `path`, resolved inside this folder, as a path descriptor (`O_PATH`): for mounting on it or
    /// looking at it. A link at the last component is followed.
    ///
    /// # Errors
    /// What `openat2(2)` gives.
    pub fn open_path_in(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_in(path, OFlags::PATH, 0)
    }

    /// Makes the folder at `path` and those above it, resolved inside this one, and opens it. Those that exist are left
    /// as they are; new ones have exactly `mode`.
    ///
    /// # Errors
    /// `NotADirectory` when something else is in the way; `NotFound` when a link in the path leads nowhere.
    pub fn make_dir_all_in(&self, path: &[u8], mode: u32) -> io::Result<Dir> {
        match self.open_dir_in(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut current = self.try_clone()?;
        let mut so_far: Vec<u8> = Vec::with_capacity(path.len());
        let mut is_new = false;
        for component in path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".") {
            so_far.push(b'/');
            so_far.extend_from_slice(component);
            // From the top: only the kernel, which knows where the root is, resolves ".." and links. Below a folder that
            // was just made there is neither.
            let opened = if is_new && component != b".." {
                Err(io::ErrorKind::NotFound.into())
            } else {
                self.open_dir_in(&so_far)
            };
            is_new = false;
            current = match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound && component != b".." => {
                    match current.make_dir(component, mode) {
                        Ok(()) => {
                            let made = current.child(component)?;
                            rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))?;
                            is_new = true;
                            made
                        }
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open_dir_in(&so_far)?,
                        Err(error) => return Err(error),
                    }
                }
                other => other?,
            };
        }
        Ok(current)
    }

    /// The names in this folder with their kinds, unsorted, without `.` and `..`.
    ///
    /// # Errors
    /// What `getdents64(2)` gives.
    pub fn entries(&self) -> io::Result<Vec<(Vec<u8>, EntryKind)>> {
        // A description of its own, since the position in a listing belongs to the description.
        let listing = rustix::fs::openat(&self.0, c".", DIRECTORY, Mode::empty())?;
        let mut buffer = Vec::with_capacity(LISTING_BUFFER_BYTES);
        let mut entries = Vec::new();
        let mut iter = RawDir::new(&listing, buffer.spare_capacity_mut());
        while let Some(entry) = iter.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match EntryKind::from_type(entry.file_type()) {
                Some(kind) => kind,
                None => match self.kind_of(name) {
                    Ok(kind) => kind,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                },
            };
            entries.push((name.to_vec(), kind));
        }
        Ok(entries)
    }

    /// What `name` is, without following it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn kind_of(&self, name: &[u8]) -> io::Result<EntryKind> {
        check_name(name)?;
        let facts = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        EntryKind::from_type(FileType::from_raw_mode(facts.st_mode))
            .ok_or_else(|| io::Error::other(format!("{:?} has an unknown type", String::from_utf8_lossy(name))))
    }

    /// Removes `name` whatever it is, with everything below; never follows a link, never leaves the file system, and
    /// takes the immutable flag away where it must. Already gone is success.
    ///
    /// # Errors
    /// `ResourceBusy` for a mount point, otherwise what the calls give.
    pub fn remove(&self, name: &[u8]) -> io::Result<()> {
        match self.kind_of(name) {
            Ok(EntryKind::Dir) => {}
            Ok(_) => return self.unlink(name, AtFlags::empty()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        for _ in 0..REMOVE_ROUNDS {
            match self.unlink(name, AtFlags::REMOVEDIR) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                other => return other,
            }
            self.same_device_child(name)?.clear()?;
        }
        Err(io::Error::other(format!("{:?} fills up again while it is removed", String::from_utf8_lossy(name))))
    }

    /// Removes everything in this folder, as [`Dir::remove`].
    ///
    /// # Errors
    /// As [`Dir::remove`].
    pub fn clear(&self) -> io::Result<()> {
        let mut moved = 0;
        for _ in 0..REMOVE_ROUNDS {
            self.clear_level(self, 0, &mut moved)?;
            if self.entries()?.is_empty() {
                return Ok(());
            }
        }
        Err(io::Error::other("the folder fills up again while it is cleared"))
    }

    fn clear_level(&self, top: &Dir, depth: u32, moved: &mut u64) -> io::Result<()> {
        for (name, kind) in self.entries()? {
            if kind != EntryKind::Dir {
                self.unlink(&name, AtFlags::empty())?;
                continue;
            }
            match self.unlink(&name, AtFlags::REMOVEDIR) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                other => {
                    other?;
                    continue;
                }
            }
            if depth >= REMOVE_DEPTH {
                *moved += 1;
                let flat = format!(".removed-{}-{moved}", std::process::id());
                rustix::fs::renameat(&self.0, name.as_slice(), &top.0, flat)?;
                continue;
            }
            self.same_device_child(&name)?.clear_level(top, depth + 1, moved)?;
            match self.unlink(&name, AtFlags::REMOVEDIR) {
                // Somebody put something in: the next round removes it.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Unlinks one name; "already gone" is success.
    fn unlink(&self, name: &[u8], flags: AtFlags) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::PERM | Errno::ACCESS) => {
                self.loosen(name);
                match rustix::fs::unlinkat(&self.0, name, flags) {
                    Ok(()) | Err(Errno::NOENT) => Ok(()),
                    Err(errno) => Err(errno.into()),
                }
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes away what keeps `name` from being removed: the immutable and append-only flags of it and of this folder, and
    /// missing rights on the folder. Whether it helped is seen by the next try.
    fn loosen(&self, name: &[u8]) {
        use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
        let locked = IFlags::IMMUTABLE | IFlags::APPEND;
        let unlock = |fd: BorrowedFd<'_>| {
            if let Ok(flags) = ioctl_getflags(fd)
                && flags.intersects(locked)
            {
                let _ = ioctl_setflags(fd, flags.difference(locked));
            }
        };
        unlock(self.0.as_fd());
        let _ = rustix::fs::fchmod(&self.0, Mode::RWXU);
        if matches!(self.kind_of(name), Ok(EntryKind::Dir | EntryKind::File)) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            if let Ok(file) = rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
                unlock(file.as_fd());
            }
        }
    }

    fn same_device_child(&self, name: &[u8]) -> io::Result<Dir> {
        let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        let open = || rustix::fs::openat2(&self.0, name, DIRECTORY, Mode::empty(), resolve);
        let opened = match open() {
            Err(Errno::ACCESS) => {
                let _ = rustix::fs::chmodat(&self.0, name, Mode::RWXU, AtFlags::empty()); // the next try tells
                open()
            }
            other => other,
        };
        match opened {
            Ok(fd) => Ok(Dir(fd)),
            Err(Errno::XDEV) => Err(Errno::BUSY.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn open_in(&self, path: &[u8], flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tries < RACE_RETRIES => tries += 1,
                other => return Ok(other?),
            }
        }
    }
}

/// Removes the file or folder at a trusted `path`, as [`Dir::remove`].
///
/// # Errors
/// As [`Dir::remove`].
pub fn remove_tree(path: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} cannot be removed")));
    };
    match Dir::open(folder) {
        Ok(folder) => folder.remove(name.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a call failed because of the name or the number it was given, and not because of rights, space or the disk:
/// with names from an archive, the archive is at fault.
pub fn is_fault_of_name(error: &io::Error) -> bool {
    let faults = [
        Errno::NOENT,
        Errno::EXIST,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::NAMETOOLONG,
        Errno::LOOP,
        Errno::INVAL,
        Errno::MLINK,
        Errno::FBIG,
        Errno::NOTEMPTY,
        Errno::OVERFLOW,
        // An extended attribute over the kernel's limit.
        Errno::TOOBIG,
    ];
    match error.raw_os_error() {
        Some(number) => faults.iter().any(|errno| errno.raw_os_error() == number),
        None => error.kind() == io::ErrorKind::InvalidInput,
    }
}

/// The path of an open descriptor in this process, for calls that take only a path.
pub(crate) fn of_descriptor(fd: impl AsFd) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

fn reopen(fd: &OwnedFd, flags: OFlags) -> io::Result<File> {
    let file = rustix::fs::open(of_descriptor(fd), flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?;
    Ok(file.into())
}

fn ordinary(facts: &rustix::fs::Stat) -> io::Result<()> {
    match FileType::from_raw_mode(facts.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(Errno::LOOP.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not an ordinary file")),
    }
}

/// One plain component: anything else would let a "name" walk.
fn check_name(name: &[u8]) -> io::Result<()> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        let shown = String::from_utf8_lossy(name).escape_debug().to_string();
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("\"{shown}\" is not a file name")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_dots_resolve_inside_the_root() {
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("secret"), "x").unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        symlink("/", root.join("up")).unwrap();
        symlink("../../..", root.join("dots")).unwrap();
        symlink(outer.path(), root.join("away")).unwrap();
        let dir = Dir::open(&root).unwrap();
        for path in ["../secret", "up/secret", "dots/secret", "away/secret", "/../secret"] {
            assert!(dir.open_file_in(path.as_bytes()).is_err(), "{path}");
        }
        dir.make_dir_all_in(b"up/a/../b/c", 0o750).unwrap();
        assert!(root.join("b/c").is_dir());
        assert!(dir.make_dir_all_in(b"away/d", 0o755).is_err());
        dir.create_file_in(b"dots/new", 0o600).unwrap();
        assert!(root.join("new").is_file() && !outer.path().join("new").exists());
        assert!(dir.open_file(b"up").is_err());
        assert!(dir.child(b"up").is_err());
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
            assert!(dir.create_file(name, 0o600).is_err() && dir.remove(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn removal_does_not_follow_links_and_copes_with_depth() {
        let outer = tempfile::tempdir().unwrap();
        let canary = outer.path().join("canary");
        std::fs::create_dir(&canary).unwrap();
        std::fs::write(canary.join("file"), "x").unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        symlink(&canary, root.join("link")).unwrap();
        let mut dir = Dir::open(&root).unwrap();
        for _ in 0..400 {
            dir.make_dir(b"a", 0o000).unwrap();
            dir.make_dir(b"b", 0o755).unwrap();
            dir = dir.child(b"a").unwrap();
        }
        remove_tree(&root).unwrap();
        assert!(!root.exists() && canary.join("file").exists());
        remove_tree(&root).unwrap();
    }

    #[test]
    fn removal_stops_at_a_mount_point() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        let point = root.join("a/b");
        std::fs::create_dir_all(&point).unwrap();
        let mount = rustix::mount::mount(c"none", &point, c"tmpfs", rustix::mount::MountFlags::empty(), None);
        mount.unwrap();
        std::fs::write(point.join("kept"), "").unwrap();
        let result = remove_tree(&root);
        let kept = point.join("kept").exists();
        rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(result.is_err() && kept);
        remove_tree(&root).unwrap();
    }

    #[test]
    fn files_are_opened_only_when_they_are_files() {
        let outer = tempfile::tempdir().unwrap();
        let dir = Dir::open(outer.path()).unwrap();
        rustix::fs::mkfifoat(&dir, c"fifo", Mode::RWXU).unwrap();
        assert!(dir.open_file(b"fifo").is_err());
        assert!(dir.open_file_in(b"fifo").is_err());
        assert!(dir.open_file(b"missing").is_err());
        dir.create_file(b"file", 0o600).unwrap();
        dir.open_file(b"file").unwrap();
        assert_eq!(dir.create_file(b"file", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(dir.entries().unwrap().len(), 2);
    }
}
