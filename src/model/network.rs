//! Networks: the options that make one, its durable record, how a container is attached to it, and the live facts.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::base::{Id, Timestamp};

/// The network that a container is on unless it is told otherwise; made at its first use.
pub const DEFAULT_NETWORK: &str = "bridge";

/// The label of a network that a step of a build has with its services: it goes with the step, and a prune leaves it.
pub const OF_STEP: &str = "rhumb.build.step";

/// How a network connects its containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// A bridge on this host, with translated addresses to the outside.
    #[default]
    Bridge,
    /// Interfaces with addresses of their own on the network of a parent interface.
    Macvlan,
    /// As macvlan, with the parent's hardware address.
    Ipvlan,
    /// The host's own network: predefined, there is nothing to make.
    Host,
    /// No network: predefined.
    None,
}

impl Driver {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Macvlan => "macvlan",
            Driver::Ipvlan => "ipvlan",
            Driver::Host => "host",
            Driver::None => "null",
        }
    }
}

impl std::fmt::Display for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One range of addresses of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The range.
    pub subnet: IpNet,
    /// Where addresses are chosen from; none is all of the subnet.
    #[serde(default)]
    pub ip_range: Option<IpNet>,
    /// The gateway's address; none in options is the first one.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Addresses that others have, by name.
    #[serde(default)]
    pub aux: BTreeMap<String, IpAddr>,
}

impl Subnet {
    /// A range with nothing said about it.
    pub fn of(subnet: IpNet) -> Subnet {
        Subnet { subnet, ip_range: None, gateway: None, aux: BTreeMap::new() }
    }
}

/// What a new network shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkOptions {
    /// The name.
    pub name: String,
    /// The driver.
    pub driver: Driver,
    /// Its ranges of addresses; none takes a free one of the default pools.
    pub subnets: Vec<Subnet>,
    /// It has IPv6 addresses; with no range of them given, a unique local one is made.
    pub ipv6: bool,
    /// It has IPv4 addresses: all have but those that say no.
    pub no_ipv4: bool,
    /// No way out of it and none in.
    pub internal: bool,
    /// Docker's word for swarms: kept, without an effect.
    pub attachable: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver, as Docker spells them: `com.docker.network.bridge.name`, `parent`, …
    pub options: BTreeMap<String, String>,
}

/// The durable record of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its identity.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The driver.
    pub driver: Driver,
    /// Its ranges of addresses, each with its gateway.
    pub subnets: Vec<Subnet>,
    /// It has IPv6 addresses.
    #[serde(default)]
    pub ipv6: bool,
    /// No way out of it and none in.
    #[serde(default)]
    pub internal: bool,
    /// Docker's word for swarms.
    #[serde(default)]
    pub attachable: bool,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The name of its bridge, or of the parent interface.
    pub link: String,
}

impl Network {
    /// One that is there without being made.
    pub fn is_predefined(&self) -> bool {
        matches!(self.driver, Driver::Host | Driver::None) || self.name == DEFAULT_NETWORK
    }

    /// The first range of IPv4, or of IPv6.
    pub fn subnet(&self, v6: bool) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet.addr().is_ipv6() == v6)
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        match self.options.get(key).map(String::as_str) {
            Some("true" | "1") => true,
            Some("false" | "0") => false,
            _ => default,
        }
    }

    /// Its containers may talk to each other.
    pub fn icc(&self) -> bool {
        self.flag("com.docker.network.bridge.enable_icc", true)
    }

    /// What leaves it has the host's address.
    pub fn masquerades(&self) -> bool {
        !self.internal && self.flag("com.docker.network.bridge.enable_ip_masquerade", true)
    }

    /// The largest packet.
    pub fn mtu(&self) -> Option<u32> {
        self.options.get("com.docker.network.driver.mtu").and_then(|text| text.parse().ok())
    }

    /// Where ports are published when nothing else is said.
    pub fn publish_ip(&self) -> Option<IpAddr> {
        self.options.get("com.docker.network.bridge.host_binding_ipv4").and_then(|text| text.parse().ok())
    }

    /// Names are resolved on it: on all but the default one, as with Docker.
    pub fn has_names(&self) -> bool {
        self.name != DEFAULT_NETWORK
    }
}

/// Which networks a listing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFilter {
    /// Parts of names.
    pub name: Vec<String>,
    /// Beginnings of ids.
    pub id: Vec<String>,
    /// `key` or `key=value`.
    pub label: Vec<String>,
    /// Drivers.
    pub driver: Vec<String>,
    /// With no container on them, or with some.
    pub dangling: Option<bool>,
    /// Predefined ones, or those that were made.
    pub builtin: Option<bool>,
}

/// How a container is attached to a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attachment {
    /// The network's name or id (its id in records).
    pub network: String,
    /// Further names of the container there.
    pub aliases: Vec<String>,
    /// Its address; none chooses a free one.
    pub ip: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// Its hardware address, `02:42:…`.
    pub mac: Option<String>,
    /// Names that it has for other containers there: container, name.
    pub links: Vec<(String, String)>,
    /// The network with the highest one has the default route.
    pub priority: i32,
    /// The name of the interface; none is `eth0`, `eth1`, …
    pub interface: Option<String>,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
}

impl Attachment {
    /// To this network, with nothing said about it.
    pub fn to(network: impl Into<String>) -> Attachment {
        Attachment { network: network.into(), ..Attachment::default() }
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The protocol of this word.
    pub fn from_name(name: &str) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|one| one.as_str() == name)
    }

    /// Its number in IP headers.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port that is to be reached from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The port in the container.
    pub container_port: u16,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// The host's address; none is every one.
    #[serde(default)]
    pub host_ip: Option<IpAddr>,
    /// The host's ports to choose from, first and last; none is any free one.
    #[serde(default)]
    pub host_ports: Option<(u16, u16)>,
}

/// A port as it is published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortBinding {
    /// The port in the container.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The host's address; unspecified is every one.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
}

/// A container on a network, as it is now. Kept in the run directory, one file each:
/// `<run>/networks/<network id>/<container id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network.
    pub network: Id,
    /// The container.
    pub container: Id,
    /// Its name when it was connected.
    pub name: String,
    /// Its host name.
    pub hostname: String,
    /// Further names on this network.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Names that it alone has for others here: container, name.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// The interface in the container.
    pub interface: String,
    /// The interface on the host, for a bridge.
    pub link: String,
    /// The hardware address; empty when the driver gives it.
    pub mac: String,
    /// IPv4 address, with the length of the subnet's prefix, and the gateway.
    #[serde(default)]
    pub ip: Option<Ipv4Addr>,
    /// The length of the IPv4 prefix.
    #[serde(default)]
    pub prefix: u8,
    /// The gateway.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// IPv6 address.
    #[serde(default)]
    pub ip6: Option<Ipv6Addr>,
    /// The length of the IPv6 prefix.
    #[serde(default)]
    pub prefix6: u8,
    /// The IPv6 gateway.
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// The default route goes here.
    #[serde(default)]
    pub is_gateway: bool,
    /// What is published through this network.
    #[serde(default)]
    pub ports: Vec<PortBinding>,
}

/// A network with who is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkState {
    /// The network.
    pub network: Network,
    /// Who is on it now.
    pub endpoints: Vec<Endpoint>,
}
