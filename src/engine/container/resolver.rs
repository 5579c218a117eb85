//! What a container's resolver is told: which networks' names it answers, and who is asked for everything else.
//!
//! ```text
//! <run>/containers/<id>/names.json     made when the container joins a network with names; the monitor then has a resolver
//! <run>/networks/<network id>/…        who is there: endpoints, which the resolver reads by itself
//! ```

use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::base::{Context as _, Error, Id, Kind, Result};
use crate::engine::Engine;
use crate::engine::container::files;
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
    /// Once it has started, those that ended are left out.
    ///
    /// # Errors
    /// `conflict` at its start for one that does not run there.
    pub(super) fn linked(&self, endpoints: &[Endpoint], starts: bool) -> Result<Vec<(IpAddr, String)>> {
        let mut lines = Vec::new();
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.links.is_empty()) {
            if self.network_get(endpoint.network.as_str())?.has_names() {
                continue;
            }
            for (container, alias) in &endpoint.links {
                let target = match self.container_find(container) {
                    Err(error) if error.kind() == Kind::NotFound && !starts => continue,
                    found => found?,
                };
                self.note_link(&endpoint.network, &target.id, &endpoint.container)?;
                // What one that ended had may not have been given back yet.
                let there = match self.container_life(&target.id)? {
                    Life::Alive(_) => self.network_endpoint(&endpoint.network, &target.id)?,
                    _ => None,
                };
                match there.as_ref().and_then(address) {
                    Some(address) => lines.push((address, line_of_link(alias, &target.id, &target.name))),
                    None if !starts => {}
                    None => {
                        let text = format!("the linked container {container:?} does not run on the same network");
                        return Err(Error::conflict(text)
                            .with_hint("start it first, or use a network of your own, where names are resolved"));
                    }
                }
            }
        }
        Ok(lines)
    }

    /// Tells those that are linked to a container where names are not resolved which address it has from now on.
    ///
    /// # Errors
    /// What reading endpoints and writing their files gives.
    pub(super) fn tell_linked(&self, id: &Id, endpoints: &[Endpoint]) -> Result<()> {
        for endpoint in endpoints {
            let Some(address) = address(endpoint) else { continue };
            if self.network_get(endpoint.network.as_str())?.has_names() {
                continue;
            }
            for other in self.network_linked(&endpoint.network, id)? {
                let path = self.paths().container(&other.container).join("hosts");
                // In place, since it is mounted; the container may have written what it likes.
                let file = std::fs::File::open(&path).context(|| format!("reading {path:?}"))?;
                let mut text = Vec::new();
                file.take(files::MAX_HOSTS).read_to_end(&mut text).context(|| format!("reading {path:?}"))?;
                let mut text = String::from_utf8_lossy(&text).into_owned();
                let is_meant = |name: &String| self.container_find(name).is_ok_and(|found| found.id == *id);
                for (_, alias) in other.links.iter().filter(|(container, _)| is_meant(container)) {
                    let names = line_of_link(alias, id, &endpoint.name);
                    text = files::with_link(&text, address, alias, id.short(), &names);
                }
                std::fs::write(&path, text).context(|| format!("writing {path:?}"))?;
            }
        }
        Ok(())
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

fn address(endpoint: &Endpoint) -> Option<IpAddr> {
    endpoint.ip.map(IpAddr::V4).or(endpoint.ip6.map(IpAddr::V6))
}

/// The names of a linked container in hosts(5).
fn line_of_link(alias: &str, id: &Id, name: &str) -> String {
    let mut names = vec![alias, id.short(), name];
    names.dedup();
    names.join(" ")
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
