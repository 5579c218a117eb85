//! Joining and leaving networks, also while the container runs.
//!
//! ```text
//! connect      intent ─▶ record ─▶ addresses, interface, way out and ports, files, resolver ─▶ no intent
//! disconnect   intent ─▶ way out and ports to another network, interface, addresses, files ─▶ record ─▶ no intent
//! recover      an intent that nobody holds the lock for: what there is of the change is taken away, and what the record
//!              says is made anew
//! ```
//!
//! One network leads outside: the one of the highest priority that has a gateway. The default route and the published ports
//! are there, and go with it.

use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use crate::base::{Context as _, Error, Id, Kind, Result, failpoint};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::engine::container::network::{MAX_NETWORKS, hold_ports, published};
use crate::engine::network::{Guest, ports};
use crate::model::container::{ContainerRecord, NetworkMode};
use crate::model::network::{Attachment, Endpoint, PortBinding};
use crate::net::setup;
use crate::runtime::client::Monitor;
use crate::store::db::{Noun, Tx};

/// A running container whose networks change.
struct Running<'a> {
    found: &'a Found,
    monitor: Monitor,
    netns: OwnedFd,
}

impl Engine {
    /// Connects a container to a network, also while it runs.
    ///
    /// # Errors
    /// `conflict` when it is connected already or has no networks of its own; as a start.
    pub fn network_connect(&self, container: &str, attachment: &Attachment) -> Result<()> {
        let id = self.container_find(container)?.id;
        let _lock = self.lock_container(&id)?;
        self.settle_connection(&id)?;
        let mut found = self.container_reload(&id)?;
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
        let network = Id::parse(&one.network)?;
        let is_up = self.is_up(&id)?;
        if is_up {
            self.intend_connection(&id, &network)?;
        }
        // Whoever removes the network meanwhile is faster, or hears of the user.
        let recorded = failpoint::hit("network.connect.record").and_then(|()| {
            self.change_networks(&id, |tx, networks| {
                tx.add_use((Noun::Container, id.as_str()), (Noun::Network, network.as_str()))?;
                networks.push(one.clone());
                Ok(())
            })
        });
        if let Err(error) = recorded {
            self.end_connection(&id)?;
            return Err(error);
        }
        if is_up {
            found = self.container_reload(&id)?;
            if let Err(error) = self.join(&found, &one) {
                let error = error.context(format!("connecting the container {:?}", found.name));
                return Err(match self.forget_network(&id, &network).and_then(|()| self.settle_connection(&id)) {
                    Ok(()) => error,
                    Err(more) => error.context(format!("and undoing it failed: {more}")),
                });
            }
            self.end_connection(&id)?;
        }
        self.store.flush()?;
        if let Ok(network) = self.network_get(network.as_str()) {
            self.tell_of_network(&network, &id, "connect");
        }
        Ok(())
    }

    /// Disconnects a container from a network, also while it runs.
    ///
    /// # Errors
    /// `not_found` when it is not connected.
    pub fn network_disconnect(&self, container: &str, network: &str) -> Result<()> {
        let id = self.container_find(container)?.id;
        let _lock = self.lock_container(&id)?;
        self.settle_connection(&id)?;
        let found = self.container_reload(&id)?;
        let network = self.network_get(network)?;
        if !found.record.options.networks.iter().any(|one| one.network == network.id.as_str()) {
            return Err(Error::not_found(format!(
                "the container {:?} is not connected to the network {:?}",
                found.name, network.name
            )));
        }
        let is_up = self.is_up(&id)?;
        if is_up {
            self.intend_connection(&id, &network.id)?;
            failpoint::hit("network.disconnect.links")?;
            if let Err(error) = self.leave(&found, &network.id) {
                let error = error.context(format!("disconnecting the container {:?}", found.name));
                return Err(match self.settle_connection(&id) {
                    Ok(()) => error,
                    Err(more) => error.context(format!("and undoing it failed: {more}")),
                });
            }
        }
        failpoint::hit("network.disconnect.record")?;
        self.forget_network(&id, &network.id)?;
        if is_up {
            self.end_connection(&id)?;
        }
        self.store.flush()?;
        self.tell_of_network(&network, &id, "disconnect");
        Ok(())
    }

    /// What a change of this container's networks left half-made is made to be what the record says; its lock is held.
    pub(super) fn settle_connection(&self, id: &Id) -> Result<()> {
        let path = self.connections().join(id.as_str());
        let network = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            text => Id::parse(&text.context(|| format!("reading {path:?}"))?)?,
        };
        let found = match self.container_reload(id) {
            Err(error) if error.kind() == Kind::NotFound => return self.end_connection(id),
            found => found?,
        };
        // Of one that has ended everything goes, as with every other.
        if self.is_up(id)? {
            self.leave(&found, &network)?;
            let attachment = found.record.options.networks.iter().find(|one| one.network == network.as_str());
            if let Some(attachment) = attachment {
                self.join(&found, attachment)?;
            }
        }
        self.end_connection(id)
    }

    /// Where changes of networks that are under way are noted.
    pub(super) fn connections(&self) -> PathBuf {
        self.paths().run().join("connections")
    }

    fn intend_connection(&self, id: &Id, network: &Id) -> Result<()> {
        let folder = self.connections();
        std::fs::create_dir_all(&folder).context(|| format!("making {folder:?}"))?;
        let (path, beside) = (folder.join(id.as_str()), folder.join(format!(".{id}")));
        std::fs::write(&beside, network.as_str())
            .and_then(|()| std::fs::rename(&beside, &path))
            .context(|| format!("writing {path:?}"))
    }

    pub(super) fn end_connection(&self, id: &Id) -> Result<()> {
        let path = self.connections().join(id.as_str());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::from(error).context(format!("removing {path:?}")))
            }
            _ => Ok(()),
        }
    }

    fn running<'a>(&self, found: &'a Found) -> Result<Running<'a>> {
        let mut monitor = self.container_monitor(&found.id, &found.name)?;
        let netns = monitor.network()?;
        Ok(Running { found, monitor, netns })
    }

    /// Gives a running container what it is to have on a network that its record lists.
    fn join(&self, found: &Found, one: &Attachment) -> Result<()> {
        let mut running = self.running(found)?;
        let before = self.network_endpoints_of(&found.id)?;
        let led_out = before.iter().any(|endpoint| endpoint.is_gateway);
        let guest = Guest { id: &found.id, name: &found.name, hostname: &found.record.hostname };
        let new = self.network_lease(&guest, std::slice::from_ref(one), &[], &before)?;
        failpoint::hit("network.connect.links")?;
        self.network_attach(running.netns.as_fd(), &new)?;
        failpoint::hit("network.connect.route")?;
        let mut all = [before, new].concat();
        self.lead_out(&mut running, &mut all, None)?;
        if !led_out && all.iter().any(|endpoint| endpoint.is_gateway && !endpoint.link.is_empty()) {
            // Its first way out: what it publishes comes with it.
            let added = self.network_publish(&found.id, &published(&found.record)?)?;
            hold_ports(&mut running.monitor, &added)?;
        }
        failpoint::hit("network.connect.files")?;
        if self.write_network_files(&found.record, &all, false)? {
            running.monitor.begin_names()?;
        }
        Ok(())
    }

    /// Takes everything away that a running container has on a network, whole or half-made.
    fn leave(&self, found: &Found, network: &Id) -> Result<()> {
        let mut running = self.running(found)?;
        let mut all = self.network_endpoints_of(&found.id)?;
        self.lead_out(&mut running, &mut all, Some(network))?;
        failpoint::hit("network.disconnect.interface")?;
        let (gone, kept): (Vec<Endpoint>, Vec<Endpoint>) = all.into_iter().partition(|one| one.network == *network);
        // Those of a bridge go with their ends on the host.
        for endpoint in gone.iter().filter(|endpoint| endpoint.link.is_empty()) {
            setup::detach(running.netns.as_fd(), &endpoint.interface)?;
        }
        self.give_back(&found.id, &gone)?;
        for port in gone.iter().flat_map(|endpoint| &endpoint.ports) {
            running.monitor.let_go(&ports::socket_name(port))?;
        }
        // What was claimed by one who died before it was written down.
        self.network_unclaim_unused(&found.id, &kept)?;
        failpoint::hit("network.disconnect.files")?;
        self.write_network_files(&found.record, &kept, false).map(drop)
    }

    /// Has the right one of a container's networks lead outside, which is none that it is about to leave: the default route
    /// and the published ports are there afterwards. `all` is brought up to date.
    fn lead_out(&self, running: &mut Running<'_>, all: &mut [Endpoint], leaving: Option<&Id>) -> Result<()> {
        let Some(at) = way_out(&running.found.record, all, leaving) else { return Ok(()) };
        let others = |one: &Endpoint| one.is_gateway || !one.ports.is_empty();
        if all[at].is_gateway && !all.iter().enumerate().any(|(index, one)| index != at && others(one)) {
            return Ok(());
        }
        let mut moved = Vec::new();
        for (index, one) in all.iter_mut().enumerate().filter(|(_, one)| others(one)) {
            if index != at {
                moved.append(&mut one.ports);
                one.is_gateway = false;
            }
        }
        let to = &all[at];
        let fits = |port: &PortBinding| {
            let has = if port.host_ip.is_ipv6() { to.ip6.is_some() } else { to.ip.is_some() };
            has && !to.link.is_empty()
        };
        let (moved, lost): (Vec<PortBinding>, Vec<PortBinding>) = moved.into_iter().partition(fits);
        drop(self.delete_ports(&[moved.clone(), lost.clone()].concat())?);
        all[at].is_gateway = true;
        // One who died in the middle may have written them down for both.
        let new: Vec<PortBinding> = moved.into_iter().filter(|port| !all[at].ports.contains(port)).collect();
        all[at].ports.extend(new);
        // The new one first: a port that two have written down goes with the one that is left.
        self.write_endpoint(&all[at])?;
        for (_, one) in all.iter().enumerate().filter(|(index, _)| *index != at) {
            self.write_endpoint(one)?;
        }
        self.network_insert_ports(&all[at], &all[at].ports)?;
        for port in &lost {
            running.monitor.let_go(&ports::socket_name(port))?;
        }
        self.network_unclaim_unused(&running.found.id, all)?;
        let gateways = all[at].gateway.map(IpAddr::V4).into_iter().chain(all[at].gateway6.map(IpAddr::V6));
        let gateways: Vec<_> = gateways.map(|gateway| (gateway, all[at].interface.clone())).collect();
        setup::route_by(running.netns.as_fd(), &gateways)
            .context(|| format!("moving the default route of {}", running.found.id.short()))
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
}

/// The network that is to lead outside: the one of the highest priority, of those the one that does, or the first.
fn way_out(record: &ContainerRecord, all: &[Endpoint], leaving: Option<&Id>) -> Option<usize> {
    let networks = &record.options.networks;
    let rank = |one: &Endpoint| {
        let place = networks.iter().position(|other| other.network == one.network.as_str());
        let priority = place.map_or(0, |place| networks[place].priority);
        (priority, one.is_gateway, std::cmp::Reverse(place.unwrap_or(usize::MAX)))
    };
    let leads = |one: &Endpoint| one.gateway.is_some() || one.gateway6.is_some();
    let fit = all.iter().enumerate().filter(|(_, one)| leads(one) && leaving != Some(&one.network));
    fit.max_by_key(|(_, one)| rank(one)).map(|(at, _)| at)
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
