//! Option maps: what each key takes, and how what it does not take is refused.

use std::time::Duration;

use rhumb::base::{Error, Kind};
use rhumb::docker::options::{command_line, container_options, exec_options};
use rhumb::model::container::{ContainerOptions, IpcMode, NamespaceMode, NetworkMode, UsernsMode};
use rhumb::model::health::{HealthCheck, OnUnhealthy};
use rhumb::model::image::Pull;
use rhumb::model::limits::Ulimit;
use rhumb::model::log::LogDriver;
use rhumb::model::mount::{Mount, MountSource, VolumesFrom};
use rhumb::model::restart::RestartPolicy;
use serde_json::{Value, json};

fn read(map: Value) -> Result<ContainerOptions, Error> {
    container_options(map.as_object().expect("a test gives a map"))
}

fn good(map: Value) -> ContainerOptions {
    let shown = map.to_string();
    read(map).unwrap_or_else(|error| panic!("{shown}: {error:?}"))
}

/// The error as `kind: message (hint)`.
fn refused(map: Value) -> String {
    let shown = map.to_string();
    let error = read(map).err().unwrap_or_else(|| panic!("{shown} was accepted"));
    format!("{}: {error} ({})", error.kind(), error.hint().unwrap_or("no hint"))
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

fn volume(name: Option<&str>) -> MountSource {
    MountSource::Volume { name: name.map(Into::into), no_copy: false, subpath: None }
}

fn bind(path: &str, create: bool) -> MountSource {
    MountSource::Bind { path: path.into(), create, propagation: None, non_recursive: false }
}

#[test]
fn every_plain_key_reaches_its_option() {
    type Check = fn(&ContainerOptions) -> bool;
    let cases: Vec<(Value, Check)> = vec![
        (json!({"name": "web"}), |o| o.name.as_deref() == Some("web")),
        (json!({"container_name": "web"}), |o| o.name.as_deref() == Some("web")),
        (json!({"command": "echo hi"}), |o| o.command == Some(vec!["sh".into(), "-c".into(), "echo hi".into()])),
        (json!({"cmd": ["sleep", 300]}), |o| o.command == Some(vec!["sleep".into(), "300".into()])),
        (json!({"entrypoint": []}), |o| o.entrypoint == Some(vec![])),
        (json!({"workdir": "/srv"}), |o| o.working_dir.as_deref() == Some("/srv")),
        (json!({"user": 1000}), |o| o.user.as_deref() == Some("1000")),
        (json!({"user": "app:staff"}), |o| o.user.as_deref() == Some("app:staff")),
        (json!({"group_add": ["audio", 29]}), |o| o.group_add == ["audio", "29"]),
        (json!({"hostname": "h", "domainname": "d"}), |o| o.hostname.is_some() && o.domainname.is_some()),
        (json!({"tty": true, "stdin_open": true}), |o| o.tty && o.stdin_open),
        (json!({"interactive": true}), |o| o.stdin_open),
        (json!({"init": true, "read_only": true, "privileged": true}), |o| o.init && o.read_only && o.privileged),
        (json!({"read-only": true}), |o| o.read_only),
        (json!({"rm": true}), |o| o.auto_remove),
        (json!({"mem_limit": "64m"}), |o| o.limits.memory_bytes == Some(67_108_864)),
        (json!({"memory": 67108864}), |o| o.limits.memory_bytes == Some(67_108_864)),
        (json!({"memory_swap": -1}), |o| o.limits.memory_swap_bytes == Some(-1)),
        (json!({"mem_reservation": "1g"}), |o| o.limits.memory_reservation_bytes == Some(1 << 30)),
        (json!({"cpus": 0.5}), |o| o.limits.cpus == Some(0.5)),
        (json!({"cpus": "1.5"}), |o| o.limits.cpus == Some(1.5)),
        (json!({"cpu_quota": 50000, "cpu_period": 100000}), |o| o.limits.cpu_quota_us == Some(50000)),
        (json!({"cpu_shares": 512}), |o| o.limits.cpu_shares == Some(512)),
        (json!({"cpuset": "0-2,4"}), |o| o.limits.cpuset_cpus.as_deref() == Some("0-2,4")),
        (json!({"cpuset_mems": "0"}), |o| o.limits.cpuset_mems.as_deref() == Some("0")),
        (json!({"pids_limit": 50}), |o| o.limits.pids == Some(50)),
        (json!({"pids_limit": 50.0}), |o| o.limits.pids == Some(50)),
        (json!({"shm_size": "128m"}), |o| o.shm_size_bytes == Some(1 << 27)),
        (json!({"oom_score_adj": -500}), |o| o.oom_score_adj == Some(-500)),
        (json!({"cap_add": ["NET_ADMIN"], "cap_drop": "ALL"}), |o| o.cap_add == ["NET_ADMIN"] && o.cap_drop == ["ALL"]),
        (json!({"security_opt": ["no-new-privileges"]}), |o| o.security_opt == ["no-new-privileges"]),
        (json!({"stop_signal": "SIGINT"}), |o| o.stop_signal.as_deref() == Some("SIGINT")),
        (json!({"stop_grace_period": "1m30s"}), |o| o.stop_grace_period == Some(Duration::from_secs(90))),
        (json!({"stop_timeout": 0.5}), |o| o.stop_grace_period == Some(Duration::from_millis(500))),
        (json!({"network_mode": "host"}), |o| o.network_mode == NetworkMode::Host),
        (json!({"net": "container:db"}), |o| o.network_mode == NetworkMode::Container("db".into())),
        (json!({"pid": "host"}), |o| o.pid_mode == NamespaceMode::Host),
        (json!({"ipc": "container:db"}), |o| o.ipc_mode == IpcMode::Container("db".into())),
        (json!({"ipc": "shareable"}), |o| o.ipc_mode == IpcMode::Shareable),
        (json!({"ipc_mode": "none"}), |o| o.ipc_mode == IpcMode::None),
        (json!({"userns": "auto:size=1000"}), |o| o.userns_mode == UsernsMode::Auto { size: Some(1000) }),
        (json!({"security_opt": "seccomp:unconfined"}), |o| o.security_opt == ["seccomp=unconfined"]),
        (json!({"device_cgroup_rules": ["c 1:3 mr"]}), |o| o.device_cgroup_rules == ["c 1:3 mr"]),
        (json!({"annotations": {"a": 1}}), |o| o.annotations["a"] == "1"),
        (json!({"cgroup_parent": "/batch/night"}), |o| o.cgroup_parent.as_deref() == Some("/batch/night")),
        (json!({"mem_swappiness": 10, "oom_kill_disable": true}), |o| {
            o.limits.memory_swappiness == Some(10) && o.limits.oom_kill_disable
        }),
        (json!({"memory_swappiness": -1}), |o| o.limits.memory_swappiness.is_none()),
        (json!({"cpu_rt_runtime": "400ms", "cpu_rt_period": 1000000}), |o| {
            o.limits.cpu_rt_runtime_us == Some(400_000) && o.limits.cpu_rt_period_us == Some(1_000_000)
        }),
        (json!({"blkio_config": {"weight": 300, "device_read_bps": [{"path": "/dev/sda", "rate": "1mb"}]}}), |o| {
            o.limits.blkio.weight == Some(300) && o.limits.blkio.read_bps[0].value == 1 << 20
        }),
        (json!({"blkio_config": {"weight_device": [{"path": "/dev/sda", "weight": 400}]}}), |o| {
            o.limits.blkio.weight_device[0].value == 400
        }),
        (json!({"device_write_iops": ["/dev/sda:7"], "blkio_weight": 10}), |o| {
            o.limits.blkio.write_iops[0].value == 7 && o.limits.blkio.weight == Some(10)
        }),
        (json!({"uts": "host", "cgroup": "private"}), |o| o.uts_mode == NamespaceMode::Host),
        (json!({"userns_mode": "100000:65536"}), |o| {
            o.userns_mode == UsernsMode::Mapped { base: 100_000, size: 65536 }
        }),
        (json!({"dns": "1.1.1.1", "dns_search": ["a.b"], "dns_opt": ["ndots:2"]}), |o| o.dns == ["1.1.1.1"]),
        (json!({"extra_hosts": ["db:10.0.0.1", "v6=[::1]"]}), |o| {
            o.extra_hosts == [pair("db", "10.0.0.1"), pair("v6", "::1")]
        }),
        (json!({"add_host": {"db": ["10.0.0.1", "10.0.0.2"]}}), |o| o.extra_hosts.len() == 2),
        (json!({"devices": ["/dev/fuse"]}), |o| o.devices == ["/dev/fuse"]),
        (json!({"devices": ["/dev/fuse:rw"]}), |o| o.devices == ["/dev/fuse:/dev/fuse:rw"]),
        (json!({"devices": [{"source": "/dev/a", "target": "/dev/b"}]}), |o| o.devices == ["/dev/a:/dev/b:rwm"]),
        (json!({"sysctls": {"net.core.somaxconn": 1024}}), |o| o.sysctls["net.core.somaxconn"] == "1024"),
        (json!({"sysctl": ["kernel.msgmax=65536"]}), |o| o.sysctls["kernel.msgmax"] == "65536"),
        (json!({"expose": ["80", "90-91/udp"]}), |o| o.expose == ["80/tcp", "90/udp", "91/udp"]),
        (json!({"logging": {"driver": "none"}}), |o| o.log.driver == LogDriver::None),
        (json!({"logging": {"options": {"max-size": "10m", "max-file": 3}}}), |o| {
            o.log.max_size_bytes == Some(10_000_000) && o.log.max_files == Some(3)
        }),
        (json!({"log_driver": "json-file", "log_opt": ["max-size=1m"]}), |o| o.log.max_size_bytes == Some(1_000_000)),
        (json!({"restart": "no"}), |o| *o == ContainerOptions::default()),
        (json!({"restart": false}), |o| *o == ContainerOptions::default()),
        (json!({"pull": "never"}), |o| o.pull == Some(Pull::Never)),
        (json!({"pull_policy": "if_not_present"}), |o| o.pull == Some(Pull::Missing)),
        (json!({"healthcheck": {"disable": true}}), |o| o.healthcheck == Some(HealthCheck::none())),
        (json!({"no_healthcheck": true}), |o| o.healthcheck == Some(HealthCheck::none())),
        (json!({"healthcheck": {"test": "curl localhost", "interval": "1m30s", "retries": 5}}), |o| {
            let check = o.healthcheck.clone().unwrap();
            check.test == ["CMD-SHELL", "curl localhost"]
                && (check.interval, check.retries) == (Some(Duration::from_secs(90)), Some(5))
        }),
        (json!({"healthcheck": {"test": ["CMD", "a", "b"], "start_period": 2.5, "on_unhealthy": "kill"}}), |o| {
            let check = o.healthcheck.clone().unwrap();
            check.test == ["CMD", "a", "b"]
                && check.start_period == Some(Duration::from_millis(2500))
                && o.on_unhealthy == OnUnhealthy::Kill
        }),
        (json!({"health_cmd": "x", "health_interval": "1s", "health_on_failure": "kill"}), |o| {
            let check = o.healthcheck.clone().unwrap();
            check.test == ["CMD-SHELL", "x"] && check.interval == Some(Duration::from_secs(1))
        }),
        (json!({"health_cmd": ["x", "y"], "health_timeout": 0}), |o| {
            let check = o.healthcheck.clone().unwrap();
            check.test == ["CMD", "x", "y"] && check.timeout.is_none()
        }),
        (json!({"restart": "always"}), |o| o.restart == RestartPolicy::Always),
        (json!({"restart": "unless-stopped"}), |o| o.restart == RestartPolicy::UnlessStopped),
        (json!({"restart": "on-failure"}), |o| o.restart == RestartPolicy::OnFailure { max_retries: 0 }),
        (json!({"restart": "on-failure:3"}), |o| o.restart == RestartPolicy::OnFailure { max_retries: 3 }),
        (json!({"name": null, "ports": null}), |o| *o == ContainerOptions::default()),
    ];
    for (map, check) in cases {
        let shown = map.to_string();
        let options = good(map);
        assert!(check(&options), "{shown} gave {options:?}");
    }
}

#[test]
fn environment_comes_as_map_list_file_and_from_the_host() {
    let path = std::env::var("PATH").unwrap();
    let expect = [pair("A", "1"), pair("B", "two words"), pair("C", "true")];
    assert_eq!(good(json!({"environment": {"A": 1, "B": "two words", "C": true}})).env, expect);
    assert_eq!(good(json!({"env": ["A=1", "B=x=y", "C="]})).env, [pair("A", "1"), pair("B", "x=y"), pair("C", "")]);
    assert_eq!(good(json!({"env": ["PATH", "RHUMB_TEST_SURELY_UNSET"]})).env, [pair("PATH", &path)]);
    assert_eq!(good(json!({"env": {"PATH": null}})).env, [pair("PATH", &path)]);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    std::fs::write(&file, "\u{feff}# a remark\n\nA=from file\n  B=\"quoted\"\nPATH\n").unwrap();
    let file = file.to_str().unwrap();
    // The map's own entries come last, so that they win, wherever the key stands.
    let env = good(json!({"environment": {"A": "map"}, "env_file": file})).env;
    assert_eq!(env, [pair("A", "from file"), pair("B", "\"quoted\""), pair("PATH", &path), pair("A", "map")]);
    assert!(good(json!({"env_file": [{"path": "/nonexistent", "required": false}]})).env.is_empty());

    assert!(refused(json!({"env_file": "/nonexistent"})).starts_with("not_found: "));
    std::fs::write(dir.path().join("env"), "GOOD=1\nBAD NAME=1\n").unwrap();
    assert!(refused(json!({"env_file": file})).contains("line 2"));
    assert!(refused(json!({"env": ["=x"]})).starts_with("invalid_argument: "));
    assert!(refused(json!({"env": {"A": ["x"]}})).contains("\"A\" takes a string, not a list"));
    assert!(refused(json!({"env": 5})).contains("not the number 5"));
}

#[test]
fn labels_come_as_map_and_list() {
    let labels = good(json!({"labels": ["a=1", "b"]})).labels;
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), [pair("a", "1"), pair("b", "")]);
    assert_eq!(good(json!({"label": {"a": 1, "b": null}})).labels.len(), 2);
}

#[test]
fn volumes_take_short_strings() {
    let here = std::env::current_dir().unwrap();
    let cases = [
        ("/anon", volume(None), "/anon", false),
        ("/anon:ro", volume(None), "/anon", true),
        ("data:/data", volume(Some("data")), "/data", false),
        ("data:/data:ro", volume(Some("data")), "/data", true),
        (
            "data:/data:rw,nocopy",
            MountSource::Volume { name: Some("data".into()), no_copy: true, subpath: None },
            "/data",
            false,
        ),
        ("/host:/ctr", bind("/host", true), "/ctr", false),
        ("/host:/a//b/./c/", bind("/host", true), "/a/b/c", false),
        ("./x:/x", bind(here.join("x").to_str().unwrap(), true), "/x", false),
        (
            "/host:/ctr:ro,rslave",
            MountSource::Bind {
                path: "/host".into(),
                create: true,
                propagation: Some("rslave".into()),
                non_recursive: false,
            },
            "/ctr",
            true,
        ),
    ];
    for (text, source, target, read_only) in cases {
        let mounts = good(json!({"volumes": [text]})).mounts;
        assert_eq!(mounts, [Mount { source, target: target.into(), read_only }], "{text}");
    }
    for text in [
        "",
        ":",
        "a",
        "data:data",
        "data:/",
        "/a:/b:/c",
        "/a:/b:ro:x",
        "/a:/b:sometimes",
        "a/b:/c",
        "x:/c",
        "~/x:/x",
        ":/x",
        "data:/x:rshared",
        "/host:/x:nocopy",
        "data:/x/../..",
    ] {
        let error = refused(json!({"volumes": [text]}));
        assert!(error.starts_with("invalid_argument: ") && error.contains("volumes"), "{text}: {error}");
    }
}

#[test]
fn volumes_take_long_maps() {
    let cases = [
        (json!({"type": "bind", "source": "/src", "target": "/dst", "read_only": true}), bind("/src", true), true),
        (
            json!({"type": "bind", "source": "/src", "target": "/dst", "bind": {"create_host_path": false}}),
            bind("/src", false),
            false,
        ),
        (json!({"source": "data", "target": "/dst"}), volume(Some("data")), false),
        (json!({"type": "volume", "target": "/dst"}), volume(None), false),
        (
            json!({"type": "volume", "source": "data", "target": "/dst", "volume": {"nocopy": true, "subpath": "a/b"}}),
            MountSource::Volume { name: Some("data".into()), no_copy: true, subpath: Some("a/b".into()) },
            false,
        ),
        (
            json!({"type": "tmpfs", "target": "/dst", "tmpfs": {"size": "1m", "mode": "1777"}}),
            MountSource::Tmpfs { size_bytes: Some(1 << 20), mode: Some(0o1777), options: vec![] },
            false,
        ),
        (
            json!({"type": "tmpfs", "target": "/dst", "tmpfs": {"size": 4096, "mode": 511}}),
            MountSource::Tmpfs { size_bytes: Some(4096), mode: Some(0o777), options: vec![] },
            false,
        ),
    ];
    for (map, source, read_only) in cases {
        let mounts = good(json!({"volumes": [map]})).mounts;
        assert_eq!(mounts, [Mount { source, target: "/dst".into(), read_only }]);
    }
    for (map, words) in [
        (json!({"type": "bind", "target": "/dst"}), "needs a source"),
        (json!({"type": "bind", "source": "/src"}), "needs a target"),
        (json!({"type": "bnid", "source": "/src", "target": "/dst"}), "did you mean \"bind\"?"),
        (json!({"type": "tmpfs", "source": "x", "target": "/dst"}), "has no source"),
        (json!({"type": "npipe", "source": "x", "target": "/dst"}), "unsupported: "),
        (json!({"type": "volume", "target": "/dst", "bind": {"propagation": "rshared"}}), "for a mount of type volume"),
        (
            json!({"type": "bind", "source": "/s", "target": "/dst", "bind": {"propagation": "rshard"}}),
            "did you mean \"rshared\"?",
        ),
        (json!({"type": "volume", "target": "/dst", "volume": {"subpath": "../x"}}), "leads out of the volume"),
        (json!({"type": "volume", "target": "/dst", "readonly": true}), "did you mean \"read_only\"?"),
        (json!({"type": "volume", "target": "relative"}), "not absolute"),
        (json!(5), "not the number 5"),
    ] {
        let error = refused(json!({"volumes": [map]}));
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn tmpfs_takes_dockers_options() {
    let options = good(json!({"tmpfs": ["/run:rw,noexec,size=64m,mode=0755,uid=5", "/tmp"]}));
    assert_eq!(
        options.mounts[0].source,
        MountSource::Tmpfs {
            size_bytes: Some(64 << 20),
            mode: Some(0o755),
            options: vec!["noexec".into(), "uid=5".into()]
        }
    );
    assert_eq!(options.mounts[1].source, MountSource::Tmpfs { size_bytes: None, mode: None, options: vec![] });
    assert!(good(json!({"tmpfs": "/tmp:ro"})).mounts[0].read_only);
    assert!(refused(json!({"tmpfs": "/tmp:noexc"})).contains("did you mean \"noexec\"?"));
    assert!(refused(json!({"tmpfs": "/tmp:uid=0\u{2c}lowerdir=/"})).starts_with("invalid_argument: "));
    assert!(refused(json!({"tmpfs": "tmp"})).contains("not absolute"));
    assert!(refused(json!({"tmpfs": "/tmp:mode=999"})).contains("not octal"));
}

#[test]
fn volumes_from_takes_modes() {
    let from = good(json!({"volumes_from": ["db", "web:ro", "container:api:rw"]})).volumes_from;
    let expect = [("db", None), ("web", Some(true)), ("api", Some(false))];
    assert_eq!(from, expect.map(|(container, read_only)| VolumesFrom { container: container.into(), read_only }));
    assert!(refused(json!({"volumes_from": "db:rx"})).contains("unknown mode"));
    assert!(refused(json!({"volumes_from": ":ro"})).contains("names no container"));
}

#[test]
fn two_mounts_never_share_a_target() {
    assert!(refused(json!({"volumes": ["/data"], "tmpfs": "/data/"})).contains("duplicate mount point \"/data\""));
}

#[test]
fn ulimits_come_as_map_and_list() {
    let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
    let expect = [limit("nofile", Some(1024), Some(2048)), limit("core", None, None)];
    assert_eq!(good(json!({"ulimits": {"nofile": {"soft": 1024, "hard": 2048}, "core": -1}})).ulimits, expect);
    assert_eq!(good(json!({"ulimit": ["nofile=1024:2048", "core=-1"]})).ulimits, expect);
    for (map, words) in [
        (json!({"ulimits": {"nofiles": 1}}), "did you mean \"nofile\"?"),
        (json!({"ulimits": {"nofile": {"soft": 1}}}), "both soft and hard"),
        (json!({"healthcheck": {"test": ["curl", "x"]}}), "begins with NONE, CMD or CMD-SHELL"),
        (json!({"healthcheck": {"test": ["CMD"]}}), "a command after its first word"),
        (json!({"healthcheck": {"test": "x", "disable": true}}), "do not go together"),
        (json!({"healthcheck": {"interval": "10us"}}), "cannot be less than 1ms"),
        (json!({"healthcheck": {"retries": -1}}), "zero or more"),
        (json!({"healthcheck": {"intervall": "1s"}}), "did you mean \"interval\"?"),
        (json!({"healthcheck": {"on_unhealthy": "kil"}}), "did you mean \"kill\"?"),
        (json!({"healthcheck": "curl"}), "takes a map"),
        (json!({"health_cmd": "x", "no_healthcheck": true}), "does not go together"),
        (json!({"no_healthcheck": true, "health_retries": 2}), "does not go together"),
        (json!({"ulimits": ["nofile=2:1"]}), "over the hard limit"),
        (json!({"ulimits": ["nofile"]}), "has no value"),
        (json!({"ulimits": ["nofile=-5"]}), "cannot be -5"),
        (json!({"ulimits": ["nofile=x"]}), "not a number"),
    ] {
        assert!(refused(map).contains(words));
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    for (key, value) in [
        ("depends_on", json!(["db"])),
        ("deploy", json!({})),
        ("secrets", json!([])),
        ("network_mode", json!("service:db")),
        ("platform", json!("linux/arm64")),
        ("gpus", json!("all")),
        ("pull_policy", json!("daily")),
        ("logging", json!({"driver": "gelf"})),
        ("runtime", json!("runc")),
    ] {
        let error = refused(json!({key: value}));
        assert!(error.starts_with("unsupported: ") && !error.contains("no hint"), "{error}");
        assert!(error.contains(key) || key.starts_with("log"), "{error}");
    }
}

#[test]
fn unknown_keys_are_refused_with_what_was_meant() {
    for (key, meant) in [
        ("comand", "command"),
        ("enviroment", "environment"),
        ("volums", "volumes"),
        ("mem-limt", "mem_limit"),
        ("port", "ports"),
        ("hostnam", "hostname"),
        ("workin_dir", "working_dir"),
        ("cap_ad", "cap_add"),
    ] {
        let error = refused(json!({key: 1}));
        assert_eq!(error, format!("invalid_argument: unknown option {key:?} (did you mean {meant:?}?)"));
    }
    assert_eq!(refused(json!({"zzzzzz": 1})), "invalid_argument: unknown option \"zzzzzz\" (no hint)");
    assert!(refused(json!({"image": "x"})).contains("the image is the first argument"));
    assert!(refused(json!({"env": {}, "environment": {}})).contains("are the same option"));
}

#[test]
fn wrong_types_name_the_key_what_it_takes_and_what_came() {
    for (map, words) in [
        (json!({"name": ["x"]}), "\"name\" takes a string, not a list"),
        (json!({"name": ""}), "\"name\" takes a string that is not empty, not an empty string"),
        (json!({"tty": "yes"}), "\"tty\" takes true or false, not the string \"yes\""),
        (json!({"command": 5}), "\"command\" takes a string for sh -c, or a list of strings, not the number 5"),
        (json!({"command": [["x"]]}), "\"command\" takes a string for sh -c, or a list of strings, not a list"),
        (json!({"mem_limit": true}), "\"mem_limit\" takes a size such as \"512m\", not true"),
        (json!({"mem_limit": "lots"}), "\"lots\" is not a size"),
        (json!({"mem_limit": -1}), "\"mem_limit\" takes a size"),
        (json!({"cpus": "many"}), "\"cpus\" takes a number, not the string \"many\""),
        (json!({"cpus": -1}), "\"cpus\" takes a number of zero or more"),
        (json!({"pids_limit": 1.5}), "\"pids_limit\" takes a whole number, not the number 1.5"),
        (json!({"stop_grace_period": "soon"}), "\"soon\" is not a duration"),
        (json!({"stop_grace_period": -1}), "takes a duration"),
        (json!({"cpuset": "0-4294967295"}), "is not a set of processors"),
        (json!({"cpuset": "3-1"}), "is not a set of processors"),
        (json!({"working_dir": "srv"}), "is not absolute"),
        (json!({"dns": "one.one"}), "is not an IP address"),
        (json!({"dns_search": "a\nnameserver 6.6.6.6"}), "cannot stand in /etc/resolv.conf"),
        (json!({"extra_hosts": ["a b:1.1.1.1"]}), "is not a host name"),
        (json!({"devices": ["fuse"]}), "is not a device"),
        (json!({"devices": ["/dev/a:/dev/b:x"]}), "is not a device"),
        (json!({"expose": "0"}), "is not a port"),
        (json!({"userns_mode": "keep-id"}), "unknown userns mode"),
        (json!({"userns_mode": "4294967295:2"}), "unknown userns mode"),
        (json!({"oom_score_adj": 1001}), "from -1000 to 1000"),
        (json!({"ipc": "shared"}), "unknown ipc mode"),
        (json!({"security_opt": ["no-new-privilege"]}), "did you mean \"no-new-privileges\"?"),
        (json!({"security_opt": ["seccomp={"]}), "not JSON"),
        (json!({"device_cgroup_rules": ["c 1:3"]}), "is not a device rule"),
        (json!({"cgroup_parent": "../x"}), "is not a cgroup"),
        (json!({"mem_swappiness": 101}), "from 0 to 100"),
        (json!({"blkio_weight": 5}), "not between 10 and 1000"),
        (json!({"blkio_config": {"wieght": 5}}), "did you mean \"weight\"?"),
        (json!({"device_read_bps": ["/etc/passwd:1mb"]}), "not a path below /dev"),
        (json!({"device_read_bps": [{"path": "/dev/sda"}]}), "maps with path and rate"),
        (json!({"logging": {"options": {"max-siz": "1m"}}}), "did you mean \"max-size\"?"),
        (json!({"logging": {"drivr": "none"}}), "did you mean \"driver\"?"),
        (json!({"restart": "alway"}), "did you mean \"always\"?"),
        (json!({"command": "a\u{0}b"}), "NUL"),
    ] {
        let error = refused(map);
        assert!(error.starts_with("invalid_argument: ") && error.contains(words), "{error}");
    }
}

#[test]
fn exec_takes_its_own_keys_alone() {
    let map = json!({"env": {"A": "1"}, "user": "app", "workdir": "/srv", "tty": true, "privileged": true});
    let options = exec_options(map.as_object().unwrap()).unwrap();
    assert_eq!(options.env, [pair("A", "1")]);
    assert_eq!((options.user.as_deref(), options.working_dir.as_deref()), (Some("app"), Some("/srv")));
    assert!(options.tty && options.privileged && options.args.is_empty());

    let error = exec_options(json!({"volumes": []}).as_object().unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::InvalidArgument, "unknown option \"volumes\""));
    assert!(error.hint().unwrap().contains("environment"));
}

#[test]
fn a_string_is_a_shell_command_and_a_list_is_argv() {
    assert_eq!(command_line("command", &json!("ls | wc")).unwrap(), ["sh", "-c", "ls | wc"]);
    assert_eq!(command_line("command", &json!(["ls", 1])).unwrap(), ["ls", "1"]);
    assert!(command_line("command", &json!({})).is_err());
}
