//! `update`: the kernel, the record and every further run agree, or nothing has changed.

use std::time::Duration;

use serde_json::Value;

use crate::support::process::eventually;
use crate::support::{BASE, Rhumb};

const SOON: Duration = Duration::from_secs(20);
const MIB: u64 = 1024 * 1024;

/// What the container itself sees of a limit, on whichever version of cgroups.
fn seen(rhumb: &Rhumb, name: &str, v1: &str, v2: &str) -> String {
    let script = format!("cat /sys/fs/cgroup/{v1} 2>&- || cat /sys/fs/cgroup/{v2}");
    rhumb.run(["exec", name, "sh", "-c", &script]).ok()
}

fn memory(rhumb: &Rhumb, name: &str) -> u64 {
    seen(rhumb, name, "memory/memory.limit_in_bytes", "memory.max").parse().unwrap_or(u64::MAX)
}

fn pids(rhumb: &Rhumb, name: &str) -> String {
    seen(rhumb, name, "pids/pids.max", "pids.max")
}

fn host_config(rhumb: &Rhumb, name: &str) -> Value {
    rhumb.inspect(name)["HostConfig"].clone()
}

#[test]
fn limits_change_at_once_and_stay_for_the_next_run() {
    let rhumb = Rhumb::with_base();
    for name in ["one", "two"] {
        rhumb.run(["run", "-d", "--name", name, "-m", "64m", BASE, "sleep", "300"]).ok();
    }
    let changed = rhumb.sh("update -m 96m --pids-limit 50 --cpus 0.5 --restart on-failure:3 one two");
    assert_eq!(changed.ok(), "one\ntwo");
    for name in ["one", "two"] {
        assert_eq!((memory(&rhumb, name), pids(&rhumb, name).as_str()), (96 * MIB, "50"));
        let config = host_config(&rhumb, name);
        assert_eq!((&config["Memory"], &config["MemorySwap"]), (&(96 * MIB).into(), &(128 * MIB).into()));
        assert_eq!((&config["NanoCpus"], &config["PidsLimit"]), (&500_000_000.into(), &50.into()));
        assert_eq!(config["RestartPolicy"]["MaximumRetryCount"], 3);
    }
    let quota = seen(&rhumb, "one", "cpu/cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "50000" || quota == "50000 100000", "{quota}");
    rhumb.sh("restart -t 0 one").ok();
    assert_eq!((memory(&rhumb, "one"), pids(&rhumb, "one").as_str()), (96 * MIB, "50"));
    // Without what is not given nothing changes; -1 is no limit; a frozen and a stopped one can be changed.
    rhumb.sh("pause one").ok();
    rhumb.sh("update --pids-limit -1 one").ok();
    rhumb.sh("unpause one").ok();
    assert_eq!((memory(&rhumb, "one"), pids(&rhumb, "one").as_str()), (96 * MIB, "max"));
    rhumb.sh("update --restart no two").ok();
    rhumb.sh("kill two").ok();
    rhumb.sh("update -m 32m --memory-swap -1 --cpu-shares 512 two").ok();
    assert_eq!(host_config(&rhumb, "two")["MemorySwap"], -1);
    rhumb.sh("start two").ok();
    assert_eq!(memory(&rhumb, "two"), 32 * MIB);
}

#[test]
fn a_run_that_the_restart_policy_makes_has_the_new_limits() {
    let rhumb = Rhumb::with_base();
    let work = "test -e /again && sleep 300; touch /again; while test ! -e /go; do sleep 0.05; done; exit 1";
    rhumb.run(["run", "-d", "--name", "comes", "-m", "64m", BASE, "sh", "-c", work]).ok();
    rhumb.sh("update -m 80m --restart always comes").ok();
    let first = rhumb.inspect("comes")["State"]["Pid"].clone();
    rhumb.touch("comes", "/go");
    eventually("it runs again", SOON, || {
        let state = rhumb.inspect("comes")["State"].clone();
        (state["Running"] == true && state["Restarting"] == false && state["Pid"] != first).then_some(())
    });
    assert_eq!(memory(&rhumb, "comes"), 80 * MIB);
}

#[test]
fn zero_is_a_value_that_changes_nothing() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "box", "--pids-limit", "20", BASE, "sleep", "300"]).ok();
    let before = host_config(&rhumb, "box");
    for flags in ["--pids-limit 0", "-m 0", "--cpus 0", "-c 0 --cpu-quota 0"] {
        rhumb.sh(&format!("update {flags} box")).ok();
    }
    assert_eq!(host_config(&rhumb, "box"), before);
}

#[test]
fn what_is_refused_changes_nothing() {
    let rhumb = Rhumb::with_base();
    let hold = "dd if=/dev/zero of=/dev/shm/held bs=1M count=40 2>&-; echo held; sleep 300";
    rhumb.run(["run", "-d", "--name", "held", "-m", "64m", "--pids-limit", "20", BASE, "sh", "-c", hold]).ok();
    eventually("memory is in use", SOON, || rhumb.sh("logs held").stdout.contains("held").then_some(()));
    let before = host_config(&rhumb, "held");
    let unchanged = || {
        assert_eq!(host_config(&rhumb, "held"), before);
        assert_eq!((memory(&rhumb, "held"), pids(&rhumb, "held").as_str()), (64 * MIB, "20"));
    };
    for (line, code, text) in [
        ("update held", 2, "you must provide one or more flags"),
        ("update -m 200m held", 5, "update the memoryswap at the same time"),
        ("update -m 1m held", 2, "below the minimum"),
        ("update -m 100m --memory-swap 50m held", 2, "below that of memory"),
        ("update --pids-limit 30 -m 10m --memory-swap 10m held", 5, "usage"),
        ("update --pids-limit 30 --cpuset-cpus 4000 held", 2, "processors"),
        ("update --cpus=-1 held", 2, "--cpus"),
        ("update --cpu-shares 1 held", 2, "cpu shares"),
        ("update --blkio-weight 5 held", 2, "--blkio-weight"),
        ("update --restart sometimes held", 2, "restart policy"),
        ("update --kernel-memory 5m held", 7, "--kernel-memory"),
        ("update -m x held", 2, "--memory"),
        ("update -m 70m nosuch", 3, "no such container"),
    ] {
        let outcome = rhumb.sh(line);
        assert!(outcome.code == code && outcome.stderr.contains(text), "{line}: {outcome}");
        unchanged();
    }
    // Of several, those that can are changed.
    let several = rhumb.sh("update --pids-limit 25 nosuch held");
    assert_eq!((several.code, several.stdout.as_str(), pids(&rhumb, "held").as_str()), (3, "held\n", "25"));

    rhumb.run(["run", "-d", "--rm", "--name", "brief", "--cpus", "1", BASE, "sleep", "300"]).ok();
    rhumb.sh("update --restart always brief").fails_with(5, "removed when it ends");
    rhumb.sh("update --cpu-quota 50000 brief").fails_with(5, "cpus has already been set");
}

#[test]
fn an_update_that_dies_is_undone_or_done() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "sure", "-m", "64m", BASE, "sleep", "300"]).ok();
    let mut expected = 64;
    for (round, point) in ["intent", "kernel", "record", "settle"].into_iter().enumerate() {
        for what in ["kill", "error"] {
            let wanted = 70 + 2 * round as u64 + u64::from(what == "error");
            let line = format!("update -m {wanted}m --memory-swap -1 sure");
            let mut command = rhumb.command(line.split(' '));
            command.env("RHUMB_FAILPOINT", format!("container.update.{point}={what}"));
            let outcome = command.output().unwrap();
            assert!(!outcome.status.success(), "{point} {what}");
            if point == "settle" {
                expected = wanted;
            }
            let config = host_config(&rhumb, "sure");
            assert_eq!(config["Memory"], expected * MIB, "{point} {what}");
            assert_eq!(memory(&rhumb, "sure"), expected * MIB, "{point} {what}");
        }
    }
    assert!(std::fs::read_dir(rhumb.root().join("run/updates")).is_ok_and(|mut all| all.next().is_none()));
}

#[test]
fn a_monitor_that_stands_still_does_not_hold_an_update_up() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "still", "-m", "64m", BASE, "sleep", "300"]).ok();
    let pid = rhumb.inspect("still")["State"]["Pid"].as_i64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned();
    let signal = |name: &str| std::process::Command::new("kill").args([name, &monitor]).status().unwrap().success();
    assert!(signal("-STOP"));
    let outcome = rhumb.sh("update -m 90m still");
    assert!(signal("-CONT"));
    assert_eq!((outcome.ok().as_str(), memory(&rhumb, "still")), ("still", 90 * MIB));
}

#[test]
fn ports_are_none_and_links_are_refused_by_name() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["create", "--name", "made", BASE, "true"]).ok();
    assert_eq!(rhumb.sh("port made").ok(), "");
    rhumb.sh("port made 80").fails_with(3, "no public port \"80/tcp\"");
    rhumb.sh("port made x").fails_with(2, "\"x\" is not a port");
    rhumb.sh("port nosuch").fails_with(3, "no such container");
    rhumb.sh("rm --link made").fails_with(7, "--link");
    rhumb.sh("inspect made").ok();
}
