//! A container's networks: what options name, what a start leases and makes, ports that are published while it runs.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;

use crate::base::{Context as _, Error, Id, Kind, Result};
use crate::engine::Engine;
use crate::engine::container::{Found, files, resolver};
use crate::engine::network::{Guest, parse_mac, ports};
use crate::model::container::{
    Connection, ContainerOptions, ContainerRecord, ContainerRemove, HOST_GATEWAY, NetworkMode,
};
use crate::model::network::{Attachment, DEFAULT_NETWORK, Driver, Endpoint, PortBinding, Publish};
use crate::runtime::client::Monitor;
use crate::runtime::monitor::MAX_HELD;
use crate::runtime::state::Life;
use crate::store::db::Noun;

/// The most networks of one container.
pub(super) const MAX_NETWORKS: usize = 64;
/// The most ports that one container publishes.
const MAX_PORTS: usize = 4096;

impl Engine {
    /// Decides which networks a container is on, by id. The default one exists afterwards.
    pub(super) fn resolve_networks(&self, options: &mut ContainerOptions) -> Result<()> {
        if options.networks.is_empty() && options.network_mode == NetworkMode::Bridge {
            match self.default_network.as_deref() {
                Some("none") => options.network_mode = NetworkMode::None,
                Some("host") => options.network_mode = NetworkMode::Host,
                network => options.networks.push(Attachment::to(network.unwrap_or(DEFAULT_NETWORK))),
            }
        }
        let mut networks = std::mem::take(&mut options.networks);
        let special = |name: &str| matches!(name, "none" | "host") || name.starts_with("container:");
        if let [only] = networks.as_slice()
            && special(&only.network)
        {
            options.network_mode = match only.network.split_once(':') {
                Some((_, other)) => NetworkMode::Container(other.to_owned()),
                None if only.network == "host" => NetworkMode::Host,
                None => NetworkMode::None,
            };
            networks.clear();
        }
        if let Some(one) = networks.iter().find(|one| special(&one.network)) {
            return Err(Error::invalid(format!("the network {:?} goes with no other one", one.network)));
        }
        if options.network_mode != NetworkMode::Bridge {
            if !networks.is_empty() {
                return Err(Error::invalid("a container with that network mode has no networks of its own"));
            }
            let shares = matches!(options.network_mode, NetworkMode::Container(_));
            if shares && (!options.publish.is_empty() || options.publish_all) {
                return Err(Error::invalid("ports are published by the container whose network is joined"));
            }
            return Ok(());
        }
        if networks.len() > MAX_NETWORKS {
            return Err(Error::invalid(format!("a container is on at most {MAX_NETWORKS} networks")));
        }
        if options.publish.len() > MAX_PORTS {
            return Err(Error::invalid(format!("a container publishes at most {MAX_PORTS} ports")));
        }
        for at in 0..networks.len() {
            let one = self.resolve_attachment(networks[at].clone())?;
            if networks[..at].iter().any(|other| other.network == one.network) {
                return Err(Error::invalid(format!("the network {:?} is named twice", networks[at].network)));
            }
            networks[at] = one;
        }
        options.networks = networks;
        Ok(())
    }

    /// Checks an attachment, and names its network by id.
    pub(super) fn resolve_attachment(&self, mut one: Attachment) -> Result<Attachment> {
        let network = self.network_get(&one.network)?;
        if matches!(network.driver, Driver::Host | Driver::None) {
            return Err(Error::conflict(format!("a container cannot be connected to the network {:?}", network.name))
                .with_hint("make the container with that network"));
        }
        if let Some(mac) = &one.mac {
            parse_mac(mac)?;
        }
        let configured = |v6: bool| network.subnet(v6).is_some();
        if (one.ip.is_some() && !configured(false)) || (one.ip6.is_some() && !configured(true)) {
            return Err(Error::invalid(format!("the network {:?} has no addresses of that family", network.name)));
        }
        if !network.has_names() && !one.aliases.is_empty() {
            return Err(Error::invalid("aliases are for networks of your own, not for the default one"));
        }
        for (container, _) in &one.links {
            self.container_find(container)?;
        }
        one.network = network.id.to_string();
        Ok(one)
    }

    /// Claims what the container will have on its networks, and writes the files that say it.
    pub(super) fn container_lease(&self, record: &ContainerRecord) -> Result<Vec<Endpoint>> {
        if record.options.networks.is_empty() {
            return Ok(Vec::new());
        }
        let name = self.store.read(|tx| tx.names(Noun::Container, record.id.as_str()))?;
        let name = name.into_iter().next().unwrap_or_else(|| record.id.short().to_owned());
        let guest = Guest { id: &record.id, name: &name, hostname: &record.hostname };
        let publish = published(record)?;
        // What was under way is decided by this start.
        self.end_connection(&record.id)?;
        let endpoints = self.network_lease(&guest, &record.options.networks, &publish, &[])?;
        match self.write_network_files(record, &endpoints, true).and_then(|_| self.tell_linked(&record.id, &endpoints))
        {
            Ok(()) => Ok(endpoints),
            Err(error) => Err(match self.network_release(&record.id) {
                Ok(_) => error,
                Err(more) => error.context(format!("and giving addresses back failed: {more}")),
            }),
        }
    }

    /// Makes what was leased in a container that waits for its start.
    pub(super) fn container_attach_networks(&self, monitor: &mut Monitor, endpoints: &[Endpoint]) -> Result<()> {
        if endpoints.is_empty() {
            return Ok(());
        }
        let netns = monitor.take_netns().ok_or_else(|| Error::failed("the monitor gave no network namespace"))?;
        self.network_attach(netns.as_fd(), endpoints)?;
        endpoints.iter().try_for_each(|endpoint| hold_ports(monitor, &endpoint.ports))
    }

    /// `/etc/hosts` and `/etc/resolv.conf` as its networks want them, written in place since they are mounted, and what its
    /// resolver is to know. True when it has one. At its start those that it is linked to must be there.
    pub(super) fn write_network_files(
        &self,
        record: &ContainerRecord,
        endpoints: &[Endpoint],
        starts: bool,
    ) -> Result<bool> {
        let dir = self.paths().container(&record.id);
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default(); // a host may have none: an empty one
        let write = |path: std::path::PathBuf, text: String| {
            std::fs::write(&path, text).context(|| format!("writing {path:?}"))
        };
        let links = self.linked(endpoints, starts)?;
        let asks = record.options.extra_hosts.iter().any(|(_, address)| address == HOST_GATEWAY);
        let host = if asks { self.host_of(endpoints)? } else { None };
        write(dir.join("hosts"), files::hosts(record, &read("/etc/hosts"), endpoints, host, &links))?;
        let has_names = self.write_names(record, endpoints)?;
        let servers = match has_names {
            true => files::Servers::Names,
            false if endpoints.is_empty() => files::Servers::Host,
            false => files::Servers::Reachable,
        };
        write(dir.join("resolv.conf"), files::resolv_conf(&record.options, &resolver::of_host(), servers))?;
        Ok(has_names)
    }

    /// Where a container on these networks finds the host: at a gateway, also of a network that does not lead outside.
    fn host_of(&self, endpoints: &[Endpoint]) -> Result<Option<IpAddr>> {
        let Some(one) = endpoints.iter().find(|one| one.is_gateway).or(endpoints.first()) else { return Ok(None) };
        let network = self.network_get(one.network.as_str())?;
        let gateway = |v6: bool| network.subnet(v6).and_then(|subnet| subnet.gateway);
        Ok(if one.link.is_empty() { None } else { gateway(false).or(gateway(true)) })
    }

    /// The networks of a container, with what it has there.
    pub(super) fn container_connections(&self, record: &ContainerRecord, alive: bool) -> Result<Vec<Connection>> {
        let mut list = Vec::with_capacity(record.options.networks.len());
        for attachment in &record.options.networks {
            let id = Id::parse(&attachment.network)?;
            let name = self.store.read(|tx| tx.names(Noun::Network, id.as_str()))?.into_iter().next();
            let endpoint = if alive { self.network_endpoint(&id, &record.id)? } else { None };
            let name = name.unwrap_or_else(|| id.short().to_owned());
            list.push(Connection { name, id, attachment: attachment.clone(), endpoint });
        }
        Ok(list)
    }

    /// Publishes further ports of a running container.
    ///
    /// # Errors
    /// `conflict` naming who has the port, or when it does not run.
    pub fn container_publish(&self, container: &str, ports: &[Publish]) -> Result<Vec<PortBinding>> {
        let id = self.container_find(container)?.id;
        let _lock = self.lock_container(&id)?;
        let found = self.container_reload(&id)?;
        self.require_running(&found)?;
        let added = self.network_publish(&id, ports)?;
        let held = self.container_monitor(&id, &found.name).and_then(|mut monitor| hold_ports(&mut monitor, &added));
        if let Err(error) = held {
            self.network_unpublish(&id, |port| added.contains(port))?;
            return Err(error);
        }
        self.change_options(&id, |options| options.publish.extend(ports.iter().cloned()))?;
        Ok(added)
    }

    /// Ends the publishing of a port of the host, or of one in the container, of a running container.
    ///
    /// # Errors
    /// `not_found` when no such port is published; `conflict` when it does not run.
    pub fn container_unpublish(&self, container: &str, port: &Publish) -> Result<()> {
        let id = self.container_find(container)?.id;
        let _lock = self.lock_container(&id)?;
        let found = self.container_reload(&id)?;
        self.require_running(&found)?;
        let fits = |one: &PortBinding| {
            one.container_port == port.container_port
                && one.protocol == port.protocol
                && port.host_ports.is_none_or(|(first, last)| (first..=last).contains(&one.host_port))
                && port.host_ip.is_none_or(|ip| ip == one.host_ip)
        };
        let gone = self.network_unpublish(&id, fits)?;
        let mut monitor = self.container_monitor(&id, &found.name)?;
        gone.iter().try_for_each(|port| monitor.let_go(&ports::socket_name(port)))?;
        if gone.is_empty() {
            return Err(Error::not_found(format!(
                "the container {:?} does not publish the port {}/{}",
                found.name, port.container_port, port.protocol
            )));
        }
        // One whose port of the host is the kernel's choice is known by what is left of it.
        let left = self.network_endpoints_of(&id)?.into_iter().flat_map(|endpoint| endpoint.ports);
        let same = |one: u16, protocol| one == port.container_port && protocol == port.protocol;
        let is_left = left.filter(|one| same(one.container_port, one.protocol)).count() > 0;
        self.change_options(&id, |options| {
            options.publish.retain(|one| {
                let meant = port.host_ports.is_none_or(|ports| one.host_ports == Some(ports))
                    && port.host_ip.is_none_or(|ip| one.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()) == ip);
                !(same(one.container_port, one.protocol) && (meant || !is_left))
            });
        })
    }

    fn change_options(&self, id: &Id, change: impl FnOnce(&mut ContainerOptions)) -> Result<()> {
        self.store.write(|tx| {
            let row = tx.get::<ContainerRecord>(Noun::Container, id.as_str())?;
            let mut record = row.ok_or_else(|| Error::not_found(format!("no such container {:?}", id.short())))?.body;
            change(&mut record.options);
            tx.update(Noun::Container, id.as_str(), &record)
        })
    }

    fn require_running(&self, found: &Found) -> Result<()> {
        match self.container_life(&found.id)? {
            Life::Alive(_) => Ok(()),
            _ => Err(Error::conflict(format!("the container {:?} does not run", found.name))),
        }
    }

    /// Clears up after a container whose monitor goes: the monitor's last act. Removes one with `--rm`.
    ///
    /// # Errors
    /// As remove; a container that is gone is none.
    pub fn container_reap(&self, container: &str) -> Result<()> {
        let found = self.container_find(container)?;
        let networks = found.record.options.networks.iter().map(|one| Id::parse(&one.network));
        let networks = networks.collect::<Result<Vec<Id>>>()?;
        if found.record.options.auto_remove {
            self.container_remove(container, ContainerRemove { force: false, volumes: true })?;
            return self.network_bury_all(&networks);
        }
        let lock = self.lock_container(&found.id)?;
        // Somebody may have started it again.
        if !crate::runtime::state::is_held(&self.paths().container_run(&found.id))? {
            drop(self.network_release(&found.id)?);
        }
        drop(lock);
        self.network_bury_all(&networks)
    }
}

/// Has the monitor keep published ports from programs of this host, as many as it keeps.
pub(super) fn hold_ports(monitor: &mut Monitor, ports: &[PortBinding]) -> Result<()> {
    for port in ports.iter().take(MAX_HELD) {
        if let Some(socket) = ports::reserve(port)? {
            match monitor.hold(&ports::socket_name(port), socket.as_fd()) {
                // What does not fit is published all the same.
                Err(error) if error.kind() == Kind::NoSpace => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// What is published: what was named, and with `publish_all` every other port that is exposed.
pub(super) fn published(record: &ContainerRecord) -> Result<Vec<Publish>> {
    let mut all = record.options.publish.clone();
    if record.options.publish_all {
        for exposed in &record.exposed_ports {
            let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
            let (Ok(port), Some(protocol)) = (port.parse(), crate::model::network::Protocol::from_name(protocol))
            else {
                continue;
            };
            if !all.iter().any(|one| one.container_port == port && one.protocol == protocol) {
                all.push(Publish { container_port: port, protocol, host_ip: None, host_ports: None });
            }
        }
    }
    match all.len() > MAX_PORTS {
        true => Err(Error::invalid(format!("a container publishes at most {MAX_PORTS} ports"))),
        false => Ok(all),
    }
}
