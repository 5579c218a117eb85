//! Clients over TCP: one message after the other, each with its length before it (RFC 1035 4.2.2, RFC 7766).

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use super::upstream::{is_for_later, wanted};
use super::wire::MAX_QUERY;

/// How long a connection may be of no use (RFC 7766 6.2.3).
pub(super) const IDLE: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    question: Vec<u8>,
    reply: Vec<u8>,
    sent: usize,
    /// Its question is on its way.
    pub(super) waits: bool,
    /// It is to be dropped.
    pub(super) closed: bool,
    /// When something came of it last.
    pub(super) active: Instant,
}

impl Client {
    /// Over a non-blocking connection.
    pub(super) fn new(stream: TcpStream, now: Instant) -> Client {
        Client { stream, question: Vec::new(), reply: Vec::new(), sent: 0, waits: false, closed: false, active: now }
    }

    /// What it waits for: to read or to write; neither while its question is on its way.
    pub(super) fn waits_for(&self) -> Option<(BorrowedFd<'_>, bool)> {
        (!self.waits).then(|| (self.stream.as_fd(), self.sent < self.reply.len()))
    }

    /// Something can be read or written. Returns a whole question.
    pub(super) fn on_ready(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.sent < self.reply.len() {
            self.write(now);
            return None;
        }
        let mut buffer = [0u8; 1024];
        loop {
            let wanted = wanted(&self.question);
            if self.question.len() >= 2 && wanted == self.question.len() {
                self.waits = true;
                self.active = now;
                return Some(std::mem::take(&mut self.question).split_off(2));
            }
            if wanted > 2 + MAX_QUERY {
                self.closed = true;
                return None;
            }
            let room = buffer.len().min(wanted - self.question.len());
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => self.closed = true,
                Ok(count) => {
                    self.question.extend_from_slice(&buffer[..count]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_for_later(&error) => {}
                Err(_) => self.closed = true,
            }
            return None;
        }
    }

    /// Sends the reply to its question; none closes the connection.
    pub(super) fn answer(&mut self, reply: Option<&[u8]>, now: Instant) {
        self.waits = false;
        match reply.and_then(|reply| Some((u16::try_from(reply.len()).ok()?, reply))) {
            None => self.closed = true,
            Some((length, reply)) => {
                (self.reply, self.sent) = ([&length.to_be_bytes()[..], reply].concat(), 0);
                self.write(now);
            }
        }
    }

    fn write(&mut self, now: Instant) {
        match self.stream.write(&self.reply[self.sent..]) {
            Ok(count) => {
                self.sent += count;
                self.active = now;
            }
            Err(error) if is_for_later(&error) => {}
            Err(_) => self.closed = true,
        }
        if self.sent == self.reply.len() {
            (self.reply, self.sent) = (Vec::new(), 0);
        }
    }
}
