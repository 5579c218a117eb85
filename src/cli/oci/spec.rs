//! `spec`: a config.json to begin with, runc's in substance: a shell at a terminal, few rights, all namespaces.

use std::fs::OpenOptions;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::base::{Context as _, Error, Result};
use crate::cli::oci::options::SpecArgs;
use crate::runtime::oci::{self, SPEC_VERSION};
use crate::sys::user;

/// Writes it.
pub(crate) fn write(args: &SpecArgs) -> Result<()> {
    let path = args.bundle.join("config.json");
    let config = config(args.rootless, oci::has_cgroup_2_alone());
    let mut text = serde_json::to_string_pretty(&config).expect("plain data is always JSON");
    text.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return Error::already_exists(format!("file {path:?} exists. Remove it first"));
        }
        Error::from(error).context(format!("writing {path:?}"))
    })?;
    file.write_all(text.as_bytes()).context(|| format!("writing {path:?}"))
}

/// On version 1 there is no cgroup namespace, as in runc's: what a container sees of its cgroups there is below its
/// own anyway, and tools look the container's cgroup up by the names that its processes show.
fn config(rootless: bool, cgroup_2: bool) -> Value {
    let rights = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut config = json!({
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": rights, "effective": rights, "permitted": rights},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "rhumb",
        "mounts": mounts(rootless),
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    let linux = &mut config["linux"];
    if rootless {
        let (uid, gid) = (user::effective_uid(), user::effective_gid());
        linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
        // The network stays the caller's, who may not give one an address.
        linux["namespaces"] = json!([
            {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "user"},
        ]);
    } else {
        linux["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    }
    if cgroup_2 {
        linux["namespaces"].as_array_mut().expect("a list above").push(json!({"type": "cgroup"}));
    }
    config
}

fn mounts(rootless: bool) -> Value {
    let mount = |target: &str, kind: &str, source: &str, options: &[&str]| {
        let mut mount = json!({"destination": target, "type": kind, "source": source});
        if !options.is_empty() {
            mount["options"] = json!(options);
        }
        mount
    };
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    let sys = match rootless {
        // A user without rights has no group 5, and no network whose sysfs could be mounted.
        true => mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]),
        false => {
            pts.push("gid=5");
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])
        }
    };
    json!([
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &pts),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sys,
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ])
}
