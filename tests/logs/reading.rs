//! `logs` and its selections.

use std::time::{Duration, Instant};

use crate::support::{BASE, Rhumb};
use crate::{ended, folder};

#[test]
fn selections_by_number_and_time() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "--name", "box", BASE, "sh", "-c", "echo one; echo two; sleep 0.2; echo three >&2"]).ok();
    let both = rhumb.sh("logs box");
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("one\ntwo\n", "three\n"));
    for (args, out, err) in [
        ("--tail 0", "", ""),
        ("--tail 1", "", "three\n"),
        ("-n 2", "two\n", "three\n"),
        ("--tail all", "one\ntwo\n", "three\n"),
        ("--tail -1", "one\ntwo\n", "three\n"),
        ("--tail=-5", "one\ntwo\n", "three\n"),
        ("--since 1h", "one\ntwo\n", "three\n"),
        ("--until 1h", "", ""),
        ("--since 2030-01-01T00:00:00Z", "", ""),
        ("--since 0", "one\ntwo\n", "three\n"),
        ("--until 4000000000", "one\ntwo\n", "three\n"),
        ("--details --tail 1", "", " three\n"),
    ] {
        let outcome = rhumb.sh(&format!("logs {args} box"));
        outcome.ok();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), (out, err), "{args}");
    }
    let stamped = rhumb.sh("logs -t box");
    let (time, text) = stamped.stdout.lines().nth(1).unwrap().split_once(' ').unwrap();
    assert_eq!((time.len(), text, time.ends_with('Z')), (30, "two", true));
    // The times that are shown are the times that select, both ends included.
    let third = stamped.stderr.split(' ').next().unwrap();
    assert_eq!(rhumb.sh(&format!("logs --since {third} box")).stderr, "three\n");
    assert_eq!(rhumb.sh(&format!("logs --until {time} box")).ok(), "one\ntwo");
    rhumb.sh("logs --tail some box").fails_with(2, "\"--tail\"");
    rhumb.sh("logs --since soon box").fails_with(2, "--since");
    rhumb.sh("logs nobody").fails_with(3, "nobody");
    rhumb.sh("rm box").ok();
    rhumb.leaks().assert_clean();
}

#[test]
fn the_last_lines_of_a_huge_log_come_at_once() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "--name", "box", BASE, "echo", "the end"]).ok();
    let path = std::fs::read_dir(folder(&rhumb, "box"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with("-json.log"))
        .unwrap();
    // Ten gigabytes of nothing in front of the line: whoever looks at them takes more than a moment.
    let line = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[b"\n", &line[..], &line[..]].concat(), 10 << 30).unwrap();
    let begun = Instant::now();
    assert_eq!(rhumb.sh("logs --tail 2 box").ok(), "the end\nthe end");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    rhumb.sh("rm box").ok();
    rhumb.leaks().assert_clean();
}

#[test]
fn bytes_and_long_lines_come_back_exactly() {
    let rhumb = Rhumb::with_base();
    let mut input: Vec<u8> = (0..=255).collect();
    input.extend(b"y".repeat(100_000));
    input.extend("\nä\u{1F600}\n".as_bytes());
    input.extend("ö".repeat(40_000).as_bytes());
    for driver in ["json-file", "local"] {
        rhumb.run_with_input(["run", "-i", "--name", "box", "--log-driver", driver, BASE, "cat"], &input).ok();
        assert!(rhumb.sh("logs box").bytes == input, "{driver}");
        rhumb.sh("rm box").ok();
    }
    rhumb.leaks().assert_clean();
}

#[test]
fn a_line_that_a_killed_monitor_tore_is_all_that_is_missing() {
    let rhumb = Rhumb::with_base();
    for (driver, name) in [("json-file", "-json.log"), ("local", "local.log")] {
        rhumb.run(["run", "--name", "box", "--log-driver", driver, BASE, "sh", "-c", "echo one; echo two"]).ok();
        ended(&rhumb, "box");
        let files = std::fs::read_dir(folder(&rhumb, "box")).unwrap().map(|entry| entry.unwrap().path());
        let path = files.into_iter().find(|path| path.to_string_lossy().ends_with(name)).unwrap();
        let length = path.metadata().unwrap().len();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
        assert_eq!(rhumb.sh("logs box").ok(), "one");
        rhumb.sh("start -a box").ok();
        assert_eq!(rhumb.sh("logs box").ok(), "one\none\ntwo");
        assert_eq!(rhumb.sh("logs --tail 2 box").ok(), "one\ntwo");
        rhumb.sh("rm box").ok();
    }
    rhumb.leaks().assert_clean();
}
