//! Makes what a network needs on the host, and the interfaces of a network namespace.
//!
//! ```text
//! host                                     the namespace
//!   rhumb0 or rb-… (bridge, its gateway) ── rv… ═══════ eth0, eth1, …   routes
//!   parent ───────────────────────────────────────────── eth0            (macvlan, ipvlan)
//! ```
//!
//! What is made is named by the caller from what is on record, so that it can be found and taken away without a state.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;

use ipnet::IpNet;

use super::netlink::{Child, ChildKind, Netlink, Veth};
use crate::base::{Context as _, Error, Kind, Result};
use crate::sys::namespace;

/// How often a name that an earlier interface still has, since the kernel is taking it away, is tried again.
const NAME_TRIES: u32 = 50;

/// A bridge as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeLink {
    /// Its name.
    pub name: String,
    /// Its group of interfaces.
    pub group: u32,
    /// Its hardware address: without one it would have that of one of its ports, and change with them.
    pub mac: [u8; 6],
    /// The largest packet.
    pub mtu: Option<u32>,
    /// Its addresses: gateways with the length of their subnets' prefixes.
    pub addresses: Vec<IpNet>,
}

/// An interface in a network namespace as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name there.
    pub name: String,
    /// What it is connected to.
    pub kind: Kindred,
    /// Its hardware address.
    pub mac: Option<[u8; 6]>,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Where everything else goes.
    pub gateways: Vec<IpAddr>,
    /// Everything else goes here even without a gateway.
    pub default_route: bool,
}

/// What an interface is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kindred {
    /// A bridge.
    Port {
        /// The end on the host.
        link: String,
        /// The bridge.
        bridge: String,
        /// The bridge's other isolated ports do not see it.
        isolated: bool,
    },
    /// A parent interface.
    Child {
        /// Its name.
        parent: String,
        /// The kind.
        kind: ChildKind,
    },
}

/// Makes a bridge, or what is missing of it.
///
/// # Errors
/// `conflict` when somebody else has an interface of that name; what the kernel gives.
pub fn ensure_bridge(bridge: &BridgeLink) -> Result<()> {
    let netlink = Netlink::open()?;
    let is_new = match netlink.add_bridge(&bridge.name, bridge.group, bridge.mac, bridge.mtu) {
        Err(error) if error.kind() == Kind::AlreadyExists && is_own_bridge(&bridge.name, bridge.group) => false,
        Err(error) if error.kind() == Kind::AlreadyExists => {
            return Err(Error::conflict(format!("the interface {:?} is there and belongs to others", bridge.name))
                .with_hint("choose another name for the bridge, or leave it out"));
        }
        made => made.map(|()| true)?,
    };
    let made = finish_bridge(&netlink, bridge);
    if made.is_err() && is_new {
        // The error of what failed is what matters; the bridge is found by its name.
        let _ = netlink.delete(&bridge.name);
    }
    made
}

/// Takes a bridge of this group away; one that is gone is fine, and one of others is not touched.
///
/// # Errors
/// What the kernel gives.
pub fn remove_bridge(name: &str, group: u32) -> Result<()> {
    if is_own_bridge(name, group) { remove_links([name]) } else { Ok(()) }
}

/// Takes a VLAN interface of this group away; one that is gone is fine, and one of others is not touched.
///
/// # Errors
/// What the kernel gives.
pub fn remove_parent(name: &str, group: u32) -> Result<()> {
    if is_of_group(name, group) { remove_links([name]) } else { Ok(()) }
}

/// A bridge that was made for a network of this group.
fn is_own_bridge(name: &str, group: u32) -> bool {
    Path::new("/sys/class/net").join(name).join("bridge").exists() && is_of_group(name, group)
}

fn is_of_group(name: &str, group: u32) -> bool {
    let of = fs::read_to_string(Path::new("/sys/class/net").join(name).join("netdev_group"));
    of.is_ok_and(|text| text.trim().parse() == Ok(group))
}

fn finish_bridge(netlink: &Netlink, bridge: &BridgeLink) -> Result<()> {
    let name = &bridge.name;
    let index = netlink.index(name)?.ok_or_else(|| Error::failed(format!("the bridge {name:?} is gone")))?;
    let v6 = bridge.addresses.iter().any(|address| address.addr().is_ipv6());
    // No address that nobody asked for (CVE-2020-13401, CVE-2024-32473).
    set(&format!("ipv6/conf/{name}/disable_ipv6"), if v6 { "0" } else { "1" })?;
    set(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
    // Published ports are reached on 127.0.0.1; the rules keep everybody else from there.
    set(&format!("ipv4/conf/{name}/route_localnet"), "1")?;
    for address in &bridge.addresses {
        netlink.add_address(index, *address)?;
    }
    netlink.set_up(index, None)?;
    // Asked for by a route, not by name: this host forwards. It goes on to, as with Docker: others may count on it by then.
    if is("ipv4/ip_forward", "0") {
        set("ipv4/ip_forward", "1")?;
    }
    if v6 && is("ipv6/conf/all/forwarding", "0") {
        keep_advertised_routes()?;
        set("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// Who forwards hears no router advertisements any more, and this host would lose its own way out, unless an interface says
/// that it hears them all the same (Documentation/networking/ip-sysctl.rst, `accept_ra`).
fn keep_advertised_routes() -> Result<()> {
    let folder = "/proc/sys/net/ipv6/conf";
    for entry in fs::read_dir(folder).context(|| format!("reading {folder:?}"))?.flatten() {
        let name = format!("ipv6/conf/{}/accept_ra", entry.file_name().to_string_lossy());
        // What is made later is not asked for: whoever makes it knows that this host forwards.
        if is(&name, "1") && !matches!(entry.file_name().to_str(), Some("all" | "default" | "lo")) {
            match set(&name, "2") {
                Err(error) if error.kind() == Kind::NotFound => {} // the interface is gone
                other => other?,
            }
        }
    }
    Ok(())
}

/// A kernel parameter of the network namespace of this thread has this value.
fn is(name: &str, value: &str) -> bool {
    fs::read_to_string(Path::new("/proc/sys/net").join(name)).is_ok_and(|text| text.trim() == value)
}

/// The bridge is there and up.
pub fn is_ready(name: &str) -> bool {
    is_up(name)
}

fn is_up(name: &str) -> bool {
    let flags = fs::read_to_string(format!("/sys/class/net/{name}/flags")).unwrap_or_default();
    u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).is_ok_and(|flags| flags & 1 != 0)
}

/// There is an interface of this name on this host.
pub fn exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// An interface is a port of a bridge.
pub fn is_plugged(link: &str, bridge: &str) -> bool {
    let of = fs::read_link(format!("/sys/class/net/{link}/master"));
    of.is_ok_and(|path| path.file_name().is_some_and(|name| name == bridge))
}

/// Makes an interface of this host a port of a bridge, up. One that is gone is its container's matter.
///
/// # Errors
/// What the kernel gives.
pub fn plug(link: &str, bridge: &str, isolated: bool) -> Result<()> {
    let netlink = Netlink::open()?;
    let (Some(port), Some(bridge)) = (netlink.index(link)?, netlink.index(bridge)?) else { return Ok(()) };
    netlink.set_up(port, Some(bridge))?;
    netlink.set_port(port, isolated)
}

/// Takes interfaces of the host away; those that are gone are fine.
///
/// # Errors
/// What the kernel gives.
pub fn remove_links<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut netlink = None;
    for name in names {
        if name.is_empty() || !Path::new("/sys/class/net").join(name).exists() {
            continue;
        }
        let netlink = match &mut netlink {
            Some(netlink) => netlink,
            none => none.insert(Netlink::open()?),
        };
        netlink.delete(name)?;
    }
    Ok(())
}

/// The ranges that this host has routes for, but for those of the interface `except`.
///
/// # Errors
/// What the kernel gives.
pub fn routed_ranges(v6: bool) -> Result<Vec<IpNet>> {
    Ok(Netlink::open()?.routes(v6)?.into_iter().map(|(range, _)| range).collect())
}

/// Makes a VLAN interface `parent.number` of this group unless it is there.
///
/// # Errors
/// `not_found` for the interface below it; what the kernel gives.
pub fn ensure_parent(name: &str, group: u32) -> Result<()> {
    let netlink = Netlink::open()?;
    if netlink.index(name)?.is_some() {
        return Ok(());
    }
    let missing = || {
        Error::not_found(format!("no such interface {name:?}"))
            .with_hint("name an interface of this host with the option parent, or one of its VLANs, such as eth0.50")
    };
    let (below, number) = name.rsplit_once('.').ok_or_else(missing)?;
    let number: u16 = number.parse().ok().filter(|number| (1..4095).contains(number)).ok_or_else(missing)?;
    let below = netlink.index(below)?.ok_or_else(missing)?;
    netlink.add_vlan(name, below, number, group).map_err(|error| match error.kind() {
        Kind::Unsupported => {
            Error::unsupported("this kernel has no VLAN interfaces").with_hint("load the module 8021q")
        }
        _ => error,
    })
}

/// Makes interfaces in a network namespace, in order, and undoes them all when one cannot be made.
///
/// # Errors
/// What the kernel gives.
pub fn attach(netns: BorrowedFd<'_>, interfaces: &[Interface]) -> Result<()> {
    if interfaces.is_empty() {
        return Ok(());
    }
    let host = Netlink::open()?;
    inside(netns, || {
        let netlink = Netlink::open()?;
        let mut children = Vec::new();
        let made = attach_in(&host, &netlink, netns, interfaces, &mut children);
        if made.is_err() {
            for interface in interfaces {
                if let Kindred::Port { link, .. } = &interface.kind {
                    let _ = host.delete(link); // found by its name later
                }
            }
            for name in children {
                let _ = netlink.delete(name); // goes with the namespace
            }
        }
        made
    })
}

/// Runs something on a thread that is in a network namespace.
///
/// # Errors
/// What setns(2) gives.
pub fn inside<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, || {
            namespace::join(netns, namespace::NETWORK).context(|| "joining a network namespace")?;
            work()
        });
        let thread = thread.context(|| "starting a thread")?;
        thread.join().unwrap_or_else(|_| Err(Error::failed("the thread in a network namespace ended")))
    })
}

/// `children` gets the names of what was made that has no end on the host.
fn attach_in<'a>(
    host: &Netlink,
    netlink: &Netlink,
    netns: BorrowedFd<'_>,
    interfaces: &'a [Interface],
    children: &mut Vec<&'a str>,
) -> Result<()> {
    let missing = |name: &str| Error::not_found(format!("the interface {name:?} is gone"));
    for interface in interfaces {
        let v6 = interface.addresses.iter().any(|address| address.addr().is_ipv6());
        // Before it exists, so that it never has an address that nobody asked for.
        set("ipv6/conf/default/disable_ipv6", if v6 { "0" } else { "1" })?;
        set("ipv6/conf/default/accept_ra", "0")?;
        match &interface.kind {
            Kindred::Port { link, bridge, isolated } => {
                let mac = interface.mac.ok_or_else(|| Error::failed("an interface has no hardware address"))?;
                let veth = Veth { link, interface: &interface.name, mac, mtu: interface.mtu };
                add_veth(host, &veth, netns)?;
                let port = host.index(link)?.ok_or_else(|| missing(link))?;
                let bridge = host.index(bridge)?.ok_or_else(|| missing(bridge))?;
                host.set_up(port, Some(bridge))?;
                host.set_port(port, *isolated)?;
            }
            Kindred::Child { parent, kind } => {
                let parent = host.index(parent)?;
                let parent = parent.ok_or_else(|| Error::not_found("the parent interface is gone"))?;
                let (name, mac, mtu) = (interface.name.as_str(), interface.mac, interface.mtu);
                host.add_child(&Child { parent, interface: name, mac, mtu, kind: *kind }, netns)?;
                children.push(name);
            }
        }
        // Its number is the kernel's choice: it never gives one twice.
        let index = netlink.index(&interface.name)?.ok_or_else(|| missing(&interface.name))?;
        for address in &interface.addresses {
            netlink.add_address(index, *address)?;
        }
        netlink.set_up(index, None)?;
        for gateway in &interface.gateways {
            netlink.add_default_route(*gateway, index)?;
        }
        if interface.default_route && interface.gateways.is_empty() {
            netlink.add_default_route_by(index, false)?;
        }
    }
    Ok(())
}

/// The end here of one of before may not be gone yet: the kernel takes the links of a namespace away when it has time.
fn add_veth(host: &Netlink, veth: &Veth<'_>, netns: BorrowedFd<'_>) -> Result<()> {
    let mut tries = 0;
    loop {
        match host.add_veth(veth, netns) {
            Err(error) if error.kind() == Kind::AlreadyExists && tries < NAME_TRIES => {
                host.delete(veth.link)?;
                tries += 1;
            }
            other => return other,
        }
    }
}

/// Takes one interface of a network namespace away, and gives others the default route.
///
/// # Errors
/// What the kernel gives.
pub fn detach(netns: BorrowedFd<'_>, name: &str) -> Result<()> {
    inside(netns, || Netlink::open()?.delete(name).map(drop))
}

/// Has exactly these default routes in a network namespace: gateway and the name of the interface.
///
/// # Errors
/// What the kernel gives.
pub fn route_by(netns: BorrowedFd<'_>, gateways: &[(IpAddr, String)]) -> Result<()> {
    inside(netns, || {
        let netlink = Netlink::open()?;
        for v6 in [false, true] {
            netlink.delete_default_routes(v6)?;
        }
        for (gateway, name) in gateways {
            if let Some(index) = netlink.index(name)? {
                netlink.add_default_route(*gateway, index)?;
            }
        }
        Ok(())
    })
}

/// Sets a kernel parameter of the network namespace of this thread; a kernel without IPv6 has none of those.
fn set(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys/net").join(name);
    match fs::write(&path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && name.starts_with("ipv6") => Ok(()),
        other => other.context(|| format!("writing {value:?} to {path:?}")),
    }
}
