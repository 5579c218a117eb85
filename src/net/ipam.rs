//! Which range a network gets, and which address a container. Pure: who has what already is given.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::base::{Digest, Error, Result};
use crate::model::network::Subnet;

/// The pools that networks are made from when none is given, and the length of what is taken: Docker's, and one more for
/// machines with many networks.
const POOLS: [(Ipv4Addr, u8, u8); 7] = [
    (Ipv4Addr::new(172, 17, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 18, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 19, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 20, 0, 0), 14, 16),
    (Ipv4Addr::new(172, 24, 0, 0), 13, 16),
    (Ipv4Addr::new(192, 168, 0, 0), 16, 20),
    (Ipv4Addr::new(10, 192, 0, 0), 12, 24),
];

/// Ranges above this size are not asked for a free address one by one for longer than this.
const MOST_TRIES: usize = 1 << 20;

/// A range of IPv4 that meets none of `taken`.
///
/// # Errors
/// `conflict` when all pools are used up.
pub fn choose_subnet(taken: &[IpNet]) -> Result<IpNet> {
    for (base, length, part) in POOLS {
        let pool = Ipv4Net::new_assert(base, length);
        let parts = pool.subnets(part).map_err(|error| Error::failed(error.to_string()))?;
        for subnet in parts.map(IpNet::V4) {
            if !taken.iter().any(|other| overlap(&subnet, other)) {
                return Ok(subnet);
            }
        }
    }
    Err(Error::conflict("all default ranges of addresses are used by networks and routes of this host")
        .with_hint("name a range with the option subnet, or remove networks that are not needed"))
}

/// A unique local range of IPv6 (RFC 4193) for a network of this identity.
pub fn unique_local(identity: &str) -> IpNet {
    let hash = Digest::of(identity.as_bytes());
    let byte = |at: usize| u8::from_str_radix(&hash.hex()[2 * at..2 * at + 2], 16).expect("digits of a digest");
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    for (at, octet) in octets[1..8].iter_mut().enumerate() {
        *octet = byte(at);
    }
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::from(octets)), 64)
}

/// Both have an address in common.
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// Checks what was said of a range, and gives it its gateway.
///
/// # Errors
/// `invalid_argument` when an address or the range to choose from is not in it, or it is too small.
pub fn complete(mut subnet: Subnet) -> Result<Subnet> {
    let all = subnet.subnet.trunc();
    let addresses = if all.addr().is_ipv6() { 128 } else { 32 } - all.prefix_len();
    if addresses < 2 {
        return Err(Error::invalid(format!("the subnet {all} has no room for a gateway and a container"))
            .with_hint("a /30 is the smallest that has"));
    }
    let inside = |what: &str, address: IpAddr| match all.contains(&address) {
        true => Ok(()),
        false => Err(Error::invalid(format!("the {what} {address} is not in the subnet {all}"))),
    };
    if let Some(range) = subnet.ip_range {
        let range = range.trunc();
        if !all.contains(&range) {
            return Err(Error::invalid(format!("the range {range} is not in the subnet {all}")));
        }
        subnet.ip_range = Some(range);
    }
    if let Some(gateway) = subnet.gateway {
        inside("gateway", gateway)?;
        if is_special(all, gateway) {
            return Err(Error::invalid(format!(
                "the address {gateway} of the subnet {all} is nobody's: it cannot be the gateway"
            )));
        }
    }
    for (name, address) in &subnet.aux {
        inside(&format!("address of {name:?}"), *address)?;
        if subnet.gateway == Some(*address) {
            return Err(Error::invalid(format!("the gateway {address} is the address of {name:?} too")));
        }
    }
    if subnet.gateway.is_none() {
        subnet.gateway = hosts(all).find(|address| !subnet.aux.values().any(|other| other == address));
    }
    subnet.subnet = all;
    Ok(subnet)
}

/// The address of the network itself, or the one that means all who are on it.
fn is_special(all: IpNet, address: IpAddr) -> bool {
    address == all.network() || (address.is_ipv4() && address == all.broadcast())
}

/// Addresses that machines can have, lowest first.
fn hosts(range: IpNet) -> impl Iterator<Item = IpAddr> {
    let (v4, v6) = match range {
        IpNet::V4(range) => (Some(range.hosts()), None),
        IpNet::V6(range) => (None, Some(range.hosts().skip(1))),
    };
    v4.into_iter().flatten().map(IpAddr::V4).chain(v6.into_iter().flatten().map(IpAddr::V6))
}

/// An address of the range that nobody has: the one that is wanted, or the lowest.
///
/// # Errors
/// `conflict` when it is taken, or all are; `invalid_argument` when it is not in the range.
pub fn choose_address(subnet: &Subnet, taken: &BTreeSet<IpAddr>, wanted: Option<IpAddr>) -> Result<IpAddr> {
    let all = subnet.subnet;
    let reserved = |address: IpAddr| {
        is_special(all, address)
            || subnet.gateway == Some(address)
            || subnet.aux.values().any(|other| *other == address)
    };
    if let Some(wanted) = wanted {
        if !all.contains(&wanted) {
            return Err(Error::invalid(format!("the address {wanted} is not in the subnet {all}")));
        }
        if reserved(wanted) {
            return Err(Error::conflict(format!("the address {wanted} of the subnet {all} is reserved")));
        }
        return Ok(wanted);
    }
    let range = subnet.ip_range.unwrap_or(all);
    hosts(range)
        .chain([range.network(), range.broadcast()].into_iter().filter(|_| range != all))
        .take(MOST_TRIES)
        .find(|address| !reserved(*address) && !taken.contains(address))
        .ok_or_else(|| {
            Error::conflict(format!("no address of {range} is free: all {} are taken", taken.len()))
                .with_hint("remove containers that are not needed, or use a network with a larger subnet")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_avoid_those_that_are_taken_until_none_is_left() {
        assert_eq!(choose_subnet(&[]).unwrap(), net("172.17.0.0/16"));
        assert_eq!(choose_subnet(&[net("172.17.5.0/24"), net("172.18.0.0/15")]).unwrap(), net("172.20.0.0/16"));
        assert_eq!(choose_subnet(&[net("172.16.0.0/12")]).unwrap(), net("192.168.0.0/20"));
        assert_eq!(choose_subnet(&[net("0.0.0.0/0")]).unwrap_err().kind(), crate::base::Kind::Conflict);
    }

    #[test]
    fn gateways_and_reserved_addresses_are_not_given_away() {
        let subnet = complete(Subnet::of(net("10.1.2.9/29"))).unwrap();
        assert_eq!((subnet.subnet, subnet.gateway), (net("10.1.2.8/29"), Some("10.1.2.9".parse().unwrap())));
        let mut taken = BTreeSet::new();
        while let Ok(address) = choose_address(&subnet, &taken, None) {
            assert!(taken.insert(address), "{address} twice");
        }
        assert_eq!(taken.len(), 5, "{taken:?}");
        for wrong in ["10.1.2.8", "10.1.2.15", "10.1.2.9"] {
            assert!(choose_address(&subnet, &taken, Some(wrong.parse().unwrap())).is_err(), "{wrong}");
        }
        assert!(complete(Subnet::of(net("10.0.0.0/31"))).is_err());
        for wrong in ["10.1.0.1", "10.1.2.8", "10.1.2.15"] {
            assert!(complete(Subnet { gateway: Some(wrong.parse().unwrap()), ..subnet.clone() }).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_to_choose_from_and_ipv6_work() {
        let subnet = Subnet { ip_range: Some(net("10.1.2.64/30")), ..Subnet::of(net("10.1.2.0/24")) };
        let subnet = complete(subnet).unwrap();
        assert_eq!(choose_address(&subnet, &BTreeSet::new(), None).unwrap(), "10.1.2.65".parse::<IpAddr>().unwrap());
        let local = unique_local("a");
        assert!(local.addr().is_ipv6() && local.prefix_len() == 64 && local.to_string().starts_with("fd"));
        let subnet = complete(Subnet::of(local)).unwrap();
        let first = choose_address(&subnet, &BTreeSet::new(), None).unwrap();
        assert!(local.contains(&first) && Some(first) != subnet.gateway && first != local.network());
    }
}
