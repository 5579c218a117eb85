//! Docker's JSON for containers, images and volumes, pinned field by field, and the cells of the listings.

#[path = "cli/golden.rs"]
mod golden;

use std::time::Duration;

use rhumb::base::{Digest, Id, Paths, Timestamp};
use rhumb::docker::{container, image, inspect, options::container_options, volume};
use rhumb::model::container::{
    Container, ContainerOptions, ContainerRecord, MountPoint, MountPointKind, State, Status,
};
use rhumb::model::image::{History, Image, ImageConfig, Layer};
use rhumb::model::volume::Volume;
use serde_json::{Value, json};

fn id(digit: char) -> Id {
    Id::parse(&digit.to_string().repeat(64)).unwrap()
}

fn record(options: ContainerOptions) -> ContainerRecord {
    serde_json::from_value(json!({
        "id": id('c'),
        "created": "2026-01-31T12:00:00.5Z",
        "image": "base:1",
        "image_id": Digest::of(b"image"),
        "layers": [Digest::of(b"lower"), Digest::of(b"upper")],
        "options": options,
        "args": ["sh", "-c", "exit 3"],
        "entrypoint": [],
        "command": ["sh", "-c", "exit 3"],
        "env": ["PATH=/bin", "A=1"],
        "labels": {},
        "working_dir": "/",
        "user": "",
        "hostname": "cccccccccccc",
        "stop_signal": "SIGTERM",
        "exposed_ports": [],
        "mounts": [],
    }))
    .unwrap()
}

fn created() -> State {
    State {
        status: Status::Created,
        pid: None,
        exit_code: None,
        oom_killed: false,
        error: None,
        started: None,
        finished: None,
        health: None,
        restart_count: 0,
        stopped_by_user: false,
        execs: Vec::new(),
        log_lost: Default::default(),
        networks: Vec::new(),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

#[test]
fn a_plain_container_has_dockers_fields_and_empty_values() {
    let container = Container { name: "idle".into(), record: record(ContainerOptions::default()), state: created() };
    let value = inspect::container(&container, &Paths::new("/root"));
    golden::check("inspect/container_plain.json", &pretty(&value));
    // What Docker 20.10 to 28 print for `docker create IMAGE`, in their order.
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&value).join(" "),
        "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver \
         Platform MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver Mounts Config NetworkSettings"
    );
    assert_eq!(
        keys(&value["State"]).join(" "),
        "Status Running Paused Restarting OOMKilled Dead Pid ExitCode Error StartedAt FinishedAt"
    );
    assert_eq!(value["State"]["StartedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(value["HostConfig"]["Binds"], Value::Null);
    assert_eq!(value["HostConfig"]["PidsLimit"], Value::Null);
    assert_eq!(value["HostConfig"]["Devices"], json!([]));
    assert_eq!(value["Mounts"], json!([]));
    assert_eq!(value["Config"]["Volumes"], Value::Null);
    assert!(value["Config"].get("ExposedPorts").is_none());
}

#[test]
fn a_container_with_everything_shows_all_of_it() {
    let mut options = json!({
        "name": "web", "tty": true, "stdin_open": true, "init": true, "rm": true, "read_only": true,
        "hostname": "h", "domainname": "d", "user": "app",
        "volumes": ["data:/data:ro", "/src:/dst:rslave", "/anon",
            { "type": "bind", "source": "/strict", "target": "/strict", "bind": { "create_host_path": false } }],
        "tmpfs": ["/run:size=64m,noexec"], "volumes_from": ["db:ro"],
        "network_mode": "host", "pid": "host", "ipc": "host", "uts": "host", "cgroup": "host",
        "userns_mode": "100000:65536",
        "mem_limit": "64m", "cpus": 0.5, "pids_limit": 50, "cpu_shares": 512, "cpuset": "0",
        "ulimits": { "nofile": { "soft": 10, "hard": 20 }, "core": -1 }, "shm_size": "1m",
        "cap_add": ["net_admin"], "cap_drop": ["ALL"], "security_opt": ["no-new-privileges", "systempaths=unconfined"],
        "devices": ["/dev/fuse"], "sysctls": { "net.core.somaxconn": 1024 }, "oom_score_adj": 5,
        "extra_hosts": ["db:10.0.0.1"], "dns": "1.1.1.1", "group_add": ["audio"],
        "stop_grace_period": "3s", "logging": { "options": { "max-size": "10m", "max-file": 3 } },
    });
    let more = json!({
        "device_cgroup_rules": ["c 1:3 mr"], "annotations": { "a": "1" }, "cgroup_parent": "batch",
        "mem_swappiness": 10, "oom_kill_disable": true, "cpu_rt_period": 1000, "cpu_rt_runtime": 900,
        "blkio_weight": 300, "blkio_weight_device": "/dev/sda:400", "device_read_bps": "/dev/sda:1mb",
        "device_write_iops": ["/dev/sda:7"],
    });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let options = container_options(options.as_object().unwrap()).unwrap();
    let mut record = record(options);
    let volume = |digit, name: &str, target: &str, anonymous, read_only| MountPoint {
        kind: MountPointKind::Volume { id: id(digit), name: name.into(), anonymous },
        target: target.into(),
        read_only,
        inherited: false,
        options: vec![],
    };
    record.mounts = vec![
        volume('d', "data", "/data", false, true),
        MountPoint {
            kind: MountPointKind::Bind { source: "/src".into() },
            target: "/dst".into(),
            read_only: false,
            inherited: false,
            options: vec!["rslave".into()],
        },
        volume('e', id('e').as_str(), "/anon", true, false),
        MountPoint {
            kind: MountPointKind::Tmpfs,
            target: "/run".into(),
            read_only: false,
            inherited: false,
            options: vec![],
        },
    ];
    record.exposed_ports = vec!["80/tcp".into()];
    record.entrypoint = vec!["sh".into()];
    let state = State {
        status: Status::Paused,
        pid: Some(42),
        started: Some(Timestamp::parse("2026-01-31T12:00:01Z").unwrap()),
        ..created()
    };
    let container = Container { name: "web".into(), record, state };
    let value = inspect::container(&container, &Paths::new("/root"));
    golden::check("inspect/container_full.json", &pretty(&value));
    assert_eq!(value["HostConfig"]["Binds"], json!(["data:/data:ro", "/src:/dst:rslave"]));
    assert_eq!(value["HostConfig"]["MemorySwap"], 134_217_728);
    assert_eq!(value["HostConfig"]["NanoCpus"], 500_000_000);
    assert_eq!(value["HostConfig"]["CapAdd"], json!(["CAP_NET_ADMIN"]));
    assert_eq!(value["State"]["Running"], true);
}

#[test]
fn an_unknown_end_is_not_dressed_up_as_success() {
    let state = State { status: Status::Dead, error: Some("the exit status is unknown".into()), ..created() };
    let container = Container { name: "x".into(), record: record(ContainerOptions::default()), state };
    let state = &inspect::container(&container, &Paths::new("/root"))["State"];
    assert_eq!((&state["Dead"], &state["ExitCode"]), (&json!(true), &json!(255)));
    assert_eq!(state["Error"], "the exit status is unknown");
}

#[test]
fn status_cells_are_dockers() {
    let ago = |seconds| Some(Timestamp::now().before(Duration::from_secs(seconds)));
    for (status, expect) in [
        (State { ..created() }, "Created"),
        (State { status: Status::Running, started: ago(180), ..created() }, "Up 3 minutes"),
        (State { status: Status::Paused, started: ago(75), ..created() }, "Up About a minute (Paused)"),
        (
            State { status: Status::Exited, exit_code: Some(0), finished: ago(5), ..created() },
            "Exited (0) 5 seconds ago",
        ),
        (
            State { status: Status::Exited, exit_code: Some(137), finished: ago(7200), ..created() },
            "Exited (137) 2 hours ago",
        ),
        (State { status: Status::Dead, ..created() }, "Dead"),
        (State { status: Status::Removing, ..created() }, "Removal In Progress"),
    ] {
        assert_eq!(container::status_cell(&status), expect);
    }
}

#[test]
fn command_cells_are_quoted_and_cut() {
    let mut record = record(ContainerOptions::default());
    assert_eq!(container::command_cell(&record, false), "\"sh -c 'exit 3'\"");
    record.args = ["sleep", "1234567890", "1234567890"].map(Into::into).to_vec();
    assert_eq!(container::command_cell(&record, false), "\"sleep 1234567890 12…\"");
    assert_eq!(container::command_cell(&record, true), "\"sleep 1234567890 1234567890\"");
    record.args = vec!["a\n\u{1b}[2J".into()];
    assert_eq!(container::command_cell(&record, false), "\"a\\n\\u{1b}[2J\"");
}

fn an_image() -> Image {
    let layer = |text: &str, size_bytes| Layer {
        chain_id: Digest::of(text.as_bytes()),
        diff_id: Digest::of(text.as_bytes()),
        blob: Digest::of(text.as_bytes()),
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
        blob_size_bytes: 10,
        size_bytes,
        came: false,
    };
    let step = |text: &str, empty_layer| History {
        created: Some(Timestamp::parse("2026-01-31T12:00:00Z").unwrap()),
        created_by: text.into(),
        empty_layer,
        ..Default::default()
    };
    Image {
        id: Digest::of(b"image"),
        manifest: Digest::of(b"manifest"),
        tags: vec!["base:1".into(), "registry.test/me/base:2".into()],
        digests: Vec::new(),
        layers: vec![layer("a", 1000), layer("b", 234_000)],
        created: Some(Timestamp::parse("2026-01-31T12:00:00Z").unwrap()),
        config: ImageConfig { cmd: vec!["sh".into()], exposed_ports: vec!["80/tcp".into()], ..Default::default() },
        os: "linux".into(),
        architecture: "arm64".into(),
        variant: Some("v8".into()),
        author: None,
        history: vec![step("ADD rootfs", false), step("CMD [\"sh\"]", true), step("RUN make", false)],
    }
}

#[test]
fn an_image_has_dockers_fields() {
    let image = an_image();
    golden::check("inspect/image.json", &pretty(&inspect::image(&image, &Paths::new("/root"))));
    let unnamed = Image { created: None, layers: vec![], tags: vec![], ..image };
    let value = inspect::image(&unnamed, &Paths::new("/root"));
    assert_eq!(value["RepoTags"], json!([]));
    assert!(value.get("Created").is_none());
}

#[test]
fn an_image_is_listed_once_for_each_of_its_names() {
    let image = an_image();
    let rows = image::list_rows(&image);
    let names: Vec<_> = rows.iter().map(|row| (row.repository.as_str(), row.tag.as_str())).collect();
    assert_eq!(names, [("base", "1"), ("registry.test/me/base", "2")]);
    assert_eq!(rows[0].size_cell(), "235kB");
    let unnamed = image::list_rows(&Image { tags: vec![], ..image });
    assert_eq!((unnamed[0].repository.as_str(), unnamed[0].tag.as_str()), ("<none>", "<none>"));
}

#[test]
fn history_is_newest_first_and_gives_sizes_to_steps_that_made_a_layer() {
    let rows = image::history_rows(&an_image());
    let seen: Vec<_> = rows.iter().map(|row| (row.created_by.as_str(), row.size_bytes)).collect();
    assert_eq!(seen, [("RUN make", 234_000), ("CMD [\"sh\"]", 0), ("ADD rootfs", 1000)]);
    assert_eq!(rows[0].short_id, an_image().id.short());
    assert_eq!(rows[1].id, "<missing>");
    let untold = image::history_rows(&Image { history: vec![], ..an_image() });
    assert_eq!(untold.iter().map(|row| row.size_bytes).collect::<Vec<_>>(), [234_000, 1000]);
}

#[test]
fn a_volume_has_dockers_fields() {
    let value = Volume {
        id: id('d'),
        name: "data".into(),
        anonymous: false,
        created: Timestamp::parse("2026-01-31T12:00:00.123Z").unwrap(),
        labels: Default::default(),
        mountpoint: "/root/volumes/d/data".into(),
    };
    golden::check("inspect/volume.json", &pretty(&inspect::volume(&value)));
    assert_eq!(volume::list_row(&value).value["Name"], "data");
}
