//! A question as a program in the container would ask it: to the servers of its resolv.conf(5), one after the other.
//!
//! The sockets belong to the network namespace that the caller is in.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::PORT;
use crate::base::{Error, Id, Result};

/// How often each server is asked.
const TRIES: usize = 2;

/// The addresses of a name: of IPv4, or of IPv6 where there are none. Empty when there is no such name.
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
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(server)?;
    socket.send(&question)?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer)?;
        // What is no answer to this question is somebody else's.
        let Ok(reply) = Message::from_vec(&buffer[..length]) else { continue };
        if reply.metadata.id != message.metadata.id || reply.queries != message.queries {
            continue;
        }
        if !reply.metadata.truncation {
            return Ok(reply);
        }
        let mut stream = TcpStream::connect_timeout(&server, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let length = u16::try_from(question.len()).map_err(|_| malformed("the question is too long".to_owned()))?;
        stream.write_all(&[&length.to_be_bytes()[..], &question].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply)?;
        return Message::from_vec(&reply).map_err(|error| malformed(error.to_string()));
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}
