//! Signals: their names, reading them as data, and giving a new program a clean slate.
#![expect(unsafe_code, reason = "signal dispositions have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// No signal: only whether it could be sent (kill(2)).
pub const NONE: i32 = 0;
/// SIGHUP.
pub const HUP: i32 = libc::SIGHUP;
/// SIGINT.
pub const INT: i32 = libc::SIGINT;
/// SIGKILL.
pub const KILL: i32 = libc::SIGKILL;
/// SIGTERM.
pub const TERM: i32 = libc::SIGTERM;
/// SIGCHLD.
pub const CHLD: i32 = libc::SIGCHLD;
/// SIGWINCH.
pub const WINCH: i32 = libc::SIGWINCH;

/// The number of a signal written as `TERM`, `SIGTERM`, `15` or `RTMIN+3`.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('-')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then_some(64 - offset);
    }
    format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32)
}

/// Whether a signal ends a process that has not said otherwise (signal(7)).
pub fn ends_by_default(signal: i32) -> bool {
    let spares = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    !spares.contains(&signal)
}

/// What a signal that ended a process says to people, as the C library has it: `bad system call`; the name of the others.
pub fn describe(signal: i32) -> String {
    match signal {
        libc::SIGSYS => "bad system call".to_owned(),
        libc::SIGKILL => "killed".to_owned(),
        libc::SIGSEGV => "segmentation fault".to_owned(),
        libc::SIGABRT => "aborted".to_owned(),
        other => name(other),
    }
}

/// The name of a signal, `SIGTERM`; a number for one without a name.
pub fn name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| signal.to_string(), |signal| signal.as_str().to_owned())
}

/// Signals as data.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks all signals but the deadly faults, and makes them readable here.
    ///
    /// # Errors
    /// What sigprocmask(2) and signalfd(2) give.
    pub fn all() -> io::Result<Signals> {
        let mut set = SigSet::all();
        for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT, Signal::SIGSYS]
        {
            set.remove(fault);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None)?;
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal's number, if there is one.
    ///
    /// # Errors
    /// What read(2) gives.
    pub fn next(&self) -> io::Result<Option<i32>> {
        Ok(self.0.read_signal()?.map(|info| info.ssi_signo as i32))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Default dispositions and nothing blocked: what a program in a container starts with. This holds for all 64 signals:
/// what whoever started us ignores, real-time signals included, would be ignored inside.
///
/// # Errors
/// What sigprocmask(2) and rt_sigaction(2) give.
pub fn reset() -> io::Result<()> {
    // All zeros is the default disposition, without flags or mask, in every architecture's layout of the kernel's structure.
    let default = [0u64; 4];
    for signal in (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
        let nothing = std::ptr::null::<u64>();
        // SAFETY: the kernel reads at most 32 bytes, which live through the call, and writes nothing; the default
        // disposition runs no code of ours. (The C library's own call refuses the two signals that it keeps for itself.)
        let result =
            unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), nothing, size_of::<u64>()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_docker_reads_them() {
        for (text, number) in [("TERM", 15), ("sigterm", 15), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX", 64), ("HUP", 1)] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in ["", "SIG", "0", "65", "-1", "NOPE", "RTMIN+99", "RTMIN3", "9 "] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(name(15), "SIGTERM");
    }
}
