//! Kernel parameters of a container: which are its own, and setting them.
//!
//! A parameter that no namespace of the container's own holds is the whole machine's and refused, before anything is made.
//! It is written by descriptor to a process file system that is attached nowhere: no mount and no link can stand in the
//! way (CVE-2019-16884, CVE-2025-52881).

use std::io::{ErrorKind, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Spec;

use crate::base::{Context as _, Error, Result};
use crate::sys::mount;
use crate::sys::namespace::{self, Namespaces};

/// Parameters of an ipc namespace below `kernel` (ipc_namespaces(7)).
const IPC: [&str; 9] =
    ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "msg_next_id"];

/// A parameter to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The name as it was given.
    name: String,
    /// Below `/proc/sys`.
    path: String,
    value: String,
}

/// What a specification wants set; `own` are the namespaces that are the container's and not the runtime's.
///
/// # Errors
/// `invalid_argument` for what is no name of a parameter, and for one that is not the container's own.
pub(crate) fn plan(spec: &Spec, own: Namespaces) -> Result<Vec<Setting>> {
    let wanted = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let mut settings = Vec::new();
    for (name, value) in wanted.into_iter().flatten() {
        let path =
            path(name).ok_or_else(|| Error::invalid(format!("{name:?} is not the name of a kernel parameter")))?;
        if path == "kernel/hostname" {
            return Err(Error::invalid(format!(
                "sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field"
            )));
        }
        if !is_own(&path, own) {
            return Err(Error::invalid(format!("sysctl {name:?} is not in a separate kernel namespace")).with_hint(
                "a container can set net.* in its own network namespace and kernel.msg*, shm*, sem, fs.mqueue.* in its own ipc namespace",
            ));
        }
        settings.push(Setting { name: name.clone(), path, value: value.clone() });
    }
    // In the order of names, whatever order the map has.
    settings.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(settings)
}

/// Sets them, in the namespaces of this process.
///
/// # Errors
/// What open(2) and write(2) give.
pub(crate) fn set(settings: &[Setting]) -> Result<()> {
    if settings.is_empty() {
        return Ok(());
    }
    let proc = process_file_system().context(|| "opening a process file system")?;
    for Setting { name, path, value } in settings {
        mount::open_in_proc(proc.as_fd(), &format!("sys/{path}"), true)
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .context(|| format!("setting the kernel parameter {name:?} to {value:?}"))?;
    }
    Ok(())
}

/// A process file system of our own. A user namespace that shares its pid namespace with the runtime may make none: then
/// the runtime's, of which nothing belongs to the container yet.
fn process_file_system() -> std::io::Result<OwnedFd> {
    match mount::new_filesystem("proc", None, &[], 0) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => mount::open_folder(Path::new("/proc")),
        result => result,
    }
}

/// Where a parameter is. As sysctl(8): whichever of `.` and `/` comes first separates, the other stands for itself.
fn path(name: &str) -> Option<String> {
    let swap = |c: char| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    let path: String = match name.find(['.', '/'])? {
        first if name[first..].starts_with('.') => name.chars().map(swap).collect(),
        _ => name.to_owned(),
    };
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte));
    let folders = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    (plain && folders).then_some(path)
}

fn is_own(path: &str, own: Namespaces) -> bool {
    let own = |kind| own & kind != 0;
    match path.split_once('/') {
        Some(("net", _)) => own(namespace::NETWORK),
        Some(("fs", rest)) => rest.starts_with("mqueue/") && own(namespace::IPC),
        Some(("kernel", "domainname")) => own(namespace::UTS),
        Some(("kernel", name)) => IPC.contains(&name) && own(namespace::IPC),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_same_parameter() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eno2/100.rp_filter", "net/ipv4/conf/eno2.100/rp_filter"),
            ("net/ipv4/conf/eno2.100/rp_filter", "net/ipv4/conf/eno2.100/rp_filter"),
        ] {
            assert_eq!(path(name).as_deref(), Some(expected), "{name}");
        }
        for name in [
            "",
            "net",
            "net..x",
            ".net",
            "net.",
            "net/../kernel/x",
            "net/./x",
            "net.//.x",
            "net.x\0y",
            "net x.y",
            "/net/x",
        ] {
            assert_eq!(path(name), None, "{name:?}");
        }
    }

    #[test]
    fn only_parameters_of_own_namespaces_are_set() {
        let spec = |name: &str| -> Spec {
            serde_json::from_value(serde_json::json!({"ociVersion": "1.2.0", "linux": {"sysctl": {name: "1"}}}))
                .unwrap()
        };
        for (name, own) in [
            ("net.ipv4.ip_forward", namespace::NETWORK),
            ("kernel.shmmax", namespace::IPC),
            ("fs.mqueue.msg_max", namespace::IPC),
            ("kernel.domainname", namespace::UTS),
        ] {
            assert_eq!(plan(&spec(name), own).unwrap().len(), 1, "{name}");
            assert!(plan(&spec(name), !own).is_err(), "{name}");
        }
        for name in [
            "kernel.core_pattern",
            "net/../kernel/core_pattern",
            "vm.swappiness",
            "kernel.sem.x",
            "fs.file-max",
            "kernel.hostname",
            "kernel/hostname",
        ] {
            assert!(plan(&spec(name), Namespaces::MAX).is_err(), "{name}");
        }
    }
}
