//! What the resolver knows: the files of [`crate::model::names`], read anew when they have changed, as tables to look in.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use crate::base::Id;
use crate::model::names::{Member, Names, VERSION};

/// Many times what such a file takes.
const MAX_FILE: u64 = 1 << 20;
/// More than a subnet has addresses for, as a rule.
const MAX_MEMBERS: usize = 16_384;
/// What changed so short a time before it was read may have changed again without looking different: the kernel's times
/// of files go on in steps of some milliseconds.
const RECENT: Duration = Duration::from_millis(50);
/// As many as the C library looks at (resolv.conf(5)); each that is silent costs time.
const MAX_SERVERS: usize = 3;
const PORT: u16 = 53;

/// Everything that is known at one time.
#[derive(Debug, Default)]
pub(super) struct Book {
    file: PathBuf,
    seen: HashMap<PathBuf, Option<Print>>,
    recent: bool,
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
        if !self.recent && !self.seen.is_empty() && self.seen.iter().all(|(path, print)| of(path) == *print) {
            return;
        }
        self.seen.clear();
        self.recent = false;
        let own = self.file.clone();
        self.see(&own);
        if let Some(names) = read_json::<Names>(&own).filter(|names| names.version == VERSION) {
            self.names = names;
        }
        self.zones.clear();
        for zone in self.names.zones.clone() {
            self.see(&zone.folder);
            self.zones.push(Table::of(&zone.network, members(&zone.folder)));
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
        let print = of(path); // before it is read: a change in between is seen later
        self.recent |= print.is_some_and(is_recent);
        self.seen.insert(path.to_owned(), print);
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
    fn of(network: &str, members: Vec<Member>) -> Table {
        let mut table = Table { network: network.to_lowercase(), ..Table::default() };
        for member in members {
            let addresses: Vec<IpAddr> =
                member.ip.map(IpAddr::V4).into_iter().chain(member.ip6.map(IpAddr::V6)).collect();
            for address in &addresses {
                table.by_address.entry(*address).or_insert_with(|| format!("{}.{network}", member.name));
            }
            let short = member.container.get(..Id::SHORT).unwrap_or(&member.container);
            let mut names = vec![member.name.to_lowercase(), short.to_lowercase(), member.hostname.to_lowercase()];
            names.retain(|name| !name.is_empty());
            names.extend(member.aliases.iter().map(|name| name.to_lowercase()));
            names.sort();
            names.dedup();
            for name in names {
                table.by_name.entry(name).or_default().extend(&addresses);
            }
            table.by_id.entry(member.container).or_default().extend(addresses);
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

fn is_recent((.., seconds, nanoseconds): Print) -> bool {
    let changed = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0));
    // One in the future is looked at again and again until it is not.
    SystemTime::UNIX_EPOCH.elapsed().is_ok_and(|now| now < changed + RECENT)
}

/// Who is in the network of this folder, in the order of their files' names.
fn members(folder: &Path) -> Vec<Member> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let hidden = |path: &PathBuf| path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let paths = entries.map(|entry| entry.path()).filter(|path| !hidden(path));
    let mut paths: Vec<PathBuf> = paths.take(MAX_MEMBERS).collect();
    paths.sort();
    paths.iter().filter_map(|path| read_json(path)).collect()
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
    use crate::model::names::{Link, Zone};

    fn write(path: &Path, value: &impl serde::Serialize) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = path.with_file_name(".new");
        fs::write(&new, serde_json::to_vec(value).unwrap()).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn join(folder: &Path, id: &str, names: &[&str], addresses: &[&str]) {
        let member = Member {
            container: id.repeat(32),
            name: names[0].to_owned(),
            hostname: format!("host-of-{}", names[0]),
            aliases: names[1..].iter().map(|name| (*name).to_owned()).collect(),
            ip: addresses.iter().find_map(|address| address.parse().ok()),
            ip6: addresses.iter().find_map(|address| address.parse().ok()),
        };
        write(&folder.join(&member.container), &member);
    }

    #[test]
    fn names_are_found_in_the_order_of_networks_and_change_with_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        join(&path("front"), "a1", &["Web", "www"], &["10.0.0.2", "fd00::2"]);
        join(&path("front"), "b1", &["api", "www"], &["10.0.0.3"]);
        join(&path("back"), "c1", &["db", "www"], &["10.1.0.9"]);
        fs::write(path("back/half"), "{\"name\":").unwrap();
        let zone = |network: &str, name: &str| Zone { network: network.into(), folder: path(name) };
        let names = Names {
            version: VERSION,
            zones: vec![zone("Front", "front"), zone("gone", "gone"), zone("back", "back")],
            links: vec![Link { alias: "Database".into(), target: "c1".repeat(32) }],
            ..Names::default()
        };
        write(&path("names"), &names);
        let mut book = Book::open(path("names"));
        let ask = |book: &Book, name: &str| {
            book.addresses(name).map(|found| found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(ask(&book, "web").as_deref(), Some("10.0.0.2 fd00::2"));
        assert_eq!(ask(&book, "a1a1a1a1a1a1").as_deref(), Some("10.0.0.2 fd00::2"));
        assert_eq!(ask(&book, "host-of-web").as_deref(), Some("10.0.0.2 fd00::2"));
        assert_eq!(ask(&book, "www").as_deref(), Some("10.0.0.2 fd00::2 10.0.0.3"));
        assert_eq!(ask(&book, "www.back").as_deref(), Some("10.1.0.9"));
        assert_eq!(ask(&book, "web.front").as_deref(), Some("10.0.0.2 fd00::2"));
        assert_eq!(ask(&book, "database").as_deref(), Some("10.1.0.9"));
        assert_eq!(ask(&book, "web.back"), None);
        assert_eq!(book.name("10.1.0.9".parse().unwrap()), Some("db.back"));
        assert_eq!(book.name("fd00::2".parse().unwrap()), Some("Web.Front"));
        assert_eq!(book.name("10.1.0.8".parse().unwrap()), None);
        join(&path("gone"), "dd", &["late"], &["10.9.0.1"]);
        book.refresh();
        assert_eq!(ask(&book, "late").as_deref(), Some("10.9.0.1"));
        // Changes that follow each other faster than the times of files go on.
        for last in 2..50 {
            let address = format!("10.9.0.{last}");
            join(&path("gone"), "dd", &["late"], &[&address]);
            book.refresh();
            assert_eq!(ask(&book, "late").as_deref(), Some(&*address));
        }
        fs::remove_file(path("names")).unwrap();
        fs::remove_dir_all(path("gone")).unwrap();
        book.refresh();
        assert_eq!(ask(&book, "late"), None);
        assert_eq!(ask(&book, "db").as_deref(), Some("10.1.0.9"), "what was known of the container stays");
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
