//! Asking others: one question on its way to a server, over UDP or TCP, and what comes of it.
//!
//! ```text
//! question ──▶ first server ── answer ───────────────▶ back as it came
//!                 │ silence, refused connection, complaint
//!                 ▼
//!              next server … each at most twice … SERVFAIL, or the last complaint
//! ```
//!
//! A question that came over UDP is asked over UDP, and a reply that was cut goes back as such: the client comes again over
//! TCP, and then is asked over TCP. Each question has a socket and so a source port of its own, and the kernel passes
//! on nothing that does not come from the server: who wants to slip in a reply must guess both numbers.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::wire::{Asked, Code, MAX_REPLY, Verdict};
use crate::sys::{remote, socket};

/// How long a server may be silent before the next one is asked.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long all of it may take: less than the five seconds after which the C library asks again (resolv.conf(5)).
const LIMIT: Duration = Duration::from_millis(4500);
/// How many replies to something else are read before one question's server is taken for hostile.
const MAX_STRAYS: u32 = 32;

/// A question on its way.
#[derive(Debug)]
pub(super) struct Forward {
    asked: Asked,
    udp: bool,
    servers: Vec<SocketAddr>,
    tries: usize,
    strays: u32,
    talk: Option<Talk>,
    complaint: Option<Vec<u8>>,
    until: Instant,
    end: Instant,
}

#[derive(Debug)]
enum Talk {
    Udp(UdpSocket),
    Tcp { socket: OwnedFd, out: Vec<u8>, sent: usize, reply: Vec<u8> },
}

/// What came of waiting.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Not yet.
    Waiting,
    /// This goes to the client.
    Reply(Vec<u8>),
}

impl Forward {
    /// Begins to ask `servers` in their order.
    pub(super) fn begin(asked: Asked, udp: bool, servers: Vec<SocketAddr>, now: Instant) -> (Forward, Outcome) {
        let mut forward = Forward {
            asked,
            udp,
            servers,
            tries: 0,
            strays: 0,
            talk: None,
            complaint: None,
            until: now,
            end: now + LIMIT,
        };
        let outcome = forward.next(now);
        (forward, outcome)
    }

    /// When it wants [`Forward::on_time`].
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// What it waits for: a descriptor, and whether it is for room to write.
    pub(super) fn waits_for(&self) -> Option<(BorrowedFd<'_>, bool)> {
        match self.talk.as_ref()? {
            Talk::Udp(socket) => Some((socket.as_fd(), false)),
            Talk::Tcp { socket, out, sent, .. } => Some((socket.as_fd(), *sent < out.len())),
        }
    }

    /// Who is asked now.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        let index = self.tries.checked_sub(1)? % self.servers.len();
        self.servers.get(index).copied()
    }

    /// The time has come.
    pub(super) fn on_time(&mut self, now: Instant) -> Outcome {
        if now >= self.end { self.give_up() } else { self.next(now) }
    }

    /// Something can be read or written.
    pub(super) fn on_ready(&mut self, now: Instant, buffer: &mut [u8]) -> Outcome {
        match self.hear(buffer) {
            Ok(None) => Outcome::Waiting,
            Ok(Some(reply)) => match self.asked.verdict(&reply) {
                Some(Verdict::Answer) => Outcome::Reply(reply),
                Some(Verdict::Complaint) => {
                    self.complaint = Some(reply);
                    self.next(now)
                }
                // Over TCP nothing else can follow.
                None if matches!(self.talk, Some(Talk::Tcp { .. })) || self.strays >= MAX_STRAYS => self.next(now),
                None => {
                    self.strays += 1;
                    Outcome::Waiting
                }
            },
            Err(_) => self.next(now),
        }
    }

    fn hear(&mut self, buffer: &mut [u8]) -> io::Result<Option<Vec<u8>>> {
        match self.talk.as_mut() {
            None => Err(ErrorKind::NotConnected.into()),
            Some(Talk::Udp(socket)) => match socket.recv(buffer) {
                Ok(length) => Ok(Some(buffer[..length].to_owned())),
                Err(error) if is_for_later(&error) => Ok(None),
                Err(error) => Err(error),
            },
            Some(Talk::Tcp { socket, out, sent, reply }) => {
                if *sent < out.len() {
                    remote::outcome(&*socket)?;
                    match socket::send_now(&*socket, &out[*sent..]) {
                        Ok(count) => *sent += count,
                        Err(error) if is_for_later(&error) => {}
                        Err(error) => return Err(error),
                    }
                    return Ok(None);
                }
                let wanted = wanted(reply);
                let room = buffer.len().min(wanted.saturating_sub(reply.len()));
                match socket::read(&*socket, &mut buffer[..room]) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(count) => reply.extend_from_slice(&buffer[..count]),
                    Err(error) if is_for_later(&error) => return Ok(None),
                    Err(error) => return Err(error),
                }
                Ok((reply.len() > 2 && reply.len() == self::wanted(reply)).then(|| reply.split_off(2)))
            }
        }
    }

    /// Asks the next server.
    fn next(&mut self, now: Instant) -> Outcome {
        self.talk = None;
        // At once, when one is not there at all.
        while self.tries < self.servers.len() * 2 && now < self.end {
            let server = self.servers[self.tries % self.servers.len()];
            self.tries += 1;
            if let Ok(talk) = self.open(server) {
                self.talk = Some(talk);
                self.until = (now + PATIENCE).min(self.end);
                return Outcome::Waiting;
            }
        }
        self.give_up()
    }

    fn open(&self, server: SocketAddr) -> io::Result<Talk> {
        let socket = remote::inet(server, self.udp)?;
        if self.udp {
            let socket = UdpSocket::from(socket);
            socket.send(&self.asked.bytes)?;
            return Ok(Talk::Udp(socket));
        }
        let length = u16::try_from(self.asked.bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
        let out = [&length.to_be_bytes()[..], &self.asked.bytes].concat();
        Ok(Talk::Tcp { socket, out, sent: 0, reply: Vec::new() })
    }

    fn give_up(&mut self) -> Outcome {
        let complaint = self.complaint.take();
        Outcome::Reply(complaint.unwrap_or_else(|| self.asked.refuse(Code::ServerFailure)))
    }
}

/// How long a message with its length before it will be, as far as `bytes` tell.
pub(super) fn wanted(bytes: &[u8]) -> usize {
    match bytes {
        [high, low, ..] => 2 + usize::from(u16::from_be_bytes([*high, *low])).min(MAX_REPLY),
        _ => 2,
    }
}

/// There is nothing now, and nothing is broken.
pub(super) fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
