//! The engine as a whole in Docker's words: disk usage, `info` and `version`.
//!
//! Pure functions of the facts.

use serde_json::{Value, json};

use crate::base::units;
use crate::docker::format::Listing;
use crate::model::system::{DiskUsageRow, Info};

/// The Engine API whose JSON this program speaks.
pub const API_VERSION: &str = "1.43";

/// `docker system df`.
pub const DISK_USAGE: Listing = Listing {
    type_name: "*formatter.diskUsageContext",
    columns: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    table: r"{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
    raw: None,
    quiet_wins: false,
};

/// A row of `docker system df`.
pub fn disk_usage_row(row: &DiskUsageRow) -> Value {
    json!({
        "Active": row.active.to_string(),
        "Reclaimable": reclaimable(row),
        "Size": units::finer_size(row.size_bytes),
        "TotalCount": row.total.to_string(),
        "Type": row.noun,
    })
}

/// `1.2MB (50%)`; without the share when there is nothing at all.
fn reclaimable(row: &DiskUsageRow) -> String {
    let size = units::finer_size(row.reclaimable_bytes);
    match (row.reclaimable_bytes * 100).checked_div(row.size_bytes) {
        Some(share) => format!("{size} ({share}%)"),
        None => size,
    }
}

/// The fields of Docker's `GET /info` that have an answer here.
pub fn info(info: &Info) -> Value {
    json!({
        "ServerVersion": info.version,
        "DockerRootDir": info.root,
        "Containers": info.containers_running + info.containers_paused + info.containers_stopped,
        "ContainersRunning": info.containers_running,
        "ContainersPaused": info.containers_paused,
        "ContainersStopped": info.containers_stopped,
        "Images": info.images,
        "Volumes": info.volumes,
        "Driver": "overlay2",
        "LoggingDriver": "json-file",
        "CgroupVersion": if info.cgroup == "v2" { "2" } else { "1" },
        "KernelVersion": info.kernel,
        "OperatingSystem": info.operating_system,
        "OSType": "linux",
        "Architecture": info.architecture,
        "NCPU": info.cpus,
        "MemTotal": info.memory_bytes,
    })
}

/// Docker's pair of client and server, which are one program here.
pub fn version(version: &str, os: &str, architecture: &str) -> Value {
    // Go's names.
    let architecture = match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let side = json!({ "Version": version, "ApiVersion": API_VERSION, "Os": os, "Arch": architecture });
    json!({ "Client": side, "Server": side })
}
