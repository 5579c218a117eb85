//! The resolver of a container on networks that have names: it listens at 127.0.0.11 inside the container's network
//! namespace, answers what its networks know, and asks the servers of the host for everything else.
//!
//! ```text
//! container                            resolver                                  host
//!   127.0.0.11:53 ── UDP, TCP ──▶  names     ours? an answer at once
//!                                  upstream  not ours ── as it came ──▶  servers, from the host's namespace
//!                                            the reply, as it came  ◀──
//! names     what is known, from files, read anew when they change      wire      messages as bytes
//! client    connections over TCP                                       upstream  a question on its way to servers
//! redirect  from port 53 to the port it has                            serve     the process
//! ask       what a program in the container would ask
//! ```
//!
//! Names that are ours never leave: also a question for something else than their addresses is answered here, with
//! nothing. Of networks that are all internal nothing leaves at all (CVE-2024-29018). What is in an answer of others is not
//! looked at and nothing is remembered.
//!
//! The container may send what it likes. It has one thread and one loop; questions on their way, connections, lengths and
//! times have limits, and beyond them a question is refused and a connection closed.

mod ask;
mod client;
mod names;
mod redirect;
mod serve;
mod upstream;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use self::ask::look_up;
use self::client::{Client, IDLE};
use self::names::Book;
pub use self::serve::serve;
use self::upstream::{Forward, Outcome, is_for_later};
use self::wire::{Asked, Code, MAX_REPLY, Received};
use crate::sys::socket::{self, Interest};

/// Where it listens, as Docker's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// Where its clients look for it.
pub const PORT: u16 = 53;

/// Questions that are on their way at once. With as many sockets the process stays below 1024 descriptors.
const MAX_FORWARDS: usize = 512;
/// Connections at once.
const MAX_CLIENTS: usize = 32;
/// Messages that are read before something else has its turn.
const BATCH: usize = 64;
/// How long a server that was silent is asked after the others.
const MISTRUST: Duration = Duration::from_secs(10);

/// What the resolver listens on.
#[derive(Debug)]
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// At this address, in the network namespace that the caller is in.
    ///
    /// # Errors
    /// What bind(2) and listen(2) give.
    pub fn bind(address: SocketAddr) -> io::Result<Sockets> {
        let udp = UdpSocket::bind(address)?;
        // A random port is the same for both.
        let tcp = TcpListener::bind(udp.local_addr()?)?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Sockets { udp, tcp })
    }

    /// The port.
    ///
    /// # Errors
    /// What getsockname(2) gives.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.udp.local_addr()?.port())
    }
}

/// Who waits for a reply.
#[derive(Debug, Clone, Copy)]
enum Asker {
    Udp(SocketAddr),
    Tcp(u64),
}

/// A resolver.
#[derive(Debug)]
pub struct Resolver {
    sockets: Sockets,
    book: Book,
    forwards: BTreeMap<u64, (Asker, Forward)>,
    clients: BTreeMap<u64, Client>,
    mistrusted: Vec<(SocketAddr, Instant)>,
    next: u64,
    turns: usize,
    buffer: Vec<u8>,
}

enum Event {
    Udp,
    Tcp,
    Forward(u64),
    Client(u64),
}

impl Resolver {
    /// Of the container whose names the file `names` tells ([`crate::model::names::Names`]).
    pub fn new(sockets: Sockets, names: PathBuf) -> Resolver {
        Resolver {
            sockets,
            book: Book::open(names),
            forwards: BTreeMap::new(),
            clients: BTreeMap::new(),
            mistrusted: Vec::new(),
            next: 0,
            turns: 0,
            buffer: vec![0; MAX_REPLY + 1],
        }
    }

    /// Waits for something to happen, at most `limit`, and deals with it.
    ///
    /// # Errors
    /// What poll(2) gives.
    pub fn turn(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let ready = self.wait(limit)?;
        let now = Instant::now();
        if ready.iter().any(|event| matches!(event, Event::Udp | Event::Client(_))) {
            self.book.refresh();
        }
        for event in ready {
            match event {
                Event::Udp => self.read_udp(now),
                Event::Tcp => self.take_clients(now),
                Event::Forward(id) => self.hear(id, now),
                Event::Client(id) => {
                    let question = self.clients.get_mut(&id).and_then(|client| client.on_ready(now));
                    if let Some(question) = question {
                        self.take(Asker::Tcp(id), &question, now);
                    }
                }
            }
        }
        self.on_time(now);
        self.clients.retain(|_, client| !client.closed);
        Ok(())
    }

    fn wait(&self, limit: Option<Duration>) -> io::Result<Vec<Event>> {
        let mut events = vec![Event::Udp, Event::Tcp];
        let mut interests = vec![
            Interest::new(self.sockets.udp.as_fd(), true, false),
            Interest::new(self.sockets.tcp.as_fd(), true, false),
        ];
        let forwards = self.forwards.iter().map(|(id, (_, forward))| (Event::Forward(*id), forward.waits_for()));
        let clients = self.clients.iter().map(|(id, client)| (Event::Client(*id), client.waits_for()));
        for (event, waits_for) in forwards.chain(clients) {
            if let Some((fd, write)) = waits_for {
                events.push(event);
                interests.push(Interest::new(fd, !write, write));
            }
        }
        let deadlines = self.forwards.values().map(|(_, forward)| forward.until());
        let idle = self.clients.values().filter(|client| !client.waits).map(|client| client.active + IDLE);
        let now = Instant::now();
        let left = deadlines.chain(idle).min().map(|until| until.saturating_duration_since(now));
        socket::wait(&mut interests, left.into_iter().chain(limit).min())?;
        let ready = |interest: &Interest<'_>| interest.readable() || interest.writable() || interest.hung_up();
        Ok(events.into_iter().zip(interests).filter(|(_, interest)| ready(interest)).map(|(event, _)| event).collect())
    }

    fn read_udp(&mut self, now: Instant) {
        let mut question = [0u8; wire::MAX_QUERY + 1];
        for _ in 0..BATCH {
            match self.sockets.udp.recv_from(&mut question) {
                Ok((length, from)) => self.take(Asker::Udp(from), &question[..length], now),
                Err(error) if is_for_later(&error) => return,
                Err(_) => {} // what became of an earlier reply
            }
        }
    }

    fn take_clients(&mut self, now: Instant) {
        for _ in 0..BATCH {
            // An error such as "too many files" passes; the client stays in the queue.
            let Ok((stream, _)) = self.sockets.tcp.accept() else { return };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.clients.len() >= MAX_CLIENTS {
                // Who does nothing makes room.
                let idle = self.clients.iter().filter(|(_, client)| !client.waits);
                let Some(id) = idle.min_by_key(|(_, client)| client.active).map(|(id, _)| *id) else { continue };
                self.clients.remove(&id);
            }
            self.next += 1;
            self.clients.insert(self.next, Client::new(stream, now));
        }
    }

    fn take(&mut self, asker: Asker, bytes: &[u8], now: Instant) {
        match wire::read(bytes) {
            Received::Noise => self.reply(asker, None, now),
            Received::Refused(reply) => self.reply(asker, Some(&reply), now),
            Received::Asked(asked) => match self.answer(&asked, matches!(asker, Asker::Udp(_))) {
                Some(reply) => self.reply(asker, Some(&reply), now),
                None => self.forward(asker, asked, now),
            },
        }
    }

    /// The answer to what is ours.
    fn answer(&mut self, asked: &Asked, udp: bool) -> Option<Vec<u8>> {
        if !asked.is_internet() {
            return None;
        }
        if let Some(found) = self.book.addresses(&asked.name) {
            // Each has its turn to be the first.
            self.turns = self.turns.wrapping_add(1);
            let (behind, before) = found.split_at(self.turns % found.len().max(1));
            return Some(asked.addresses(before.iter().chain(behind).copied(), udp));
        }
        if asked.is_reverse()
            && let Some(name) = names::reversed(&asked.name).and_then(|address| self.book.name(address))
        {
            return Some(asked.named(name, udp));
        }
        self.book.stays(&asked.name).then(|| asked.refuse(Code::NoSuchName))
    }

    fn forward(&mut self, asker: Asker, asked: Asked, now: Instant) {
        let mut servers = self.book.servers(&asked.name).to_vec();
        if servers.is_empty() || self.forwards.len() >= MAX_FORWARDS {
            return self.reply(asker, Some(&asked.refuse(Code::ServerFailure)), now);
        }
        self.mistrusted.retain(|(_, until)| *until > now);
        servers.sort_by_key(|server| self.mistrusted.iter().any(|(other, _)| other == server));
        let (forward, outcome) = Forward::begin(asked, matches!(asker, Asker::Udp(_)), servers, now);
        self.next += 1;
        let id = self.next;
        self.forwards.insert(id, (asker, forward));
        self.settle(id, outcome, now);
    }

    fn hear(&mut self, id: u64, now: Instant) {
        if let Some((_, forward)) = self.forwards.get_mut(&id) {
            let outcome = forward.on_ready(now, &mut self.buffer);
            self.settle(id, outcome, now);
        }
    }

    fn on_time(&mut self, now: Instant) {
        let due = self.forwards.iter().filter(|(_, (_, forward))| forward.until() <= now);
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Some((_, forward)) = self.forwards.get_mut(&id) {
                let silent = forward.server().filter(|server| self.mistrusted.iter().all(|(other, _)| other != server));
                // At most as many as there are servers, since each stays for a while only.
                self.mistrusted.extend(silent.map(|server| (server, now + MISTRUST)));
                let outcome = forward.on_time(now);
                self.settle(id, outcome, now);
            }
        }
        for client in self.clients.values_mut().filter(|client| !client.waits && client.active + IDLE <= now) {
            client.closed = true;
        }
    }

    fn settle(&mut self, id: u64, outcome: Outcome, now: Instant) {
        if let Outcome::Reply(reply) = outcome
            && let Some((asker, _)) = self.forwards.remove(&id)
        {
            self.reply(asker, Some(&reply), now);
        }
    }

    fn reply(&mut self, asker: Asker, reply: Option<&[u8]>, now: Instant) {
        match asker {
            Asker::Udp(to) => {
                if let Some(reply) = reply {
                    let _ = self.sockets.udp.send_to(reply, to); // who is gone or has no room asks again
                }
            }
            Asker::Tcp(id) => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.answer(reply, now);
                }
            }
        }
    }
}
