//! `config-linux.md`, namespaces: new, by path and inherited ones, mappings of users, offsets of clocks.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::case::{Case, acts, prints, refuses};
use crate::runtime::Runtime::{Crun, Runc};

const NAMESPACES: &str = "config-linux.md#configLinuxNamespaces";
const MAPPINGS: &str = "config-linux.md#configLinuxUserNamespaceMappings";
const OFFSETS: &str = "config-linux.md#configLinuxTimeOffset";

/// A configuration with as little as a container can have, so that any namespace may be missing but the mount namespace.
fn bare(bundle: &mut Bundle, namespaces: &Value) {
    bundle.with(json!({"hostname": null, "linux": {"namespaces": namespaces, "maskedPaths": [], "readonlyPaths": []}}));
    let proc_and_dev: Vec<Value> = bundle.config["mounts"].as_array().unwrap()[..2].to_vec();
    bundle.with(json!({"mounts": proc_and_dev}));
}

fn own(file: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{file}")).unwrap().display().to_string()
}

/// A new namespace is not the runtime's.
fn is_new(bundle: &mut Bundle, kind: &str, file: &str) {
    bare(bundle, &json!([{"type": "mount"}, {"type": kind}]));
    bundle.script("sleep 1000").up();
    let seen = fs::read_link(format!("/proc/{}/ns/{file}", bundle.pid())).unwrap();
    assert_ne!(seen.display().to_string(), own(file));
    for (kind, file) in [
        ("ipc", "ipc"),
        ("network", "net"),
        ("pid", "pid"),
        ("uts", "uts"),
        ("cgroup", "cgroup"),
        ("time", "time"),
        ("user", "user"),
    ] {
        let given = bundle.config["linux"]["namespaces"].as_array().unwrap().iter().any(|given| given["type"] == *kind);
        let seen = fs::read_link(format!("/proc/{}/ns/{file}", bundle.pid())).unwrap().display().to_string();
        assert!(given || seen == own(file), "{kind} was not asked for, but is new");
    }
}

/// A namespace by path is that of another container.
fn is_joined(bundle: &mut Bundle, kind: &str, file: &str) {
    let mut holder = bundle.sibling("holder");
    bare(&mut holder, &json!([{"type": "mount"}, {"type": kind}]));
    holder.script("sleep 1000").up();
    let path = format!("/proc/{}/ns/{file}", holder.pid());
    bare(bundle, &json!([{"type": "mount"}, {"type": kind, "path": path}]));
    bundle.script("sleep 1000").up();
    let seen = fs::read_link(format!("/proc/{}/ns/{file}", bundle.pid())).unwrap();
    assert_eq!(seen, fs::read_link(&path).unwrap());
    assert_ne!(seen.display().to_string(), own(file));
    bundle.clean_up();
    assert!(fs::read_link(&path).is_ok(), "what was joined is not ended");
    holder.clean_up();
}

const USERS: &str = r#"{"linux": {"namespaces+": [{"type": "user"}],
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 1000}, {"containerID": 5000, "hostID": 200000, "size": 10}],
    "gidMappings": [{"containerID": 0, "hostID": 300000, "size": 1000}]}}"#;

pub(crate) const CASES: &[Case] = &[
    acts("a_new_ipc_namespace", NAMESPACES, "without path a new one is made", |b| is_new(b, "ipc", "ipc")),
    acts("a_new_network_namespace", NAMESPACES, "without path a new one is made", |b| is_new(b, "network", "net")),
    acts("a_new_pid_namespace", NAMESPACES, "without path a new one is made", |b| is_new(b, "pid", "pid")),
    acts("a_new_uts_namespace", NAMESPACES, "without path a new one is made", |b| is_new(b, "uts", "uts")),
    acts("a_new_cgroup_namespace", NAMESPACES, "without path a new one is made", |b| is_new(b, "cgroup", "cgroup")),
    acts("a_new_time_namespace", NAMESPACES, "without path a new one is made", |b| is_new(b, "time", "time"))
        .but(&[(Runc, "new in 1.1 of the specification")]),
    acts("a_new_mount_namespace", NAMESPACES, "without path a new one is made", |b| {
        b.script("sleep 1000").up();
        let seen = fs::read_link(format!("/proc/{}/ns/mnt", b.pid())).unwrap();
        assert_ne!(seen.display().to_string(), own("mnt"));
    }),
    acts("a_joined_ipc_namespace", NAMESPACES, "with a path the process is placed in it", |b| is_joined(b, "ipc", "ipc")),
    acts("a_joined_network_namespace", NAMESPACES, "with a path the process is placed in it", |b| is_joined(b, "network", "net")),
    acts("a_joined_pid_namespace", NAMESPACES, "with a path the process is placed in it", |b| is_joined(b, "pid", "pid")),
    acts("a_joined_uts_namespace", NAMESPACES, "with a path the process is placed in it", |b| is_joined(b, "uts", "uts")),
    acts("a_joined_cgroup_namespace", NAMESPACES, "with a path the process is placed in it", |b| is_joined(b, "cgroup", "cgroup")),
    acts("a_joined_time_namespace", NAMESPACES, "with a path the process is placed in it", |b| is_joined(b, "time", "time"))
        .but(&[(Runc, "new in 1.1 of the specification")]),
    acts("a_joined_user_namespace", NAMESPACES, "with a path the process is placed in it", |b| {
        let mut holder = b.sibling("holder");
        holder.patch(USERS).script("sleep 1000").up();
        let path = format!("/proc/{}/ns/user", holder.pid());
        b.with(json!({"linux": {"namespaces+": [{"type": "user", "path": path}]}}));
        b.script("sleep 1000").up();
        assert_eq!(fs::read_link(format!("/proc/{}/ns/user", b.pid())).unwrap(), fs::read_link(&path).unwrap());
        let status = fs::read_to_string(format!("/proc/{}/status", b.pid())).unwrap();
        assert!(status.contains("Uid:\t100000\t100000"), "{status}");
        b.clean_up();
        holder.clean_up();
    }).but(&[(Runc, "asks for mappings beside the path")]),
    acts("namespaces_are_inherited", NAMESPACES, "a type that is not listed is the runtime's", |b| {
        bare(b, &json!([{"type": "mount"}]));
        b.script("sleep 1000").up();
        for file in ["ipc", "net", "pid", "uts", "cgroup", "time", "user"] {
            let seen = fs::read_link(format!("/proc/{}/ns/{file}", b.pid())).unwrap().display().to_string();
            assert_eq!(seen, own(file));
        }
    }),
    acts("an_inherited_pid_namespace_ends_with_its_processes", NAMESPACES, "what shares pids is ended as well", |b| {
        bare(b, &json!([{"type": "mount"}]));
        b.script("sleep 1000 & echo $! >/child; exec sleep 1000").up();
        let child = b.until_written("child");
        b.call(&["delete", "--force", &b.id]).ok();
        crate::bundle::eventually("the end of the child", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
    }),
    acts("no_mount_namespace_is_asked_for", NAMESPACES, "without one the process is in the runtime's", |b| {
        bare(b, &json!([{"type": "ipc"}]));
        b.with(json!({"mounts": [], "linux": {"devices": []}}));
        // In a namespace that goes away, since a runtime may well leave its mounts in it.
        b.before("mount -t proc proc @scratch@/rootfs/proc; readlink /proc/self/ns/mnt >@scratch@/outside");
        let outcome = b.script("readlink /proc/self/ns/mnt").run();
        // A refusal is better than another namespace than asked for.
        if outcome.success() {
            assert_eq!(outcome.stdout, fs::read_to_string(b.path("outside")).unwrap());
        }
    }).but(&[(Crun, "is run in a mount namespace of its own here")]),
    acts("a_path_to_another_type_is_an_error", NAMESPACES, "the path is one of a namespace of this type", |b| {
        b.with(json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "network", "path": "/proc/self/ns/ipc"}]}}));
        b.refused();
    }),
    refuses("a_path_to_nothing_is_an_error", NAMESPACES, "the path is that of a namespace",
        r#"{"linux": {"namespaces+": [{"type": "time", "path": "/no/such/namespace"}]}}"#),
    refuses("a_path_to_a_plain_file_is_an_error", NAMESPACES, "the path is that of a namespace",
        r#"{"linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "network", "path": "/etc/passwd"}]}}"#),
    refuses("a_relative_path_is_an_error", NAMESPACES, "the path is absolute",
        r#"{"linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "network", "path": "proc/self/ns/net"}]}}"#),
    refuses("a_namespace_given_twice_is_an_error", NAMESPACES, "duplicates are an error",
        r#"{"linux": {"namespaces+": [{"type": "uts"}]}}"#).but(&[(Crun, "takes both for one")]),
    prints("the_first_process_has_number_one", NAMESPACES, "in a new pid namespace", "{}", "echo $$", "1"),
    prints("a_new_network_has_a_loopback_alone", NAMESPACES, "in a new network namespace", "{}",
        "ls /sys/class/net; cat /sys/class/net/lo/operstate", "lo\nunknown"),
    prints("a_new_cgroup_namespace_shows_its_own_root", NAMESPACES, "the view of the hierarchy is isolated", "{}",
        "cut -d: -f3 /proc/self/cgroup | sort -u", "/"),
    prints("user_mappings_are_written", MAPPINGS, "the mappings are those of the namespace", USERS,
        "tr -s ' ' </proc/self/uid_map; tr -s ' ' </proc/self/gid_map; id -u",
        "0 100000 1000\n 5000 200000 10\n 0 300000 1000\n0"),
    acts("users_are_those_of_the_mapping", MAPPINGS, "the ids on the host are the mapped ones", |b| {
        b.patch(USERS).with(json!({"process": {"user": {"uid": 7, "gid": 8}}})).script("sleep 1000").up();
        let status = fs::read_to_string(format!("/proc/{}/status", b.pid())).unwrap();
        assert!(status.contains("Uid:\t100007\t") && status.contains("Gid:\t300008\t"), "{status}");
    }),
    acts("files_keep_their_owner", MAPPINGS, "the ownership of the file systems is not changed", |b| {
        b.patch(USERS);
        assert_eq!(b.prints("stat -c %u /bin/sh /etc"), "65534\n65534");
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(b.in_root("etc")).unwrap());
        assert_eq!(owner, 0);
    }),
    refuses("a_user_namespace_without_mappings_is_an_error", MAPPINGS, "a new one needs some",
        r#"{"linux": {"namespaces+": [{"type": "user"}]}}"#),
    refuses("a_mapping_that_overlaps_is_an_error", MAPPINGS, "what the kernel refuses is an error",
        r#"{"linux": {"namespaces+": [{"type": "user"}], "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 5, "hostID": 2000, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}]}}"#),
    prints("every_namespace_at_once", NAMESPACES, "all eight can be asked for",
        r#"{"linux": {"namespaces": [{"type": "user"}, {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}, {"type": "time"}],
            "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}], "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}]}}"#,
        "echo $$; hostname; id -u", "1\nbox\n0").but(&[(Runc, "the time namespace is new in 1.1 of the specification")]),
    prints("offsets_are_written", OFFSETS, "the offsets of the clocks are set",
        r#"{"linux": {"namespaces+": [{"type": "time"}], "timeOffsets": {"monotonic": {"secs": 7777, "nanosecs": 5}, "boottime": {"secs": 8888}}}}"#,
        "tr -s ' ' </proc/self/timens_offsets", "monotonic 7777 5\nboottime 8888 0").but(&[(Runc, "new in 1.1 of the specification"), (Crun, "fails without a message")]),
    acts("clocks_are_offset", OFFSETS, "the container has clocks of its own", |b| {
        b.patch(r#"{"linux": {"namespaces+": [{"type": "time"}], "timeOffsets": {"boottime": {"secs": 1000000}}}}"#);
        let inside: f64 = b.prints("cut -d' ' -f1 /proc/uptime").parse().unwrap();
        let outside: f64 = fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!((inside - outside - 1e6).abs() < 60.0, "{inside} inside, {outside} outside");
    }).but(&[(Runc, "new in 1.1 of the specification"), (Crun, "fails without a message")]),
    acts("offsets_without_a_namespace_are_not_taken", OFFSETS, "the runtime's clocks are not changed", |b| {
        b.patch(r#"{"linux": {"timeOffsets": {"boottime": {"secs": 1000000}}}}"#);
        if b.script("sleep 1000").try_create().success() {
            let seen = fs::read_link(format!("/proc/{}/ns/time", b.pid())).unwrap().display().to_string();
            assert_eq!(seen, own("time"));
        }
    }),
    refuses("an_unknown_clock_is_an_error", OFFSETS, "the clocks are monotonic and boottime",
        r#"{"linux": {"namespaces+": [{"type": "time"}], "timeOffsets": {"sundial": {"secs": 1}}}}"#),
];
