//! What a config.json may say: a pure function of the specification, and what the runtime adds to it.
//!
//! Here is what concerns the container as a whole. Mounts, namespaces, sysctls, seccomp and limits are checked where they are
//! planned, which also happens before anything is made.

use std::collections::HashSet;
use std::path::Path;

use oci_spec::runtime::{Hook, LinuxDeviceCgroup, LinuxNamespaceType, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::base::error::quoted;
use crate::base::{Error, Result};
use crate::runtime::hooks::Moment;
use crate::runtime::oci::bundle::CONFIG;
use crate::runtime::oci::duplicates::Unambiguous;
use crate::sys::capability::{self, Set};

/// The major version of the specification that is understood.
const MAJOR: &str = "1";
/// The largest value of a hook's time-out, in seconds: a year.
const MAX_TIMEOUT_S: i64 = 366 * 24 * 60 * 60;

/// Reads a configuration. Names of capabilities that nobody knows are left out, as the specification says, and named in
/// `warnings`.
///
/// # Errors
/// `invalid_argument` says what and where.
pub(crate) fn parse(text: &[u8], warnings: &mut Vec<String>) -> Result<Spec> {
    parse_as(text, CONFIG, "/process", warnings)
}

/// Reads a process from a file of its own.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_process(text: &[u8], warnings: &mut Vec<String>) -> Result<Process> {
    parse_as(text, "the process", "", warnings)
}

fn parse_as<T: DeserializeOwned>(text: &[u8], name: &str, process: &str, warnings: &mut Vec<String>) -> Result<T> {
    let refuse = |error: serde_json::Error| Error::invalid(format!("{name}: {}", quoted(&error)));
    match serde_json::from_slice(text) {
        Ok(parsed) => Ok(parsed),
        Err(first) => {
            // Rarely needed, so paid for only then. A value takes the last of two, which the types refuse.
            serde_json::from_slice::<Unambiguous>(text).map_err(refuse)?;
            let mut value: Value = serde_json::from_slice(text).map_err(refuse)?;
            let Some(process) = value.pointer_mut(process) else {
                return Err(located::<T>(name, text).unwrap_or_else(|| refuse(first)));
            };
            let dropped = drop_unknown_capabilities(process, warnings);
            let completed = add_user(process);
            match spell_scheduler_flags(process) || dropped || completed {
                true => parse_value(name, value),
                false => Err(located::<T>(name, text).unwrap_or_else(|| refuse(first))),
            }
        }
    }
}

/// Reads again what could not be read, for the name of the field that is to blame: keeping account of where one is
/// makes the reading slower.
fn located<T: DeserializeOwned>(name: &str, text: &[u8]) -> Option<Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let error = serde_path_to_error::deserialize::<_, T>(&mut reader).err()?;
    Some(at_field(name, error))
}

fn parse_value<T: DeserializeOwned>(name: &str, value: Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| at_field(name, error))
}

fn at_field(name: &str, error: serde_path_to_error::Error<serde_json::Error>) -> Error {
    // The root is `.`, which says nothing.
    let field = Some(error.path().to_string()).filter(|path| path != ".");
    let field = field.map(|path| format!("{}: ", quoted(&path))).unwrap_or_default();
    Error::invalid(format!("{name}: {field}{}", quoted(error.inner())))
}

/// Callers leave the user out for root, which runc takes.
fn add_user(process: &mut Value) -> bool {
    let missing = process.is_object() && process["user"].is_null();
    if missing {
        process["user"] = serde_json::json!({"uid": 0, "gid": 0});
    }
    missing
}

/// The library spells two flags of the scheduler otherwise than the specification.
fn spell_scheduler_flags(process: &mut Value) -> bool {
    let names =
        [("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"), ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN")];
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    let mut changed = false;
    for flag in flags.into_iter().flatten() {
        if let Some((_, spelt)) = names.iter().find(|(name, _)| *flag == *name) {
            *flag = (*spelt).into();
            changed = true;
        }
    }
    changed
}

fn drop_unknown_capabilities(process: &mut Value, warnings: &mut Vec<String>) -> bool {
    let known: HashSet<String> = capability::known().into_iter().collect();
    let Some(sets) = process.pointer_mut("/capabilities").and_then(Value::as_object_mut) else { return false };
    let mut dropped = Vec::new();
    for set in sets.values_mut().filter_map(Value::as_array_mut) {
        set.retain(|name| match name.as_str() {
            Some(name) if !known.contains(&name.to_ascii_uppercase()) => {
                dropped.push(name.to_owned());
                false
            }
            _ => true,
        });
    }
    dropped.sort();
    dropped.dedup();
    if !dropped.is_empty() {
        warnings.push(format!("ignoring unknown or unavailable capabilities: [{}]", quoted(&dropped.join(" "))));
    }
    !dropped.is_empty()
}

/// Checks a configuration.
///
/// # Errors
/// `invalid_argument` names the field.
pub(crate) fn check(spec: &Spec) -> Result<()> {
    version(spec.version())?;
    let root = spec.root().as_ref().ok_or_else(|| invalid("root", "must be set"))?;
    if root.path().as_os_str().is_empty() {
        return Err(invalid("root.path", "must not be empty"));
    }
    if let Some(process) = spec.process() {
        check_process(process)?;
    }
    if spec.annotations().iter().flatten().any(|(key, _)| key.is_empty()) {
        return Err(invalid("annotations", "a key must not be empty"));
    }
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref()).unwrap_or_default();
    if !label.is_empty() {
        return Err(Error::unsupported("config.json: linux.mountLabel is set, and labels of mounts are not supported"));
    }
    for moment in Moment::ALL {
        for (index, hook) in moment.hooks(spec).iter().enumerate() {
            check_hook(hook).map_err(|why| invalid(&format!("hooks.{}[{index}]", moment.name()), why))?;
        }
    }
    Ok(())
}

/// Checks a process, of a configuration or of its own file.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_process(process: &Process) -> Result<()> {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(invalid("process.args", "must not be empty"));
    }
    if !process.cwd().is_absolute() {
        return Err(invalid("process.cwd", format!("must be an absolute path, and is {:?}", process.cwd())));
    }
    let mut seen = HashSet::new();
    for limit in process.rlimits().iter().flatten() {
        if !seen.insert(limit.typ().to_string()) {
            return Err(invalid("process.rlimits", format!("{} is there twice", limit.typ())));
        }
    }
    Ok(())
}

/// Names the capabilities that a process is to have and that it cannot get, since this program does not have them itself.
/// In a user namespace of its own a container has all.
///
/// # Errors
/// `failed` when the kernel does not tell.
pub(crate) fn warn_of_missing_rights(spec: &Spec, process: &Process, warnings: &mut Vec<String>) -> Result<()> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    if namespaces.into_iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::User) {
        return Ok(());
    }
    let Some(sets) = process.capabilities() else { return Ok(()) };
    let all = [sets.bounding(), sets.effective(), sets.permitted(), sets.inheritable(), sets.ambient()];
    let names = all.into_iter().flatten().flatten().map(|capability| format!("CAP_{capability}"));
    let missing = Set::parse(names).0.without(capability::held_set()?).names();
    if !missing.is_empty() {
        warnings.push(format!("ignoring capabilities that the runtime does not have: [{}]", missing.join(" ")));
    }
    Ok(())
}

fn check_hook(hook: &Hook) -> std::result::Result<(), String> {
    if !Path::new(hook.path()).is_absolute() {
        return Err(format!("path must be absolute, and is {:?}", hook.path()));
    }
    match hook.timeout() {
        Some(timeout) if !(1..=MAX_TIMEOUT_S).contains(&timeout) => {
            Err(format!("timeout must be between 1 and {MAX_TIMEOUT_S}, and is {timeout}"))
        }
        _ => Ok(()),
    }
}

/// Semantic versions (semver.org) with our major number: later minor ones may say more, which is ignored.
fn version(text: &str) -> Result<()> {
    let (numbers, further) = match text.find(['-', '+']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let numbers: Vec<&str> = numbers.split('.').collect();
    let number = |text: &&str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text.len() == 1 || !text.starts_with('0'))
    };
    let further_is_plain = further.len() != 1
        && further.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'));
    if numbers.len() != 3 || !numbers.iter().all(number) || !further_is_plain {
        return Err(invalid("ociVersion", format!("{text:?} is not a semantic version")));
    }
    if numbers[0] != MAJOR {
        return Err(invalid("ociVersion", format!("{text:?} is not supported, only {MAJOR}.x")));
    }
    Ok(())
}

fn invalid(field: &str, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("config.json: {field}: {why}"))
}

/// Denies all devices but those of every container where the configuration has no rules at all: the runtime takes an empty
/// list for "leave the rules alone".
pub(crate) fn with_device_rules(mut spec: Spec) -> Spec {
    let mut linux = spec.linux().clone().unwrap_or_default();
    let mut resources = linux.resources().clone().unwrap_or_default();
    if resources.devices().as_ref().is_none_or(Vec::is_empty) {
        let mut deny = LinuxDeviceCgroup::default();
        deny.set_allow(false);
        resources.set_devices(Some(vec![deny]));
    }
    linux.set_resources(Some(resources));
    spec.set_linux(Some(linux));
    spec
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxDeviceType;

    use super::*;
    use serde_json::json;

    /// The smallest configuration that is valid.
    fn smallest() -> Value {
        json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        })
    }

    fn checked(change: impl FnOnce(&mut Value)) -> Result<Vec<String>> {
        let mut value = smallest();
        change(&mut value);
        let mut warnings = Vec::new();
        let spec = parse(value.to_string().as_bytes(), &mut warnings)?;
        check(&spec).map(|()| warnings)
    }

    #[test]
    fn an_error_of_reading_names_its_field() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 3] = [
            (|v| v["process"]["user"]["uid"] = json!("x"), "config.json: process.user.uid: invalid type"),
            (
                |v| v["mounts"] = json!([{"destination": "/a"}, {"destination": 5}]),
                "config.json: mounts[1].destination: ",
            ),
            (|v| v["linux"] = json!({"namespaces": 7}), "config.json: linux.namespaces: invalid type"),
        ];
        for (change, says) in cases {
            let error = checked(change).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }

    #[test]
    fn versions_of_the_first_major_number_are_accepted() {
        for version in ["1.0.0", "1.0.0-rc5", "1.0.2-dev", "1.2.0+x.y", "1.99.12"] {
            checked(|spec| spec["ociVersion"] = version.into()).unwrap();
        }
        for version in ["", "1", "1.2", "2.0.0", "0.5.0", "1.2.3.4", "01.2.0", "1.2.x", "1.2.0-", "1.2.0-a b", "v1.2.0"]
        {
            let error = checked(|spec| spec["ociVersion"] = version.into()).unwrap_err();
            assert!(error.to_string().contains("ociVersion"), "{version}: {error}");
        }
    }

    #[test]
    fn an_error_names_its_field() {
        for (pointer, value, field) in [
            ("/root", Value::Null, "root"),
            ("/root/path", json!(""), "root.path"),
            ("/process/args", json!([]), "process.args"),
            ("/process/cwd", json!("tmp"), "process.cwd"),
            ("/annotations", json!({"": "x"}), "annotations"),
            ("/hooks", json!({"poststop": [{"path": "x"}]}), "hooks.poststop[0]"),
            ("/hooks", json!({"prestart": [{"path": "/x", "timeout": 0}]}), "hooks.prestart[0]"),
            ("/hooks", json!({"prestart": [{"path": "/x", "timeout": -1}]}), "hooks.prestart[0]"),
            (
                "/process/rlimits",
                json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_CORE", "soft": 1, "hard": 1}]),
                "process.rlimits",
            ),
        ] {
            let error = checked(|spec| {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                spec.pointer_mut(parent).unwrap()[name] = value;
            });
            assert!(error.as_ref().is_err_and(|error| error.to_string().contains(field)), "{pointer}: {error:?}");
        }
    }

    #[test]
    fn unknown_capabilities_warn_and_other_unknown_words_fail() {
        let warnings = checked(|spec| {
            spec["process"]["capabilities"] = json!({"bounding": ["CAP_KILL", "CAP_FLY"], "effective": ["CAP_FLY"]});
        })
        .unwrap();
        assert_eq!(warnings, ["ignoring unknown or unavailable capabilities: [CAP_FLY]"]);
        checked(|spec| spec["linux"] = json!({"namespaces": [{"type": "space"}]})).unwrap_err();
        checked(|spec| spec["from_the_future"] = json!({"x": [1]})).unwrap();
    }

    #[test]
    fn a_process_is_needed_only_to_start() {
        checked(|spec| drop(spec.as_object_mut().unwrap().remove("process"))).unwrap();
    }

    #[test]
    fn without_rules_devices_are_denied() {
        let devices = |text: Value| {
            let spec = parse(text.to_string().as_bytes(), &mut Vec::new()).unwrap();
            let spec = with_device_rules(spec);
            spec.linux().as_ref().unwrap().resources().as_ref().unwrap().devices().clone().unwrap()
        };
        let mut spec = smallest();
        for none in [json!({}), json!({"resources": {}}), json!({"resources": {"devices": []}})] {
            spec["linux"] = none;
            let rules = devices(spec.clone());
            assert_eq!((rules.len(), rules[0].allow()), (1, false));
            assert!(rules[0].typ().is_none_or(|kind| kind == LinuxDeviceType::A));
        }
        spec["linux"] = json!({"resources": {"devices": [{"allow": true, "access": "rwm"}]}});
        let rules = devices(spec);
        assert_eq!((rules.len(), rules[0].allow()), (1, true));
    }
}
