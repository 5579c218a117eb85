//! Mounts as users write them: `-v` strings, `--mount` strings, Compose's long maps and `--tmpfs` strings.
//!
//! Only reads text; whether a path or a volume exists is the engine's business. Relative host paths are made absolute
//! here, because only the front end's process has the right working directory.

use std::path::Path;

use serde_json::{Map, Value};

use crate::base::{Error, Result, suggest, units};
use crate::docker::value::Field;
use crate::docker::words::{self, comma_fields};
use crate::model::container::ContainerOptions;
use crate::model::mount::{Mount, MountSource, VolumesFrom};

/// The propagation words of mount_namespaces(7) that Docker takes.
const PROPAGATIONS: [&str; 6] = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];
/// Mount options that Docker takes for tmpfs without a value.
const TMPFS_FLAGS: [&str; 18] = [
    "ro",
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "sync",
    "async",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
];
/// Mount options that Docker takes for tmpfs with a value.
const TMPFS_VALUES: [&str; 6] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"];
/// Where the kernel shows SELinux; without it the relabelling options `z` and `Z` have nothing to do.
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// Reads a `-v` string: `target`, `source:target` or `source:target:options`.
///
/// # Errors
/// `invalid_argument` for a malformed one; `unsupported` for `z` and `Z` on a machine with SELinux.
pub fn volume(text: &str) -> Result<Mount> {
    let refuse = |why: &str| {
        Error::invalid(format!("{text:?} is not a volume: {why}"))
            .with_hint("write name:/path, /host/path:/path or /path, with :ro at the end for read-only")
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] if target.starts_with('/') => (Some(*source), *target, ""),
        // `/anon:ro`: Docker takes the second part for a mode only when it is no path.
        [target, options] if target.starts_with('/') && is_mode(options) => (None, *target, *options),
        [_, _] => return Err(refuse("the target is not absolute")),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(refuse("it has more than three parts")),
    };
    let target = container_path(target).map_err(|error| refuse(error.message()))?;
    let mut mount =
        Mount { source: volume_source(source).map_err(|error| refuse(error.message()))?, target, read_only: false };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        volume_option(&mut mount, option).map_err(|error| match error.kind() {
            crate::base::Kind::InvalidArgument => refuse(error.message()),
            _ => error,
        })?;
    }
    Ok(mount)
}

/// Reads a `--mount` string: `type=bind,source=/src,target=/dst,readonly`.
///
/// # Errors
/// `invalid_argument` with a did-you-mean for an unknown field.
pub fn mount(text: &str) -> Result<Mount> {
    let mut map = Map::new();
    let mut bind = Map::new();
    let mut volume = Map::new();
    let mut tmpfs = Map::new();
    for field in comma_fields(text)? {
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name.trim().to_ascii_lowercase(), Some(value)),
            None => (field.trim().to_ascii_lowercase(), None),
        };
        let needed = || {
            value
                .filter(|value| !value.is_empty())
                .map(Value::from)
                .ok_or_else(|| Error::invalid(format!("{name:?} in --mount {text:?} needs a value")))
        };
        let flag = || match value {
            None | Some("true" | "1") => Ok(Value::from(true)),
            Some("false" | "0") => Ok(Value::from(false)),
            Some(other) => {
                Err(Error::invalid(format!("{name:?} in --mount {text:?} takes true or false, not {other:?}")))
            }
        };
        match name.as_str() {
            "type" => drop(map.insert("type".into(), needed()?)),
            "source" | "src" => drop(map.insert("source".into(), needed()?)),
            "target" | "dst" | "destination" => drop(map.insert("target".into(), needed()?)),
            "readonly" | "ro" => drop(map.insert("read_only".into(), flag()?)),
            "bind-propagation" => drop(bind.insert("propagation".into(), needed()?)),
            "bind-nonrecursive" => drop(bind.insert("non_recursive".into(), flag()?)),
            "bind-create-src" => drop(bind.insert("create_host_path".into(), flag()?)),
            "volume-nocopy" => drop(volume.insert("nocopy".into(), flag()?)),
            "volume-subpath" => drop(volume.insert("subpath".into(), needed()?)),
            "tmpfs-size" => drop(tmpfs.insert("size".into(), needed()?)),
            "tmpfs-mode" => drop(tmpfs.insert("mode".into(), needed()?)),
            "consistency" => drop(needed()?),
            "bind-recursive" | "volume-driver" | "volume-label" | "volume-opt" | "image-subpath" | "tmpfs-options" => {
                return Err(Error::unsupported(format!("{name:?} in --mount is not supported yet")));
            }
            _ => {
                let error = Error::invalid(format!("unknown field {name:?} in --mount {text:?}"));
                return Err(suggest_from(error, &name, MOUNT_FIELDS));
            }
        }
    }
    for (name, inner) in [("bind", bind), ("volume", volume), ("tmpfs", tmpfs)] {
        if !inner.is_empty() {
            map.insert(name.into(), Value::Object(inner));
        }
    }
    // `--mount` never makes the host path, unlike `-v`.
    long(&map, "--mount", false)
}

const MOUNT_FIELDS: &[&str] = &[
    "type",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "bind-propagation",
    "bind-nonrecursive",
    "bind-create-src",
    "volume-nocopy",
    "volume-subpath",
    "tmpfs-size",
    "tmpfs-mode",
];

/// Reads one item of Compose's `volumes`: a short string or a long map.
pub(crate) fn item(field: Field<'_>) -> Result<Mount> {
    match field.value {
        Value::String(text) => volume(text),
        Value::Object(map) => long(map, field.key, true),
        _ => Err(field.expected("strings such as \"data:/data\", or maps with type, source and target")),
    }
}

/// Reads one item of `tmpfs`: `target[:options]` or a map.
pub(crate) fn tmpfs_item(field: Field<'_>) -> Result<Mount> {
    match field.value {
        Value::String(text) => tmpfs(text),
        Value::Object(map) => {
            let mut map = map.clone();
            map.insert("type".into(), "tmpfs".into());
            long(&map, field.key, true)
        }
        _ => Err(field.expected("strings such as \"/tmp:size=64m\"")),
    }
}

/// Reads a `--tmpfs` string: `target[:option,option…]`.
///
/// # Errors
/// `invalid_argument` for an option outside Docker's list.
pub fn tmpfs(text: &str) -> Result<Mount> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut read_only, mut size_bytes, mut mode, mut rest) = (false, None, None, Vec::new());
    let refuse = |why: String| Error::invalid(format!("{text:?} is not a tmpfs mount: {why}"));
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size_bytes = Some(tmpfs_size(value).map_err(|error| refuse(error.to_string()))?),
            Some(("mode", value)) => {
                mode = Some(words::octal(value).ok_or_else(|| refuse(format!("mode {value:?} is not octal")))?)
            }
            Some((name, value)) if TMPFS_VALUES.contains(&name) => {
                if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric()) {
                    return Err(refuse(format!("{name:?} takes a number, not {value:?}")));
                }
                rest.push(option.to_owned());
            }
            None if option == "ro" => read_only = true,
            None if option == "rw" => read_only = false,
            None if TMPFS_FLAGS.contains(&option) => rest.push(option.to_owned()),
            _ => {
                let name = option.split('=').next().unwrap_or(option);
                let error = refuse(format!("unknown option {name:?}"));
                return Err(suggest_from(error, name, &[TMPFS_FLAGS.as_slice(), TMPFS_VALUES.as_slice()].concat()));
            }
        }
    }
    let target = container_path(target).map_err(|error| refuse(error.message().to_owned()))?;
    Ok(Mount { source: MountSource::Tmpfs { size_bytes, mode, options: rest }, target, read_only })
}

/// Reads a `--volumes-from` string: `container[:ro|:rw]`.
///
/// # Errors
/// `invalid_argument` for another mode or an empty name.
pub fn volumes_from(text: &str) -> Result<VolumesFrom> {
    let (container, mode) = match text.split_once(':') {
        // Compose writes `container:name:ro` for containers that it does not own.
        Some(("container", rest)) => rest.split_once(':').map_or((rest, None), |(name, mode)| (name, Some(mode))),
        Some((name, mode)) => (name, Some(mode)),
        None => (text, None),
    };
    let read_only = match mode {
        None => None,
        Some("ro") => Some(true),
        Some("rw") => Some(false),
        Some("z" | "Z") if !Path::new(SELINUX).exists() => None,
        Some(mode) => {
            return Err(Error::invalid(format!("{text:?} has an unknown mode {mode:?}"))
                .with_hint("write name, name:ro or name:rw"));
        }
    };
    if container.is_empty() {
        return Err(Error::invalid(format!("{text:?} names no container")).with_hint("write name, name:ro or name:rw"));
    }
    Ok(VolumesFrom { container: container.to_owned(), read_only })
}

/// Refuses two mounts with one target, as Docker does.
///
/// # Errors
/// `invalid_argument` names the target.
pub fn check_targets(options: &ContainerOptions) -> Result<()> {
    for (index, mount) in options.mounts.iter().enumerate() {
        if options.mounts[..index].iter().any(|other| other.target == mount.target) {
            return Err(Error::invalid(format!("duplicate mount point {:?}", mount.target)));
        }
    }
    Ok(())
}

/// An absolute path in the container, lexically cleaned; never `/` itself.
///
/// # Errors
/// `invalid_argument`.
pub fn container_path(text: &str) -> Result<String> {
    if !text.starts_with('/') {
        return Err(Error::invalid(format!("the target {text:?} is not absolute")));
    }
    if text.contains('\0') {
        return Err(Error::invalid("the target holds a NUL byte"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(Error::invalid("the target cannot be \"/\""));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A Compose long map, or a `--mount` string turned into one.
fn long(map: &Map<String, Value>, key: &str, create_default: bool) -> Result<Mount> {
    let known = ["type", "source", "target", "read_only", "bind", "volume", "tmpfs", "consistency"];
    refuse_unknown(map, &known, key)?;
    let text = |name: &'static str| get(map, name).map(|field| field.word()).transpose();
    let kind = text("type")?.unwrap_or_else(|| "volume".into());
    let source = text("source")?;
    let target = text("target")?.ok_or_else(|| {
        Error::invalid(format!("{key:?} needs a target")).with_hint("say where to mount it in the container")
    })?;
    let target = container_path(&target).map_err(|error| error.context(format!("reading option {key:?}")))?;
    let read_only = get(map, "read_only").map(|field| field.bool()).transpose()?.unwrap_or(false);
    let section = |name: &'static str, known: &[&str]| -> Result<Map<String, Value>> {
        let Some(field) = get(map, name) else { return Ok(Map::new()) };
        if name != kind {
            return Err(Error::invalid(format!("{key:?} has {name} options for a mount of type {kind}")));
        }
        let inner = field.map()?;
        refuse_unknown(inner, known, name)?;
        Ok(inner.clone())
    };
    let bind = section("bind", &["propagation", "create_host_path", "non_recursive", "recursive", "selinux"])?;
    let volume = section("volume", &["nocopy", "subpath", "labels"])?;
    let tmpfs = section("tmpfs", &["size", "mode", "options"])?;
    let flag = |map: &Map<String, Value>, name| get(map, name).map(|field| field.bool()).transpose();
    let source = match kind.as_str() {
        "bind" => {
            let path = source.ok_or_else(|| {
                Error::invalid(format!("{key:?} of type bind needs a source")).with_hint("name a path of the host")
            })?;
            for name in ["recursive", "selinux"] {
                if bind.contains_key(name) {
                    return Err(Error::unsupported(format!("bind option {name:?} is not supported yet")));
                }
            }
            let propagation = get(&bind, "propagation").map(|field| field.word()).transpose()?;
            if let Some(word) = &propagation
                && !PROPAGATIONS.contains(&word.as_str())
            {
                return Err(suggest_from(Error::invalid(format!("unknown propagation {word:?}")), word, &PROPAGATIONS));
            }
            MountSource::Bind {
                path: host_path(&path)?,
                create: flag(&bind, "create_host_path")?.unwrap_or(create_default),
                propagation,
                non_recursive: flag(&bind, "non_recursive")?.unwrap_or(false),
            }
        }
        "volume" => {
            if volume.contains_key("labels") {
                return Err(Error::unsupported("labels of a volume made by a mount are not supported yet")
                    .with_hint("make the volume first"));
            }
            if let Some(name) = &source {
                volume_name(name)?;
            }
            let subpath = get(&volume, "subpath").map(|field| field.word()).transpose()?;
            if let Some(path) = &subpath
                && (path.starts_with('/') || path.split('/').any(|part| part == ".."))
            {
                return Err(Error::invalid(format!("the subpath {path:?} leads out of the volume")));
            }
            MountSource::Volume { name: source, no_copy: flag(&volume, "nocopy")?.unwrap_or(false), subpath }
        }
        "tmpfs" => {
            if let Some(source) = source {
                return Err(Error::invalid(format!("a tmpfs mount has no source, but {source:?} was given")));
            }
            let size_bytes = match get(&tmpfs, "size") {
                Some(Field { value: Value::String(text), .. }) => Some(tmpfs_size(text)?),
                other => other.map(|field| field.bytes()).transpose()?,
            };
            let mode = match get(&tmpfs, "mode") {
                // A number is the mode itself, as in Compose's YAML (0o1777); a string is octal digits.
                Some(field @ Field { value: Value::Number(_), .. }) => {
                    let number = i64::try_from(field.unsigned()?).unwrap_or(i64::MAX);
                    Some(
                        words::permissions(number)
                            .map_err(|error| error.context(format!("reading {:?}", field.key)))?,
                    )
                }
                Some(field) => {
                    Some(words::octal(&field.word()?).ok_or_else(|| field.expected("permissions such as \"1777\""))?)
                }
                None => None,
            };
            let options = match get(&tmpfs, "options") {
                Some(field) => {
                    let checked = crate::docker::mounts::tmpfs(&format!("{target}:{}", field.strings()?.join(",")))?;
                    match checked.source {
                        MountSource::Tmpfs { options, .. } => options,
                        _ => Vec::new(),
                    }
                }
                None => Vec::new(),
            };
            MountSource::Tmpfs { size_bytes, mode, options }
        }
        "npipe" | "cluster" | "image" => {
            return Err(Error::unsupported(format!("mounts of type {kind:?} are not supported")));
        }
        other => {
            let error = Error::invalid(format!("unknown mount type {other:?}"));
            return Err(suggest_from(error, other, &["bind", "volume", "tmpfs"]));
        }
    };
    Ok(Mount { source, target, read_only })
}

fn volume_source(source: Option<&str>) -> Result<MountSource> {
    match source {
        None => Ok(MountSource::Volume { name: None, no_copy: false, subpath: None }),
        Some("") => Err(Error::invalid("the source is empty")),
        Some(path) if path.starts_with(['/', '.', '~']) => {
            Ok(MountSource::Bind { path: host_path(path)?, create: true, propagation: None, non_recursive: false })
        }
        Some(name) => {
            volume_name(name)?;
            Ok(MountSource::Volume { name: Some(name.to_owned()), no_copy: false, subpath: None })
        }
    }
}

fn volume_option(mount: &mut Mount, option: &str) -> Result<()> {
    match (option, &mut mount.source) {
        ("ro", _) => mount.read_only = true,
        // The consistency words mean nothing outside Docker Desktop, and `rw` is the default.
        ("rw" | "consistent" | "cached" | "delegated", _) => {}
        ("z" | "Z", _) if Path::new(SELINUX).exists() => {
            return Err(Error::unsupported("SELinux relabelling of a mount is not supported yet")
                .with_hint("label the folder with chcon"));
        }
        ("z" | "Z", _) => {}
        ("nocopy", MountSource::Volume { no_copy, .. }) => *no_copy = true,
        (word, MountSource::Bind { propagation, .. }) if PROPAGATIONS.contains(&word) => {
            *propagation = Some(word.to_owned())
        }
        ("nocopy", _) => return Err(Error::invalid("\"nocopy\" is only for volumes")),
        (word, _) if PROPAGATIONS.contains(&word) => {
            return Err(Error::invalid(format!("{word:?} is only for paths of the host")));
        }
        (word, _) => return Err(Error::invalid(format!("unknown option {word:?}"))),
    }
    Ok(())
}

fn is_mode(text: &str) -> bool {
    text.split(',').all(|word| matches!(word, "ro" | "rw" | "nocopy" | "z" | "Z"))
}

/// Docker's rule for names of local volumes.
fn volume_name(name: &str) -> Result<()> {
    let good = name.len() >= 2
        && name.len() <= 255
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good {
        return Ok(());
    }
    Err(Error::invalid(format!("{name:?} is not a volume name (letters, digits, _ . -, at least two)"))
        .with_hint("start a path of the host with / or ./"))
}

/// An absolute path of the host.
fn host_path(text: &str) -> Result<String> {
    if text.starts_with('~') {
        return Err(Error::invalid(format!("{text:?} is not expanded")).with_hint("write the home folder out"));
    }
    if text.contains('\0') {
        return Err(Error::invalid("the source holds a NUL byte"));
    }
    let path = std::path::absolute(text).map_err(|error| Error::from(error).context(format!("resolving {text:?}")))?;
    path.into_os_string().into_string().map_err(|_| Error::invalid(format!("the path of {text:?} is not UTF-8")))
}

fn tmpfs_size(text: &str) -> Result<u64> {
    if text.ends_with('%') {
        return Err(
            Error::unsupported("a tmpfs size in percent is not supported").with_hint("write a size such as 64m")
        );
    }
    units::parse_bytes(text)
}

fn get<'a>(map: &'a Map<String, Value>, key: &'a str) -> Option<Field<'a>> {
    map.get(key).filter(|value| !value.is_null()).map(|value| Field { key, value })
}

fn refuse_unknown(map: &Map<String, Value>, known: &[&str], inside: &str) -> Result<()> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(suggest_from(Error::invalid(format!("unknown key {key:?} in {inside:?}")), key, known)),
        None => Ok(()),
    }
}

fn suggest_from(error: Error, word: &str, known: &[&str]) -> Error {
    match suggest::hint(word, known.iter().copied()) {
        Some(hint) => error.with_hint(hint),
        None => error.with_hint(format!("known are {}", known.join(", "))),
    }
}
