//! Restart policies end to end: when a container runs again, what it looks like in between, and what ends it. The rules
//! are Docker's; faults are in tests/reliability.

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use serde_json::Value;

use support::process::{PATIENCE, eventually};
use support::rhumb::string;
use support::{BASE, Rhumb};

/// Status, exit code and number of restarts.
fn state(rhumb: &Rhumb, name: &str) -> (String, i64, i64) {
    let all = rhumb.inspect(name);
    let number = |value: &Value| value.as_i64().expect("a number");
    (string(&all["State"]["Status"]), number(&all["State"]["ExitCode"]), number(&all["RestartCount"]))
}

fn run(rhumb: &Rhumb, name: &str, policy: &str, command: &str) {
    rhumb.run(["run", "-d", "--name", name, "--restart", policy, BASE, "sh", "-c", command]).ok();
}

#[track_caller]
fn await_state(rhumb: &Rhumb, name: &str, wanted: (&str, i64, i64)) {
    eventually(&format!("{name} is {wanted:?}"), PATIENCE, || {
        let (status, code, count) = state(rhumb, name);
        ((status.as_str(), code, count) == wanted).then_some(())
    });
}

/// Waits until it rests for the longer time that comes after so many restarts.
#[track_caller]
fn await_rest(rhumb: &Rhumb, name: &str, count: i64) {
    eventually(&format!("{name} rests"), PATIENCE, || {
        let (status, _, restarts) = state(rhumb, name);
        (status == "restarting" && restarts >= count).then_some(())
    });
}

#[test]
fn on_failure_counts_its_tries_and_success_ends_it() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "thrice", "on-failure:3", "echo run; exit 3");
    run(&rhumb, "never", "no", "exit 3");
    run(&rhumb, "fine", "on-failure", "exit 0");
    run(&rhumb, "third-time", "on-failure", "echo run >> /log; test $(wc -l < /log) -ge 3");
    await_state(&rhumb, "thrice", ("exited", 3, 3));
    await_state(&rhumb, "never", ("exited", 3, 0));
    await_state(&rhumb, "fine", ("exited", 0, 0));
    await_state(&rhumb, "third-time", ("exited", 0, 2));
    assert_eq!(rhumb.run(["logs", "thrice"]).lines(), ["run"; 4], "the log has every run");
    // Started by the user, it begins anew.
    rhumb.run(["start", "thrice"]).ok();
    await_state(&rhumb, "thrice", ("exited", 3, 3));
    assert_eq!(rhumb.run(["logs", "thrice"]).lines(), ["run"; 8]);
}

#[test]
fn pauses_grow_from_a_tenth_of_a_second() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "box", "always", "date +%s%N");
    await_rest(&rhumb, "box", 4);
    let log = rhumb.run(["logs", "box"]);
    let times: Vec<i64> = log.lines().iter().map(|line| line.parse().expect("a time")).collect();
    let pauses: Vec<i64> = times.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect();
    for (pause, least) in pauses.iter().zip([100, 200, 400]) {
        assert!((least..least + 2000).contains(pause), "pauses in ms are {pauses:?}");
    }
}

#[test]
fn between_two_runs_it_looks_and_answers_as_docker_says() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "box", "always", "exit 7");
    await_rest(&rhumb, "box", 5);
    let all = rhumb.inspect("box");
    let state = &all["State"];
    assert_eq!((&state["Running"], &state["Restarting"], &state["Pid"]), (&true.into(), &true.into(), &0.into()));
    assert_eq!(all["HostConfig"]["RestartPolicy"]["Name"], "always");
    let row = &rhumb.rows("ps")[0];
    assert!(string(&row["Status"]).starts_with("Restarting (7) "), "{row}");
    assert_eq!(rhumb.run(["ps", "-q", "--filter", "status=restarting"]).lines().len(), 1);
    for verb in [&["exec", "box", "true"][..], &["pause", "box"], &["attach", "--no-stdin", "box"]] {
        let outcome = rhumb.run(verb);
        assert!(outcome.stderr.contains("is restarting"), "{outcome}");
    }
    rhumb.run(["rm", "box"]).fails_with(5, "is restarting");
    // Nothing to do for one that will run by itself.
    rhumb.run(["start", "box"]).ok();
    rhumb.run(["stop", "box"]).ok();
    assert_eq!(rhumb.inspect("box")["State"]["Status"], "exited");
    assert_eq!(rhumb.inspect("box")["State"]["ExitCode"], 7);
}

#[test]
fn what_the_user_stops_stays_stopped() {
    let rhumb = Rhumb::with_base();
    let forever = "trap 'exit 0' TERM HUP; while true; do sleep 0.05; done";
    for (policy, verb) in [
        ("always", &["stop"][..]),
        ("unless-stopped", &["stop"]),
        ("always", &["kill"]),
        ("on-failure", &["kill"]),
        ("always", &["kill", "-s", "HUP"]),
    ] {
        run(&rhumb, "box", policy, forever);
        let line: Vec<&str> = verb.iter().copied().chain(["box"]).collect();
        rhumb.run(&line).ok();
        rhumb.run(["wait", "box"]).ok();
        let (status, _, count) = state(&rhumb, "box");
        assert_eq!((status.as_str(), count), ("exited", 0), "after {verb:?} with {policy}");
        rhumb.run(["rm", "box"]).ok();
    }
    // And from its pause, at once.
    for verb in ["stop", "kill"] {
        run(&rhumb, "box", "always", "exit 7");
        await_rest(&rhumb, "box", 6);
        let begun = Instant::now();
        rhumb.run([verb, "box"]).ok();
        assert!(begun.elapsed() < Duration::from_secs(2), "{verb} took {:?}", begun.elapsed());
        let (status, code, _) = state(&rhumb, "box");
        assert_eq!((status.as_str(), code), ("exited", 7), "after {verb} in the pause");
        rhumb.run(["rm", "box"]).ok();
    }
}

/// With a stop signal of its own, another signal of the user does not end the policy; but `unless-stopped` heeds it.
#[test]
fn a_signal_that_is_not_the_stop_signal_is_only_remembered() {
    let rhumb = Rhumb::with_base();
    let forever = "trap 'exit 5' HUP; while true; do sleep 0.05; done";
    for (policy, ends) in [("always", false), ("unless-stopped", true)] {
        let args =
            ["run", "-d", "--name", "box", "--restart", policy, "--stop-signal", "USR1", BASE, "sh", "-c", forever];
        rhumb.run(args).ok();
        // The shell has set its trap when it waits for the sleep.
        eventually("the trap is set", PATIENCE, || (rhumb.run(["top", "box"]).lines().len() > 2).then_some(()));
        rhumb.run(["kill", "-s", "HUP", "box"]).ok();
        match ends {
            true => await_state(&rhumb, "box", ("exited", 5, 0)),
            false => await_state(&rhumb, "box", ("running", 0, 1)),
        }
        rhumb.run(["rm", "-f", "box"]).ok();
    }
}

#[test]
fn a_command_that_cannot_be_executed_is_not_tried_again() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "box", "--restart", "always", BASE, "nosuchcommand"]).fails(127);
    assert_eq!(state(&rhumb, "box").0, "created");
    // One that is gone when it is to run again ends the policy; the last end stays known.
    run(&rhumb, "other", "always", "mv /usr/bin/sh /usr/bin/gone; exit 6");
    eventually("it has ended", PATIENCE, || (state(&rhumb, "other").0 == "exited").then_some(()));
    assert_eq!(state(&rhumb, "other").1, 6);
    let error = string(&rhumb.inspect("other")["State"]["Error"]);
    assert!(error.contains("not found"), "{error:?}");
}

#[test]
fn a_killed_init_runs_again_and_joined_namespaces_are_looked_up_anew() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "server", "always", "while true; do sleep 0.05; done");
    rhumb
        .run(["run", "-d", "--name", "guest", "--restart", "always", "--network", "container:server", "--pid"])
        .fails(125);
    let args = ["--network", "container:server", BASE, "sh", "-c", "while true; do sleep 0.05; done"];
    rhumb.run(["run", "-d", "--name", "guest", "--restart", "always"].iter().chain(&args)).ok();
    let netns = |name: &str| {
        let pid = rhumb.inspect(name)["State"]["Pid"].as_i64().expect("a pid");
        std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()
    };
    assert_eq!(netns("guest"), netns("server"));
    let old = netns("server");
    kill(&rhumb, "server");
    await_state(&rhumb, "server", ("running", 0, 1));
    assert_ne!(netns("server"), old, "a new run has a network namespace of its own");
    kill(&rhumb, "guest");
    await_state(&rhumb, "guest", ("running", 0, 1));
    assert_eq!(netns("guest"), netns("server"));
    // What is joined does not run: the policy ends, and says why.
    rhumb.run(["stop", "-t", "0", "server"]).ok();
    kill(&rhumb, "guest");
    await_state(&rhumb, "guest", ("exited", 137, 2));
    let error = string(&rhumb.inspect("guest")["State"]["Error"]);
    assert!(error.contains("does not run"), "{error:?}");
}

fn kill(rhumb: &Rhumb, name: &str) {
    let pid = rhumb.inspect(name)["State"]["Pid"].as_i64().expect("a pid");
    let status = std::process::Command::new("/bin/kill").args(["-KILL", &pid.to_string()]).status();
    assert!(status.expect("running kill").success());
}

#[test]
fn whoever_watches_is_told_of_the_end_of_a_run() {
    let rhumb = Rhumb::with_base();
    // As Docker: the client goes with the first run, the container stays.
    rhumb
        .run(["run", "--name", "box", "--restart", "always", BASE, "sh", "-c", "echo hello; sleep 0.1; exit 4"])
        .fails(4);
    assert_eq!(rhumb.run(["wait", "box"]).ok(), "4");
    assert!(state(&rhumb, "box").2 > 0);
    rhumb.run(["logs", "-f", "box"]).ok();
    rhumb.run(["rm", "-f", "box"]).ok();
    // --rm and a policy exclude each other.
    rhumb.run(["create", "--rm", "--restart", "always", BASE, "true"]).fails_with(2, "exclude each other");
    rhumb.run(["create", "--rm", "--restart", "no", BASE, "true"]).ok();
}

#[test]
fn removed_with_force_at_any_moment_it_leaves_nothing() {
    let rhumb = Rhumb::with_base();
    for round in 0..12 {
        let command = if round % 2 == 0 { "exit 1" } else { "sleep 0.02; exit 1" };
        run(&rhumb, "box", "always", command);
        std::thread::sleep(Duration::from_millis(round * 23));
        rhumb.run(["rm", "-f", "box"]).ok();
        rhumb.leaks().assert_kernel_clean();
    }
    rhumb.leaks().assert_clean();
    rhumb.assert_consistent();
}
