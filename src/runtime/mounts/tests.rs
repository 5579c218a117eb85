//! Golden lists of steps, and what is refused.

use serde_json::{Value, json};

use super::*;

fn spec(json: Value) -> Spec {
    serde_json::from_value(json).unwrap()
}

fn engine() -> Rootfs {
    Rootfs::Dir("/root".into())
}

fn bundle() -> Rootfs {
    Rootfs::Bundle { bundle: "/b".into(), path: "/b/rootfs".into(), no_pivot: false }
}

fn lines(spec: &Spec, rootfs: &Rootfs) -> String {
    plan(spec, rootfs).unwrap().iter().map(|step| format!("{step}\n")).collect()
}

/// The lines of the mounts alone.
fn of_mounts(mounts: Value, namespaces: Value) -> Result<String> {
    let spec = spec(json!({
        "ociVersion": "1.2.0", "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "uidMappings": [{"containerID": 0, "hostID": 5000, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 6000, "size": 10}],
        },
    }));
    let steps = plan(&spec, &bundle())?;
    let is_mount = |step: &&Step| {
        matches!(step, Step::New(_) | Step::Bind(_) | Step::Remount(_) | Step::Cgroups { .. } | Step::Seal)
    };
    Ok(steps.iter().filter(is_mount).map(|step| format!("{step}\n")).collect())
}

#[test]
fn the_plan_of_an_ordinary_container() {
    let spec = spec(json!({
        "ociVersion": "1.2.0",
        "root": {"path": "", "readonly": true},
        "process": {"terminal": true, "user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/work"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
            {"destination": "/data/../etc//hosts", "type": "bind", "source": "/h", "options": ["rbind", "ro", "rslave"]},
        ],
        "linux": {
            "namespaces": [{"type": "mount"}],
            "devices": [{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 384, "gid": 7}],
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"], "rootfsPropagation": "rprivate",
        },
    }));
    let expected = "\
spread Private
attach root at /
new proc proc on /proc (nosuid,nodev,noexec)
new tmpfs tmpfs on /dev (nosuid) mode=755 size=65536k
new devpts devpts on /dev/pts (nosuid,noexec) newinstance ptmxmode=0666 mode=0620 gid=5
cgroups on /sys/fs/cgroup (ro)
rbind /h on /etc/hosts just (ro) rSlave
device /dev/null c 1:3 666 0:0
device /dev/zero c 1:5 666 0:0
device /dev/full c 1:7 666 0:0
device /dev/random c 1:8 666 0:0
device /dev/urandom c 1:9 666 0:0
device /dev/tty c 5:0 666 0:0
device /dev/net/tun c 10:200 600 0:7
link /dev/fd to /proc/self/fd
link /dev/stdin to /proc/self/fd/0
link /dev/stdout to /proc/self/fd/1
link /dev/stderr to /proc/self/fd/2
link /dev/core to /proc/kcore
link /dev/ptmx to pts/ptmx in any case
enter Pivot
console
read-only /proc/sys
mask /proc/kcore
folder /work
read-only root
";
    assert_eq!(lines(&spec, &engine()), expected);
}

#[test]
fn the_root_of_a_bundle_is_attached_where_it_is_and_spreads_as_asked() {
    let with = |propagation: &str, no_pivot, own: bool| {
        let namespaces = if own { json!([{"type": "mount"}]) } else { json!([]) };
        let spec = spec(json!({
            "ociVersion": "1.2.0",
            "mounts": [{"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}],
            "linux": {"namespaces": namespaces, "rootfsPropagation": propagation},
        }));
        lines(&spec, &Rootfs::Bundle { bundle: "/b".into(), path: "/b/rootfs".into(), no_pivot })
    };
    let expected = "spread Slave\nattach root at /b/rootfs\nrbind /dev on /dev rSlave\nenter Pivot\n";
    assert_eq!(with("", false, true), expected);
    assert_eq!(with("slave", true, true), expected.replace("Pivot", "Move"));
    assert!(with("rshared", false, true).ends_with("enter Pivot\nspread root rShared\n"));
    assert!(
        with("unbindable", false, true).starts_with("spread Private\nattach root at /b/rootfs\nspread root rPrivate\n")
    );
    assert_eq!(with("", true, false), "copy root from /b/rootfs\nrbind /dev on /dev rSlave\nenter Chroot\n");
    let shared =
        spec(json!({"ociVersion": "1.2.0", "linux": {"namespaces": [{"type": "mount"}], "rootfsPropagation": "x"}}));
    assert!(plan(&shared, &engine()).is_err());
    let masked = spec(json!({"ociVersion": "1.2.0", "linux": {"namespaces": [], "maskedPaths": ["/proc/kcore"]}}));
    assert!(plan(&masked, &bundle()).unwrap_err().to_string().contains("without a private MNT namespace"));
    assert!(plan(&masked, &engine()).is_err());
}

#[test]
fn options_go_where_they_belong() {
    let mounts = json!([
        {"destination": "a", "type": "bind", "source": "volume", "options": ["bind", "size=1", "sync"]},
        {"destination": "/b/rootfs/in", "type": "none", "source": "/b/rootfs/mnt/x", "options": ["rbind", "rro", "rnosuid", "rshared", "shared"]},
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "nodev", "tmpcopyup", "noatime", "sync", "slave"]},
        {"destination": "/e", "type": "ext4", "source": "/dev/loop7", "options": ["ro", "data=journal", "rexec", "rnodev"]},
        {"destination": "/t", "type": "bind", "options": ["bind", "remount", "ro", "rnoexec"]},
        {"destination": "/t", "type": "tmpfs", "options": ["remount", "size=1k", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup", "options": ["rw"]},
    ]);
    let expected = "\
bind /b/volume on /a rSlave
rbind root's /mnt/x on /in all (ro,nosuid) rShared Shared
new tmpfs tmpfs on /t (nodev,noatime) sync copied up mode inherited sealed later Slave
new ext4 /dev/loop7 on /e (ro,nodev) ro data=journal
remount /t set (ro) all (noexec)
remount /t set (ro) file system ro size=1k
cgroup2 on /sys/fs/cgroup ()
seal
";
    assert_eq!(of_mounts(mounts, json!([{"type": "mount"}])).unwrap(), expected);
}

#[test]
fn ids_are_mapped_as_the_mount_or_the_user_namespace_says() {
    let mount = |options: Value, extra: Value| {
        let mut mount = json!({"destination": "/x", "source": "/y", "options": options});
        mount.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!([mount])
    };
    let ids = json!({"uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
                     "gidMappings": [{"containerID": 3, "hostID": 4, "size": 5}]});
    let own = json!([{"type": "mount"}, {"type": "user"}]);
    let none = json!([{"type": "mount"}]);
    let line = |options, extra: &Value, namespaces: &Value| {
        of_mounts(mount(options, extra.clone()), namespaces.clone()).map_err(|error| error.to_string())
    };
    let nothing = json!({});
    assert_eq!(line(json!(["bind"]), &ids, &none).unwrap(), "bind /y on /x idmap [(0, 1, 2)] [(3, 4, 5)] rSlave\n");
    let implied = line(json!(["rbind", "ridmap"]), &nothing, &own).unwrap();
    assert_eq!(implied, "rbind /y on /x ridmap [(0, 5000, 10)] [(0, 6000, 10)] rSlave\n");
    let joined = json!([{"type": "mount"}, {"type": "user", "path": "/proc/7/ns/user"}]);
    assert_eq!(
        line(json!(["bind", "idmap"]), &nothing, &joined).unwrap(),
        "bind /y on /x idmap of /proc/7/ns/user rSlave\n"
    );
    for (options, extra, namespaces) in [
        (json!(["bind", "idmap"]), &nothing, &none),
        (json!(["bind"]), &json!({"uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}]}), &own),
        (json!(["bind"]), &json!({"gidMappings": [{"containerID": 0, "hostID": 1, "size": 2}]}), &own),
        (json!([""]), &ids, &own),
    ] {
        let error = line(options, extra, namespaces).unwrap_err();
        assert!(error.contains("invalid mount"), "{error}");
    }
}

#[test]
fn a_user_namespace_binds_what_it_cannot_mount() {
    let mounts = json!([
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"},
        {"destination": "/v", "type": "bind", "source": "/v", "options": ["bind", "ro"]},
    ]);
    let lines =
        of_mounts(mounts, json!([{"type": "user"}, {"type": "pid"}, {"type": "ipc"}, {"type": "mount"}])).unwrap();
    let expected = "\
rbind /sys on /sys all (ro,nosuid,nodev,noexec) rPrivate
new proc proc on /proc ()
new mqueue mqueue on /dev/mqueue () or /dev/mqueue
bind /v on /v just (ro) rSlave
";
    assert_eq!(lines, expected);
    let spec = spec(json!({"ociVersion": "1.2.0", "linux": {"namespaces": [{"type": "user"}, {"type": "mount"}]}}));
    assert!(
        super::super::mounts::plan(&spec, &engine())
            .unwrap()
            .iter()
            .any(|step| step.to_string() == "bind device /dev/null c 1:3 666 0:0")
    );
}

#[test]
fn mounts_that_would_deceive_or_break_out_are_refused() {
    for mount in [
        json!({"destination": "/proc/self/attr", "type": "tmpfs"}),
        json!({"destination": "/proc/../proc/sys", "type": "bind", "source": "/x", "options": ["bind"]}),
        json!({"destination": "/proc", "type": "tmpfs"}),
        json!({"destination": "/sys", "type": "tmpfs"}),
        json!({"destination": "/", "type": "tmpfs"}),
        json!({"destination": "/x/..", "type": "bind", "source": "/x", "options": ["bind"]}),
        json!({"destination": "/b/rootfs", "type": "bind", "source": "/x", "options": ["bind"]}),
        json!({"destination": "", "type": "tmpfs"}),
        json!({"destination": "/a\0b", "type": "tmpfs"}),
        json!({"destination": "/x", "type": "tmp\0fs"}),
        json!({"destination": "/x", "type": "tmpfs", "options": ["mode=\0"]}),
        json!({"destination": "/x", "source": "/y"}),
    ] {
        assert!(of_mounts(json!([mount]), json!([{"type": "mount"}])).is_err(), "{mount}");
    }
    let relative = spec(json!({
        "ociVersion": "1.2.0", "linux": {"namespaces": [{"type": "mount"}]},
        "mounts": [{"destination": "/x", "type": "bind", "source": "relative"}],
    }));
    assert!(plan(&relative, &engine()).is_err());
}

#[test]
fn devices_are_checked() {
    let with = |device: Value| {
        let namespaces = json!([{"type": "mount"}]);
        plan(&spec(json!({"ociVersion": "1.2.0", "linux": {"devices": [device], "namespaces": namespaces}})), &bundle())
    };
    let line = |device: Value, wanted: &str| {
        let steps = with(device).unwrap();
        assert!(steps.iter().any(|step| step.to_string() == wanted), "{wanted}: {steps:?}");
        steps.len()
    };
    line(json!({"path": "/opt/pipe", "type": "p", "fileMode": 438}), "device /opt/pipe p 0:0 666 0:0");
    line(json!({"path": "dev//../dev/u", "type": "u", "major": 5, "minor": 6}), "device /dev/u c 5:6 666 0:0");
    let all = line(
        json!({"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 384}),
        "device /dev/tty c 5:0 600 0:0",
    );
    let multiplexer = with(json!({"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2})).unwrap();
    assert_eq!(multiplexer.len(), all, "the multiplexer is always the container's own");
    for device in [
        json!({"path": "/", "type": "c", "major": 1, "minor": 3}),
        json!({"path": "/proc/x", "type": "c", "major": 1, "minor": 3}),
        json!({"path": "/sys/x", "type": "b", "major": 1, "minor": 3}),
        json!({"path": "/dev/x", "type": "c", "major": -1, "minor": 3}),
        json!({"path": "/dev/x", "type": "c", "major": 4096, "minor": 3}),
        json!({"path": "/dev/x", "type": "b", "major": 1, "minor": 1048576}),
        json!({"path": "/dev/x", "type": "b", "major": 1, "minor": 9223372036854775807i64}),
        json!({"path": "/dev/x", "type": "a", "major": 1, "minor": 3}),
        json!({"path": "", "type": "c", "major": 1, "minor": 3}),
    ] {
        assert!(with(device.clone()).is_err(), "{device}");
    }
}

mod any_input {
    use proptest::prelude::*;

    use super::*;

    fn words() -> impl Strategy<Value = String> {
        let known = prop::sample::select(options::known());
        prop_oneof![known, "\\PC{0,8}", "[a-z]{1,3}=[\\PC,\"\\\\]{0,6}", Just("\0".to_owned())]
    }

    fn paths() -> impl Strategy<Value = String> {
        let known =
            ["/", "/proc", "/sys", "/dev", "/proc/self", "/b/rootfs", "/b/rootfs/x", "..", ""].map(str::to_owned);
        prop_oneof![prop::sample::select(known.to_vec()), "(/?[a-z.]{0,3}){0,4}", "\\PC{0,8}"]
    }

    fn kinds() -> impl Strategy<Value = String> {
        let known = ["bind", "none", "", "tmpfs", "proc", "sysfs", "cgroup", "cgroup2", "devpts", "ext4"];
        prop_oneof![prop::sample::select(known.map(str::to_owned).to_vec()), "\\PC{0,4}"]
    }

    proptest! {
        /// Whatever a configuration says, there is a list or an error, and the list enters the root once; nothing is ever
        /// mounted onto the root, and below /proc only what is allowed.
        #[test]
        fn any_mounts_are_a_list_or_an_error(
            mounts in prop::collection::vec((paths(), kinds(), paths(), prop::collection::vec(words(), 0..5)), 0..6),
            users in any::<bool>(),
        ) {
            let mounts: Vec<Value> = mounts
                .into_iter()
                .map(|(target, kind, source, options)| {
                    json!({"destination": target, "type": kind, "source": source, "options": options})
                })
                .collect();
            let mut namespaces = vec![json!({"type": "mount"})];
            namespaces.extend(users.then(|| json!({"type": "user"})));
            let spec = spec(json!({"ociVersion": "1.2.0", "mounts": mounts, "linux": {"namespaces": namespaces}}));
            let Ok(steps) = plan(&spec, &bundle()) else { return Ok(()) };
            prop_assert_eq!(steps.iter().filter(|step| matches!(step, Step::Enter(_))).count(), 1);
            for step in &steps {
                let target = match step {
                    Step::New(new) => &new.target,
                    Step::Bind(bind) => &bind.target,
                    Step::Remount(remount) => &remount.target,
                    Step::Cgroups { target, .. } => target,
                    _ => continue,
                };
                prop_assert!(target.is_absolute() && target != Path::new("/"), "{}", step);
                prop_assert!(target.components().all(|part| part != Component::ParentDir), "{}", step);
                let below = target.starts_with("/proc") && target != Path::new("/proc");
                prop_assert!(!below || ALLOWED_IN_PROC.iter().any(|one| target == Path::new(one)), "{}", step);
            }
        }
    }
}
