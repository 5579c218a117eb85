//! What may be said of a network: names, drivers' options, filters. Pure.

use crate::base::{Error, Id, Result};
use crate::model::network::{Driver, Network, NetworkFilter, NetworkOptions};

/// The longest name.
const MAX_NAME: usize = 128;
/// The longest name of an interface (IFNAMSIZ without the zero byte).
const MAX_LINK: usize = 15;
/// The option that names the bridge.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// Docker's options that would change who reaches whom.
const UNKNOWN_MODES: [&str; 4] = [
    "com.docker.network.bridge.gateway_mode_ipv4",
    "com.docker.network.bridge.gateway_mode_ipv6",
    "com.docker.network.bridge.inhibit_ipv4",
    "com.docker.network.bridge.trusted_host_interfaces",
];
/// The most ranges of addresses.
const MAX_SUBNETS: usize = 16;

/// Checks everything that needs no look at the machine.
pub(super) fn check(options: &NetworkOptions) -> Result<()> {
    check_name(&options.name)?;
    if options.subnets.len() > MAX_SUBNETS {
        return Err(Error::invalid(format!("a network has at most {MAX_SUBNETS} subnets")));
    }
    match options.driver {
        Driver::Host | Driver::None => {
            return Err(Error::invalid(format!(
                "a network of the driver {:?} cannot be made",
                options.driver.as_str()
            ))
            .with_hint("there is one already"));
        }
        Driver::Bridge => {
            if let Some(name) = options.options.get(BRIDGE_NAME) {
                check_link(name)?;
            }
        }
        Driver::Macvlan | Driver::Ipvlan => {
            check_link(parent(options)?)?;
            mode(options.driver, &options.options)?;
        }
    }
    for key in ["com.docker.network.bridge.enable_icc", "com.docker.network.bridge.enable_ip_masquerade"] {
        if let Some(value) = options.options.get(key)
            && !matches!(value.as_str(), "true" | "false" | "1" | "0")
        {
            return Err(Error::invalid(format!("{value:?} is not a value for {key:?}")).with_hint("true or false"));
        }
    }
    // What says who may reach a container is never passed over in silence.
    if let Some(value) = options.options.get("com.docker.network.bridge.host_binding_ipv4")
        && value.parse::<std::net::Ipv4Addr>().is_err()
    {
        return Err(Error::invalid(format!("{value:?} is not an IPv4 address to publish ports at")));
    }
    for key in UNKNOWN_MODES {
        if let Some(value) = options.options.get(key)
            && !matches!(value.as_str(), "" | "nat" | "false" | "0")
        {
            return Err(Error::unsupported(format!("the option {key}={value} is not built yet"))
                .with_hint("leave it out: a bridge has its gateway's address, and ports are translated"));
        }
    }
    if let Some(value) = options.options.get("com.docker.network.driver.mtu")
        && !value.parse::<u32>().is_ok_and(|mtu| (68..=65535).contains(&mtu))
    {
        return Err(Error::invalid(format!("{value:?} is not a size for packets")).with_hint("68 to 65535"));
    }
    Ok(())
}

/// The name of the bridge that was asked for.
pub(super) fn bridge(options: &NetworkOptions) -> Option<&str> {
    options.options.get(BRIDGE_NAME).map(String::as_str).filter(|name| !name.is_empty())
}

/// The interface that a macvlan or ipvlan network is on.
pub(super) fn parent(options: &NetworkOptions) -> Result<&str> {
    options.options.get("parent").map(String::as_str).filter(|name| !name.is_empty()).ok_or_else(|| {
        Error::invalid(format!("a {} network needs an interface of this host", options.driver))
            .with_hint("name it with the option parent, such as parent=eth0")
    })
}

/// The mode of a macvlan or ipvlan network.
pub(super) fn mode(driver: Driver, options: &std::collections::BTreeMap<String, String>) -> Result<&'static str> {
    let (key, known): (_, &[&'static str]) = match driver {
        Driver::Ipvlan => ("ipvlan_mode", &["l2", "l3", "l3s"]),
        _ => ("macvlan_mode", &["bridge", "private", "vepa", "passthru"]),
    };
    let Some(wanted) = options.get(key) else { return Ok(known[0]) };
    known.iter().copied().find(|mode| mode == wanted).ok_or_else(|| {
        Error::invalid(format!("{wanted:?} is not a {key}")).with_hint(format!("there are {}", known.join(", ")))
    })
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, and not of the form of an id (CVE-2021-20206).
pub(super) fn check_name(name: &str) -> Result<()> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !first || !rest || name.len() > MAX_NAME || Id::parse(name).is_ok() {
        let shown: String = name.chars().take(300).collect();
        return Err(Error::invalid(format!("{shown:?} is not a name for a network"))
            .with_hint("use letters and digits, and behind the first one also dots, dashes and underscores"));
    }
    Ok(())
}

/// The name of an interface, as the kernel takes it, which is a part of paths too.
pub(super) fn check_link(name: &str) -> Result<()> {
    let fine = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if name.is_empty() || name.len() > MAX_LINK || !fine || matches!(name, "." | "..") || name.starts_with('-') {
        let shown: String = name.chars().take(300).collect();
        return Err(Error::invalid(format!("{shown:?} is not a name for an interface"))
            .with_hint(format!("at most {MAX_LINK} letters, digits, dots, dashes and underscores")));
    }
    Ok(())
}

/// Whether a listing shows it.
pub(super) fn suits(network: &Network, filter: &NetworkFilter) -> bool {
    let any = |list: &[String], fits: &dyn Fn(&str) -> bool| list.is_empty() || list.iter().any(|text| fits(text));
    any(&filter.name, &|text| network.name.contains(text))
        && any(&filter.id, &|text| network.id.as_str().starts_with(text))
        && any(&filter.driver, &|text| network.driver.as_str() == text)
        && filter.builtin.is_none_or(|builtin| network.is_predefined() == builtin)
        && filter.label.iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => network.labels.get(key).is_some_and(|found| found == value),
            None => network.labels.contains_key(wanted),
        })
}
