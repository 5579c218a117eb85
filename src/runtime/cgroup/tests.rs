//! Cgroups on this machine's kernel, whatever it has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use oci_spec::runtime::LinuxResources;
use serde_json::json;

use super::hierarchies::{self, Layout};
use super::*;
use crate::base::error::Kind;

fn name(test: &str) -> String {
    format!("rhumb-test{}-{test}/{test}", std::process::id())
}

fn resources(text: serde_json::Value) -> LinuxResources {
    serde_json::from_value(text).unwrap()
}

/// A cgroup that is removed at the end of a test, whatever happens.
struct Temporary(Cgroup);

impl Temporary {
    fn new(test: &str) -> Temporary {
        Temporary(Cgroup::new(&name(test)).unwrap())
    }
}

impl std::ops::Deref for Temporary {
    type Target = Cgroup;

    fn deref(&self) -> &Cgroup {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.0.remove().unwrap();
        assert!(self.0.folders().is_empty());
        for dir in self.0.place.removable(&[self.0.folder("memory")]) {
            assert!(!dir.exists(), "{dir:?}");
        }
    }
}

/// A process in the cgroup, which ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn new(cgroup: &Cgroup, script: &str) -> Sleeper {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        for dir in cgroup.folders() {
            fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        Sleeper(child)
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_v1() -> bool {
    matches!(Layout::of_machine().unwrap(), Layout::V1 { .. })
}

#[test]
fn everything_is_removed_and_removing_again_is_fine() {
    let cgroup = Temporary::new("limits");
    let asked = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 17}, "devices": [{"allow": false}]});
    cgroup.create(Some(&resources(asked))).unwrap();
    assert!(!cgroup.folders().is_empty());
    assert_eq!(cgroup.oom_kills(), 0);
    // What the container made itself goes, too.
    for dir in cgroup.folders() {
        fs::create_dir_all(dir.join("sub/sub")).unwrap();
    }
    cgroup.remove().unwrap();
    cgroup.remove().unwrap();
    assert!(cgroup.folders().is_empty());
}

#[test]
fn limits_are_what_was_asked_for() {
    if !is_v1() {
        return; // tests/vm asks the same of version 2
    }
    let cgroup = Temporary::new("values");
    let asked = json!({
        "memory": {"limit": 64 << 20, "swap": 128 << 20, "reservation": 32 << 20, "swappiness": 10,
                   "kernelTCP": 16 << 20, "useHierarchy": true},
        "cpu": {"shares": 512, "quota": 50_000, "period": 20_000, "burst": 10_000, "cpus": "0", "mems": "0", "idle": 0},
        "pids": {"limit": 17},
    });
    cgroup.create(Some(&resources(asked))).unwrap();
    let read = |controller: &str, file: &str| control::read(&cgroup.folder(controller), file).unwrap();
    assert_eq!(read("memory", "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(read("memory", "memory.memsw.limit_in_bytes"), (128 << 20).to_string());
    assert_eq!(read("memory", "memory.soft_limit_in_bytes"), (32 << 20).to_string());
    assert_eq!(read("memory", "memory.swappiness"), "10");
    assert_eq!(read("memory", "memory.kmem.tcp.limit_in_bytes"), (16 << 20).to_string());
    assert_eq!(read("cpu", "cpu.shares"), "512");
    assert_eq!(read("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(read("cpu", "cpu.cfs_period_us"), "20000");
    assert_eq!(read("cpu", "cpu.cfs_burst_us"), "10000");
    assert_eq!(read("cpuset", "cpuset.cpus"), "0");
    assert_eq!(read("pids", "pids.max"), "17");
    // Up, down, and to nothing, in whatever order the kernel needs.
    for (limit, swap) in [(256 << 20, 512 << 20), (32 << 20, 32 << 20), (64 << 20, -1), (-1, -1), (16 << 20, 32 << 20)]
    {
        let asked = json!({"memory": {"limit": limit, "swap": swap}});
        cgroup.update(&resources(asked)).unwrap();
        let expected = |number: i64| if number < 0 { (i64::MAX >> 12 << 12).to_string() } else { number.to_string() };
        assert_eq!(read("memory", "memory.limit_in_bytes"), expected(limit));
        assert_eq!(read("memory", "memory.memsw.limit_in_bytes"), expected(swap));
    }
    for (quota, period, burst) in [(5_000, 100_000, 0), (200_000, 100_000, 100_000), (1_000, 1_000, 500), (-1, 0, 0)] {
        let asked = json!({"cpu": {"quota": quota, "period": period, "burst": burst}});
        cgroup.update(&resources(asked)).unwrap();
        assert_eq!(read("cpu", "cpu.cfs_quota_us"), quota.to_string());
        assert_eq!(read("cpu", "cpu.cfs_burst_us"), burst.to_string());
    }
    cgroup.update(&resources(json!({"pids": {"limit": 0}}))).unwrap();
    assert_eq!(read("pids", "pids.max"), "17", "0 is not asked for");
    cgroup.update(&resources(json!({"pids": {"limit": -1}}))).unwrap();
    assert_eq!(read("pids", "pids.max"), "max");
    // An idle cgroup has no shares, and can be waked.
    cgroup.update(&resources(json!({"cpu": {"idle": 1, "shares": 100}}))).unwrap();
    assert_eq!(read("cpu", "cpu.idle"), "1");
    cgroup.update(&resources(json!({"cpu": {"idle": 0, "shares": 100}}))).unwrap();
    assert_eq!(read("cpu", "cpu.shares"), "100");
    cgroup.update(&resources(json!({"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 100_000}}))).unwrap();
    assert_eq!(read("cpu", "cpu.rt_runtime_us"), "1000");
}

#[test]
fn what_cannot_be_is_an_error_and_leaves_nothing() {
    let cases = [
        (json!({"cpu": {"cpus": "4000-4001"}}), Kind::InvalidArgument),
        (json!({"cpu": {"cpus": "0-4294967295"}}), Kind::InvalidArgument),
        (json!({"cpu": {"mems": "x"}}), Kind::InvalidArgument),
        (json!({"cpu": {"shares": 1}}), Kind::InvalidArgument),
        (json!({"cpu": {"shares": u64::MAX}}), Kind::InvalidArgument),
        (json!({"cpu": {"quota": 1}}), Kind::InvalidArgument),
        (json!({"cpu": {"quota": 1000, "burst": 2000}}), Kind::InvalidArgument),
        (json!({"cpu": {"period": u64::MAX}}), Kind::InvalidArgument),
        (json!({"cpu": {"idle": 7}}), Kind::InvalidArgument),
        (json!({"memory": {"limit": -5}}), Kind::InvalidArgument),
        (json!({"memory": {"limit": 64 << 20, "swap": 32 << 20}}), Kind::InvalidArgument),
        (json!({"memory": {"swappiness": 101}}), Kind::InvalidArgument),
        (json!({"memory": {"kernel": 64 << 20}}), Kind::Unsupported),
        (json!({"blockIO": {"weight": 5}}), Kind::InvalidArgument),
        (json!({"blockIO": {"leafWeight": 100}}), Kind::Unsupported),
        (json!({"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]}}), Kind::InvalidArgument),
        (
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 9, "rate": 1}]}}),
            Kind::InvalidArgument,
        ),
        (json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}), Kind::Unsupported),
        (json!({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}), Kind::InvalidArgument),
        (json!({"network": {"classID": 1}}), Kind::Unsupported),
        (json!({"network": {"priorities": [{"name": "lo", "priority": 1}]}}), Kind::Unsupported),
        (json!({"rdma": {"mlx": {"hcaHandles": 1}}}), Kind::Unsupported),
        (json!({"unified": {"memory.max": "1000000"}}), Kind::Unsupported),
        (json!({"devices": [{"allow": true, "access": "z"}]}), Kind::InvalidArgument),
    ];
    if !is_v1() {
        return;
    }
    for (index, (asked, kind)) in cases.into_iter().enumerate() {
        let cgroup = Temporary::new(&format!("refused{index}"));
        let error = cgroup.create(Some(&resources(asked.clone()))).expect_err(&asked.to_string());
        assert_eq!(error.kind(), kind, "{asked}: {error}");
        assert!(cgroup.folders().is_empty(), "{asked}");
        assert!(!cgroup.folder("memory").parent().unwrap().exists(), "{asked}");
    }
}

#[test]
fn zero_and_empty_are_not_asked_for() {
    let cgroup = Temporary::new("zero");
    let asked = json!({
        "memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": false, "kernel": -1},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0}, "network": {"classID": 0, "priorities": []},
        "hugepageLimits": [], "rdma": {}, "unified": {}, "devices": [],
    });
    cgroup.create(Some(&resources(asked))).unwrap();
    assert!(!cgroup.folder("cpuset").exists() || !is_v1());
}

#[test]
fn rates_of_a_block_device_are_set_and_lifted() {
    let disk = fs::read_dir("/sys/block").unwrap().flatten().find_map(|entry| {
        let numbers = fs::read_to_string(entry.path().join("dev")).ok()?;
        numbers
            .trim()
            .split_once(':')
            .map(|(major, minor)| (major.parse::<i64>().unwrap(), minor.parse::<i64>().unwrap()))
    });
    let (Some((major, minor)), true) = (disk, is_v1()) else { return };
    let cgroup = Temporary::new("block");
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let asked = json!({"blockIO": {"weight": 100, "throttleReadBpsDevice": rate(1 << 20), "throttleWriteIOPSDevice": rate(77)}});
    cgroup.create(Some(&resources(asked))).unwrap();
    let read = |file: &str| control::read(&cgroup.folder("blkio"), file).unwrap();
    assert_eq!(read("blkio.throttle.read_bps_device"), format!("{major}:{minor} 1048576"));
    assert_eq!(read("blkio.throttle.write_iops_device"), format!("{major}:{minor} 77"));
    assert!(read("blkio.bfq.weight").contains("100"));
    cgroup.update(&resources(json!({"blockIO": {"throttleReadBpsDevice": rate(0)}}))).unwrap();
    assert_eq!(read("blkio.throttle.read_bps_device"), "");
}

#[test]
fn a_rule_for_both_kinds_of_devices_allows_only_its_numbers() {
    if !is_v1() {
        return;
    }
    let cgroup = Temporary::new("devices");
    let rules = json!([{"allow": false, "access": "rwm"}, {"allow": true, "major": 1, "minor": 11, "access": "rw"}]);
    cgroup.create(Some(&resources(json!({"devices": rules})))).unwrap();
    let list = || control::read(&cgroup.folder("devices"), "devices.list").unwrap();
    // Before what every container may use.
    assert!(list().starts_with("b 1:11 rw\nc 1:11 rw\nc *:* m\n"), "{}", list());
    cgroup.update(&resources(json!({"devices": [{"allow": true}]}))).unwrap();
    assert_eq!(list(), "a *:* rwm");
}

#[test]
fn a_cgroup_that_somebody_is_in_is_left_alone() {
    let mine = Temporary::new("taken");
    mine.create(None).unwrap();
    let mut sleeper = Sleeper::new(&mine, "sleep 60");
    let again = Cgroup::new(&name("taken")).unwrap();
    let error = again.create(None).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains("container's cgroup is not empty: 1 process(es) found"), "{error}");
    assert!(sleeper.0.try_wait().unwrap().is_none());
    assert!(!mine.folders().is_empty());
}

#[test]
fn an_empty_cgroup_is_taken_over_and_a_frozen_one_is_not() {
    let cgroup = Temporary::new("over");
    cgroup.create(None).unwrap();
    cgroup.create(None).unwrap();
    cgroup.set_frozen(true).unwrap();
    assert!(cgroup.is_frozen().unwrap());
    assert!(cgroup.create(None).unwrap_err().to_string().contains("unexpectedly frozen"));
    cgroup.set_frozen(false).unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    if cgroup.layout != Layout::V2 {
        // Made by somebody else in a hierarchy that may not be needed.
        let freezer = cgroup.folder("freezer");
        fs::create_dir_all(&freezer).unwrap();
        fs::write(freezer.join("freezer.state"), "FROZEN").unwrap();
        assert!(cgroup.create(None).unwrap_err().to_string().contains("unexpectedly frozen"));
        fs::write(freezer.join("freezer.state"), "THAWED").unwrap();
        cgroup.create(None).unwrap();
    }
}

#[test]
fn what_a_state_keeps_finds_the_cgroup_again() {
    let parent = format!("rhumb-test{}-spec", std::process::id());
    let path = format!("/{parent}/a/b/c");
    let roots: Vec<PathBuf> = Layout::of_machine().unwrap().wanted(None).into_iter().map(hierarchies::root).collect();
    for root in &roots {
        fs::create_dir(root.join(&parent)).unwrap();
    }
    let cgroup = Cgroup::for_spec(Some(Path::new(&path)), "id").unwrap();
    cgroup.create(None).unwrap();
    let kept = serde_json::to_string(cgroup.place()).unwrap();
    let again = Cgroup::at(serde_json::from_str(&kept).unwrap()).unwrap();
    assert_eq!(again.folders(), cgroup.folders());
    again.remove().unwrap();
    for root in &roots {
        assert_eq!(fs::read_dir(root.join(&parent)).unwrap().flatten().filter(|e| e.path().is_dir()).count(), 0);
        fs::remove_dir(root.join(&parent)).unwrap();
    }
}

#[test]
fn an_empty_parent_goes_also_without_its_child() {
    let cgroup = Temporary::new("orphan");
    let parents: Vec<PathBuf> =
        cgroup.layout.wanted(None).into_iter().map(|name| cgroup.folder(name).parent().unwrap().to_owned()).collect();
    for parent in &parents {
        fs::create_dir(parent).unwrap();
    }
    cgroup.remove().unwrap();
    assert!(parents.iter().all(|parent| !parent.exists()));
}

#[test]
fn a_signal_reaches_all_and_nobody_else() {
    let cgroup = Temporary::new("kill");
    cgroup.create(None).unwrap();
    let mut sleeper = Sleeper::new(&cgroup, "sleep 60 & sleep 60 & wait");
    let outside = Sleeper(Command::new("sleep").arg("60").spawn().unwrap());
    assert!(cgroup.processes().unwrap().contains(&sleeper.pid()));
    cgroup.kill_all(15).unwrap();
    assert!(!sleeper.0.wait().unwrap().success());
    while !cgroup.processes().unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Path::new(&format!("/proc/{}", outside.pid())).exists());
}

#[test]
fn those_who_fork_all_the_time_are_killed_as_well() {
    let cgroup = Temporary::new("forks");
    cgroup.create(Some(&resources(json!({"pids": {"limit": 20}})))).unwrap();
    let _sleeper = Sleeper::new(&cgroup, "f() { f & f & }; sleep 0.1; f 2>/dev/null; wait");
    std::thread::sleep(Duration::from_millis(200));
    cgroup.kill_all(signal::KILL).unwrap();
    cgroup.remove().unwrap();
}

#[test]
fn a_frozen_process_does_nothing_and_can_be_removed() {
    let cgroup = Temporary::new("frozen");
    cgroup.create(None).unwrap();
    let sleeper = Sleeper::new(&cgroup, "while :; do :; done");
    cgroup.set_frozen(true).unwrap();
    let ticks = || fs::read_to_string(format!("/proc/{}/schedstat", sleeper.pid())).unwrap();
    let before = ticks();
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(ticks(), before);
    cgroup.remove().unwrap();
}

#[test]
fn a_running_container_enters_a_hierarchy_when_a_limit_needs_it() {
    let cgroup = Temporary::new("later");
    cgroup.create(None).unwrap();
    let sleeper = Sleeper::new(&cgroup, "sleep 60 & sleep 60");
    cgroup.update(&resources(json!({"cpu": {"cpus": "0"}}))).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", sleeper.pid())).unwrap();
    assert!(status.lines().any(|line| line == "Cpus_allowed_list:\t0"), "{status}");
}

#[test]
fn a_sub_cgroup_cannot_lie_outside() {
    let cgroup = Temporary::new("below");
    cgroup.create(None).unwrap();
    for dir in cgroup.folders() {
        fs::create_dir(dir.join("sub")).unwrap();
    }
    let below = |text: &str| {
        cgroup.unified_folder_below(&[text.to_owned()], 1).and_then(|_| cgroup.entrances_below(&[text.to_owned()]))
    };
    assert!(below("/sub").is_ok());
    assert!(below("sub").is_ok());
    for bad in ["", "../x", "sub/../..", "missing"] {
        assert!(below(bad).is_err(), "{bad:?}");
    }
    if is_v1() {
        assert!(cgroup.entrances_below(&["pids,memory:sub".to_owned()]).is_ok());
        assert!(cgroup.entrances_below(&["pids:missing".to_owned()]).is_err());
    }
}

#[test]
fn what_is_used_is_counted_cheaply() {
    let cgroup = Temporary::new("stats");
    assert_eq!(cgroup.stats().unwrap_err().kind(), Kind::NotFound);
    let asked = json!({
        "memory": {"limit": 64 << 20}, "pids": {"limit": 17}, "cpu": {"quota": 1000, "period": 10_000, "cpus": "0", "mems": "0"},
    });
    cgroup.create(Some(&resources(asked))).unwrap();
    let _sleeper = Sleeper::new(&cgroup, "while :; do x=$(seq 3000); done");
    let deadline = Instant::now() + Duration::from_secs(20);
    let stats = loop {
        let stats = cgroup.stats().unwrap();
        if stats.cpu.throttled_ns > 0 && stats.memory.usage.usage > 0 || Instant::now() > deadline {
            break stats;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(stats.cpu.total_ns > 0 && stats.cpu.periods > 0 && stats.cpu.throttled_periods > 0, "{stats:?}");
    assert_eq!(stats.memory.usage.limit, 64 << 20);
    assert!(stats.memory.usage.usage > 0 && !stats.memory.raw.is_empty(), "{stats:?}");
    assert_eq!(stats.pids.limit, 17);
    assert!(stats.pids.current >= 1);
    assert_eq!(stats.cpuset.as_ref().unwrap().cpus, [0]);
    if is_v1() {
        assert_eq!(stats.cpu.percpu_ns.len(), stats.cpu.percpu_user_ns.len());
        assert!(stats.cpu.percpu_ns.iter().sum::<u64>() > 0);
        assert!(stats.memory.usage.max >= stats.memory.usage.usage);
        assert!(stats.memory.use_hierarchy);
    }
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<crate::model::stats::Stats>(&text).unwrap(), stats);
    // The best of several: other work on the machine is not ours.
    let cost = |_| {
        let start = Instant::now();
        cgroup.stats().unwrap();
        start.elapsed()
    };
    let best = (0..20).map(cost).min().unwrap();
    assert!(best < Duration::from_millis(3), "{best:?} without optimization");
}

#[test]
fn the_out_of_memory_killer_is_heard() {
    let cgroup = Temporary::new("oom");
    cgroup.create(Some(&resources(json!({"memory": {"limit": 8 << 20, "swap": 8 << 20}})))).unwrap();
    let mut watch = cgroup.watch_oom().unwrap();
    assert_eq!(watch.take().unwrap().strikes, 0);
    let _sleeper = Sleeper::new(&cgroup, "sleep 0.2; tail /dev/zero; sleep 60");
    let wait = |watch: &OomWatch| {
        let mut interest = [crate::sys::socket::Interest::new(watch.fd(), true, false)];
        crate::sys::socket::wait(&mut interest, Some(Duration::from_secs(20))).unwrap();
    };
    wait(&watch);
    let mut strikes = 0;
    let deadline = Instant::now() + Duration::from_secs(20);
    while (strikes == 0 || cgroup.oom_kills() == 0) && Instant::now() < deadline {
        strikes += watch.take().unwrap().strikes;
    }
    assert!(strikes > 0 && cgroup.oom_kills() > 0);
    cgroup.remove().unwrap();
    wait(&watch);
    assert!(watch.take().unwrap().over);
}
