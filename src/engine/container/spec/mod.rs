//! The OCI runtime specification of a container: a pure function of its record, the host's paths and the host's facts.
//!
//! ```text
//! rights      capabilities, security options, kernel parameters      devices     nodes and the rules for them
//! resources   limits                                                 mounts      everything that is mounted
//! ```
//!
//! Defaults are Docker's (moby, `oci/defaults.go`, and its documentation of default capabilities): fourteen
//! capabilities, masked and read-only paths, the usual mounts and devices.

mod devices;
mod mounts;
mod resources;
mod rights;

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::base::{Context as _, Error, Paths, Result};
use crate::engine::container::host::HostFacts;
use crate::model::container::{
    ContainerOptions, ContainerRecord, IdRange, IpcMode, NamespaceMode, NetworkMode, READONLY_PATHS, UsernsMode,
};
use crate::model::limits::Ulimit;

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The namespaces of other containers that this one joins, as paths.
#[derive(Debug, Clone, Default)]
pub(super) struct Joined {
    /// For `network_mode: container:X`.
    pub network: Option<String>,
    /// For `pid: container:X`.
    pub pid: Option<String>,
    /// For `ipc: container:X`.
    pub ipc: Option<String>,
    /// That container's `/dev/shm`.
    pub shared_memory: Option<String>,
}

/// Makes the specification.
///
/// # Errors
/// `invalid_argument` for an unknown capability or security option, or a kernel parameter that is not the container's own;
/// `permission_denied` for a capability that the engine does not hold; `unsupported` for what cannot be honoured here.
pub(super) fn spec(record: &ContainerRecord, paths: &Paths, joined: &Joined, host: &HostFacts) -> Result<Spec> {
    let options = &record.options;
    let capabilities = rights::capabilities(options, host)?;
    let security = rights::security(options, host)?;
    rights::check_sysctls(options)?;
    rights::check_oom_score(options, host)?;
    let readonly_paths: &[&str] = if options.sees_system_paths() { &[] } else { &READONLY_PATHS };
    let mut linux = json!({
        "namespaces": namespaces(options, joined),
        "resources": resources::resources(options, host)?,
        "devices": devices::nodes(record, host),
        "maskedPaths": record.masked_paths,
        "readonlyPaths": readonly_paths,
        "sysctl": options.sysctls,
        "rootfsPropagation": "rprivate",
    });
    if let Some(range) = id_range(record)? {
        let mapping = |base: u32| json!([{ "containerID": 0, "hostID": base, "size": range.size }]);
        linux["uidMappings"] = mapping(range.uid_base);
        linux["gidMappings"] = mapping(range.gid_base);
    }
    let mut process = json!({
        "terminal": options.tty,
        "user": { "uid": 0, "gid": 0 },
        "args": record.args,
        "env": environment(record).into_iter().chain(host.changes.env.iter().cloned()).collect::<Vec<_>>(),
        "cwd": record.working_dir,
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            "inheritable": [], "ambient": [],
        },
        "rlimits": options.ulimits.iter().map(rlimit).collect::<Vec<_>>(),
        "noNewPrivileges": security.no_new_privileges,
    });
    if !host.changes.groups.is_empty() {
        process["user"]["additionalGids"] = json!(host.changes.groups);
    }
    if let Some(score) = options.oom_score_adj {
        process["oomScoreAdj"] = json!(score);
    }
    if let Some(profile) = &security.apparmor {
        process["apparmorProfile"] = json!(profile);
    }
    let mut spec = json!({
        "ociVersion": "1.2.0",
        "process": process,
        "root": { "path": "rootfs", "readonly": options.read_only },
        "mounts": mounts::mounts(record, paths, joined, host),
        "linux": linux,
    });
    if !matches!(options.uts_mode, NamespaceMode::Host) {
        spec["hostname"] = json!(record.hostname);
        if let Some(domain) = &options.domainname {
            spec["domainname"] = json!(domain);
        }
    }
    if !host.changes.hooks.is_empty() {
        spec["hooks"] = json!(host.changes.hooks);
    }
    if !options.annotations.is_empty() {
        spec["annotations"] = json!(options.annotations);
    }
    let mut spec: Spec = serde_json::from_value(spec)
        .map_err(|error| Error::failed(error.to_string()))
        .context(|| "making the OCI specification")?;
    let filter = rights::filter(options, &capabilities)?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(filter);
    }
    Ok(spec)
}

/// The ids of the container's user namespace. Records of before ranges were kept have them in the options alone.
fn id_range(record: &ContainerRecord) -> Result<Option<IdRange>> {
    match (&record.options.userns_mode, record.id_range) {
        (UsernsMode::Host, _) => Ok(None),
        (_, Some(range)) => Ok(Some(range)),
        (UsernsMode::Mapped { base, size }, None) => {
            Ok(Some(IdRange { uid_base: *base, gid_base: *base, size: *size }))
        }
        // Never without the namespace that was asked for.
        (UsernsMode::Auto { .. }, None) => Err(Error::failed("the container has no ids for its user namespace")),
    }
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
    add("ipc", !matches!(options.ipc_mode, IpcMode::Host), &joined.ipc);
    add("uts", !matches!(options.uts_mode, NamespaceMode::Host), &None);
    add("cgroup", !matches!(options.cgroupns_mode, NamespaceMode::Host), &None);
    add("user", options.userns_mode != UsernsMode::Host, &None);
    list
}

fn rlimit(ulimit: &Ulimit) -> Value {
    // RLIM_INFINITY of the kernel.
    let value = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    let name = format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase());
    json!({ "type": name, "soft": value(ulimit.soft), "hard": value(ulimit.hard) })
}

#[cfg(test)]
mod tests;
