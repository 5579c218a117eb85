//! A question as a program in the container would ask it: to the servers of its resolv.conf(5), one after the other.
//!
//! The sockets belong to the network namespace that the caller is in.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::PORT;
use crate::base::{Error, Id, Result};

/// How often each server is asked.
const TRIES: usize = 2;
/// How many replies to something else are read before a server is taken for hostile.
const MAX_STRAYS: usize = 32;

/// The addresses of a name: of IPv4, or of IPv6 where there are none. Empty when there is no such name.
///
/// Whoever answers may be hostile: each question has one deadline, however the server spends the time.
///
/// # Errors
/// `invalid_argument` for what cannot be a name; `unavailable` when no server answers within `patience` each, or they
/// fail.
pub fn look_up(servers: &[IpAddr], name: &str, patience: Duration) -> Result<Vec<IpAddr>> {
    let wrong = |error| Error::invalid(format!("{name:?} is not a name of a host")).with_source(error);
    let mut wanted = Name::from_utf8(name).map_err(|error| wrong(Error::failed(error.to_string())))?;
    wanted.set_fqdn(true);
    for kind in [RecordType::A, RecordType::AAAA] {
        let found = ask_all(servers, &wanted, kind, patience)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn ask_all(servers: &[IpAddr], name: &Name, kind: RecordType, patience: Duration) -> Result<Vec<IpAddr>> {
    let mut last = Error::unavailable(format!("there is no server to ask for the name {name}"));
    for server in servers.iter().cycle().take(servers.len() * TRIES) {
        let reply = match ask(SocketAddr::new(*server, PORT), name, kind, patience) {
            Err(error) => {
                last = Error::unavailable(format!("the name server {server} does not answer")).with_source(error);
                continue;
            }
            Ok(reply) => reply,
        };
        match reply.metadata.response_code {
            ResponseCode::NoError => return Ok(reply.answers.iter().filter_map(|one| address(&one.data)).collect()),
            ResponseCode::NXDomain => return Ok(Vec::new()),
            code => last = Error::unavailable(format!("the name server {server} says {code} of the name {name}")),
        }
    }
    Err(last)
}

/// One question to one server: over UDP, and over TCP when the answer does not fit.
fn ask(server: SocketAddr, name: &Name, kind: RecordType, patience: Duration) -> std::io::Result<Message> {
    let malformed = |text: String| std::io::Error::new(std::io::ErrorKind::InvalidData, text);
    let random = Id::random().map_err(|error| malformed(error.to_string()))?;
    let mut message = Message::query();
    message.metadata.id = u16::from_str_radix(&random.as_str()[..4], 16).unwrap_or_default();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), kind));
    let question = message.to_vec().map_err(|error| malformed(error.to_string()))?;
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let end = Instant::now() + patience;
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(&question)?;
    let mut buffer = [0; 4096];
    for _ in 0..MAX_STRAYS {
        socket.set_read_timeout(Some(left(end)?))?;
        let length = socket.recv(&mut buffer)?;
        // What is no answer to this question is somebody else's.
        let Ok(reply) = Message::from_vec(&buffer[..length]) else { continue };
        if reply.metadata.id != message.metadata.id || reply.queries != message.queries {
            continue;
        }
        if !reply.metadata.truncation {
            return Ok(reply);
        }
        let reply = ask_over_tcp(server, &question, end)?;
        return Message::from_vec(&reply).map_err(|error| malformed(error.to_string()));
    }
    Err(malformed("it sends nothing but replies to something else".to_owned()))
}

fn ask_over_tcp(server: SocketAddr, question: &[u8], end: Instant) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, left(end)?)?;
    stream.set_write_timeout(Some(left(end)?))?;
    let length = u16::try_from(question.len()).map_err(|_| ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat())?;
    let mut reply = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let [high, low, answer @ ..] = reply.as_slice()
            && answer.len() >= usize::from(u16::from_be_bytes([*high, *low]))
        {
            return Ok(answer.to_vec());
        }
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => reply.extend_from_slice(&buffer[..count]),
        }
    }
}

/// The time until `end`, which is never nothing: the kernel would take that for no limit at all.
fn left(end: Instant) -> std::io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const PATIENCE: Duration = Duration::from_millis(300);

    /// A server at a free port that does `answer` to each question over UDP.
    fn server(answer: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                answer(&socket, &buffer[..length], from);
            }
        });
        address
    }

    fn asked(server: SocketAddr) -> (bool, Duration) {
        let begun = Instant::now();
        let reply = ask(server, &Name::from_ascii("web.").unwrap(), RecordType::A, PATIENCE);
        (reply.is_ok(), begun.elapsed())
    }

    #[test]
    fn a_server_that_goes_on_saying_something_else_is_given_up() {
        let drips = server(|socket, _, from| {
            for _ in 0..100 {
                std::thread::sleep(Duration::from_millis(50));
                let _ = socket.send_to(b"nonsense", from); // nobody may be there any more
            }
        });
        let (fine, took) = asked(drips);
        assert!(!fine && took < 3 * PATIENCE, "{took:?}");
        let floods = server(|socket, _, from| {
            (0..2000).for_each(|_| drop(socket.send_to(b"nonsense", from)));
        });
        let (fine, took) = asked(floods);
        assert!(!fine && took < 3 * PATIENCE, "{took:?}");
    }

    #[test]
    fn a_reply_over_tcp_that_comes_byte_by_byte_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (length, from) = udp.recv_from(&mut buffer).unwrap();
            // A reply that was cut.
            (buffer[2], buffer[3]) = (0x83, 0x80);
            udp.send_to(&buffer[..length], from).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(&[1]).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let (fine, took) = asked(address);
        assert!(!fine && took < 3 * PATIENCE, "{took:?}");
    }
}
