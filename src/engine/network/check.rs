//! What `system check` asks of networks: claims without a container, links without a record, bridges and rules that are
//! gone.
//!
//! Things of containers that just ended go by themselves within moments, and somebody alive may be at work: only what is
//! still wrong after a while is a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::base::{Context as _, Id, Kind, Result};
use crate::engine::Engine;
use crate::engine::network::endpoints::uses;
use crate::engine::network::ports;
use crate::model::network::{Driver, Network};
use crate::model::system::Problem;
use crate::net::plan::{self, Published};
use crate::net::{nft, nft::Change, setup};
use crate::store::db::{Noun, Phase};

/// How long what is wrong may take to become right by itself, and how often it is looked at.
const SETTLE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
/// Where the kernel shows its interfaces.
const LINKS: &str = "/sys/class/net";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// A record that nobody finishes.
    Half(String),
    /// Claims of a container that has no monitor.
    Holder(String),
    /// A claim of a container that runs and makes no use of it: holder, space, key.
    Claim(String, String, String),
    /// An interface that no record knows.
    Link(String),
    /// A bridge that containers need is gone or down, or they are not at it.
    Bridge(String),
    /// The rules are not those that the records ask for.
    Rules(String),
    /// A published port that has no element in the maps.
    Port(String),
    /// An element that no container has claimed.
    Element(&'static str, Vec<u8>),
}

impl Engine {
    /// Looks for what is wrong with networks, and mends it with `repair`. Gives how many things were looked at, and what
    /// was found.
    pub(in crate::engine) fn network_check(&self, repair: bool) -> Result<(u64, Vec<Problem>)> {
        let checked = self.store.read(|tx| Ok(tx.ids(Noun::Network)?.len() + tx.claimants()?.len()))?;
        let begin = Instant::now();
        let mut faults = self.network_faults()?;
        while !faults.is_empty() && begin.elapsed() < SETTLE {
            std::thread::sleep(LOOK);
            let now = self.network_faults()?;
            // What comes and goes is somebody at work.
            faults.retain(|fault| now.contains(fault));
        }
        let mut problems = Vec::new();
        let mut remake = false;
        for fault in faults {
            remake |= matches!(fault, Fault::Bridge(_) | Fault::Rules(_) | Fault::Port(_));
            let mended = match (&fault, repair) {
                (Fault::Half(_), _) | (_, false) => false,
                (Fault::Holder(id), true) => self.network_mend_holder(id)?,
                (Fault::Claim(holder, space, key), true) => {
                    self.store.write(|tx| tx.unclaim(space, key, holder))?;
                    true
                }
                (Fault::Link(name), true) => setup::remove_links([name.as_str()]).map(|()| true)?,
                (Fault::Element(map, key), true) => self.network_drop_element(map, key)?,
                (Fault::Bridge(_) | Fault::Rules(_) | Fault::Port(_), true) => true,
            };
            problems.push(problem(&fault, mended));
        }
        if repair && remake {
            self.network_repair()?;
        }
        Ok((checked as u64, problems))
    }

    fn network_faults(&self) -> Result<BTreeSet<Fault>> {
        let mut faults = BTreeSet::new();
        // The kernel's account first: a record is there before what it stands for.
        let links = links()?;
        let (networks, holders) = self.store.read(|tx| Ok((tx.list::<Network>(Noun::Network)?, tx.claimants()?)))?;
        for row in networks.iter().filter(|row| row.phase != Phase::Ready) {
            faults.insert(Fault::Half(row.body.id.to_string()));
        }
        let mut ends = BTreeSet::new();
        for holder in holders {
            let Ok(id) = Id::parse(&holder) else { continue };
            for claim in self.store.read(|tx| tx.claims_of(&holder))? {
                if let Some(network) = claim.space.strip_prefix("address/") {
                    ends.insert(self.link_name(&id, &Id::parse(network)?));
                }
            }
            // Somebody is at work with it.
            let Some(_lock) = self.try_lock_container(&id)? else { continue };
            let claims = self.store.read(|tx| tx.claims_of(&holder))?;
            if self.is_up(&id)? {
                let used = self.network_endpoints_of(&id)?;
                let unused = claims.into_iter().filter(|claim| !used.iter().any(|one| uses(one, claim)));
                faults.extend(unused.map(|claim| Fault::Claim(claim.holder, claim.space, claim.key)));
            } else if !claims.is_empty() {
                faults.insert(Fault::Holder(holder));
            }
        }
        let bridges: BTreeSet<&str> = networks.iter().map(|row| row.body.link.as_str()).collect();
        for name in links {
            if self.owns_link(&name, &bridges) && !bridges.contains(name.as_str()) && !ends.contains(&name) {
                faults.insert(Fault::Link(name));
            }
        }
        self.find_rule_faults(&networks.into_iter().map(|row| row.body).collect::<Vec<_>>(), &mut faults)?;
        Ok(faults)
    }

    /// Whether this state root made an interface, as its name says. The ends of containers' interfaces of the default root
    /// could be another root's by their names: those are known by the bridge that they are at.
    fn owns_link(&self, name: &str, bridges: &BTreeSet<&str>) -> bool {
        let hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match self.paths().root_id().as_str() {
            "" if name == "rhumb0" => true,
            "" if name.strip_prefix("rb-").is_some_and(|rest| hex(rest, 12)) => true,
            "" => {
                let bridge = std::fs::read_link(format!("{LINKS}/{name}/master"));
                let bridge = bridge.ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
                name.strip_prefix("rv").is_some_and(|rest| hex(rest, 13))
                    && bridge.is_some_and(|bridge| bridges.contains(bridge.as_str()))
            }
            root_id => {
                let four = &root_id[..4];
                name.strip_prefix(&format!("rb{four}-")).is_some_and(|rest| hex(rest, 8))
                    || name.strip_prefix(&format!("rv{four}")).is_some_and(|rest| hex(rest, 9))
            }
        }
    }

    fn find_rule_faults(&self, networks: &[Network], faults: &mut BTreeSet<Fault>) -> Result<()> {
        // Somebody is at the rules.
        let Some(_lock) = self.try_lock_networks()? else { return Ok(()) };
        for network in networks.iter().filter(|network| network.driver == Driver::Bridge) {
            let endpoints = self.network_endpoints(&network.id)?;
            let plugged = |link: &str| setup::is_plugged(link, &network.link);
            if !endpoints.is_empty() && !setup::is_ready(&network.link)
                || !endpoints.iter().all(|one| plugged(&one.link))
            {
                faults.insert(Fault::Bridge(network.name.clone()));
            }
        }
        let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
        for change in self.rules()?.unwrap_or_default() {
            match change {
                Change::Chain { name, .. } => drop(wanted.entry(name).or_default()),
                Change::Rule(chain, _) => *wanted.entry(chain).or_default() += 1,
                _ => {}
            }
        }
        let table = self.table();
        let found = match nft::count_rules(&table) {
            Err(error) if error.kind() == Kind::NotFound => BTreeMap::new(),
            // A kernel without rules, or that lets us make none, has none of ours.
            Err(error) if matches!(error.kind(), Kind::Unsupported | Kind::PermissionDenied) && wanted.is_empty() => {
                return Ok(());
            }
            other => other?,
        };
        if !found.iter().map(|(chain, count)| (chain.as_str(), *count)).eq(wanted.iter().map(|(c, n)| (*c, *n))) {
            let text = if found.is_empty() { "are gone" } else { "are not those that networks need" };
            faults.insert(Fault::Rules(format!("{table} {text}")));
        }
        if found.is_empty() {
            return Ok(());
        }
        let mut keys: BTreeMap<&'static str, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for map in plan::MAPS {
            match nft::keys(&table, map) {
                Err(error) if error.kind() == Kind::NotFound => {}
                found => drop(keys.insert(map, found?)),
            }
        }
        let has = |keys: &BTreeMap<_, BTreeSet<Vec<u8>>>, element: &nft::Element| {
            keys.get(element.map).is_some_and(|keys| keys.contains(&element.key))
        };
        let mut claimed = BTreeSet::new();
        for holder in self.store.read(|tx| tx.claimants())? {
            for claim in self.store.read(|tx| tx.claims_of(&holder))? {
                if let Some(port) = ports::of_claim(&claim.space, &claim.key) {
                    let element = plan::element(&Published { to: port.host_ip, port });
                    claimed.insert((element.map, element.key));
                }
            }
        }
        for network in networks {
            for endpoint in self.network_endpoints(&network.id)? {
                for port in &endpoint.ports {
                    let element = plan::element(&Published { port: port.clone(), to: port.host_ip });
                    if !has(&keys, &element) {
                        let port = format!("{}/{} of {}", port.host_port, port.protocol, endpoint.name);
                        faults.insert(Fault::Port(port));
                    }
                }
            }
        }
        for (map, keys) in keys {
            let unknown = keys.into_iter().filter(|key| !claimed.contains(&(map, key.clone())));
            faults.extend(unknown.map(|key| Fault::Element(map, key)));
        }
        Ok(())
    }

    fn network_mend_holder(&self, holder: &str) -> Result<bool> {
        let id = Id::parse(holder)?;
        let Some(_lock) = self.try_lock_container(&id)? else { return Ok(false) };
        if self.is_up(&id)? {
            return Ok(false);
        }
        self.network_release(&id).map(|_| true)
    }

    fn network_drop_element(&self, map: &'static str, key: &[u8]) -> Result<bool> {
        let element = nft::Element { map, key: key.to_vec(), data: Vec::new() };
        match nft::apply(&self.table(), &[Change::Delete(element)]) {
            Err(error) if error.kind() == Kind::NotFound => Ok(true),
            other => other.map(|()| true),
        }
    }
}

fn problem(fault: &Fault, repaired: bool) -> Problem {
    let (noun, name, problem) = match fault {
        Fault::Half(id) => {
            ("network", id.clone(), "a command that made or removed it died in the middle, and what is left resists")
        }
        Fault::Holder(id) => ("container", id.clone(), "it does not run and has addresses or ports"),
        Fault::Claim(holder, space, key) => {
            ("container", holder.clone(), &*format!("it holds {key} of {space} and makes no use of it"))
        }
        Fault::Link(name) => ("interface", name.clone(), "no network and no container has it"),
        Fault::Bridge(name) => ("network", name.clone(), "its bridge is gone or down, or containers are not at it"),
        Fault::Rules(text) => ("rules", text.clone(), "somebody changed them"),
        Fault::Port(text) => ("port", text.clone(), "it is published and leads nowhere"),
        Fault::Element(map, key) => {
            let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            ("rule", format!("{map} {key}"), "no container publishes that port")
        }
    };
    Problem { noun: noun.to_owned(), name, problem: problem.to_owned(), repaired }
}

/// The names of this host's interfaces.
fn links() -> Result<Vec<String>> {
    let entries = std::fs::read_dir(LINKS).context(|| format!("reading {LINKS:?}"))?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| -> Result<String> {
        Ok(entry.context(|| format!("reading {LINKS:?}"))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}
