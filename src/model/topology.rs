//! Who is on which networks, who reaches whom, and what is published: a picture of networks as data.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::base::Id;
use crate::model::network::{Driver, PortBinding};

/// Networks, and the containers that are connected to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The networks, by name.
    pub segments: Vec<Segment>,
    /// The containers, by name.
    pub hosts: Vec<Host>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its identity.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// How it connects its containers.
    pub driver: Driver,
    /// Its ranges of addresses.
    pub subnets: Vec<IpNet>,
    /// No way out and none in.
    pub internal: bool,
    /// Its containers reach each other.
    pub icc: bool,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its identity.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// It runs, and has its addresses.
    pub is_up: bool,
    /// It has a way out, by one of these networks or by another one.
    pub leads_out: bool,
    /// Where it is.
    pub feet: Vec<Foot>,
    /// What it publishes.
    pub ports: Vec<PortBinding>,
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foot {
    /// The index of the network.
    pub segment: usize,
    /// Its addresses there; none while it does not run.
    pub addresses: Vec<IpAddr>,
    /// Its further names there.
    pub aliases: Vec<String>,
}

impl Topology {
    /// The indices of the containers that one reaches, by a network that both are on.
    pub fn reached_from(&self, host: usize) -> Vec<usize> {
        let from = &self.hosts[host];
        let meets = |other: &Host| {
            let shared = |foot: &Foot| other.feet.iter().any(|one| one.segment == foot.segment);
            from.feet.iter().any(|foot| self.segments[foot.segment].icc && shared(foot))
        };
        let others = self.hosts.iter().enumerate().filter(|(index, other)| *index != host && other.is_up);
        others.filter(|(_, other)| from.is_up && meets(other)).map(|(index, _)| index).collect()
    }

    /// The containers on a network, with their places there.
    pub fn members(&self, segment: usize) -> impl Iterator<Item = (&Host, &Foot)> {
        self.hosts.iter().flat_map(move |host| {
            host.feet.iter().filter(move |foot| foot.segment == segment).map(move |foot| (host, foot))
        })
    }
}
