//! Names that a container's resolver answers itself, as plain data in two kinds of files.
//!
//! ```text
//! <run>/containers/<id>/names.json     Names: which networks, which links, where everything else is asked
//! <run>/networks/<id>/zone.json        Zone: who is in the network; one file for all containers of it
//! ```
//!
//! Whoever writes them replaces them as a whole; the resolver reads them anew when they have changed.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version of both files.
pub const VERSION: u32 = 1;

/// What one container's resolver knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// [`VERSION`].
    pub version: u32,
    /// The zone files of its networks; a name in several is that of the first.
    #[serde(default)]
    pub zones: Vec<PathBuf>,
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

/// Who is in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// [`VERSION`].
    pub version: u32,
    /// The network's name, under which names can be asked for as `name.network`.
    pub network: String,
    /// Its containers.
    #[serde(default)]
    pub members: Vec<Member>,
}

/// One container in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The container's id.
    pub id: String,
    /// Its name, its short id, its aliases. Several members may share one: it then has the addresses of all.
    pub names: Vec<String>,
    /// Its addresses in this network.
    pub addresses: Vec<IpAddr>,
}
