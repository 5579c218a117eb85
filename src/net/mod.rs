//! Links, addresses, rules: what the kernel is told about networks.
//!
//! ```text
//! ipam      which range, which address (pure)         plan      networks and ports → rules, as data (pure)
//! nft       rules → one atomic batch                  netlink   links, addresses, routes; the door to rtnetlink
//! dns       the resolver of a container's names, and its loop
//! conntrack connections that the kernel remembers
//! setup     an interface in a network namespace, and what goes with a bridge
//! ```
//!
//! Neither containers nor images are known here: a caller gives a network namespace, and what shall be in it.

pub mod conntrack;
pub mod dns;
pub mod ipam;
pub mod netlink;
pub mod nft;
pub mod plan;
pub mod setup;
