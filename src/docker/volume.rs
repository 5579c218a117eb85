//! Volumes in Docker's words: the JSON of `inspect`, and the lines of `volume ls`.
//!
//! Pure functions of the facts. There is one driver and one scope.

use serde_json::{Value, json};

use crate::base::Timestamp;
use crate::docker::format::{Listing, Row};
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

/// `docker volume ls`.
pub const LISTING: Listing = Listing {
    type_name: "*formatter.volumeContext",
    columns: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Availability", "AVAILABILITY"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Group", "GROUP"),
        ("Status", "STATUS"),
    ],
    table: r"{{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
    raw: Some(r"name: {{.Name}}\ndriver: {{.Driver}}\n"),
    quiet_wins: false,
};

/// A row of `docker volume ls`.
pub fn list_row(volume: &Volume) -> Row {
    let labels: Vec<String> = volume.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let value = json!({
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
    });
    Row { value, labels: volume.labels.clone() }
}
