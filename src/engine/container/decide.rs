//! What a container will be: options and image joined by Docker's rules into a record. Pure; nothing is touched.

use std::collections::BTreeMap;

use crate::base::{Error, Id, Result, Timestamp, signal};
use crate::model::container::{
    ContainerOptions, ContainerRecord, MASKED_PATHS, MountPoint, MountPointKind, NamespaceMode, NetworkMode,
};
use crate::model::health::HealthCheck;
use crate::model::image::{Image, ImageConfig};
use crate::model::mount::{Mount, MountSource};
use crate::model::restart::RestartPolicy;

/// What the decision needs besides the options.
pub(super) struct Given<'a> {
    /// The new container's identity.
    pub id: Id,
    /// The image as the user wrote it, in familiar form.
    pub image_name: String,
    /// The image.
    pub image: &'a Image,
    /// Mounts taken over with `volumes_from`, in order.
    pub inherited: Vec<MountPoint>,
    /// What this machine has to hide beside Docker's list.
    pub thermal_paths: Vec<String>,
    /// Makes identities for anonymous volumes.
    pub new_id: &'a mut dyn FnMut() -> Result<Id>,
    /// The identity of a named volume, which exists by now.
    pub volume_id: &'a mut dyn FnMut(&str) -> Result<(Id, String)>,
}

/// Decides everything about a new container.
///
/// # Errors
/// `invalid_argument` when there is nothing to run, a path is not absolute, a target is used twice, or a signal is
/// unknown.
pub(super) fn decide(options: &ContainerOptions, given: Given<'_>) -> Result<ContainerRecord> {
    let config = &given.image.config;
    let (entrypoint, command) = entrypoint_and_command(options, config);
    let args: Vec<String> = entrypoint.iter().chain(&command).cloned().collect();
    if args.is_empty() || args[0].is_empty() {
        return Err(Error::invalid(format!("no command given, and the image {:?} has none", given.image_name))
            .with_hint("name a command after the image"));
    }
    let stop_signal = options.stop_signal.as_ref().or(config.stop_signal.as_ref());
    // As it was written, which is what Docker shows.
    let stop_signal = stop_signal.cloned().unwrap_or_else(|| signal::name(signal::TERM));
    signal::parse(&stop_signal)?;
    let working_dir = options.working_dir.clone().unwrap_or_else(|| config.working_dir.clone());
    let working_dir = if working_dir.is_empty() { "/".to_owned() } else { working_dir };
    require_absolute("working directory", &working_dir)?;
    let user = options.user.clone().unwrap_or_else(|| config.user.clone());
    let mut labels = config.labels.clone();
    labels.extend(options.labels.clone());
    let hostname = options.hostname.clone().unwrap_or_else(|| given.id.short().to_owned());
    check_hostname(&hostname)?;
    check_limits(options)?;
    Ok(ContainerRecord {
        created: Timestamp::now(),
        image: given.image_name,
        image_id: given.image.id.clone(),
        layers: given.image.layers.iter().map(|layer| layer.chain_id.clone()).collect(),
        args,
        entrypoint,
        command,
        env: merge_env(&config.env, &options.env)?,
        labels,
        working_dir,
        user,
        hostname,
        stop_signal,
        exposed_ports: union(&config.exposed_ports, &options.expose),
        mounts: mounts(options, config, given.inherited, given.new_id, given.volume_id)?,
        masked_paths: masked_paths(options, given.thermal_paths),
        id_range: None,
        healthcheck: healthcheck(options, config),
        shell: config.shell.clone(),
        options: options.clone(),
        id: given.id,
    })
}

/// Docker's rules: a given entrypoint drops the image's command; an empty one means none at all.
fn entrypoint_and_command(options: &ContainerOptions, config: &ImageConfig) -> (Vec<String>, Vec<String>) {
    let given = options.command.clone().filter(|command| !command.is_empty());
    match &options.entrypoint {
        Some(entrypoint) => {
            let reset = entrypoint.iter().all(String::is_empty);
            (if reset { Vec::new() } else { entrypoint.clone() }, given.unwrap_or_default())
        }
        None => (config.entrypoint.clone(), given.unwrap_or_else(|| config.cmd.clone())),
    }
}

/// What the options say over what the image says. Docker shows one that is off, too.
fn healthcheck(options: &ContainerOptions, config: &ImageConfig) -> Option<HealthCheck> {
    match (&options.healthcheck, &config.healthcheck) {
        (Some(options), Some(image)) => Some(options.over(image)),
        (options, image) => options.as_ref().or(image.as_ref()).cloned(),
    }
}

/// The image's environment with the options' over it, each name once, in order of first appearance.
fn merge_env(image: &[String], options: &[(String, String)]) -> Result<Vec<String>> {
    let mut merged: Vec<(String, String)> = Vec::new();
    let image = image.iter().map(|entry| entry.split_once('=').unwrap_or((entry, "")));
    let options = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in image.chain(options) {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Error::invalid(format!("{name:?} is not a name for an environment variable")));
        }
        match merged.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => value.clone_into(&mut entry.1),
            None => merged.push((name.to_owned(), value.to_owned())),
        }
    }
    Ok(merged.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

/// Own mounts win over inherited ones, and both over the image's anonymous volumes. Sorted so that a mount comes after
/// the one it lies in.
fn mounts(
    options: &ContainerOptions,
    config: &ImageConfig,
    inherited: Vec<MountPoint>,
    new_id: &mut dyn FnMut() -> Result<Id>,
    volume_id: &mut dyn FnMut(&str) -> Result<(Id, String)>,
) -> Result<Vec<MountPoint>> {
    let mut points: BTreeMap<String, MountPoint> = BTreeMap::new();
    for mount in &options.mounts {
        let target = clean_target(&mount.target)?;
        let point = mount_point(mount, target.clone(), new_id, volume_id)?;
        if points.insert(target.clone(), point).is_some() {
            return Err(Error::invalid(format!("two mounts have the target {target:?}")));
        }
    }
    for point in inherited {
        points.entry(point.target.clone()).or_insert(point);
    }
    for target in &config.volumes {
        let target = clean_target(target)?;
        if !points.contains_key(&target) {
            let kind = anonymous_volume(new_id()?);
            points.insert(
                target.clone(),
                MountPoint { kind, target, read_only: false, inherited: false, options: Vec::new() },
            );
        }
    }
    let mut points: Vec<MountPoint> = points.into_values().collect();
    points.sort_by(|a, b| a.target.split('/').cmp(b.target.split('/')));
    Ok(points)
}

fn anonymous_volume(id: Id) -> MountPointKind {
    let name = id.to_string();
    MountPointKind::Volume { id, name, anonymous: true }
}

fn mount_point(
    mount: &Mount,
    target: String,
    new_id: &mut dyn FnMut() -> Result<Id>,
    volume_id: &mut dyn FnMut(&str) -> Result<(Id, String)>,
) -> Result<MountPoint> {
    let mut options = Vec::new();
    let kind = match &mount.source {
        MountSource::Bind { path, propagation, non_recursive, .. } => {
            require_absolute("mount source", path)?;
            options.push(if *non_recursive { "bind" } else { "rbind" }.to_owned());
            options.push(propagation.clone().unwrap_or_else(|| "rprivate".to_owned()));
            MountPointKind::Bind { source: path.clone() }
        }
        MountSource::Volume { name: None, subpath: None, .. } => anonymous_volume(new_id()?),
        // A path inside a volume must be resolved by the one who mounts it, or a container could swap it for a link.
        MountSource::Volume { subpath: Some(_), .. } => {
            return Err(Error::unsupported("volume subpaths are not built yet").with_hint("mount the whole volume"));
        }
        MountSource::Volume { name: Some(name), .. } => {
            let (id, name) = volume_id(name)?;
            MountPointKind::Volume { id, name, anonymous: false }
        }
        MountSource::Tmpfs { size_bytes, mode, options: more } => {
            options.extend(more.clone());
            options.extend(size_bytes.map(|size| format!("size={size}")));
            options.extend(mode.map(|mode| format!("mode={mode:o}")));
            MountPointKind::Tmpfs
        }
    };
    Ok(MountPoint { kind, target, read_only: mount.read_only, inherited: false, options })
}

fn require_absolute(what: &str, path: &str) -> Result<()> {
    if !path.starts_with('/') {
        return Err(Error::invalid(format!("the {what} {path:?} is not an absolute path")));
    }
    if path.contains('\0') {
        return Err(Error::invalid(format!("the {what} {path:?} contains a zero byte")));
    }
    Ok(())
}

/// An absolute path without `.`, `..`, doubled or trailing slashes; the root itself is refused.
fn clean_target(target: &str) -> Result<String> {
    require_absolute("mount target", target)?;
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(Error::invalid(format!("the mount target {target:?} is the root itself")));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// hostname(7): letters, digits, dashes and dots, up to 64 bytes as the kernel keeps them.
fn check_hostname(name: &str) -> Result<()> {
    let ok = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if ok { Ok(()) } else { Err(Error::invalid(format!("{name:?} is not a host name"))) }
}

/// Docker's floor for a memory limit: below it not even the init would fit.
const MIN_MEMORY_BYTES: u64 = 6 * 1024 * 1024;

pub(super) fn check_limits(options: &ContainerOptions) -> Result<()> {
    let limits = &options.limits;
    if let Some(memory) = limits.memory_bytes {
        if memory < MIN_MEMORY_BYTES {
            return Err(Error::invalid(format!("the memory limit {memory} is below the minimum of 6 MiB")));
        }
        if limits.memory_swap_bytes.is_some_and(|swap| swap >= 0 && (swap as u64) < memory) {
            return Err(Error::invalid("the limit of memory and swap together is below that of memory"));
        }
    } else if limits.memory_swap_bytes.is_some_and(|swap| swap > 0) {
        return Err(Error::invalid("a swap limit needs a memory limit"));
    }
    if limits.cpus.is_some() && (limits.cpu_quota_us.is_some() || limits.cpu_period_us.is_some()) {
        return Err(Error::invalid("cpus excludes cpu_quota and cpu_period"));
    }
    if limits.cpus.is_some_and(|cpus| !(cpus > 0.0 && cpus < 1_000_000.0)) {
        return Err(Error::invalid("cpus is a positive number, such as 1.5"));
    }
    if options.oom_score_adj.is_some_and(|score| !(-1000..=1000).contains(&score)) {
        return Err(Error::invalid("oom_score_adj is between -1000 and 1000"));
    }
    if options.auto_remove && options.restart != RestartPolicy::No {
        return Err(Error::invalid(format!(
            "the restart policy \"{}\" and removal at the end exclude each other",
            options.restart
        ))
        .with_hint("leave one of restart and rm out"));
    }
    let shares_net = matches!(options.network_mode, NetworkMode::Container(_));
    if shares_net && (options.hostname.is_some() || !options.dns.is_empty() || !options.extra_hosts.is_empty()) {
        return Err(Error::invalid("host name, name servers and extra hosts belong to the container that is joined"));
    }
    let named = options.hostname.is_some() || options.domainname.is_some();
    if matches!(options.uts_mode, NamespaceMode::Host) && named {
        return Err(Error::invalid("the host's uts namespace keeps the host's name"));
    }
    Ok(())
}

fn masked_paths(options: &ContainerOptions, thermal: Vec<String>) -> Vec<String> {
    if options.sees_system_paths() {
        return Vec::new();
    }
    MASKED_PATHS.map(str::to_owned).into_iter().chain(thermal).collect()
}

/// Both lists, sorted, each entry once.
fn union(some: &[String], more: &[String]) -> Vec<String> {
    some.iter().chain(more).cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
