//! What a container's resolver is told: which networks' names it answers, and who is asked for everything else.
//!
//! ```text
//! <run>/containers/<id>/names.json     made when the container joins a network with names; the monitor then has a resolver
//! <run>/networks/<network id>/…        who is there: endpoints, which the resolver reads by itself
//! ```

use std::net::IpAddr;
use std::path::PathBuf;

use crate::base::{Context as _, Error, Id, Result};
use crate::engine::Engine;
use crate::model::container::{ContainerOptions, ContainerRecord};
use crate::model::names::{Link, Names, VERSION, Zone};
use crate::model::network::Endpoint;
use crate::runtime::monitor::names::FILE;
use crate::runtime::state::{self, Life};

/// Where the host says whom it asks.
const HOST: &str = "/etc/resolv.conf";
/// Where systemd-resolved says whom it asks, when the host asks only that.
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// Where systemd-resolved answers.
const RESOLVED: &str = "127.0.0.53";

impl Engine {
    /// Writes what the resolver of a container with these endpoints is to know. Tells whether it has one: it has when one
    /// of its networks has names, and keeps it when it leaves that.
    ///
    /// # Errors
    /// What reading networks and writing the file gives.
    pub(super) fn write_names(&self, record: &ContainerRecord, endpoints: &[Endpoint]) -> Result<bool> {
        let path = self.paths().container_run(&record.id).join(FILE);
        let (mut zones, mut links, mut forward) = (Vec::new(), Vec::new(), false);
        for endpoint in endpoints {
            let network = self.network_get(endpoint.network.as_str())?;
            forward |= !network.internal;
            if network.has_names() {
                zones.push(Zone { network: network.name, folder: self.paths().network_run(&endpoint.network) });
                for (container, alias) in &endpoint.links {
                    links.extend(self.link_to(container, alias));
                }
            }
        }
        if zones.is_empty() && !path.exists() {
            return Ok(false);
        }
        let options = &record.options;
        let names = Names {
            version: VERSION,
            zones,
            links,
            forward,
            servers: servers(options)?,
            resolv_conf: PathBuf::from(HOST),
            ndots: sets_ndots(options),
        };
        state::write_json(&path, &names, false).context(|| "telling the resolver its names")?;
        Ok(true)
    }

    /// The addresses and names of the containers that one is linked to where names are not resolved: the default network.
    ///
    /// # Errors
    /// `conflict` for one that does not run there.
    pub(super) fn linked(&self, endpoints: &[Endpoint]) -> Result<Vec<(IpAddr, String)>> {
        let mut lines = Vec::new();
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.links.is_empty()) {
            if self.network_get(endpoint.network.as_str())?.has_names() {
                continue;
            }
            for (container, alias) in &endpoint.links {
                let target = self.container_find(container)?;
                // What one that ended had may not have been given back yet.
                let there = match self.container_life(&target.id)? {
                    Life::Alive(_) => self.network_endpoint(&endpoint.network, &target.id)?,
                    _ => None,
                };
                let address = there.as_ref().and_then(|one| one.ip.map(IpAddr::V4).or(one.ip6.map(IpAddr::V6)));
                let address = address.ok_or_else(|| {
                    Error::conflict(format!("the linked container {container:?} does not run on the same network"))
                        .with_hint("start it first, or use a network of your own, where names are resolved")
                })?;
                let mut names = vec![alias.as_str(), target.id.short(), &target.name];
                names.dedup();
                lines.push((address, names.join(" ")));
            }
        }
        Ok(lines)
    }

    /// A container that is gone has no addresses, and its name is nobody's.
    fn link_to(&self, container: &str, alias: &str) -> Option<Link> {
        let target = self.container_find(container).ok()?.id.to_string();
        Some(Link { alias: alias.to_owned(), target })
    }

    /// Brings the names of running containers up to date with a container's new name.
    ///
    /// # Errors
    /// What reading and writing its endpoints gives.
    pub(super) fn rename_endpoints(&self, id: &Id, name: &str) -> Result<()> {
        for endpoint in self.network_endpoints_of(id)? {
            self.write_endpoint(&Endpoint { name: name.to_owned(), ..endpoint })?;
        }
        Ok(())
    }
}

/// The user said how many dots make a name a full one.
pub(super) fn sets_ndots(options: &ContainerOptions) -> bool {
    options.dns_options.iter().any(|option| option.starts_with("ndots:"))
}

/// The host's resolv.conf(5); where that only names systemd-resolved, the one behind it, as Docker.
pub(super) fn of_host() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok(); // a host may have none: an empty one
    let own = read(HOST).unwrap_or_default();
    let mut servers = own.lines().filter_map(|line| line.trim_start().strip_prefix("nameserver"));
    match servers.next().is_some_and(|server| server.trim() == RESOLVED) && servers.next().is_none() {
        true => read(BEHIND_RESOLVED).unwrap_or(own),
        false => own,
    }
}

fn servers(options: &ContainerOptions) -> Result<Vec<IpAddr>> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            Error::invalid(format!("{text:?} is not the address of a name server")).with_hint("such as 1.1.1.1")
        })
    };
    options.dns.iter().map(parse).collect()
}
