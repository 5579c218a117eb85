//! The map of `update`: those keys of a container that can change while it exists.

use serde_json::{Map, Value};

use crate::base::{Error, Result};
use crate::docker::options::keys::{KEYS, REFUSED};
use crate::docker::options::{container_options, fields};
use crate::model::limits::ContainerUpdate;

/// What can change.
const CHANGEABLE: [&str; 14] = [
    "mem_limit",
    "memswap_limit",
    "mem_reservation",
    "cpus",
    "cpu_quota",
    "cpu_period",
    "cpu_shares",
    "cpuset",
    "cpuset_mems",
    "pids_limit",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "blkio_weight",
    "restart",
];

/// Reads a map such as `{"mem_limit": "96m", "restart": "always"}`.
///
/// # Errors
/// As [`container_options`]; `invalid_argument` for a key that cannot change.
pub fn container_update(map: &Map<String, Value>) -> Result<ContainerUpdate> {
    let fields = fields(map, KEYS, REFUSED)?;
    for (canonical, field) in &fields {
        if !CHANGEABLE.contains(canonical) {
            return Err(Error::invalid(format!("{:?} of a container that exists cannot be changed", field.key))
                .with_hint(format!("these can: {}", CHANGEABLE.join(", "))));
        }
    }
    let options = container_options(map)?;
    let restart = fields.iter().any(|(canonical, _)| *canonical == "restart").then_some(options.restart);
    Ok(ContainerUpdate { limits: options.limits, restart })
}
