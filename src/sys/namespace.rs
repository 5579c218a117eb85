//! Namespaces: their names, joining them, the host name and the loopback interface of a new one.
#![expect(unsafe_code, reason = "setns through a process descriptor and interface flags have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

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

/// Joins the namespace that `fd` names, or with a process descriptor all of `namespaces` of that process at once.
///
/// # Errors
/// What setns(2) gives.
pub fn join(fd: BorrowedFd<'_>, namespaces: Namespaces) -> io::Result<()> {
    // SAFETY: a plain system call on a borrowed descriptor.
    let result = unsafe { libc::setns(fd.as_raw_fd(), namespaces as libc::c_int) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
