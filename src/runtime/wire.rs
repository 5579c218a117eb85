//! The language between an engine and a monitor, over a stream socket.
//!
//! ```text
//! frame = length of the payload (u32, little endian) · kind (u8) · payload
//!
//! kind      payload                    from an engine        from a monitor
//! MESSAGE   JSON                       Request               Reply
//! STDIN     bytes; none is the end     to the container
//! STDOUT    bytes                                            from the container
//! STDERR    bytes                                            from the container
//!
//! creator                              monitor
//!    ── Create(plan) ──────────────────▶  makes cgroup, namespaces, mounts; the init waits
//!    ◀───────────────────── Created ───
//!    ── TakeOver, Attach … ────────────▶
//!    ── Start ─────────────────────────▶  the init executes the command
//!    ◀───────────────────── Started ───   or Failed
//!    ◀───────── STDOUT, STDERR, Exited ─
//! ```
//!
//! The first frame of the creator carries the plan; any other connection came through the control socket and may not.
//! Descriptors travel with the request or reply that names them: an exec's streams to the monitor, the master of an
//! exec's terminal back. A peer that breaks these rules is cut off, nothing else happens.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::error::CommandFailure;
use crate::base::{Context as _, Error, Id, Kind, Result};
use crate::model::exec::{Exec, ExecOptions};
use crate::model::log::LogLoss;
use crate::model::restart::RestartPolicy;
use crate::runtime::plan::Plan;
use crate::runtime::state::ExitRecord;
use crate::sys::socket::{self, Interest};
use crate::sys::tty::Size;

/// JSON.
pub(crate) const MESSAGE: u8 = 1;
/// Bytes for the container.
pub(crate) const STDIN: u8 = 2;
/// Bytes of the container's standard output.
pub(crate) const STDOUT: u8 = 3;
/// Bytes of the container's standard error.
pub(crate) const STDERR: u8 = 4;

/// The most that one frame carries, but for the first of a creator.
pub(crate) const MAX_FRAME: usize = 1024 * 1024;
/// The most that a plan takes.
pub(crate) const MAX_PLAN: usize = 16 * 1024 * 1024;
/// Bytes of a stream in one frame: what a pipe holds.
pub(crate) const CHUNK: usize = 64 * 1024;

const HEADER: usize = 5;
/// How often a wait looks at the interrupt flag.
const TICK: Duration = Duration::from_millis(50);

/// What an engine asks of a monitor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// The creator's first word.
    Create(Box<Plan>),
    /// Execute the command.
    Start,
    /// Send me the streams from now on, and the exit record.
    Attach,
    /// Send me the streams no longer.
    Detach,
    /// Send me the exit record when it is written.
    Wait,
    /// Forget what was written to the log so far.
    ClearLog,
    /// Say how much output did not get into the log.
    LogLost,
    /// Send this signal to the first process, in the user's name: what that means for the restart policy is Docker's.
    Signal(i32),
    /// Send this signal to the first process, frozen or not; the container is to end and not to be restarted. The exit
    /// record follows.
    Stop(i32),
    /// Kill all processes; the container is not restarted.
    KillAll,
    /// Have this restart policy from now on.
    SetRestart(RestartPolicy),
    /// The container has names now: start its resolver unless it runs.
    Names,
    /// Give me the container's network namespace.
    Network,
    /// Keep the descriptor that comes along as long as the container has you, under this name.
    Hold(String),
    /// Close what you keep under this name.
    LetGo(String),
    /// Freeze or thaw all processes.
    Pause(bool),
    /// Freeze all processes as long as this connection lives, or until somebody thaws them.
    Freeze,
    /// Set the size of the container's terminal.
    Resize(Size),
    /// I clean up; run `on_exit` only if I go away before.
    TakeOver,
    /// Run a further process. Carries descriptors for 0, 1, 2 when `streams` is set.
    Exec {
        /// What to run.
        options: Box<ExecOptions>,
        /// Three descriptors came along.
        streams: bool,
        /// The size of its terminal.
        size: Option<Size>,
    },
    /// Tell me the further processes: those that run, and the last that have ended.
    Execs,
    /// Send this signal to the further process of this identity.
    KillExec {
        /// Its identity.
        id: Id,
        /// The signal.
        signal: i32,
    },
    /// Send this signal to the process that this connection runs, or with `group` to its whole process group.
    SignalExec {
        /// The signal.
        signal: i32,
        /// To its process group.
        group: bool,
    },
}

/// What a monitor answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The container waits for its start.
    Created,
    /// Done.
    Done,
    /// So much output of this run did not get into the log.
    LogLost(LogLoss),
    /// The network namespace came along.
    Network,
    /// The command was executed.
    Started,
    /// It could not be done.
    Failed(WireError),
    /// The container has ended.
    Exited(ExitRecord),
    /// The further processes, oldest first.
    Execs(Vec<Exec>),
    /// The further process runs; the master of its terminal came along when it has one.
    ExecStarted {
        /// Its identity.
        id: Id,
        /// Its host pid.
        pid: i32,
    },
    /// The further process has ended with this status.
    ExecExited {
        /// Its exit status.
        code: i32,
    },
}

/// An error that crossed a process boundary.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireError {
    kind: String,
    messages: Vec<String>,
    hint: Option<String>,
    exit_code: Option<i32>,
}

impl From<&Error> for WireError {
    fn from(error: &Error) -> WireError {
        let mut messages = vec![error.message().to_owned()];
        messages.extend(error.chain());
        WireError {
            kind: error.kind().as_str().to_owned(),
            messages,
            hint: error.hint().map(str::to_owned),
            exit_code: error.failure().map(|failure| failure.exit_code),
        }
    }
}

impl From<WireError> for Error {
    fn from(wire: WireError) -> Error {
        let kind = Kind::from_name(&wire.kind).unwrap_or(Kind::Failed);
        let mut messages = wire.messages.into_iter().rev();
        let innermost = messages.next().unwrap_or_else(|| "unknown error".to_owned());
        let mut error = match wire.exit_code {
            Some(exit_code) => {
                Error::command_failed(innermost, CommandFailure { exit_code, ..CommandFailure::default() })
            }
            None => Error::new(kind, innermost),
        };
        if let Some(hint) = wire.hint {
            error = error.with_hint(hint);
        }
        messages.fold(error, Error::context)
    }
}

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    /// What the payload is.
    pub(crate) kind: u8,
    /// The payload.
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Reads the JSON of a message.
    pub(crate) fn message<T: DeserializeOwned>(&self) -> Result<T> {
        if self.kind != MESSAGE {
            return Err(Error::corrupt(format!("expected a message, got a frame of kind {}", self.kind)));
        }
        serde_json::from_slice(&self.payload).map_err(|error| Error::corrupt("unreadable message").with_source(error))
    }
}

/// A frame as bytes.
pub(crate) fn encode(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    // Every caller is below MAX_PLAN.
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    bytes
}

/// A message as bytes.
pub(crate) fn encode_message(message: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(message).expect("plain data with string keys is always JSON");
    encode(MESSAGE, &json)
}

/// Puts frames together from the pieces that arrive.
#[derive(Debug)]
pub(crate) struct Decoder {
    buffer: Vec<u8>,
    limit: usize,
    /// Descriptors that arrived and belong to a frame to come.
    pub(crate) fds: VecDeque<OwnedFd>,
}

impl Decoder {
    /// A decoder that refuses frames above `limit` bytes.
    pub(crate) fn new(limit: usize) -> Decoder {
        Decoder { buffer: Vec::new(), limit, fds: VecDeque::new() }
    }

    /// Refuses frames above `limit` bytes from now on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes in what arrived.
    pub(crate) fn push(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.fds.extend(fds);
        if self.fds.len() > 2 * socket::MAX_FDS {
            return Err(Error::corrupt("too many descriptors"));
        }
        Ok(())
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let [a, b, c, d, kind] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > self.limit || !(MESSAGE..=STDERR).contains(&kind) {
            return Err(Error::corrupt(format!("a frame of kind {kind} and {length} bytes")));
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        let payload = self.buffer[HEADER..HEADER + length].to_vec();
        self.buffer.drain(..HEADER + length);
        Ok(Some(Frame { kind, payload }))
    }
}

/// A blocking end of the talk: an engine's connection, or a stage's.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: OwnedFd,
    /// What arrived.
    pub(crate) decoder: Decoder,
}

impl Channel {
    /// Over a connected blocking socket.
    pub(crate) fn new(fd: OwnedFd, limit: usize) -> Channel {
        Channel { fd, decoder: Decoder::new(limit) }
    }

    /// The socket, and what arrived and was not read.
    pub(crate) fn into_parts(self) -> (OwnedFd, Decoder) {
        (self.fd, self.decoder)
    }

    /// The socket.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Sends a message with descriptors on board.
    pub(crate) fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.send_bytes(&encode_message(message), fds)
    }

    /// Sends a message with write(2) alone.
    pub(crate) fn write(&self, message: &impl Serialize) -> Result<()> {
        let bytes = encode_message(message);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = &rest[socket::write(&self.fd, rest).map_err(gone)?..];
        }
        Ok(())
    }

    fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        let mut sent = socket::send(&self.fd, bytes, fds).map_err(gone)?;
        while sent < bytes.len() {
            sent += socket::send(&self.fd, &bytes[sent..], &[]).map_err(gone)?;
        }
        Ok(())
    }

    /// Reads once into the decoder; false at the end.
    pub(crate) fn fill(&mut self) -> Result<bool> {
        let mut buffer = [0u8; 16 * 1024];
        let mut fds = Vec::new();
        let length = match socket::receive(&self.fd, &mut buffer, &mut fds) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(gone(error)),
        };
        self.decoder.push(&buffer[..length], fds)?;
        Ok(length > 0)
    }

    /// The next frame, however long it takes; none at the end.
    pub(crate) fn receive(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Ok(Some(frame));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The next frame within limits; none at the end.
    pub(crate) fn receive_within(
        &mut self,
        deadline: Option<Instant>,
        interrupt: &AtomicBool,
    ) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Ok(Some(frame));
            }
            let mut interests = [Interest::new(self.fd.as_fd(), true, false)];
            socket::wait(&mut interests, Some(next_look(deadline, interrupt)?))
                .context(|| "waiting for the container's monitor")?;
            if interests[0].readable() && !self.fill()? {
                return Ok(None);
            }
        }
    }
}

/// How long a wait may last until it must look at its limits again.
pub(crate) fn next_look(deadline: Option<Instant>, interrupt: &AtomicBool) -> Result<Duration> {
    if interrupt.load(Ordering::Relaxed) {
        return Err(Error::interrupted("interrupted"));
    }
    let Some(deadline) = deadline else { return Ok(TICK) };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Error::timeout("timed out")) } else { Ok(left.min(TICK)) }
}

fn gone(error: io::Error) -> Error {
    Error::unavailable("the container's monitor went away").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let mut bytes = encode_message(&Request::Signal(15));
        bytes.extend(encode(STDIN, b"hello"));
        let mut decoder = Decoder::new(MAX_FRAME);
        let mut frames = Vec::new();
        for byte in bytes {
            decoder.push(&[byte], Vec::new()).unwrap();
            frames.extend(decoder.next().unwrap());
        }
        assert!(matches!(frames[0].message().unwrap(), Request::Signal(15)));
        assert_eq!((frames[1].kind, frames[1].payload.as_slice()), (STDIN, b"hello".as_slice()));
        assert_eq!(frames.len(), 2);
    }

    #[test]
    fn garbage_is_refused_without_waiting_for_its_end() {
        for bytes in [b"GET / HTTP/1.1\r\n".as_slice(), &[0xff; 5], &[0, 0, 0, 0, 9]] {
            let mut decoder = Decoder::new(MAX_FRAME);
            decoder.push(bytes, Vec::new()).unwrap();
            assert!(decoder.next().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn errors_keep_kind_chain_hint_and_exit_code() {
        let error = Error::command_failed("exec: \"x\"", CommandFailure { exit_code: 127, ..Default::default() })
            .with_hint("look")
            .context("starting");
        let there = Error::from(WireError::from(&error));
        assert_eq!(there.to_string(), error.to_string());
        assert_eq!((there.kind(), there.hint()), (Kind::CommandFailed, Some("look")));
        assert_eq!(there.failure().unwrap().exit_code, 127);
    }
}
