//! The user's terminal and pipes joined to a container: streams kept apart, raw mode, signals, detach keys.
//!
//! The talk with the container's monitor is the engine's.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::base::{Context as _, Error, Result};
use crate::cli::{Session, out};
use crate::docker::words;
use crate::engine::container::{AttachEnd, Attachment};
use crate::model::log::Stream;
use crate::sys::signal_pipe;
use crate::sys::terminal::RawMode;

/// Docker's keys.
const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

/// What is joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Streams {
    /// Standard input goes to the container.
    pub(crate) stdin: bool,
    /// The container's standard output is shown.
    pub(crate) stdout: bool,
    /// The container's standard error is shown.
    pub(crate) stderr: bool,
    /// The container has a terminal.
    pub(crate) tty: bool,
    /// Signals that this process gets are sent to the container; never with a terminal, which sends keys instead.
    pub(crate) sig_proxy: bool,
    /// The keys that end the attachment, with a terminal; none is Docker's.
    pub(crate) detach_keys: Option<String>,
}

/// Joins the streams, and gives the terminal back whatever happens.
///
/// # Errors
/// `invalid_argument` when the container wants a terminal and standard input is none; what `act` gives.
pub(crate) fn attached(
    session: &mut Session,
    streams: &Streams,
    act: impl FnOnce(Attachment<'_>) -> Result<AttachEnd>,
) -> Result<AttachEnd> {
    // Unbuffered: what the container wrote is seen at once, and in the order in which it comes.
    session.out.flush()?;
    joined(&Arc::clone(session.interrupt()), streams, act)
}

/// As [`attached`], when nothing is waiting to be written.
///
/// # Errors
/// As there.
pub(crate) fn joined(
    interrupt: &AtomicBool,
    streams: &Streams,
    act: impl FnOnce(Attachment<'_>) -> Result<AttachEnd>,
) -> Result<AttachEnd> {
    let detach_keys = words::detach_keys(streams.detach_keys.as_deref().unwrap_or(DETACH_KEYS))
        .context(|| "reading option \"--detach-keys\"")?;
    let (stdin, screen) = (io::stdin(), io::stdout());
    // The user's terminal, whichever stream it is on.
    let terminal = match (screen.is_terminal(), stdin.is_terminal()) {
        (true, _) => Some(screen.as_fd()),
        (_, true) => Some(stdin.as_fd()),
        _ => None,
    };
    check_terminal(streams)?;
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned().context(|| "using standard output")?);
    let mut stderr = File::from(io::stderr().as_fd().try_clone_to_owned().context(|| "using standard error")?);
    let mut output = |stream: Stream, bytes: &[u8]| match stream {
        Stream::Stdout if streams.stdout => out::written(stdout.write_all(bytes)),
        Stream::Stderr if streams.stderr => stderr.write_all(bytes).context(|| "writing to standard error"),
        _ => Ok(()),
    };
    let raw = match streams.tty && streams.stdin {
        true => Some(RawMode::enter(stdin.as_fd()).context(|| "using the terminal")?),
        false => None,
    };
    let signals = match (streams.tty, streams.sig_proxy) {
        (false, true) => Some(signal_pipe::pipe(&signal_pipe::PROXIED)?),
        // The engine's opening has seen to it that a signal ends the attachment, so that the terminal is given back.
        (true, _) | (false, false) => None,
    };
    let ended = act(Attachment {
        stdin: streams.stdin.then(|| stdin.as_fd()),
        output: &mut output,
        terminal: terminal.filter(|_| streams.tty),
        detach_keys: if streams.tty && streams.stdin { detach_keys } else { Vec::new() },
        signals: signals.as_ref().map(|pipe| pipe.as_fd()),
        interrupt,
        deadline: None,
    });
    drop(raw);
    ended
}

/// A terminal for the container needs one here.
fn check_terminal(streams: &Streams) -> Result<()> {
    if streams.tty && streams.stdin && !io::stdin().is_terminal() {
        return Err(Error::invalid("the input is not a terminal").with_hint("leave -t out"));
    }
    Ok(())
}
