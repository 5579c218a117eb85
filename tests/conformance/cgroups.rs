//! `config-linux.md`, control groups: the path, and every resource that version 1 has here.

use serde_json::json;

use crate::bundle::Bundle;
use crate::case::{Case, acts, prints, refuses};
use crate::runtime::Runtime::{Crun, Runc};

const PATH: &str = "config-linux.md#configLinuxCgroupsPath";
const MEMORY: &str = "config-linux.md#configLinuxMemory";
const CPU: &str = "config-linux.md#configLinuxCPU";
const PIDS: &str = "config-linux.md#configLinuxPIDS";
const BLOCK: &str = "config-linux.md#configLinuxBlockIO";

/// With these resources the files of the container's cgroup have these values.
fn holds(bundle: &mut Bundle, resources: &str, files: &[(&str, &str, &str)]) {
    bundle.patch(&format!(r#"{{"linux": {{"resources": {resources}}}}}"#)).script("sleep 1000").up();
    for (controller, file, value) in files {
        assert_eq!(bundle.cgroup_file(controller, file), *value, "{file}");
    }
}

fn root_disk() -> String {
    let text = std::fs::read_to_string("/proc/partitions").unwrap();
    let disk = text.lines().skip(2).find(|line| line.trim_end().ends_with("vda") || line.trim_end().ends_with("sda"));
    let fields: Vec<&str> = disk.expect("a disk").split_whitespace().collect();
    format!("{}:{}", fields[0], fields[1])
}

pub(crate) const CASES: &[Case] = &[
    acts("an_absolute_path_is_below_the_mount_point", PATH, "an absolute path is relative to the mount point", |b| {
        b.script("sleep 1000").up();
        for controller in ["cpu", "cpuacct", "memory", "devices", "blkio", "pids"] {
            let procs = b.cgroup_file(controller, "cgroup.procs");
            assert!(procs.lines().any(|pid| pid == b.pid().to_string()), "{controller}: {procs}");
        }
    }),
    acts("the_same_path_is_the_same_place", PATH, "the same value is the same place", |b| {
        for _ in 0..2 {
            b.script("sleep 1000").up();
            assert!(!b.cgroup_file("pids", "cgroup.procs").is_empty());
            b.kill("KILL").until("stopped").delete();
        }
    }),
    acts("a_path_is_made_as_deep_as_it_is", PATH, "what is missing is made", |b| {
        let path = format!("{}/deep/er", b.cgroup());
        b.with(json!({"linux": {"cgroupsPath": path}})).script("sleep 1000").up();
        assert!(b.cgroup_file("pids", "deep/er/cgroup.procs").contains(&b.pid().to_string()));
        b.clean_up();
        for hierarchy in crate::support::leaks::hierarchies() {
            for below in ["deep/er", "deep", ""] {
                // What was made above the container's own may be left.
                let _ = std::fs::remove_dir(hierarchy.join(&b.cgroup()[1..]).join(below));
            }
        }
    }),
    acts("no_path_is_one_of_the_runtimes", PATH, "without a path the runtime has one", |b| {
        b.with(json!({"linux": {"cgroupsPath": null, "resources": {"pids": {"limit": 55}}}}));
        b.script("sleep 1000").up();
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", b.pid())).unwrap();
        let path = text.lines().find_map(|line| line.split(":pids:").nth(1)).unwrap();
        let limit = std::fs::read_to_string(format!("/sys/fs/cgroup/pids{path}/pids.max")).unwrap();
        assert_eq!(limit.trim(), "55", "{text}");
        b.kill("KILL").until("stopped").delete();
        assert!(!std::path::Path::new(&format!("/sys/fs/cgroup/pids{path}")).exists());
    }),
    acts("every_process_is_in_the_cgroup", PATH, "children and further processes are in it too", |b| {
        b.script("sleep 1000 & echo up >/up; wait").up().until_written("up");
        b.exec(&["/bin/sh", "-c", "sleep 1000 >/dev/null 2>&1 </dev/null &"]).ok();
        assert_eq!(b.cgroup_file("memory", "cgroup.procs").lines().count(), 3);
    }),
    acts("memory_limit", MEMORY, "limit: bytes", |b| {
        holds(b, r#"{"memory": {"limit": 104857600}}"#, &[("memory", "memory.limit_in_bytes", "104857600")]);
    }),
    acts("memory_reservation", MEMORY, "reservation: a soft limit", |b| {
        let resources = r#"{"memory": {"limit": 104857600, "reservation": 52428800}}"#;
        holds(b, resources, &[("memory", "memory.soft_limit_in_bytes", "52428800")]);
    }),
    acts("memory_and_swap", MEMORY, "swap: of both together", |b| {
        let resources = r#"{"memory": {"limit": 104857600, "swap": 209715200}}"#;
        holds(
            b,
            resources,
            &[("memory", "memory.memsw.limit_in_bytes", "209715200"), ("memory", "memory.limit_in_bytes", "104857600")],
        );
    }),
    acts("memory_without_limit", MEMORY, "-1 is unlimited", |b| {
        holds(
            b,
            r#"{"memory": {"limit": -1, "swap": -1}}"#,
            &[("memory", "memory.limit_in_bytes", "9223372036854771712")],
        );
    }),
    acts("memory_swappiness", MEMORY, "swappiness: 0 to 100", |b| {
        holds(b, r#"{"memory": {"swappiness": 17}}"#, &[("memory", "memory.swappiness", "17")]);
    }),
    acts("memory_of_tcp", MEMORY, "kernelTCP: buffers", |b| {
        holds(b, r#"{"memory": {"kernelTCP": 8388608}}"#, &[("memory", "memory.kmem.tcp.limit_in_bytes", "8388608")]);
    })
    .but(&[(Runc, "ignores it")]),
    acts("memory_without_killer", MEMORY, "disableOOMKiller", |b| {
        holds(b, r#"{"memory": {"limit": 104857600, "disableOOMKiller": true}}"#, &[]);
        assert!(b.cgroup_file("memory", "memory.oom_control").contains("oom_kill_disable 1"));
    }),
    acts("memory_is_limited_in_fact", MEMORY, "what takes more than its limit is killed", |b| {
        b.patch(r#"{"linux": {"resources": {"memory": {"limit": 20971520, "swap": 20971520}}}}"#);
        let outcome = b.script("perl -e '$x = \"x\" x 100_000_000; print \"got it\"'").run();
        assert!(!outcome.success() && !outcome.stdout.contains("got it"), "{outcome}");
    }),
    refuses(
        "swap_below_memory_is_an_error",
        MEMORY,
        "swap is that of both together",
        r#"{"linux": {"resources": {"memory": {"limit": 104857600, "swap": 52428800}}}}"#,
    )
    .but(&[(Crun, "leaves the cgroup behind")]),
    refuses(
        "a_swappiness_above_100_is_an_error",
        MEMORY,
        "the values are from 0 to 100",
        r#"{"linux": {"resources": {"memory": {"swappiness": 1000}}}}"#,
    )
    .but(&[(Crun, "leaves the cgroup behind")]),
    acts("cpu_shares", CPU, "shares: a weight", |b| {
        holds(b, r#"{"cpu": {"shares": 512}}"#, &[("cpu", "cpu.shares", "512")]);
    }),
    acts("cpu_quota_and_period", CPU, "quota in a period, in microseconds", |b| {
        let resources = r#"{"cpu": {"quota": 40000, "period": 80000}}"#;
        holds(b, resources, &[("cpu", "cpu.cfs_quota_us", "40000"), ("cpu", "cpu.cfs_period_us", "80000")]);
    }),
    acts("cpu_without_quota", CPU, "a negative quota is none", |b| {
        holds(
            b,
            r#"{"cpu": {"quota": -1, "period": 50000}}"#,
            &[("cpu", "cpu.cfs_quota_us", "-1"), ("cpu", "cpu.cfs_period_us", "50000")],
        );
    })
    .but(&[(Crun, "takes it for a large number")]),
    acts("cpu_burst", CPU, "burst: what may be saved up, in microseconds", |b| {
        holds(
            b,
            r#"{"cpu": {"quota": 40000, "period": 80000, "burst": 20000}}"#,
            &[("cpu", "cpu.cfs_burst_us", "20000")],
        );
    })
    .but(&[(Runc, "new in 1.1 of the specification"), (Crun, "new in 1.1 of the specification")]),
    acts("cpu_idle", CPU, "idle: SCHED_IDLE for the group", |b| {
        holds(b, r#"{"cpu": {"idle": 1}}"#, &[("cpu", "cpu.idle", "1")]);
    })
    .but(&[(Runc, "new in 1.1 of the specification")]),
    acts("cpu_real_time", CPU, "realtimePeriod and realtimeRuntime", |b| {
        let resources = r#"{"cpu": {"realtimePeriod": 500000, "realtimeRuntime": 0}}"#;
        holds(b, resources, &[("cpu", "cpu.rt_period_us", "500000"), ("cpu", "cpu.rt_runtime_us", "0")]);
    }),
    acts("cpu_sets", CPU, "cpus and mems: where it runs", |b| {
        holds(
            b,
            r#"{"cpu": {"cpus": "0", "mems": "0"}}"#,
            &[("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0")],
        );
        assert_eq!(b.exec(&["/bin/nproc"]).ok(), "1");
    }),
    refuses(
        "a_processor_that_is_not_there_is_an_error",
        CPU,
        "what the kernel refuses is an error",
        r#"{"linux": {"resources": {"cpu": {"cpus": "4000"}}}}"#,
    )
    .but(&[(Crun, "leaves the cgroup behind")]),
    refuses(
        "a_period_that_is_too_long_is_an_error",
        CPU,
        "what the kernel refuses is an error",
        r#"{"linux": {"resources": {"cpu": {"quota": 100000, "period": 999999999}}}}"#,
    )
    .but(&[(Crun, "leaves the cgroup behind")]),
    acts("pids_limit", PIDS, "limit: the number of tasks", |b| {
        holds(b, r#"{"pids": {"limit": 33}}"#, &[("pids", "pids.max", "33")]);
    }),
    acts("pids_without_limit", PIDS, "a negative limit is none", |b| {
        holds(b, r#"{"pids": {"limit": -1}}"#, &[("pids", "pids.max", "max")]);
    })
    .but(&[(Crun, "fails")]),
    acts("pids_are_limited_in_fact", PIDS, "there are no more tasks than that", |b| {
        b.patch(r#"{"linux": {"resources": {"pids": {"limit": 3}}}}"#).script("sleep 1 & sleep 1 & sleep 1 & sleep 1");
        let outcome = b.run();
        assert!(!outcome.success() && outcome.stderr.contains("Cannot fork"), "{outcome}");
    }),
    acts("block_throttles", BLOCK, "rates of bytes and operations for a device", |b| {
        let disk = root_disk();
        let (major, minor) = disk.split_once(':').unwrap();
        let at = |rate: u64| format!(r#"[{{"major": {major}, "minor": {minor}, "rate": {rate}}}]"#);
        let resources = format!(
            r#"{{"blockIO": {{"throttleReadBpsDevice": {}, "throttleWriteBpsDevice": {}, "throttleReadIOPSDevice": {}, "throttleWriteIOPSDevice": {}}}}}"#,
            at(1_000_000),
            at(2_000_000),
            at(300),
            at(400)
        );
        let value = |rate: u64| format!("{disk} {rate}");
        holds(
            b,
            &resources,
            &[
                ("blkio", "blkio.throttle.read_bps_device", &value(1_000_000)),
                ("blkio", "blkio.throttle.write_bps_device", &value(2_000_000)),
                ("blkio", "blkio.throttle.read_iops_device", &value(300)),
                ("blkio", "blkio.throttle.write_iops_device", &value(400)),
            ],
        );
    }),
    refuses(
        "a_controller_that_is_missing_is_an_error",
        "config-linux.md#configLinuxRDMA",
        "what cannot be set is an error",
        r#"{"linux": {"resources": {"rdma": {"mlx5_1": {"hcaHandles": 3}}}}}"#,
    )
    .but(&[(Crun, "ignores it")]),
    refuses(
        "huge_pages_of_no_size_are_an_error",
        "config-linux.md#configLinuxHugePageLimits",
        "the size is one of the kernel's",
        r#"{"linux": {"resources": {"hugepageLimits": [{"pageSize": "3MB", "limit": 6291456}]}}}"#,
    )
    .but(&[(Crun, "leaves the cgroup behind")]),
    refuses(
        "unified_without_its_controllers_is_an_error",
        "config-linux.md#configLinuxUnified",
        "a controller that is not there is an error",
        r#"{"linux": {"resources": {"unified": {"memory.max": "104857600"}}}}"#,
    )
    .but(&[(Crun, "leaves the cgroup behind")]),
    refuses(
        "rdt_without_its_file_system_is_an_error",
        "config-linux.md#configLinuxIntelRdt",
        "without a mounted resctrl it is an error",
        r#"{"linux": {"intelRdt": {"closID": "group", "l3CacheSchema": "L3:0=f"}}}"#,
    )
    .but(&[(Crun, "ignores it")]),
    acts("resources_can_be_updated", "runc update", "limits change while it runs", |b| {
        holds(b, r#"{"memory": {"limit": 104857600}, "pids": {"limit": 33}}"#, &[]);
        b.call(&["update", "--memory", "52428800", "--pids-limit", "44", "--cpu-share", "256", &b.id]).ok();
        assert_eq!(b.cgroup_file("memory", "memory.limit_in_bytes"), "52428800");
        assert_eq!(b.cgroup_file("pids", "pids.max"), "44");
        assert_eq!(b.cgroup_file("cpu", "cpu.shares"), "256");
    }),
    acts("a_container_can_be_paused", "runc pause", "paused it does nothing, resumed it goes on", |b| {
        b.script("while :; do echo x >>/ticks; sleep 0.02; done").up().until_written("ticks");
        b.call(&["pause", &b.id]).ok();
        b.until("paused");
        let before = b.read("ticks").len();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(b.read("ticks").len(), before);
        b.call(&["resume", &b.id]).ok();
        assert_eq!(b.status(), "running");
        crate::bundle::eventually("more ticks", || b.read("ticks").len() > before);
    }),
    prints(
        "the_cgroups_can_be_mounted",
        "config-linux.md#configLinuxControlGroups",
        "a mount of type cgroup shows the container's own",
        r#"{"mounts+": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}],
            "linux": {"resources": {"pids": {"limit": 71}}}}"#,
        "cat /sys/fs/cgroup/pids/pids.max; (echo 5 >/sys/fs/cgroup/pids/pids.max) 2>&1 | grep -o 'Read-only file system'",
        "71\nRead-only file system",
    ),
    prints(
        "the_cgroups_can_be_mounted_without_a_namespace",
        "config-linux.md#configLinuxControlGroups",
        "a mount of type cgroup shows the container's own",
        r#"{"mounts+": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}],
            "linux": {"resources": {"pids": {"limit": 72}}, "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]}}"#,
        "cat /sys/fs/cgroup/pids/pids.max",
        "72",
    ),
];
