//! What a container's specification has to know of this machine, gathered before it is made: rights that the engine holds,
//! devices, disks, security modules.
//!
//! Nothing is decided here. A device is what the descriptor that is looked at says; its name is for people.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Result};
use crate::engine::container::cdi;
use crate::model::container::{ContainerOptions, UsernsMode};
use crate::sys::node::{self, Facts};
use crate::sys::path::{Dir, EntryKind};
use crate::sys::{capability, mount};

/// Folders below `/dev` whose nodes a container makes for itself, or that hold none; runc leaves the same ones out.
const NOT_DEVICES: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
/// Nodes that a container has of its own.
const OWN_NODES: [&str; 2] = ["console", "ptmx"];
/// The most devices that one container gets, and how deep their folders may lie.
const MAX_DEVICES: usize = 8192;
const MAX_DEPTH: usize = 16;
/// Where the kernel counts how often each processor was throttled.
const PROCESSORS: &str = "/sys/devices/system/cpu";

/// The machine's part of a specification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HostFacts {
    /// Capabilities that the engine holds and can pass on, sorted.
    pub capabilities: Vec<String>,
    /// Every capability that there is.
    pub known_capabilities: Vec<String>,
    /// The devices that the options ask for.
    pub devices: Vec<HostDevice>,
    /// What devices change that are asked for by a vendor's name; their nodes are among the devices.
    pub changes: cdi::Changes,
    /// Major and minor numbers of the block devices that limits name.
    pub disks: BTreeMap<String, (u32, u32)>,
    /// How readily the out-of-memory killer takes the engine, which is what its children begin with.
    pub oom_score_adj: i32,
    /// Message queues are mounted at `/dev/mqueue`.
    pub has_message_queues: bool,
    /// AppArmor is in use.
    pub apparmor: bool,
    /// SELinux is in use.
    pub selinux: bool,
}

/// A device of the host as a container gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostDevice {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where it is in the container.
    pub path: PathBuf,
    /// A block device, not a character device.
    pub block: bool,
    /// Major and minor number.
    pub number: (u32, u32),
    /// Permissions.
    pub mode: u32,
    /// User and group on the host.
    pub owner: (u32, u32),
    /// What the container may do with it: `rwm`.
    pub access: String,
}

/// Gathers what the options need.
///
/// # Errors
/// `not_found` for a device; `invalid_argument` for what is none.
pub(super) fn facts(options: &ContainerOptions) -> Result<HostFacts> {
    let mut devices = Vec::new();
    // In a user namespace nodes cannot be made, and the host's belong to nobody there.
    if options.privileged && options.userns_mode == UsernsMode::Host {
        devices = host_devices()?;
    }
    let mut changes = cdi::changes(options.devices.iter().map(String::as_str).filter(|text| cdi::is_name(text)))?;
    let of_vendors = std::mem::take(&mut changes.devices);
    devices.retain(|device| of_vendors.iter().all(|other| other.path != device.path));
    devices.extend(of_vendors);
    for text in options.devices.iter().filter(|text| !cdi::is_name(text)) {
        let named = asked_devices(text)?;
        devices.retain(|device| named.iter().all(|other| other.path != device.path));
        devices.extend(named);
    }
    let mut disks = BTreeMap::new();
    for path in options.limits.blkio.paths() {
        disks.insert(path.to_owned(), disk(path)?);
    }
    Ok(HostFacts {
        capabilities: capability::held()?,
        known_capabilities: capability::known(),
        devices,
        changes,
        disks,
        oom_score_adj: oom_score_adj(),
        has_message_queues: Path::new("/dev/mqueue").is_dir(),
        apparmor: std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.starts_with('Y')),
        selinux: Path::new("/sys/fs/selinux/enforce").exists(),
    })
}

/// The folders that tell about a processor's throttling, where the machine has them (GHSA-6fw5-f8r9-fgfm).
pub(super) fn thermal_paths() -> Vec<String> {
    // A machine without the folder has nothing to hide in it.
    let Ok(entries) = std::fs::read_dir(PROCESSORS) else { return Vec::new() };
    let throttling = entries.flatten().map(|entry| entry.path().join("thermal_throttle"));
    let mut paths: Vec<String> =
        throttling.filter(|path| path.exists()).map(|path| path.to_string_lossy().into_owned()).collect();
    paths.sort();
    paths
}

fn oom_score_adj() -> i32 {
    // Every kernel has the file; one that cannot be read changes nothing.
    let text = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// All devices of the host, for a privileged container.
fn host_devices() -> Result<Vec<HostDevice>> {
    let dir = Dir::open(Path::new("/dev")).context(|| "opening \"/dev\"")?;
    let mut devices = Vec::new();
    walk(&dir, Path::new("/dev"), MAX_DEPTH, &mut |source, facts| {
        let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !(source.parent() == Some(Path::new("/dev")) && OWN_NODES.contains(&name.as_str())) {
            devices.push(of_facts(source, source.to_owned(), facts, "rwm"));
        }
    })?;
    limited(devices, "/dev")
}

/// The devices that `host[:container[:rwm]]` names: one, or all in a folder.
fn asked_devices(text: &str) -> Result<Vec<HostDevice>> {
    let mut parts = text.splitn(3, ':');
    let host = parts.next().unwrap_or_default();
    let target = Path::new(parts.next().unwrap_or(host));
    let access = parts.next().unwrap_or("rwm");
    let doing = || format!("looking at the device {host:?}");
    let pinned = pin(host).context(doing)?;
    let facts = node::facts_of(&pinned).context(doing)?;
    match facts.kind {
        EntryKind::CharDevice | EntryKind::BlockDevice => {
            Ok(vec![of_facts(Path::new(host), target.to_owned(), &facts, access)])
        }
        EntryKind::Dir => {
            let dir = Dir::from_fd(pinned.as_fd()).context(doing)?;
            let (source, mut devices) = (Path::new(host), Vec::new());
            walk(&dir, source, MAX_DEPTH, &mut |path, facts| {
                let inner = path.strip_prefix(source).unwrap_or(path);
                devices.push(of_facts(path, target.join(inner), facts, access));
            })?;
            if devices.is_empty() {
                return Err(Error::invalid(format!("{host:?} holds no devices")));
            }
            limited(devices, host)
        }
        _ => {
            Err(Error::invalid(format!("{host:?} is not a device")).with_hint("mount files and sockets with --volume"))
        }
    }
}

/// The number of a block device.
fn disk(path: &str) -> Result<(u32, u32)> {
    let doing = || format!("looking at the device {path:?}");
    let facts = pin(path).and_then(node::facts_of).context(doing)?;
    if facts.kind == EntryKind::BlockDevice {
        Ok(facts.device)
    } else {
        Err(Error::invalid(format!("{path:?} is not a block device, so its input and output cannot be limited")))
    }
}

/// What is at a path of the host.
pub(super) fn node(path: &Path) -> std::io::Result<Facts> {
    let root = mount::open_folder(Path::new("/"))?;
    node::facts_of(&mount::pin(root.as_fd(), path)?)
}

fn pin(path: &str) -> std::io::Result<OwnedFd> {
    let root = mount::open_folder(Path::new("/"))?;
    mount::pin(root.as_fd(), Path::new(path))
}

/// Gives every device below a folder to `each`. No link is followed; what vanishes meanwhile is not there.
fn walk(dir: &Dir, path: &Path, depth: usize, each: &mut dyn FnMut(&Path, &Facts)) -> Result<()> {
    let doing = || format!("looking for devices in {path:?}");
    let mut entries = dir.entries().context(doing)?;
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, kind) in entries {
        let at = path.join(std::ffi::OsStr::from_bytes(&name));
        match kind {
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                if let Ok(facts) = node::facts_at(dir, &name) {
                    each(&at, &facts);
                }
            }
            EntryKind::Dir if depth > 0 && !NOT_DEVICES.iter().any(|left_out| left_out.as_bytes() == name) => {
                if let Ok(inner) = dir.child(&name) {
                    walk(&inner, &at, depth - 1, each)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn of_facts(source: &Path, path: PathBuf, facts: &Facts, access: &str) -> HostDevice {
    HostDevice {
        source: source.to_owned(),
        path,
        block: facts.kind == EntryKind::BlockDevice,
        number: facts.device,
        mode: facts.mode & 0o777,
        owner: (facts.uid, facts.gid),
        access: access.to_owned(),
    }
}

fn limited(devices: Vec<HostDevice>, path: &str) -> Result<Vec<HostDevice>> {
    if devices.len() <= MAX_DEVICES {
        return Ok(devices);
    }
    Err(Error::invalid(format!("{path:?} holds {} devices, the most is {MAX_DEVICES}", devices.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    fn options(change: impl FnOnce(&mut ContainerOptions)) -> ContainerOptions {
        let mut options = ContainerOptions::default();
        change(&mut options);
        options
    }

    #[test]
    fn a_device_is_what_the_node_is_and_a_folder_is_all_in_it() {
        let one = facts(&options(|o| o.devices = vec!["/dev/zero:/dev/nought:r".into()])).unwrap().devices;
        assert_eq!((one.len(), one[0].number, one[0].block, one[0].access.as_str()), (1, (1, 5), false, "r"));
        assert_eq!(
            (one[0].source.as_path(), one[0].path.as_path()),
            (Path::new("/dev/zero"), Path::new("/dev/nought"))
        );

        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        node::make_node(&dir, b"null", EntryKind::CharDevice, 0o640, (1, 3)).unwrap();
        dir.make_dir(b"in", 0o755).unwrap();
        let inner = dir.child(b"in").unwrap();
        node::make_node(&inner, b"full", EntryKind::CharDevice, 0o600, (1, 7)).unwrap();
        std::os::unix::fs::symlink("/dev", folder.path().join("link")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let text = format!("{}:/dev/box", folder.path().display());
        let all = facts(&options(|o| o.devices = vec![text])).unwrap().devices;
        let seen: Vec<_> = all.iter().map(|one| (one.path.to_str().unwrap(), one.number, one.mode)).collect();
        assert_eq!(seen, [("/dev/box/in/full", (1, 7), 0o600), ("/dev/box/null", (1, 3), 0o640)]);
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let empty = tempfile::tempdir().unwrap();
        for (text, kind) in [
            ("/dev/no-such-device".to_owned(), Kind::NotFound),
            ("/etc/passwd".to_owned(), Kind::InvalidArgument),
            (empty.path().display().to_string(), Kind::InvalidArgument),
        ] {
            assert_eq!(facts(&options(|o| o.devices = vec![text.clone()])).unwrap_err().kind(), kind, "{text}");
        }
        let limit = |path: &str| crate::model::limits::DeviceValue { path: path.into(), value: 1 };
        let error = facts(&options(|o| o.limits.blkio.read_bps = vec![limit("/dev/null")])).unwrap_err();
        assert!(error.message().contains("not a block device"), "{error}");
    }

    #[test]
    fn a_privileged_container_gets_the_hosts_devices_but_for_its_own() {
        let all = facts(&options(|o| o.privileged = true)).unwrap().devices;
        let has = |path: &str| all.iter().any(|one| one.path == Path::new(path));
        assert!(has("/dev/null") && has("/dev/zero"));
        assert!(!has("/dev/ptmx") && !has("/dev/console") && !all.iter().any(|one| one.path.starts_with("/dev/pts")));
        let mapped = facts(&options(|o| {
            (o.privileged, o.userns_mode) = (true, UsernsMode::Auto { size: None });
        }));
        assert!(mapped.unwrap().devices.is_empty());
    }
}
