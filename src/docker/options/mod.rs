//! Option maps with the Compose specification's keys, and docker's command-line spellings as aliases, to typed options.
//!
//! Keys that this version cannot honour are refused by name, never ignored. What belongs to a front end's own call (`image`,
//! `timeout`, `check`, `stdin`) is taken out of the map before it comes here.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::base::{Error, Result, suggest};
use crate::docker::options::keys::{EXEC_KEYS, KEYS, Known, REFUSED, Refused};
use crate::docker::options::limits::resources;
use crate::docker::value::Field;
use crate::docker::{devices, env, health, isolation, logging, mounts, words};
use crate::model::container::ContainerOptions;
use crate::model::exec::ExecOptions;
use crate::model::image::Pull;
use crate::model::restart::RestartPolicy;

mod keys;
mod limits;
mod networks;
mod update;

pub use networks::{connection, network_options};
pub use update::container_update;

/// Reads a map such as `{"name": "web", "volumes": ["data:/data:ro"], "mem_limit": "64m"}`.
///
/// Values take Docker's short strings and the long map form. `command` and `entrypoint`: a string is `sh -c`, an array is
/// argv. A null value is the same as no key. Durations are strings (`"10s"`) or seconds, sizes strings (`"64m"`) or bytes.
///
/// # Errors
/// `invalid_argument` with a did-you-mean for an unknown key or a malformed value; `unsupported` naming a key that this
/// version cannot honour.
pub fn container_options(map: &Map<String, Value>) -> Result<ContainerOptions> {
    let fields = fields(map, KEYS, REFUSED)?;
    let mut options = ContainerOptions::default();
    let mut log = (None, Vec::new());
    // Files come first: what is written in the map itself wins over them.
    for (canonical, field) in &fields {
        match *canonical {
            "env_file" => options.env.extend(env_files(field)?),
            "label_file" => {
                for path in field.strings()? {
                    options.labels.extend(env::label_file(Path::new(&path)).map_err(|error| field.wrap(error))?);
                }
            }
            _ => {}
        }
    }
    for (canonical, field) in &fields {
        let done = identity(canonical, field, &mut options)?
            || isolation(canonical, field, &mut options)?
            || resources(canonical, field, &mut options)?
            || health::option(canonical, field, &mut options)?
            || surroundings(canonical, field, &mut options, &mut log)?;
        debug_assert!(
            done || matches!(*canonical, "env_file" | "label_file") || networks::COMMON.contains(canonical),
            "{canonical} is in KEYS and has no reader"
        );
    }
    networks::common(&fields, &mut options)?;
    if log.0.is_some() || !log.1.is_empty() {
        options.log = logging::logging(log.0.as_deref(), &log.1)?;
    }
    mounts::check_targets(&options)?;
    Ok(options)
}

/// Reads an exec's map: `environment`, `env_file`, `user`, `working_dir`, `tty`, `privileged` and their aliases. The command
/// stays empty: it is an argument of its own, see [`command_line`].
///
/// # Errors
/// As [`container_options`].
pub fn exec_options(map: &Map<String, Value>) -> Result<ExecOptions> {
    let fields = fields(map, EXEC_KEYS, &[])?;
    let mut options = ExecOptions::default();
    for (_, field) in fields.iter().filter(|(canonical, _)| *canonical == "env_file") {
        options.env.extend(env_files(field)?);
    }
    for (canonical, field) in &fields {
        match *canonical {
            "environment" => options.env.extend(environment(field)?),
            "user" => options.user = Some(field.word()?),
            "working_dir" => options.working_dir = Some(working_dir(field)?),
            "tty" => options.tty = field.bool()?,
            "privileged" => options.privileged = field.bool()?,
            _ => {}
        }
    }
    Ok(options)
}

/// Reads a command: a string is `sh -c`, an array is argv.
///
/// # Errors
/// `invalid_argument` names `key` when it is neither.
pub fn command_line(key: &str, value: &Value) -> Result<Vec<String>> {
    let field = Field { key, value };
    match value {
        Value::String(text) => Ok(vec!["sh".into(), "-c".into(), no_nul(&field, text.clone())?]),
        Value::Array(_) => field
            .strings()
            .map_err(|_| field.expected("a string for sh -c, or a list of strings"))?
            .into_iter()
            .map(|word| no_nul(&field, word))
            .collect(),
        _ => Err(field.expected("a string for sh -c, or a list of strings")),
    }
}

/// Name, command, environment, labels, users.
fn identity(canonical: &str, field: &Field<'_>, options: &mut ContainerOptions) -> Result<bool> {
    match canonical {
        "name" => options.name = Some(field.word()?),
        "command" => options.command = Some(command_line(field.key, field.value)?),
        "entrypoint" => options.entrypoint = Some(command_line(field.key, field.value)?),
        "environment" => options.env.extend(environment(field)?),
        "labels" => options.labels.extend(labels(field)?),
        "working_dir" => options.working_dir = Some(working_dir(field)?),
        "user" => options.user = Some(field.word()?),
        "group_add" => options.group_add = field.strings()?,
        "tty" => options.tty = field.bool()?,
        "stdin_open" => options.stdin_open = field.bool()?,
        "init" => options.init = field.bool()?,
        "stop_signal" => options.stop_signal = Some(field.word()?),
        "stop_grace_period" => options.stop_grace_period = Some(field.duration()?),
        "rm" => options.auto_remove = field.bool()?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Namespaces, rights, mounts.
fn isolation(canonical: &str, field: &Field<'_>, options: &mut ContainerOptions) -> Result<bool> {
    let word = || field.string();
    let wrap = |error| field.wrap(error);
    match canonical {
        "read_only" => options.read_only = field.bool()?,
        "privileged" => options.privileged = field.bool()?,
        "volumes" => {
            for item in field.items() {
                options.mounts.push(mounts::item(item).map_err(wrap)?);
            }
        }
        "tmpfs" => {
            for item in field.items() {
                options.mounts.push(mounts::tmpfs_item(item).map_err(wrap)?);
            }
        }
        "volumes_from" => {
            options.volumes_from =
                field.strings()?.iter().map(|text| mounts::volumes_from(text)).collect::<Result<_>>().map_err(wrap)?;
        }
        "network_mode" => options.networks.extend(networks::item(field)?),
        "networks" => options.networks.extend(networks::list(field)?),
        "ports" => options.publish.extend(networks::ports(field)?),
        "publish_all" => options.publish_all = field.bool()?,
        "pid" => options.pid_mode = isolation::namespace_mode("pid", &word()?).map_err(wrap)?,
        "ipc" => options.ipc_mode = isolation::ipc_mode(&word()?).map_err(wrap)?,
        "uts" => options.uts_mode = isolation::private_or_host("uts", &word()?).map_err(wrap)?,
        "cgroup" => options.cgroupns_mode = isolation::private_or_host("cgroup", &word()?).map_err(wrap)?,
        "userns_mode" => options.userns_mode = isolation::userns_mode(&word()?).map_err(wrap)?,
        "cap_add" => options.cap_add = field.strings()?,
        "cap_drop" => options.cap_drop = field.strings()?,
        "security_opt" => {
            let read = |text: &String| isolation::security_option(text);
            options.security_opt = field.strings()?.iter().map(read).collect::<Result<_>>().map_err(wrap)?;
        }
        "devices" => {
            for item in field.items() {
                options.devices.push(device(item)?);
            }
        }
        "device_cgroup_rules" => {
            let read = |text: &String| devices::device_cgroup_rule(text);
            options.device_cgroup_rules = field.strings()?.iter().map(read).collect::<Result<_>>().map_err(wrap)?;
        }
        "annotations" => options.annotations.extend(labels(field)?),
        "cgroup_parent" => options.cgroup_parent = Some(isolation::cgroup_parent(&field.word()?).map_err(wrap)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Host name, resolver, logging, and what is accepted only in its plain form.
fn surroundings(
    canonical: &str,
    field: &Field<'_>,
    options: &mut ContainerOptions,
    log: &mut (Option<String>, Vec<(String, String)>),
) -> Result<bool> {
    let wrap = |error| field.wrap(error);
    let words_of = |read: fn(&str) -> Result<String>| -> Result<Vec<String>> {
        field.strings()?.iter().map(|text| read(text)).collect::<Result<_>>().map_err(wrap)
    };
    match canonical {
        "hostname" => options.hostname = Some(field.word()?),
        "domainname" => options.domainname = Some(field.word()?),
        "extra_hosts" => options.extra_hosts.extend(extra_hosts(field)?),
        "dns" => options.dns = words_of(words::dns_server)?,
        "dns_search" => options.dns_search = words_of(words::resolver_word)?,
        "dns_opt" => options.dns_options = words_of(words::resolver_word)?,
        "expose" => {
            for text in field.strings()? {
                options.expose.extend(words::expose(&text).map_err(wrap)?);
            }
        }
        "logging" => {
            let map = field.map()?;
            for (canonical, field) in fields(map, &[("driver", &[]), ("options", &[])], &[])? {
                match canonical {
                    "driver" => log.0 = Some(field.word()?),
                    _ => log.1.extend(valued(&field)?),
                }
            }
        }
        "log_driver" => log.0 = Some(field.word()?),
        "log_opt" => log.1.extend(valued(field)?),
        "restart" => match field.value {
            // YAML's bare `no` is a boolean.
            Value::Bool(false) => options.restart = RestartPolicy::No,
            _ => options.restart = words::restart(&field.string()?).map_err(wrap)?,
        },
        "pull_policy" => match field.string()?.as_str() {
            text @ ("build" | "daily" | "weekly") => {
                return Err(Error::unsupported(format!("{:?} {text:?} is not supported yet", field.key))
                    .with_hint("write missing, always or never"));
            }
            text => options.pull = Some(Pull::parse(text).map_err(wrap)?),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// The fields of a map under their canonical keys, in the map's order.
pub(super) fn fields<'a, 'k>(
    map: &'a Map<String, Value>,
    known: Known<'k>,
    refused: Refused,
) -> Result<Vec<(&'k str, Field<'a>)>> {
    let mut fields: Vec<(&str, Field<'_>)> = Vec::with_capacity(map.len());
    for (key, value) in map {
        let plain = key.replace('-', "_");
        let found = known.iter().find(|(canonical, aliases)| *canonical == plain || aliases.contains(&plain.as_str()));
        if value.is_null() && (found.is_some() || refused.iter().any(|(name, _)| *name == plain)) {
            continue;
        }
        let Some((canonical, _)) = found else {
            return Err(unknown(key, &plain, value, known, refused));
        };
        if let Some((_, other)) = fields.iter().find(|(seen, _)| seen == canonical) {
            return Err(Error::invalid(format!("{:?} and {key:?} are the same option", other.key))
                .with_hint("give one of them"));
        }
        fields.push((canonical, Field { key, value }));
    }
    Ok(fields)
}

fn unknown(key: &str, plain: &str, value: &Value, known: Known<'_>, refused: Refused) -> Error {
    if let Some((_, why)) = refused.iter().find(|(name, _)| *name == plain) {
        return Error::unsupported(format!("option {key:?} is not supported yet")).with_hint(*why);
    }
    if plain == "image" && known.len() == KEYS.len() {
        return Error::invalid(format!("option \"image\" has no place here: {value}"))
            .with_hint("the image is the first argument");
    }
    let names = known
        .iter()
        .flat_map(|(canonical, aliases)| std::iter::once(*canonical).chain(aliases.iter().copied()))
        .chain(refused.iter().map(|(name, _)| *name));
    let error = Error::invalid(format!("unknown option {key:?}"));
    match suggest::hint(plain, names) {
        Some(hint) => error.with_hint(hint),
        None if known.len() < 10 => {
            error.with_hint(format!("known are {}", known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")))
        }
        None => error,
    }
}

fn environment(field: &Field<'_>) -> Result<Vec<(String, String)>> {
    let mut entries = Vec::new();
    for (name, value) in field.pairs()? {
        entries.extend(env::resolve(name, value).map_err(|error| field.wrap(error))?);
    }
    Ok(entries)
}

/// Paths, or maps with `path` and `required`.
fn env_files(field: &Field<'_>) -> Result<Vec<(String, String)>> {
    let mut entries = Vec::new();
    for item in field.items() {
        let (path, required) = match item.value {
            Value::Object(map) => {
                let (mut path, mut required) = (None, true);
                for (canonical, inner) in fields(
                    map,
                    &[("path", &[]), ("required", &[])],
                    &[("format", "only docker's plain format is read")],
                )? {
                    match canonical {
                        "path" => path = Some(inner.word()?),
                        _ => required = inner.bool()?,
                    }
                }
                (path.ok_or_else(|| item.expected("a map with a path"))?, required)
            }
            _ => (item.word()?, true),
        };
        let path = Path::new(&path);
        if required || path.exists() {
            entries.extend(env::file(path).map_err(|error| field.wrap(error))?);
        }
    }
    Ok(entries)
}

fn labels(field: &Field<'_>) -> Result<BTreeMap<String, String>> {
    Ok(field.pairs()?.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
}

fn working_dir(field: &Field<'_>) -> Result<String> {
    absolute_dir(&field.string()?).map_err(|error| field.wrap(error))
}

/// Checks a working directory.
///
/// # Errors
/// `invalid_argument` when it is not absolute.
pub fn absolute_dir(text: &str) -> Result<String> {
    if text.starts_with('/') && !text.contains('\0') {
        return Ok(text.to_owned());
    }
    Err(Error::invalid(format!("the working directory {text:?} is not absolute")))
}

/// `host:container:rwm`, or a map with `source`, `target` and `permissions`.
fn device(field: Field<'_>) -> Result<String> {
    let text = match field.value {
        Value::Object(map) => {
            let (mut source, mut target, mut permissions) = (None, None, None);
            for (canonical, inner) in fields(map, &[("source", &[]), ("target", &[]), ("permissions", &[])], &[])? {
                match canonical {
                    "source" => source = Some(inner.word()?),
                    "target" => target = Some(inner.word()?),
                    _ => permissions = Some(inner.word()?),
                }
            }
            let source = source.ok_or_else(|| field.expected("a map with a source"))?;
            let target = target.unwrap_or_else(|| source.clone());
            format!("{source}:{target}:{}", permissions.as_deref().unwrap_or("rwm"))
        }
        _ => field.string()?,
    };
    devices::device(&text).map_err(|error| field.wrap(error))
}

/// `name:address` strings, or a map of names to one or several addresses.
fn extra_hosts(field: &Field<'_>) -> Result<Vec<(String, String)>> {
    let wrap = |error| field.wrap(error);
    let Value::Object(map) = field.value else {
        return field.strings()?.iter().map(|text| words::extra_host(text)).collect::<Result<_>>().map_err(wrap);
    };
    let mut hosts = Vec::new();
    for (name, value) in map {
        for address in (Field { key: name, value }).strings()? {
            hosts.push(words::host_entry(name, &address).map_err(wrap)?);
        }
    }
    Ok(hosts)
}

/// Pairs that all have a value.
fn valued(field: &Field<'_>) -> Result<Vec<(String, String)>> {
    field
        .pairs()?
        .into_iter()
        .map(|(name, value)| value.map(|value| (name, value)).ok_or_else(|| field.expected("a value for every name")))
        .collect()
}

fn no_nul(field: &Field<'_>, text: String) -> Result<String> {
    if text.contains('\0') { Err(field.expected("text without NUL bytes")) } else { Ok(text) }
}
