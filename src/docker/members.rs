//! The listing of a network's members: `rhumb network members`, which Docker has only inside of its JSON.

use serde_json::json;

use crate::docker::format::{Listing, Row};
use crate::docker::network::host;
use crate::model::network::Endpoint;

/// The columns of `rhumb network members`.
pub const LISTING: Listing = Listing {
    type_name: "*network.memberContext",
    columns: &[
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("MAC", "MAC"),
        ("Interface", "INTERFACE"),
        ("Aliases", "ALIASES"),
        ("Ports", "PORTS"),
    ],
    table: r"{{.ID}}\t{{.Name}}\t{{.IPv4}}\t{{.IPv6}}\t{{.Aliases}}\t{{.Ports}}",
    quiet: "{{.ID}}",
    raw: None,
    quiet_wins: false,
};

/// A container's row.
pub fn row(one: &Endpoint, no_trunc: bool) -> Row {
    let ports = one.ports.iter().map(|port| format!("{}->{}/{}", host(port), port.container_port, port.protocol));
    let value = json!({
        "ID": if no_trunc { one.container.as_str() } else { one.container.short() },
        "Name": one.name,
        "IPv4": one.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        "IPv6": one.ip6.map(|ip| ip.to_string()).unwrap_or_default(),
        "MAC": one.mac,
        "Interface": one.interface,
        "Aliases": one.aliases.join(","),
        "Ports": ports.collect::<Vec<String>>().join(", "),
    });
    Row { value, labels: Default::default() }
}
