//! Docker's `--filter KEY=VALUE` of listings and prunes, to the model's filters; scripts give the same keys.
//!
//! A filter that this version cannot honour is refused by name, never ignored.

use crate::base::{Error, Result, suggest};
use crate::docker::{event, health, words};
use crate::model::container::{ContainerFilter, Status};
use crate::model::image::ImageFilter;
use crate::model::network::NetworkFilter;
use crate::model::system::PruneFilter;
use crate::model::volume::VolumeFilter;

/// The filters of `ps`.
pub const CONTAINER: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network", "publish",
    "since", "status", "volume",
];
/// The filters of `images`.
pub const IMAGE: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];
/// The filters of `volume ls`.
pub const VOLUME: [&str; 4] = ["dangling", "driver", "label", "name"];
/// The filters of `network ls`.
pub const NETWORK: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];
/// The filters of prunes.
pub const PRUNE: [&str; 3] = ["label", "label!", "until"];

/// Adds one of `ps`.
///
/// # Errors
/// `invalid_argument` for an unknown one or a value that does not fit; `unsupported` for one of other systems.
pub fn container(filter: &mut ContainerFilter, key: &str, value: &str) -> Result<()> {
    let text = || format!("{key}={value}");
    match key {
        "ancestor" => filter.ancestor.push(value.into()),
        "before" => filter.before = Some(value.into()),
        "exited" => filter.exited.push(value.parse().map_err(|_| not(&text(), "an exit code"))?),
        "expose" => filter.expose.extend(words::expose(value)?),
        "health" => filter.health.push(health::status(value)?),
        "id" => filter.id.push(value.into()),
        "is-task" => filter.is_task = Some(flag(&text(), value)?),
        "label" => filter.label.push(value.into()),
        "name" => filter.name.push(value.into()),
        "network" => filter.network.push(value.into()),
        "publish" => filter.publish.extend(words::expose(value)?),
        "since" => filter.since = Some(value.into()),
        "status" => filter.status.push(status(value)?),
        "volume" => filter.volume.push(value.into()),
        _ => return Err(unknown(key, &CONTAINER, &["isolation"])),
    }
    Ok(())
}

/// Adds one of `images`.
///
/// # Errors
/// As [`container`].
pub fn image(filter: &mut ImageFilter, key: &str, value: &str) -> Result<()> {
    match key {
        "before" => filter.before = Some(value.into()),
        "dangling" => filter.dangling = Some(flag(&format!("{key}={value}"), value)?),
        "label" => filter.label.push(value.into()),
        "reference" => filter.reference.push(value.into()),
        "since" => filter.since = Some(value.into()),
        "until" => filter.until = Some(event::point_in_time(value)?),
        _ => return Err(unknown(key, &IMAGE, &[])),
    }
    Ok(())
}

/// Adds one of `volume ls`.
///
/// # Errors
/// As [`container`].
pub fn volume(filter: &mut VolumeFilter, key: &str, value: &str) -> Result<()> {
    match key {
        "dangling" => filter.dangling = Some(flag(&format!("{key}={value}"), value)?),
        "driver" => filter.driver.push(value.into()),
        "label" => filter.label.push(value.into()),
        "name" => filter.name.push(value.into()),
        _ => return Err(unknown(key, &VOLUME, &[])),
    }
    Ok(())
}

/// Adds one of `network ls`.
///
/// # Errors
/// As [`container`].
pub fn network(filter: &mut NetworkFilter, key: &str, value: &str) -> Result<()> {
    let text = || format!("{key}={value}");
    match key {
        "dangling" => filter.dangling = Some(flag(&text(), value)?),
        "driver" => filter.driver.push(value.into()),
        "id" => filter.id.push(value.into()),
        "label" => filter.label.push(value.into()),
        "name" => filter.name.push(value.into()),
        "scope" if value == "local" => {}
        "scope" => return Err(not(&text(), "local")),
        "type" if value == "builtin" => filter.builtin = Some(true),
        "type" if value == "custom" => filter.builtin = Some(false),
        "type" => return Err(not(&text(), "builtin or custom")),
        _ => return Err(unknown(key, &NETWORK, &["until"])),
    }
    Ok(())
}

/// Adds one of a prune.
///
/// # Errors
/// As [`container`].
pub fn prune(filter: &mut PruneFilter, key: &str, value: &str) -> Result<()> {
    match key {
        "label" => filter.label.push(value.into()),
        "label!" => filter.without_label.push(value.into()),
        "until" => filter.until = Some(event::point_in_time(value)?),
        _ => return Err(unknown(key, &PRUNE, &[])),
    }
    Ok(())
}

/// Reads a container's status.
///
/// # Errors
/// `invalid_argument`.
pub fn status(word: &str) -> Result<Status> {
    Status::ALL.into_iter().find(|status| status.as_str() == word).ok_or_else(|| {
        let error = Error::invalid(format!("unknown status {word:?}"));
        let names = Status::ALL.map(Status::as_str);
        error.with_hint(suggest::hint(word, names).unwrap_or_else(|| format!("known are {}", names.join(", "))))
    })
}

fn flag(text: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(not(text, "true or false")),
    }
}

fn not(text: &str, what: &str) -> Error {
    Error::invalid(format!("filter {text:?} takes {what}"))
}

fn unknown(key: &str, known: &[&str], later: &[&str]) -> Error {
    if later.contains(&key) {
        return Error::unsupported(format!("filter {key:?} is not supported"))
            .with_hint(format!("filters are {}", known.join(", ")));
    }
    let hint = suggest::hint(key, known.iter().copied());
    Error::invalid(format!("unknown filter {key:?}"))
        .with_hint(hint.unwrap_or_else(|| format!("known are {}", known.join(", "))))
}
