//! Names that a container's resolver answers itself, as plain data in two kinds of files.
//!
//! ```text
//! <run>/containers/<id>/names.json            Names: which networks, which links, where everything else is asked
//! <run>/networks/<network id>/<container id>  Member: one container in a network; other fields are not for names
//! ```
//!
//! Whoever writes them replaces them as a whole; the resolver reads them anew when they have changed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version of [`Names`].
pub const VERSION: u32 = 1;

/// What one container's resolver knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// [`VERSION`].
    pub version: u32,
    /// Its networks; a name in several is that of the first.
    #[serde(default)]
    pub zones: Vec<Zone>,
    /// Names of other containers that only this one uses.
    #[serde(default)]
    pub links: Vec<Link>,
    /// What the networks do not know is asked elsewhere; otherwise it is refused (`internal` networks alone).
    #[serde(default)]
    pub forward: bool,
    /// The servers that are asked, in this order; empty: those of `resolv_conf`, as it is at the time.
    #[serde(default)]
    pub servers: Vec<IpAddr>,
    /// The host's resolv.conf(5).
    #[serde(default)]
    pub resolv_conf: PathBuf,
    /// The user set `ndots`: a name without dots is then never asked elsewhere, so that the search domains come in.
    #[serde(default)]
    pub ndots: bool,
}

/// `--link container:alias`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The name here.
    pub alias: String,
    /// The id of the container that is meant.
    pub target: String,
}

/// A network with names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// The network's name, under which names can be asked for as `name.network`.
    pub network: String,
    /// The folder with a file for each [`Member`].
    pub folder: PathBuf,
}

/// One container in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The container's id, whose first twelve digits are a name too.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Its host name, which is a name too.
    #[serde(default)]
    pub hostname: String,
    /// Further names. Several members may share one: it then has the addresses of all.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Its address in this network.
    #[serde(default)]
    pub ip: Option<Ipv4Addr>,
    /// Its IPv6 address.
    #[serde(default)]
    pub ip6: Option<Ipv6Addr>,
}
