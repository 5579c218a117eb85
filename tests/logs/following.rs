//! `logs --follow`: to the end, across rotation, clearing and removal, and away with its reader.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::process::{self, PATIENCE, eventually};
use crate::support::{BASE, Rhumb};
use crate::{ended, logged};

fn follow(rhumb: &Rhumb, args: &[&str]) -> Child {
    let mut command = rhumb.command(["logs", "--follow"]);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Waits for a program's end.
#[track_caller]
fn end(child: &mut Child) -> Option<i32> {
    eventually("the follower's end", PATIENCE, || child.try_wait().unwrap()).code()
}

#[test]
fn every_line_comes_once_across_rotations_to_the_end() {
    let rhumb = Rhumb::with_base();
    let count = 40_000;
    for options in [
        "--log-opt max-size=200k --log-opt max-file=100",
        "--log-driver local --log-opt max-size=100k --log-opt max-file=100",
    ] {
        let script = format!("read x; i=0; while [ $i -lt {count} ]; do i=$((i+1)); echo line $i; done; printf last");
        let run = ["run", "-di", "--name", "box"];
        rhumb.run(run.into_iter().chain(options.split(' ')).chain([BASE, "sh", "-c", &script])).ok();
        let mut followers: Vec<Child> = (0..2).map(|_| follow(&rhumb, &["box"])).collect();
        let readers: Vec<_> = followers
            .iter_mut()
            .map(|child| {
                let mut out = child.stdout.take().unwrap();
                std::thread::spawn(move || {
                    let mut text = String::new();
                    out.read_to_string(&mut text).unwrap();
                    text
                })
            })
            .collect();
        rhumb.run_with_input(["attach", "box"], b"\n").ok();
        let expected: String = (1..=count).map(|number| format!("line {number}\n")).chain(["last".into()]).collect();
        for reader in readers {
            assert!(reader.join().unwrap() == expected, "{options}");
        }
        followers.iter_mut().for_each(|child| assert_eq!(end(child), Some(0)));
        rhumb.sh("rm box").ok();
    }
    rhumb.leaks().assert_clean();
}

/// The inode of a compressed file is given to a later one, which the follower took for the first.
#[test]
fn every_line_comes_once_when_the_files_are_compressed() {
    let rhumb = Rhumb::with_base();
    let script = "i=0; while [ $i -lt 160 ]; do i=$((i+1)); echo line $i; [ $((i % 8)) = 0 ] && sleep 0.03; done";
    let run = ["run", "-d", "--name", "box", "--log-opt", "max-size=1k", "--log-opt", "max-file=60", "--log-opt"];
    rhumb.run(run.into_iter().chain(["compress=true", BASE, "sh", "-c", script])).ok();
    let followed = rhumb.run(["logs", "--follow", "box"]).ok();
    let expected: Vec<String> = (1..=160).map(|number| format!("line {number}")).collect();
    assert!(followed.lines().eq(&expected), "{} lines", followed.lines().count());
    ended(&rhumb, "box");
    assert!(rhumb.sh("logs box").ok().lines().eq(&expected));
    rhumb.sh("rm box").ok();
    rhumb.leaks().assert_clean();
}

#[test]
fn a_follower_that_was_overtaken_says_so() {
    let rhumb = Rhumb::with_base();
    let run = ["run", "-di", "--name", "box", "--log-opt", "max-size=20k", "--log-opt", "max-file=2", BASE];
    rhumb.run(run.into_iter().chain(["sh", "-c", "echo 0; read x; seq 1 5000"])).ok();
    let mut command = rhumb.command(["logs", "--follow", "box"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("0"));
    let signal = |name: &str| {
        let pid = child.id().to_string();
        process::run(std::process::Command::new("kill").args(["-s", name, &pid]), None, PATIENCE).ok();
    };
    signal("STOP");
    rhumb.run_with_input(["attach", "box"], b"\n").ok();
    ended(&rhumb, "box");
    signal("CONT");
    let numbers: Vec<u32> = lines.map(|line| line.parse().unwrap()).collect();
    assert_eq!(end(&mut child), Some(0));
    assert!(numbers.len() < 2000 && numbers.is_sorted() && numbers.last() == Some(&5000), "{numbers:?}");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.starts_with("note: output is missing here: ") && said.lines().count() == 1, "{said}");
    rhumb.sh("rm box").ok();
    rhumb.leaks().assert_clean();
}

#[test]
fn a_follower_goes_on_after_clearing_and_ends_with_the_container() {
    let rhumb = Rhumb::with_base();
    let script = "echo one; while [ ! -e /go ]; do sleep 0.05; done; echo two; exec sleep 1000";
    rhumb.run(["run", "-d", "--name", "box", BASE, "sh", "-c", script]).ok();
    let mut child = follow(&rhumb, &["box"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().map(Result::unwrap);
    assert_eq!(next().as_deref(), Some("one"));
    rhumb.sh("logs --clear box").ok();
    rhumb.run(["exec", "box", "sh", "-c", ": > /go"]).ok();
    assert_eq!(next().as_deref(), Some("two"));
    rhumb.sh("rm -f box").ok();
    assert_eq!(next(), None);
    // Either it saw the end, or that the log is gone: both are quiet.
    assert_eq!(end(&mut child), Some(0));
    rhumb.leaks().assert_clean();
}

#[test]
fn a_follower_ends_quietly_when_nobody_reads_it_any_more() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "box", BASE, "sh", "-c", "echo one; echo two; exec sleep 1000"]).ok();
    logged(&rhumb, "box", "two");
    let mut child = follow(&rhumb, &["box"]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    // The container says nothing more, and the follower goes all the same.
    assert_eq!(end(&mut child), Some(0));
    rhumb.sh("rm -f box").ok();
    rhumb.leaks().assert_clean();
}

#[test]
fn a_follower_stops_when_its_time_has_come() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "box", BASE, "sh", "-c", "echo one; exec sleep 1000"]).ok();
    logged(&rhumb, "box", "one");
    let until = rhumb::base::Timestamp::now().as_nanos() + 300_000_000;
    let until = format!("{}.{:09}", until / 1_000_000_000, until % 1_000_000_000);
    let begun = Instant::now();
    let outcome = rhumb.run(["logs", "-f", "--until", &until, "box"]);
    assert_eq!(outcome.ok(), "one");
    assert!(begun.elapsed() > Duration::from_millis(200), "{outcome}");
    rhumb.sh("rm -f box").ok();
    rhumb.leaks().assert_clean();
}

#[test]
fn scripts_follow_with_the_options_of_logs() {
    let rhumb = Rhumb::with_base();
    let text = r#"
        let c = container::run("base:1", #{ command: "echo one; sleep 0.2; echo two >&2; sleep 0.2; echo three", log_driver: "local" });
        c.wait();
        assert(c.logs(#{ stream: "stdout" }) == "one\nthree\n");
        assert(c.logs(#{ stream: "stdout", tail: 1 }) == "three\n");
        assert(c.logs(#{ details: true, tail: 1 }) == " three\n");
        let seen = [];
        c.follow(#{ tail: 2 }, |line| seen.push(line));
        assert(seen == ["two", "three"], `${seen}`);
        c.clear_logs();
        assert(c.logs() == "");
        c.remove();
    "#;
    rhumb.script(text).ok();
    rhumb.leaks().assert_clean();
}
