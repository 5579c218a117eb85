//! Docker's notations of what keeps a container apart: namespaces, security options, kernel parameters, cgroups.
//!
//! Reads and checks text, and the one file that a security option can name. Whether the machine can do it is not asked.

use std::io::Read as _;
use std::path::Path;

use crate::base::{Context as _, Error, Result, suggest};
use crate::docker::value::split_pair;
use crate::model::container::{IpcMode, NamespaceMode, UsernsMode};

/// The largest seccomp profile that is read, in bytes; Docker's own has some fifteen thousand.
const MAX_PROFILE_BYTES: u64 = 1024 * 1024;
/// The names of security options.
const SECURITY_OPTIONS: [&str; 5] = ["no-new-privileges", "seccomp", "apparmor", "label", "systempaths"];

/// Reads `--pid`: `host`, `container:NAME`, or `private` and nothing for an own one.
///
/// # Errors
/// `invalid_argument` names `what`.
pub fn namespace_mode(what: &str, text: &str) -> Result<NamespaceMode> {
    match text.split_once(':') {
        None if matches!(text, "" | "private") => Ok(NamespaceMode::Private),
        None if text == "host" => Ok(NamespaceMode::Host),
        Some(("container", name)) if !name.is_empty() => Ok(NamespaceMode::Container(name.to_owned())),
        _ => Err(unknown_mode(what, text, "private, host or container:NAME")),
    }
}

/// Reads `--ipc`: `none`, `private`, `shareable`, `host`, `container:NAME`; nothing is `private`.
///
/// # Errors
/// `invalid_argument`.
pub fn ipc_mode(text: &str) -> Result<IpcMode> {
    match text.split_once(':') {
        None if matches!(text, "" | "private") => Ok(IpcMode::Private),
        None if text == "none" => Ok(IpcMode::None),
        None if text == "shareable" => Ok(IpcMode::Shareable),
        None if text == "host" => Ok(IpcMode::Host),
        Some(("container", name)) if !name.is_empty() => Ok(IpcMode::Container(name.to_owned())),
        _ => Err(unknown_mode("ipc", text, "private, shareable, none, host or container:NAME")),
    }
}

/// Reads `--uts` and `--cgroupns`: `host`, or `private` and nothing for an own one.
///
/// # Errors
/// `invalid_argument` names `what`.
pub fn private_or_host(what: &str, text: &str) -> Result<NamespaceMode> {
    match text {
        "" | "private" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        _ => Err(unknown_mode(what, text, "private or host")),
    }
}

fn unknown_mode(what: &str, text: &str, known: &str) -> Error {
    Error::invalid(format!("unknown {what} mode {text:?}")).with_hint(format!("use {known}"))
}

/// Reads `--userns`: `host`; `auto` and `auto:size=N` for ids that no other container has; or `BASE:SIZE` for a new user
/// namespace whose ids begin at the host's BASE.
///
/// # Errors
/// `invalid_argument`; `unsupported` for Podman's other options of `auto`.
pub fn userns_mode(text: &str) -> Result<UsernsMode> {
    let refuse = || unknown_mode("userns", text, "host, auto, auto:size=65536, or BASE:SIZE such as 100000:65536");
    match text.split_once(':') {
        None if matches!(text, "" | "host") => Ok(UsernsMode::Host),
        None if text == "auto" => Ok(UsernsMode::Auto { size: None }),
        None => Err(refuse()),
        Some(("auto", options)) => {
            let mut size = None;
            for option in options.split(',') {
                match option.split_once('=') {
                    Some(("size", number)) => {
                        size = Some(number.parse().ok().filter(|size| *size > 0).ok_or_else(refuse)?);
                    }
                    Some((name @ ("uidmapping" | "gidmapping"), _)) => {
                        return Err(Error::unsupported(format!("the option {name:?} of userns mode auto"))
                            .with_hint("write BASE:SIZE for a mapping of your own"));
                    }
                    _ => return Err(refuse()),
                }
            }
            Ok(UsernsMode::Auto { size })
        }
        Some((base, size)) => {
            let (base, size): (u32, u32) = (base.parse().map_err(|_| refuse())?, size.parse().map_err(|_| refuse())?);
            if size == 0 || base.checked_add(size).is_none() {
                return Err(refuse());
            }
            Ok(UsernsMode::Mapped { base, size })
        }
    }
}

/// Reads `--security-opt`: `name`, `name=value`, or the old form `name:value`. A seccomp profile is read here, since only
/// the front end's process has the user's files; what is kept is the profile itself, as Docker keeps it.
///
/// # Errors
/// `invalid_argument` for an unknown option or value; `not_found` for a profile.
pub fn security_option(text: &str) -> Result<String> {
    let (key, value) = match (text.split_once('='), text.split_once(':')) {
        (Some((key, value)), _) | (None, Some((key, value))) => (key, Some(value)),
        (None, None) => (text, None),
    };
    let takes = |what: &str| Err(Error::invalid(format!("the security option {key:?} takes {what}, not {text:?}")));
    match (key, value) {
        ("no-new-privileges", None) => Ok(key.to_owned()),
        ("no-new-privileges", Some(word @ ("true" | "false"))) => Ok(format!("{key}={word}")),
        ("no-new-privileges", _) => takes("true or false"),
        ("systempaths", Some("unconfined")) => Ok("systempaths=unconfined".to_owned()),
        ("systempaths", _) => takes("unconfined"),
        ("seccomp", Some(word @ ("unconfined" | "builtin"))) => Ok(format!("seccomp={word}")),
        ("seccomp", Some(profile)) if profile.trim_start().starts_with('{') => {
            Ok(format!("seccomp={}", compact(profile)?))
        }
        ("seccomp", Some(path)) if !path.is_empty() => {
            let doing = || format!("reading the seccomp profile {path:?}");
            Ok(format!("seccomp={}", compact(&profile(Path::new(path)).context(doing)?).context(doing)?))
        }
        ("seccomp", _) => takes("unconfined, builtin or a file"),
        ("apparmor", Some(profile)) if !profile.is_empty() => Ok(format!("apparmor={profile}")),
        ("apparmor", _) => takes("unconfined or the name of a profile"),
        ("label", Some(word)) => match word.split(':').next() {
            Some("disable") if word == "disable" => Ok("label=disable".to_owned()),
            Some("user" | "role" | "type" | "level") if word.contains(':') => Ok(format!("label={word}")),
            _ => takes("disable, or user, role, type or level with a value, such as label=type:x_t"),
        },
        ("writable-cgroups", _) => {
            Err(Error::unsupported(format!("the security option {key:?}")).with_hint("cgroups are shown read-only"))
        }
        ("credentialspec", _) => {
            Err(Error::unsupported(format!("the security option {key:?}")).with_hint("this is for Windows"))
        }
        _ => {
            let error = Error::invalid(format!("unknown security option {text:?}"));
            Err(match suggest::hint(key, SECURITY_OPTIONS) {
                Some(hint) => error.with_hint(hint),
                None => error.with_hint(format!("known are {}", SECURITY_OPTIONS.join(", "))),
            })
        }
    }
}

fn profile(path: &Path) -> Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_PROFILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_PROFILE_BYTES {
        return Err(Error::invalid("it is larger than 1 MiB"));
    }
    Ok(text)
}

fn compact(profile: &str) -> Result<String> {
    let value: serde_json::Value = serde_json::from_str(profile)
        .map_err(|error| Error::invalid(format!("the seccomp profile is not JSON: {error}")))?;
    if value.is_object() { Ok(value.to_string()) } else { Err(Error::invalid("the seccomp profile is not an object")) }
}

/// Reads `--sysctl`: `name=value`.
///
/// # Errors
/// `invalid_argument`.
pub fn sysctl(text: &str) -> Result<(String, String)> {
    match split_pair(text) {
        (name, Some(value)) if !name.is_empty() => Ok((name, value)),
        _ => Err(Error::invalid(format!("{text:?} is not a sysctl"))
            .with_hint("write name=value, such as net.core.somaxconn=1024")),
    }
}

/// Reads `--annotation`: `name=value`, or a name alone with an empty value.
///
/// # Errors
/// `invalid_argument` for an empty name.
pub fn annotation(text: &str) -> Result<(String, String)> {
    match split_pair(text) {
        (name, value) if !name.is_empty() => Ok((name, value.unwrap_or_default())),
        _ => Err(Error::invalid(format!("{text:?} is not an annotation")).with_hint("write name=value")),
    }
}

/// Checks `--cgroup-parent`: a path below every hierarchy, with or without a slash in front.
///
/// # Errors
/// `invalid_argument` for `.` and `..`, which could lead out of the hierarchy.
pub fn cgroup_parent(text: &str) -> Result<String> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || parts.iter().any(|part| matches!(*part, "." | "..") || part.contains(['\0', '\n'])) {
        return Err(Error::invalid(format!("{text:?} is not a cgroup")).with_hint("write a path such as /batch/night"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[test]
    fn security_options_are_kept_in_one_spelling() {
        for (text, kept) in [
            ("no-new-privileges", "no-new-privileges"),
            ("no-new-privileges:false", "no-new-privileges=false"),
            ("seccomp:unconfined", "seccomp=unconfined"),
            ("seccomp=builtin", "seccomp=builtin"),
            ("seccomp={ \"defaultAction\" : \"SCMP_ACT_ALLOW\" }", "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"),
            ("apparmor=unconfined", "apparmor=unconfined"),
            ("label=type:svirt_t", "label=type:svirt_t"),
            ("label:disable", "label=disable"),
        ] {
            assert_eq!(security_option(text).unwrap(), kept);
        }
        for text in
            ["no-new-privileges=maybe", "systempaths=all", "seccomp", "seccomp={", "seccomp=[]", "label=disabled", ""]
        {
            assert!(security_option(text).is_err(), "{text:?}");
        }
        assert_eq!(security_option("seccomp=/no/such/file").unwrap_err().kind(), Kind::NotFound);
        assert_eq!(security_option("no-new-privs").unwrap_err().hint(), Some("did you mean \"no-new-privileges\"?"));
    }

    #[test]
    fn automatic_user_namespaces_take_a_size() {
        assert_eq!(userns_mode("auto").unwrap(), UsernsMode::Auto { size: None });
        assert_eq!(userns_mode("auto:size=4096").unwrap(), UsernsMode::Auto { size: Some(4096) });
        for text in ["auto:", "auto:size=0", "auto:size=-1", "auto:size=4294967296", "auto:sise=1", "keep-id", "1:0"] {
            assert_eq!(userns_mode(text).unwrap_err().kind(), Kind::InvalidArgument, "{text:?}");
        }
        assert_eq!(userns_mode("auto:uidmapping=0:1:1").unwrap_err().kind(), Kind::Unsupported);
    }

    #[test]
    fn cgroup_parents_stay_in_their_hierarchy() {
        assert_eq!(cgroup_parent("/batch/night").unwrap(), "/batch/night");
        for text in ["", "/", "..", "/a/../b", "a/./b"] {
            assert!(cgroup_parent(text).is_err(), "{text:?}");
        }
    }
}
