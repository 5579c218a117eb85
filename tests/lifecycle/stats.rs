//! `stats`: Docker's columns and numbers, once and as a stream, whatever happens to the containers meanwhile.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::process::eventually;
use crate::support::{BASE, Rhumb};

const SOON: Duration = Duration::from_secs(30);

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a row is JSON")).collect()
}

fn percent(row: &Value, key: &str) -> f64 {
    let text = row[key].as_str().and_then(|text| text.strip_suffix('%')).expect("a percentage");
    text.parse().expect("a number")
}

#[test]
fn one_table_shows_what_containers_use() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "idle", "-m", "64m", BASE, "sleep", "300"]).ok();
    rhumb.run(["run", "-d", "--name", "busy", "--cpus", "0.3", BASE, "sh", "-c", "while :; do :; done"]).ok();
    rhumb.run(["create", "--name", "made", BASE, "true"]).ok();
    let table = rhumb.sh("stats --no-stream").ok();
    let lines: Vec<&str> = table.lines().collect();
    let title = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O   PIDS";
    let words = |line: &str| line.split("  ").map(str::trim).filter(|word| !word.is_empty()).count();
    assert_eq!((words(lines[0]), words(title), lines.len()), (8, 8, 3), "{table}");
    let all = rows(&rhumb.sh("container stats --no-stream --all --no-trunc --format json").ok());
    let row = |name: &str| all.iter().find(|row| row["Name"] == name).unwrap_or_else(|| panic!("{name}: {all:?}"));
    let keys: Vec<&String> = row("idle").as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"].each_ref()
    );
    assert!(row("idle")["MemUsage"].as_str().unwrap().ends_with(" / 64MiB"), "{all:?}");
    assert_eq!((row("idle")["PIDs"].as_str(), row("idle")["NetIO"].as_str()), (Some("1"), Some("0B / 0B")));
    assert_eq!(row("idle")["ID"].as_str().unwrap().len(), 64);
    assert!(percent(row("idle"), "MemPerc") > 0.0 && percent(row("idle"), "CPUPerc") < 20.0, "{all:?}");
    let busy = percent(row("busy"), "CPUPerc");
    assert!(busy > 3.0 && busy < 45.0, "a third of a processor: {all:?}");
    assert_eq!(row("made")["MemUsage"], "0B / 0B");
    // A container that does not run may be named; frozen ones are counted.
    rhumb.sh("pause busy").ok();
    let named = rows(&rhumb.sh("stats --no-stream --format json made busy").ok());
    assert_eq!((&named[0]["Name"], &named[1]["Container"], named.len()), (&"made".into(), &"busy".into(), 2));
    assert!(percent(&named[1], "CPUPerc") < 1.0, "{named:?}");
    rhumb.sh("unpause busy").ok();

    rhumb.sh("stats --no-stream nosuch").fails_with(3, "no such container \"nosuch\"");
    rhumb.sh("stats idle nosuch").fails_with(3, "no such container \"nosuch\"");
    rhumb.sh("stats --format no").fails(2);
}

#[test]
fn a_stream_in_a_pipe_ends_with_its_containers_and_needs_no_monitor() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "gone", BASE, "sleep", "300"]).ok();
    let mut child = rhumb.command(["stats", "gone"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    for _ in 0..2 {
        assert!(lines.next().unwrap().starts_with("CONTAINER ID   NAME"));
        let row = lines.next().unwrap();
        assert!(row.contains("gone") && !row.contains('\u{1b}'), "{row}");
    }
    // Nobody has to answer: a monitor that stands still is not asked.
    let monitor = rhumb.inspect("gone")["State"]["Pid"].as_i64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{monitor}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned();
    let signal = |name: &str| {
        assert!(std::process::Command::new("kill").args([name, &parent]).status().unwrap().success());
    };
    signal("-STOP");
    let begun = Instant::now();
    let once = rhumb.sh("stats --no-stream gone");
    let top = rhumb.sh("top gone");
    signal("-CONT");
    assert!(once.ok().contains("gone") && top.ok().contains("sleep 300"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    rhumb.sh("kill gone").ok();
    let deadline = Instant::now() + SOON;
    let nothing = |line: &String| line.contains("gone") && line.matches("0B / 0B").count() == 3;
    while !nothing(&lines.next().unwrap()) {
        assert!(Instant::now() < deadline, "one that does not run uses nothing");
    }
    rhumb.sh("rm gone").ok();
    eventually("the stream ends", SOON, || child.try_wait().unwrap().filter(|status| status.success()));
}

#[test]
fn a_stream_ends_quietly_with_its_reader_and_on_a_signal() {
    let rhumb = Rhumb::with_base();
    let out = std::process::Command::new("sh")
        .args(["-c", "\"$0\" stats | head -n 1; echo \"${?}\"", crate::support::rhumb::binary().to_str().unwrap()])
        .env("RHUMB_ROOT", rhumb.root())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("CONTAINER ID"), "{out:?}");
    let mut child = rhumb.command(["stats"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let status = eventually("it ends", SOON, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
}
