//! What the specification says for given options.

use std::path::Path;

use super::*;
use crate::base::{Digest, Id, Kind, Timestamp};
use crate::engine::container::host::HostDevice;
use crate::model::container::{MountPoint, MountPointKind};
use crate::model::limits::{Blkio, DeviceValue, Limits};

fn record(options: ContainerOptions) -> ContainerRecord {
    ContainerRecord {
        id: Id::parse(&"ab".repeat(32)).unwrap(),
        created: Timestamp::from_nanos(0),
        image: "base:1".into(),
        image_id: Digest::of(b"x"),
        layers: Vec::new(),
        options,
        args: vec!["true".into()],
        entrypoint: Vec::new(),
        command: vec!["true".into()],
        env: vec!["A=1".into()],
        labels: Default::default(),
        working_dir: "/".into(),
        user: String::new(),
        hostname: "abababababab".into(),
        stop_signal: "SIGTERM".into(),
        exposed_ports: Vec::new(),
        mounts: Vec::new(),
        masked_paths: crate::model::container::MASKED_PATHS.map(str::to_owned).to_vec(),
        id_range: None,
        healthcheck: None,
        shell: Vec::new(),
    }
}

fn host() -> HostFacts {
    let names = |more: &[&str]| -> Vec<String> {
        rights::DEFAULT_CAPABILITIES.iter().chain(more).map(|name| (*name).to_owned()).collect()
    };
    HostFacts {
        capabilities: names(&["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]),
        known_capabilities: names(&["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"]),
        ..HostFacts::default()
    }
}

fn json_with(record: &ContainerRecord, host: &HostFacts) -> Result<Value> {
    Ok(serde_json::to_value(spec(record, &Paths::new("/r"), &Joined::default(), host)?).unwrap())
}

fn json_of(record: &ContainerRecord) -> Result<Value> {
    json_with(record, &host())
}

fn of(change: impl FnOnce(&mut ContainerOptions)) -> ContainerRecord {
    let mut options = ContainerOptions::default();
    change(&mut options);
    record(options)
}

fn capabilities(change: impl FnOnce(&mut ContainerOptions)) -> Vec<String> {
    let spec = json_of(&of(change)).unwrap();
    assert_eq!(spec["process"]["capabilities"]["inheritable"], json!([]));
    let list = spec["process"]["capabilities"]["effective"].as_array().unwrap();
    list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn capabilities_follow_add_drop_and_privileged() {
    assert_eq!(capabilities(|_| ()).len(), 14);
    assert!(capabilities(|o| o.cap_drop = vec!["ALL".into()]).is_empty());
    let only = capabilities(|o| (o.cap_drop, o.cap_add) = (vec!["all".into()], vec!["net_admin".into()]));
    assert_eq!(only, ["CAP_NET_ADMIN"]);
    let all_but = capabilities(|o| (o.cap_add, o.cap_drop) = (vec!["ALL".into()], vec!["CHOWN".into()]));
    assert!(all_but.len() == 15 && !all_but.contains(&"CAP_CHOWN".to_owned()));
    let both = capabilities(|o| (o.cap_add, o.cap_drop) = (vec!["CHOWN".into()], vec!["cap_chown".into()]));
    assert!(both.contains(&"CAP_CHOWN".to_owned()), "an addition wins over a drop, as with Docker");
    assert_eq!(capabilities(|o| o.privileged = true).len(), 16);
    assert_eq!(capabilities(|o| o.cap_drop = vec!["SYS_RESOURCE".into()]).len(), 14, "what nobody holds is dropped");
    let typo = of(|o| o.cap_add = vec!["NET_ADMN".into()]);
    assert_eq!(json_of(&typo).unwrap_err().hint(), Some("did you mean \"CAP_NET_ADMIN\"?"));
    let more = of(|o| o.cap_add = vec!["SYS_RESOURCE".into()]);
    assert_eq!(json_of(&more).unwrap_err().kind(), Kind::PermissionDenied, "never more than the engine's own");
    let typo = of(|o| (o.privileged, o.cap_drop) = (true, vec!["NONSENSE".into()]));
    assert!(json_of(&typo).is_err());
}

#[test]
fn devices_are_nodes_with_rules() {
    let device = HostDevice {
        source: "/dev/sda".into(),
        path: "/dev/disk".into(),
        block: true,
        number: (8, 0),
        mode: 0o660,
        owner: (0, 6),
        access: "r".into(),
    };
    let host = HostFacts { devices: vec![device], ..host() };
    let rules = vec!["c 10:* rw".to_owned(), "b 8:16 m".to_owned()];
    let spec = json_with(&of(|o| o.device_cgroup_rules = rules.clone()), &host).unwrap();
    let node = json!({
        "path": "/dev/disk", "type": "b", "major": 8, "minor": 0, "fileMode": 0o660, "uid": 0, "gid": 6,
    });
    assert_eq!(spec["linux"]["devices"], json!([node]));
    let list = spec["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(list[0], json!({ "allow": false, "access": "rwm" }));
    // A container's console is one of its terminals; this one would be the machine's.
    assert!(!list.iter().any(|rule| rule["major"] == 5 && rule["minor"] == 1));
    assert_eq!(
        list[list.len() - 3..],
        [
            json!({ "allow": true, "type": "b", "major": 8, "minor": 0, "access": "r" }),
            json!({ "allow": true, "type": "c", "major": 10, "access": "rw" }),
            json!({ "allow": true, "type": "b", "major": 8, "minor": 16, "access": "m" }),
        ]
    );
    // A user namespace cannot make nodes, so it gets the host's own.
    let mut mapped = of(|o| o.userns_mode = UsernsMode::Auto { size: None });
    mapped.id_range = Some(IdRange { uid_base: 1 << 31, gid_base: 1 << 30, size: 65_536 });
    let spec = json_with(&mapped, &host).unwrap();
    assert_eq!(spec["linux"]["devices"], json!([]));
    let mounts = spec["mounts"].as_array().unwrap();
    let bind = mounts.iter().find(|mount| mount["destination"] == "/dev/disk").unwrap();
    assert_eq!((&bind["source"], &bind["type"]), (&json!("/dev/sda"), &json!("bind")));
}

#[test]
fn privileged_sees_everything_and_all_devices() {
    let mut record = of(|o| o.privileged = true);
    record.masked_paths = Vec::new();
    let spec = json_of(&record).unwrap();
    let linux = &spec["linux"];
    assert_eq!((&linux["maskedPaths"], &linux["readonlyPaths"]), (&json!([]), &json!([])));
    assert_eq!(linux["resources"]["devices"], json!([{ "allow": true, "access": "rwm" }]));
    assert_eq!(linux.get("seccomp"), None);
    for target in ["/sys", "/sys/fs/cgroup"] {
        let mount = spec["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == target).unwrap();
        assert!(mount["options"].as_array().unwrap().contains(&json!("rw")), "{mount}");
    }
    let plain = json_of(&of(|_| ())).unwrap();
    assert_eq!(plain["linux"]["maskedPaths"].as_array().unwrap().len(), 12);
    assert_eq!(plain["linux"]["readonlyPaths"].as_array().unwrap().len(), 5);
}

#[test]
fn an_automatic_user_namespace_has_its_ids_or_there_is_no_container() {
    let mut record = of(|o| o.userns_mode = UsernsMode::Auto { size: None });
    assert!(json_of(&record).is_err(), "never without the namespace that was asked for");
    record.id_range = Some(IdRange { uid_base: 70_000, gid_base: 80_000, size: 4 });
    let spec = json_of(&record).unwrap();
    let mapping = |base| json!([{ "containerID": 0, "hostID": base, "size": 4 }]);
    assert_eq!(spec["linux"]["uidMappings"], mapping(70_000));
    assert_eq!(spec["linux"]["gidMappings"], mapping(80_000));
    let hosts = spec["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == "/etc/hosts").unwrap();
    assert!(hosts["options"].as_array().unwrap().contains(&json!("idmap")));
    let terminals = spec["mounts"].as_array().unwrap().iter().find(|mount| mount["type"] == "devpts").unwrap();
    assert!(!terminals["options"].as_array().unwrap().contains(&json!("gid=5")), "it has no group 5");
}

#[test]
fn disks_are_limited_by_number() {
    let value = |path: &str, value| DeviceValue { path: path.into(), value };
    let blkio = Blkio {
        weight: Some(300),
        weight_device: vec![value("/dev/sda", 500)],
        read_bps: vec![value("/dev/sda", 1 << 20)],
        write_iops: vec![value("/dev/sdb", 9)],
        ..Blkio::default()
    };
    let record = of(|o| o.limits.blkio = blkio);
    assert!(json_of(&record).is_err());
    let disks = [("/dev/sda".to_owned(), (8, 0)), ("/dev/sdb".to_owned(), (8, 16))].into();
    let spec = json_with(&record, &HostFacts { disks, ..host() }).unwrap();
    assert_eq!(
        spec["linux"]["resources"]["blockIO"],
        json!({
            "weight": 300,
            "weightDevice": [{ "major": 8, "minor": 0, "weight": 500 }],
            "throttleReadBpsDevice": [{ "major": 8, "minor": 0, "rate": 1 << 20 }],
            "throttleWriteIOPSDevice": [{ "major": 8, "minor": 16, "rate": 9 }],
        })
    );
}

#[test]
fn kernel_parameters_belong_to_a_namespace_of_the_container() {
    let with = |name: &str, change: fn(&mut ContainerOptions)| {
        let mut record = of(change);
        record.options.sysctls.insert(name.into(), "1".into());
        json_of(&record)
    };
    let spec = with("net.ipv4.ip_forward", |_| ()).unwrap();
    assert_eq!(spec["linux"]["sysctl"], json!({ "net.ipv4.ip_forward": "1" }));
    assert!(with("kernel.shmmax", |o| o.ipc_mode = IpcMode::Shareable).is_ok());
    assert!(with("kernel.domainname", |_| ()).is_ok());
    type Change = fn(&mut ContainerOptions);
    let shared: [(&str, Change); 8] = [
        ("net.ipv4.ip_forward", |o| o.network_mode = NetworkMode::Host),
        ("net/ipv4/ip_forward", |o| o.network_mode = NetworkMode::Container("x".into())),
        ("kernel.shmmax", |o| o.ipc_mode = IpcMode::Host),
        ("fs.mqueue.msg_max", |o| o.ipc_mode = IpcMode::Container("x".into())),
        ("kernel.domainname", |o| o.uts_mode = NamespaceMode::Host),
        ("kernel.core_pattern", |_| ()),
        ("vm.swappiness", |_| ()),
        ("", |_| ()),
    ];
    for (name, change) in shared {
        assert_eq!(with(name, change).unwrap_err().kind(), Kind::InvalidArgument, "{name:?}");
    }
}

#[test]
fn nobody_is_spared_without_the_right_to() {
    let spared = of(|o| o.oom_score_adj = Some(-500));
    assert_eq!(json_of(&spared).unwrap_err().kind(), Kind::PermissionDenied);
    assert!(json_of(&of(|o| o.oom_score_adj = Some(500))).is_ok());
    assert!(json_with(&spared, &HostFacts { oom_score_adj: -500, ..host() }).is_ok());
    let mut able = host();
    able.capabilities.push("CAP_SYS_RESOURCE".into());
    assert_eq!(json_with(&spared, &able).unwrap()["process"]["oomScoreAdj"], -500);
}

/// The whole of what is made, pinned; `UPDATE_GOLDEN=1 cargo test --lib spec::tests` writes it anew.
#[test]
fn specifications_are_pinned() {
    let device = HostDevice {
        source: "/dev/fuse".into(),
        path: "/dev/fuse".into(),
        block: false,
        number: (10, 229),
        mode: 0o666,
        owner: (0, 0),
        access: "rwm".into(),
    };
    let with_device = HostFacts { devices: vec![device], ..host() };
    let volume = MountPoint {
        kind: MountPointKind::Volume {
            id: Id::parse(&"cd".repeat(32)).unwrap(),
            name: "data".into(),
            anonymous: false,
        },
        target: "/data".into(),
        read_only: true,
        inherited: false,
        options: Vec::new(),
    };
    let mut hardened = of(|o| {
        o.cap_drop = vec!["ALL".into()];
        o.security_opt = vec!["no-new-privileges".into()];
        (o.read_only, o.tty) = (true, true);
        o.userns_mode = UsernsMode::Auto { size: None };
        o.limits = Limits { memory_bytes: Some(64 << 20), pids: Some(50), ..Limits::default() };
        o.annotations.insert("a".into(), "b".into());
    });
    hardened.id_range = Some(IdRange { uid_base: 1 << 31, gid_base: 1 << 31, size: 65_536 });
    hardened.mounts = vec![volume];
    let mut privileged = of(|o| o.privileged = true);
    privileged.masked_paths = Vec::new();
    let cases = [
        ("plain", json_of(&of(|_| ()))),
        ("hardened", json_with(&hardened, &with_device)),
        ("privileged", json_with(&privileged, &with_device)),
    ];
    for (name, spec) in cases {
        let mut spec = spec.unwrap();
        // The filter is long, and pinned where it is made.
        if let Some(filter) = spec["linux"].get_mut("seccomp") {
            *filter = json!("…");
        }
        // Sets, which come in any order.
        for set in spec["process"]["capabilities"].as_object_mut().unwrap().values_mut() {
            set.as_array_mut().unwrap().sort_by_key(|name| name.to_string());
        }
        let text = serde_json::to_string_pretty(&spec).unwrap() + "\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/spec/{name}.json"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let expect = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(expect == text, "{path:?} differs; UPDATE_GOLDEN=1 writes it anew:\n{text}");
    }
}

#[test]
fn ipc_modes_decide_about_shared_memory() {
    let shm = |mode: IpcMode| {
        let spec = json_of(&of(|o| o.ipc_mode = mode)).unwrap();
        let mounts = spec["mounts"].as_array().unwrap();
        mounts.iter().find(|mount| mount["destination"] == "/dev/shm").map(|mount| mount["type"].clone())
    };
    assert_eq!(shm(IpcMode::Private), Some(json!("tmpfs")));
    assert_eq!(shm(IpcMode::None), None);
    assert_eq!(shm(IpcMode::Host), Some(json!("bind")));
}

#[test]
fn limits_become_cgroup_numbers() {
    let limits = Limits { memory_bytes: Some(64 << 20), cpus: Some(1.5), pids: Some(50), ..Limits::default() };
    let spec = json_of(&record(ContainerOptions { limits, ..ContainerOptions::default() })).unwrap();
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["memory"], json!({ "limit": 64 << 20, "swap": 128 << 20 }));
    assert_eq!((&resources["cpu"]["quota"], &resources["cpu"]["period"]), (&json!(150_000), &json!(100_000)));
    assert_eq!(resources["pids"]["limit"], json!(50));
    assert_eq!(resources["devices"][0], json!({ "allow": false, "access": "rwm" }));
}

#[test]
fn namespaces_follow_the_modes() {
    let kinds = |options: ContainerOptions| -> Vec<String> {
        let spec = json_of(&record(options)).unwrap();
        let list = spec["linux"]["namespaces"].as_array().unwrap().clone();
        list.iter().map(|entry| entry["type"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(ContainerOptions::default()), ["mount", "network", "pid", "ipc", "uts", "cgroup"]);
    let host =
        ContainerOptions { network_mode: NetworkMode::Host, pid_mode: NamespaceMode::Host, ..Default::default() };
    assert_eq!(kinds(host), ["mount", "ipc", "uts", "cgroup"]);
    let mapped =
        ContainerOptions { userns_mode: UsernsMode::Mapped { base: 100_000, size: 65_536 }, ..Default::default() };
    assert!(kinds(mapped).contains(&"user".to_owned()));
}

#[test]
fn user_mounts_cover_the_engines_files() {
    let mut record = record(ContainerOptions::default());
    record.mounts = vec![MountPoint {
        kind: MountPointKind::Bind { source: "/my/hosts".into() },
        target: "/etc/hosts".into(),
        read_only: true,
        inherited: false,
        options: vec!["rbind".into(), "rprivate".into()],
    }];
    let spec = json_of(&record).unwrap();
    let mounts = spec["mounts"].as_array().unwrap();
    let hosts: Vec<&Value> = mounts.iter().filter(|mount| mount["destination"] == "/etc/hosts").collect();
    assert_eq!(hosts.len(), 1);
    assert_eq!(hosts[0]["source"], "/my/hosts");
    assert!(hosts[0]["options"].as_array().unwrap().contains(&json!("rro")));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let with = |option: &str| json_of(&of(|o| o.security_opt = vec![option.into()]));
    for (option, word) in [("apparmor=tight", "AppArmor"), ("label=type:x_t", "SELinux")] {
        let error = with(option).unwrap_err();
        assert!(error.kind() == Kind::Unsupported && error.message().contains(word), "{error}");
    }
    assert_eq!(with("no-new-privilege").unwrap_err().hint(), Some("did you mean \"no-new-privileges\"?"));
    for option in ["no-new-privileges", "apparmor=unconfined", "label=disable", "seccomp=unconfined"] {
        assert!(with(option).is_ok(), "{option}");
    }
    let host = HostFacts { apparmor: true, ..host() };
    let spec = json_with(&of(|o| o.security_opt = vec!["apparmor=tight".into()]), &host).unwrap();
    assert_eq!(spec["process"]["apparmorProfile"], "tight");
}

#[test]
fn the_filter_follows_capabilities_and_options() {
    let allowed = |change: &dyn Fn(&mut ContainerOptions)| -> Vec<String> {
        let spec = json_of(&of(change)).unwrap();
        let rules = spec["linux"]["seccomp"]["syscalls"].as_array().cloned().unwrap_or_default();
        let unconditional =
            rules.iter().filter(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule.get("args").is_none());
        unconditional
            .flat_map(|rule| rule["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()))
            .collect()
    };
    let has = |names: &[String], name: &str| names.iter().any(|one| one == name);
    let default = allowed(&|_| ());
    assert!(has(&default, "chroot") && has(&default, "openat") && !has(&default, "mount") && !has(&default, "clone"));
    let admin = allowed(&|o| (o.cap_add, o.cap_drop) = (vec!["SYS_ADMIN".into()], vec!["SYS_CHROOT".into()]));
    assert!(!has(&admin, "chroot") && has(&admin, "mount") && has(&admin, "clone"));
    let custom = r#"seccomp={"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(allowed(&|o| o.security_opt = vec![custom.into()]), ["read"]);
    assert_eq!(allowed(&|o| (o.privileged, o.security_opt) = (true, vec![custom.into()])), ["read"]);
    assert!(has(&allowed(&|o| (o.privileged, o.security_opt) = (true, vec!["seccomp=builtin".into()])), "openat"));
    for unconfined in [&|o: &mut ContainerOptions| o.privileged = true, &|o: &mut ContainerOptions| {
        o.security_opt = vec!["seccomp=builtin".into(), "seccomp=unconfined".into()];
    }] as [&dyn Fn(&mut ContainerOptions); 2]
    {
        assert_eq!(json_of(&of(unconfined)).unwrap()["linux"].get("seccomp"), None);
    }
    let wrong =
        of(|o| o.security_opt = vec!["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"X\"]}".into()]);
    assert_eq!(json_of(&wrong).unwrap_err().kind(), Kind::InvalidArgument);
}
