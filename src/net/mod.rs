//! Floor 3: networks. Links, addresses, rules and names in network namespaces; it gets a namespace and a plan.
//!
//! It knows neither containers nor images.

pub mod dns;
