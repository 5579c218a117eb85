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
        let rules = complete(converted(rules)?);
        if self.is_v2() {
            let dir = self.folder("");
            return device_filter::replace(device_filter::program(&rules).as_deref(), &dir)
                .map_err(|error| Error::from(error).with_hint("the kernel needs CONFIG_CGROUP_BPF"))
                .context(|| format!("attaching device rules to {dir:?}"));
        }
        let List { allow, exceptions } = List::of(&rules)?;
        let dir = self.controller("devices")?;
        let controller = DevicesController::new(dir.clone(), MOUNT.into());
        let set = |allow: bool, kind, major: i64, minor: i64, access: u32| {
            let access: Vec<DevicePermissions> =
                [(READ, DevicePermissions::Read), (WRITE, DevicePermissions::Write), (MAKE, DevicePermissions::MkNod)]
                    .into_iter()
                    .filter_map(|(bit, permission)| (access & bit != 0).then_some(permission))
                    .collect();
            let apply = if allow { DevicesController::allow_device } else { DevicesController::deny_device };
            let file = if allow { "devices.allow" } else { "devices.deny" };
            let what = format!("{major}:{minor}");
            apply(&controller, kind, major, minor, &access).told(&dir, file, "device rule", what)
        };
        set(allow, DeviceType::All, -1, -1, ALL)?;
        for one in exceptions {
            let kind = if one.nodes == Some(Nodes::Block) { DeviceType::Block } else { DeviceType::Char };
            let number = |number: Option<u32>| number.map_or(-1, i64::from);
            set(!allow, kind, number(one.major), number(one.minor), one.access)?;
        }
        Ok(())
    }
}

/// What version 1 keeps: an answer for all devices, and exceptions of one kind each. A use that is allowed as an exception
/// needs one that gives all of it; one exception that denies a part denies it.
#[derive(Debug, PartialEq)]
struct List {
    allow: bool,
    exceptions: Vec<Rule>,
}

impl List {
    /// What the rules come to, one after the other. The kernel would not do it: it takes an exception away only for
    /// exactly the same numbers, and passes over any other rule in silence, so that what is denied would stay allowed.
    ///
    /// # Errors
    /// `unsupported` for a rule about a part of an exception.
    fn of(rules: &[Rule]) -> Result<List> {
        let mut list = List { allow: false, exceptions: Vec::new() };
        for rule in rules {
            if covers_all(rule) {
                list = List { allow: rule.allow, exceptions: Vec::new() };
                continue;
            }
            let kinds = rule.nodes.map_or(vec![Nodes::Block, Nodes::Char], |nodes| vec![nodes]);
            for one in kinds.into_iter().map(|nodes| Rule { nodes: Some(nodes), ..*rule }) {
                list.apply(one)?;
            }
        }
        Ok(list)
    }

    fn apply(&mut self, rule: Rule) -> Result<()> {
        if rule.allow != self.allow {
            if !self.exceptions.contains(&rule) {
                self.exceptions.push(rule);
            }
            return Ok(());
        }
        for one in self.exceptions.iter_mut().filter(|one| one.nodes == rule.nodes && one.access & rule.access != 0) {
            let covers = |rule: Option<u32>, one: Option<u32>| rule.is_none() || rule == one;
            if covers(rule.major, one.major) && covers(rule.minor, one.minor) {
                one.access &= !rule.access;
            } else if covers(one.major, rule.major) && covers(one.minor, rule.minor)
                || covers(rule.major, one.major) && covers(one.minor, rule.minor)
                || covers(one.major, rule.major) && covers(rule.minor, one.minor)
            {
                return Err(Error::unsupported(
                    "a device rule is about a part of what an earlier one is about, which cgroup v1 cannot express",
                )
                .with_hint("name the devices one by one in the rule that comes first"));
            }
        }
        self.exceptions.retain(|one| one.access != 0);
        Ok(())
    }
}

/// The rule is about every device and every use.
fn covers_all(rule: &Rule) -> bool {
    rule.access == ALL && rule.nodes.is_none() && rule.major.is_none() && rule.minor.is_none()
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

/// The rules from the last one on that is about everything, which is a denial when there is none: the specification's list
/// says what is allowed. And the defaults, as far as they have not been said after the last denial.
fn complete(mut rules: Vec<Rule>) -> Vec<Rule> {
    match rules.iter().rposition(covers_all) {
        Some(last) => drop(rules.drain(..last)),
        None => rules.insert(0, Rule { allow: false, nodes: None, major: None, minor: None, access: ALL }),
    }
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
                // Means nothing; configurations written for runc have it all the same ("rwa").
                'a' => 0,
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

    const DENY_ALL: Rule = Rule { allow: false, nodes: None, major: None, minor: None, access: ALL };
    const ALLOW_ALL: Rule = Rule { allow: true, ..DENY_ALL };

    fn device(allow: bool, major: u32, minor: Option<u32>, access: u32) -> Rule {
        Rule { allow, nodes: Some(Nodes::Char), major: Some(major), minor, access }
    }

    #[test]
    fn a_plain_denial_leaves_the_devices_of_every_container() {
        let null = device(true, 1, Some(3), ALL);
        let rules = complete(vec![DENY_ALL]);
        assert_eq!(rules.len(), 1 + DEFAULTS.len());
        assert_eq!(complete(vec![DENY_ALL, null]).len(), rules.len(), "said already");
        assert_eq!(complete(vec![null, DENY_ALL]), rules, "denied again");
        assert_eq!(complete(vec![DENY_ALL, null, ALLOW_ALL]), [ALLOW_ALL]);
    }

    #[test]
    fn what_no_rule_allows_is_denied() {
        let disk = device(true, 8, None, ALL);
        for rules in [vec![disk], vec![Rule { allow: false, ..disk }], vec![Rule { nodes: None, ..ALLOW_ALL }; 0]] {
            let list = List::of(&complete(rules.clone())).unwrap();
            assert!(!list.allow, "{rules:?}");
            assert_eq!(list.exceptions.iter().any(|one| one.major == Some(8)), rules == [disk]);
        }
        assert_eq!(List::of(&complete(vec![ALLOW_ALL])).unwrap(), List { allow: true, exceptions: Vec::new() });
    }

    #[test]
    fn on_version_1_a_denial_is_never_passed_over() {
        let list = |rules: &[Rule]| List::of(rules);
        let exceptions = |rules: &[Rule]| list(rules).unwrap().exceptions;
        let fuse = device(true, 10, Some(229), ALL);
        let deny = |minor, access| device(false, 10, minor, access);
        assert_eq!(exceptions(&[DENY_ALL, fuse, deny(None, ALL)]), []);
        assert_eq!(exceptions(&[DENY_ALL, fuse, Rule { nodes: None, ..deny(None, ALL) }]), []);
        assert_eq!(exceptions(&[DENY_ALL, fuse, deny(Some(229), WRITE)]), [Rule { access: READ | MAKE, ..fuse }]);
        assert_eq!(exceptions(&[DENY_ALL, fuse, deny(Some(228), ALL)]), [fuse]);
        assert_eq!(exceptions(&[ALLOW_ALL, deny(Some(229), ALL)]), [deny(Some(229), ALL)]);
        let both = exceptions(&[DENY_ALL, Rule { nodes: None, ..fuse }]);
        assert_eq!(both, [Rule { nodes: Some(Nodes::Block), ..fuse }, fuse]);
        for (allowed, denied) in [
            (Rule { major: None, minor: None, ..fuse }, deny(Some(229), ALL)),
            (Rule { minor: None, ..fuse }, deny(Some(229), READ)),
            (Rule { minor: None, ..fuse }, Rule { major: None, ..deny(Some(229), ALL) }),
        ] {
            assert_eq!(list(&[DENY_ALL, allowed, denied]).unwrap_err().kind(), crate::base::Kind::Unsupported);
        }
    }

    #[test]
    fn a_number_that_is_no_device_never_means_all() {
        use serde_json::json;
        assert_eq!(rule(json!({"allow": true, "type": "c", "major": -1, "minor": 3})).unwrap()[0].major, None);
        assert!(rule(json!({"allow": true, "type": "c", "major": -2, "minor": 3})).is_err());
        assert!(rule(json!({"allow": true, "type": "c", "major": 1_i64 << 40})).is_err());
        assert!(rule(json!({"allow": true, "access": "rx"})).is_err());
        assert_eq!(rule(json!({"allow": true, "access": "rwa"})).unwrap()[0].access, READ | WRITE);
    }
}
