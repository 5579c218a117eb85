//! Entries on their way to somebody else: syslog's or the journal's socket, and what waits for it.
//!
//! The monitor never waits for a receiver. What it does not take at once waits in a queue of bounded size; in blocking
//! mode a full queue holds the container back as a slow client does, in non-blocking mode what does not fit is dropped and
//! counted. While nobody is there nothing holds the container back, whatever the mode: what does not fit is dropped.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{journald, syslog};
use crate::base::Timestamp;
use crate::model::log::{LogLoss, Stream};
use crate::sys::remote;
use crate::sys::socket::{self, Interest};

/// A longer queue holds the container back in blocking mode, in bytes.
const HIGH_WATER: usize = 128 * 1024;
/// How long after a failure the next attempt to connect is made.
const RETRY: Duration = Duration::from_secs(1);
/// How long the receiver has for what waits when the container has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where entries go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// A local socket for datagrams.
    Datagrams(PathBuf),
    /// A local socket for a stream.
    Stream(PathBuf),
    /// Datagrams over the network.
    Udp(SocketAddr),
    /// A stream over the network.
    Tcp(SocketAddr),
}

impl Peer {
    /// Its bytes are one stream: a message that went in part must go on.
    fn is_stream(&self) -> bool {
        matches!(self, Peer::Stream(_) | Peer::Tcp(_))
    }

    fn connect(&self) -> std::io::Result<OwnedFd> {
        match self {
            Peer::Datagrams(path) => remote::local(path, true),
            Peer::Stream(path) => remote::local(path, false),
            Peer::Udp(address) => remote::inet(*address, true),
            Peer::Tcp(address) => remote::inet(*address, false),
        }
    }

    /// Whether somebody is there.
    ///
    /// # Errors
    /// Why not; `TimedOut` after `patience`.
    pub fn probe(&self, patience: Duration) -> std::io::Result<()> {
        let socket = self.connect()?;
        if let Peer::Tcp(_) = self {
            let mut interest = [Interest::new(socket.as_fd(), false, true)];
            socket::wait(&mut interest, Some(patience))?;
            if !interest[0].writable() {
                return Err(ErrorKind::TimedOut.into());
            }
            remote::outcome(&socket)?;
        }
        Ok(())
    }
}

/// The form of messages.
pub(super) enum Form {
    Syslog(syslog::Encoder),
    Journald(journald::Encoder),
}

enum Link {
    /// Nobody is there; the next attempt is made then.
    Down(Instant),
    Connecting(OwnedFd),
    Up(OwnedFd),
}

pub(super) struct Remote {
    peer: Peer,
    form: Form,
    link: Link,
    queue: Queue,
    /// How much may wait in non-blocking mode; none in blocking mode.
    limit: Option<usize>,
    lost: LogLoss,
    /// A message being made; kept for its allocation.
    message: Vec<u8>,
}

impl Remote {
    pub(super) fn new(peer: Peer, form: Form, limit: Option<usize>) -> Remote {
        let link = Link::Down(Instant::now());
        Remote { peer, form, link, queue: Queue::default(), limit, lost: LogLoss::default(), message: Vec::new() }
    }

    /// Sends an entry, now or later.
    pub(super) fn add(&mut self, stream: Stream, time: Timestamp, bytes: &[u8]) {
        self.message.clear();
        match &self.form {
            Form::Syslog(encoder) => encoder.encode(stream, time, bytes, &mut self.message),
            Form::Journald(encoder) => encoder.encode(stream, time, bytes, &mut self.message),
        }
        let most = match (self.limit, &self.link) {
            (Some(limit), _) => limit,
            // The queue grows by one read above its mark: nothing more is read then.
            (None, Link::Up(_)) => usize::MAX,
            (None, _) => HIGH_WATER,
        };
        // A message that is larger than all that may wait goes when nothing else waits.
        if !self.queue.is_empty() && self.queue.bytes() + self.message.len() > most {
            self.lost.add(bytes.len());
            return;
        }
        self.queue.push(&self.message, bytes.len());
    }

    /// The container has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.limit.is_none() && matches!(self.link, Link::Up(_)) && self.queue.bytes() > HIGH_WATER
    }

    /// What was dropped.
    pub(super) fn lost(&self) -> LogLoss {
        self.lost
    }

    /// The socket, while it is to become writable.
    pub(super) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        match &self.link {
            Link::Connecting(socket) => Some(socket.as_fd()),
            Link::Up(socket) if !self.queue.is_empty() => Some(socket.as_fd()),
            _ => None,
        }
    }

    /// How long until the next attempt to connect; none when nothing waits for one.
    pub(super) fn left(&self) -> Option<Duration> {
        match &self.link {
            Link::Down(until) if !self.queue.is_empty() => Some(until.saturating_duration_since(Instant::now())),
            _ => None,
        }
    }

    /// Connects when it is time to, and sends what is taken.
    pub(super) fn flush(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        if let Link::Down(until) = &self.link {
            if *until > Instant::now() {
                return;
            }
            self.link = match self.peer.connect() {
                Ok(socket) if matches!(self.peer, Peer::Tcp(_)) => Link::Connecting(socket),
                Ok(socket) => Link::Up(socket),
                Err(_) => return self.fail(),
            };
        }
        if let Link::Connecting(socket) = &self.link {
            let mut interest = [Interest::new(socket.as_fd(), false, true)];
            if socket::wait(&mut interest, Some(Duration::ZERO)).is_err() || !interest[0].writable() {
                return;
            }
            if remote::outcome(socket).is_err() {
                return self.fail();
            }
            let Link::Connecting(socket) = std::mem::replace(&mut self.link, Link::Down(Instant::now())) else {
                return;
            };
            self.link = Link::Up(socket);
        }
        while let (Link::Up(socket), Some(message)) = (&self.link, self.queue.front()) {
            match socket::send_now(socket, message) {
                Ok(sent) if self.peer.is_stream() && sent < message.len() => self.queue.advance(sent),
                Ok(_) => self.queue.pop(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // An answer to an earlier datagram: nobody listened then. This one may be heard.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused && matches!(self.peer, Peer::Udp(_)) => {
                    self.drop_front();
                }
                // Too long for the receiver, and it will never be shorter.
                Err(error) if is_too_long(&error) => self.drop_front(),
                Err(_) => return self.fail(),
            }
        }
    }

    /// Gives the receiver its last entries, as long as it may take.
    pub(super) fn finish(&mut self) {
        let deadline = Instant::now() + LAST_WORDS;
        while !self.queue.is_empty() && Instant::now() < deadline {
            self.flush();
            let pause = self.left().unwrap_or(LAST_WORDS).min(deadline.saturating_duration_since(Instant::now()));
            match self.waits_for() {
                Some(fd) => {
                    if socket::wait(&mut [Interest::new(fd, false, true)], Some(pause)).is_err() {
                        return;
                    }
                }
                None if self.queue.is_empty() => return,
                None => std::thread::sleep(pause),
            }
        }
        while !self.queue.is_empty() {
            self.drop_front();
        }
    }

    fn fail(&mut self) {
        self.link = Link::Down(Instant::now() + RETRY);
        // On a new connection a message begins anew.
        self.queue.rewind();
        // Now that nobody is there, only so much may wait; the newest go, as they would have if they had come now.
        while self.queue.bytes() > self.limit.unwrap_or(HIGH_WATER) {
            let Some(bytes) = self.queue.pop_newest() else { return };
            self.lost.add(bytes);
        }
    }

    fn drop_front(&mut self) {
        if let Some(bytes) = self.queue.front_content() {
            self.lost.add(bytes);
        }
        self.queue.pop();
    }
}

fn is_too_long(error: &std::io::Error) -> bool {
    /// EMSGSIZE of errno(3).
    const MESSAGE_TOO_LONG: i32 = 90;
    error.raw_os_error() == Some(MESSAGE_TOO_LONG)
}

/// Messages in one piece of memory: many are short.
#[derive(Default)]
struct Queue {
    text: Vec<u8>,
    /// Where the first message begins.
    start: usize,
    /// How much of the first message went.
    sent: usize,
    /// The length of each message, and how much of the output it has.
    messages: VecDeque<(usize, usize)>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn bytes(&self) -> usize {
        self.text.len() - self.start
    }

    fn push(&mut self, message: &[u8], content: usize) {
        self.text.extend_from_slice(message);
        self.messages.push_back((message.len(), content));
    }

    /// What is left of the first message.
    fn front(&self) -> Option<&[u8]> {
        let (length, _) = self.messages.front()?;
        Some(&self.text[self.start + self.sent..self.start + length])
    }

    fn front_content(&self) -> Option<usize> {
        self.messages.front().map(|(_, content)| *content)
    }

    fn advance(&mut self, sent: usize) {
        self.sent += sent;
    }

    fn rewind(&mut self) {
        self.sent = 0;
    }

    fn pop(&mut self) {
        let Some((length, _)) = self.messages.pop_front() else { return };
        self.start += length;
        self.sent = 0;
        if self.messages.is_empty() {
            // The memory of a rare flood is given back.
            match self.text.capacity() > 2 * HIGH_WATER {
                true => *self = Queue::default(),
                false => self.text.clear(),
            }
            self.start = 0;
        } else if self.start > self.text.len() / 2 {
            self.text.drain(..self.start);
            self.start = 0;
        }
    }

    /// Takes the newest message out, but never the first; how much of the output it has.
    fn pop_newest(&mut self) -> Option<usize> {
        if self.messages.len() < 2 {
            return None;
        }
        let (length, content) = self.messages.pop_back()?;
        self.text.truncate(self.text.len() - length);
        Some(content)
    }
}
