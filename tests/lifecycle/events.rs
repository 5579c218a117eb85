//! Events: what each verb and each monitor tells, and following it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::support::process::eventually;
use crate::support::{BASE, Rhumb};

const SOON: Duration = Duration::from_secs(30);

/// Type and action of everything that has happened, as `container die`.
fn told(rhumb: &Rhumb, filter: &str) -> Vec<String> {
    let format = "{{.Type}} {{.Action}}";
    let args = ["events", "--since", "1h", "--until", "0s", "--format", format].into_iter();
    let text = rhumb.run(args.chain(filter.split_whitespace())).ok();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_life_of_a_container_is_told_in_dockers_words() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "one", "-l", "tier=web", "-v", "vol:/v", BASE, "sleep", "1000"]).ok();
    rhumb.run(["exec", "one", "sh", "-c", "exit 3"]).fails(3);
    rhumb.sh("exec one /nope").fails(127);
    for line in ["pause one", "unpause one", "rename one two", "kill -s WINCH two", "top two", "stop -t 0 two"] {
        rhumb.sh(line).ok();
    }
    for line in ["start two", "restart -t 0 two", "rm -f two", "volume rm vol"] {
        rhumb.sh(line).ok();
    }
    let told = told(&rhumb, "--filter type=container --filter type=volume");
    let expected = [
        "volume create",
        "container create",
        "volume mount",
        "container start",
        "container exec_create: sh -c exit 3",
        "container exec_start: sh -c exit 3",
        "container exec_die",
        "container exec_create: /nope ",
        "container pause",
        "container unpause",
        "container rename",
        "container kill",
        "container top",
        "container kill",
        "container kill",
        "container die",
        "volume unmount",
        "container stop",
        "volume mount",
        "container start",
        "container kill",
        "container kill",
        "container die",
        "volume unmount",
        "container stop",
        "volume mount",
        "container start",
        "container restart",
        "container kill",
        "container die",
        "volume unmount",
        "container destroy",
        "volume destroy",
    ];
    assert_eq!(told, expected);

    let all = rhumb.sh("events --since 1h --until 0s --format json").ok();
    let all: Vec<serde_json::Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |action: &str| {
        let event = all.iter().find(|event| event["Action"] == action).unwrap_or_else(|| panic!("no {action}"));
        event["Actor"]["Attributes"].clone()
    };
    assert_eq!((&of("exec_die")["exitCode"], &of("die")["exitCode"]), (&"3".into(), &"137".into()));
    assert_eq!(of("exec_die")["execID"].as_str().unwrap().len(), 64);
    assert_eq!((&of("rename")["oldName"], &of("rename")["name"]), (&"/one".into(), &"two".into()));
    // The monitor knows the new name too.
    assert_eq!(
        (&of("kill")["signal"], &of("kill")["name"], &of("kill")["tier"]),
        (&"28".into(), &"two".into(), &"web".into())
    );
    assert_eq!(of("start")["image"], BASE);
    assert_eq!((&of("mount")["destination"], &of("mount")["read/write"]), (&"/v".into(), &"true".into()));
    let times: Vec<u64> = all.iter().map(|event| event["timeNano"].as_u64().unwrap()).collect();
    assert!(times.iter().all(|time| *time > 0) && all.iter().all(|event| event["scope"] == "local"));
    rhumb.assert_consistent();
}

#[test]
fn images_and_prunes_are_told() {
    let rhumb = Rhumb::with_base();
    rhumb.sh(&format!("tag {BASE} extra:1")).ok();
    rhumb.sh("save -o saved.tar extra:1").ok();
    rhumb.sh("rmi extra:1").ok();
    rhumb.sh("load -i saved.tar").ok();
    for line in ["container prune -f", "volume prune -f", "rmi extra:1", "image prune -a -f"] {
        rhumb.sh(line).ok();
    }
    let told = told(&rhumb, "");
    let expected = [
        "image tag",
        "image save",
        "image untag",
        "image load",
        "container prune",
        "volume prune",
        "image untag",
        "image untag",
        "image delete",
        "image prune",
    ];
    // Whatever made the base image comes first.
    let begin = told.len() - expected.len();
    assert_eq!(told[begin..], expected, "{told:?}");
    assert!(rhumb.sh("events --since 1h --until 0s --filter image=extra:1").ok().lines().count() >= 1);
}

#[test]
fn a_follower_sees_what_monitors_tell_and_ends_with_a_signal() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "other", BASE, "true"]).ok();
    let mut command = rhumb.command(["events", "--filter", "container=box", "--format", "{{.Action}}"]);
    let mut follower = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map(Result::unwrap);
    // It is there when it has seen the first one.
    let seen = std::thread::spawn(move || {
        let first: Vec<String> = lines.by_ref().take_while(|action| action != "die").collect();
        (first, lines)
    });
    eventually("it has opened the log", SOON, || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", follower.id())).ok()?;
        let names = fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        names.into_iter().any(|name| name.to_string_lossy().ends_with(".jsonl")).then_some(())
    });
    // Its engine is gone long before it ends.
    rhumb.run(["run", "-d", "--name", "box", BASE, "sh", "-c", "sleep 0.3; exit 4"]).ok();
    let (first, lines) = seen.join().unwrap();
    assert_eq!(first, ["create", "start"]);
    let ended = std::process::Command::new("kill").args(["-INT", &follower.id().to_string()]).status().unwrap();
    assert!(ended.success());
    assert_eq!(follower.wait().unwrap().code(), Some(130));
    assert_eq!(lines.count(), 0);
    // A time to come ends it by itself.
    let begun = std::time::Instant::now();
    rhumb.sh("events --since 1h --until=-1s").ok();
    assert!(begun.elapsed() >= Duration::from_millis(900));
}

#[test]
fn memory_that_runs_out_is_told_while_the_container_lives() {
    let rhumb = Rhumb::with_base();
    let eat = "sh -c 'a=x; while true; do a=$a$a; done'; sleep 1000";
    rhumb.run(["run", "-d", "--name", "box", "-m", "20m", BASE, "sh", "-c", eat]).ok();
    eventually("memory runs out", SOON, || told(&rhumb, "--filter event=oom").pop());
    assert_eq!(rhumb.inspect("box")["State"]["Status"], "running");
    rhumb.sh("rm -f box").ok();
    let told = told(&rhumb, "--filter container=box");
    let place = |action: &str| told.iter().position(|told| told == action).unwrap();
    assert!(place("container oom") < place("container kill"), "{told:?}");
}

#[test]
fn restarts_and_health_are_told() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "box", "--restart", "on-failure:1", BASE, "sh", "-c", "exit 2"]).ok();
    let all = || told(&rhumb, "--filter container=box");
    eventually("it has ended twice", SOON, || {
        (all().iter().filter(|told| *told == "container die").count() == 2).then_some(())
    });
    let expected = ["create", "start", "die", "start", "die"].map(|action| format!("container {action}"));
    assert_eq!(all(), expected);
    let health = ["--health-cmd=true", "--health-interval=100ms"];
    rhumb.run([&["run", "-d", "--name", "well"], &health[..], &[BASE, "sleep", "1000"]].concat()).ok();
    eventually("it is well", SOON, || told(&rhumb, "--filter event=health_status").pop());
    let told = told(&rhumb, "--filter container=well");
    // A probe's own processes are not told of.
    assert_eq!(told, ["container create", "container start", "container health_status: healthy"]);
}

#[test]
fn mistakes_are_told_and_a_lost_event_fails_nothing() {
    let rhumb = Rhumb::with_base();
    rhumb.sh("events --filter contaner=x").fails_with(2, "did you mean \"container\"?");
    rhumb.sh("events --filter event=dye").fails_with(2, "did you mean \"die\"?");
    rhumb.sh("events --filter service=x").fails_with(7, "not supported yet");
    rhumb.sh("events --since soon").fails_with(2, "\"soon\" is not a time");
    rhumb.sh("events --since 5 --until 3").fails_with(2, "is after until");
    rhumb.sh("events --format {{.Foo}}").fails_with(2, "template parsing error");
    let before = told(&rhumb, "").len();
    let mut command = rhumb.command(["tag", BASE, "extra:1"]);
    let outcome = crate::support::process::run(
        command.env("RHUMB_FAILPOINT", "engine.event.append=enospc"),
        None,
        crate::support::process::PATIENCE,
    );
    assert!(
        outcome.success() && outcome.stderr.starts_with("warning: an event was not recorded: No space"),
        "{outcome}"
    );
    assert_eq!(told(&rhumb, "").len(), before);
    // What stands in the log and is no event is told, and mended on demand.
    let segment = rhumb.root().join("events/0000000001.jsonl");
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = bytes.len();
    bytes.extend_from_slice(b"\n\x1b[31mgarbage\n");
    std::fs::write(&segment, bytes).unwrap();
    let outcome = rhumb.sh("events --since 1h --until 0s");
    assert!(outcome.success() && outcome.stderr.starts_with("note: unreadable event"), "{outcome}");
    assert!(!outcome.stderr.contains('\x1b') && outcome.stderr.contains(&format!("at byte {}", end + 1)), "{outcome}");
    let found = rhumb.sh("system check").fails(10);
    assert!(found.contains("rhumb system check --repair"), "{found}");
    rhumb.sh("system check --repair").ok();
    rhumb.sh("system check").ok();
}
