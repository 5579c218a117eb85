//! Words and options of steps as data.

use std::collections::BTreeMap;

use rhai::{Array, Dynamic, Map};

use super::services::services;
use super::{Build, Recipe};
use crate::base::{Error, Result, suggest};
use crate::docker::build::ssh_agent;
use crate::docker::devices;
use crate::docker::dockerfile::sources::{is_remote, remote};
use crate::docker::words::{self, permissions};
use crate::engine::build::check_mode;
use crate::model::build::{
    CacheMount, Command, Copy, Device, Inline, Mount, MountKind, Network, Origin, Run, SecretValue, Sharing, Source,
};
use crate::model::health::HealthCheck;
use crate::script::convert::Keys;
use crate::script::secret::bytes_of;
use crate::script::units::{a_type, size_of};

/// The mode of a secret's file.
const SECRET_MODE: u32 = 0o400;
/// The mode of an ssh agent's socket.
const SOCKET_MODE: u32 = 0o600;

/// A string, or an array of strings.
pub(super) fn texts(value: &Dynamic, of: &'static str) -> Result<Vec<String>> {
    let mut keys = Keys::new(of, Map::from([("value".into(), value.clone())]));
    keys.texts("value")
}

/// The words of a command, and whether they are a line for the shell.
pub(super) fn command_words(command: &Dynamic, of: &'static str) -> Result<(Vec<String>, bool)> {
    Ok((texts(command, of)?, command.is_string()))
}

/// A build or an image, as an origin in the recipe.
pub(super) fn origin(recipe: &mut Recipe, value: &Dynamic, build: &Build) -> Result<Origin> {
    if let Some(other) = value.read_lock::<Build>() {
        if std::sync::Arc::ptr_eq(&other.recipe, &build.recipe) {
            return Err(Error::invalid("a build cannot take files from itself"));
        }
        recipe.parents.push(other.frozen());
        return Ok(Origin::Stage(recipe.parents.len() - 1));
    }
    crate::script::image::image_name(&build.engine, value).map(Origin::Image)
}

pub(super) fn run(recipe: &mut Recipe, command: &Dynamic, options: Map, build: &Build) -> Result<Run> {
    let (words, shell) = command_words(command, "run")?;
    if words.first().is_none_or(|word| word.trim().is_empty()) {
        return Err(Error::invalid("run needs a command"));
    }
    let mut keys = Keys::new("run", options);
    let mut mounts = Vec::new();
    if let Some(caches) = keys.take("cache") {
        let Some(caches) = caches.read_lock::<Map>().map(|map| map.clone()) else {
            return Err(Error::invalid(format!("\"cache\" of run takes a map, not {}", a_type(&caches)))
                .with_hint("write the target and the id: #{ \"/root/.npm\": \"npm\" }"));
        };
        for (target, id) in caches {
            let options = match id.read_lock::<Map>() {
                Some(map) => map.clone(),
                None => Map::from([("id".into(), id.clone())]),
            };
            mounts.push(cache(recipe, target.to_string(), options, build)?);
        }
    }
    let (secrets, ssh) = credentials("run", recipe, &mut keys)?;
    mounts.extend(secrets.into_iter().map(|id| secret(id, String::new(), None)));
    if ssh {
        let kind = MountKind::Ssh { id: "default".to_owned(), required: true, mode: 0o600, uid: 0, gid: 0 };
        mounts.push(Mount { target: String::new(), kind });
    }
    let list = keys.take("mounts").unwrap_or_else(|| Array::new().into());
    let Some(list) = list.read_lock::<Array>().map(|list| list.clone()) else {
        return Err(Error::invalid(format!("\"mounts\" of run takes an array of maps, not {}", a_type(&list)))
            .with_hint("write a map for each: [#{ type: \"tmpfs\", target: \"/scratch\" }]"));
    };
    for value in list {
        let Some(map) = value.read_lock::<Map>().map(|map| map.clone()) else {
            return Err(Error::invalid(format!("a mount is a map, not {}", a_type(&value))));
        };
        mounts.push(mount(recipe, map, build)?);
    }
    let devices = match keys.take("devices") {
        Some(value) => match value.read_lock::<Array>() {
            Some(list) => list.iter().map(device).collect::<Result<_>>()?,
            None => vec![device(&value)?],
        },
        None => Vec::new(),
    };
    let services = match keys.take("services") {
        Some(value) => services(recipe, &value, build)?,
        None => Vec::new(),
    };
    let run = Run {
        command: match shell {
            true if words.concat().starts_with("#!") => Command::Script(words.concat()),
            true => Command::Shell(words.concat()),
            false => Command::Exec(words),
        },
        env: keys.pairs("env")?.into_iter().collect(),
        workdir: keys.text("workdir")?,
        user: keys.take("user").map(user).transpose()?,
        mounts,
        network: match keys.text("network")?.as_deref() {
            None | Some("default") => Network::Default,
            Some("none") => Network::None,
            Some("host") => Network::Host,
            Some(other) => {
                return Err(Error::invalid(format!("{other:?} is no network of a step"))
                    .with_hint("use \"none\", \"host\" or \"default\""));
            }
        },
        insecure: keys.flag("privileged")?,
        timeout: keys.duration("timeout")?,
        extra_hosts: hosts(&mut keys)?,
        files: Vec::new(),
        capture: false,
        devices,
        services,
    };
    keys.finish()?;
    Ok(run)
}

/// Names of hosts and their addresses.
fn hosts(keys: &mut Keys) -> Result<Vec<String>> {
    let hosts = keys.texts("extra_hosts")?;
    hosts.iter().try_for_each(|host| words::extra_host(host).map(drop))?;
    Ok(hosts)
}

/// A device's name, or a map that says as well whether it is `required`.
fn device(value: &Dynamic) -> Result<Device> {
    let map = value.read_lock::<Map>().map_or_else(|| Map::from([("name".into(), value.clone())]), |map| map.clone());
    let mut keys = Keys::new("a device", map);
    let name = devices::device(&keys.text("name")?.unwrap_or_default())?;
    let required = keys.optional_flag("required")?.unwrap_or(true);
    keys.finish()?;
    Ok(Device { name, required })
}

fn cache(recipe: &mut Recipe, target: String, options: Map, build: &Build) -> Result<Mount> {
    let mut keys = Keys::new("a cache", options);
    let cache = CacheMount {
        id: keys.text("id")?.unwrap_or_default(),
        sharing: match keys.text("sharing")?.as_deref() {
            None | Some("shared") => Sharing::Shared,
            Some("private") => Sharing::Private,
            Some("locked") => Sharing::Locked,
            Some(other) => {
                return Err(Error::invalid(format!("{other:?} is no way to share a cache"))
                    .with_hint("use \"shared\", \"private\" or \"locked\""));
            }
        },
        read_only: keys.flag("readonly")?,
        from: keys.take("from").map(|from| origin(recipe, &from, build)).transpose()?,
        source: keys.text("source")?.unwrap_or_else(|| "/".to_owned()),
        mode: mode(&mut keys)?.unwrap_or(0o755),
        uid: number(&mut keys, "uid")?,
        gid: number(&mut keys, "gid")?,
    };
    keys.finish()?;
    Ok(Mount { target, kind: MountKind::Cache(cache) })
}

/// A mode: a number, or its digits in base 8 as text.
fn mode(keys: &mut Keys) -> Result<Option<u32>> {
    let Some(value) = keys.take("mode") else { return Ok(None) };
    if let Ok(number) = value.as_int() {
        return permissions(number).map(Some);
    }
    let text = value.to_string();
    let known = words::octal(&text).filter(|_| value.is_string());
    let wrong = || Error::invalid(format!("{} is not a mode", quoted(&value))).with_hint("write \"0440\" or 0o440");
    known.map(Some).ok_or_else(wrong)
}

/// A value as a message shows it.
fn quoted(value: &Dynamic) -> String {
    match value.is_string() {
        true => format!("{:?}", value.to_string()),
        false if value.is_int() => value.to_string(),
        false => a_type(value),
    }
}

/// The user of commands: a name or a number.
pub(super) fn user(user: Dynamic) -> Result<String> {
    let mut keys = Keys::new("user", Map::from([("name".into(), user.clone())]));
    let wrong =
        || Error::invalid(format!("{} is no user", quoted(&user))).with_hint("write a name, a number, or \"1000:100\"");
    match user.as_int() {
        Ok(number) if u32::try_from(number).is_err() => Err(wrong()),
        Err(_) if !user.is_string() => Err(wrong()),
        _ => keys.text("name")?.filter(|name| !name.is_empty()).ok_or_else(wrong),
    }
}

/// The number of a user or a group.
fn number(keys: &mut Keys, key: &'static str) -> Result<u32> {
    let number = keys.integer(key)?.unwrap_or(0);
    u32::try_from(number).map_err(|_| Error::invalid(format!("{number} is not a {key}")))
}

/// Keeps what `secrets` and `ssh` say, and gives the ids of the secrets and whether there is an agent.
pub(super) fn credentials(of: &str, recipe: &mut Recipe, keys: &mut Keys) -> Result<(Vec<String>, bool)> {
    let mut ids = Vec::new();
    if let Some(secrets) = keys.take("secrets") {
        let Some(secrets) = secrets.read_lock::<Map>().map(|map| map.clone()) else {
            return Err(Error::invalid(format!("\"secrets\" of {of} takes a map, not {}", a_type(&secrets)))
                .with_hint("write the id and the secret: #{ token: secret::env_var(\"TOKEN\") }"));
        };
        for (id, value) in secrets {
            keep_secret(recipe, &id, &value)?;
            ids.push(id.to_string());
        }
    }
    let ssh = keys.text("ssh")?.map(|paths| ssh_agent(&paths)).transpose()?;
    let is_there = ssh.is_some();
    recipe.credentials.ssh.extend(ssh.map(|agent| ("default".to_owned(), agent)));
    Ok((ids, is_there))
}

/// Keeps the value of a secret for the steps that have it.
fn keep_secret(recipe: &mut Recipe, id: &str, value: &Dynamic) -> Result<()> {
    if id.is_empty() {
        return Err(Error::invalid("a secret needs an id"));
    }
    put_secret(&mut recipe.credentials.secrets, id, SecretValue(bytes_of(value)?))
}

/// An id means one value in all of a build: steps ask for it by that alone.
pub(super) fn put_secret(secrets: &mut BTreeMap<String, SecretValue>, id: &str, value: SecretValue) -> Result<()> {
    match secrets.get(id) {
        Some(known) if *known != value => {
            Err(Error::invalid(format!("the secret {id:?} has another value in a step before"))
                .with_hint("give it another id"))
        }
        Some(_) => Ok(()),
        None => {
            secrets.insert(id.to_owned(), value);
            Ok(())
        }
    }
}

fn secret(id: String, target: String, env: Option<String>) -> Mount {
    let kind = MountKind::Secret { id, env, required: true, mode: SECRET_MODE, uid: 0, gid: 0 };
    Mount { target, kind }
}

fn mount(recipe: &mut Recipe, options: Map, build: &Build) -> Result<Mount> {
    // Docker's further words for these.
    let mut options = options;
    for (other, word) in [("dst", "target"), ("destination", "target"), ("src", "source"), ("ro", "readonly")] {
        if !options.contains_key(word)
            && let Some(value) = options.remove(other)
        {
            options.insert(word.into(), value);
        }
    }
    let mut keys = Keys::new("a mount", options);
    let kind = keys.text("type")?.unwrap_or_else(|| "bind".to_owned());
    let target = keys.text("target")?.unwrap_or_default();
    if target.is_empty() && !matches!(kind.as_str(), "secret" | "ssh") {
        let rest = keys.rest();
        let meant = rest.keys().find_map(|key| suggest::hint(key, ["target"]));
        let error = Error::invalid("a mount needs a target");
        return Err(meant.into_iter().fold(error, Error::with_hint));
    }
    if kind == "cache" {
        return cache(recipe, target, keys.rest(), build);
    }
    let mount = match kind.as_str() {
        "tmpfs" => {
            let size_bytes = keys.take("size").map(|size| size_of(&size)).transpose()?;
            Mount { target, kind: MountKind::Tmpfs { size_bytes } }
        }
        "bind" => {
            let from = match keys.take("from") {
                Some(from) => origin(recipe, &from, build)?,
                None => Origin::Context(0),
            };
            let source = keys.text("source")?.unwrap_or_else(|| "/".to_owned());
            Mount { target, kind: MountKind::Bind { from, source, writable: keys.flag("rw")? } }
        }
        "secret" => {
            let id = keys.text("id")?.ok_or_else(|| Error::invalid("a secret mount needs an id"))?;
            if let Some(value) = keys.take("secret") {
                keep_secret(recipe, &id, &value)?;
            }
            let env = keys.text("env")?;
            let required = keys.optional_flag("required")?.unwrap_or(true);
            let mode = mode(&mut keys)?.unwrap_or(SECRET_MODE);
            let (uid, gid) = (number(&mut keys, "uid")?, number(&mut keys, "gid")?);
            Mount { target, kind: MountKind::Secret { id, env, required, mode, uid, gid } }
        }
        "ssh" => {
            let id = keys.text("id")?.unwrap_or_else(|| "default".to_owned());
            if let Some(agent) = keys.text("agent")?.filter(|agent| !agent.is_empty()) {
                recipe.credentials.ssh.insert(id.clone(), ssh_agent(&agent)?);
            }
            let required = keys.flag("required")?;
            let mode = mode(&mut keys)?.unwrap_or(SOCKET_MODE);
            let (uid, gid) = (number(&mut keys, "uid")?, number(&mut keys, "gid")?);
            Mount { target, kind: MountKind::Ssh { id, required, mode, uid, gid } }
        }
        other => {
            return Err(Error::invalid(format!("{other:?} is no kind of mount"))
                .with_hint("use \"bind\", \"cache\", \"secret\", \"ssh\" or \"tmpfs\""));
        }
    };
    keys.finish()?;
    Ok(mount)
}

/// The mode of what is copied: text, or a number such as 0o755.
fn copied_mode(keys: &mut Keys) -> Result<Option<String>> {
    let Some(value) = keys.take("chmod") else { return Ok(None) };
    if let Ok(number) = value.as_int() {
        return Ok(Some(format!("{:04o}", permissions(number)?)));
    }
    if !value.is_string() {
        return Err(Error::invalid(format!("\"chmod\" takes text or a number, not {}", a_type(&value)))
            .with_hint("write \"0755\", 0o755 or \"u=rwX,go=rX\""));
    }
    let text = value.to_string();
    check_mode(&text).map(|()| Some(text))
}

/// `copy`, or with `verb` "add" what takes addresses and unpacks archives as well.
pub(super) fn copy(
    verb: &'static str,
    recipe: &mut Recipe,
    source: &Dynamic,
    target: &str,
    options: Map,
    build: &Build,
) -> Result<Copy> {
    let adds = verb == "add";
    let mut keys = Keys::new(verb, options);
    let given = keys.take("from");
    let is_from = given.is_some();
    let from = match given {
        Some(from) => origin(recipe, &from, build)?,
        None => Origin::Context(0),
    };
    let optional = keys.flag("optional")?;
    let patterns = texts(source, verb)?;
    if patterns.is_empty() || patterns.iter().any(String::is_empty) {
        return Err(Error::invalid(format!("{verb} needs a source")).with_hint("\".\" is all of the context"));
    }
    if target.is_empty() {
        return Err(Error::invalid(format!("{verb} needs a target")).with_hint("\".\" is the working directory"));
    }
    if adds {
        credentials(verb, recipe, &mut keys)?;
    }
    let (checksum, unpack, keep_git_dir) = match adds {
        true => (keys.text("checksum")?, keys.optional_flag("unpack")?, keys.flag("keep_git_dir")?),
        false => (None, Some(false), false),
    };
    if checksum.is_some() && (patterns.len() > 1 || !is_remote(&patterns[0])) {
        return Err(Error::invalid("a checksum is for one source that is fetched"));
    }
    let content = keys.text("content")?;
    if content.is_some() && is_from {
        return Err(Error::invalid("a file has its content from the script or from elsewhere")
            .with_hint("leave out content or from"));
    }
    if let Some(content) = &content
        && let [name] = patterns.as_slice()
    {
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        let sources = vec![Source::Inline(Inline { name, data: content.clone().into_bytes(), mode: None })];
        let (chown, chmod) = (keys.text("chown")?, copied_mode(&mut keys)?);
        keys.finish()?;
        return Ok(Copy { sources, target: target.to_owned(), chown, chmod, ..Copy::default() });
    }
    if content.is_some() {
        return Err(Error::invalid("a content is for one file"));
    }
    let mut sources = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        sources.push(match adds && is_remote(&pattern) {
            true => remote(&pattern, checksum.clone(), keep_git_dir, unpack == Some(true))?,
            false => Source::Path { from: from.clone(), pattern, optional, unpack: adds && unpack != Some(false) },
        });
    }
    let copy = Copy {
        sources,
        target: target.to_owned(),
        chown: keys.text("chown")?,
        chmod: copied_mode(&mut keys)?,
        exclude: keys.texts("exclude")?,
        parents: keys.flag("parents")?,
        link: keys.flag("link")?,
    };
    keys.finish()?;
    Ok(copy)
}

fn retries(number: i64) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::invalid(format!("{number} is no number of retries")))
}

pub(super) fn healthcheck(value: &Dynamic) -> Result<HealthCheck> {
    let map =
        value.read_lock::<Map>().map_or_else(|| Map::from([("command".into(), value.clone())]), |map| map.clone());
    let mut keys = Keys::new("healthcheck", map);
    let command = keys.take("command").or_else(|| keys.take("test"));
    let command = command.ok_or_else(|| Error::invalid("a health check needs a command"))?;
    let (words, shell) = command_words(&command, "healthcheck")?;
    if words == ["NONE"] {
        keys.finish()?;
        return Ok(HealthCheck::none());
    }
    // The Compose specification's list says in front how it is run.
    let (words, shell) = match words.split_first() {
        Some((first, rest)) if !shell && first == "CMD-SHELL" => (vec![rest.join(" ")], true),
        Some((first, rest)) if !shell && first == "CMD" => (rest.to_vec(), false),
        _ => (words, shell),
    };
    if words.iter().all(String::is_empty) {
        return Err(Error::invalid("a health check needs a command"));
    }
    let check = HealthCheck {
        test: [if shell { "CMD-SHELL" } else { "CMD" }.to_owned()].into_iter().chain(words).collect(),
        interval: keys.duration("interval")?,
        timeout: keys.duration("timeout")?,
        start_period: keys.duration("start_period")?,
        start_interval: keys.duration("start_interval")?,
        retries: keys.integer("retries")?.map(retries).transpose()?,
    };
    keys.finish()?;
    Ok(check)
}
