//! The rules that networks and published ports need, as data. Pure.
//!
//! ```text
//! table inet rhumb[-<root id>]
//!   guard         prerouting, raw      nobody but this host reaches 127.0.0.0/8 through a bridge (CVE-2020-8558)
//!   prerouting    nat                  to an address of this host that others may know ─▶ ports
//!   output        nat                  likewise, from this host itself
//!   ports                              protocol and port, or address, protocol and port, looked up in four maps ─▶ dnat
//!   forward       filter               who may reach whom
//!   postrouting   nat                  masquerade
//! ```
//!
//! Every bridge of one state root is in one group of interfaces, so that most rules are one for all of them. An `accept`
//! here ends this table alone: what the host's own rules drop stays dropped (moby#22054).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::nft::{Change, Ct, Element, Expression, Field, Hook, Meta};
use crate::model::network::PortBinding;

/// A bridge, as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The name of the interface.
    pub name: String,
    /// Its ranges of addresses.
    pub subnets: Vec<IpNet>,
    /// No way out and none in.
    pub internal: bool,
    /// What leaves it has the host's address.
    pub masquerade: bool,
    /// Its containers may talk to each other.
    pub icc: bool,
}

/// A published port and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The port.
    pub port: PortBinding,
    /// The container's address, of the family of the host's.
    pub to: IpAddr,
}

/// The maps of published ports.
pub const MAPS: [&str; 4] = [ANY4, AT4, ANY6, AT6];
const ANY4: &str = "ports4";
const AT4: &str = "ports4_at";
const ANY6: &str = "ports6";
const AT6: &str = "ports6_at";

/// `IPS_DST_NAT`: the destination was changed.
const DST_NAT: u32 = 1 << 5;
/// Established and related, as the kernel numbers states in rules.
const KNOWN: u32 = 0b110;
/// `RTN_LOCAL`: an address of this host.
const LOCAL: u32 = 2;

/// Everything but the elements of the maps: makes what is missing and replaces all rules.
pub fn rules(bridges: &[Bridge], group: u32) -> Vec<Change> {
    let hook = |kind, number, priority| Some(Hook { kind, number, priority });
    let mut changes = vec![
        Change::Table,
        Change::Chain { name: "guard", hook: hook("filter", 0, -300) },
        Change::Chain { name: "prerouting", hook: hook("nat", 0, -100) },
        Change::Chain { name: "output", hook: hook("nat", 3, -100) },
        Change::Chain { name: "forward", hook: hook("filter", 2, 0) },
        Change::Chain { name: "postrouting", hook: hook("nat", 4, 100) },
        Change::Chain { name: "ports", hook: None },
    ];
    changes.extend(["guard", "prerouting", "output", "forward", "postrouting", "ports"].map(Change::Flush));
    for (name, key, address) in [
        (ANY4, vec![Field::Protocol, Field::Port], Field::Ip4),
        (AT4, vec![Field::Ip4, Field::Protocol, Field::Port], Field::Ip4),
        (ANY6, vec![Field::Protocol, Field::Port], Field::Ip6),
        (AT6, vec![Field::Ip6, Field::Protocol, Field::Port], Field::Ip6),
    ] {
        changes.push(Change::Map { name, key, data: vec![address, Field::Port] });
    }
    let mut rule = |chain, expressions: Vec<Vec<Expression>>| {
        changes.push(Change::Rule(chain, expressions.concat()));
    };
    let accept = || vec![Expression::Accept];
    let drop = || vec![Expression::Drop];
    rule("guard", vec![in_group(group, false), destination(loopback()), drop()]);
    // What comes by a wire to 127.0.0.1 is the kernel's to refuse, which it does by the destination: a changed one would
    // show everybody on that wire what is published for this host alone (moby#45610).
    rule("prerouting", vec![destination(loopback()), accept()]);
    // The kernel takes no answer for ::1 from a bridge: who tries is refused at once, and not left to wait.
    rule("output", vec![destination(IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST))), accept()]);
    for chain in ["prerouting", "output"] {
        rule(chain, vec![to_this_host(), vec![Expression::Jump("ports")]]);
    }
    for (map, at, v6) in [(AT4, true, false), (ANY4, false, false), (AT6, true, true), (ANY6, false, true)] {
        rule("ports", vec![family(v6), redirect(map, at, v6)]);
    }
    rule("forward", vec![ct(Ct::State, KNOWN), accept()]);
    for bridge in bridges {
        let (from, to) = (|not| name(Meta::InName, &bridge.name, not), |not| name(Meta::OutName, &bridge.name, not));
        if bridge.internal {
            rule("forward", vec![from(false), to(true), drop()]);
            rule("forward", vec![to(false), from(true), drop()]);
        }
        // The ports of the bridge keep containers apart, but not those who have this host route to one beside them.
        if bridge.icc {
            rule("forward", vec![from(false), to(false), accept()]);
        }
    }
    rule("forward", vec![out_group(group, false), ct(Ct::Status, DST_NAT), accept()]);
    // Neither from a bridge to another nor from elsewhere to what is not published.
    rule("forward", vec![out_group(group, false), drop()]);
    // This host reaches what it publishes on 127.0.0.1 with the bridge's address.
    rule("postrouting", vec![source(loopback()), out_group(group, false), vec![Expression::Masquerade]]);
    for bridge in bridges {
        let to = |not| name(Meta::OutName, &bridge.name, not);
        for subnet in &bridge.subnets {
            if bridge.masquerade {
                rule("postrouting", vec![source(*subnet), to(true), vec![Expression::Masquerade]]);
            }
            // A container that takes the way over the host to one beside it would be answered directly.
            rule(
                "postrouting",
                vec![source(*subnet), to(false), ct(Ct::Status, DST_NAT), vec![Expression::Masquerade]],
            );
        }
    }
    changes
}

/// The element of a map for a published port.
pub fn element(published: &Published) -> Element {
    let PortBinding { protocol, host_ip, host_port, container_port } = published.port;
    let v6 = published.to.is_ipv6();
    let map = match (v6, host_ip.is_unspecified()) {
        (false, true) => ANY4,
        (false, false) => AT4,
        (true, true) => ANY6,
        (true, false) => AT6,
    };
    let mut key = if host_ip.is_unspecified() { Vec::new() } else { bytes(host_ip) };
    key.extend([protocol.number(), 0, 0, 0]);
    key.extend(port(host_port));
    let mut data = bytes(published.to);
    data.extend(port(container_port));
    Element { map, key, data }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn port(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [high, low, 0, 0]
}

fn loopback() -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8)
}

fn compare(register: u32, not: bool, value: Vec<u8>) -> Expression {
    Expression::Compare { register, not, value }
}

fn in_group(group: u32, not: bool) -> Vec<Expression> {
    vec![Expression::Meta { key: Meta::InGroup, register: 0 }, compare(0, not, group.to_ne_bytes().to_vec())]
}

fn out_group(group: u32, not: bool) -> Vec<Expression> {
    vec![Expression::Meta { key: Meta::OutGroup, register: 0 }, compare(0, not, group.to_ne_bytes().to_vec())]
}

/// The name of an interface, as the kernel compares it: padded to 16 bytes.
fn name(key: Meta, name: &str, not: bool) -> Vec<Expression> {
    let mut value = name.as_bytes().to_vec();
    value.resize(16, 0);
    vec![Expression::Meta { key, register: 0 }, compare(0, not, value)]
}

fn family(v6: bool) -> Vec<Expression> {
    vec![Expression::Meta { key: Meta::Family, register: 0 }, compare(0, false, vec![if v6 { 10 } else { 2 }])]
}

fn to_this_host() -> Vec<Expression> {
    vec![Expression::DestinationType { register: 0 }, compare(0, false, LOCAL.to_ne_bytes().to_vec())]
}

/// Any of these bits is set.
fn ct(key: Ct, bits: u32) -> Vec<Expression> {
    vec![
        Expression::Ct { key, register: 0 },
        Expression::Mask { register: 0, mask: bits.to_ne_bytes().to_vec() },
        compare(0, true, vec![0; 4]),
    ]
}

fn source(subnet: IpNet) -> Vec<Expression> {
    address(subnet, 12, 8)
}

fn destination(subnet: IpNet) -> Vec<Expression> {
    address(subnet, 16, 24)
}

fn address(subnet: IpNet, offset4: u32, offset6: u32) -> Vec<Expression> {
    let v6 = subnet.addr().is_ipv6();
    let (offset, length) = if v6 { (offset6, 16) } else { (offset4, 4) };
    let mut list = family(v6);
    list.push(Expression::Payload { transport: false, offset, length, register: 0 });
    list.push(Expression::Mask { register: 0, mask: bytes(subnet.netmask()) });
    list.push(compare(0, false, bytes(subnet.network())));
    list
}

fn redirect(map: &'static str, at: bool, v6: bool) -> Vec<Expression> {
    let mut list = Vec::new();
    let words = if v6 { 4 } else { 1 };
    let mut register = 0;
    if at {
        let (offset, length) = if v6 { (24, 16) } else { (16, 4) };
        list.push(Expression::Payload { transport: false, offset, length, register });
        register = words;
    }
    list.push(Expression::Meta { key: Meta::Protocol, register });
    // The destination port of every transport protocol that has one.
    list.push(Expression::Payload { transport: true, offset: 2, length: 2, register: register + 1 });
    list.push(Expression::Lookup { map, from: 0, to: 0 });
    list.push(Expression::Dnat { v6, address: 0, port: words });
    list
}

/// Both addresses that mean every one.
pub fn is_any(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::UNSPECIFIED) || address == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}
