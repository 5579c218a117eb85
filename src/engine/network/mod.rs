//! Networks: every verb.
//!
//! ```text
//! create     record "creating" ─▶ bridge, rules ─▶ "ready"        endpoints  addresses and ports for a container, and back
//! remove     record "removing" ─▶ bridge, rules gone ─▶ no record   kernel     bridges and rules as they shall be; repair
//! bury       interfaces that outlive their containers          links      who is linked where names are not resolved
//! check      what is wrong with all of it                            topology   who reaches whom, drawn
//! ```
//!
//! A network's identity is its id; the name is a label. Whoever makes or takes away something that all containers share, a
//! bridge or the rules, holds one lock for all networks. Containers are known here only as users of a record, and as
//! holders of addresses and ports.

mod bury;
mod check;
mod endpoints;
mod kernel;
mod links;
mod options;
pub(in crate::engine) mod ports;
pub mod topology;

use std::time::Duration;

pub(in crate::engine) use self::endpoints::{Guest, parse_mac};

use crate::base::{Error, Id, Kind, Result, Timestamp, failpoint};
use crate::engine::Engine;
use crate::model::event::{Event, NETWORK};
use crate::model::network::{
    DEFAULT_NETWORK, Driver, Endpoint, Network, NetworkFilter, NetworkOptions, NetworkState, OF_STEP, Subnet,
};
use crate::model::system::{PruneFilter, PruneReport};
use crate::net::{ipam, setup};
use crate::store::db::{Noun, Phase, Row, Tx};
use crate::sys::lock::Lock;

// `network` is always what a user writes: a name, an id, or a unique beginning of an id.
impl Engine {
    /// Makes a network.
    ///
    /// # Errors
    /// `already_exists` for the name; `invalid_argument` for options and ranges; `conflict` when a range is another
    /// network's or a route of this host leads there; `unsupported` for what the kernel lacks.
    pub fn network_create(&self, options: &NetworkOptions) -> Result<Network> {
        options::check(options)?;
        if matches!(options.name.as_str(), "host" | "none" | "default") || options.name == DEFAULT_NETWORK {
            return Err(Error::already_exists(format!("the network {:?} is predefined", options.name)));
        }
        let _lock = self.lock_networks()?;
        self.make_network(options)
    }

    /// Makes a network; the lock of all networks is held.
    fn make_network(&self, options: &NetworkOptions) -> Result<Network> {
        let id = Id::random()?;
        let routed = match options.driver {
            Driver::Bridge => self.routed(options)?,
            _ => Vec::new(),
        };
        let network = self.store.write(|tx| {
            if let Some(holder) = tx.named(Noun::Network, &options.name)? {
                let short = holder.get(..Id::SHORT).unwrap_or(&holder);
                return Err(Error::already_exists(format!("there is a network {:?} already: {short}", options.name)));
            }
            let others = tx.list::<Network>(Noun::Network)?;
            let network = Network {
                created: Timestamp::now(),
                name: options.name.clone(),
                driver: options.driver,
                subnets: choose_subnets(options, &id, &others, &routed)?,
                ipv6: options.ipv6 || options.subnets.iter().any(|subnet| subnet.subnet.addr().is_ipv6()),
                internal: options.internal,
                attachable: options.attachable,
                labels: options.labels.clone(),
                options: options.options.clone(),
                link: match options.driver {
                    Driver::Bridge => self.bridge_name(options, &id),
                    _ => options::parent(options)?.to_owned(),
                },
                id: id.clone(),
            };
            if let Some(other) = others.iter().find(|other| clashes(&other.body, &network)) {
                return Err(Error::conflict(format!(
                    "the interface {:?} belongs to the network {:?}",
                    network.link, other.body.name
                )));
            }
            tx.insert(Noun::Network, id.as_str(), Phase::Creating, &network)?;
            tx.name(Noun::Network, &network.name, id.as_str())?;
            Ok(network)
        })?;
        let made = failpoint::hit("network.create.bridge")
            .and_then(|()| self.ensure_network(&network))
            .and_then(|()| failpoint::hit("network.create.rules"))
            .and_then(|()| self.write_rules())
            .and_then(|()| failpoint::hit("network.create.ready"))
            .and_then(|()| self.store.write(|tx| tx.set_phase(Noun::Network, id.as_str(), Phase::Ready)));
        if let Err(error) = made {
            let error = error.context(format!("making the network {:?}", network.name));
            return Err(match self.finish_network_removal(&network) {
                Ok(()) => error,
                Err(more) => error.context(format!("and undoing it failed: {more}")),
            });
        }
        self.store.flush()?;
        self.tell(&event(&network, "create"));
        Ok(network)
    }

    /// The network that containers are on unless they are told otherwise; made at its first use.
    pub(in crate::engine) fn network_default(&self) -> Result<Network> {
        let find = || self.store.read(|tx| named(tx, DEFAULT_NETWORK));
        if let Some(network) = find()? {
            return Ok(network);
        }
        let _lock = self.lock_networks()?;
        if let Some(network) = find()? {
            return Ok(network);
        }
        self.make_network(&NetworkOptions { name: DEFAULT_NETWORK.to_owned(), ..NetworkOptions::default() })
    }

    /// One network.
    ///
    /// # Errors
    /// `not_found`.
    pub fn network_get(&self, network: &str) -> Result<Network> {
        match network {
            DEFAULT_NETWORK | "default" => self.network_default(),
            "host" => self.predefined("host", Driver::Host),
            "none" => self.predefined("none", Driver::None),
            _ => {
                for one in [self.predefined("host", Driver::Host)?, self.predefined("none", Driver::None)?] {
                    if one.id.as_str() == network {
                        return Ok(one);
                    }
                }
                self.store.read(|tx| find(tx, network))
            }
        }
    }

    /// A network that was made, for what can only be done with those.
    fn network_made(&self, network: &str) -> Result<Network> {
        match network {
            "host" | "none" => Err(predefined(network)),
            _ => self.network_get(network),
        }
    }

    /// One network, with who is on it.
    ///
    /// # Errors
    /// `not_found`.
    pub fn network_inspect(&self, network: &str) -> Result<NetworkState> {
        let network = self.network_get(network)?;
        let endpoints = self.network_endpoints(&network.id)?;
        Ok(NetworkState { network, endpoints })
    }

    /// The matching networks, by name.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn network_list(&self, filter: &NetworkFilter) -> Result<Vec<Network>> {
        let rows = self.store.read(|tx| tx.list::<Network>(Noun::Network))?;
        let mut list: Vec<Network> = rows.into_iter().filter(|row| row.phase == Phase::Ready).map(with_name).collect();
        list.push(self.predefined("host", Driver::Host)?);
        list.push(self.predefined("none", Driver::None)?);
        list.retain(|network| options::suits(network, filter));
        if let Some(dangling) = filter.dangling {
            let mut kept = Vec::new();
            for network in list {
                let used = !self.network_users(&network.id)?.is_empty();
                if !network.is_predefined() && used != dangling {
                    kept.push(network);
                }
            }
            list = kept;
        }
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    fn predefined(&self, name: &str, driver: Driver) -> Result<Network> {
        let seed = format!("{name} {}", self.paths().root().display());
        Ok(Network {
            id: Id::parse(crate::base::Digest::of(seed.as_bytes()).hex())?,
            name: name.to_owned(),
            created: Timestamp::from_nanos(0),
            driver,
            subnets: Vec::new(),
            ipv6: false,
            internal: false,
            attachable: false,
            labels: Default::default(),
            options: Default::default(),
            link: String::new(),
        })
    }

    /// The ids of the containers that are connected to it, running or not.
    ///
    /// # Errors
    /// Troubles of the database.
    pub(in crate::engine) fn network_users(&self, id: &Id) -> Result<Vec<Id>> {
        self.store.read(|tx| users(tx, id.as_str()))
    }

    /// Gives a network another name, also while it is in use.
    ///
    /// # Errors
    /// `already_exists`, `invalid_argument`.
    pub fn network_rename(&self, network: &str, name: &str) -> Result<()> {
        options::check_name(name)?;
        if matches!(name, "host" | "none" | "default" | DEFAULT_NETWORK) {
            return Err(Error::already_exists(format!("the network {name:?} is predefined")));
        }
        failpoint::hit("network.rename.record")?;
        let (old, facts) = self.store.write(|tx| {
            let mut facts = find(tx, network)?;
            if facts.is_predefined() {
                return Err(predefined(&facts.name));
            }
            let old = std::mem::replace(&mut facts.name, name.to_owned());
            let id = facts.id.as_str();
            if tx.named(Noun::Network, name)?.is_some_and(|holder| holder != id) {
                return Err(Error::already_exists(format!("there is a network {name:?} already")));
            }
            tx.unname(Noun::Network, &old)?;
            tx.name(Noun::Network, name, id)?;
            tx.update(Noun::Network, id, &facts)?;
            Ok((old, facts))
        })?;
        self.store.flush()?;
        self.tell(&event(&facts, "rename").with("oldName", old));
        Ok(())
    }

    /// Removes a network. With `force` a missing one is no error.
    ///
    /// # Errors
    /// `conflict` when a container is connected to it.
    pub fn network_remove(&self, network: &str, force: bool) -> Result<()> {
        let network = match self.network_made(network) {
            Err(error) if force && error.kind() == Kind::NotFound => return Ok(()),
            found => found?,
        };
        if network.is_predefined() {
            return Err(predefined(&network.name));
        }
        let _lock = self.lock_networks()?;
        self.remove_network(&network)
    }

    fn remove_network(&self, network: &Network) -> Result<()> {
        let id = network.id.as_str();
        failpoint::hit("network.remove.phase")?;
        self.store.write(|tx| {
            if let Some(user) = users(tx, id)?.first() {
                let name = tx.names(Noun::Container, user.as_str())?.into_iter().next();
                let name = name.unwrap_or_else(|| user.short().to_owned());
                return Err(Error::conflict(format!(
                    "the network {:?} is used by the container {name:?}",
                    network.name
                ))
                .with_hint("disconnect or remove that container first"));
            }
            tx.unname(Noun::Network, &network.name)?;
            tx.set_phase(Noun::Network, id, Phase::Removing)
        })?;
        self.store.flush()?;
        self.finish_network_removal(network)?;
        self.tell(&event(network, "destroy"));
        Ok(())
    }

    /// Takes everything of a network away, the record last; the lock of all networks is held. Idempotent.
    fn finish_network_removal(&self, network: &Network) -> Result<()> {
        let id = network.id.as_str();
        // The rules leave out what is on its way out.
        self.store.write(|tx| match tx.phase(Noun::Network, id)? {
            Some(Phase::Creating | Phase::Ready) => tx.set_phase(Noun::Network, id, Phase::Removing),
            Some(Phase::Removing) | None => Ok(()),
        })?;
        failpoint::hit("network.remove.links")?;
        if network.driver == Driver::Bridge {
            self.network_bury(&network.id, Duration::ZERO)?;
            setup::remove_bridge(&network.link, self.group())?;
        } else {
            let others = self.store.read(|tx| tx.list::<Network>(Noun::Network))?;
            if !others.iter().any(|other| other.body.link == network.link && other.body.id != network.id) {
                setup::remove_parent(&network.link, self.parent_group())?;
            }
        }
        let folder = self.paths().network_run(&network.id);
        crate::sys::path::remove_tree(&folder)?;
        failpoint::hit("network.remove.rules")?;
        self.write_rules()?;
        failpoint::hit("network.remove.record")?;
        self.store.write(|tx| tx.delete(Noun::Network, id))?;
        Ok(())
    }

    /// Removes networks that no container is connected to, and clears up after containers that ended with nobody there to
    /// do it.
    ///
    /// # Errors
    /// `interrupted`, and when nothing can be listed; what could not be removed is in the report.
    pub fn network_prune(&self, filter: &PruneFilter) -> Result<PruneReport> {
        let mut report = PruneReport::default();
        self.network_sweep()?;
        for network in self.network_list(&NetworkFilter::default())? {
            self.check_interrupt()?;
            self.network_bury(&network.id, bury::PATIENCE)?;
            let fits = filter.fits(Some(network.created), &network.labels);
            if !fits
                || matches!(network.driver, Driver::Host | Driver::None)
                || network.labels.contains_key(OF_STEP)
                || !self.network_users(&network.id)?.is_empty()
            {
                continue;
            }
            let _lock = self.lock_networks()?;
            match self.remove_network(&network) {
                // A container was connected meanwhile.
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) => report.failures.push(format!("removing the network {:?}: {error}", network.name)),
                // The default one is there whenever somebody looks.
                Ok(()) if network.is_predefined() => {}
                Ok(()) => report.items.push(network.name),
            }
        }
        self.tell(&Event::new(NETWORK, "prune", "").with("reclaimed", 0));
        Ok(report)
    }

    /// The network of this name if it exists with the same options; made when it is missing.
    ///
    /// # Errors
    /// `conflict` with what differs; as create.
    pub fn network_ensure(&self, options: &NetworkOptions) -> Result<Network> {
        match self.network_create(options) {
            Err(error) if error.kind() == Kind::AlreadyExists => {}
            made => return made,
        }
        let found = self.network_get(&options.name)?;
        let mut differences = Vec::new();
        let mut compare = |what: &str, same: bool| {
            if !same {
                differences.push(what.to_owned());
            }
        };
        compare("driver", found.driver == options.driver);
        compare("internal", found.internal == options.internal);
        compare("labels", found.labels == options.labels);
        compare("options", found.options == options.options);
        let has = |wanted: &Subnet| found.subnets.iter().any(|subnet| subnet.subnet == wanted.subnet.trunc());
        compare("subnet", options.subnets.iter().all(has));
        match differences.is_empty() {
            true => Ok(found),
            false => Err(Error::conflict(format!(
                "the network {:?} exists with another {}",
                options.name,
                differences.join(", ")
            ))
            .with_hint("remove it first, or ask for what it has")),
        }
    }

    /// Undoes creations and finishes removals whose process died in the middle. Cheap when there is none.
    pub(in crate::engine) fn network_recover(&self) -> Result<()> {
        if self.store.read(|tx| tx.unfinished(Noun::Network))?.is_empty() {
            return Ok(());
        }
        // Somebody alive is at it.
        let Some(_lock) = self.try_lock_networks()? else { return Ok(()) };
        for (id, _) in self.store.read(|tx| tx.unfinished(Noun::Network))? {
            let row = self.store.read(|tx| tx.get::<Network>(Noun::Network, &id))?;
            if let Some(row) = row {
                // A later command's turn when something resists.
                let _ = self.finish_network_removal(&row.body);
            }
        }
        Ok(())
    }

    fn lock_networks(&self) -> Result<Lock> {
        self.lock_named("networks")
    }

    fn try_lock_networks(&self) -> Result<Option<Lock>> {
        self.try_lock_named("networks")
    }

    /// Who is on a network now, by name.
    fn network_endpoints(&self, id: &Id) -> Result<Vec<Endpoint>> {
        let mut list = self.endpoints_in(id)?;
        list.retain(|endpoint| self.is_up(&endpoint.container).unwrap_or(false));
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }
}

/// Two networks that would have the same interface.
fn clashes(one: &Network, other: &Network) -> bool {
    one.link == other.link && (one.driver == Driver::Bridge || other.driver == Driver::Bridge)
}

fn choose_subnets(
    options: &NetworkOptions,
    id: &Id,
    others: &[Row<Network>],
    routed: &[ipnet::IpNet],
) -> Result<Vec<Subnet>> {
    let mut subnets = Vec::new();
    let mut taken: Vec<ipnet::IpNet> = routed.to_vec();
    for other in others {
        taken.extend(other.body.subnets.iter().map(|subnet| subnet.subnet));
    }
    for wanted in &options.subnets {
        let subnet = ipam::complete(wanted.clone())?;
        // Several macvlan networks may be on the same wire.
        if options.driver == Driver::Bridge {
            let clash =
                |other: &&Row<Network>| other.body.subnets.iter().any(|one| ipam::overlap(&one.subnet, &subnet.subnet));
            if let Some(other) = others.iter().find(clash) {
                return Err(Error::conflict(format!(
                    "the subnet {} overlaps with that of the network {:?}",
                    subnet.subnet, other.body.name
                ))
                .with_hint("choose another subnet, or leave it out"));
            }
            if let Some(range) = routed.iter().find(|range| ipam::overlap(range, &subnet.subnet)) {
                return Err(Error::conflict(format!(
                    "the subnet {} overlaps with {range}, for which this host has a route",
                    subnet.subnet
                ))
                .with_hint("choose another subnet, or leave it out"));
            }
        }
        if subnets.iter().any(|one: &Subnet| ipam::overlap(&one.subnet, &subnet.subnet)) {
            return Err(Error::invalid(format!("the subnet {} overlaps with another one given", subnet.subnet)));
        }
        subnets.push(subnet);
    }
    let has = |v6: bool| options.subnets.iter().any(|subnet| subnet.subnet.addr().is_ipv6() == v6);
    if !has(false) && !options.no_ipv4 {
        if options.driver != Driver::Bridge && !has(true) {
            return Err(Error::invalid(format!("a {} network needs the subnet of its parent", options.driver))
                .with_hint("name it with the option subnet"));
        }
        if options.driver == Driver::Bridge {
            subnets.insert(0, ipam::complete(Subnet::of(ipam::choose_subnet(&taken)?))?);
        }
    }
    if options.ipv6 && !has(true) {
        subnets.push(ipam::complete(Subnet::of(ipam::unique_local(id.as_str())))?);
    }
    if subnets.is_empty() {
        return Err(Error::invalid("a network needs addresses of IPv4 or IPv6"));
    }
    Ok(subnets)
}

fn with_name(row: Row<Network>) -> Network {
    Network { name: row.names.into_iter().next().unwrap_or(row.body.name), ..row.body }
}

fn named(tx: &Tx<'_>, name: &str) -> Result<Option<Network>> {
    let Some(id) = tx.named(Noun::Network, name)? else { return Ok(None) };
    Ok(tx.get::<Network>(Noun::Network, &id)?.filter(|row| row.phase == Phase::Ready).map(with_name))
}

/// What a user wrote, to a network that is whole.
pub(in crate::engine) fn find(tx: &Tx<'_>, text: &str) -> Result<Network> {
    let id = tx.find(Noun::Network, text)?;
    let row = tx.get::<Network>(Noun::Network, &id)?.filter(|row| row.phase == Phase::Ready);
    row.map(with_name).ok_or_else(|| {
        let shown: String = text.chars().take(300).collect();
        Error::not_found(format!("no such network {shown:?}"))
    })
}

fn users(tx: &Tx<'_>, id: &str) -> Result<Vec<Id>> {
    let users = tx.users((Noun::Network, id))?;
    users.into_iter().filter(|(noun, _)| *noun == Noun::Container).map(|(_, id)| Id::parse(&id)).collect()
}

fn predefined(name: &str) -> Error {
    Error::conflict(format!("the network {name:?} is predefined and cannot be changed or removed"))
}

fn event(network: &Network, action: &str) -> Event {
    Event::new(NETWORK, action, network.id.as_str()).with("name", &network.name).with("type", network.driver.as_str())
}

impl Engine {
    /// Tells that a container was connected or disconnected.
    pub(in crate::engine) fn tell_of_network(&self, network: &Network, container: &Id, action: &str) {
        self.tell(&event(network, action).with("container", container.as_str()));
    }
}
