//! Volumes in Docker's words: the JSON of `inspect`, and the lines of `volume ls`.
//!
//! Pure functions of the facts. There is one driver and one scope.

use serde_json::{Value, json};

use crate::base::Timestamp;
use crate::model::volume::Volume;

/// The driver of every volume.
pub const DRIVER: &str = "local";

/// The JSON of `docker volume inspect` for one volume (Docker Engine API 1.43, `Volume`).
pub fn inspect(volume: &Volume) -> Value {
    json!({
        "CreatedAt": Timestamp::from_nanos(volume.created.as_secs() * 1_000_000_000),
        "Driver": DRIVER,
        "Labels": if volume.labels.is_empty() { Value::Null } else { json!(volume.labels) },
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": null,
        "Scope": "local",
    })
}

/// One line of `docker volume ls --format json`.
pub fn list_row(volume: &Volume) -> Value {
    let labels: Vec<String> = volume.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "Availability": "N/A",
        "Driver": DRIVER,
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": "N/A",
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    })
}
