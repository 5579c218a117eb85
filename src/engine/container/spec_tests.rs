//! What the specification says for given options.

use super::*;
use crate::base::{Digest, Id, Timestamp};

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
    }
}

fn held() -> Vec<String> {
    DEFAULT_CAPABILITIES.iter().chain(&["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]).map(|name| (*name).to_owned()).collect()
}

fn json_of(record: &ContainerRecord) -> Result<Value> {
    Ok(serde_json::to_value(spec(record, &Paths::new("/r"), &Joined::default(), &held())?).unwrap())
}

fn capabilities(change: impl FnOnce(&mut ContainerOptions)) -> Vec<String> {
    let mut options = ContainerOptions::default();
    change(&mut options);
    let spec = json_of(&record(options)).unwrap();
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
    assert_eq!(capabilities(|o| o.privileged = true).len(), 16);
    let typo = record(ContainerOptions { cap_add: vec!["NET_ADMN".into()], ..ContainerOptions::default() });
    assert_eq!(json_of(&typo).unwrap_err().hint(), Some("did you mean \"CAP_NET_ADMIN\"?"));
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
    assert!(hosts[0]["options"].as_array().unwrap().contains(&json!("ro")));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let with = |option: &str| ContainerOptions { security_opt: vec![option.into()], ..Default::default() };
    assert_eq!(json_of(&record(with("seccomp=/p.json"))).unwrap_err().kind(), crate::base::Kind::Unsupported);
    assert_eq!(
        json_of(&record(with("no-new-privilege"))).unwrap_err().hint(),
        Some("did you mean \"no-new-privileges\"?")
    );
    assert!(json_of(&record(with("no-new-privileges"))).is_ok());
}
