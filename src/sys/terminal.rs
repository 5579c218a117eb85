//! The user's terminal: raw mode that is always given back, and the window's size.
//!
//! Colours, cursor movement and line editing are not here.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, Once};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::base::{Error, Result};

/// The terminal that is in raw mode now, with what to give back; the panic hook needs it, since a release build aborts on a
/// panic and runs no destructor.
static RAW: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// Raw mode as long as this lives (termios(3), `cfmakeraw`).
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Puts the terminal into raw mode.
    ///
    /// # Errors
    /// What tcgetattr(3) gives when it is no terminal; `conflict` when one is in raw mode already.
    pub fn enter(terminal: BorrowedFd<'_>) -> Result<RawMode> {
        let mut raw = lock();
        if raw.is_some() {
            return Err(Error::conflict("the terminal is in raw mode already"));
        }
        let failed = |call: &str, errno: nix::errno::Errno| {
            Error::from(std::io::Error::from(errno)).context(format!("{call}({})", terminal.as_raw_fd()))
        };
        let before = tcgetattr(terminal).map_err(|errno| failed("tcgetattr", errno))?;
        let kept = terminal.try_clone_to_owned()?;
        let mut wanted = before.clone();
        cfmakeraw(&mut wanted);
        tcsetattr(terminal, SetArg::TCSADRAIN, &wanted).map_err(|errno| failed("tcsetattr", errno))?;
        *raw = Some((kept, before));
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |about| {
                restore();
                next(about);
            }));
        });
        Ok(RawMode(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Runs `work` while the terminal does not show what is typed; what is no terminal is left alone.
///
/// # Errors
/// What tcsetattr(3) gives.
pub fn without_echo<T>(terminal: impl AsFd, work: impl FnOnce() -> T) -> Result<T> {
    let Ok(before) = tcgetattr(&terminal) else { return Ok(work()) };
    let mut wanted = before.clone();
    wanted.local_flags.remove(nix::sys::termios::LocalFlags::ECHO);
    let set = |to: &Termios| {
        tcsetattr(&terminal, SetArg::TCSADRAIN, to)
            .map_err(|errno| Error::from(std::io::Error::from(errno)).context("tcsetattr"))
    };
    set(&wanted)?;
    let value = work();
    set(&before)?;
    Ok(value)
}

/// Gives the terminal back as it was; nothing when none is in raw mode.
pub fn restore() {
    if let Some((terminal, before)) = lock().take() {
        // A terminal that is gone (hang-up) cannot be restored, and needs not.
        let _ = tcsetattr(terminal.as_fd(), SetArg::TCSADRAIN, &before);
    }
}

/// Columns and rows of a terminal; none when it is no terminal or does not say.
pub fn size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0).then_some((size.ws_col, size.ws_row))
}

fn lock() -> std::sync::MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    // What it holds is valid also after a panic in between.
    RAW.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::termios::LocalFlags;

    #[test]
    fn raw_mode_ends_with_the_guard_and_is_refused_on_a_file() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let echo = || tcgetattr(&pty.slave).unwrap().local_flags.contains(LocalFlags::ECHO);
        let guard = RawMode::enter(pty.slave.as_fd()).unwrap();
        assert!(!echo());
        assert!(RawMode::enter(pty.slave.as_fd()).is_err());
        drop(guard);
        assert!(echo());

        let file = tempfile::tempfile().unwrap();
        assert!(RawMode::enter(file.as_fd()).is_err());
        assert_eq!(size(file.as_fd()), None);
    }
}
