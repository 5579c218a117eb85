//! Containers in Docker's words: the JSON of `inspect`, and the cells of `ps`.
//!
//! Pure functions of the facts: nothing is looked up. What Docker has and Rhumb has not (links, swarm, Windows) is there
//! with the value that Docker gives when it is not used.

use serde_json::{Map, Value, json};

use crate::base::{Paths, Timestamp, units};
use crate::docker::words;
use crate::model::container::{
    Container, ContainerOptions, ContainerRecord, DEFAULT_SHM_SIZE_BYTES, MASKED_PATHS, MountPoint, MountPointKind,
    NamespaceMode, NetworkMode, READONLY_PATHS, State, Status, UsernsMode,
};
use crate::model::limits::{Limits, Ulimit};
use crate::model::log::{LogDriver, LogOptions};
use crate::model::mount::MountSource;

/// Docker's word for "never" where a time stands.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// The exit code that is shown when nobody knows it; containerd's number for the same.
const UNKNOWN_EXIT_CODE: i32 = 255;
/// How many characters of a command a listing shows.
const COMMAND_WIDTH: usize = 20;

/// The JSON of `docker container inspect` for one container (Docker Engine API 1.43, `ContainerInspect`).
pub fn inspect(container: &Container, paths: &Paths) -> Value {
    let record = &container.record;
    let dir = paths.container(&record.id);
    let file = |name: &str| dir.join(name).display().to_string();
    let log_path = match record.options.log.driver {
        LogDriver::JsonFile => file(&format!("{}-json.log", record.id)),
        LogDriver::None => String::new(),
    };
    json!({
        "Id": record.id,
        "Created": record.created,
        "Path": record.args.first().map(String::as_str).unwrap_or_default(),
        "Args": record.args.get(1..).unwrap_or_default(),
        "State": state(&container.state),
        "Image": record.image_id,
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": log_path,
        "Name": format!("/{}", container.name),
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(record),
        "GraphDriver": graph_driver(container, paths),
        "Mounts": record.mounts.iter().filter_map(|mount| mount_point(mount, paths)).collect::<Vec<_>>(),
        "Config": config(record),
        "NetworkSettings": network_settings(container),
    })
}

/// One line of `docker ps --format json`.
pub fn list_row(container: &Container, no_trunc: bool) -> Value {
    let record = &container.record;
    let labels: Vec<String> = record.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let volumes = record.mounts.iter().filter(|mount| matches!(mount.kind, MountPointKind::Volume { .. })).count();
    json!({
        "Command": command_cell(record, no_trunc),
        "CreatedAt": date(record.created),
        "ID": if no_trunc { record.id.as_str() } else { record.id.short() },
        "Image": record.image,
        "Labels": labels.join(","),
        "LocalVolumes": volumes.to_string(),
        "Mounts": mounts_cell(record, no_trunc),
        "Names": container.name,
        "Networks": network_name(record).unwrap_or_default(),
        "Ports": "",
        "RunningFor": age(record.created),
        "Size": "0B",
        "State": container.state.status,
        "Status": status_cell(&container.state),
    })
}

/// STATUS of `ps`: `Up 3 minutes`, `Exited (0) 5 seconds ago`, `Created`, `Dead`.
pub fn status_cell(state: &State) -> String {
    let up = || {
        let since = state.started.map(|started| units::human_duration(started.elapsed()));
        format!("Up {}", since.unwrap_or_else(|| "Less than a second".into()))
    };
    match state.status {
        Status::Created => "Created".into(),
        Status::Running => up(),
        Status::Paused => format!("{} (Paused)", up()),
        Status::Exited => {
            let code = state.exit_code.unwrap_or(UNKNOWN_EXIT_CODE);
            let ago = state.finished.map(|finished| format!(" {}", age(finished))).unwrap_or_default();
            format!("Exited ({code}){ago}")
        }
        Status::Dead => "Dead".into(),
        Status::Removing => "Removal In Progress".into(),
    }
}

/// COMMAND of `ps`: quoted, and cut to twenty characters.
pub fn command_cell(record: &ContainerRecord, no_trunc: bool) -> String {
    let words: Vec<String> =
        record.args.iter().map(|word| if word.contains(' ') { format!("'{word}'") } else { word.clone() }).collect();
    let text = words.join(" ");
    format!("{:?}", if no_trunc { text } else { words::ellipsis(&text, COMMAND_WIDTH) })
}

/// `2 minutes ago`.
pub fn age(time: Timestamp) -> String {
    format!("{} ago", units::human_duration(time.elapsed()))
}

/// A time as Docker's listings write it: `2026-01-31 12:00:00 +0000 UTC`.
pub fn date(time: Timestamp) -> String {
    let text = Timestamp::from_nanos(time.as_secs() * 1_000_000_000).to_string();
    format!("{} +0000 UTC", text.trim_end_matches('Z').replacen('T', " ", 1))
}

fn state(state: &State) -> Value {
    let time = |time: Option<Timestamp>| time.map_or_else(|| NEVER.to_owned(), |time| time.to_string());
    let unknown = state.status == Status::Dead && state.exit_code.is_none();
    json!({
        "Status": state.status,
        "Running": state.status.is_alive(),
        "Paused": state.status == Status::Paused,
        "Restarting": false,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == Status::Dead,
        "Pid": state.pid.unwrap_or(0),
        "ExitCode": state.exit_code.unwrap_or(if unknown { UNKNOWN_EXIT_CODE } else { 0 }),
        "Error": state.error.as_deref().unwrap_or_default(),
        "StartedAt": time(state.started),
        "FinishedAt": time(state.finished),
    })
}

fn config(record: &ContainerRecord) -> Value {
    let options = &record.options;
    let anonymous: Map<String, Value> = record
        .mounts
        .iter()
        .filter(|mount| matches!(mount.kind, MountPointKind::Volume { anonymous: true, .. }))
        .map(|mount| (mount.target.clone(), json!({})))
        .collect();
    let mut config = json!({
        "Hostname": record.hostname,
        "Domainname": options.domainname.as_deref().unwrap_or_default(),
        "User": record.user,
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": options.tty,
        "OpenStdin": options.stdin_open,
        "StdinOnce": false,
        "Env": record.env,
        "Cmd": or_null(&record.command),
        "Image": record.image,
        "Volumes": if anonymous.is_empty() { Value::Null } else { anonymous.into() },
        "WorkingDir": record.working_dir,
        "Entrypoint": or_null(&record.entrypoint),
        "OnBuild": null,
        "Labels": record.labels,
    });
    // Docker leaves these out when they are not set.
    if !record.exposed_ports.is_empty() {
        config["ExposedPorts"] = set(&record.exposed_ports);
    }
    config["StopSignal"] = record.stop_signal.as_str().into();
    if let Some(grace) = options.stop_grace_period {
        config["StopTimeout"] = grace.as_secs().into();
    }
    config
}

fn host_config(record: &ContainerRecord) -> Value {
    let options = &record.options;
    let unmasked = options.privileged || options.security_opt.iter().any(|option| option == "systempaths=unconfined");
    let masked = |paths: &[&str]| if unmasked { Value::Null } else { json!(paths) };
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
        "LogConfig": log_config(&options.log),
        "NetworkMode": network_mode(&options.network_mode),
        "PortBindings": {},
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
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
        "IpcMode": namespace_mode(&options.ipc_mode, "private"),
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": options.oom_score_adj.unwrap_or(0),
        "PidMode": namespace_mode(&options.pid_mode, ""),
        "Privileged": options.privileged,
        "PublishAllPorts": false,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": or_null(&options.security_opt),
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
    config["MaskedPaths"] = masked(&MASKED_PATHS);
    config["ReadonlyPaths"] = masked(&READONLY_PATHS);
    if options.init {
        config["Init"] = true.into();
    }
    config
}

/// The part of the host configuration that Docker calls its resources.
fn resources(options: &ContainerOptions) -> Value {
    let limits = &options.limits;
    json!({
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory_bytes.unwrap_or(0),
        "NanoCpus": limits.cpus.map_or(0, |cpus| (cpus * 1e9).round() as i64),
        "CgroupParent": "",
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteIOps": [],
        "CpuPeriod": limits.cpu_period_us.unwrap_or(0),
        "CpuQuota": limits.cpu_quota_us.unwrap_or(0),
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or_default(),
        "Devices": options.devices.iter().map(|device| device_mapping(device)).collect::<Vec<_>>(),
        "DeviceCgroupRules": null,
        "DeviceRequests": null,
        "MemoryReservation": limits.memory_reservation_bytes.unwrap_or(0),
        "MemorySwap": memory_swap(limits),
        "MemorySwappiness": null,
        "OomKillDisable": false,
        "PidsLimit": limits.pids,
        "Ulimits": options.ulimits.iter().map(ulimit).collect::<Vec<_>>(),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    })
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

/// An entry of `Mounts`; Docker does not list a tmpfs there.
fn mount_point(mount: &MountPoint, paths: &Paths) -> Option<Value> {
    let mode = if mount.read_only { "ro" } else { "" };
    match &mount.kind {
        MountPointKind::Bind { source } => Some(json!({
            "Type": "bind",
            "Source": source,
            "Destination": mount.target,
            "Mode": mode,
            "RW": !mount.read_only,
            "Propagation": propagation(mount),
        })),
        MountPointKind::Volume { id, name, .. } => Some(json!({
            "Type": "volume",
            "Name": name,
            "Source": paths.volume_data(id),
            "Destination": mount.target,
            "Driver": "local",
            "Mode": mode,
            "RW": !mount.read_only,
            "Propagation": "",
        })),
        MountPointKind::Tmpfs => None,
    }
}

fn propagation(mount: &MountPoint) -> &str {
    let words = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
    mount.options.iter().map(String::as_str).find(|option| words.contains(option)).unwrap_or("rprivate")
}

/// The overlay's folders. The merged view exists only inside the container: the kernel shows it through `/proc`.
fn graph_driver(container: &Container, paths: &Paths) -> Value {
    let dir = paths.container(&container.record.id);
    let lower: Vec<String> = container
        .record
        .layers
        .iter()
        .rev()
        .map(|layer| paths.layers().join(layer.hex()).join("diff").display().to_string())
        .collect();
    json!({
        "Data": {
            "LowerDir": lower.join(":"),
            "MergedDir": container.state.pid.map(|pid| format!("/proc/{pid}/root")).unwrap_or_default(),
            "UpperDir": dir.join("upper"),
            "WorkDir": dir.join("work"),
        },
        "Name": "overlay2",
    })
}

fn network_settings(container: &Container) -> Value {
    let mut networks = Map::new();
    if let Some(name) = network_name(&container.record) {
        networks.insert(
            name.into(),
            json!({
                "IPAMConfig": null,
                "Links": null,
                "Aliases": null,
                "NetworkID": "",
                "EndpointID": "",
                "Gateway": "",
                "IPAddress": "",
                "IPPrefixLen": 0,
                "IPv6Gateway": "",
                "GlobalIPv6Address": "",
                "GlobalIPv6PrefixLen": 0,
                "MacAddress": "",
                "DriverOpts": null,
            }),
        );
    }
    json!({
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": {},
        "SandboxKey": container.state.pid.map(|pid| format!("/proc/{pid}/ns/net")).unwrap_or_default(),
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": "",
        "Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "MacAddress": "",
        "Networks": networks,
    })
}

/// The network that a listing names; a container in another's namespace has none of its own.
fn network_name(record: &ContainerRecord) -> Option<&'static str> {
    match record.options.network_mode {
        NetworkMode::None => Some("none"),
        NetworkMode::Host => Some("host"),
        NetworkMode::Container(_) => None,
    }
}

fn network_mode(mode: &NetworkMode) -> String {
    match mode {
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

fn userns_mode(mode: &UsernsMode) -> String {
    match mode {
        UsernsMode::Host => String::new(),
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

fn device_mapping(text: &str) -> Value {
    let mut parts = text.splitn(3, ':');
    let host = parts.next().unwrap_or_default();
    let container = parts.next().unwrap_or(host);
    json!({ "PathOnHost": host, "PathInContainer": container, "CgroupPermissions": parts.next().unwrap_or("rwm") })
}

fn log_config(log: &LogOptions) -> Value {
    let mut options = Map::new();
    if let Some(size) = log.max_size_bytes {
        options.insert("max-size".into(), words::exact_size(size).into());
    }
    if let Some(files) = log.max_files {
        options.insert("max-file".into(), files.to_string().into());
    }
    json!({ "Type": log.driver, "Config": options })
}

fn mounts_cell(record: &ContainerRecord, no_trunc: bool) -> String {
    let cells = record.mounts.iter().filter_map(|mount| match &mount.kind {
        MountPointKind::Bind { source } => Some(source.as_str()),
        MountPointKind::Volume { name, .. } => Some(name.as_str()),
        MountPointKind::Tmpfs => None,
    });
    let cells: Vec<String> =
        cells.map(|cell| if no_trunc { cell.to_owned() } else { words::ellipsis(cell, 15) }).collect();
    cells.join(",")
}

/// Docker writes an empty list of strings as null where nothing was given.
pub(super) fn or_null(list: &[String]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

/// Docker writes a set as a map of empty maps.
pub(super) fn set(names: &[String]) -> Value {
    names.iter().map(|name| (name.clone(), json!({}))).collect::<Map<String, Value>>().into()
}
