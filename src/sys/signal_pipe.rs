//! Signals as a front end meets them: turned into bytes on a pipe, or into a flag.
//!
//! Handlers do one thing that is safe in a handler (write(2) or an atomic store) and leave errno as it was. What a signal
//! means is the caller's business. There is one pipe and one flag a process, as there is one set of handlers.

#![expect(unsafe_code, reason = "a signal handler has no safe form")]

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::base::{Error, Result};

/// The signals that a foreground `run` passes on: those with which a user or a supervisor speaks to a program. SIGTSTP is
/// not among them, so that Ctrl-Z stops the client and leaves the container alone.
pub const PROXIED: [i32; 7] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM, libc::SIGTERM];

/// The signals with which a user ends a command.
pub const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// The write end of the pipe, -1 for none.
static PIPE: AtomicI32 = AtomicI32::new(-1);
/// The flag of [`raise_flag_on`]: an `Arc` that is never freed, since a handler may hold it at any time.
static FLAG: AtomicPtr<AtomicBool> = AtomicPtr::new(std::ptr::null_mut());
/// Serialises the setting up.
static SETUP: Mutex<()> = Mutex::new(());

/// Turns signals into bytes: the returned pipe yields the number of each signal that comes. The pipe is close-on-exec and
/// never blocks the handler: a signal that finds it full is lost, as pending signals of one number are.
///
/// # Errors
/// What pipe2(2) or sigaction(2) gives; `conflict` when it was called before.
pub fn pipe(signals: &[i32]) -> Result<OwnedFd> {
    let _setup = SETUP.lock().expect("no code panics while it holds this lock");
    if PIPE.load(Ordering::SeqCst) != -1 {
        return Err(Error::conflict("signals are already passed on by this process"));
    }
    let flags = nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK;
    let (read, write) = nix::unistd::pipe2(flags).map_err(|errno| failed("pipe2(O_CLOEXEC|O_NONBLOCK)", errno))?;
    // The handler may run until the process ends, so the write end stays open as long.
    PIPE.store(write.into_raw_fd(), Ordering::SeqCst);
    install(signals, write_byte, SaFlags::SA_RESTART)?;
    // Readers wait for it with poll(2) and read only what is there, so the read end need not be non-blocking: a plain
    // blocking read is what a simple reader wants.
    let fd = read.as_raw_fd();
    nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()))
        .map_err(|errno| failed(&format!("fcntl({fd}, F_SETFL, 0)"), errno))?;
    Ok(read)
}

/// Sets `flag` when one of `signals` comes for the first time; the second one has its usual effect.
///
/// # Errors
/// What sigaction(2) gives.
pub fn raise_flag_on(signals: &[i32], flag: &Arc<AtomicBool>) -> Result<()> {
    let _setup = SETUP.lock().expect("no code panics while it holds this lock");
    FLAG.store(Arc::into_raw(flag.clone()).cast_mut(), Ordering::SeqCst);
    // Without SA_RESTART, so that blocking calls return and the flag is looked at.
    install(signals, raise_flag, SaFlags::SA_RESETHAND)
}

fn install(signals: &[i32], handler: extern "C" fn(i32), flags: SaFlags) -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(handler), flags, SigSet::empty());
    for number in signals {
        let signal = Signal::try_from(*number).map_err(|_| Error::invalid(format!("no signal {number}")))?;
        // SAFETY: both handlers are async-signal-safe: they touch atomics and write(2) alone, and keep errno.
        unsafe { sigaction(signal, &action) }.map_err(|errno| failed(&format!("sigaction({signal})"), errno))?;
    }
    Ok(())
}

extern "C" fn write_byte(signal: i32) {
    let fd = PIPE.load(Ordering::Relaxed);
    let byte = u8::try_from(signal).unwrap_or(0);
    // SAFETY: errno is a thread-local int that is always valid; `byte` is one readable byte; write(2) is
    // async-signal-safe, and a bad descriptor is only an error.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        libc::write(fd, (&raw const byte).cast(), 1);
        *errno = saved;
    }
}

extern "C" fn raise_flag(_: i32) {
    let flag = FLAG.load(Ordering::Relaxed);
    if !flag.is_null() {
        // SAFETY: the pointer comes from an `Arc` that was leaked on purpose, so it is valid for ever.
        unsafe { (*flag).store(true, Ordering::SeqCst) };
    }
}

fn failed(call: &str, errno: nix::errno::Errno) -> Error {
    Error::from(std::io::Error::from(errno)).context(call.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn signals_become_bytes_and_a_second_pipe_is_refused() {
        let mut pipe_end = std::fs::File::from(pipe(&[libc::SIGUSR2]).unwrap());
        nix::sys::signal::raise(Signal::SIGUSR2).unwrap();
        let mut byte = [0];
        pipe_end.read_exact(&mut byte).unwrap();
        assert_eq!(i32::from(byte[0]), libc::SIGUSR2);
        assert!(pipe(&[libc::SIGUSR2]).is_err());
    }
}
