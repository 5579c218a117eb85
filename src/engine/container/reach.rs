//! What a container sees of the network, asked from inside: whom a name means there, what answers, and where it is found
//! from here.

use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use crate::base::{Context as _, Error, Result};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::model::network::{PortBinding, Protocol};
use crate::net::{dns, setup};
use crate::runtime::state::Life;

/// How long a name server may take each time it is asked.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long to wait before a refused connection is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// As much of a file as is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// As many servers as the C library asks, and as many search domains as it once took (resolv.conf(5)). The container
/// writes the file: each more would be time that we wait.
const MAX_SERVERS: usize = 3;
const MAX_SEARCH: usize = 6;

impl Engine {
    /// The addresses that a name has inside a container: of its `/etc/hosts`, or else of the servers in its
    /// `/etc/resolv.conf`. Empty when it has none.
    ///
    /// # Errors
    /// `conflict` when it does not run; `invalid_argument` for what is no name; `unavailable` when no server answers.
    pub fn container_resolve(&self, container: &str, name: &str) -> Result<Vec<IpAddr>> {
        let found = self.container_find(container)?;
        let netns = self.netns_of(&found)?;
        self.resolve_in(&found, &netns, name)
    }

    fn netns_of(&self, found: &Found) -> Result<OwnedFd> {
        let stopped = || Error::conflict(format!("the container {:?} does not run", found.name));
        match self.container_life(&found.id)? {
            Life::Alive(_) => self.container_monitor(&found.id, &found.name)?.network(),
            _ => Err(stopped()),
        }
    }

    fn resolve_in(&self, found: &Found, netns: &OwnedFd, name: &str) -> Result<Vec<IpAddr>> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let read = |file: &str| {
            // Mounted in the container, which writes what it likes.
            let path = self.paths().container(&found.id).join(file);
            let mut text = Vec::new();
            let file = std::fs::File::open(&path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text));
            file.context(|| format!("reading {path:?}")).map(|_| String::from_utf8_lossy(&text).into_owned())
        };
        let here = in_hosts(&read("hosts")?, name);
        if !here.is_empty() {
            return Ok(here);
        }
        let (servers, search) = servers(&read("resolv.conf")?);
        setup::inside(netns.as_fd(), || {
            let full = search.iter().map(|domain| format!("{name}.{domain}"));
            for name in std::iter::once(name.to_owned()).chain(full) {
                let addresses = dns::look_up(&servers, &name, PATIENCE)?;
                if !addresses.is_empty() {
                    return Ok(addresses);
                }
            }
            Ok(Vec::new())
        })
    }

    /// Whether something answers on a TCP port of an address, or of a name, seen from inside a container. A name that is
    /// not known there is not reached; a program that does not listen yet is tried again while the patience lasts.
    ///
    /// # Errors
    /// As [`Engine::container_resolve`].
    pub fn container_can_reach(&self, container: &str, host: &str, port: u16, patience: Duration) -> Result<bool> {
        let found = self.container_find(container)?;
        let netns = self.netns_of(&found)?;
        let addresses = self.resolve_in(&found, &netns, host)?;
        setup::inside(netns.as_fd(), || {
            let answers = |ip: &IpAddr| {
                let begun = Instant::now();
                loop {
                    let left = patience.saturating_sub(begun.elapsed()).max(AGAIN);
                    match TcpStream::connect_timeout(&SocketAddr::new(*ip, port), left) {
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused && begun.elapsed() < patience => {
                            std::thread::sleep(AGAIN);
                        }
                        connected => return connected.is_ok(),
                    }
                }
            };
            Ok(addresses.iter().any(answers))
        })
    }

    /// The TCP port that a container serves: the only one that it publishes, or else the only one that it exposes.
    ///
    /// # Errors
    /// `invalid_argument` when there is none or several.
    pub fn container_http_port(&self, container: &str) -> Result<u16> {
        let record = self.container_find(container)?.record;
        let published = record.options.publish.iter().filter(|one| one.protocol == Protocol::Tcp);
        let mut ports: Vec<u16> = published.map(|one| one.container_port).collect();
        if ports.is_empty() {
            let exposed = record.exposed_ports.iter().filter_map(|one| one.strip_suffix("/tcp"));
            ports = exposed.filter_map(|one| one.parse().ok()).collect();
        }
        ports.sort_unstable();
        ports.dedup();
        match ports.as_slice() {
            [one] => Ok(*one),
            [] => Err(Error::invalid("the container neither publishes nor exposes a port").with_hint("name the port")),
            _ => Err(Error::invalid(format!("the container has the ports {ports:?}")).with_hint("name the port")),
        }
    }

    /// Where a TCP port of a container is found from this host: where it is published, or else at the container's own
    /// address.
    ///
    /// # Errors
    /// `conflict` when it does not run or has no network; `unsupported` where the host cannot reach its network.
    pub fn container_address(&self, container: &str, port: u16) -> Result<SocketAddr> {
        let now = self.container_get(container)?;
        if !now.state.status.is_alive() {
            return Err(Error::conflict(format!("the container {:?} does not run", now.name)));
        }
        if now.record.options.network_mode == crate::model::container::NetworkMode::Host {
            return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
        }
        let endpoints = || now.state.networks.iter().filter_map(|one| one.endpoint.as_ref());
        let published = endpoints().flat_map(|one| &one.ports);
        // There is no way from ::1 to a container.
        let fits = |one: &&PortBinding| {
            let everywhere6 = one.host_ip.is_ipv6() && one.host_ip.is_unspecified();
            one.container_port == port && one.protocol == Protocol::Tcp && !everywhere6
        };
        // One of this host's own addresses as it is; every address as the loopback one.
        let key = |one: &&PortBinding| (one.host_ip.is_ipv6(), !one.host_ip.is_loopback());
        if let Some(one) = published.filter(fits).min_by_key(key) {
            let ip = if one.host_ip.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { one.host_ip };
            return Ok(SocketAddr::new(ip, one.host_port));
        }
        // Of macvlan and ipvlan the host itself is no part: only those with an end here are reached.
        let mut bridged = endpoints().filter(|one| !one.link.is_empty());
        if let Some(one) = bridged.next() {
            let ip = one.ip.map(IpAddr::V4).or(one.ip6.map(IpAddr::V6));
            return ip
                .map(|ip| SocketAddr::new(ip, port))
                .ok_or_else(|| Error::conflict(format!("the container {:?} has no address", now.name)));
        }
        match endpoints().next() {
            Some(_) => Err(Error::unsupported(format!("this host cannot reach the networks of {:?}", now.name))),
            None => Err(Error::conflict(format!("the container {:?} is on no network", now.name))),
        }
    }
}

/// What hosts(5) says of a name.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let address = |line: &str| -> Option<IpAddr> {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    text.lines().filter_map(address).collect()
}

/// The servers and the search domains of resolv.conf(5).
fn servers(text: &str) -> (Vec<IpAddr>, Vec<String>) {
    let (mut servers, mut search) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
            Some("search" | "domain") => search = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    servers.truncate(MAX_SERVERS);
    search.truncate(MAX_SEARCH);
    (servers, search)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_container_are_read_as_programs_read_them() {
        let hosts = "127.0.0.1\tlocalhost # the Web itself\n10.0.0.2 Web www # x\n::1 localhost\nnonsense web\n";
        assert_eq!(in_hosts(hosts, "web."), ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(in_hosts(hosts, "localhost").len(), 2);
        assert!(in_hosts(hosts, "itself").is_empty());
        let (servers, search) =
            servers("# x\nnameserver 127.0.0.11\nsearch a.example b\noptions ndots:0\nnameserver x\n");
        assert_eq!((servers.len(), search), (1, vec!["a.example".to_owned(), "b".to_owned()]));
        let (servers, search) =
            self::servers(&format!("{}search {}", "nameserver 10.0.0.1\n".repeat(5000), "a.test ".repeat(5000)));
        assert_eq!((servers.len(), search.len()), (MAX_SERVERS, MAX_SEARCH), "what a hostile container wrote");
    }
}
