//! The OCI runtime specification of a container: a pure function of its record and the host's paths.
//!
//! Defaults are Docker's (moby, `oci/defaults.go`, and its documentation of default capabilities): fourteen
//! capabilities, masked and read-only paths, the usual mounts and devices. Mounts of the standard set come first, then
//! the engine's files, then the user's mounts, so that the user's may cover them.

use oci_spec::runtime::Spec;
use serde_json::{Map, Value, json};

use crate::base::{Context as _, Error, Paths, Result};
use crate::model::container::{
    ContainerOptions, ContainerRecord, DEFAULT_SHM_SIZE_BYTES, MASKED_PATHS, MountPoint, MountPointKind, NamespaceMode,
    NetworkMode, READONLY_PATHS, UsernsMode,
};
use crate::model::limits::{Limits, Ulimit};

/// The capabilities that Docker leaves to a container.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A cpu period in microseconds when only `cpus` is given; the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// The namespaces of other containers that this one joins, as paths.
#[derive(Debug, Clone, Default)]
pub(super) struct Joined {
    /// For `network_mode: container:X`.
    pub network: Option<String>,
    /// For `pid: container:X`.
    pub pid: Option<String>,
    /// For `ipc: container:X`.
    pub ipc: Option<String>,
}

/// Makes the specification. `capabilities` are all that the engine holds, for `privileged` and `ALL`.
///
/// # Errors
/// `invalid_argument` for an unknown capability or security option; `unsupported` for what this version cannot honour.
pub(super) fn spec(record: &ContainerRecord, paths: &Paths, joined: &Joined, capabilities: &[String]) -> Result<Spec> {
    let options = &record.options;
    let capabilities = granted_capabilities(options, capabilities)?;
    let security = security_options(options)?;
    let mut linux = json!({
        "namespaces": namespaces(options, joined),
        "resources": resources(&options.limits, options)?,
        "maskedPaths": if security.unmasked { json!([]) } else { json!(MASKED_PATHS) },
        "readonlyPaths": if security.unmasked { json!([]) } else { json!(READONLY_PATHS) },
        "sysctl": options.sysctls,
        "rootfsPropagation": "rprivate",
    });
    if let UsernsMode::Mapped { base, size } = options.userns_mode {
        let mapping = json!([{ "containerID": 0, "hostID": base, "size": size }]);
        linux["uidMappings"] = mapping.clone();
        linux["gidMappings"] = mapping;
    }
    let mut process = json!({
        "terminal": options.tty,
        "user": { "uid": 0, "gid": 0 },
        "args": record.args,
        "env": environment(record),
        "cwd": record.working_dir,
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            "inheritable": [], "ambient": [],
        },
        "rlimits": options.ulimits.iter().map(rlimit).collect::<Vec<_>>(),
        "noNewPrivileges": security.no_new_privileges,
    });
    if let Some(score) = options.oom_score_adj {
        process["oomScoreAdj"] = json!(score);
    }
    let mut spec = json!({
        "ociVersion": "1.2.0",
        "process": process,
        "root": { "path": "rootfs", "readonly": options.read_only },
        "mounts": mounts(record, paths),
        "linux": linux,
    });
    if !matches!(options.uts_mode, NamespaceMode::Host) {
        spec["hostname"] = json!(record.hostname);
        if let Some(domain) = &options.domainname {
            spec["domainname"] = json!(domain);
        }
    }
    serde_json::from_value(spec)
        .map_err(|error| Error::failed(error.to_string()))
        .context(|| "making the OCI specification")
}

fn environment(record: &ContainerRecord) -> Vec<String> {
    let has = |name: &str| record.env.iter().any(|entry| entry.split('=').next() == Some(name));
    let mut env = Vec::with_capacity(record.env.len() + 3);
    if !has("PATH") {
        env.push(DEFAULT_PATH.to_owned());
    }
    if !has("HOSTNAME") {
        env.push(format!("HOSTNAME={}", record.hostname));
    }
    if record.options.tty && !has("TERM") {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(record.env.iter().cloned());
    env
}

fn namespaces(options: &ContainerOptions, joined: &Joined) -> Vec<Value> {
    let mut list = vec![json!({ "type": "mount" })];
    let mut add = |kind: &str, private: bool, path: &Option<String>| match path {
        Some(path) => list.push(json!({ "type": kind, "path": path })),
        None if private => list.push(json!({ "type": kind })),
        None => {}
    };
    add("network", !matches!(options.network_mode, NetworkMode::Host), &joined.network);
    add("pid", !matches!(options.pid_mode, NamespaceMode::Host), &joined.pid);
    add("ipc", !matches!(options.ipc_mode, NamespaceMode::Host), &joined.ipc);
    add("uts", !matches!(options.uts_mode, NamespaceMode::Host), &None);
    add("cgroup", !matches!(options.cgroupns_mode, NamespaceMode::Host), &None);
    add("user", matches!(options.userns_mode, UsernsMode::Mapped { .. }), &None);
    list
}

fn resources(limits: &Limits, options: &ContainerOptions) -> Result<Value> {
    let mut memory = Map::new();
    if let Some(limit) = limits.memory_bytes {
        let limit = i64::try_from(limit).map_err(|_| Error::invalid("the memory limit does not fit 63 bits"))?;
        memory.insert("limit".into(), json!(limit));
        memory.insert("swap".into(), json!(limits.memory_swap_bytes.unwrap_or(limit.saturating_mul(2))));
    }
    if let Some(reservation) = limits.memory_reservation_bytes {
        memory.insert("reservation".into(), json!(reservation));
    }
    let mut cpu = Map::new();
    if let Some(cpus) = limits.cpus {
        cpu.insert("quota".into(), json!((cpus * CPU_PERIOD_US as f64).round() as i64));
        cpu.insert("period".into(), json!(CPU_PERIOD_US));
    }
    let given = [
        ("quota", limits.cpu_quota_us.map(|v| json!(v))),
        ("period", limits.cpu_period_us.map(|v| json!(v))),
        ("shares", limits.cpu_shares.map(|v| json!(v))),
        ("cpus", limits.cpuset_cpus.as_ref().map(|v| json!(v))),
        ("mems", limits.cpuset_mems.as_ref().map(|v| json!(v))),
    ];
    cpu.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    let mut resources = json!({ "devices": device_rules(options.privileged) });
    if !memory.is_empty() {
        resources["memory"] = Value::Object(memory);
    }
    if !cpu.is_empty() {
        resources["cpu"] = Value::Object(cpu);
    }
    if let Some(pids) = limits.pids.filter(|pids| *pids != 0) {
        resources["pids"] = json!({ "limit": pids });
    }
    Ok(resources)
}

/// Everything is denied but making nodes (which then cannot be opened) and the harmless devices.
fn device_rules(privileged: bool) -> Value {
    if privileged {
        return json!([{ "allow": true, "access": "rwm" }]);
    }
    let char_device = |major: i64, minor: Option<i64>| {
        let mut rule = json!({ "allow": true, "type": "c", "major": major, "access": "rwm" });
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rule
    };
    json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "access": "m" },
        { "allow": true, "type": "b", "access": "m" },
        char_device(1, Some(3)),
        char_device(1, Some(5)),
        char_device(1, Some(7)),
        char_device(1, Some(8)),
        char_device(1, Some(9)),
        char_device(5, Some(0)),
        char_device(5, Some(1)),
        char_device(5, Some(2)),
        char_device(136, None),
    ])
}

fn rlimit(ulimit: &Ulimit) -> Value {
    // RLIM_INFINITY of the kernel.
    let value = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    let name = format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase());
    json!({ "type": name, "soft": value(ulimit.soft), "hard": value(ulimit.hard) })
}

fn granted_capabilities(options: &ContainerOptions, held: &[String]) -> Result<Vec<String>> {
    if options.privileged {
        return Ok(held.to_vec());
    }
    let full = |name: &str| -> Result<Option<String>> {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" {
            return Ok(None);
        }
        let upper = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if held.contains(&upper) {
            return Ok(Some(upper));
        }
        let error = Error::invalid(format!("{name:?} is not a capability that this engine holds"));
        Err(match crate::base::suggest::nearest(&upper, held.iter().map(String::as_str)) {
            Some(near) => error.with_hint(format!("did you mean {near:?}?")),
            None => error,
        })
    };
    let mut granted: Vec<String> = DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect();
    let dropped = options.cap_drop.iter().map(|name| full(name)).collect::<Result<Vec<_>>>()?;
    let added = options.cap_add.iter().map(|name| full(name)).collect::<Result<Vec<_>>>()?;
    if dropped.contains(&None) {
        granted.clear();
    }
    if added.contains(&None) {
        granted = held.to_vec();
    }
    granted.extend(added.into_iter().flatten());
    granted.retain(|name| !dropped.contains(&Some(name.clone())) && held.contains(name));
    granted.sort();
    granted.dedup();
    Ok(granted)
}

#[derive(Default)]
struct Security {
    no_new_privileges: bool,
    unmasked: bool,
}

fn security_options(options: &ContainerOptions) -> Result<Security> {
    let mut security = Security { unmasked: options.privileged, ..Security::default() };
    for option in &options.security_opt {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (key, value) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("systempaths", "unconfined") => security.unmasked = true,
            ("seccomp" | "apparmor", "unconfined") | ("label", "disable") => {}
            ("seccomp" | "apparmor" | "label" | "systempaths", _) => {
                return Err(Error::unsupported(format!("the security option {option:?} is not built yet")));
            }
            _ => {
                let known = ["no-new-privileges", "systempaths", "seccomp", "apparmor", "label"];
                let error = Error::invalid(format!("unknown security option {option:?}"));
                return Err(match crate::base::suggest::hint(key, known) {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                });
            }
        }
    }
    if !options.devices.is_empty() {
        return Err(Error::unsupported("host devices (--device) are not built yet"));
    }
    Ok(security)
}

fn mounts(record: &ContainerRecord, paths: &Paths) -> Vec<Value> {
    let options = &record.options;
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let shm = format!("size={}", options.shm_size_bytes.unwrap_or(DEFAULT_SHM_SIZE_BYTES));
    let read_only = if options.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", read_only]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", read_only]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    mounts.push(match options.ipc_mode {
        NamespaceMode::Host => json!({
            "destination": "/dev/shm", "type": "bind", "source": "/dev/shm",
            "options": ["rbind", "rprivate", "nosuid", "noexec", "nodev"],
        }),
        // A joined ipc namespace shares System V objects and message queues. Its /dev/shm is a mount of the other
        // container, which could put a link in its place, so it is not reached for.
        _ => mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
    });
    let covered = |target: &str| record.mounts.iter().any(|point| point.target == target);
    let dir = paths.container(&record.id);
    for (target, file) in super::files::MOUNTED {
        if !covered(target) {
            let source = dir.join(file);
            mounts.push(json!({
                "destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate"],
            }));
        }
    }
    mounts.extend(record.mounts.iter().map(|point| user_mount(point, paths)));
    mounts
}

fn user_mount(point: &MountPoint, paths: &Paths) -> Value {
    let mut options: Vec<String> = Vec::new();
    let (kind, source) = match &point.kind {
        MountPointKind::Bind { source } => ("bind", source.clone()),
        MountPointKind::Volume { id, .. } => {
            options.extend(["rbind".to_owned(), "rprivate".to_owned()]);
            ("bind", paths.volume_data(id).to_string_lossy().into_owned())
        }
        MountPointKind::Tmpfs => {
            options.extend(["nosuid", "nodev", "noexec"].map(str::to_owned));
            ("tmpfs", "tmpfs".to_owned())
        }
    };
    options.extend(point.options.iter().cloned());
    if matches!(point.kind, MountPointKind::Tmpfs) && !options.iter().any(|option| option.starts_with("mode=")) {
        options.push("mode=1777".to_owned());
    }
    // Writable was said by silence; saying it would override `noexec,ro` in the user's own tmpfs options.
    if point.read_only {
        options.push("ro".to_owned());
    }
    json!({ "destination": point.target, "type": kind, "source": source, "options": options })
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
