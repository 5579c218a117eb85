//! What a container has on its networks: claimed before it exists, written down, made, and given back.
//!
//! ```text
//! lease    addresses and ports in one transaction ─▶ files about them        nothing in the kernel yet
//! attach   interfaces in the namespace ─▶ ports in the maps
//! release  ports ─▶ files ─▶ claims                                          in reverse; "gone already" is success
//! sweep    release for every holder whose monitor is gone
//! ```
//!
//! A claim is there before anything that it stands for and goes after it, so that whoever died in between is cleared up
//! after by anybody who asks who has claims and no monitor.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::base::{Context as _, Digest, Error, Id, Kind, Result, failpoint};
use crate::engine::Engine;
use crate::engine::network::bury::{PATIENCE, names_in};
use crate::engine::network::ports::Taken;
use crate::engine::network::{find, options, ports};
use crate::model::network::{Attachment, Driver, Endpoint, Network, PortBinding, Publish, Subnet};
use crate::net::ipam;
use crate::net::netlink::ChildKind;
use crate::net::nft::Sent;
use crate::net::setup::{self, Interface, Kindred};
use crate::runtime::state::is_held;
use crate::store::db::{Claim, Tx};

/// How long what an ended container had is waited for, which others are giving back.
const CLEARING: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// A container that is to be on networks.
pub(in crate::engine) struct Guest<'a> {
    /// Its identity.
    pub(in crate::engine) id: &'a Id,
    /// Its name.
    pub(in crate::engine) name: &'a str,
    /// Its host name.
    pub(in crate::engine) hostname: &'a str,
}

/// What a look for containers without monitors has found.
#[derive(Debug, Default)]
pub(in crate::engine) struct Swept {
    /// As many have given back what they had.
    pub(in crate::engine) containers: usize,
    /// As many are being started, cleared up after or removed.
    pub(in crate::engine) in_hand: usize,
}

/// The claims on a network's addresses.
fn space(network: &Id) -> String {
    format!("address/{network}")
}

impl Engine {
    /// Claims addresses and ports for a container, and writes down what it will have. The networks are ready afterwards.
    /// `before` are the endpoints that it has already.
    pub(in crate::engine) fn network_lease(
        &self,
        guest: &Guest<'_>,
        attachments: &[Attachment],
        publish: &[Publish],
        before: &[Endpoint],
    ) -> Result<Vec<Endpoint>> {
        let begun = Instant::now();
        let (networks, endpoints) = loop {
            match self.lease_once(guest, attachments, publish, before) {
                // What those have who ended with nobody there to clear up is free, and after whom somebody clears up, soon.
                Err(error) if error.kind() == Kind::Conflict && begun.elapsed() < CLEARING => {
                    match self.network_sweep()? {
                        Swept { containers: 0, in_hand: 0 } => return Err(error),
                        Swept { containers: 0, .. } => std::thread::sleep(LOOK),
                        _ => {}
                    }
                }
                leased => break leased?,
            }
        };
        networks.iter().try_for_each(|network| self.network_bury(&network.id, PATIENCE).map(drop))?;
        let ready = networks.iter().try_for_each(|network| self.ensure_network_ready(network));
        let written = ready.and_then(|()| {
            failpoint::hit("network.lease.files")?;
            endpoints.iter().try_for_each(|endpoint| self.write_endpoint(endpoint))
        });
        match written {
            Ok(()) => Ok(endpoints),
            Err(error) => Err(self.unleased(guest.id, &endpoints, error)),
        }
    }

    fn unleased(&self, id: &Id, endpoints: &[Endpoint], error: Error) -> Error {
        match self.give_back(id, endpoints) {
            Ok(()) => error,
            Err(more) => error.context(format!("and giving addresses back failed: {more}")),
        }
    }

    fn lease_once(
        &self,
        guest: &Guest<'_>,
        attachments: &[Attachment],
        publish: &[Publish],
        before: &[Endpoint],
    ) -> Result<(Vec<Network>, Vec<Endpoint>)> {
        failpoint::hit("network.lease.claim")?;
        self.store.write(|tx| {
            let networks = attachments.iter().map(|one| find(tx, &one.network)).collect::<Result<Vec<_>>>()?;
            let mut endpoints: Vec<Endpoint> = Vec::new();
            for (attachment, network) in attachments.iter().zip(&networks) {
                let number = before.len() + endpoints.len();
                let mut endpoint = claim_addresses(tx, guest, attachment, network)?;
                endpoint.interface = interface_name(attachment, number, before, &endpoints);
                if before.iter().chain(&endpoints).any(|other| other.interface == endpoint.interface) {
                    let name = &endpoint.interface;
                    return Err(Error::conflict(format!("the container has an interface {name:?} already"))
                        .with_hint("choose another name for it, or leave it out"));
                }
                if network.driver == Driver::Bridge {
                    endpoint.link = self.link_name(guest.id, &network.id);
                }
                endpoints.push(endpoint);
            }
            if before.is_empty()
                && let Some(at) = gateway(attachments, &networks)
            {
                endpoints[at].is_gateway = true;
                if networks[at].driver == Driver::Bridge && !networks[at].internal {
                    let (v4, v6) = (endpoints[at].ip.is_some(), endpoints[at].ip6.is_some());
                    let mut taken = if publish.is_empty() { None } else { Some(Taken::read(tx)?) };
                    for one in publish {
                        let ips = ports::host_addresses(one, networks[at].publish_ip(), v4, v6)?;
                        if let Some(taken) = taken.as_mut().filter(|_| !ips.is_empty()) {
                            endpoints[at].ports.extend(ports::claim(tx, guest.id, one, &ips, taken)?);
                        }
                    }
                }
            }
            Ok((networks, endpoints))
        })
    }

    /// Makes what was leased in a network namespace.
    pub(in crate::engine) fn network_attach(&self, netns: BorrowedFd<'_>, endpoints: &[Endpoint]) -> Result<()> {
        let mut interfaces = Vec::new();
        for endpoint in endpoints {
            let network = self.store.read(|tx| find(tx, endpoint.network.as_str()))?;
            interfaces.push(interface(&network, endpoint)?);
        }
        failpoint::hit("network.attach.links")?;
        match setup::attach(netns, &interfaces) {
            // Somebody took the bridge away since it was looked at.
            Err(error) if error.kind() == Kind::NotFound => {
                for endpoint in endpoints {
                    let network = self.store.read(|tx| find(tx, endpoint.network.as_str()))?;
                    self.ensure_network_ready(&network)?;
                }
                setup::attach(netns, &interfaces)?;
            }
            other => other?,
        }
        failpoint::hit("network.attach.ports")?;
        endpoints.iter().try_for_each(|endpoint| self.network_insert_ports(endpoint, &endpoint.ports))
    }

    /// Has published ports lead to an endpoint; its container's lock is held.
    pub(in crate::engine) fn network_insert_ports(&self, endpoint: &Endpoint, ports: &[PortBinding]) -> Result<()> {
        match self.insert_ports(endpoint, ports) {
            // The administrator took the table away: it is made anew, with everything that others need.
            Err(error) if error.kind() == Kind::NotFound => {
                self.network_repair()?;
                self.insert_ports(endpoint, ports)
            }
            other => other,
        }
    }

    /// Takes everything away that a container has on networks. Nothing to do for one that has nothing. Whoever has more to
    /// do keeps what is returned until that is done.
    pub(in crate::engine) fn network_release(&self, container: &Id) -> Result<Sent> {
        let claims = self.store.read(|tx| tx.claims_of(container.as_str()))?;
        if claims.is_empty() {
            return Ok(Sent::NOTHING);
        }
        failpoint::hit("network.release.ports")?;
        let ports: Vec<PortBinding> =
            claims.iter().filter_map(|claim| ports::of_claim(&claim.space, &claim.key)).collect();
        let sent = self.delete_ports(&ports)?;
        let networks: BTreeSet<Id> =
            claims.iter().filter_map(|claim| Id::parse(claim.space.strip_prefix("address/")?).ok()).collect();
        failpoint::hit("network.release.links")?;
        for network in &networks {
            self.note_gone(network, container)?;
            self.remove_endpoint(network, container)?;
        }
        failpoint::hit("network.release.claims")?;
        self.store.write(|tx| tx.unclaim_all(container.as_str()))?;
        Ok(sent)
    }

    /// Takes some endpoints of a container away: links are gone by then.
    pub(in crate::engine) fn give_back(&self, container: &Id, endpoints: &[Endpoint]) -> Result<()> {
        let ports: Vec<PortBinding> = endpoints.iter().flat_map(|endpoint| endpoint.ports.clone()).collect();
        drop(self.delete_ports(&ports)?);
        setup::remove_links(endpoints.iter().map(|endpoint| endpoint.link.as_str()))?;
        for endpoint in endpoints {
            self.remove_endpoint(&endpoint.network, container)?;
        }
        self.store.write(|tx| {
            for endpoint in endpoints {
                let space = space(&endpoint.network);
                for ip in addresses_of(endpoint) {
                    tx.unclaim(&space, &ip.to_string(), container.as_str())?;
                }
                for port in &endpoint.ports {
                    tx.unclaim(
                        &ports::space(port.protocol),
                        &ports::key(port.host_ip, port.host_port),
                        container.as_str(),
                    )?;
                }
            }
            Ok(())
        })
    }

    /// Gives back what a container has claimed and makes no use of: `used` is all that it has.
    pub(in crate::engine) fn network_unclaim_unused(&self, container: &Id, used: &[Endpoint]) -> Result<()> {
        let claims = self.store.read(|tx| tx.claims_of(container.as_str()))?;
        let unused: Vec<Claim> = claims.into_iter().filter(|claim| !used.iter().any(|one| uses(one, claim))).collect();
        if unused.is_empty() {
            return Ok(());
        }
        self.store.write(|tx| {
            unused.iter().try_for_each(|claim| tx.unclaim(&claim.space, &claim.key, &claim.holder).map(drop))
        })
    }

    /// Gives back what containers have whose monitors are gone.
    pub(in crate::engine) fn network_sweep(&self) -> Result<Swept> {
        let mut swept = Swept::default();
        for holder in self.store.read(|tx| tx.claimants())? {
            let Ok(id) = Id::parse(&holder) else { continue };
            if self.is_up(&id)? {
                continue;
            }
            // Somebody is starting or removing it.
            let Some(_lock) = self.try_lock_container(&id)? else {
                swept.in_hand += 1;
                continue;
            };
            if !self.is_up(&id)? {
                drop(self.network_release(&id)?);
                swept.containers += 1;
            }
        }
        Ok(swept)
    }

    /// A monitor holds the container.
    pub(in crate::engine) fn is_up(&self, container: &Id) -> Result<bool> {
        is_held(&self.paths().container_run(container))
    }

    /// What a container has on its networks now.
    pub(in crate::engine) fn network_endpoints_of(&self, container: &Id) -> Result<Vec<Endpoint>> {
        let claims = self.store.read(|tx| tx.claims_of(container.as_str()))?;
        let networks: BTreeSet<&str> = claims.iter().filter_map(|claim| claim.space.strip_prefix("address/")).collect();
        let mut list = Vec::new();
        for network in networks {
            list.extend(self.read_endpoint(&Id::parse(network)?, container)?);
        }
        list.sort_by(|a, b| natural(&a.interface).cmp(&natural(&b.interface)));
        Ok(list)
    }

    /// Every endpoint that is written down for a network.
    pub(super) fn endpoints_in(&self, network: &Id) -> Result<Vec<Endpoint>> {
        let mut list = Vec::new();
        for name in names_in(&self.paths().network_run(network))? {
            if let Ok(id) = Id::parse(&name) {
                list.extend(self.read_endpoint(network, &id)?);
            }
        }
        Ok(list)
    }

    /// What a container has on one network now.
    pub(in crate::engine) fn network_endpoint(&self, network: &Id, container: &Id) -> Result<Option<Endpoint>> {
        self.read_endpoint(network, container)
    }

    fn read_endpoint(&self, network: &Id, container: &Id) -> Result<Option<Endpoint>> {
        let path = self.paths().network_run(network).join(container.as_str());
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            bytes => serde_json::from_slice(&bytes.context(|| format!("reading {path:?}"))?)
                .map_err(|error| Error::corrupt(format!("{path:?} cannot be read")).with_source(error)),
        }
    }

    /// Written beside and renamed: whoever watches the folder never sees half a file.
    pub(in crate::engine) fn write_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        let folder = self.paths().network_run(&endpoint.network);
        let path = folder.join(endpoint.container.as_str());
        let beside = folder.join(format!(".{}", endpoint.container));
        let text = serde_json::to_vec(endpoint).map_err(|error| Error::failed(error.to_string()))?;
        let write = || std::fs::write(&beside, &text);
        let written = match write() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(&folder).context(|| format!("making {folder:?}"))?;
                write()
            }
            other => other,
        };
        written.and_then(|()| std::fs::rename(&beside, &path)).context(|| format!("writing {path:?}"))
    }

    fn remove_endpoint(&self, network: &Id, container: &Id) -> Result<()> {
        let path = self.paths().network_run(network).join(container.as_str());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::from(error).context(format!("removing {path:?}")))
            }
            _ => Ok(()),
        }
    }

    /// Publishes further ports of a container that runs; gives what was published.
    pub(in crate::engine) fn network_publish(&self, container: &Id, wanted: &[Publish]) -> Result<Vec<PortBinding>> {
        let mut endpoints = self.network_endpoints_of(container)?;
        let endpoint = endpoints.iter_mut().find(|endpoint| endpoint.is_gateway).ok_or_else(|| {
            Error::conflict("a container without a network that leads outside cannot publish ports")
                .with_hint("connect it to a bridge network that is not internal")
        })?;
        let added = self.store.write(|tx| {
            let network = find(tx, endpoint.network.as_str())?;
            let mut added = Vec::new();
            let mut taken = Taken::read(tx)?;
            for one in wanted {
                let (v4, v6) = (endpoint.ip.is_some(), endpoint.ip6.is_some());
                let ips = ports::host_addresses(one, network.publish_ip(), v4, v6)?;
                if ips.is_empty() {
                    return Err(Error::invalid("the container has no address of the family of that port's address"));
                }
                added.extend(ports::claim(tx, container, one, &ips, &mut taken)?);
            }
            Ok(added)
        })?;
        let before = endpoint.clone();
        endpoint.ports.extend(added.iter().cloned());
        let made = failpoint::hit("network.publish.file")
            .and_then(|()| self.write_endpoint(endpoint))
            .and_then(|()| failpoint::hit("network.publish.ports"))
            .and_then(|()| self.network_insert_ports(endpoint, &added));
        if let Err(error) = made {
            let undone = self
                .delete_ports(&added)
                .and_then(|_| self.write_endpoint(&before))
                .and_then(|()| self.network_unclaim_unused(container, &[endpoints, vec![before]].concat()));
            return Err(match undone {
                Ok(()) => error,
                Err(more) => error.context(format!("and undoing it failed: {more}")),
            });
        }
        Ok(added)
    }

    /// Ends the publishing of those ports of a running container that `which` picks, and gives them.
    pub(in crate::engine) fn network_unpublish(
        &self,
        container: &Id,
        which: impl Fn(&PortBinding) -> bool,
    ) -> Result<Vec<PortBinding>> {
        let mut all = Vec::new();
        for mut endpoint in self.network_endpoints_of(container)? {
            let (gone, kept): (Vec<PortBinding>, Vec<PortBinding>) = endpoint.ports.iter().cloned().partition(&which);
            if gone.is_empty() {
                continue;
            }
            failpoint::hit("network.unpublish.ports")?;
            drop(self.delete_ports(&gone)?);
            endpoint.ports = kept;
            self.write_endpoint(&endpoint)?;
            failpoint::hit("network.unpublish.claims")?;
            self.store.write(|tx| {
                for port in &gone {
                    let key = ports::key(port.host_ip, port.host_port);
                    tx.unclaim(&ports::space(port.protocol), &key, container.as_str())?;
                }
                Ok(())
            })?;
            all.extend(gone);
        }
        Ok(all)
    }
}

/// A container's place on a network is what a claim is for.
pub(super) fn uses(endpoint: &Endpoint, claim: &Claim) -> bool {
    match ports::of_claim(&claim.space, &claim.key) {
        Some(port) => endpoint
            .ports
            .iter()
            .any(|one| (one.protocol, one.host_ip, one.host_port) == (port.protocol, port.host_ip, port.host_port)),
        None => {
            claim.space.strip_prefix("address/") == Some(endpoint.network.as_str())
                && addresses_of(endpoint).any(|ip| ip.to_string() == claim.key)
        }
    }
}

/// `eth2` before `eth10`.
fn natural(name: &str) -> (usize, &str) {
    (name.len(), name)
}

fn addresses_of(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> {
    endpoint.ip.map(IpAddr::V4).into_iter().chain(endpoint.ip6.map(IpAddr::V6))
}

fn interface_name(attachment: &Attachment, number: usize, before: &[Endpoint], now: &[Endpoint]) -> String {
    if let Some(name) = &attachment.interface {
        return name.clone();
    }
    let used = |name: &String| before.iter().chain(now).any(|endpoint| endpoint.interface == *name);
    let names = (0..).map(|at| format!("eth{at}"));
    names.take(before.len() + now.len() + 1).find(|name| !used(name)).unwrap_or_else(|| format!("eth{number}"))
}

/// The network that has the default route: the one of the highest priority that leads outside, the first of those.
fn gateway(attachments: &[Attachment], networks: &[Network]) -> Option<usize> {
    let leads = |at: &usize| !networks[*at].internal && networks[*at].subnets.iter().any(|s| s.gateway.is_some());
    (0..networks.len()).filter(leads).max_by_key(|at| (attachments[*at].priority, std::cmp::Reverse(*at)))
}

fn claim_addresses(tx: &Tx<'_>, guest: &Guest<'_>, attachment: &Attachment, network: &Network) -> Result<Endpoint> {
    let space = space(&network.id);
    let claims = tx.claims(&space)?;
    let taken: BTreeSet<IpAddr> = claims.iter().filter_map(|claim| claim.key.parse().ok()).collect();
    let one = |v6: bool, wanted: Option<IpAddr>| -> Result<Option<(IpAddr, &Subnet)>> {
        let of_family: Vec<&Subnet> =
            network.subnets.iter().filter(|subnet| subnet.subnet.addr().is_ipv6() == v6).collect();
        let subnet = match wanted {
            Some(wanted) => of_family.iter().find(|subnet| subnet.subnet.contains(&wanted)).copied(),
            None => of_family.first().copied(),
        };
        let Some(subnet) = subnet else {
            return match wanted {
                Some(wanted) => Err(Error::invalid(format!(
                    "the address {wanted} is in no subnet of the network {:?}",
                    network.name
                ))),
                None => Ok(None),
            };
        };
        let ip = ipam::choose_address(subnet, &taken, wanted)
            .context(|| format!("connecting to the network {:?}", network.name))?;
        if let Some(claim) =
            claims.iter().find(|claim| claim.key == ip.to_string() && claim.holder != guest.id.as_str())
        {
            let name = tx.names(crate::store::db::Noun::Container, &claim.holder)?.into_iter().next();
            let name = name.unwrap_or_else(|| claim.holder.get(..Id::SHORT).unwrap_or_default().to_owned());
            return Err(Error::conflict(format!(
                "the address {ip} of the network {:?} is taken by the container {name:?}",
                network.name
            ))
            .with_hint("choose another address, or leave it out"));
        }
        tx.claim(&space, &ip.to_string(), guest.id.as_str())?;
        Ok(Some((ip, subnet)))
    };
    let v4 = one(false, attachment.ip.map(IpAddr::V4))?;
    let v6 = one(true, attachment.ip6.map(IpAddr::V6))?;
    let ip = v4.and_then(|(ip, _)| as_v4(ip));
    Ok(Endpoint {
        network: network.id.clone(),
        container: guest.id.clone(),
        name: guest.name.to_owned(),
        hostname: guest.hostname.to_owned(),
        aliases: attachment.aliases.clone(),
        links: attachment.links.clone(),
        interface: String::new(),
        link: String::new(),
        mac: match &attachment.mac {
            Some(mac) => mac_text(parse_mac(mac)?),
            None => mac_text(mac_for(guest.id, &network.id, ip)),
        },
        ip,
        prefix: v4.map_or(0, |(_, subnet)| subnet.subnet.prefix_len()),
        gateway: v4.and_then(|(_, subnet)| as_v4(subnet.gateway?)).filter(|_| !network.internal),
        ip6: v6.and_then(|(ip, _)| as_v6(ip)),
        prefix6: v6.map_or(0, |(_, subnet)| subnet.subnet.prefix_len()),
        gateway6: v6.and_then(|(_, subnet)| as_v6(subnet.gateway?)).filter(|_| !network.internal),
        is_gateway: false,
        ports: Vec::new(),
    })
}

fn as_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

fn as_v6(ip: IpAddr) -> Option<Ipv6Addr> {
    match ip {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    }
}

/// Docker's rule: the address makes the hardware address, so that caches stay true when an address goes to another.
pub(super) fn mac_for(container: &Id, network: &Id, ip: Option<Ipv4Addr>) -> [u8; 6] {
    match ip.map(|ip| ip.octets()) {
        Some([a, b, c, d]) => [0x02, 0x42, a, b, c, d],
        None => {
            let hash = Digest::of(format!("{container} {network}").as_bytes());
            let byte = |at: usize| u8::from_str_radix(&hash.hex()[2 * at..2 * at + 2], 16).expect("digits");
            [0x02, 0x42, byte(0), byte(1), byte(2), byte(3)]
        }
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Six pairs of digits; no group address.
pub(in crate::engine) fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let wrong = || Error::invalid(format!("{text:?} is not a hardware address")).with_hint("such as 02:42:ac:11:00:02");
    let mut mac = [0; 6];
    let parts: Vec<&str> = text.split([':', '-']).collect();
    if parts.len() != 6 {
        return Err(wrong());
    }
    for (byte, part) in mac.iter_mut().zip(parts) {
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2).ok_or_else(wrong)?;
    }
    if mac[0] & 1 == 1 { Err(wrong()) } else { Ok(mac) }
}

fn interface(network: &Network, endpoint: &Endpoint) -> Result<Interface> {
    let kind = match network.driver {
        Driver::Bridge => {
            Kindred::Port { link: endpoint.link.clone(), bridge: network.link.clone(), isolated: !network.icc() }
        }
        Driver::Macvlan => Kindred::Child {
            parent: network.link.clone(),
            kind: ChildKind::Macvlan(options::mode(network.driver, &network.options)?),
        },
        Driver::Ipvlan => Kindred::Child {
            parent: network.link.clone(),
            kind: ChildKind::Ipvlan(options::mode(network.driver, &network.options)?),
        },
        Driver::Host | Driver::None => return Err(Error::failed("there is nothing to make on such a network")),
    };
    let address = |ip: IpAddr, prefix| IpNet::new(ip, prefix).map_err(|error| Error::corrupt(error.to_string()));
    let mut addresses = Vec::new();
    if let Some(ip) = endpoint.ip {
        addresses.push(address(IpAddr::V4(ip), endpoint.prefix)?);
    }
    if let Some(ip) = endpoint.ip6 {
        addresses.push(address(IpAddr::V6(ip), endpoint.prefix6)?);
    }
    let gateways: Vec<IpAddr> = endpoint
        .gateway
        .map(IpAddr::V4)
        .into_iter()
        .chain(endpoint.gateway6.map(IpAddr::V6))
        .filter(|_| endpoint.is_gateway)
        .collect();
    Ok(Interface {
        name: endpoint.interface.clone(),
        kind,
        mac: Some(parse_mac(&endpoint.mac)?),
        mtu: network.mtu(),
        addresses,
        gateways,
        default_route: false,
    })
}
