//! A container's terminal: its master given away through a console socket, or shown at the terminal of `run`; and
//! following a command to its end.

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::{Context as _, Error, Result};
use crate::sys::process::{self, Child};
use crate::sys::signal::{self, Signals};
use crate::sys::socket::{self, Interest};
use crate::sys::terminal::RawMode;
use crate::sys::tty;

/// How long a console socket may be busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends the master of a terminal to the socket at `path`, as runc does: one message with its name and the descriptor.
pub(crate) fn give_away(master: Option<OwnedFd>, path: Option<&Path>) -> Result<()> {
    let (Some(master), Some(path)) = (master, path) else { return Ok(()) };
    let doing = || format!("sending the terminal to the console socket {path:?}");
    let connection = socket::connect_path(path, Instant::now() + PATIENCE).context(doing)?;
    socket::send(&connection, b"/dev/ptmx", &[master.as_fd()]).context(doing)?;
    Ok(())
}

/// Blocks all signals and makes them readable.
pub(crate) fn signals() -> Result<Signals> {
    Signals::all().context(|| "blocking signals")
}

/// Follows a command to its end: forwards signals, shows its terminal at ours. Returns its exit status.
pub(crate) fn follow(child: &Child, master: Option<OwnedFd>, signals: &Signals) -> Result<i32> {
    let mut show = master.map(Show::begin).transpose()?;
    loop {
        let mut interests =
            vec![Interest::new(child.pidfd.as_fd(), true, false), Interest::new(signals.as_fd(), true, false)];
        if let Some(show) = &show {
            interests.push(Interest::new(show.master.as_fd(), true, false));
            if show.input {
                interests.push(Interest::new(show.stdin.as_fd(), true, false));
            }
        }
        socket::wait(&mut interests, None).context(|| "waiting for the command")?;
        let ready: Vec<bool> = interests.iter().map(Interest::readable).collect();
        while let Ok(Some(number)) = signals.next() {
            match (number, &show) {
                (signal::CHLD, _) => {}
                (signal::WINCH, Some(show)) => show.resize(),
                // It may have ended just now, which the next turn sees.
                _ => drop(process::signal(child.pidfd.as_fd(), number)),
            }
        }
        if let Some(show) = &mut show {
            if ready.get(3) == Some(&true) {
                show.take_input();
            }
            if ready.get(2) == Some(&true) && !show.take_output() {
                show.ended = true;
            }
        }
        if show.as_ref().is_some_and(|show| show.ended) {
            show = None;
        }
        if ready[0] {
            if let Some(show) = &mut show {
                while show.take_output() {}
            }
            let ended = process::take_in(child).context(|| "waiting for the command")?;
            // Orphans of the container that became ours.
            while let Ok(Some(_)) = process::reap() {}
            return Ok(ended.code);
        }
    }
}

/// A terminal shown at ours.
struct Show {
    master: OwnedFd,
    stdin: OwnedFd,
    input: bool,
    ended: bool,
    _raw: Option<RawMode>,
}

impl Show {
    fn begin(master: OwnedFd) -> Result<Show> {
        let doing = || "showing the terminal";
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().context(doing)?;
        socket::set_nonblocking(&master, true).context(doing)?;
        let ours = tty::size(&stdin).is_ok();
        let raw = if ours { Some(RawMode::enter(stdin.as_fd())?) } else { None };
        let show = Show { master, stdin, input: true, ended: false, _raw: raw };
        show.resize();
        Ok(show)
    }

    fn resize(&self) {
        if let Ok(size) = tty::size(&self.stdin) {
            // A size that cannot be set only looks odd.
            let _ = tty::set_size(&self.master, size);
        }
    }

    fn take_input(&mut self) {
        let mut buffer = [0u8; 4096];
        match socket::read(&self.stdin, &mut buffer) {
            Ok(length @ 1..) => self.input = write_all(self.master.as_fd(), &buffer[..length]).is_ok(),
            // The end of our input is Ctrl-D for the command.
            _ => {
                let _ = socket::write(&self.master, &[4]);
                self.input = false;
            }
        }
    }

    /// Shows what is there; false when there is nothing, now or at all.
    fn take_output(&mut self) -> bool {
        let mut buffer = [0u8; 16 * 1024];
        match socket::read(&self.master, &mut buffer) {
            Ok(length @ 1..) => write_all(std::io::stdout().as_fd(), &buffer[..length]).is_ok(),
            _ => false,
        }
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match socket::write(fd, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut interests = [Interest::new(fd, false, true)];
                socket::wait(&mut interests, None).context(|| "writing")?;
            }
            Err(error) => return Err(Error::from(error).context("writing")),
        }
    }
    Ok(())
}
