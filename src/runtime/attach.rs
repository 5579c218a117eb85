//! The client's pump between the user and a container, or a further process in it.
//!
//! ```text
//! first process     user ⇄ frames on the monitor's connection ⇄ monitor ⇄ pipes or terminal
//! further process   user ⇄ pipes or the terminal's master, directly;   the monitor only says how it ended
//! ```
//!
//! The pump waits for everything at once and never blocks on one side, so that Ctrl-C, deadlines and sizes work while a
//! container does not read or a user does not either. The size of the user's terminal is looked at every tick: a library
//! installs no signal handlers.

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::base::{Context as _, Error, Result};
use crate::model::log::Stream;
use crate::runtime::client::{AttachEnd, Attachment, Monitor};
use crate::runtime::wire::{self, CHUNK, Reply, Request, STDERR, STDIN, STDOUT};
use crate::sys::signal;
use crate::sys::socket::{self, Interest};
use crate::sys::tty::{self, Size};

/// How much of the user's input is read at once, in bytes.
const INPUT: usize = 16 * 1024;
/// How long output may pause after the end of a further process before its streams count as ended: a grandchild may hold
/// them for ever (CVE-2022-23471).
const DRAIN_PAUSE: Duration = Duration::from_millis(100);

/// The user's side.
struct User<'a, 'b> {
    attachment: &'a mut Attachment<'b>,
    input_open: bool,
    keys: Keys,
    size: Option<Size>,
}

impl<'a, 'b> User<'a, 'b> {
    fn new(attachment: &'a mut Attachment<'b>) -> User<'a, 'b> {
        let keys = Keys { sequence: attachment.detach_keys.clone(), matched: 0 };
        User { input_open: attachment.stdin.is_some(), keys, size: None, attachment }
    }

    /// The terminal's size when it is not what it was.
    fn new_size(&mut self) -> Option<Size> {
        let size = tty::size(self.attachment.terminal?).ok()?;
        (self.size != Some(size)).then(|| *self.size.insert(size))
    }

    /// What the user typed; the end closes the input.
    fn read(&mut self) -> Result<Typed> {
        let Some(stdin) = self.attachment.stdin.filter(|_| self.input_open) else {
            return Ok(Typed::Bytes(Vec::new()));
        };
        let mut buffer = vec![0; INPUT];
        match socket::read(stdin, &mut buffer) {
            Ok(0) => {
                self.input_open = false;
                Ok(Typed::End)
            }
            Ok(length) => {
                buffer.truncate(length);
                Ok(self.keys.filter(buffer))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Typed::Bytes(Vec::new())),
            // A terminal that hung up.
            Err(error) if error.raw_os_error() == Some(5) => {
                self.input_open = false;
                Ok(Typed::End)
            }
            Err(error) => Err(Error::from(error).context("reading standard input")),
        }
    }

    /// Signals to pass on.
    fn signals(&mut self) -> Vec<i32> {
        let mut buffer = [0u8; 64];
        let Some(fd) = self.attachment.signals else { return Vec::new() };
        match socket::read(fd, &mut buffer) {
            Ok(length @ 1..) => buffer[..length].iter().map(|byte| i32::from(*byte)).collect(),
            // Nobody will send any more.
            _ => {
                self.attachment.signals = None;
                Vec::new()
            }
        }
    }

    fn next_look(&self) -> Result<Duration> {
        wire::next_look(self.attachment.deadline, self.attachment.interrupt)
    }
}

enum Typed {
    Bytes(Vec<u8>),
    End,
    Detach,
}

/// Recognises the detach keys in what is typed.
struct Keys {
    sequence: Vec<u8>,
    matched: usize,
}

impl Keys {
    fn filter(&mut self, bytes: Vec<u8>) -> Typed {
        if self.sequence.is_empty() {
            return Typed::Bytes(bytes);
        }
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if byte == self.sequence[self.matched] {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    return Typed::Detach;
                }
                continue;
            }
            // What looked like the beginning was meant for the container.
            out.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = usize::from(byte == self.sequence[0]);
            if self.matched == 0 {
                out.push(byte);
            }
        }
        Typed::Bytes(out)
    }
}

/// Pumps between the user and the container's first process; `start` starts it once the attachment stands.
pub(crate) fn first(monitor: &mut Monitor, mut attachment: Attachment<'_>, start: bool) -> Result<AttachEnd> {
    let mut user = User::new(&mut attachment);
    if let Some(size) = user.new_size() {
        monitor.ask(&Request::Resize(size))?;
    }
    monitor.ask(&Request::Attach)?;
    if start {
        monitor.channel.send(&Request::Start, &[])?;
    }
    let result = pump_first(monitor, &mut user, start);
    // So that the monitor does not wait for us when we use the connection for something else.
    if !matches!(result, Ok(AttachEnd::Exited(_))) {
        let _ = monitor.channel.send(&Request::Detach, &[]); // the connection may be what failed
        monitor.broken = true;
    }
    result
}

fn pump_first(monitor: &mut Monitor, user: &mut User<'_, '_>, mut starting: bool) -> Result<AttachEnd> {
    let mut outgoing: Vec<u8> = Vec::new();
    loop {
        while let Some(frame) = monitor.channel.decoder.next()? {
            match frame.kind {
                STDOUT => (user.attachment.output)(Stream::Stdout, &frame.payload)?,
                STDERR => (user.attachment.output)(Stream::Stderr, &frame.payload)?,
                _ => match frame.message::<Reply>()? {
                    Reply::Exited(record) => {
                        monitor.record = Some(record.clone());
                        return match record.error.filter(|_| starting) {
                            Some(error) => Err(Error::failed(error)),
                            None => Ok(AttachEnd::Exited(record.exit_code)),
                        };
                    }
                    Reply::Failed(error) => return Err(error.into()),
                    Reply::Started => starting = false,
                    _ => {}
                },
            }
        }
        if let Some(size) = user.new_size() {
            monitor.ask_aside(&Request::Resize(size));
        }
        let mut interests = vec![Interest::new(monitor.channel.fd(), true, !outgoing.is_empty())];
        // What the user does before the command runs is for the command.
        let signals = user.attachment.signals.filter(|_| !starting).map(|fd| interests_push(&mut interests, fd));
        let input = user.attachment.stdin.filter(|_| !starting && user.input_open && outgoing.is_empty());
        let input = input.map(|fd| interests_push(&mut interests, fd));
        socket::wait(&mut interests, Some(user.next_look()?)).context(|| "waiting for the container")?;
        let ready = |index: Option<usize>| index.is_some_and(|index| interests[index].readable());
        let (signals, input, readable) = (ready(signals), ready(input), interests[0].readable());
        let writable = interests[0].writable();
        drop(interests);
        if readable && !monitor.channel.fill()? {
            return Err(Error::unavailable("the container's monitor went away"));
        }
        if signals {
            for number in user.signals() {
                monitor.ask_aside(&Request::Signal(number));
            }
        }
        if input {
            match user.read()? {
                Typed::Bytes(bytes) if bytes.is_empty() => {}
                Typed::Bytes(bytes) => outgoing = wire::encode(STDIN, &bytes),
                // A terminal that hung up says nothing of what its user wants: a lost connection must end nothing.
                Typed::End if user.attachment.terminal.is_some() => return Ok(AttachEnd::Detached),
                Typed::End => outgoing = wire::encode(STDIN, &[]),
                Typed::Detach => return Ok(AttachEnd::Detached),
            }
        }
        if !outgoing.is_empty() && (writable || input) {
            match socket::send_now(monitor.channel.fd(), &outgoing) {
                Ok(length) => drop(outgoing.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The answer to why is on its way to us.
                Err(_) => outgoing.clear(),
            }
        }
    }
}

fn interests_push<'a>(interests: &mut Vec<Interest<'a>>, fd: BorrowedFd<'a>) -> usize {
    interests.push(Interest::new(fd, true, false));
    interests.len() - 1
}

/// The streams of a further process, at the client's end.
#[derive(Default)]
pub(crate) struct Streams {
    /// Where its input goes.
    pub(crate) stdin: Option<OwnedFd>,
    /// Where its output comes from.
    pub(crate) outputs: Vec<(Stream, OwnedFd)>,
    /// The master of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
}

/// Pumps between the user and a further process that was asked for on `monitor`'s connection with these streams.
pub(crate) fn further(monitor: &mut Monitor, mut attachment: Attachment<'_>, streams: Streams) -> Result<AttachEnd> {
    let mut user = User::new(&mut attachment);
    let result = pump_further(monitor, &mut user, streams);
    if matches!(&result, Err(error) if error.kind() != crate::base::Kind::CommandFailed) {
        // Ours to end: nobody would ever hear of it again. The connection goes with it.
        let kill = Request::SignalExec { signal: signal::KILL, group: true };
        let _ = monitor.channel.send(&kill, &[]); // it may have ended meanwhile
    }
    monitor.broken |= !matches!(result, Ok(AttachEnd::Exited(_)));
    result
}

fn pump_further(monitor: &mut Monitor, user: &mut User<'_, '_>, mut streams: Streams) -> Result<AttachEnd> {
    let channel = &mut monitor.channel;
    for fd in streams.stdin.iter().chain(streams.outputs.iter().map(|(_, fd)| fd)) {
        socket::set_nonblocking(fd, true).context(|| "setting the streams up")?;
    }
    let mut outgoing: Vec<u8> = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let mut ended: Option<(i32, Instant)> = None;
    let mut alive = true;
    let mut quiet = false;
    loop {
        while let Some(frame) = channel.decoder.next()? {
            match frame.message::<Reply>()? {
                Reply::ExecStarted { id, .. } => {
                    monitor.exec = Some(id);
                    if let Some(master) = channel.decoder.fds.pop_front() {
                        socket::set_nonblocking(&master, true).context(|| "setting the terminal up")?;
                        let doing = || "setting the terminal up";
                        streams.outputs.push((Stream::Stdout, master.try_clone().context(doing)?));
                        streams.stdin = Some(master.try_clone().context(doing)?);
                        streams.terminal = Some(master);
                        user.size = None;
                    }
                }
                Reply::ExecExited { code } => ended = Some((code, Instant::now())),
                Reply::Failed(error) => return Err(error.into()),
                _ => {}
            }
        }
        if let Some((code, since)) = ended {
            // A look that found nothing must lie in between: time alone also passes while we are stopped.
            if streams.outputs.is_empty() || (quiet && since.elapsed() > DRAIN_PAUSE) {
                return Ok(AttachEnd::Exited(code));
            }
        } else if !alive {
            return Err(Error::unavailable("the container's monitor went away"));
        }
        if let Some(terminal) = &streams.terminal
            && let Some(size) = user.new_size()
        {
            // Its last program may have gone.
            let _ = tty::set_size(terminal, size);
        }
        if !user.input_open && outgoing.is_empty() && streams.terminal.is_none() {
            streams.stdin = None;
        }
        let mut interests = vec![Interest::new(channel.fd(), alive, false)];
        let outputs: Vec<usize> =
            streams.outputs.iter().map(|(_, fd)| interests_push(&mut interests, fd.as_fd())).collect();
        let signals = user.attachment.signals.map(|fd| interests_push(&mut interests, fd));
        let may_read = user.input_open && outgoing.is_empty() && streams.stdin.is_some();
        let input = user.attachment.stdin.filter(|_| may_read).map(|fd| interests_push(&mut interests, fd));
        let sink = streams.stdin.as_ref().filter(|_| !outgoing.is_empty()).map(|fd| {
            interests.push(Interest::new(fd.as_fd(), false, true));
            interests.len() - 1
        });
        let mut timeout = user.next_look()?;
        if ended.is_some() {
            timeout = timeout.min(DRAIN_PAUSE);
        }
        socket::wait(&mut interests, Some(timeout)).context(|| "waiting for the process")?;
        let ready = |index: Option<usize>| index.is_some_and(|index| interests[index].readable());
        let outputs: Vec<bool> = outputs.into_iter().map(|index| interests[index].readable()).collect();
        let (signals, input) = (ready(signals), ready(input));
        quiet = ended.is_some() && outputs.iter().all(|ready| !ready);
        let writable = sink.is_some_and(|index| interests[index].writable());
        let message = alive && interests[0].readable();
        drop(interests);
        // Before the monitor's word: what a process wrote comes before its end.
        let mut finished = Vec::new();
        for (index, (stream, fd)) in streams.outputs.iter().enumerate().filter(|(index, _)| outputs[*index]) {
            match socket::read(fd, &mut buffer) {
                Ok(length @ 1..) => {
                    (user.attachment.output)(*stream, &buffer[..length])?;
                    if let Some((_, since)) = &mut ended {
                        *since = Instant::now();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => finished.push(index),
            }
        }
        for index in finished.into_iter().rev() {
            streams.outputs.remove(index);
        }
        if message {
            alive = channel.fill()?;
        }
        if signals {
            for number in user.signals() {
                channel.send(&Request::SignalExec { signal: number, group: false }, &[])?;
            }
        }
        if input {
            match user.read()? {
                Typed::Bytes(bytes) => outgoing = bytes,
                Typed::End if streams.terminal.is_some() => outgoing = vec![4], // Ctrl-D
                Typed::End => {}
                Typed::Detach => return Ok(AttachEnd::Detached),
            }
        }
        if let (Some(stdin), true) = (&streams.stdin, writable) {
            match socket::write(stdin, &outgoing) {
                Ok(length) => drop(outgoing.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // It reads no more.
                Err(_) => {
                    outgoing.clear();
                    streams.stdin = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &mut Keys, bytes: &[u8]) -> Option<Vec<u8>> {
        match keys.filter(bytes.to_vec()) {
            Typed::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    #[test]
    fn detach_keys_are_recognised_across_reads_and_otherwise_passed_on() {
        let mut keys = Keys { sequence: vec![16, 17], matched: 0 };
        assert_eq!(typed(&mut keys, b"ab").unwrap(), b"ab");
        assert_eq!(typed(&mut keys, &[16]).unwrap(), b"");
        assert_eq!(typed(&mut keys, b"x").unwrap(), [16, b'x']);
        assert_eq!(typed(&mut keys, &[16, 16]).unwrap(), [16]);
        assert!(typed(&mut keys, &[17]).is_none());
    }
}
