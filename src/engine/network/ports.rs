//! Ports of the host: which one a container gets, and who has it when it cannot.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use crate::base::{Error, Id, Result};
use crate::model::network::{PortBinding, Protocol, Publish};
use crate::store::db::{Noun, Tx};
use crate::sys::socket;

/// How often a free port that the kernel proposes may turn out to be taken.
const RANDOM_TRIES: usize = 200;

/// The claims on ports of one protocol.
pub(super) fn space(protocol: Protocol) -> String {
    format!("port/{protocol}")
}

/// The key of a claim.
pub(super) fn key(ip: IpAddr, port: u16) -> String {
    format!("{port}/{ip}")
}

/// The published port that a claim is for, but for where it leads.
pub(super) fn of_claim(space: &str, key: &str) -> Option<PortBinding> {
    let protocol = Protocol::from_name(space.strip_prefix("port/")?)?;
    let (port, ip) = key.split_once('/')?;
    Some(PortBinding { container_port: 0, protocol, host_ip: ip.parse().ok()?, host_port: port.parse().ok()? })
}

/// The ports of the host that containers have.
pub(super) struct Taken(BTreeMap<(Protocol, u16), Vec<(IpAddr, String)>>);

impl Taken {
    /// As the claims say.
    pub(super) fn read(tx: &Tx<'_>) -> Result<Taken> {
        let mut taken = Taken(BTreeMap::new());
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            for claim in tx.claims(&space(protocol))? {
                if let Some(port) = of_claim(&claim.space, &claim.key) {
                    taken.add(protocol, port.host_ip, port.host_port, claim.holder);
                }
            }
        }
        Ok(taken)
    }

    fn add(&mut self, protocol: Protocol, ip: IpAddr, port: u16, holder: String) {
        self.0.entry((protocol, port)).or_default().push((ip, holder));
    }

    /// Who has a port at one of these addresses.
    fn holder(&self, protocol: Protocol, ips: &[IpAddr], port: u16) -> Option<&str> {
        let meets = |at: &IpAddr| ips.iter().any(|ip| meet(*at, *ip));
        self.0.get(&(protocol, port))?.iter().find(|(at, _)| meets(at)).map(|(_, holder)| holder.as_str())
    }
}

/// Claims a port of the host for a container on every one of `ips`, and gives what it is.
///
/// # Errors
/// `conflict` naming who has it.
pub(super) fn claim(
    tx: &Tx<'_>,
    holder: &Id,
    publish: &Publish,
    ips: &[IpAddr],
    taken: &mut Taken,
) -> Result<Vec<PortBinding>> {
    let space = space(publish.protocol);
    let held = |port: u16| taken.holder(publish.protocol, ips, port);
    let (first, last) = match publish.host_ports {
        None => {
            let port = (0..RANDOM_TRIES).find_map(|_| {
                let port = proposed(publish.protocol, ips[0])?;
                (held(port).is_none() && ips.iter().all(|ip| is_free(publish.protocol, *ip, port))).then_some(port)
            });
            let port = port.ok_or_else(|| Error::conflict("no free port of this host was found"))?;
            (port, port)
        }
        Some(range) => range,
    };
    let mut why = None;
    for port in first..=last {
        if let Some(other) = held(port) {
            let name = tx.names(Noun::Container, other)?.into_iter().next();
            let name = name.unwrap_or_else(|| other.get(..Id::SHORT).unwrap_or(other).to_owned());
            let whom = if other == holder.as_str() {
                "this container already".to_owned()
            } else {
                format!("the container {name:?}")
            };
            why.get_or_insert(Error::conflict(format!(
                "the port {port}/{} of {} is published by {whom}",
                publish.protocol,
                shown(ips[0])
            )));
            continue;
        }
        if let Some(ip) = ips.iter().find(|ip| !is_free(publish.protocol, **ip, port)) {
            why.get_or_insert(in_use(publish.protocol, *ip, port));
            continue;
        }
        let mut bindings = Vec::new();
        for ip in ips {
            taken.add(publish.protocol, *ip, port, holder.to_string());
            tx.claim(&space, &key(*ip, port), holder.as_str())?;
            bindings.push(PortBinding {
                container_port: publish.container_port,
                protocol: publish.protocol,
                host_ip: *ip,
                host_port: port,
            });
        }
        return Ok(bindings);
    }
    let error = why.unwrap_or_else(|| Error::invalid(format!("there is no port between {first} and {last}")));
    Err(error.with_hint("choose another port of the host, or leave it out to get a free one"))
}

fn in_use(protocol: Protocol, ip: IpAddr, port: u16) -> Error {
    Error::conflict(format!("the port {port}/{protocol} of {} is used by another program of this host", shown(ip)))
}

fn shown(ip: IpAddr) -> String {
    if ip.is_unspecified() { "this host".to_owned() } else { ip.to_string() }
}

/// The same port at both addresses would be one.
fn meet(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv6() == other.is_ipv6() && (one == other || one.is_unspecified() || other.is_unspecified())
}

/// No program of this host has it. Of SCTP nobody can tell without the module.
fn is_free(protocol: Protocol, ip: IpAddr, port: u16) -> bool {
    let address = SocketAddr::new(ip, port);
    let in_use = |error: std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    match protocol {
        Protocol::Tcp => !TcpListener::bind(address).is_err_and(in_use),
        Protocol::Udp => !UdpSocket::bind(address).is_err_and(in_use),
        Protocol::Sctp => true,
    }
}

/// A socket that has a published port, so that no program of this host gets it. None where there is no such thing: for
/// SCTP, and at an address that this host has not.
///
/// # Errors
/// `conflict` when a program has it.
pub(in crate::engine) fn reserve(port: &PortBinding) -> Result<Option<OwnedFd>> {
    if port.protocol == Protocol::Sctp {
        return Ok(None);
    }
    let address = SocketAddr::new(port.host_ip, port.host_port);
    match socket::reserve(port.protocol == Protocol::Tcp, address) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(in_use(port.protocol, port.host_ip, port.host_port))
        }
        Err(_) => Ok(None),
    }
}

/// What the socket of a published port is called.
pub(in crate::engine) fn socket_name(port: &PortBinding) -> String {
    format!("{}/{}", space(port.protocol), key(port.host_ip, port.host_port))
}

/// A port that the kernel would give to a program.
fn proposed(protocol: Protocol, ip: IpAddr) -> Option<u16> {
    let address = SocketAddr::new(ip, 0);
    let bound = match protocol {
        Protocol::Udp => UdpSocket::bind(address).and_then(|socket| socket.local_addr()),
        _ => TcpListener::bind(address).and_then(|listener| listener.local_addr()),
    };
    bound.ok().map(|address| address.port())
}

/// The addresses of the host at which a port is published; `v4` and `v6` are what the container has an address of.
///
/// # Errors
/// `invalid_argument` for one that this host has not, or whose family the container has not; `unsupported` for the loopback
/// address of IPv6.
pub(super) fn host_addresses(publish: &Publish, default: Option<IpAddr>, v4: bool, v6: bool) -> Result<Vec<IpAddr>> {
    let all = addresses(publish, default, v4, v6);
    let Some(ip) = publish.host_ip else { return Ok(all) };
    if all.is_empty() {
        let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
        return Err(Error::invalid(format!(
            "the port {} cannot be published at {ip}: the container has no {family} address",
            publish.container_port
        ))
        .with_hint("use a network that has such addresses, or publish at another address"));
    }
    if ip == IpAddr::V6(Ipv6Addr::LOCALHOST) {
        return Err(Error::unsupported(format!(
            "the port {} cannot be published at {ip}: the kernel has no way from there to a container",
            publish.container_port
        ))
        .with_hint("publish at 127.0.0.1, or at another IPv6 address of this host"));
    }
    // What others can have, or this host at another time, the kernel lets bind when the administrator says so.
    let bound = UdpSocket::bind(SocketAddr::new(ip, 0));
    match bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrNotAvailable) {
        true => Err(Error::invalid(format!("{ip} is not an address of this host"))
            .with_hint("ports are published at addresses of this host; leave it out for all of them")),
        false => Ok(all),
    }
}

fn addresses(publish: &Publish, default: Option<IpAddr>, v4: bool, v6: bool) -> Vec<IpAddr> {
    match publish.host_ip.or(default) {
        Some(ip) if ip.is_unspecified() && ip.is_ipv4() && v6 && publish.host_ip.is_none() => {
            vec![ip, IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
        }
        Some(ip) if (ip.is_ipv4() && v4) || (ip.is_ipv6() && v6) => vec![ip],
        Some(_) => Vec::new(),
        None => {
            let mut all = Vec::new();
            if v4 {
                all.push(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            }
            if v6 {
                all.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
            }
            all
        }
    }
}
