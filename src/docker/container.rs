//! Containers in Docker's words: the JSON of `inspect`, and the cells of `ps`.
//!
//! Pure functions of the facts: nothing is looked up. What Docker has and Rhumb has not (links, swarm, Windows) is there
//! with the value that Docker gives when it is not used.

use serde_json::{Map, Value, json};

use crate::base::{Id, Paths, Timestamp, units};
use crate::docker::format::{Listing, Row};
use crate::docker::host_config::host_config;
use crate::docker::{health, network, shapes, words};
use crate::model::container::{Container, ContainerRecord, MountPoint, MountPointKind, State, Status};
use crate::model::content::ContainerSize;
use crate::model::health::{HealthStatus, OnUnhealthy};
use crate::model::log::LogDriver;

/// Docker's word for "never" where a time stands.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// The exit code that is shown when nobody knows it; containerd's number for the same.
const UNKNOWN_EXIT_CODE: i32 = 255;
/// The stop signal that nobody has to ask for.
const DEFAULT_STOP_SIGNAL: &str = "SIGTERM";
/// How many characters of a command a listing shows.
const COMMAND_WIDTH: usize = 20;

/// The JSON of `docker container inspect` for one container (Docker Engine API 1.43, `ContainerInspect`).
pub fn inspect(container: &Container, paths: &Paths) -> Value {
    let record = &container.record;
    let dir = paths.container(&record.id);
    let file = |name: &str| dir.join(name).display().to_string();
    let log_path = match record.options.log.driver {
        LogDriver::JsonFile => file(&format!("{}-json.log", record.id)),
        _ => String::new(),
    };
    let value = json!({
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
        "RestartCount": container.state.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": ids_or_null(&container.state.execs),
        "HostConfig": host_config(record),
        "GraphDriver": graph_driver(container, paths),
        "Mounts": record.mounts.iter().filter_map(|mount| mount_point(mount, paths)).collect::<Vec<_>>(),
        "Config": config(record),
        "NetworkSettings": network::settings(container),
    });
    shapes::in_order(value, shapes::CONTAINER)
}

/// Adds what `inspect --size` tells.
pub fn add_size(facts: &mut Value, size: &ContainerSize) {
    facts["SizeRw"] = size.writable_bytes.into();
    facts["SizeRootFs"] = size.virtual_bytes.into();
    *facts = shapes::in_order(facts.take(), shapes::CONTAINER);
}

/// `docker ps`.
pub const LISTING: Listing = Listing {
    type_name: "*formatter.ContainerContext",
    columns: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
    ],
    table: r"{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "{{.ID}}",
    raw: Some(
        r"container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n",
    ),
    quiet_wins: true,
};
/// As [`LISTING`]'s table, with sizes.
pub const SIZED_TABLE: &str =
    r"{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}";

/// A row of `docker ps`; without a size it is none.
pub fn list_row(container: &Container, no_trunc: bool, size: Option<&ContainerSize>) -> Row {
    let record = &container.record;
    let labels: Vec<String> = record.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let volumes = record.mounts.iter().filter(|mount| matches!(mount.kind, MountPointKind::Volume { .. })).count();
    let size = match size {
        Some(size) if size.virtual_bytes > 0 => {
            let (own, all) = (units::human_size(size.writable_bytes), units::human_size(size.virtual_bytes));
            format!("{own} (virtual {all})")
        }
        size => units::human_size(size.map_or(0, |size| size.writable_bytes)),
    };
    let value = json!({
        "Command": command_cell(record, no_trunc),
        "CreatedAt": date(record.created),
        "ID": if no_trunc { record.id.as_str() } else { record.id.short() },
        "Image": record.image,
        "Labels": labels.join(","),
        "LocalVolumes": volumes.to_string(),
        "Mounts": mounts_cell(record, no_trunc),
        "Names": container.name,
        "Networks": network::names(container),
        "Platform": null,
        "Ports": network::ports_cell(container),
        "RunningFor": age(record.created),
        "Size": size,
        "State": container.state.status,
        "Status": status_cell(&container.state),
    });
    Row { value, labels: record.labels.clone() }
}

/// STATUS of `ps`: `Up 3 minutes`, `Exited (0) 5 seconds ago`, `Created`, `Dead`.
pub fn status_cell(state: &State) -> String {
    let up = || {
        let since = state.started.map(|started| units::human_duration(started.elapsed()));
        format!("Up {}", since.unwrap_or_else(|| "Less than a second".into()))
    };
    match state.status {
        Status::Created => "Created".into(),
        Status::Running => match state.health.as_ref().map(|health| health.status) {
            None => up(),
            Some(HealthStatus::Starting) => format!("{} (health: starting)", up()),
            Some(status) => format!("{} ({})", up(), status.as_str()),
        },
        Status::Paused => format!("{} (Paused)", up()),
        Status::Restarting => format!("Restarting {}", ended(state)),
        Status::Exited => format!("Exited {}", ended(state)),
        Status::Dead => "Dead".into(),
        Status::Removing => "Removal In Progress".into(),
    }
}

/// `(0) 5 seconds ago`.
fn ended(state: &State) -> String {
    let code = state.exit_code.unwrap_or(UNKNOWN_EXIT_CODE);
    let ago = state.finished.map(|finished| format!(" {}", age(finished))).unwrap_or_default();
    format!("({code}){ago}")
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
    let mut value = json!({
        "Status": state.status,
        "Running": state.status.is_alive(),
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == Status::Dead,
        "Pid": state.pid.unwrap_or(0),
        "ExitCode": state.exit_code.unwrap_or(if unknown { UNKNOWN_EXIT_CODE } else { 0 }),
        "Error": state.error.as_deref().unwrap_or_default(),
        "StartedAt": time(state.started),
        "FinishedAt": time(state.finished),
    });
    if let Some(health) = &state.health {
        value["Health"] = health::json(health);
    }
    // Not Docker's: shown only when there is something to tell.
    if !state.log_lost.is_none() {
        value["LogLost"] = json!({ "Lines": state.log_lost.lines, "Bytes": state.log_lost.bytes });
    }
    value
}

fn config(record: &ContainerRecord) -> Value {
    let options = &record.options;
    let anonymous: Map<String, Value> = record
        .mounts
        .iter()
        .filter(|mount| matches!(mount.kind, MountPointKind::Volume { anonymous: true, .. }))
        .map(|mount| (mount.target.clone(), json!({})))
        .collect();
    // Docker does not write down what is so by itself.
    let is_asked = options.working_dir.is_some() || record.working_dir != "/";
    let working_dir = if is_asked { record.working_dir.as_str() } else { "" };
    let mut config = json!({
        "Hostname": record.hostname,
        "Domainname": options.domainname.as_deref().unwrap_or_default(),
        "User": record.user,
        "AttachStdin": options.attached.stdin,
        "AttachStdout": options.attached.stdout,
        "AttachStderr": options.attached.stderr,
        "Tty": options.tty,
        "OpenStdin": options.stdin_open,
        "StdinOnce": options.stdin_open && options.attached.stdin,
        "Env": or_null(&record.env),
        "Cmd": or_null(&record.command),
        "Image": record.image,
        "Volumes": if anonymous.is_empty() { Value::Null } else { anonymous.into() },
        "WorkingDir": working_dir,
        "Entrypoint": or_null(&record.entrypoint),
        "OnBuild": null,
        "Labels": record.labels,
    });
    // Docker leaves these out when they are not set.
    if !record.exposed_ports.is_empty() {
        config["ExposedPorts"] = set(&record.exposed_ports);
    }
    if let Some(check) = &record.healthcheck {
        config["Healthcheck"] = check.to_json();
    }
    if !record.shell.is_empty() {
        config["Shell"] = json!(record.shell);
    }
    if options.on_unhealthy != OnUnhealthy::None {
        // Podman's name; Docker has nothing of the kind.
        config["HealthcheckOnFailureAction"] = options.on_unhealthy.as_str().into();
    }
    if options.stop_signal.is_some() || record.stop_signal != DEFAULT_STOP_SIGNAL {
        config["StopSignal"] = record.stop_signal.as_str().into();
    }
    if let Some(grace) = options.stop_grace_period {
        // Whoever waits for ever has Docker's -1.
        config["StopTimeout"] = i64::try_from(grace.as_secs()).unwrap_or(-1).into();
    }
    config
}

/// An entry of `Mounts`; Docker does not list a tmpfs there.
fn mount_point(mount: &MountPoint, paths: &Paths) -> Option<Value> {
    let mode = match &mount.kind {
        _ if mount.read_only => "ro",
        // Docker's default for volumes with a name, also where nothing has a label.
        MountPointKind::Volume { anonymous: false, .. } => "z",
        _ => "",
    };
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

fn ids_or_null(list: &[Id]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

/// Docker writes a set as a map of empty maps.
pub(super) fn set(names: &[String]) -> Value {
    names.iter().map(|name| (name.clone(), json!({}))).collect::<Map<String, Value>>().into()
}
