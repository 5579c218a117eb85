//! Sockets towards whoever takes a log: local ones by path, others by address. None of these calls waits.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Connects to the local socket at `path`, which may be longer than the kernel's 108 bytes.
///
/// # Errors
/// What open(2), socket(2) and connect(2) give: `ENOENT`, `ECONNREFUSED` when nobody listens, `EPROTOTYPE` for the other
/// kind of socket, `EAGAIN` when its queue is full.
pub fn local(path: &Path, datagrams: bool) -> io::Result<OwnedFd> {
    let kind = if datagrams { SocketType::DGRAM } else { SocketType::STREAM };
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, FLAGS, None)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
    let below = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    rustix::net::connect(&socket, &SocketAddrUnix::new(&below)?)?;
    Ok(socket)
}

/// Begins to connect to `address`; for a stream, [`outcome`] tells how it went once the socket can be written.
///
/// # Errors
/// What socket(2) and connect(2) give.
pub fn inet(address: SocketAddr, datagrams: bool) -> io::Result<OwnedFd> {
    let kind = if datagrams { SocketType::DGRAM } else { SocketType::STREAM };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, FLAGS, None)?;
    match rustix::net::connect(&socket, &SocketAddrAny::from(address)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

/// What became of a connection that was begun.
///
/// # Errors
/// Why it failed.
pub fn outcome(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::socket_error(socket)??)
}
