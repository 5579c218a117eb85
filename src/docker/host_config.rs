//! `HostConfig` of `inspect`: what was asked for when a container was made, field by field as Docker shows it.

use serde_json::{Map, Value, json};

use crate::docker::container::or_null;
use crate::docker::{logging, network};
use crate::model::container::{
    ContainerOptions, ContainerRecord, DEFAULT_SHM_SIZE_BYTES, IpcMode, MountPointKind, NamespaceMode, NetworkMode,
    READONLY_PATHS, UsernsMode,
};
use crate::model::limits::{DeviceValue, Limits, Ulimit};
use crate::model::mount::MountSource;

pub(super) fn host_config(record: &ContainerRecord) -> Value {
    let options = &record.options;
    let shown = |paths: Value| match (options.privileged, options.sees_system_paths()) {
        (true, _) => Value::Null,
        (false, true) => json!([]),
        (false, false) => paths,
    };
    let (binds, tmpfs, mounts) = asked_mounts(record);
    let volumes_from: Vec<String> = options
        .volumes_from
        .iter()
        .map(|from| match from.read_only {
            Some(true) => format!("{}:ro", from.container),
            Some(false) => format!("{}:rw", from.container),
            None => from.container.clone(),
        })
        .collect();
    let hosts: Vec<String> = options.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect();
    let mut config = json!({
        "Binds": or_null(&binds),
        "ContainerIDFile": "",
        "LogConfig": logging::log_config(&options.log),
        "NetworkMode": network_mode(options),
        "PortBindings": network::port_bindings(&options.publish),
        "RestartPolicy": { "Name": options.restart.as_str(), "MaximumRetryCount": options.restart.max_retries() },
        "AutoRemove": options.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": or_null(&volumes_from),
        "ConsoleSize": [0, 0],
        "CapAdd": or_null(&capabilities(&options.cap_add)),
        "CapDrop": or_null(&capabilities(&options.cap_drop)),
        "CgroupnsMode": if options.cgroupns_mode == NamespaceMode::Host { "host" } else { "private" },
        "Dns": options.dns,
        "DnsOptions": options.dns_options,
        "DnsSearch": options.dns_search,
        "ExtraHosts": or_null(&hosts),
        "GroupAdd": or_null(&options.group_add),
        "IpcMode": ipc_mode(&options.ipc_mode),
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": options.oom_score_adj.unwrap_or(0),
        "PidMode": namespace_mode(&options.pid_mode, ""),
        "Privileged": options.privileged,
        "PublishAllPorts": options.publish_all,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": or_null(&security_options(options)),
        "UTSMode": namespace_mode(&options.uts_mode, ""),
        "UsernsMode": userns_mode(&options.userns_mode),
        "ShmSize": options.shm_size_bytes.unwrap_or(DEFAULT_SHM_SIZE_BYTES),
        "Runtime": "rhumb",
        "Isolation": "",
    });
    if let (Value::Object(config), Value::Object(resources)) = (&mut config, resources(options)) {
        config.extend(resources);
    }
    // Docker leaves these out when they are not set.
    if !tmpfs.is_empty() {
        config["Tmpfs"] = tmpfs.into();
    }
    if !options.sysctls.is_empty() {
        config["Sysctls"] = json!(options.sysctls);
    }
    if !mounts.is_empty() {
        config["Mounts"] = mounts.into();
    }
    if !options.annotations.is_empty() {
        config["Annotations"] = json!(options.annotations);
    }
    config["MaskedPaths"] = shown(json!(record.masked_paths));
    config["ReadonlyPaths"] = shown(json!(READONLY_PATHS));
    if options.init {
        config["Init"] = true.into();
    }
    config
}

/// Docker shows `systempaths` among the paths alone, and writes down that a container which sees the host has no label.
fn security_options(options: &ContainerOptions) -> Vec<String> {
    let given = options.security_opt.iter().filter(|option| !option.starts_with("systempaths="));
    let mut shown: Vec<String> = given.cloned().collect();
    let sees_host = options.privileged || options.ipc_mode == IpcMode::Host || options.pid_mode == NamespaceMode::Host;
    if sees_host && !shown.iter().any(|option| option.starts_with("label=")) {
        shown.push("label=disable".to_owned());
    }
    shown
}

/// The part of the host configuration that Docker calls its resources.
fn resources(options: &ContainerOptions) -> Value {
    let limits = &options.limits;
    let blkio = &limits.blkio;
    json!({
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory_bytes.unwrap_or(0),
        "NanoCpus": limits.cpus.map_or(0, |cpus| (cpus * 1e9).round() as i64),
        "CgroupParent": options.cgroup_parent.as_deref().unwrap_or_default(),
        "BlkioWeight": blkio.weight.unwrap_or(0),
        "BlkioWeightDevice": device_values(&blkio.weight_device, "Weight"),
        "BlkioDeviceReadBps": device_values(&blkio.read_bps, "Rate"),
        "BlkioDeviceWriteBps": device_values(&blkio.write_bps, "Rate"),
        "BlkioDeviceReadIOps": device_values(&blkio.read_iops, "Rate"),
        "BlkioDeviceWriteIOps": device_values(&blkio.write_iops, "Rate"),
        "CpuPeriod": limits.cpu_period_us.unwrap_or(0),
        "CpuQuota": limits.cpu_quota_us.unwrap_or(0),
        "CpuRealtimePeriod": limits.cpu_rt_period_us.unwrap_or(0),
        "CpuRealtimeRuntime": limits.cpu_rt_runtime_us.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or_default(),
        "Devices": options.devices.iter().filter(|device| !is_named(device)).map(|device| device_mapping(device)).collect::<Vec<_>>(),
        "DeviceCgroupRules": or_null(&options.device_cgroup_rules),
        "DeviceRequests": device_requests(options),
        "MemoryReservation": limits.memory_reservation_bytes.unwrap_or(0),
        "MemorySwap": memory_swap(limits),
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids,
        "Ulimits": options.ulimits.iter().map(ulimit).collect::<Vec<_>>(),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    })
}

fn device_values(values: &[DeviceValue], number: &str) -> Vec<Value> {
    values.iter().map(|one| json!({ "Path": one.path, number: one.value })).collect()
}

/// The mounts as they were asked for: `-v` strings, tmpfs, and what only `--mount` can say.
fn asked_mounts(record: &ContainerRecord) -> (Vec<String>, Map<String, Value>, Vec<Value>) {
    let (mut binds, mut tmpfs, mut mounts) = (Vec::new(), Map::new(), Vec::new());
    for mount in &record.options.mounts {
        let target = mount.target.as_str();
        let mut modes: Vec<&str> = if mount.read_only { vec!["ro"] } else { Vec::new() };
        match &mount.source {
            MountSource::Bind { path, create: true, propagation, non_recursive: false } => {
                modes.extend(propagation.as_deref());
                binds.push(bind(path, target, &modes));
            }
            MountSource::Bind { path, propagation, non_recursive, .. } => {
                let mut entry = asked_mount("bind", path, target, mount.read_only);
                if propagation.is_some() || *non_recursive {
                    entry["BindOptions"] = json!({
                        "Propagation": propagation.as_deref().unwrap_or("rprivate"), "NonRecursive": non_recursive,
                    });
                }
                mounts.push(entry);
            }
            // Docker shows anonymous volumes among the mounts alone.
            MountSource::Volume { name: None, .. } => {}
            MountSource::Volume { name: Some(name), no_copy, subpath: None } => {
                if *no_copy {
                    modes.push("nocopy");
                }
                binds.push(bind(volume_name(record, target).unwrap_or(name), target, &modes));
            }
            MountSource::Volume { name: Some(name), no_copy, subpath: Some(subpath) } => {
                let name = volume_name(record, target).unwrap_or(name);
                let mut entry = asked_mount("volume", name, target, mount.read_only);
                entry["VolumeOptions"] = json!({ "NoCopy": no_copy, "Subpath": subpath });
                mounts.push(entry);
            }
            MountSource::Tmpfs { size_bytes, mode, options } => {
                let mut words: Vec<String> = modes.iter().map(|&mode| mode.to_owned()).collect();
                words.extend(size_bytes.map(|size| format!("size={size}")));
                words.extend(mode.map(|mode| format!("mode={mode:o}")));
                words.extend(options.iter().cloned());
                tmpfs.insert(target.to_owned(), words.join(",").into());
            }
        }
    }
    (binds, tmpfs, mounts)
}

fn asked_mount(kind: &str, source: &str, target: &str, read_only: bool) -> Value {
    let mut entry = json!({ "Type": kind, "Source": source, "Target": target });
    if read_only {
        entry["ReadOnly"] = true.into();
    }
    entry
}

fn bind(source: &str, target: &str, modes: &[&str]) -> String {
    if modes.is_empty() { format!("{source}:{target}") } else { format!("{source}:{target}:{}", modes.join(",")) }
}

/// The options name volumes by id; people know them by the name that they had at creation.
fn volume_name<'a>(record: &'a ContainerRecord, target: &str) -> Option<&'a str> {
    record.mounts.iter().find_map(|mount| match &mount.kind {
        MountPointKind::Volume { name, .. } if mount.target == target => Some(name.as_str()),
        _ => None,
    })
}

/// Docker's word: the first network, by the name or id that it was made with.
fn network_mode(options: &ContainerOptions) -> String {
    match &options.network_mode {
        NetworkMode::Bridge => options.networks.first().map_or("bridge", |one| one.network.as_str()).to_owned(),
        NetworkMode::None => "none".into(),
        NetworkMode::Host => "host".into(),
        NetworkMode::Container(other) => format!("container:{other}"),
    }
}

fn namespace_mode(mode: &NamespaceMode, private: &str) -> String {
    match mode {
        NamespaceMode::Private => private.into(),
        NamespaceMode::Host => "host".into(),
        NamespaceMode::Container(other) => format!("container:{other}"),
    }
}

fn ipc_mode(mode: &IpcMode) -> String {
    match mode {
        IpcMode::Private => "private".into(),
        IpcMode::None => "none".into(),
        IpcMode::Shareable => "shareable".into(),
        IpcMode::Host => "host".into(),
        IpcMode::Container(other) => format!("container:{other}"),
    }
}

fn userns_mode(mode: &UsernsMode) -> String {
    match mode {
        UsernsMode::Host => String::new(),
        UsernsMode::Auto { size: None } => "auto".into(),
        UsernsMode::Auto { size: Some(size) } => format!("auto:size={size}"),
        UsernsMode::Mapped { base, size } => format!("{base}:{size}"),
    }
}

fn capabilities(names: &[String]) -> Vec<String> {
    names
        .iter()
        .map(|name| name.to_ascii_uppercase())
        .map(|name| if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") })
        .collect()
}

/// Docker writes down what no value means: as much swap as memory.
fn memory_swap(limits: &Limits) -> i64 {
    let doubled = |memory: u64| i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX);
    limits.memory_swap_bytes.or(limits.memory_bytes.map(doubled)).unwrap_or(0)
}

fn ulimit(limit: &Ulimit) -> Value {
    let value = |limit: Option<u64>| limit.map_or(json!(-1), |limit| json!(limit));
    json!({ "Name": limit.name, "Hard": value(limit.hard), "Soft": value(limit.soft) })
}

/// Whether a device has the name that its vendor gives it, and is no path.
fn is_named(device: &str) -> bool {
    !device.starts_with('/')
}

/// Devices by their vendors' names, as Docker has them: requests to the driver `cdi`.
fn device_requests(options: &ContainerOptions) -> Value {
    let names: Vec<&String> = options.devices.iter().filter(|device| is_named(device)).collect();
    match names.is_empty() {
        true => Value::Null,
        false => json!([{ "Driver": "cdi", "Count": 0, "DeviceIDs": names, "Capabilities": null, "Options": null }]),
    }
}

fn device_mapping(text: &str) -> Value {
    let mut parts = text.splitn(3, ':');
    let host = parts.next().unwrap_or_default();
    let container = parts.next().unwrap_or(host);
    json!({ "PathOnHost": host, "PathInContainer": container, "CgroupPermissions": parts.next().unwrap_or("rwm") })
}
