//! Links, addresses and routes through rtnetlink: the one door to it and to its runtime.
//!
//! A connection belongs to the network namespace in which it was opened, whatever its thread joins later. Every call
//! waits for the kernel's answer; the runtime has no thread of its own.

use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, IpVlanMode, LinkMessage, MacVlanMode};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkIpVlan, LinkMacVlan, LinkUnspec, LinkVeth, LinkVlan, RouteMessageBuilder,
};
use tokio::runtime::Runtime;

use crate::base::{Context as _, Error, Kind, Result};

/// A connection to the kernel.
pub struct Netlink {
    runtime: Runtime,
    handle: Handle,
}

/// A new pair of interfaces, one end of it in another network namespace.
#[derive(Debug, Clone)]
pub struct Veth<'a> {
    /// The end here.
    pub link: &'a str,
    /// The end there.
    pub interface: &'a str,
    /// The hardware address of the end there.
    pub mac: [u8; 6],
    /// The largest packet.
    pub mtu: Option<u32>,
}

/// A new interface on top of another one.
#[derive(Debug, Clone)]
pub struct Child<'a> {
    /// The interface below.
    pub parent: u32,
    /// Its name there.
    pub interface: &'a str,
    /// The hardware address; ipvlan has its parent's.
    pub mac: Option<[u8; 6]>,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// What it is.
    pub kind: ChildKind,
}

/// Kinds of interfaces on top of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildKind {
    /// macvlan, in one of its modes: `bridge`, `private`, `vepa`, `passthru`.
    Macvlan(&'static str),
    /// ipvlan: `l2`, `l3`, `l3s`.
    Ipvlan(&'static str),
}

impl Netlink {
    /// A connection in the network namespace of this thread.
    ///
    /// # Errors
    /// What socket(2) gives.
    pub fn open() -> Result<Netlink> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context(|| "making a runtime for netlink")?;
        let entered = runtime.enter();
        let (connection, handle, _) = rtnetlink::new_connection().context(|| "opening a netlink socket")?;
        drop(entered);
        // Runs whenever somebody waits.
        drop(runtime.spawn(connection));
        Ok(Netlink { runtime, handle })
    }

    /// The number of the interface of this name.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn index(&self, name: &str) -> Result<Option<u32>> {
        Ok(self.link(name)?.map(|link| link.header.index))
    }

    fn link(&self, name: &str) -> Result<Option<LinkMessage>> {
        let found = self.runtime.block_on(self.handle.link().get().match_name(name).execute().try_next());
        match found.map_err(|error| translate(&error, || format!("looking for the interface {name:?}"))) {
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            other => other,
        }
    }

    /// Makes a bridge, not up.
    ///
    /// # Errors
    /// `already_exists`; what the kernel gives.
    pub fn add_bridge(&self, name: &str, group: u32, mac: [u8; 6], mtu: Option<u32>) -> Result<()> {
        let mut bridge = LinkBridge::new(name).down().link_group(group).address(mac.to_vec());
        if let Some(mtu) = mtu {
            bridge = bridge.mtu(mtu);
        }
        self.add(bridge.build(), || format!("making the bridge {name:?}"))
    }

    /// Makes a VLAN interface on top of another one, up.
    ///
    /// # Errors
    /// `already_exists`; what the kernel gives.
    pub fn add_vlan(&self, name: &str, parent: u32, number: u16, group: u32) -> Result<()> {
        let link = LinkVlan::new(name, parent, number).link_group(group).up();
        self.add(link.build(), || format!("making the interface {name:?}"))
    }

    /// Makes a pair of interfaces whose other end is born in `netns`: moving it there would take ten times as long.
    ///
    /// # Errors
    /// `already_exists`; what the kernel gives.
    pub fn add_veth(&self, veth: &Veth<'_>, netns: BorrowedFd<'_>) -> Result<()> {
        let mut peer =
            LinkUnspec::new_with_name(veth.interface).address(veth.mac.to_vec()).setns_by_fd(netns.as_raw_fd());
        let mut link = LinkVeth::new(veth.link, veth.interface);
        if let Some(mtu) = veth.mtu {
            (peer, link) = (peer.mtu(mtu), link.mtu(mtu));
        }
        let link = link.set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())));
        self.add(link.build(), || format!("making the interfaces {:?} and {:?}", veth.link, veth.interface))
    }

    /// Makes an interface on top of another one, in `netns`.
    ///
    /// # Errors
    /// `unsupported` when the kernel has no such kind; what the kernel gives.
    pub fn add_child(&self, child: &Child<'_>, netns: BorrowedFd<'_>) -> Result<()> {
        let message = match child.kind {
            ChildKind::Macvlan(mode) => {
                let mode = match mode {
                    "private" => MacVlanMode::Private,
                    "vepa" => MacVlanMode::Vepa,
                    "passthru" => MacVlanMode::Passthrough,
                    _ => MacVlanMode::Bridge,
                };
                let mut link = LinkMacVlan::new(child.interface, child.parent, mode);
                if let Some(mac) = child.mac {
                    link = link.address(mac.to_vec());
                }
                if let Some(mtu) = child.mtu {
                    link = link.mtu(mtu);
                }
                link.setns_by_fd(netns.as_raw_fd()).build()
            }
            ChildKind::Ipvlan(mode) => {
                let mode = match mode {
                    "l3" => IpVlanMode::L3,
                    "l3s" => IpVlanMode::L3S,
                    _ => IpVlanMode::L2,
                };
                let mut link = LinkIpVlan::new(child.interface, child.parent, mode);
                if let Some(mtu) = child.mtu {
                    link = link.mtu(mtu);
                }
                link.setns_by_fd(netns.as_raw_fd()).build()
            }
        };
        let what = if matches!(child.kind, ChildKind::Macvlan(_)) { "macvlan" } else { "ipvlan" };
        self.add(message, || format!("making the {what} interface {:?}", child.interface)).map_err(|error| {
            match error.kind() {
                // The kernel knows no such kind of link.
                Kind::Unsupported => Error::unsupported(format!("this kernel has no {what}"))
                    .with_hint("load its module, or use a network of the driver bridge"),
                _ => error,
            }
        })
    }

    fn add(&self, message: LinkMessage, doing: impl Fn() -> String) -> Result<()> {
        let done = self.runtime.block_on(self.handle.link().add(message).execute());
        done.map_err(|error| translate(&error, doing))
    }

    /// Changes an interface: up, and with `controller` a port of that bridge.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn set_up(&self, index: u32, controller: Option<u32>) -> Result<()> {
        let mut link = LinkUnspec::new_with_index(index).up();
        if let Some(controller) = controller {
            link = link.controller(controller);
        }
        let done = self.runtime.block_on(self.handle.link().change(link.build()).execute());
        done.map_err(|error| translate(&error, || format!("setting the interface {index} up")))
    }

    /// Has a port of a bridge take what came by it itself, since a container may reach what it publishes, and with `isolated`
    /// keeps it from the other isolated ports.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn set_port(&self, index: u32, isolated: bool) -> Result<()> {
        let port = LinkBridgePort::new(index).hairpin(true);
        let message = if isolated { port.isolated(true).build() } else { port.build() };
        let done = self.runtime.block_on(self.handle.link().set_port(message).execute());
        done.map_err(|error| translate(&error, || format!("setting the bridge's port {index}")))
    }

    /// Takes an interface away; true when there was one.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn delete(&self, name: &str) -> Result<bool> {
        let Some(index) = self.index(name)? else { return Ok(false) };
        let gone = self.runtime.block_on(self.handle.link().del(index).execute());
        match gone.map_err(|error| translate(&error, || format!("removing the interface {name:?}"))) {
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Gives an interface an address with the length of its prefix. One that it has already is fine.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn add_address(&self, index: u32, address: IpNet) -> Result<()> {
        let mut request = self.handle.address().add(index, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            // Nobody else can have it: no waiting for duplicates.
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let done = self.runtime.block_on(request.execute());
        match done.map_err(|error| translate(&error, || format!("adding the address {address}"))) {
            Err(error) if error.kind() == Kind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// The addresses of this host.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let all: std::result::Result<Vec<AddressMessage>, _> =
            self.runtime.block_on(self.handle.address().get().execute().try_collect());
        let all = all.map_err(|error| translate(&error, || "listing addresses".to_owned()))?;
        let address = |attribute: &AddressAttribute| match attribute {
            AddressAttribute::Address(address) | AddressAttribute::Local(address) => Some(*address),
            _ => None,
        };
        Ok(all.iter().flat_map(|message| message.attributes.iter().filter_map(address)).collect())
    }

    /// The default route by this gateway.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn add_default_route(&self, gateway: IpAddr, index: u32) -> Result<()> {
        let message = default_route(gateway, index);
        let done = self.runtime.block_on(self.handle.route().add(message).replace().execute());
        done.map_err(|error| translate(&error, || format!("adding the default route by {gateway}")))
    }

    /// The default route by this interface, for networks without a gateway.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn add_default_route_by(&self, index: u32, v6: bool) -> Result<()> {
        let message = match v6 {
            false => RouteMessageBuilder::<std::net::Ipv4Addr>::new().output_interface(index).build(),
            true => RouteMessageBuilder::<std::net::Ipv6Addr>::new().output_interface(index).build(),
        };
        let done = self.runtime.block_on(self.handle.route().add(message).replace().execute());
        done.map_err(|error| translate(&error, || "adding the default route".to_owned()))
    }

    /// Takes the default routes of one family away.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn delete_default_routes(&self, v6: bool) -> Result<()> {
        for route in self.all_routes(v6)? {
            if route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast {
                let done = self.runtime.block_on(self.handle.route().del(route).execute());
                done.map_err(|error| translate(&error, || "removing the default route".to_owned()))?;
            }
        }
        Ok(())
    }

    fn all_routes(&self, v6: bool) -> Result<Vec<RouteMessage>> {
        let filter = match v6 {
            false => RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            true => RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        };
        let all = self.runtime.block_on(self.handle.route().get(filter).execute().try_collect());
        all.map_err(|error| translate(&error, || "listing routes".to_owned()))
    }

    /// The ranges of addresses that this host has routes for, but for those that lead everywhere.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn routes(&self, v6: bool) -> Result<Vec<(IpNet, Option<u32>)>> {
        let mut ranges = Vec::new();
        for route in self.all_routes(v6)? {
            let length = route.header.destination_prefix_length;
            let destination = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
                RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
                _ => None,
            });
            let index = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            });
            let used = matches!(route.header.kind, RouteType::Unicast | RouteType::BlackHole | RouteType::Unreachable);
            if let (Some(address), true, true) = (destination, used, length > 0)
                && let Ok(range) = IpNet::new(address, length)
            {
                ranges.push((range, index));
            }
        }
        Ok(ranges)
    }
}

fn default_route(gateway: IpAddr, index: u32) -> RouteMessage {
    match gateway {
        IpAddr::V4(gateway) => {
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().gateway(gateway).output_interface(index).build()
        }
        IpAddr::V6(gateway) => {
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().gateway(gateway).output_interface(index).build()
        }
    }
}

fn translate(error: &rtnetlink::Error, doing: impl FnOnce() -> String) -> Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            let io = message.to_io();
            let kind = match io.raw_os_error() {
                Some(ENODEV | ENOENT | ESRCH) => Kind::NotFound,
                Some(EOPNOTSUPP) => Kind::Unsupported,
                Some(EBUSY) => Kind::Conflict,
                _ => crate::base::error::kind_of_io(&io),
            };
            Error::new(kind, io.to_string()).context(doing())
        }
        other => Error::failed(other.to_string()).context(doing()),
    }
}

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EBUSY: i32 = 16;
const ENODEV: i32 = 19;
const EOPNOTSUPP: i32 = 95;
