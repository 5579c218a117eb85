//! Unix sockets with descriptors on board, pipes, and waiting for several of them at once.
//!
//! Addresses go through a descriptor of the folder (`/proc/self/fd/N/name`), since the kernel allows them 108 bytes and
//! a state root may be deeper. No abstract sockets: those would be reachable from a container in the host's network.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// The most descriptors that travel with one message.
pub const MAX_FDS: usize = 4;

/// Two connected stream sockets, close-on-exec.
///
/// # Errors
/// What socketpair(2) gives.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// A pipe, close-on-exec: where to read, where to write.
///
/// # Errors
/// What pipe2(2) gives.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// A socket that has a port and does nothing with it: nobody else gets it. Of TCP with `stream`, of UDP without. It listens
/// to nobody, and no option lets others share the port (socket(7), SO_REUSEADDR).
///
/// # Errors
/// What bind(2) gives, `AddrInUse` when somebody has the port.
pub fn reserve(stream: bool, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if stream { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Makes reads and writes return at once.
///
/// # Errors
/// What fcntl(2) gives.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, on)?)
}

fn address(dir: BorrowedFd<'_>, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))?)
}

/// Listens on `name` in the folder `dir`, for its owner alone. Replaces what a dead process left there.
///
/// # Errors
/// What unlinkat(2), bind(2) and listen(2) give.
pub fn listen(dir: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match rustix::fs::unlinkat(dir, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The mode of the new name is the socket's own less the umask; its folder is 0700 as well.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
    rustix::net::bind(&socket, &address(dir, name)?)?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

/// Takes a waiting connection, non-blocking and close-on-exec, if there is one.
///
/// # Errors
/// What accept4(2) gives.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(fd) => Ok(Some(fd)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Connects to `name` in the folder `dir`.
///
/// # Errors
/// What connect(2) gives.
pub fn connect(dir: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &address(dir, name)?)?;
    Ok(socket)
}

/// Connects to `name` in the folder `dir` as soon as its owner has room for one more, until `deadline`. The connection is
/// non-blocking.
///
/// # Errors
/// `TimedOut`; what connect(2) gives.
pub fn connect_until(dir: BorrowedFd<'_>, name: &str, deadline: Instant) -> io::Result<OwnedFd> {
    /// How often a full queue is looked at: nothing tells when it has room.
    const PAUSE: Duration = Duration::from_millis(5);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let address = address(dir, name)?;
    loop {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(rustix::io::Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// As [`connect`], but never waits for a place in the listener's queue.
///
/// # Errors
/// `WouldBlock` when the queue is full; what connect(2) gives.
pub fn connect_now(dir: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address(dir, name)?)?;
    set_nonblocking(&socket, false)?;
    Ok(socket)
}

/// Connects to the socket at `path`, which may be longer than the kernel's 108 bytes, as soon as its owner has room for one
/// more, until `deadline`.
///
/// # Errors
/// `InvalidInput` when it names no file; `TimedOut`; what open(2) and connect(2) give.
pub fn connect_path(path: &std::path::Path, deadline: Instant) -> io::Result<OwnedFd> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let dir = std::fs::File::open(parent)?;
    let socket = connect_until(dir.as_fd(), name, deadline)?;
    set_nonblocking(&socket, false)?;
    Ok(socket)
}

/// Sends some of `bytes`, with `fds` on board of the first; returns how many bytes went.
///
/// # Errors
/// What sendmsg(2) gives; `BrokenPipe` without a signal.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match rustix::net::sendmsg(&socket, &[io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Sends some of `bytes` over a blocking socket if that is possible at once.
///
/// # Errors
/// `WouldBlock`; what send(2) gives.
pub fn send_now(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

/// Receives into `buffer`; descriptors on board are appended to `fds`. Zero is the end.
///
/// # Errors
/// What recvmsg(2) gives.
pub fn receive(socket: impl AsFd, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [io::IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(&socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(message) => {
                for part in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(received) = part {
                        fds.extend(received);
                    }
                }
                return Ok(message.bytes);
            }
        }
    }
}

/// Reads some bytes.
///
/// # Errors
/// What read(2) gives; never `Interrupted`.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut *buffer))?)
}

/// Writes some bytes.
///
/// # Errors
/// What write(2) gives; never `Interrupted`.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::io::write(&fd, bytes))?)
}

/// One descriptor to wait for and what became of it.
#[derive(Debug)]
pub struct Interest<'a> {
    fd: BorrowedFd<'a>,
    flags: PollFlags,
    result: PollFlags,
}

impl<'a> Interest<'a> {
    /// Waits for `read`, `write`, both, or (neither) only for the other end's going away.
    pub fn new(fd: BorrowedFd<'a>, read: bool, write: bool) -> Interest<'a> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, read);
        flags.set(PollFlags::OUT, write);
        Interest { fd, flags, result: PollFlags::empty() }
    }

    /// There is something to read, or the end.
    pub fn readable(&self) -> bool {
        self.result.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
    }

    /// Something can be written, or the other end is gone.
    pub fn writable(&self) -> bool {
        self.result.intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR)
    }

    /// The other end is gone.
    pub fn hung_up(&self) -> bool {
        self.result.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    }
}

/// Waits until one of `interests` is ready, a signal came or `timeout` passed.
///
/// # Errors
/// What poll(2) gives; an interruption is no error.
pub fn wait(interests: &mut [Interest<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> = interests.iter().map(|i| PollFd::from_borrowed_fd(i.fd, i.flags)).collect();
    // Far beyond what anyone waits for, and within what the kernel takes.
    let timeout =
        timeout.map(|t| Timespec { tv_sec: t.as_secs().min(1 << 30) as i64, tv_nsec: t.subsec_nanos().into() });
    let result = match rustix::event::poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    };
    let results: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
    for (interest, flags) in interests.iter_mut().zip(results) {
        interest.result = flags;
    }
    result
}
