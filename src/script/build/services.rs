//! Services beside a step: the option `services` of `run` as data.
//!
//! What a container is, `docker::options` reads, as for `container::create`; taken off first is what only a service has.

use std::collections::BTreeMap;

use rhai::{Dynamic, Map};

use super::steps::{origin, texts};
use super::{Build, Recipe};
use crate::base::{Error, Id, Result};
use crate::model::build::{Condition, SecretValue, Service};
use crate::model::container::{ContainerOptions, NetworkMode};
use crate::model::restart::RestartPolicy;
use crate::script::container::options_of;
use crate::script::convert::Keys;
use crate::script::secret::{Secret, bytes_of};
use crate::script::units::a_type;

/// What the script says of each service, by name.
pub(super) fn services(recipe: &mut Recipe, value: &Dynamic, build: &Build) -> Result<Vec<Service>> {
    let Some(map) = value.read_lock::<Map>().map(|map| map.clone()) else {
        return Err(Error::invalid(format!("\"services\" of run takes a map, not {}", a_type(value)))
            .with_hint("write a name and a container: #{ db: #{ image: \"postgres:16\" } }"));
    };
    let mut services = Vec::with_capacity(map.len());
    for (name, value) in map {
        let read = service(recipe, &name, &value, build);
        services.push(read.map_err(|error| error.context(format!("reading the service {name:?}")))?);
    }
    Ok(services)
}

fn service(recipe: &mut Recipe, name: &str, value: &Dynamic, build: &Build) -> Result<Service> {
    check_name(name)?;
    // An image or a build alone is one with its own command.
    let map = match value.read_lock::<Map>() {
        Some(map) => map.clone(),
        None => Map::from([("image".into(), value.clone())]),
    };
    let mut keys = Keys::new("a service", map);
    let Some(image) = keys.take("image") else {
        return Err(Error::invalid("it has no image").with_hint("name one, or give a build"));
    };
    let image = origin(recipe, &image, build)?;
    let timeout = keys.duration("timeout")?;
    let logs = keys.flag("logs")?;
    let depends_on = keys.take("depends_on").map(|value| depends_on(&value)).transpose()?.unwrap_or_default();
    let mut secret_env = BTreeMap::new();
    let mut rest = keys.rest();
    for key in ["environment", "env"] {
        let Some(mut variables) = rest.get(key).and_then(|value| value.read_lock::<Map>().map(|map| map.clone()))
        else {
            continue;
        };
        let secret = variables.iter().filter(|(_, value)| value.read_lock::<Secret>().is_some());
        let secret: Vec<_> = secret.map(|(variable, value)| (variable.clone(), value.clone())).collect();
        for (variable, value) in secret {
            // The step's own secrets have other ids: those are names of files. Another step may have a service of this name.
            let id = format!("{name}/{variable}/{}", Id::random()?.short());
            recipe.credentials.secrets.insert(id.clone(), SecretValue(bytes_of(&value)?));
            secret_env.insert(variable.to_string(), id);
            variables.remove(&variable);
        }
        rest.insert(key.into(), variables.into());
    }
    let options = options_of(rest)?;
    check(&options)?;
    Ok(Service { name: name.to_owned(), image, options, secret_env, timeout, logs, depends_on })
}

/// The services that one begins after: a name, names, or a map of names and conditions, as the Compose specification has it.
/// A name alone means that it is ready: who writes it here needs that.
fn depends_on(value: &Dynamic) -> Result<BTreeMap<String, Condition>> {
    let Some(map) = value.read_lock::<Map>().map(|map| map.clone()) else {
        let names = texts(value, "depends_on")?;
        return Ok(names.into_iter().map(|name| (name, Condition::default())).collect());
    };
    map.into_iter()
        .map(|(name, value)| {
            let map = value.read_lock::<Map>().map(|map| map.clone());
            let mut keys = Keys::new("depends_on", map.unwrap_or_else(|| [("condition".into(), value.clone())].into()));
            let condition = match keys.text("condition")?.as_deref() {
                None | Some("service_healthy") => Condition::Healthy,
                Some("service_started") => Condition::Started,
                Some("service_completed_successfully") => Condition::Completed,
                Some(other) => {
                    return Err(Error::invalid(format!("{other:?} is no condition of a service"))
                        .with_hint("use service_started, service_healthy or service_completed_successfully"));
                }
            };
            keys.finish()?;
            Ok((name.to_string(), condition))
        })
        .collect()
}

/// Whether a name can be asked for in a network (RFC 1123), and is none that means something else.
fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    let fits = name.len() <= 63 && name.chars().all(good) && name.starts_with(edge) && name.ends_with(edge);
    match fits && name != "localhost" {
        true => Ok(()),
        false => Err(Error::invalid(format!("{name:?} is no name for a service"))
            .with_hint("use small letters, digits and dashes, as in a host's name")),
    }
}

/// Refuses what the step decides.
fn check(options: &ContainerOptions) -> Result<()> {
    let on_network = "it is on the network of its step, where the command reaches it by its name";
    let goes = "it goes when the step is done";
    let own_network = !options.networks.is_empty() || options.network_mode != NetworkMode::Bridge;
    let published = !options.publish.is_empty() || options.publish_all;
    let refused = [
        ("name", options.name.is_some(), "its key is its name"),
        ("networks", own_network, on_network),
        ("ports", published, on_network),
        ("restart", options.restart != RestartPolicy::No, goes),
        ("rm", options.auto_remove, goes),
    ];
    match refused.iter().find(|(_, given, _)| *given) {
        Some((key, _, why)) => Err(Error::invalid(format!("{key:?} is not for the service of a step")).with_hint(*why)),
        None => Ok(()),
    }
}
