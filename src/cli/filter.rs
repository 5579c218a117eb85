//! `--filter KEY=VALUE` of the listings, to the model's filters.
//!
//! A filter that this version cannot honour is refused by name, never ignored.

use crate::base::{Error, Result, suggest};
use crate::docker::{event, health};
use crate::model::container::{ContainerFilter, ContainerPrune, Status};
use crate::model::event::EventFilter;
use crate::model::image::ImageFilter;
use crate::model::network::NetworkFilter;
use crate::model::volume::VolumeFilter;

/// Adds `ps` filters.
pub(crate) fn container(texts: &[String], filter: &mut ContainerFilter) -> Result<()> {
    const KNOWN: [&str; 8] = ["ancestor", "exited", "health", "id", "label", "name", "status", "volume"];
    const LATER: [&str; 8] = ["before", "since", "network", "publish", "expose", "isolation", "is-task", "until"];
    for text in texts {
        let (key, value) = split(text)?;
        match key {
            "ancestor" => filter.ancestor.push(value.into()),
            "exited" => filter.exited.push(value.parse().map_err(|_| not(text, "an exit code"))?),
            "health" => filter.health.push(health::status(value)?),
            "id" => filter.id.push(value.into()),
            "label" => filter.label.push(value.into()),
            "name" => filter.name.push(value.into()),
            "status" => filter.status.push(status(value)?),
            "volume" => filter.volume.push(value.into()),
            _ => return Err(unknown(key, &KNOWN, &LATER)),
        }
    }
    Ok(())
}

/// Reads `container prune` filters.
pub(crate) fn container_prune(texts: &[String]) -> Result<ContainerPrune> {
    let mut only = ContainerPrune::default();
    for text in texts {
        // `label!=x` is the one with two signs.
        match split(text)? {
            ("until", value) => {
                let until = event::point_in_time(value).map_err(|_| not(text, "a time or an age such as 24h"))?;
                // Every one must hold.
                only.until = Some(only.until.map_or(until, |other| other.min(until)));
            }
            ("label", value) => only.label.push(value.into()),
            ("label!", value) => only.without_label.push(value.into()),
            (key, _) => return Err(unknown(key, &["label", "label!", "until"], &[])),
        }
    }
    Ok(only)
}

/// Reads `images` filters.
pub(crate) fn image(texts: &[String]) -> Result<ImageFilter> {
    let mut filter = ImageFilter::default();
    for text in texts {
        let (key, value) = split(text)?;
        match key {
            "reference" => filter.reference.push(value.into()),
            "label" => filter.label.push(value.into()),
            "dangling" => filter.dangling = Some(flag(text, value)?),
            _ => return Err(unknown(key, &["dangling", "label", "reference"], &["before", "since", "until"])),
        }
    }
    Ok(filter)
}

/// Reads `volume ls` filters.
pub(crate) fn volume(texts: &[String]) -> Result<VolumeFilter> {
    let mut filter = VolumeFilter::default();
    for text in texts {
        let (key, value) = split(text)?;
        match key {
            "name" => filter.name.push(value.into()),
            "label" => filter.label.push(value.into()),
            "dangling" => filter.dangling = Some(flag(text, value)?),
            "driver" if value == crate::docker::volume::DRIVER => {}
            _ => return Err(unknown(key, &["dangling", "label", "name"], &["driver"])),
        }
    }
    Ok(filter)
}

/// Reads `network ls` filters.
pub(crate) fn network(texts: &[String]) -> Result<NetworkFilter> {
    let mut filter = NetworkFilter::default();
    for text in texts {
        let (key, value) = split(text)?;
        match key {
            "name" => filter.name.push(value.into()),
            "id" => filter.id.push(value.into()),
            "label" => filter.label.push(value.into()),
            "driver" => filter.driver.push(value.into()),
            "dangling" => filter.dangling = Some(flag(text, value)?),
            "type" if value == "builtin" => filter.builtin = Some(true),
            "type" if value == "custom" => filter.builtin = Some(false),
            "type" => return Err(not(text, "builtin or custom")),
            "scope" if value == "local" => {}
            _ => {
                let known = ["dangling", "driver", "id", "label", "name", "scope", "type"];
                return Err(unknown(key, &known, &["until"]));
            }
        }
    }
    Ok(filter)
}

/// Reads `events` filters.
pub(crate) fn events(texts: &[String]) -> Result<EventFilter> {
    let mut filter = EventFilter::default();
    for text in texts {
        let (key, value) = split(text)?;
        crate::docker::event::add_filter(&mut filter, key, value)?;
    }
    Ok(filter)
}

fn split(text: &str) -> Result<(&str, &str)> {
    text.split_once('=').map(|(key, value)| (key.trim(), value.trim())).ok_or_else(|| {
        Error::invalid(format!("{text:?} is not a filter")).with_hint("write key=value, such as name=web")
    })
}

fn status(word: &str) -> Result<Status> {
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
        return Error::unsupported(format!("filter {key:?} is not supported yet"))
            .with_hint(format!("filters are {}", known.join(", ")));
    }
    let hint = suggest::hint(key, known.iter().copied());
    Error::invalid(format!("unknown filter {key:?}"))
        .with_hint(hint.unwrap_or_else(|| format!("known are {}", known.join(", "))))
}
