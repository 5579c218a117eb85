//! A picture of networks: gathered from the records and from who is there, and drawn.
//!
//! ```text
//! mod    what there is now ─▶ Topology        tree   for a terminal, as wide as that is
//!                                             graph  Mermaid and DOT
//!                                             svg    containers as rows, networks as columns: nothing ever overlaps
//! ```

mod graph;
mod svg;
mod tree;

use std::collections::BTreeMap;

use crate::base::{Error, Id, Result};
use crate::engine::Engine;
use crate::model::network::{Driver, NetworkFilter, PortBinding};
use crate::model::topology::{Foot, Host, Segment, Topology};
use crate::store::db::Noun;

pub use self::graph::{dot, mermaid};
pub use self::svg::svg;
pub use self::tree::tree;

/// Ways to draw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawing {
    /// Text for a terminal of so many columns.
    Tree(usize),
    /// Mermaid's flow chart.
    Mermaid,
    /// Graphviz.
    Dot,
    /// An image.
    Svg,
}

impl Drawing {
    /// The drawing of this word: `tree`, `mermaid`, `dot` or `svg`.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn of_word(word: &str, width: usize) -> Result<Drawing> {
        match word {
            "tree" => Ok(Drawing::Tree(width)),
            "mermaid" => Ok(Drawing::Mermaid),
            "dot" => Ok(Drawing::Dot),
            "svg" => Ok(Drawing::Svg),
            _ => Err(Error::invalid(format!("{word:?} is not a form of the picture"))
                .with_hint("there are tree, mermaid, dot, svg")),
        }
    }

    /// The drawing that a file's name asks for.
    ///
    /// # Errors
    /// `invalid_argument` for an ending that means none.
    pub fn of_path(path: &str) -> Result<Drawing> {
        match std::path::Path::new(path).extension().and_then(|ending| ending.to_str()) {
            Some("txt") => Ok(Drawing::Tree(FILE_WIDTH)),
            Some("mmd" | "mermaid") => Ok(Drawing::Mermaid),
            Some("dot" | "gv") => Ok(Drawing::Dot),
            Some("svg") => Ok(Drawing::Svg),
            _ => Err(Error::invalid(format!("the name {path:?} does not say which picture it shall be"))
                .with_hint("end it with .svg, .dot, .mmd or .txt")),
        }
    }
}

/// The columns of a tree in a file.
const FILE_WIDTH: usize = 100;

/// Draws it; the text ends with a newline.
pub fn draw(topology: &Topology, drawing: Drawing) -> String {
    match drawing {
        Drawing::Tree(width) => tree(topology, width),
        Drawing::Mermaid => mermaid(topology),
        Drawing::Dot => dot(topology),
        Drawing::Svg => svg(topology),
    }
}

impl Engine {
    /// Who is on these networks, and what leads where; of all that containers can be connected to when none is named.
    ///
    /// # Errors
    /// `not_found`.
    pub fn network_topology(&self, networks: &[String]) -> Result<Topology> {
        let mut chosen = match networks {
            [] => self.network_list(&NetworkFilter::default())?,
            named => named.iter().map(|network| self.network_get(network)).collect::<Result<_>>()?,
        };
        chosen.retain(|network| !matches!(network.driver, Driver::Host | Driver::None));
        chosen.sort_by(|a, b| a.name.cmp(&b.name));
        chosen.dedup_by(|a, b| a.id == b.id);
        let mut feet: BTreeMap<Id, Vec<Foot>> = BTreeMap::new();
        for (segment, network) in chosen.iter().enumerate() {
            for id in self.network_users(&network.id)? {
                let endpoint = if self.is_up(&id)? { self.network_endpoint(&network.id, &id)? } else { None };
                let foot = match endpoint {
                    None => Foot { segment, addresses: Vec::new(), aliases: Vec::new() },
                    Some(one) => {
                        let addresses = one.ip.map(Into::into).into_iter().chain(one.ip6.map(Into::into)).collect();
                        Foot { segment, addresses, aliases: one.aliases }
                    }
                };
                feet.entry(id).or_default().push(foot);
            }
        }
        let hosts = feet.into_iter().map(|(id, feet)| self.topology_host(id, feet)).collect::<Result<Vec<Host>>>();
        let mut hosts = hosts?;
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        let segments = chosen.into_iter().map(|network| Segment {
            icc: network.icc(),
            id: network.id,
            name: network.name,
            driver: network.driver,
            subnets: network.subnets.iter().map(|subnet| subnet.subnet).collect(),
            internal: network.internal,
        });
        Ok(Topology { segments: segments.collect(), hosts })
    }

    fn topology_host(&self, id: Id, feet: Vec<Foot>) -> Result<Host> {
        let name = self.store.read(|tx| tx.names(Noun::Container, id.as_str()))?.into_iter().next();
        let endpoints = if self.is_up(&id)? { self.network_endpoints_of(&id)? } else { Vec::new() };
        let out =
            |one: &crate::model::network::Endpoint| one.is_gateway && (one.gateway.is_some() || one.gateway6.is_some());
        let mut ports: Vec<PortBinding> = endpoints.iter().flat_map(|one| one.ports.clone()).collect();
        ports.sort();
        Ok(Host {
            name: name.unwrap_or_else(|| id.short().to_owned()),
            is_up: !endpoints.is_empty(),
            leads_out: endpoints.iter().any(out),
            feet,
            ports,
            id,
        })
    }
}

/// `127.0.0.1:8080`, `[::1]:8080`; every address of the host is a star.
fn place(port: &PortBinding) -> String {
    match port.host_ip.is_unspecified() {
        true if port.host_ip.is_ipv6() => format!("[*]:{}", port.host_port),
        true => format!("*:{}", port.host_port),
        false => std::net::SocketAddr::new(port.host_ip, port.host_port).to_string(),
    }
}

/// `8000/tcp`.
fn target(port: &PortBinding) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

/// The ranges of a network in one text.
fn ranges(segment: &Segment) -> String {
    segment.subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The picture of the documentation: a foot in both, and one that does not run.
    pub(super) fn sample() -> Topology {
        let id = |text: &str| Id::parse(crate::base::Digest::of(text.as_bytes()).hex()).unwrap();
        let segment = |name: &str, subnet: &str, internal| Segment {
            id: id(name),
            name: name.to_owned(),
            driver: Driver::Bridge,
            subnets: vec![subnet.parse().unwrap()],
            internal,
            icc: true,
        };
        let foot = |segment, address: &str, alias: &[&str]| Foot {
            segment,
            addresses: address.parse().into_iter().collect(),
            aliases: alias.iter().map(|name| (*name).to_owned()).collect(),
        };
        let host = |name: &str, leads_out, feet, ports| Host {
            id: id(name),
            name: name.to_owned(),
            is_up: true,
            leads_out,
            feet,
            ports,
        };
        let port = |ip: &str, host_port| PortBinding {
            container_port: 8000,
            protocol: Default::default(),
            host_ip: ip.parse().unwrap(),
            host_port,
        };
        let mut idle = host("idle", false, vec![foot(0, "", &[])], Vec::new());
        idle.is_up = false;
        Topology {
            segments: vec![segment("back", "10.20.0.0/24", true), segment("front", "10.10.0.0/24", false)],
            hosts: vec![
                host("api", true, vec![foot(0, "10.20.0.3", &[]), foot(1, "10.10.0.2", &["backend"])], Vec::new()),
                host("db", false, vec![foot(0, "10.20.0.2", &[])], Vec::new()),
                idle,
                host(
                    "web",
                    true,
                    vec![foot(1, "10.10.0.3", &[])],
                    vec![port("127.0.0.1", 18080), port("0.0.0.0", 80), port("::", 80)],
                ),
            ],
        }
    }

    #[test]
    fn who_shares_a_network_is_reached_unless_it_keeps_its_containers_apart() {
        let mut topology = sample();
        assert_eq!(topology.reached_from(0), [1, 3]);
        assert_eq!(topology.reached_from(3), [0]);
        assert_eq!(topology.reached_from(2), [0; 0]);
        topology.segments[1].icc = false;
        assert_eq!(topology.reached_from(3), [0; 0]);
    }

    #[test]
    fn the_name_of_a_file_says_which_picture() {
        assert_eq!(Drawing::of_path("a/net.svg").unwrap(), Drawing::Svg);
        assert_eq!(Drawing::of_path("net.gv").unwrap(), Drawing::Dot);
        assert!(Drawing::of_path("svg").is_err() && Drawing::of_word("png", 80).is_err());
    }
}
