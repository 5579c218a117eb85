//! Rules about devices: files on version 1, a program of [`crate::sys::device_filter`] on version 2.

use cgroups_rs::fs::devices::{DevicePermissions, DeviceType, DevicesController};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::control::Told;
use super::{Cgroup, MOUNT};
use crate::base::{Context as _, Error, Result};
use crate::sys::device_filter::{self, ALL, MAKE, Nodes, READ, Rule, WRITE};

impl Cgroup {
    /// The rules replace those of before.
    pub(super) fn limit_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        let rules = with_defaults(converted(rules)?);
        if self.is_v2() {
            let dir = self.folder("");
            return device_filter::replace(device_filter::program(&rules).as_deref(), &dir)
                .map_err(|error| Error::from(error).with_hint("the kernel needs CONFIG_CGROUP_BPF"))
                .context(|| format!("attaching device rules to {dir:?}"));
        }
        let dir = self.controller("devices")?;
        let controller = DevicesController::new(dir.clone(), MOUNT.into());
        for rule in &rules {
            let access: Vec<DevicePermissions> =
                [(READ, DevicePermissions::Read), (WRITE, DevicePermissions::Write), (MAKE, DevicePermissions::MkNod)]
                    .into_iter()
                    .filter_map(|(bit, permission)| (rule.access & bit != 0).then_some(permission))
                    .collect();
            let everything = rule.access == ALL && rule.major.is_none() && rule.minor.is_none();
            let kinds: &[DeviceType] = match rule.nodes {
                // The kernel's word for all kinds looks at neither number nor access: only for a rule about everything.
                None if everything => &[DeviceType::All],
                None => &[DeviceType::Block, DeviceType::Char],
                Some(Nodes::Block) => &[DeviceType::Block],
                Some(Nodes::Char) => &[DeviceType::Char],
            };
            let number = |number: Option<u32>| number.map_or(-1, i64::from);
            let (major, minor) = (number(rule.major), number(rule.minor));
            let apply = if rule.allow { DevicesController::allow_device } else { DevicesController::deny_device };
            let file = if rule.allow { "devices.allow" } else { "devices.deny" };
            for kind in kinds {
                let what = format!("{major}:{minor}");
                apply(&controller, *kind, major, minor, &access).told(&dir, file, "device rule", what)?;
            }
        }
        Ok(())
    }
}

/// What every container may do whatever its rules say: making nodes, which gives nobody access to them, and using the
/// devices that it must have: null, zero, full, random, urandom, tty, its terminals and their multiplexer (config-linux.md,
/// "Default Devices"). As with other runtimes they stand last, so that a plain "deny all" leaves a container that works.
/// Its console is one of its terminals; the machine's own is not among them.
const DEFAULTS: [(Nodes, Option<u32>, Option<u32>, u32); 10] = [
    (Nodes::Char, None, None, MAKE),
    (Nodes::Block, None, None, MAKE),
    (Nodes::Char, Some(1), Some(3), ALL),
    (Nodes::Char, Some(1), Some(5), ALL),
    (Nodes::Char, Some(1), Some(7), ALL),
    (Nodes::Char, Some(1), Some(8), ALL),
    (Nodes::Char, Some(1), Some(9), ALL),
    (Nodes::Char, Some(5), Some(0), ALL),
    (Nodes::Char, Some(5), Some(2), ALL),
    (Nodes::Char, Some(136), None, ALL),
];

/// The rules with the defaults, as far as they have not been said after the last denial.
fn with_defaults(mut rules: Vec<Rule>) -> Vec<Rule> {
    let Some(denied) = rules.iter().rposition(|rule| !rule.allow) else { return rules };
    for (nodes, major, minor, access) in DEFAULTS {
        let rule = Rule { allow: true, nodes: Some(nodes), major, minor, access };
        if !rules[denied..].contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

/// The rules as plain numbers.
fn converted(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>> {
    let mut converted = Vec::new();
    for rule in rules {
        let nodes = match rule.typ() {
            None | Some(LinuxDeviceType::A) => None,
            Some(LinuxDeviceType::B) => Some(Nodes::Block),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Nodes::Char),
            Some(LinuxDeviceType::P) => continue, // a pipe is no device to the kernel's rules
        };
        let mut access = 0;
        for letter in rule.access().as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm").chars() {
            access |= match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MAKE,
                other => return Err(Error::invalid(format!("{other:?} is no access to a device"))),
            };
        }
        // -1 is "all of them", as a missing number is.
        let number = |number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(number) => {
                u32::try_from(number).map(Some).map_err(|_| Error::invalid(format!("{number} is no device number")))
            }
        };
        converted.push(Rule {
            allow: rule.allow(),
            nodes,
            major: number(rule.major())?,
            minor: number(rule.minor())?,
            access,
        });
    }
    Ok(converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: serde_json::Value) -> Result<Vec<Rule>> {
        converted(&[serde_json::from_value(text).unwrap()])
    }

    #[test]
    fn a_plain_denial_leaves_the_devices_of_every_container() {
        let deny = Rule { allow: false, nodes: None, major: None, minor: None, access: ALL };
        let null = Rule { allow: true, nodes: Some(Nodes::Char), major: Some(1), minor: Some(3), access: ALL };
        let rules = with_defaults(vec![deny]);
        assert_eq!(rules.len(), 1 + DEFAULTS.len());
        assert_eq!(with_defaults(vec![deny, null]).len(), rules.len(), "said already");
        assert_eq!(with_defaults(vec![null, deny]).len(), rules.len() + 1, "denied again");
        assert_eq!(with_defaults(vec![null]), [null]);
    }

    #[test]
    fn a_number_that_is_no_device_never_means_all() {
        use serde_json::json;
        assert_eq!(rule(json!({"allow": true, "type": "c", "major": -1, "minor": 3})).unwrap()[0].major, None);
        assert!(rule(json!({"allow": true, "type": "c", "major": -2, "minor": 3})).is_err());
        assert!(rule(json!({"allow": true, "type": "c", "major": 1_i64 << 40})).is_err());
        assert!(rule(json!({"allow": true, "access": "rx"})).is_err());
    }
}
