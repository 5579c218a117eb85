//! Bridges and rules as the records say they shall be, and the repair of what others took away.

use ipnet::IpNet;

use crate::base::{Digest, Id, Kind, Result};
use crate::engine::Engine;
use crate::engine::network::endpoints::mac_for;
use crate::engine::network::options;
use crate::model::network::{DEFAULT_NETWORK, Driver, Network, NetworkOptions};
use crate::net::plan::{self, Bridge, Published};
use crate::net::setup::{self, BridgeLink};
use crate::net::{conntrack, nft, nft::Change};
use crate::store::db::{Noun, Phase};

/// The first byte of the groups of interfaces that Rhumb uses: "R".
const GROUPS: u32 = 0x5200_0000;

/// What is different in a group of parents.
const PARENTS: u32 = 0x0100_0000;

/// The most elements of maps in one batch; a socket takes some 200 KiB.
const MAX_ELEMENTS: usize = 500;

impl Engine {
    /// The table of rules of this state root.
    pub(super) fn table(&self) -> String {
        match self.paths().root_id().as_str() {
            "" => "rhumb".to_owned(),
            root_id => format!("rhumb-{root_id}"),
        }
    }

    /// The group of interfaces of this state root.
    pub(super) fn group(&self) -> u32 {
        let hash = Digest::of(self.paths().root().as_os_str().as_encoded_bytes());
        GROUPS | u32::from_str_radix(&hash.hex()[..6], 16).expect("digits of a digest")
    }

    /// The group of interfaces of this state root that others are on top of: another one, since no rule is meant for them.
    pub(super) fn parent_group(&self) -> u32 {
        self.group() ^ PARENTS
    }

    /// The name of the bridge of a new network.
    pub(super) fn bridge_name(&self, options: &NetworkOptions, id: &Id) -> String {
        match (options::bridge(options), self.paths().root_id().as_str()) {
            (Some(name), _) => name.to_owned(),
            (None, "") if options.name == DEFAULT_NETWORK => "rhumb0".to_owned(),
            (None, "") => format!("rb-{}", &id.as_str()[..12]),
            (None, root_id) => format!("rb{}-{}", &root_id[..4], &id.as_str()[..8]),
        }
    }

    /// The name of the end on the host of a container's interface on a network.
    pub(super) fn link_name(&self, container: &Id, network: &Id) -> String {
        let hash = Digest::of(format!("{container} {network}").as_bytes());
        match self.paths().root_id().as_str() {
            "" => format!("rv{}", &hash.hex()[..13]),
            root_id => format!("rv{}{}", &root_id[..4], &hash.hex()[..9]),
        }
    }

    /// The ranges that a new bridge network must not meet.
    pub(super) fn routed(&self, options: &NetworkOptions) -> Result<Vec<IpNet>> {
        let mut ranges = setup::routed_ranges(false)?;
        if options.subnets.iter().any(|subnet| subnet.subnet.addr().is_ipv6()) {
            ranges.extend(setup::routed_ranges(true)?);
        }
        Ok(ranges)
    }

    /// Makes what a network needs on this host, or what is missing of it.
    pub(super) fn ensure_network(&self, network: &Network) -> Result<()> {
        match network.driver {
            Driver::Bridge => setup::ensure_bridge(&self.bridge_link(network)),
            Driver::Macvlan | Driver::Ipvlan => setup::ensure_parent(&network.link, self.parent_group()),
            Driver::Host | Driver::None => Ok(()),
        }
    }

    /// As [`Engine::ensure_network`] before a container is connected: what a boot or somebody took away comes back, the
    /// rules with it.
    pub(super) fn ensure_network_ready(&self, network: &Network) -> Result<()> {
        if network.driver != Driver::Bridge || setup::is_ready(&network.link) {
            return Ok(());
        }
        let _lock = self.lock_networks()?;
        self.ensure_network(network)?;
        self.write_rules()
    }

    fn bridge_link(&self, network: &Network) -> BridgeLink {
        let addresses = network.subnets.iter().filter_map(|subnet| {
            let gateway = subnet.gateway?;
            IpNet::new(gateway, subnet.subnet.prefix_len()).ok()
        });
        let gateway = network.subnet(false).and_then(|subnet| match subnet.gateway {
            Some(std::net::IpAddr::V4(ip)) => Some(ip),
            _ => None,
        });
        BridgeLink {
            mac: mac_for(&network.id, &network.id, gateway),
            name: network.link.clone(),
            group: self.group(),
            mtu: network.mtu(),
            addresses: addresses.collect(),
        }
    }

    /// The rules that the records ask for; none when no network needs any.
    pub(super) fn rules(&self) -> Result<Option<Vec<Change>>> {
        let networks = self.store.read(|tx| tx.list::<Network>(Noun::Network))?;
        let bridges: Vec<Bridge> = networks
            .into_iter()
            .filter(|row| row.phase != Phase::Removing)
            .map(|row| row.body)
            .filter(|network| network.driver == Driver::Bridge)
            .map(|network| Bridge {
                subnets: network.subnets.iter().map(|subnet| subnet.subnet).collect(),
                internal: network.internal,
                masquerade: network.masquerades(),
                icc: network.icc(),
                name: network.link,
            })
            .collect();
        Ok((!bridges.is_empty()).then(|| plan::rules(&bridges, self.group())))
    }

    /// Replaces the rules by those that the records ask for; the lock of all networks is held.
    pub(super) fn write_rules(&self) -> Result<()> {
        match self.rules()? {
            Some(rules) => nft::apply(&self.table(), &rules),
            None => match nft::apply(&self.table(), &[Change::DeleteTable]) {
                Err(error) if error.kind() == Kind::NotFound => Ok(()),
                other => other,
            },
        }
    }

    /// Makes everything anew that the records ask for and the kernel has not: bridges, rules, published ports.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn network_repair(&self) -> Result<()> {
        self.network_sweep()?;
        let _lock = self.lock_networks()?;
        let networks = self.store.read(|tx| tx.list::<Network>(Noun::Network))?;
        for network in networks.iter().map(|row| &row.body) {
            let users = self.endpoints_in(&network.id)?;
            if !users.is_empty() {
                self.ensure_network(network)?;
            }
        }
        self.write_rules()?;
        for network in networks.into_iter().map(|row| row.body) {
            for endpoint in self.endpoints_in(&network.id)? {
                // Who takes a bridge away unplugs everybody.
                if network.driver == Driver::Bridge && !setup::is_plugged(&endpoint.link, &network.link) {
                    setup::plug(&endpoint.link, &network.link, !network.icc())?;
                }
                // Whoever has the lock is making it or taking it away, and deals with its ports.
                let Some(_lock) = self.try_lock_container(&endpoint.container)? else { continue };
                if let Some(now) = self.network_endpoint(&network.id, &endpoint.container)?
                    && self.is_up(&now.container)?
                {
                    self.insert_ports(&now, &now.ports)?;
                }
            }
        }
        Ok(())
    }

    /// Adds published ports to the maps. One that is there already is fine.
    pub(super) fn insert_ports(
        &self,
        endpoint: &crate::model::network::Endpoint,
        ports: &[crate::model::network::PortBinding],
    ) -> Result<()> {
        let published = ports.iter().filter_map(|port| {
            let to = match port.host_ip.is_ipv6() {
                false => endpoint.ip.map(std::net::IpAddr::V4),
                true => endpoint.ip6.map(std::net::IpAddr::V6),
            };
            Some(Published { port: port.clone(), to: to? })
        });
        let published: Vec<Published> = published.collect();
        let changes: Vec<Change> = published.iter().map(|one| Change::Insert(plan::element(one))).collect();
        // As many as a socket takes at once; that all come at the same moment matters to nobody.
        changes.chunks(MAX_ELEMENTS).try_for_each(|part| nft::apply(&self.table(), part))?;
        conntrack::forget_strays(&published)
    }

    /// Takes published ports out of the maps. Those that are not there are fine.
    pub(in crate::engine) fn delete_ports(&self, ports: &[crate::model::network::PortBinding]) -> Result<nft::Sent> {
        let change = |port: &crate::model::network::PortBinding| {
            Change::Delete(plan::element(&Published { port: port.clone(), to: port.host_ip }))
        };
        let all: Vec<Change> = ports.iter().map(change).collect();
        let mut last = nft::Sent::NOTHING;
        for part in all.chunks(MAX_ELEMENTS) {
            match nft::send(&self.table(), part) {
                Err(error) if error.kind() == Kind::NotFound => {}
                sent => {
                    last = sent?;
                    continue;
                }
            }
            for one in part {
                match nft::apply(&self.table(), std::slice::from_ref(one)) {
                    Err(error) if error.kind() == Kind::NotFound => {}
                    other => other?,
                }
            }
        }
        Ok(last)
    }
}
