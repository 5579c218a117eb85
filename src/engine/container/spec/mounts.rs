//! Mounts of a container. Those of the standard set come first, then the engine's files, then the user's mounts, so that
//! the user's may cover them.

use serde_json::{Value, json};

use crate::base::Paths;
use crate::engine::container::files;
use crate::engine::container::host::HostFacts;
use crate::engine::container::spec::{Joined, devices};
use crate::model::container::{
    ContainerRecord, DEFAULT_SHM_SIZE_BYTES, IpcMode, MountPoint, MountPointKind, UsernsMode,
};

/// The group of terminals, `tty` in every distribution.
const TTY_GROUP: u32 = 5;

pub(super) fn mounts(record: &ContainerRecord, paths: &Paths, joined: &Joined, host: &HostFacts) -> Vec<Value> {
    let options = &record.options;
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let read_only = if options.privileged { "rw" } else { "ro" };
    let mut terminals = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    // A user namespace that is too small for the group has no number to give.
    if record.id_range.is_none_or(|range| range.size > TTY_GROUP) {
        terminals.push("gid=5");
    }
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &terminals),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", read_only]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", read_only]),
    ];
    // A user namespace can mount the queues of its own ipc namespace alone. In their place the runtime would show the
    // host's, which are nobody's business but the host's.
    let queues = match (&options.userns_mode, &options.ipc_mode) {
        (UsernsMode::Host, _) => true,
        (_, IpcMode::Host) => host.has_message_queues,
        (_, IpcMode::Container(_)) => false,
        (_, IpcMode::Private | IpcMode::Shareable | IpcMode::None) => true,
    };
    if queues {
        mounts.push(mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    }
    mounts.extend(shared_memory(record, joined));
    mounts.extend(devices::binds(record, host));
    let covered = |target: &str| record.mounts.iter().any(|point| point.target == target);
    let dir = paths.container(&record.id);
    for (target, file) in files::MOUNTED {
        if !covered(target) {
            let source = dir.join(file);
            let mut options = vec!["rbind", "rprivate"];
            options.extend(own_ids(record));
            mounts.push(json!({ "destination": target, "type": "bind", "source": source, "options": options }));
        }
    }
    mounts.extend(host.changes.mounts.iter().cloned());
    mounts.extend(record.mounts.iter().map(|point| user_mount(point, record, paths)));
    mounts
}

/// `/dev/shm`, which goes with the ipc namespace.
fn shared_memory(record: &ContainerRecord, joined: &Joined) -> Option<Value> {
    match record.options.ipc_mode {
        IpcMode::None => None,
        IpcMode::Host => Some(json!({
            "destination": "/dev/shm", "type": "bind", "source": "/dev/shm",
            "options": ["rbind", "rprivate", "nosuid", "noexec", "nodev"],
        })),
        // The very mount of the other container: it is as large as that one said, and gone with the last who has it.
        IpcMode::Container(_) => joined.shared_memory.as_ref().map(|source| {
            json!({
                "destination": "/dev/shm", "type": "bind", "source": source,
                "options": ["bind", "rprivate", "nosuid", "noexec", "nodev"],
            })
        }),
        IpcMode::Private | IpcMode::Shareable => {
            let size = record.options.shm_size_bytes.unwrap_or(DEFAULT_SHM_SIZE_BYTES);
            Some(json!({
                "destination": "/dev/shm", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", format!("size={size}")],
            }))
        }
    }
}

/// What the engine keeps for containers belongs, in a user namespace, to the ids that it has there: root's files are the
/// container's root's, and two containers with other ranges see the same owners in one volume.
fn own_ids(record: &ContainerRecord) -> Option<&'static str> {
    (record.options.userns_mode != UsernsMode::Host).then_some("idmap")
}

fn user_mount(point: &MountPoint, record: &ContainerRecord, paths: &Paths) -> Value {
    let mut options: Vec<String> = Vec::new();
    let (kind, source) = match &point.kind {
        MountPointKind::Bind { source } => ("bind", source.clone()),
        MountPointKind::Volume { id, .. } => {
            options.extend(["rbind".to_owned(), "rprivate".to_owned()]);
            options.extend(own_ids(record).map(str::to_owned));
            ("bind", paths.volume_data(id).to_string_lossy().into_owned())
        }
        MountPointKind::Tmpfs => {
            options.extend(["nosuid", "nodev", "noexec"].map(str::to_owned));
            ("tmpfs", "tmpfs".to_owned())
        }
    };
    options.extend(point.options.iter().cloned());
    if matches!(point.kind, MountPointKind::Tmpfs) && !options.iter().any(|option| option.starts_with("mode=")) {
        options.push("mode=1777".to_owned());
    }
    // Writable was said by silence; saying it would override `noexec,ro` in the user's own tmpfs options.
    if point.read_only {
        // Also what is mounted below a folder of the host.
        options.push(if matches!(point.kind, MountPointKind::Tmpfs) { "ro" } else { "rro" }.to_owned());
    }
    json!({ "destination": point.target, "type": kind, "source": source, "options": options })
}
