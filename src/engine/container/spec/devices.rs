//! Devices of a container: its nodes, and the cgroup's rules for them.

use serde_json::{Value, json};

use crate::engine::container::host::{HostDevice, HostFacts};
use crate::model::container::{ContainerOptions, ContainerRecord, UsernsMode};

/// The nodes beside those that every container has. In a user namespace none can be made: see [`binds`].
pub(super) fn nodes(record: &ContainerRecord, host: &HostFacts) -> Vec<Value> {
    if record.options.userns_mode != UsernsMode::Host {
        return Vec::new();
    }
    let node = |device: &HostDevice| {
        json!({
            "path": device.path,
            "type": kind(device),
            "major": device.number.0,
            "minor": device.number.1,
            "fileMode": device.mode,
            "uid": device.owner.0,
            "gid": device.owner.1,
        })
    };
    host.devices.iter().map(node).collect()
}

/// The same as mounts of the host's own nodes.
pub(super) fn binds(record: &ContainerRecord, host: &HostFacts) -> Vec<Value> {
    if record.options.userns_mode == UsernsMode::Host {
        return Vec::new();
    }
    let bind = |device: &HostDevice| {
        json!({
            "destination": device.path, "type": "bind", "source": device.source,
            "options": ["bind", "rprivate", "nosuid", "noexec"],
        })
    };
    host.devices.iter().map(bind).collect()
}

/// Everything is denied but making nodes (which then cannot be opened), the harmless devices, and what was asked for.
pub(super) fn rules(options: &ContainerOptions, host: &HostFacts) -> Vec<Value> {
    if options.privileged {
        return vec![json!({ "allow": true, "access": "rwm" })];
    }
    let char_device = |major: i64, minor: Option<i64>| {
        let mut rule = json!({ "allow": true, "type": "c", "major": major, "access": "rwm" });
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rule
    };
    let mut rules = vec![
        json!({ "allow": false, "access": "rwm" }),
        json!({ "allow": true, "type": "c", "access": "m" }),
        json!({ "allow": true, "type": "b", "access": "m" }),
        char_device(1, Some(3)),
        char_device(1, Some(5)),
        char_device(1, Some(7)),
        char_device(1, Some(8)),
        char_device(1, Some(9)),
        char_device(5, Some(0)),
        char_device(5, Some(2)),
        char_device(136, None),
    ];
    rules.extend(host.devices.iter().map(|device| {
        let (major, minor) = device.number;
        json!({ "allow": true, "type": kind(device), "major": major, "minor": minor, "access": device.access })
    }));
    rules.extend(options.device_cgroup_rules.iter().filter_map(|text| rule(text)));
    rules
}

/// A rule as Docker writes it, which was checked when it was read: `c 1:* rw`. A star is every number.
fn rule(text: &str) -> Option<Value> {
    let mut parts = text.split(' ');
    let (kind, numbers, access) = (parts.next()?, parts.next()?, parts.next()?);
    let (major, minor) = numbers.split_once(':')?;
    let mut rule = json!({ "allow": true, "type": kind, "access": access });
    for (key, number) in [("major", major), ("minor", minor)] {
        if let Ok(number) = number.parse::<u32>() {
            rule[key] = json!(number);
        }
    }
    Some(rule)
}

fn kind(device: &HostDevice) -> &'static str {
    if device.block { "b" } else { "c" }
}
