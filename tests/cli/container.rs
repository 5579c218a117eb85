//! The verbs of containers, end to end: streams, exit codes, columns, several operands.

use std::time::Duration;

use serde_json::Value;

use crate::support::process::eventually;
use crate::support::{BASE, Rhumb};

const SOON: Duration = Duration::from_secs(20);

fn inspect(rhumb: &Rhumb, name: &str) -> Value {
    let facts: Value = serde_json::from_str(&rhumb.run(["container", "inspect", name]).ok()).unwrap();
    facts[0].clone()
}

#[test]
fn run_keeps_streams_apart_and_ends_with_the_commands_status() {
    let rhumb = Rhumb::with_base();
    let outcome = rhumb.run(["run", "--rm", BASE, "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (3, "out\n", "err\n"), "{outcome}");
    // The kernel keeps signals without a handler from process 1, so an init takes its place.
    assert_eq!(rhumb.run(["run", "--rm", "--init", BASE, "sh", "-c", "kill -9 $$"]).code, 137);
    rhumb.run(["run", "--rm", BASE, "surelynosuchprogram"]).fails_with(127, "surelynosuchprogram");
    rhumb.run(["run", "--rm", BASE, "/etc"]).fails_with(126, "/etc");
    rhumb.run(["run", "--rm", "nosuch:1", "true"]).fails_with(125, "nosuch:1");
    // What follows the image belongs to the command, also what looks like a flag of ours.
    assert_eq!(rhumb.run(["run", "--rm", BASE, "echo", "-d", "--rm", "--help"]).ok(), "-d --rm --help");
    assert_eq!(rhumb.sh("ps -aq").ok(), "");
}

#[test]
fn standard_input_goes_in_only_when_asked() {
    let rhumb = Rhumb::with_base();
    let big = vec![b'x'; 300_000];
    assert!(rhumb.run_with_input(["run", "--rm", "-i", BASE, "cat"], &big).bytes == big);
    assert_eq!(rhumb.run_with_input(["run", "--rm", BASE, "cat"], b"nothing").ok(), "");
    let only_err = rhumb.run(["run", "--rm", "-a", "stderr", BASE, "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((only_err.stdout.as_str(), only_err.stderr.as_str()), ("", "err\n"));
}

#[test]
fn a_detached_container_is_listed_logged_stopped_and_removed() {
    let rhumb = Rhumb::with_base();
    let id = rhumb.run(["run", "-d", "--name", "web", BASE, "sh", "-c", "echo one; echo two >&2; sleep 300"]).ok();
    assert_eq!(id.len(), 64);
    eventually("the output is logged", SOON, || (rhumb.sh("logs web").stdout == "one\n").then_some(()));
    let logs = eventually("both streams are logged", SOON, || {
        let logs = rhumb.sh("logs web");
        (logs.stderr == "two\n").then_some(logs)
    });
    assert_eq!(logs.stdout, "one\n");
    let stamped = rhumb.sh("logs -t -n 1 web");
    assert!(stamped.stderr.ends_with("Z two\n") && stamped.stdout.is_empty(), "{stamped}");
    assert_eq!(rhumb.sh("logs --since 1h --tail all web").stdout, "one\n");
    assert_eq!(rhumb.sh("logs --until 1h web").stdout, "");

    let listing = rhumb.sh("ps");
    let lines = listing.lines();
    assert!(lines[0].starts_with("CONTAINER ID   IMAGE     COMMAND"), "{listing}");
    assert!(
        lines[1].starts_with(&id[..12]) && lines[1].contains("\"sh -c 'echo one; ec…\"") && lines[1].ends_with("web")
    );
    assert!(lines[1].contains(" Up "), "{listing}");
    assert_eq!(rhumb.sh("ps -q").ok(), id[..12]);
    assert_eq!(rhumb.sh("ps -q --no-trunc -f name=we -f status=running").ok(), id);
    assert_eq!(rhumb.sh("ps -q -f status=exited").ok(), "");
    let row: Value = serde_json::from_str(&rhumb.sh("ps --format json").ok()).unwrap();
    assert_eq!((&row["Names"], &row["State"]), (&"web".into(), &"running".into()));

    assert_eq!(rhumb.sh("pause web").ok(), "web");
    assert!(rhumb.sh("ps").ok().contains("(Paused)"));
    assert_eq!(rhumb.sh("unpause web").ok(), "web");
    assert_eq!(rhumb.sh("rename web www").ok(), "");
    rhumb.sh("rm www").fails_with(5, "www");
    assert_eq!(rhumb.sh("stop -t 0 www").ok(), "www");
    assert_eq!(rhumb.sh("wait www").ok(), "137");
    assert!(rhumb.sh("ps -a").ok().contains("Exited (137)"));
    assert_eq!(rhumb.sh("start www").ok(), "www");
    assert_eq!(rhumb.sh("kill -s KILL www").ok(), "www");
    assert_eq!(rhumb.sh("wait www").ok(), "137");
    assert_eq!(rhumb.sh("rm www").ok(), "www");
    assert_eq!(rhumb.sh("ps -aq").ok(), "");
}

#[test]
fn several_operands_go_on_after_a_failure() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["create", "--name", "one", BASE, "true"]).ok();
    rhumb.run(["create", "--name", "two", BASE, "true"]).ok();
    let outcome = rhumb.sh("rm one nosuch two");
    outcome.fails_with(3, "rhumb: ");
    outcome.fails_with(3, "nosuch");
    assert_eq!(outcome.stdout, "one\ntwo\n");
}

#[test]
fn create_and_start_are_the_two_halves_of_run() {
    let rhumb = Rhumb::with_base();
    let cidfile = rhumb.path("cid");
    let path = cidfile.to_str().unwrap();
    let id = rhumb
        .run(["create", "--cidfile", path, "--name", "half", "-e", "A=1", BASE, "sh", "-c", "echo $A; exit 4"])
        .ok();
    assert_eq!(std::fs::read_to_string(&cidfile).unwrap(), id);
    rhumb.run(["create", "--cidfile", path, BASE]).fails_with(4, "--cidfile");
    rhumb.run(["run", "--rm", "--cidfile", rhumb.path("no").to_str().unwrap(), "nosuch:1"]).fails(125);
    assert!(!rhumb.path("no").exists(), "an empty file is left");
    let started = rhumb.sh("start -a half");
    assert_eq!((started.code, started.stdout.as_str()), (4, "1\n"), "{started}");
    assert_eq!(rhumb.sh("start half").ok(), "half");
    assert_eq!(rhumb.sh("wait half").ok(), "4");
    assert_eq!(rhumb.sh("logs half").stdout, "1\n1\n");
    rhumb.run(["create", "--name", "half", BASE]).fails_with(4, "half");
}

#[test]
fn exec_runs_a_further_command() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "web", BASE, "sleep", "300"]).ok();
    let outcome =
        rhumb.run(["exec", "-e", "A=x", "-w", "/tmp", "web", "sh", "-c", "echo $A; pwd; echo err >&2; exit 5"]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()),
        (5, "x\n/tmp\n", "err\n"),
        "{outcome}"
    );
    assert_eq!(rhumb.run_with_input(["exec", "-i", "web", "cat"], b"in").ok(), "in");
    assert_eq!(rhumb.run(["exec", "web", "echo", "-i", "--help"]).ok(), "-i --help");
    rhumb.run(["exec", "web", "surelynosuchprogram"]).fails_with(127, "surelynosuchprogram");
    rhumb.run(["exec", "web", "/etc"]).fails_with(126, "/etc");
    rhumb.run(["exec", "nosuch", "true"]).fails_with(125, "nosuch");
    assert_eq!(rhumb.run(["exec", "-d", "web", "sh", "-c", "echo late > /tmp/late"]).ok(), "");
    eventually("the detached command has run", SOON, || {
        (rhumb.run(["exec", "web", "cat", "/tmp/late"]).stdout == "late\n").then_some(())
    });
    rhumb.sh("kill web").ok();
    rhumb.sh("wait web").ok();
    rhumb.run(["exec", "web", "true"]).fails_with(125, "web");
}

#[test]
fn flags_reach_the_container() {
    let rhumb = Rhumb::with_base();
    let env_file = rhumb.path("env");
    std::fs::write(&env_file, "FROM_FILE=yes\nBOTH=file\n").unwrap();
    let script =
        "hostname; pwd; id -u; echo $FROM_FILE $BOTH; cat /tmp/t 2>/dev/null || echo none; echo x > /f || echo ro";
    let out = rhumb
        .run(
            ["run", "--rm", "-h", "box", "-w", "/srv/deep", "-u", "1000", "--env-file", env_file.to_str().unwrap()]
                .iter()
                .copied()
                .chain(["-e", "BOTH=flag", "--tmpfs", "/tmp", "--read-only", BASE, "sh", "-c", script]),
        )
        .ok();
    assert_eq!(out, "box\n/srv/deep\n1000\nyes flag\nnone\nro");
    rhumb
        .run(
            ["create", "--name", "all", "-m", "64m", "--cpus", "0.5", "--pids-limit", "50", "-l", "a=b", "--init"]
                .iter()
                .copied()
                .chain(["--stop-signal", "INT", "--stop-timeout", "3", "--expose", "80", "-v", "/anon", "--rm", BASE]),
        )
        .ok();
    let facts = inspect(&rhumb, "all");
    assert_eq!(facts["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(facts["HostConfig"]["NanoCpus"], 500_000_000);
    assert_eq!(facts["HostConfig"]["PidsLimit"], 50);
    assert_eq!(facts["HostConfig"]["Init"], true);
    assert_eq!(facts["HostConfig"]["AutoRemove"], true);
    assert_eq!(facts["Config"]["Labels"]["a"], "b");
    assert_eq!(facts["Config"]["StopSignal"], "INT");
    assert_eq!(facts["Config"]["StopTimeout"], 3);
    assert_eq!(facts["Config"]["ExposedPorts"], serde_json::json!({ "80/tcp": {} }));
    assert_eq!(facts["Mounts"][0]["Destination"], "/anon");
}

#[test]
fn a_file_system_is_exported() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["create", "--name", "tree", BASE]).ok();
    let exported = rhumb.sh("export tree");
    exported.ok();
    let file = rhumb.path("tree.tar");
    rhumb.run(["export", "-o", file.to_str().unwrap(), "tree"]).ok();
    assert_eq!(std::fs::read(&file).unwrap().len(), exported.bytes.len());
    rhumb.run(["export", "-o", rhumb.path("none.tar").to_str().unwrap(), "nosuch"]).fails(3);
    assert!(!rhumb.path("none.tar").exists());
}

#[test]
fn restart_and_prune() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "web", BASE, "sh", "-c", "echo again; sleep 300"]).ok();
    assert_eq!(rhumb.sh("restart -t 0 web").ok(), "web");
    eventually("it ran twice", SOON, || (rhumb.sh("logs web").stdout == "again\nagain\n").then_some(()));
    let id = rhumb.run(["create", BASE]).ok();
    let pruned = rhumb.sh("container prune -f").ok();
    assert!(pruned.starts_with(&format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: ")), "{pruned}");
    let made = |labels: &str| rhumb.sh(&format!("create {labels} {BASE}")).ok();
    let (bare, keep, front) = (made(""), made("-l keep"), made("-l tier=front"));
    for (filters, gone) in [
        ("--filter until=1h", None),
        ("--filter label=tier=back", None),
        ("--filter label=tier --filter label!=keep --filter until=-1h", Some(&front)),
        ("--filter label!=keep", Some(&bare)),
        ("--filter label=keep --filter label!=keep", None),
        ("--filter label=keep", Some(&keep)),
    ] {
        let pruned = rhumb.sh(&format!("container prune -f {filters}")).ok();
        let expected = gone.map_or(String::new(), |id| format!("Deleted Containers:\n{id}\n\n"));
        assert!(pruned.starts_with(&format!("{expected}Total reclaimed space: ")), "{filters}: {pruned}");
    }
    assert_eq!(rhumb.sh("rm -f web").ok(), "web");
}

/// A deadline further away than any clock reaches was a panic once.
#[test]
fn a_grace_period_may_be_as_long_as_one_can_write() {
    let rhumb = Rhumb::with_base();
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    for (given, shown, stop) in [
        ("-1", -1, "stop box"),
        ("9223372036854775807", i64::MAX, "stop box"),
        ("5", 5, "stop -t -1 box"),
        ("5", 5, "stop -t 9223372036854775807 box"),
    ] {
        rhumb.run(["run", "-d", "--name", "box", "--stop-timeout", given, BASE, "sh", "-c", script]).ok();
        assert_eq!(rhumb.inspect("box")["Config"]["StopTimeout"], shown);
        eventually("the trap", SOON, || (rhumb.sh("logs box").stdout == "ready\n").then_some(()));
        rhumb.sh(stop).ok();
        assert_eq!(rhumb.inspect("box")["State"]["ExitCode"], 7, "{stop}");
        rhumb.sh("rm box").ok();
    }
}

#[test]
fn a_closed_reader_is_success_and_ends_an_ephemeral_container() {
    let rhumb = Rhumb::with_base();
    let mut command = std::process::Command::new("sh");
    rhumb.environ(&mut command);
    command.args(["-c", "rhumb run --rm base:1 sh -c 'while :; do echo y; done' | head -n 1; rhumb images | true"]);
    let outcome = crate::support::process::run(&mut command, None, crate::support::process::PATIENCE);
    assert_eq!((outcome.ok().as_str(), outcome.stderr.as_str()), ("y", ""), "{outcome}");
    eventually("the container has gone", SOON, || rhumb.sh("ps -aq").ok().is_empty().then_some(()));
}

#[test]
fn signals_go_to_the_container() {
    let rhumb = Rhumb::with_base();
    let script = "trap 'echo got term; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let mut child = rhumb.spawn(["run", "--name", "trap", BASE, "sh", "-c", script]);
    eventually("it is ready", SOON, || (rhumb.sh("logs trap").stdout == "ready\n").then_some(()));
    let mut kill = std::process::Command::new("kill");
    kill.args(["-TERM", &child.id().to_string()]);
    crate::support::process::run(&mut kill, None, SOON).ok();
    let status = eventually("the client ends", SOON, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(7));
    assert_eq!(rhumb.sh("logs trap").stdout, "ready\ngot term\n");
}

#[test]
fn the_first_interrupt_ends_a_wait_and_leaves_the_container() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "web", BASE, "sleep", "300"]).ok();
    for line in ["wait web", "logs -f web", "attach --sig-proxy=false web"] {
        let mut child = rhumb.spawn(line.split(' '));
        crate::support::process::interrupt(&child);
        let status = eventually("the client ends", SOON, || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(130), "{line}");
    }
    assert_eq!(rhumb.sh("ps -q").lines().len(), 1);
}

/// The process that holds a container.
fn monitor_of(rhumb: &Rhumb, name: &str) -> u32 {
    let pid = inspect(rhumb, name)["State"]["Pid"].as_u64().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn tool(program: &str, args: &[&str]) {
    crate::support::process::run(std::process::Command::new(program).args(args), None, SOON).ok();
}

/// Removal with force asked a stopped monitor in vain and gave up, and the container could never be removed.
#[test]
fn a_container_whose_monitor_is_stopped_can_be_removed_with_force() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "web", BASE, "sleep", "300"]).ok();
    let monitor = monitor_of(&rhumb, "web").to_string();
    tool("kill", &["-STOP", &monitor]);
    rhumb.sh("rm -f web").ok();
    assert_eq!(rhumb.sh("ps -aq").ok(), "");
    let left = std::fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap_or_default();
    assert!(left.is_empty() || left.contains(") Z "), "it lives on: {left}");
    rhumb.assert_consistent();
}

/// A monitor that had no descriptor left for a client was woken by the same client again and again.
#[test]
fn a_monitor_without_room_for_a_client_does_not_spin() {
    let rhumb = Rhumb::with_base();
    let id = rhumb.run(["run", "-d", "--name", "web", BASE, "sleep", "300"]).ok();
    let monitor = monitor_of(&rhumb, "web");
    let open = std::fs::read_dir(format!("/proc/{monitor}/fd")).unwrap().count();
    // One client more than there is room for.
    tool("prlimit", &["--pid", &monitor.to_string(), &format!("--nofile={}:1024", open + 2)]);
    let folder = std::fs::File::open(rhumb.root().join("run/containers").join(&id)).unwrap();
    let path = format!("/proc/self/fd/{}/control.sock", std::os::fd::AsRawFd::as_raw_fd(&folder));
    let clients: Vec<_> = (0..12).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks() - before < 20, "it used {} ticks in a second", ticks() - before);
    drop(clients);
    // And hears again when there is room.
    tool("prlimit", &["--pid", &monitor.to_string(), "--nofile=1024:1024"]);
    assert_eq!(rhumb.sh("exec web echo here").ok(), "here");
}
