//! Networks in Docker's words: the notations of `--network`, `--publish`, `--link`, and the JSON of `inspect`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::base::{Error, Result};
use crate::docker::format::{Listing, Row};
use crate::docker::words::comma_fields;
use crate::model::container::{Container, ContainerOptions, NetworkMode};
use crate::model::network::{
    Attachment, DEFAULT_NETWORK, Driver, Endpoint, Network, NetworkState, PortBinding, Protocol, Publish, Subnet,
};

/// The widest range of ports in one notation.
const MAX_RANGE: u16 = 4096;

/// Reads `--network`: a name, `none`, `host`, `container:NAME`, or the long form `name=NET,alias=A,ip=…`.
///
/// # Errors
/// `invalid_argument`.
pub fn attachment(text: &str) -> Result<Attachment> {
    if text.is_empty() {
        return Err(Error::invalid("the network is empty").with_hint("use a network, none, host or container:NAME"));
    }
    if text == "container:" {
        return Err(Error::invalid(format!("{text:?} names no container")));
    }
    if text.starts_with("service:") {
        return Err(Error::unsupported(format!("{text:?} names a service")).with_hint("write container:NAME"));
    }
    if !text.contains('=') {
        return Ok(Attachment::to(text));
    }
    let mut one = Attachment::default();
    for field in comma_fields(text)? {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        if value.is_empty() {
            return Err(Error::invalid(format!("the field {field:?} of a network has no value")));
        }
        set(&mut one, key, value)?;
    }
    if one.network.is_empty() {
        return Err(Error::invalid(format!("{text:?} names no network")).with_hint("write name=NETWORK"));
    }
    Ok(one)
}

/// Sets one field of an attachment.
///
/// # Errors
/// `invalid_argument` for an unknown one or a wrong value.
pub fn set(one: &mut Attachment, key: &str, value: &str) -> Result<()> {
    match key {
        "name" => one.network = value.to_owned(),
        "alias" | "aliases" => one.aliases.push(alias(value)?),
        "ip" | "ipv4_address" => one.ip = Some(ip4(value)?),
        "ip6" | "ipv6_address" => one.ip6 = Some(ip6(value)?),
        "mac-address" | "mac_address" => one.mac = Some(value.to_owned()),
        "gw-priority" | "gw_priority" | "priority" => {
            one.priority = value.parse().map_err(|_| Error::invalid(format!("{value:?} is not a number")))?;
        }
        "link" => one.links.push(link(value)?),
        "interface" | "interface_name" => one.interface = Some(interface(value)?),
        "driver-opt" | "driver_opts" => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            if name == "com.docker.network.endpoint.ifname" {
                one.interface = Some(interface(value)?);
            }
            one.driver_opts.insert(name.to_owned(), value.to_owned());
        }
        "link-local-ip" | "link_local_ips" => {
            return Err(Error::unsupported("addresses of the link alone are not built yet"));
        }
        _ => {
            let known = ["name", "alias", "ip", "ip6", "mac-address", "gw-priority", "link", "driver-opt"];
            let error = Error::invalid(format!("unknown field {key:?} of a network"));
            return Err(match crate::base::suggest::hint(key, known) {
                Some(hint) => error.with_hint(hint),
                None => error.with_hint(format!("known are {}", known.join(", "))),
            });
        }
    }
    Ok(())
}

fn interface(text: &str) -> Result<String> {
    let fine = !text.is_empty()
        && text.len() <= 15
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        && !matches!(text, "." | ".." | "lo" | "all" | "default");
    if fine { Ok(text.to_owned()) } else { Err(Error::invalid(format!("{text:?} is not a name for an interface"))) }
}

/// A name that a resolver can be asked for.
///
/// # Errors
/// `invalid_argument`.
pub fn alias(text: &str) -> Result<String> {
    let fine = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if fine { Ok(text.to_owned()) } else { Err(Error::invalid(format!("{text:?} is not a name for the network"))) }
}

/// An IPv4 address.
///
/// # Errors
/// `invalid_argument`.
pub fn ip4(text: &str) -> Result<Ipv4Addr> {
    text.parse().map_err(|_| Error::invalid(format!("{text:?} is not an IPv4 address")))
}

/// An IPv6 address.
///
/// # Errors
/// `invalid_argument`.
pub fn ip6(text: &str) -> Result<Ipv6Addr> {
    text.parse().map_err(|_| Error::invalid(format!("{text:?} is not an IPv6 address")))
}

/// Reads `--link`: `CONTAINER` or `CONTAINER:NAME`.
///
/// # Errors
/// `invalid_argument`.
pub fn link(text: &str) -> Result<(String, String)> {
    let (container, name) = text.split_once(':').unwrap_or((text, text));
    if container.is_empty() {
        return Err(
            Error::invalid(format!("{text:?} names no container")).with_hint("write CONTAINER or CONTAINER:NAME")
        );
    }
    Ok((container.trim_start_matches('/').to_owned(), alias(name)?))
}

/// Reads a driver's name.
///
/// # Errors
/// `unsupported`, for overlay and for plugins.
pub fn driver(text: &str) -> Result<Driver> {
    let known = [Driver::Bridge, Driver::Macvlan, Driver::Ipvlan, Driver::Host, Driver::None];
    known.into_iter().find(|driver| driver.as_str() == text).ok_or_else(|| {
        let shown: String = text.chars().take(100).collect();
        let error = Error::unsupported(format!("no network driver {shown:?}"));
        let hint = crate::base::suggest::hint(text, ["bridge", "macvlan", "ipvlan"]);
        error.with_hint(hint.unwrap_or_else(|| "there are bridge, macvlan and ipvlan".to_owned()))
    })
}

/// Reads ranges of addresses and what belongs to each: Docker gives every address to the subnet that it is in.
///
/// # Errors
/// `invalid_argument`.
pub fn subnets(subnets: &[String], ranges: &[String], gateways: &[String], aux: &[String]) -> Result<Vec<Subnet>> {
    let range = |text: &String| -> Result<IpNet> {
        text.trim().parse().map_err(|_| {
            Error::invalid(format!("{text:?} is not a range of addresses")).with_hint("write it as 10.1.0.0/24")
        })
    };
    let address = |text: &str| -> Result<IpAddr> {
        text.parse().map_err(|_| Error::invalid(format!("{text:?} is not an IP address")))
    };
    let mut list: Vec<Subnet> = Vec::new();
    for text in subnets {
        let subnet = range(text)?;
        if list.iter().any(|other| other.subnet.contains(&subnet.network()) || subnet.contains(&other.subnet.network()))
        {
            return Err(Error::invalid(format!("the subnet {subnet} overlaps with another one given")));
        }
        list.push(Subnet::of(subnet));
    }
    fn home<'a>(list: &'a mut [Subnet], ip: &IpAddr, what: &str) -> Result<&'a mut Subnet> {
        list.iter_mut().find(|subnet| subnet.subnet.contains(ip)).ok_or_else(|| {
            Error::invalid(format!("no subnet given has the {what} {ip}")).with_hint("name the subnet, too")
        })
    }
    for text in ranges {
        let part = range(text)?;
        let subnet = home(&mut list, &part.network(), "range")?;
        if subnet.ip_range.replace(part).is_some() {
            return Err(Error::invalid(format!("the subnet {} has two ranges", subnet.subnet)));
        }
    }
    for text in gateways {
        let ip = address(text)?;
        let subnet = home(&mut list, &ip, "gateway")?;
        if subnet.gateway.replace(ip).is_some() {
            return Err(Error::invalid(format!("the subnet {} has two gateways", subnet.subnet)));
        }
    }
    for text in aux {
        let (name, ip) = text.split_once('=').ok_or_else(|| {
            Error::invalid(format!("{text:?} is not a reserved address")).with_hint("write name=address")
        })?;
        let ip = address(ip)?;
        home(&mut list, &ip, "address")?.aux.insert(name.to_owned(), ip);
    }
    Ok(list)
}

/// Reads `--publish`: `80`, `8080:80`, `127.0.0.1:8080:80/udp`, `8000-8010:80-90`, `[::1]:8080:80`.
///
/// # Errors
/// `invalid_argument`.
pub fn publish(text: &str) -> Result<Vec<Publish>> {
    let refuse = |why: &str| {
        Error::invalid(format!("{text:?} is not a port to publish: {why}"))
            .with_hint("write [[IP:]HOST:]PORT[/PROTOCOL], such as 127.0.0.1:8080:80")
    };
    let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = Protocol::from_name(&protocol.to_ascii_lowercase())
        .ok_or_else(|| refuse(&format!("there is no protocol {protocol:?}")))?;
    let (host, container) = match rest.rsplit_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, rest),
    };
    let (ip, host) = match host {
        None => (None, None),
        Some(host) => match host.rsplit_once(':') {
            Some((ip, host)) => {
                let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
                let address: IpAddr =
                    bare.parse().map_err(|_| refuse(&format!("{ip:?} is not an address of this host")))?;
                (Some(address), Some(host))
            }
            None => (None, Some(host)),
        },
    };
    let range = |text: &str| -> Result<(u16, u16)> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last && last - first < MAX_RANGE => Ok((first, last)),
            (Some(first), Some(last)) if first <= last => Err(refuse("the range is too wide")),
            (Some(_), Some(_)) => Err(refuse("the range is empty")),
            _ => Err(refuse(&format!("{text:?} is not a port"))),
        }
    };
    let (first, last) = range(container)?;
    let host = match host.filter(|host| !host.is_empty() && *host != "0") {
        Some(host) => Some(range(host)?),
        None => None,
    };
    if let Some((from, to)) = host
        && first != last
        && to - from != last - first
    {
        return Err(refuse("both ranges must be of the same length"));
    }
    let mut list = Vec::new();
    for (at, container_port) in (first..=last).enumerate() {
        let host_ports = match host {
            Some((from, _)) if first != last => Some((from + at as u16, from + at as u16)),
            other => other,
        };
        list.push(Publish { container_port, protocol, host_ip: ip, host_ports });
    }
    Ok(list)
}

/// What is said of a container's network beside its name.
#[derive(Debug, Default)]
pub struct Common {
    /// Further names.
    pub aliases: Vec<String>,
    /// The IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// The hardware address.
    pub mac: Option<String>,
    /// Names for others.
    pub links: Vec<(String, String)>,
}

impl Common {
    /// Says it of the first network; one that is `none`, `host` or another container's has no room for it.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn apply(self, options: &mut ContainerOptions) -> Result<()> {
        let special = |name: &str| matches!(name, "none" | "host") || name.starts_with("container:");
        let empty = self.aliases.is_empty()
            && self.ip.is_none()
            && self.ip6.is_none()
            && self.mac.is_none()
            && self.links.is_empty();
        if let Some(one) = options.networks.iter().find(|one| special(&one.network)) {
            if options.networks.len() > 1 {
                return Err(Error::invalid(format!("the network {:?} goes with no other one", one.network)));
            }
            if !empty {
                return Err(Error::invalid(format!("the network {:?} has no addresses and names", one.network)));
            }
            options.network_mode = match one.network.split_once(':') {
                Some((_, other)) => NetworkMode::Container(other.to_owned()),
                None if one.network == "host" => NetworkMode::Host,
                None => NetworkMode::None,
            };
            options.networks.clear();
            return Ok(());
        }
        if empty {
            return Ok(());
        }
        if options.networks.is_empty() {
            options.networks.push(Attachment::to(DEFAULT_NETWORK));
        }
        let one = &mut options.networks[0];
        for name in &self.aliases {
            one.aliases.push(alias(name)?);
        }
        one.ip = self.ip.or(one.ip);
        one.ip6 = self.ip6.or(one.ip6);
        one.mac = self.mac.or(one.mac.take());
        one.links.extend(self.links);
        Ok(())
    }
}

/// The JSON of `docker network inspect` for one network (Docker Engine API 1.43, `Network`).
pub fn inspect(state: &NetworkState) -> Value {
    let network = &state.network;
    let containers: Map<String, Value> = state
        .endpoints
        .iter()
        .map(|one| {
            let facts = json!({
                "Name": one.name,
                "EndpointID": endpoint_id(one),
                "MacAddress": one.mac,
                "IPv4Address": one.ip.map(|ip| format!("{ip}/{}", one.prefix)).unwrap_or_default(),
                "IPv6Address": one.ip6.map(|ip| format!("{ip}/{}", one.prefix6)).unwrap_or_default(),
            });
            (one.container.to_string(), facts)
        })
        .collect();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": network.driver.as_str(),
        "EnableIPv4": network.subnets.is_empty() || network.subnet(false).is_some(),
        "EnableIPv6": network.ipv6,
        "IPAM": { "Driver": "default", "Options": {}, "Config": ipam(network) },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": network.options,
        "Labels": network.labels,
    })
}

fn ipam(network: &Network) -> Vec<Value> {
    network
        .subnets
        .iter()
        .map(|one| {
            let mut config = json!({ "Subnet": one.subnet.to_string() });
            if let Some(range) = one.ip_range {
                config["IPRange"] = range.to_string().into();
            }
            if let Some(gateway) = one.gateway {
                config["Gateway"] = gateway.to_string().into();
            }
            if !one.aux.is_empty() {
                let aux: BTreeMap<&str, String> =
                    one.aux.iter().map(|(name, ip)| (name.as_str(), ip.to_string())).collect();
                config["AuxiliaryAddresses"] = json!(aux);
            }
            config
        })
        .collect()
}

/// `docker network ls`.
pub const LISTING: Listing = Listing {
    type_name: "*network.networkContext",
    columns: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    table: r"{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
    raw: Some(r"network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n"),
    quiet_wins: false,
};

/// A row of `docker network ls`.
pub fn list_row(network: &Network, no_trunc: bool) -> Row {
    let labels: Vec<String> = network.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let value = json!({
        "CreatedAt": crate::docker::container::date(network.created),
        "Driver": network.driver.as_str(),
        "ID": if no_trunc { network.id.as_str() } else { network.id.short() },
        "IPv4": (network.subnets.is_empty() || network.subnet(false).is_some()).to_string(),
        "IPv6": network.ipv6.to_string(),
        "Internal": network.internal.to_string(),
        "Labels": labels.join(","),
        "Name": network.name,
        "Scope": "local",
    });
    Row { value, labels: network.labels.clone() }
}

/// Docker has an identity for a container on a network; it follows from both.
fn endpoint_id(one: &Endpoint) -> String {
    crate::base::Digest::of(format!("{} {}", one.network, one.container).as_bytes()).hex().to_owned()
}

/// `NetworkSettings` of a container's `inspect`.
pub(super) fn settings(container: &Container) -> Value {
    let mut networks = Map::new();
    match container.record.options.network_mode {
        NetworkMode::Bridge => {
            for one in &container.state.networks {
                let attachment = &one.attachment;
                let mut facts = entry(one.id.as_str(), one.endpoint.as_ref());
                if attachment.ip.is_some() || attachment.ip6.is_some() {
                    let mut config = Map::new();
                    config.extend(attachment.ip.map(|ip| ("IPv4Address".to_owned(), json!(ip))));
                    config.extend(attachment.ip6.map(|ip| ("IPv6Address".to_owned(), json!(ip))));
                    facts["IPAMConfig"] = config.into();
                }
                if !attachment.aliases.is_empty() {
                    facts["Aliases"] = json!(attachment.aliases);
                }
                if !attachment.links.is_empty() {
                    let links = attachment.links.iter().map(|(container, name)| format!("{container}:{name}"));
                    facts["Links"] = links.collect::<Vec<_>>().into();
                }
                if !attachment.driver_opts.is_empty() {
                    facts["DriverOpts"] = json!(attachment.driver_opts);
                }
                facts["GwPriority"] = attachment.priority.into();
                if one.name != DEFAULT_NETWORK {
                    let mut names = vec![container.name.clone()];
                    names.extend(attachment.aliases.iter().cloned());
                    names.push(container.record.id.short().to_owned());
                    if !names.contains(&container.record.hostname) {
                        names.push(container.record.hostname.clone());
                    }
                    facts["DNSNames"] = json!(names);
                }
                networks.insert(one.name.clone(), facts);
            }
        }
        NetworkMode::None => drop(networks.insert("none".into(), entry("", None))),
        NetworkMode::Host => drop(networks.insert("host".into(), entry("", None))),
        NetworkMode::Container(_) => {}
    }
    // The outer fields are those of the default network alone, as with Docker.
    let default = container.state.networks.iter().find(|one| one.name == DEFAULT_NETWORK);
    let outer = entry("", default.and_then(|one| one.endpoint.as_ref()));
    json!({
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": ports(container),
        "SandboxKey": container.state.pid.map(|pid| format!("/proc/{pid}/ns/net")).unwrap_or_default(),
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": outer["EndpointID"],
        "Gateway": outer["Gateway"],
        "GlobalIPv6Address": outer["GlobalIPv6Address"],
        "GlobalIPv6PrefixLen": outer["GlobalIPv6PrefixLen"],
        "IPAddress": outer["IPAddress"],
        "IPPrefixLen": outer["IPPrefixLen"],
        "IPv6Gateway": outer["IPv6Gateway"],
        "MacAddress": outer["MacAddress"],
        "Networks": networks,
    })
}

fn entry(network: &str, endpoint: Option<&Endpoint>) -> Value {
    let text = |value: Option<String>| value.unwrap_or_default();
    json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": null,
        "NetworkID": network,
        "EndpointID": text(endpoint.map(endpoint_id)),
        "Gateway": text(endpoint.and_then(|one| one.gateway).map(|ip| ip.to_string())),
        "IPAddress": text(endpoint.and_then(|one| one.ip).map(|ip| ip.to_string())),
        "IPPrefixLen": endpoint.map_or(0, |one| one.prefix),
        "IPv6Gateway": text(endpoint.and_then(|one| one.gateway6).map(|ip| ip.to_string())),
        "GlobalIPv6Address": text(endpoint.and_then(|one| one.ip6).map(|ip| ip.to_string())),
        "GlobalIPv6PrefixLen": endpoint.map_or(0, |one| one.prefix6),
        "MacAddress": text(endpoint.map(|one| one.mac.clone())),
        "DriverOpts": null,
    })
}

/// What a container publishes now.
pub fn published(container: &Container) -> Vec<&PortBinding> {
    let endpoints = container.state.networks.iter().filter_map(|one| one.endpoint.as_ref());
    let mut all: Vec<&PortBinding> = endpoints.flat_map(|one| &one.ports).collect();
    all.sort();
    all
}

fn ports(container: &Container) -> Value {
    let mut ports = Map::new();
    if container.state.status.is_alive() && container.record.options.network_mode == NetworkMode::Bridge {
        for exposed in &container.record.exposed_ports {
            ports.insert(exposed.clone(), Value::Null);
        }
    }
    for one in published(container) {
        let key = format!("{}/{}", one.container_port, one.protocol);
        let binding = json!({ "HostIp": one.host_ip, "HostPort": one.host_port.to_string() });
        match ports.get_mut(&key) {
            Some(Value::Array(list)) => list.push(binding),
            _ => drop(ports.insert(key, json!([binding]))),
        }
    }
    ports.into()
}

/// `PortBindings` of the host configuration: what was asked for.
pub(super) fn port_bindings(publish: &[Publish]) -> Value {
    let mut ports = Map::new();
    for one in publish {
        let host = match one.host_ports {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        let ip = one.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let binding = json!({ "HostIp": ip, "HostPort": host });
        match ports.get_mut(&format!("{}/{}", one.container_port, one.protocol)) {
            Some(Value::Array(list)) => list.push(binding),
            _ => drop(ports.insert(format!("{}/{}", one.container_port, one.protocol), json!([binding]))),
        }
    }
    ports.into()
}

/// NETWORKS of `ps`.
pub(super) fn names(container: &Container) -> String {
    match container.record.options.network_mode {
        NetworkMode::Bridge => {
            container.state.networks.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(",")
        }
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(_) => String::new(),
    }
}

/// PORTS of `ps`: `0.0.0.0:8080->80/tcp, 443/tcp`.
pub fn ports_cell(container: &Container) -> String {
    if !container.state.status.is_alive() {
        return String::new();
    }
    let published = published(container);
    let mut cells: Vec<String> = published.iter().map(|one| mapping(one)).collect();
    for exposed in &container.record.exposed_ports {
        let known = published.iter().any(|one| format!("{}/{}", one.container_port, one.protocol) == *exposed);
        if !known && container.record.options.network_mode == NetworkMode::Bridge {
            cells.push(exposed.clone());
        }
    }
    cells.join(", ")
}

/// `0.0.0.0:8080->80/tcp`.
fn mapping(one: &PortBinding) -> String {
    format!("{}->{}/{}", host(one), one.container_port, one.protocol)
}

/// `0.0.0.0:8080`, `[::]:8080`.
pub fn host(one: &PortBinding) -> String {
    match one.host_ip {
        IpAddr::V4(ip) => format!("{ip}:{}", one.host_port),
        IpAddr::V6(ip) => format!("[{ip}]:{}", one.host_port),
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
