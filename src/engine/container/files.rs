//! The small files that a container gets from the engine: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`. Pure text;
//! whoever creates the container writes them.

use std::net::IpAddr;

use crate::model::container::{ContainerRecord, NetworkMode};
use crate::model::network::Endpoint;

/// Where the resolver of a network's names answers, inside the container.
pub(super) const RESOLVER: &str = "127.0.0.11";

/// Where each file is mounted, and its name in the container's folder.
pub(super) const MOUNTED: [(&str, &str); 3] =
    [("/etc/hosts", "hosts"), ("/etc/hostname", "hostname"), ("/etc/resolv.conf", "resolv.conf")];

/// hosts(5). With the host's network it begins with the host's own file, as Docker's does.
pub(super) fn hosts(record: &ContainerRecord, of_host: &str, endpoints: &[Endpoint]) -> String {
    let mut text = match record.options.network_mode {
        NetworkMode::Host => of_host.to_owned(),
        _ => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
              ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned(),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    if matches!(record.options.network_mode, NetworkMode::None) {
        text.push_str(&format!("127.0.1.1\t{}\n", full_name(record)));
    }
    for (name, address) in &record.options.extra_hosts {
        let host = || endpoints.iter().find(|one| one.is_gateway).or(endpoints.first()).and_then(gateway_of);
        match (address.as_str(), host()) {
            ("host-gateway", Some(host)) => text.push_str(&format!("{host}\t{name}\n")),
            ("host-gateway", None) if matches!(record.options.network_mode, NetworkMode::Host) => {
                text.push_str(&format!("127.0.0.1\t{name}\n"));
            }
            // It is known when the container is on a network.
            ("host-gateway", None) => {}
            (address, _) => text.push_str(&format!("{address}\t{name}\n")),
        }
    }
    for endpoint in endpoints {
        let own = full_name(record);
        let addresses = endpoint.ip.map(IpAddr::V4).into_iter().chain(endpoint.ip6.map(IpAddr::V6));
        addresses.for_each(|address| text.push_str(&format!("{address}\t{own}\n")));
    }
    text
}

/// The host as a network shows it; known for internal ones too, since its containers reach it there.
fn gateway_of(endpoint: &Endpoint) -> Option<IpAddr> {
    endpoint.gateway.map(IpAddr::V4).or(endpoint.gateway6.map(IpAddr::V6))
}

fn full_name(record: &ContainerRecord) -> String {
    match &record.options.domainname {
        Some(domain) => format!("{host}.{domain} {host}", host = record.hostname),
        None => record.hostname.clone(),
    }
}

/// resolv.conf(5): the host's, with what the options say instead.
/// With `names` the resolver of networks answers, and asks the others.
pub(super) fn resolv_conf(record: &ContainerRecord, of_host: &str, names: bool) -> String {
    let options = &record.options;
    let kept = of_host.lines().filter(|line| match line.split_whitespace().next() {
        Some("nameserver") => options.dns.is_empty() && !names,
        Some("search" | "domain") => options.dns_search.is_empty(),
        Some("options") => options.dns_options.is_empty(),
        _ => true,
    });
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    match names {
        true => text.push_str(&format!("nameserver {RESOLVER}\n")),
        false => options.dns.iter().for_each(|server| text.push_str(&format!("nameserver {server}\n"))),
    }
    // A single dot means no search domain at all (docker run --dns-search=.).
    let search: Vec<&str> = options.dns_search.iter().map(String::as_str).filter(|domain| *domain != ".").collect();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    if !options.dns_options.is_empty() {
        text.push_str(&format!("options {}\n", options.dns_options.join(" ")));
    }
    text
}
