//! A profile of the user's, as JSON: Docker's format, where rules have conditions and architectures a map, or the
//! specification's, which is the same without them.
//!
//! What this file does not know is passed over, as Docker does: profiles carry comments and other engines' fields. What it
//! knows must be right: a word that is none is an error and never a smaller filter.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;

use crate::base::error::quoted;
use crate::base::{Error, Result};
use crate::engine::container::seccomp::{Circumstances, Version};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<Arch>>,
    arch_map: Option<Vec<Family>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<std::path::PathBuf>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Group>>,
}

/// A machine and what it runs beside.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    architecture: Arch,
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<Conditions>,
    excludes: Option<Conditions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    arches: Option<Vec<String>>,
    caps: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Reads a profile for a container that has these capabilities (`CAP_CHOWN` and so on, its bounding set).
///
/// # Errors
/// `invalid_argument` for what is no profile, `unsupported` on a kind of machine that there are no filters for.
pub(in crate::engine) fn parse_profile(json: &str, capabilities: &[String]) -> Result<LinuxSeccomp> {
    let here = Circumstances::here(capabilities).ok_or_else(|| {
        Error::unsupported(format!("seccomp filters for {}", std::env::consts::ARCH))
            .with_hint("use the security option seccomp=unconfined")
    })?;
    parse(json, &here).map_err(|error| error.context("reading the seccomp profile"))
}

fn parse(json: &str, here: &Circumstances<'_>) -> Result<LinuxSeccomp> {
    let profile: Profile = serde_json::from_str(json).map_err(|error| Error::invalid(quoted(&error)))?;
    let architectures = match (profile.architectures.unwrap_or_default(), profile.arch_map.unwrap_or_default()) {
        (architectures, map) if map.is_empty() => architectures,
        (architectures, map) if architectures.is_empty() => of_machine(map, here),
        _ => return Err(Error::invalid("both 'architectures' and 'archMap' are given: use either")),
    };
    let mut syscalls = Vec::new();
    for group in profile.syscalls.unwrap_or_default() {
        let included = group.includes.as_ref().map_or(Ok(true), |conditions| conditions.include(here))?;
        let excluded = group.excludes.as_ref().map_or(Ok(false), |conditions| conditions.exclude(here))?;
        let names = match (group.name.filter(|name| !name.is_empty()), group.names.unwrap_or_default()) {
            (None, names) => names,
            (Some(name), names) if names.is_empty() => vec![name],
            _ => return Err(Error::invalid("a rule has both 'name' and 'names': use either")),
        };
        let errno = number(group.errno_ret, group.errno.as_deref())?;
        if included && !excluded {
            let mut syscall = LinuxSyscall::default();
            syscall.set_names(names).set_action(group.action).set_errno_ret(errno).set_args(group.args);
            syscalls.push(syscall);
        }
    }
    let mut result = LinuxSeccomp::default();
    result
        .set_default_action(profile.default_action)
        .set_default_errno_ret(number(profile.default_errno_ret, profile.default_errno.as_deref())?)
        .set_architectures(Some(architectures))
        .set_flags(profile.flags)
        .set_listener_path(profile.listener_path)
        .set_listener_metadata(profile.listener_metadata)
        .set_syscalls(Some(syscalls));
    Ok(result)
}

fn of_machine(map: Vec<Family>, here: &Circumstances<'_>) -> Vec<Arch> {
    let own = map.into_iter().find(|family| family.architecture == here.machine.arch());
    own.into_iter()
        .flat_map(|own| [vec![own.architecture], own.sub_architectures.unwrap_or_default()].concat())
        .collect()
}

/// An error's number; Podman's profiles have its name instead, or beside.
fn number(number: Option<u32>, name: Option<&str>) -> Result<Option<u32>> {
    /// Of errno(3), as far as profiles use them.
    const NAMES: [(&str, u32); 6] =
        [("EPERM", 1), ("ENOENT", 2), ("EACCES", 13), ("EINVAL", 22), ("ENOSYS", 38), ("ENOTSUP", 95)];
    match (number, name.filter(|name| !name.is_empty())) {
        (None, Some(name)) => match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, number)) => Ok(Some(*number)),
            None => Err(Error::invalid(format!("the error {name:?} is not known here: write its number as errnoRet"))),
        },
        (number, _) => Ok(number),
    }
}

impl Conditions {
    /// All of what is given must be so.
    fn include(&self, here: &Circumstances<'_>) -> Result<bool> {
        let machine = self.arches.as_ref().is_none_or(|names| names.is_empty() || is_among(names, here));
        let capabilities = self.caps.iter().flatten().all(|name| here.has(name));
        Ok(machine && capabilities && self.is_new_enough(here)?.unwrap_or(true))
    }

    /// One of what is given is enough.
    fn exclude(&self, here: &Circumstances<'_>) -> Result<bool> {
        let machine = self.arches.as_ref().is_some_and(|names| is_among(names, here));
        let capabilities = self.caps.iter().flatten().any(|name| here.has(name));
        Ok(machine || capabilities || self.is_new_enough(here)?.unwrap_or(false))
    }

    fn is_new_enough(&self, here: &Circumstances<'_>) -> Result<Option<bool>> {
        let Some(version) = self.min_kernel.as_deref().filter(|version| !version.is_empty()) else { return Ok(None) };
        let least = Version::parse(version)
            .ok_or_else(|| Error::invalid(format!("minKernel {version:?} is not a version such as 4.8")))?;
        Ok(Some(here.kernel >= least))
    }
}

fn is_among(names: &[String], here: &Circumstances<'_>) -> bool {
    names.iter().any(|name| name == here.machine_name())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::base::Kind;
    use crate::runtime::seccomp::Machine;

    fn read(json: Value) -> Result<Value> {
        let capabilities = ["CAP_SYS_CHROOT".to_owned(), "CAP_BPF".to_owned()];
        let here = Circumstances { capabilities: &capabilities, machine: Machine::X86_64, kernel: Version(5, 10) };
        parse(&json.to_string(), &here).map(|profile| serde_json::to_value(profile).unwrap())
    }

    #[test]
    fn conditions_are_decided() {
        let rule = |name: &str, includes: Value, excludes: Value| json!({"names": [name], "action": "SCMP_ACT_ALLOW", "comment": "x", "includes": includes, "excludes": excludes});
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS",
            "archMap": [
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            ],
            "syscalls": [
                rule("always", json!({}), json!(null)),
                rule("chroot", json!({"caps": ["CAP_SYS_CHROOT"]}), json!({})),
                rule("not all", json!({"caps": ["CAP_SYS_CHROOT", "CAP_SYS_ADMIN"]}), json!({})),
                rule("any", json!({}), json!({"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]})),
                rule("old", json!({"minKernel": "4.8"}), json!({})),
                rule("new", json!({"minKernel": "5.11"}), json!({})),
                rule("not new", json!({}), json!({"minKernel": "5.10"})),
                rule("machine", json!({"arches": ["arm64", "amd64"]}), json!({})),
                rule("other machine", json!({"arches": ["s390x"]}), json!({})),
                rule("not this machine", json!({}), json!({"arches": ["amd64"]})),
                {"name": "single", "action": "SCMP_ACT_ERRNO", "errno": "EINVAL", "args": null},
            ],
        });
        let profile = read(profile).unwrap();
        let names: Vec<&str> =
            profile["syscalls"].as_array().unwrap().iter().map(|rule| rule["names"][0].as_str().unwrap()).collect();
        assert_eq!(names, ["always", "chroot", "old", "machine", "single"]);
        assert_eq!(profile["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
        assert_eq!((&profile["defaultErrnoRet"], &profile["syscalls"][4]["errnoRet"]), (&json!(38), &json!(22)));
    }

    #[test]
    fn the_specifications_own_format_is_one_too() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X32"], "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent", "listenerMetadata": "m",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY", "args": [{"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]}],
        });
        assert_eq!(read(profile.clone()).unwrap(), profile);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        let wrong = [
            json!({}),
            json!([]),
            json!({"defaultAction": "SCMP_ACT_MAYBE"}),
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]}),
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW"]}),
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "EWHAT"}),
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}),
            rule(json!({"names": ["read"]})),
            rule(json!({"name": "read", "names": ["write"], "action": "SCMP_ACT_KILL"})),
            rule(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "includes": {"minKernel": "new"}})),
            rule(
                json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": -1, "value": 0, "op": "SCMP_CMP_EQ"}]}),
            ),
            rule(
                json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_IS"}]}),
            ),
        ];
        for json in wrong {
            assert_eq!(read(json.clone()).unwrap_err().kind(), Kind::InvalidArgument, "{json}");
        }
        assert_eq!(parse_profile("{", &[]).unwrap_err().kind(), Kind::InvalidArgument);
    }
}
