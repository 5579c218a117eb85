//! A container's networks: what options name, what a start leases and makes, what is changed while it runs.

use std::os::fd::AsFd as _;

use crate::base::{Context as _, Error, Id, Kind, Result, failpoint};
use crate::engine::Engine;
use crate::engine::container::{Found, files, resolver};
use crate::engine::network::{Guest, parse_mac, ports};
use crate::model::container::{Connection, ContainerOptions, ContainerRecord, ContainerRemove, NetworkMode};
use crate::model::network::{Attachment, DEFAULT_NETWORK, Driver, Endpoint, PortBinding, Publish};
use crate::net::setup;
use crate::runtime::client::Monitor;
use crate::runtime::monitor::MAX_HELD;
use crate::runtime::state::Life;
use crate::store::db::{Noun, Tx};

/// The most networks of one container.
const MAX_NETWORKS: usize = 64;
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
    fn resolve_attachment(&self, mut one: Attachment) -> Result<Attachment> {
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
        let endpoints = self.network_lease(&guest, &record.options.networks, &publish, &[])?;
        match self.write_network_files(record, &endpoints) {
            Ok(_) => Ok(endpoints),
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
        self.network_attach(netns.as_fd(), endpoints, true)?;
        endpoints.iter().try_for_each(|endpoint| hold_ports(monitor, &endpoint.ports))
    }

    /// `/etc/hosts` and `/etc/resolv.conf` as its networks want them, written in place since they are mounted, and what its
    /// resolver is to know. True when it has one.
    fn write_network_files(&self, record: &ContainerRecord, endpoints: &[Endpoint]) -> Result<bool> {
        let dir = self.paths().container(&record.id);
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default(); // a host may have none: an empty one
        let write = |path: std::path::PathBuf, text: String| {
            std::fs::write(&path, text).context(|| format!("writing {path:?}"))
        };
        let links = self.linked(endpoints)?;
        write(dir.join("hosts"), files::hosts(record, &read("/etc/hosts"), endpoints, &links))?;
        let has_names = self.write_names(record, endpoints)?;
        let servers = match has_names {
            true => files::Servers::Names,
            false if endpoints.is_empty() => files::Servers::Host,
            false => files::Servers::Reachable,
        };
        write(dir.join("resolv.conf"), files::resolv_conf(&record.options, &resolver::of_host(), servers))?;
        Ok(has_names)
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

    /// Connects a container to a network, also while it runs.
    ///
    /// # Errors
    /// `conflict` when it is connected already or has no networks of its own; as a start.
    pub fn network_connect(&self, container: &str, attachment: &Attachment) -> Result<()> {
        let id = self.container_find(container)?.id;
        let _lock = self.lock_container(&id)?;
        let found = self.container_reload(&id)?;
        require_networks(&found)?;
        let one = self.resolve_attachment(attachment.clone())?;
        if found.record.options.networks.iter().any(|other| other.network == one.network) {
            return Err(Error::conflict(format!(
                "the container {:?} is connected to the network {:?} already",
                found.name, attachment.network
            )));
        }
        if found.record.options.networks.len() >= MAX_NETWORKS {
            return Err(Error::invalid(format!("a container is on at most {MAX_NETWORKS} networks")));
        }
        failpoint::hit("network.connect.record")?;
        let network = Id::parse(&one.network)?;
        // On record first: whoever finds half of it knows that it is to be cleared up with the container.
        self.change_networks(&id, |tx, networks| {
            tx.add_use((Noun::Container, id.as_str()), (Noun::Network, network.as_str()))?;
            networks.push(one.clone());
            Ok(())
        })?;
        if let Life::Alive(run) = self.container_life(&id)?
            && let Some((pid, _)) = run.init
        {
            let connected = self.connect_running(&found, &one, pid);
            if let Err(error) = connected {
                let error = error.context(format!("connecting the container {:?}", found.name));
                return Err(match self.forget_network(&id, &network) {
                    Ok(()) => error,
                    Err(more) => error.context(format!("and undoing it failed: {more}")),
                });
            }
        }
        self.store.flush()?;
        if let Ok(network) = self.network_get(network.as_str()) {
            self.tell_of_network(&network, &id, "connect");
        }
        Ok(())
    }

    fn connect_running(&self, found: &Found, one: &Attachment, pid: i32) -> Result<()> {
        let before = self.network_endpoints_of(&found.id)?;
        let guest = Guest { id: &found.id, name: &found.name, hostname: &found.record.hostname };
        let mut new = self.network_lease(&guest, std::slice::from_ref(one), &[], &before)?;
        let netns = setup::netns_of(pid)?;
        let made = failpoint::hit("network.connect.links")
            .and_then(|()| self.network_attach(netns.as_fd(), &new, false))
            .and_then(|()| {
                let all: Vec<Endpoint> = before.iter().chain(&new).cloned().collect();
                if self.write_network_files(&found.record, &all)? {
                    self.container_monitor(&found.id, &found.name)?.begin_names()?;
                }
                Ok(())
            });
        if let Err(error) = made {
            return Err(match self.give_back(&found.id, &new) {
                Ok(()) => error,
                Err(more) => error.context(format!("and undoing it failed: {more}")),
            });
        }
        // The first way out that it has, or one that is preferred.
        let leads = new[0].gateway.is_some() || new[0].gateway6.is_some();
        if leads && self.is_preferred(found, one, &before) {
            self.move_gateway(&found.id, netns.as_fd(), &mut new[0], &before)?;
        }
        Ok(())
    }

    /// Whether a network that is joined now has the default route from now on.
    fn is_preferred(&self, found: &Found, one: &Attachment, before: &[Endpoint]) -> bool {
        let current = before.iter().find(|endpoint| endpoint.is_gateway);
        let Some(current) = current else { return true };
        let priority = |network: &Id| {
            let known = found.record.options.networks.iter().find(|other| other.network == network.as_str());
            known.map_or(0, |other| other.priority)
        };
        one.priority > priority(&current.network)
    }

    /// Gives one endpoint the default route.
    fn move_gateway(
        &self,
        id: &Id,
        netns: std::os::fd::BorrowedFd<'_>,
        to: &mut Endpoint,
        others: &[Endpoint],
    ) -> Result<()> {
        for other in others.iter().filter(|other| other.is_gateway && other.network != to.network) {
            self.write_endpoint(&Endpoint { is_gateway: false, ..other.clone() })?;
        }
        to.is_gateway = true;
        self.write_endpoint(to)?;
        let gateways: Vec<(std::net::IpAddr, String)> = to
            .gateway
            .map(std::net::IpAddr::V4)
            .into_iter()
            .chain(to.gateway6.map(std::net::IpAddr::V6))
            .map(|gateway| (gateway, to.interface.clone()))
            .collect();
        setup::route_by(netns, &gateways).context(|| format!("moving the default route of {}", id.short()))
    }

    /// Disconnects a container from a network, also while it runs.
    ///
    /// # Errors
    /// `not_found` when it is not connected.
    pub fn network_disconnect(&self, container: &str, network: &str) -> Result<()> {
        let id = self.container_find(container)?.id;
        let _lock = self.lock_container(&id)?;
        let found = self.container_reload(&id)?;
        let network = self.network_get(network)?;
        if !found.record.options.networks.iter().any(|one| one.network == network.id.as_str()) {
            return Err(Error::not_found(format!(
                "the container {:?} is not connected to the network {:?}",
                found.name, network.name
            )));
        }
        failpoint::hit("network.disconnect.links")?;
        let endpoints = self.network_endpoints_of(&id)?;
        let (gone, mut kept): (Vec<Endpoint>, Vec<Endpoint>) =
            endpoints.into_iter().partition(|endpoint| endpoint.network == network.id);
        if let Life::Alive(run) = self.container_life(&id)?
            && let Some((pid, _)) = run.init
        {
            let netns = setup::netns_of(pid)?;
            for endpoint in &gone {
                setup::detach(netns.as_fd(), &endpoint.interface)?;
            }
            self.give_back(&id, &gone)?;
            if gone.iter().any(|endpoint| endpoint.is_gateway) {
                let next = kept.iter().position(|one| one.gateway.is_some() || one.gateway6.is_some());
                if let Some(at) = next {
                    let mut to = kept.remove(at);
                    self.move_gateway(&id, netns.as_fd(), &mut to, &kept)?;
                    kept.push(to);
                }
            }
            self.write_network_files(&found.record, &kept)?;
        }
        failpoint::hit("network.disconnect.record")?;
        self.forget_network(&id, &network.id)?;
        self.store.flush()?;
        self.tell_of_network(&network, &id, "disconnect");
        Ok(())
    }

    fn forget_network(&self, id: &Id, network: &Id) -> Result<()> {
        self.change_networks(id, |tx, networks| {
            networks.retain(|one| one.network != network.as_str());
            tx.drop_use((Noun::Container, id.as_str()), (Noun::Network, network.as_str()))
        })
    }

    fn change_networks(&self, id: &Id, change: impl FnOnce(&Tx<'_>, &mut Vec<Attachment>) -> Result<()>) -> Result<()> {
        self.store.write(|tx| {
            let row = tx.get::<ContainerRecord>(Noun::Container, id.as_str())?;
            let mut record = row.ok_or_else(|| Error::not_found(format!("no such container {:?}", id.short())))?.body;
            change(tx, &mut record.options.networks)?;
            tx.update(Noun::Container, id.as_str(), &record)
        })
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
        self.change_options(&id, |options| {
            options.publish.retain(|one| {
                one.container_port != port.container_port
                    || one.protocol != port.protocol
                    || (port.host_ports.is_some() && one.host_ports != port.host_ports)
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
fn hold_ports(monitor: &mut Monitor, ports: &[PortBinding]) -> Result<()> {
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

/// One whose network namespace is another's cannot be changed.
fn require_networks(found: &Found) -> Result<()> {
    match &found.record.options.network_mode {
        NetworkMode::Bridge => Ok(()),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => {
            Err(Error::conflict(format!("the container {:?} has no networks of its own", found.name))
                .with_hint("it was made with no network, the host's, or that of another container"))
        }
    }
}

/// What is published: what was named, and with `publish_all` every other port that is exposed.
fn published(record: &ContainerRecord) -> Result<Vec<Publish>> {
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
