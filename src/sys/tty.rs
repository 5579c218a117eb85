//! Terminals of containers: making one inside, taking control of it, its size. The user's own is [`crate::sys::terminal`]'s.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Makes a terminal from an open `ptmx`: the other end, by descriptor and never by name (CVE-2025-52565).
///
/// # Errors
/// What ioctl(2) gives.
pub fn open_terminal(ptmx: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    rustix::pty::unlockpt(ptmx)?;
    Ok(rustix::pty::ioctl_tiocgptpeer(ptmx, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?)
}

/// Makes a terminal the controlling one of this session.
///
/// # Errors
/// What ioctl(2) gives.
pub fn take_control(terminal: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(terminal)?)
}

/// Makes this process the leader of a group, in the foreground of the terminal on its standard input if that is one.
///
/// # Errors
/// What setpgid(2) and tcsetpgrp(3) give.
pub fn lead_foreground() -> io::Result<()> {
    rustix::process::setpgid(None, None)?;
    let stdin = io::stdin();
    if rustix::termios::isatty(&stdin) {
        rustix::termios::tcsetpgrp(&stdin, rustix::process::getpid())?;
    }
    Ok(())
}

/// The size of a terminal.
///
/// # Errors
/// `NOTTY` when it is none.
pub fn size(terminal: impl AsFd) -> io::Result<Size> {
    let size = rustix::termios::tcgetwinsize(terminal)?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size of a terminal; its foreground program is told.
///
/// # Errors
/// `NOTTY` when it is none.
pub fn set_size(terminal: impl AsFd, size: Size) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}
