//! What the resolver knows: the files of [`crate::model::names`], read anew when they have changed, as tables to look in.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::model::names::{Names, VERSION, Zone};

/// A zone of some ten thousand names.
const MAX_FILE: u64 = 8 << 20;
/// As many as the C library looks at (resolv.conf(5)); each that is silent costs time.
const MAX_SERVERS: usize = 3;
const PORT: u16 = 53;

/// Everything that is known at one time.
#[derive(Debug, Default)]
pub(super) struct Book {
    file: PathBuf,
    seen: HashMap<PathBuf, Option<Print>>,
    names: Names,
    zones: Vec<Table>,
    servers: Vec<SocketAddr>,
}

/// What a file looks like from outside: inode, size, time.
type Print = (u64, u64, i64, i64);

#[derive(Debug, Default)]
struct Table {
    network: String,
    by_name: HashMap<String, Vec<IpAddr>>,
    by_id: HashMap<String, Vec<IpAddr>>,
    by_address: HashMap<IpAddr, String>,
}

impl Book {
    /// Of the file of [`Names`] at `file`.
    pub(super) fn open(file: PathBuf) -> Book {
        let mut book = Book { file, ..Book::default() };
        book.refresh();
        book
    }

    /// Reads what has changed. A file that cannot be read now leaves what was known of the container, and nothing of a
    /// network, which may be gone.
    pub(super) fn refresh(&mut self) {
        if !self.seen.is_empty() && self.seen.iter().all(|(path, print)| of(path) == *print) {
            return;
        }
        self.seen.clear();
        let own = self.file.clone();
        self.see(&own);
        if let Some(names) = read_json::<Names>(&own).filter(|names| names.version == VERSION) {
            self.names = names;
        }
        self.zones.clear();
        for path in self.names.zones.clone() {
            self.see(&path);
            if let Some(zone) = read_json::<Zone>(&path).filter(|zone| zone.version == VERSION) {
                self.zones.push(Table::of(zone));
            }
        }
        self.servers = self.names.servers.iter().map(|address| SocketAddr::new(*address, PORT)).collect();
        if self.servers.is_empty() {
            let path = self.names.resolv_conf.clone();
            self.see(&path);
            self.servers = servers_of(&read(&path).unwrap_or_default());
        }
        self.servers.truncate(MAX_SERVERS);
    }

    fn see(&mut self, path: &Path) {
        self.seen.insert(path.to_owned(), of(path)); // before it is read: a change in between is seen later
    }

    /// The addresses of a name in lower case without a final dot; none when it is not ours to answer.
    pub(super) fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        let linked = self.names.links.iter().filter(|link| link.alias.eq_ignore_ascii_case(name));
        let linked = linked.flat_map(|link| self.zones.iter().filter_map(|zone| zone.by_id.get(&link.target)));
        let full = name.rsplit_once('.');
        let inside = full.and_then(|(name, network)| {
            let mut zones = self.zones.iter().filter(|zone| zone.network == network);
            zones.find_map(|zone| zone.by_name.get(name))
        });
        let found = linked.into_iter().next();
        found.or_else(|| self.zones.iter().find_map(|zone| zone.by_name.get(name))).or(inside).map(Vec::as_slice)
    }

    /// The name of an address in one of the networks: `name.network`.
    pub(super) fn name(&self, address: IpAddr) -> Option<&str> {
        self.zones.iter().find_map(|zone| zone.by_address.get(&address)).map(String::as_str)
    }

    /// Who is asked for `name`, which is not ours; none at all when nobody is.
    pub(super) fn servers(&self, name: &str) -> &[SocketAddr] {
        if self.names.forward { if self.stays(name) { &[] } else { &self.servers } } else { &[] }
    }

    /// A name without dots stays here, where search domains are to come in first.
    pub(super) fn stays(&self, name: &str) -> bool {
        self.names.forward && self.names.ndots && !name.is_empty() && !name.contains('.')
    }
}

impl Table {
    fn of(zone: Zone) -> Table {
        let mut table = Table { network: zone.network.to_lowercase(), ..Table::default() };
        for member in zone.members {
            let mut names: Vec<String> = member.names.iter().map(|name| name.to_lowercase()).collect();
            if let Some(first) = names.first() {
                for address in &member.addresses {
                    table.by_address.entry(*address).or_insert_with(|| format!("{first}.{}", table.network));
                }
            }
            names.sort();
            names.dedup();
            for name in names {
                table.by_name.entry(name).or_default().extend(&member.addresses);
            }
            table.by_id.entry(member.id).or_default().extend(member.addresses);
        }
        table
    }
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for (RFC 1035 3.5, RFC 3596 2.5).
pub(super) fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let bytes: Vec<u8> = digits.split('.').rev().map(|digit| digit.parse().ok()).collect::<Option<_>>()?;
        return Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)));
    }
    let digits: Vec<&str> = name.strip_suffix(".ip6.arpa")?.split('.').rev().collect();
    if digits.len() != 32 || digits.iter().any(|digit| digit.len() != 1) {
        return None;
    }
    Some(IpAddr::from(Ipv6Addr::from(u128::from_str_radix(&digits.concat(), 16).ok()?)))
}

/// The servers of resolv.conf(5).
fn servers_of(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    lines.filter_map(server).collect()
}

fn server(text: &str) -> Option<SocketAddr> {
    if let Some((address, zone)) = text.split_once('%') {
        let index = match zone.parse() {
            Ok(index) => index,
            Err(_) if zone.contains('/') => return None,
            Err(_) => {
                fs::read_to_string(Path::new("/sys/class/net").join(zone).join("ifindex")).ok()?.trim().parse().ok()?
            }
        };
        return Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, index).into());
    }
    Some(SocketAddr::new(text.parse().ok()?, PORT))
}

fn of(path: &Path) -> Option<Print> {
    let facts = fs::metadata(path).ok()?;
    Some((facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec()))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_str(&read(path)?).ok()
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::{Link, Member};

    fn zone(network: &str, members: &[(&str, &[&str], &[&str])]) -> Zone {
        let member = |(id, names, addresses): &(&str, &[&str], &[&str])| Member {
            id: (*id).to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        Zone { version: VERSION, network: network.to_owned(), members: members.iter().map(member).collect() }
    }

    fn write(path: &Path, value: &impl serde::Serialize) {
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(value).unwrap()).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    #[test]
    fn names_are_found_in_the_order_of_networks_and_change_with_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write(
            &path("front"),
            &zone(
                "Front",
                &[("a1", &["Web", "www"], &["10.0.0.2", "fd00::2"]), ("b1", &["api", "www"], &["10.0.0.3"])],
            ),
        );
        write(&path("back"), &zone("back", &[("c1", &["db", "www"], &["10.1.0.9"])]));
        let names = Names {
            version: VERSION,
            zones: vec![path("front"), path("gone"), path("back")],
            links: vec![Link { alias: "Database".into(), target: "c1".into() }],
            ..Names::default()
        };
        write(&path("names"), &names);
        let mut book = Book::open(path("names"));
        let ask = |book: &Book, name: &str| {
            book.addresses(name).map(|found| found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(ask(&book, "web").as_deref(), Some("10.0.0.2 fd00::2"));
        assert_eq!(ask(&book, "www").as_deref(), Some("10.0.0.2 fd00::2 10.0.0.3"));
        assert_eq!(ask(&book, "www.back").as_deref(), Some("10.1.0.9"));
        assert_eq!(ask(&book, "web.front").as_deref(), Some("10.0.0.2 fd00::2"));
        assert_eq!(ask(&book, "database").as_deref(), Some("10.1.0.9"));
        assert_eq!(ask(&book, "web.back"), None);
        assert_eq!(book.name("10.1.0.9".parse().unwrap()), Some("db.back"));
        assert_eq!(book.name("fd00::2".parse().unwrap()), Some("web.front"));
        assert_eq!(book.name("10.1.0.8".parse().unwrap()), None);
        write(&path("gone"), &zone("gone", &[("d", &["late"], &["10.9.0.1"])]));
        book.refresh();
        assert_eq!(ask(&book, "late").as_deref(), Some("10.9.0.1"));
        std::fs::remove_file(path("names")).unwrap();
        book.refresh();
        assert_eq!(ask(&book, "late").as_deref(), Some("10.9.0.1"), "what was known stays");
    }

    #[test]
    fn servers_are_the_given_ones_or_those_of_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("resolv.conf"), "# x\nnameserver 10.0.0.1\noptions y\nnameserver fd00::1\nnameserver bad\nnameserver fe80::1%7\nnameserver 1.1.1.1\n").unwrap();
        let mut names = Names { version: VERSION, forward: true, resolv_conf: path("resolv.conf"), ..Names::default() };
        write(&path("names"), &names);
        let mut book = Book::open(path("names"));
        let shown =
            |book: &Book, name| book.servers(name).iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(shown(&book, "x.y"), "10.0.0.1:53 [fd00::1]:53 [fe80::1%7]:53");
        (names.servers, names.ndots) = (vec!["9.9.9.9".parse().unwrap()], true);
        write(&path("names"), &names);
        book.refresh();
        assert_eq!((shown(&book, "x.y"), shown(&book, "x")), ("9.9.9.9:53".to_owned(), String::new()));
        names.forward = false;
        write(&path("names"), &names);
        book.refresh();
        assert_eq!(shown(&book, "x.y"), "");
    }

    #[test]
    fn reverse_names_are_read() {
        assert_eq!(reversed("2.0.0.10.in-addr.arpa"), Some("10.0.0.2".parse().unwrap()));
        let six = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(reversed(six), Some("fd00::2".parse().unwrap()));
        for other in
            ["0.0.10.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "999.0.0.1.in-addr.arpa", "x.ip6.arpa", "a.b", ""]
        {
            assert_eq!(reversed(other), None, "{other}");
        }
    }
}
