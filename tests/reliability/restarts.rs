//! R3, R5, R11 and R12 for restart policies: monitors killed in every phase, stopped ones, full disks, force at any moment.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::count;
use crate::random::Random;
use crate::support::process::{PATIENCE, eventually};
use crate::support::rhumb::string;
use crate::support::{BASE, Rhumb};

fn signal(pid: i32, name: &str) {
    let _ = Command::new("/bin/kill").args([name, &pid.to_string()]).output(); // perhaps gone already
}

fn state(rhumb: &Rhumb, name: &str) -> (String, i64) {
    let all = rhumb.inspect(name);
    (string(&all["State"]["Status"]), all["State"]["ExitCode"].as_i64().expect("a number"))
}

/// The monitor, from the state file: between two runs there is no process below it.
fn monitor(rhumb: &Rhumb, name: &str) -> i32 {
    let id = string(&rhumb.inspect(name)["Id"]);
    let file = rhumb.root().join("run/containers").join(id).join("state.json");
    let state: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).expect("it is alive")).unwrap();
    state["monitor"][0].as_i64().expect("a pid") as i32
}

fn run(rhumb: &Rhumb, name: &str, command: &str) {
    rhumb.run(["run", "-d", "--name", name, "--restart", "always", BASE, "sh", "-c", command]).ok();
}

/// Killed at random while it runs, rests or makes the next run: the end is known or said to be unknown, the next start
/// works, and nothing is left.
#[test]
fn a_monitor_killed_in_a_restart_loop_leaves_a_true_state() {
    let rhumb = Rhumb::with_base();
    let mut random = Random::new();
    for round in 0..count(30) {
        run(&rhumb, "box", if round % 2 == 0 { "exit 3" } else { "sleep 0.01; exit 3" });
        std::thread::sleep(Duration::from_micros(random.below(500_000)));
        signal(monitor(&rhumb, "box"), "-KILL");
        eventually("it is seen", PATIENCE, || {
            let (status, code) = state(&rhumb, "box");
            match status.as_str() {
                "exited" => assert_eq!(code, 3, "of the last end that was recorded"),
                "dead" => assert_eq!(code, 255, "nobody knows how it ended"),
                _ => return None,
            }
            Some(())
        });
        if round % 3 == 0 {
            rhumb.run(["start", "box"]).ok();
        }
        rhumb.run(["rm", "-f", "box"]).ok();
        rhumb.leaks().assert_kernel_clean();
    }
    rhumb.leaks().assert_clean();
    rhumb.assert_consistent();
}

/// Every point that only a restart passes.
#[test]
fn a_restart_that_fails_anywhere_ends_in_a_true_state() {
    let rhumb = Rhumb::with_base();
    let points = [
        "monitor.restart.record",
        "monitor.restart.cgroup",
        "monitor.restart.make",
        "monitor.end.record",
        "monitor.end.cgroup",
    ];
    for point in points {
        for action in ["kill", "error", "enospc"] {
            let plan = format!("{point}={action}");
            let mut command = rhumb.command(["run", "-d", "--name", "box", "--restart", "on-failure:2", BASE]);
            command.args(["sh", "-c", "exit 3"]).env("RHUMB_FAILPOINT", &plan);
            crate::support::process::run(&mut command, None, PATIENCE).ok();
            let (status, code) = eventually("it comes to an end", PATIENCE, || {
                Some(state(&rhumb, "box")).filter(|(status, _)| ["exited", "dead"].contains(&&**status))
            });
            assert!(status == "dead" || code == 3, "{plan}: {status} ({code})");
            rhumb.run(["rm", "-f", "box"]).ok();
            rhumb.leaks().assert_kernel_clean();
        }
    }
    rhumb.leaks().assert_clean();
    rhumb.assert_consistent();
}

/// The engine dies at each point of giving another policy: the record has it or not, and the container goes on.
#[test]
fn an_engine_killed_while_it_stops_or_removes_a_restarting_container() {
    let rhumb = Rhumb::with_base();
    let points = ["container.stop.signal", "container.kill.signal", "container.remove.kill", "container.remove.sweep"];
    for point in points {
        run(&rhumb, "box", "exit 3");
        let verb: &[&str] = match point.split('.').nth(1) {
            Some("stop") => &["stop", "box"],
            Some("kill") => &["kill", "box"],
            _ => &["rm", "-f", "box"],
        };
        let mut command = rhumb.command(verb);
        command.env("RHUMB_FAILPOINT", format!("{point}=kill"));
        crate::support::process::run(&mut command, None, PATIENCE);
        rhumb.run(["rm", "-f", "box"]); // or it went with the first one
        assert_eq!(rhumb.run(["ps", "-aq"]).ok(), "", "after {point}");
        rhumb.leaks().assert_kernel_clean();
    }
    rhumb.leaks().assert_clean();
}

/// Listings read files: a monitor that does not answer holds nobody up, and force ends it in its pause too.
#[test]
fn a_stopped_monitor_holds_no_listing_up() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "looping", "exit 3");
    run(&rhumb, "running", "sleep 1000");
    eventually("it rests for long", PATIENCE, || {
        (rhumb.inspect("looping")["RestartCount"].as_i64() > Some(4)).then_some(())
    });
    let monitors = ["looping", "running"].map(|name| monitor(&rhumb, name));
    monitors.iter().for_each(|pid| signal(*pid, "-STOP"));
    for args in [&["ps"][..], &["ps", "-a"], &["inspect", "looping"], &["inspect", "running"], &["logs", "looping"]] {
        let begun = Instant::now();
        rhumb.run(args).ok();
        assert!(begun.elapsed() < Duration::from_secs(3), "{args:?} took {:?}", begun.elapsed());
    }
    assert_eq!(rhumb.rows("ps").len(), 2);
    rhumb.run(["rm", "-f", "looping", "running"]).ok();
    rhumb.leaks().assert_clean();
}

/// Containers that wait for each other's end, while one of them runs again and again.
#[test]
fn waits_see_every_condition() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["create", "--name", "box", BASE, "sh", "-c", "exit 6"]).ok();
    assert_eq!(rhumb.run(["wait", "box"]).ok(), "0", "one that never ran does not run");
    let waiting = |condition: &str| {
        let mut command = rhumb.command(["wait", "--condition", condition, "box"]);
        let child = command.stdout(Stdio::piped()).spawn().expect("starting the binary");
        eventually("it sleeps, and sleeps on", PATIENCE, || {
            (0..5)
                .all(|_| {
                    std::thread::sleep(Duration::from_millis(20));
                    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
                    stat.contains("(rhumb) S ")
                })
                .then_some(())
        });
        child
    };
    let (next, removed) = (waiting("next-exit"), waiting("removed"));
    rhumb.run(["start", "box"]).ok();
    assert_eq!(output(next), "6\n");
    rhumb.run(["rm", "-f", "box"]).ok();
    assert_eq!(output(removed), "6\n");
    rhumb.run(["run", "-d", "--rm", "--name", "fleeting", BASE, "sh", "-c", "sleep 0.3; exit 5"]).ok();
    assert_eq!(rhumb.run(["wait", "--condition", "removed", "fleeting"]).ok(), "5");
    rhumb.run(["wait", "--condition", "stopped", "x"]).fails_with(2, "not-running, next-exit, removed");
}

fn output(child: std::process::Child) -> String {
    let output = child.wait_with_output().expect("waiting for a child of ours");
    String::from_utf8(output.stdout).expect("text")
}
