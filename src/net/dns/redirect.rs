//! The way from port 53 to the resolver, inside the container's network namespace: the resolver listens on a port of the
//! kernel's choice, so that a container may have a server of its own on port 53 of every address, and rules of a table of
//! our own lead what its processes send to 127.0.0.11:53 there.
//!
//! ```text
//! process ── 127.0.0.11:53 ── output: the destination is in the map? ──▶ 127.0.0.11:41234 ── resolver
//! ```
//!
//! The table is the container's: one with the right to change rules can break its own resolver, as with Docker.

use std::net::SocketAddr;

use super::{ADDRESS, PORT, Sockets};
use crate::base::{Context as _, Kind, Result};
use crate::net::nft::{self, Change, Element, Expression, Field, Hook, Meta};

const TABLE: &str = "rhumb_names";
const MAP: &str = "resolver";
/// `NF_INET_LOCAL_OUT`.
const OUTPUT: u32 = 3;
/// `NF_IP_PRI_NAT_DST`.
const DESTINATION: i32 = -100;
/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
/// Numbers of protocols in IP headers.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// A port that is free for UDP may not be for TCP.
const TRIES: u32 = 16;

/// Listens in the network namespace that the caller is in. Where the kernel has no rules it is port 53 itself.
///
/// # Errors
/// What binding and the kernel's rules give.
pub(super) fn listen() -> Result<Sockets> {
    let any = SocketAddr::from((ADDRESS, 0));
    let mut bound = Sockets::bind(any);
    for _ in 1..TRIES {
        if bound.is_ok() {
            break;
        }
        bound = Sockets::bind(any);
    }
    let sockets = bound.context(|| format!("listening at {ADDRESS}"))?;
    let port = sockets.port().context(|| "looking at the resolver's port")?;
    match replace(port) {
        Err(error) if error.kind() == Kind::Unsupported => {
            let own = SocketAddr::from((ADDRESS, PORT));
            Sockets::bind(own).context(|| format!("listening at {own}"))
        }
        other => other.map(|()| sockets),
    }
}

fn replace(port: u16) -> Result<()> {
    match nft::apply(TABLE, &changes(port)) {
        // An earlier resolver's: its port is another one.
        Err(error) if error.kind() == Kind::AlreadyExists => {
            nft::apply(TABLE, &[Change::DeleteTable])?;
            nft::apply(TABLE, &changes(port))
        }
        other => other,
    }
}

/// The whole table. The elements are new in it, or the kernel says that they exist.
fn changes(port: u16) -> Vec<Change> {
    let hook = Hook { kind: "nat", number: OUTPUT, priority: DESTINATION };
    let element = |protocol: u8| {
        let padded = |port: u16| [port.to_be_bytes(), [0, 0]].concat();
        let key = [&ADDRESS.octets()[..], &[protocol, 0, 0, 0], &padded(PORT)].concat();
        Change::Insert(Element { map: MAP, key, data: [&ADDRESS.octets()[..], &padded(port)].concat() })
    };
    let rule = vec![
        Expression::Meta { key: Meta::Family, register: 0 },
        Expression::Compare { register: 0, not: false, value: vec![IPV4] },
        // The destination address (RFC 791), the protocol, the destination port.
        Expression::Payload { transport: false, offset: 16, length: 4, register: 0 },
        Expression::Meta { key: Meta::Protocol, register: 1 },
        Expression::Payload { transport: true, offset: 2, length: 2, register: 2 },
        Expression::Lookup { map: MAP, from: 0, to: 0 },
        Expression::Dnat { v6: false, address: 0, port: 1 },
    ];
    vec![
        Change::Table,
        Change::Chain { name: "output", hook: Some(hook) },
        Change::Map {
            name: MAP,
            key: vec![Field::Ip4, Field::Protocol, Field::Port],
            data: vec![Field::Ip4, Field::Port],
        },
        Change::Rule("output", rule),
        element(UDP),
        element(TCP),
    ]
}
