//! The small files that a container gets from the engine: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`. Pure text;
//! whoever creates the container writes them.

use std::net::IpAddr;

use crate::model::container::{ContainerOptions, ContainerRecord, HOST_GATEWAY, NetworkMode};
use crate::model::network::Endpoint;

/// Where the resolver of a network's names answers, inside the container.
pub(super) const RESOLVER: &str = "127.0.0.11";

/// Where each file is mounted, and its name in the container's folder.
pub(super) const MOUNTED: [(&str, &str); 3] =
    [("/etc/hosts", "hosts"), ("/etc/hostname", "hostname"), ("/etc/resolv.conf", "resolv.conf")];

/// hosts(5). With the host's network it begins with the host's own file, as Docker's does. `host` is where the host is found
/// from its networks, for options that ask for it; `links` are the addresses and names of linked containers on networks that have no names.
pub(super) fn hosts(
    record: &ContainerRecord,
    of_host: &str,
    endpoints: &[Endpoint],
    host: Option<IpAddr>,
    links: &[(IpAddr, String)],
) -> String {
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
        match (address.as_str(), host) {
            (HOST_GATEWAY, Some(host)) => text.push_str(&format!("{host}\t{name}\n")),
            (HOST_GATEWAY, None) if matches!(record.options.network_mode, NetworkMode::Host) => {
                text.push_str(&format!("127.0.0.1\t{name}\n"));
            }
            // It is known when the container is on a network.
            (HOST_GATEWAY, None) => {}
            (address, _) => text.push_str(&format!("{address}\t{name}\n")),
        }
    }
    links.iter().for_each(|(address, names)| text.push_str(&format!("{address}\t{names}\n")));
    for endpoint in endpoints {
        let own = full_name(record);
        let addresses = endpoint.ip.map(IpAddr::V4).into_iter().chain(endpoint.ip6.map(IpAddr::V6));
        addresses.for_each(|address| text.push_str(&format!("{address}\t{own}\n")));
    }
    text
}

/// The most that is read of a container's own file, in bytes.
pub(super) const MAX_HOSTS: u64 = 1 << 20;

/// hosts(5) with another address of a linked container: on the line that has the name of the link and the container's short
/// id, or on a new one.
pub(super) fn with_link(text: &str, address: IpAddr, alias: &str, short: &str, names: &str) -> String {
    let is_its = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        words.first() == Some(&alias) && words.contains(&short)
    };
    let new = format!("{address}\t{names}");
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter().position(is_its) {
        Some(at) => lines[at] = &new,
        None => lines.push(&new),
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn full_name(record: &ContainerRecord) -> String {
    match &record.options.domainname {
        Some(domain) => format!("{host}.{domain} {host}", host = record.hostname),
        None => record.hostname.clone(),
    }
}

/// Who answers a container's questions for names, when its options do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Servers {
    /// Whom the host asks: the container is where the host is, or nowhere.
    Host,
    /// Those of them that can be reached from another network namespace; if there are none, Docker's choice.
    Reachable,
    /// Its own resolver, which asks the others.
    Names,
}

/// Docker's choice when the host asks only itself (libnetwork, `resolvconf`).
const PUBLIC: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// resolv.conf(5): the host's, with what the options say instead.
pub(super) fn resolv_conf(options: &ContainerOptions, of_host: &str, servers: Servers) -> String {
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let kept = of_host.lines().filter(|line| match first(line).as_deref() {
        Some("nameserver") => false,
        Some("search" | "domain") => options.dns_search.is_empty(),
        Some("options") => options.dns_options.is_empty() && servers != Servers::Names,
        _ => true,
    });
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    let of_host_named = |word: &'static str| {
        of_host
            .lines()
            .filter(move |line| line.split_whitespace().next() == Some(word))
            .map(move |line| line.trim_start().trim_start_matches(word).trim())
    };
    let hosts: Vec<&str> = of_host_named("nameserver").collect();
    let given: Vec<&str> = options.dns.iter().map(String::as_str).collect();
    let wanted = match servers {
        Servers::Names => vec![RESOLVER],
        _ if !given.is_empty() => given,
        Servers::Host => hosts,
        Servers::Reachable => {
            let reachable: Vec<&str> = hosts.into_iter().filter(|server| !is_of_host_alone(server)).collect();
            if reachable.is_empty() { PUBLIC.to_vec() } else { reachable }
        }
    };
    wanted.iter().for_each(|server| text.push_str(&format!("nameserver {server}\n")));
    // A single dot means no search domain at all (docker run --dns-search=.).
    let search: Vec<&str> = options.dns_search.iter().map(String::as_str).filter(|domain| *domain != ".").collect();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    let mut words: Vec<&str> = options.dns_options.iter().map(String::as_str).collect();
    if servers == Servers::Names {
        if words.is_empty() {
            words = of_host_named("options").flat_map(str::split_whitespace).collect();
            words.retain(|word| !word.starts_with("ndots:"));
        }
        // Names of the networks have no dots: they are asked for as they are, before any search domain.
        if !words.iter().any(|word| word.starts_with("ndots:")) {
            words.push("ndots:0");
        }
    }
    if !words.is_empty() {
        text.push_str(&format!("options {}\n", words.join(" ")));
    }
    text
}

/// A loopback address, or one that means something only together with an interface of the host.
fn is_of_host_alone(server: &str) -> bool {
    server.contains('%') || server.parse().is_ok_and(|server: IpAddr| server.is_loopback() || server.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str =
        "# made\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch example.com\noptions edns0 ndots:2\n";

    fn check(change: impl FnOnce(&mut ContainerOptions), host: &str, servers: Servers, expected: &str) {
        let mut options = ContainerOptions::default();
        change(&mut options);
        assert_eq!(resolv_conf(&options, host, servers), expected);
    }

    #[test]
    fn resolv_conf_says_who_is_asked() {
        let of_host = "# made\nsearch example.com\noptions edns0 ndots:2\nnameserver 127.0.0.53\nnameserver 10.0.0.1\n";
        check(|_| {}, HOST, Servers::Host, of_host);
        let reachable = "# made\nsearch example.com\noptions edns0 ndots:2\nnameserver 10.0.0.1\n";
        check(|_| {}, HOST, Servers::Reachable, reachable);
        let names = "# made\nsearch example.com\nnameserver 127.0.0.11\noptions edns0 ndots:0\n";
        check(|_| {}, HOST, Servers::Names, names);
        check(
            |_| {},
            "nameserver ::1\nnameserver fe80::1%eth0\n",
            Servers::Reachable,
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n",
        );
        check(|_| {}, "", Servers::Names, "nameserver 127.0.0.11\noptions ndots:0\n");
    }

    #[test]
    fn the_line_of_a_link_follows_its_container_and_no_other_line_does() {
        let text = "127.0.0.1\tlocalhost\n10.0.0.2\tstore 0123456789ab db\n10.0.0.2\tother 0123456789ab db\n# own";
        let address = "10.0.0.9".parse().unwrap();
        let moved = with_link(text, address, "store", "0123456789ab", "store 0123456789ab shop");
        assert_eq!(
            moved,
            "127.0.0.1\tlocalhost\n10.0.0.9\tstore 0123456789ab shop\n10.0.0.2\tother 0123456789ab db\n# own\n"
        );
        assert_eq!(with_link("", address, "a", "b", "a b"), "10.0.0.9\ta b\n");
    }

    #[test]
    fn options_replace_what_the_host_says() {
        let given = |options: &mut ContainerOptions| {
            options.dns = vec!["9.9.9.9".into()];
            options.dns_search = vec!["a.test".into(), "b.test".into()];
            options.dns_options = vec!["ndots:3".into(), "attempts:1".into()];
        };
        let tail = "search a.test b.test\noptions ndots:3 attempts:1\n";
        check(given, HOST, Servers::Reachable, &format!("# made\nnameserver 9.9.9.9\n{tail}"));
        check(given, HOST, Servers::Names, &format!("# made\nnameserver 127.0.0.11\n{tail}"));
        check(
            |options| options.dns_search = vec![".".into()],
            "search x\n",
            Servers::Names,
            "nameserver 127.0.0.11\noptions ndots:0\n",
        );
    }
}
