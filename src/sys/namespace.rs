//! Namespaces: their names, opening and joining them, the host name and the loopback interface of a new one.
#![expect(unsafe_code, reason = "setns and ioctl on namespaces and interface flags have no safe wrapper")]

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

/// A set of namespaces, as clone3(2) and setns(2) take it.
pub type Namespaces = u64;

/// `CLONE_NEWNS`.
pub const MOUNT: Namespaces = libc::CLONE_NEWNS as u64;
/// `CLONE_NEWPID`.
pub const PID: Namespaces = libc::CLONE_NEWPID as u64;
/// `CLONE_NEWNET`.
pub const NETWORK: Namespaces = libc::CLONE_NEWNET as u64;
/// `CLONE_NEWIPC`.
pub const IPC: Namespaces = libc::CLONE_NEWIPC as u64;
/// `CLONE_NEWUTS`.
pub const UTS: Namespaces = libc::CLONE_NEWUTS as u64;
/// `CLONE_NEWUSER`.
pub const USER: Namespaces = libc::CLONE_NEWUSER as u64;
/// `CLONE_NEWCGROUP`.
pub const CGROUP: Namespaces = libc::CLONE_NEWCGROUP as u64;
/// `CLONE_NEWTIME`; the constant of the C library is younger than some of them.
pub const TIME: Namespaces = 0x80;

/// Opens what may be a namespace, without ever waiting for it.
///
/// # Errors
/// What open(2) gives.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Of which kind an open namespace is; nothing when it is none.
///
/// # Errors
/// What ioctl(2) gives besides that it means nothing to such a file.
pub fn kind(fd: BorrowedFd<'_>) -> io::Result<Option<Namespaces>> {
    /// `_IO(0xb7, 3)` of linux/nsfs.h.
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // The number of the request may mean something else to a device.
    if rustix::fs::fstatfs(fd)?.f_type != NSFS {
        return Ok(None);
    }
    // SAFETY: the request takes no argument.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    match result {
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOTTY) => Ok(None),
            error => Err(error),
        },
        kind => Ok(Some(kind as Namespaces)),
    }
}

/// `NSFS_MAGIC`: the file system of open namespaces.
const NSFS: rustix::fs::FsWord = 0x6e73_6673;

/// Both descriptors name the same namespace (or file).
///
/// # Errors
/// What fstat(2) gives.
pub fn same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Where a process stands: its root and working folder, which joining a mount namespace takes from it.
#[derive(Debug)]
pub struct Place {
    root: OwnedFd,
    cwd: OwnedFd,
}

impl Place {
    /// Here.
    ///
    /// # Errors
    /// What open(2) gives.
    pub fn here() -> io::Result<Place> {
        let open = |path| rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Ok(Place { root: open("/")?, cwd: open(".")? })
    }

    /// Goes back.
    ///
    /// # Errors
    /// What fchdir(2) and chroot(2) give.
    pub fn back(&self) -> io::Result<()> {
        become_root(self.root.as_fd())?;
        Ok(rustix::process::fchdir(&self.cwd)?)
    }
}

/// Makes an open folder the root and the working folder of this process, in the mount namespace that it is in.
///
/// # Errors
/// What fchdir(2) and chroot(2) give.
pub fn become_root(folder: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(folder)?;
    Ok(rustix::process::chroot(".")?)
}

/// Moves this process into a new time namespace whose clocks are off by `offsets`, lines of `clock seconds nanoseconds`
/// (time_namespaces(7)). Looks at `/proc`.
///
/// # Errors
/// What unshare(2), write(2) and setns(2) give.
pub fn enter_new_time(offsets: &str) -> io::Result<()> {
    // SAFETY: a plain system call; what it makes is for children until it is joined below.
    if unsafe { libc::unshare(TIME as libc::c_int) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if !offsets.is_empty() {
        // They can be set only before the first process is in it.
        File::options().write(true).open("/proc/self/timens_offsets")?.write_all(offsets.as_bytes())?;
    }
    let new = open(Path::new("/proc/self/ns/time_for_children"))?;
    join(new.as_fd(), TIME)
}

/// Joins the namespace that `fd` names, or with a process descriptor all of `namespaces` of that process at once.
///
/// # Errors
/// What setns(2) gives.
pub fn join(fd: BorrowedFd<'_>, namespaces: Namespaces) -> io::Result<()> {
    // SAFETY: a plain system call on a borrowed descriptor.
    let result = unsafe { libc::setns(fd.as_raw_fd(), namespaces as libc::c_int) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Moves into a new mount namespace, a copy of the one we are in.
///
/// # Errors
/// What unshare(2) gives.
pub fn new_mount_namespace() -> io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    Ok(())
}

/// Moves into a new cgroup namespace, whose root is where we are now.
///
/// # Errors
/// What unshare(2) gives.
pub fn new_cgroup_namespace() -> io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)?;
    Ok(())
}

/// Sets the host name.
///
/// # Errors
/// What sethostname(2) gives.
pub fn set_hostname(name: &str) -> io::Result<()> {
    Ok(rustix::system::sethostname(name.as_bytes())?)
}

/// Sets the NIS domain name.
///
/// # Errors
/// What setdomainname(2) gives.
pub fn set_domainname(name: &str) -> io::Result<()> {
    Ok(rustix::system::setdomainname(name.as_bytes())?)
}

/// Sets the loopback interface up, which gives it its addresses.
///
/// # Errors
/// What socket(2) and ioctl(2) give.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives through the call.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
