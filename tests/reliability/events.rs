//! The log of events under load and misfortune: R3 and R7 for its writers, R5 for a disk without room, R12 for the clock.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rhumb::base::{Paths, Timestamp};
use rhumb::model::event::{Event, EventItem};
use rhumb::store::Store;
use rhumb::store::event::{EventReader, LIMITS};

use crate::support::process::eventually;
use crate::support::{BASE, Rhumb, Scratch};

/// The state root of a process that writes; set for those that this test starts.
const ROOT: &str = "RHUMB_TEST_EVENTS_ROOT";
const NAME: &str = "RHUMB_TEST_EVENTS_NAME";
const PROCESSES: usize = 8;
const THREADS: usize = 25;
/// Events of a thread: with [`PADDING`], several segments in all, but not so many that the oldest goes.
const EACH: usize = 50;
const PADDING: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

fn store(root: &std::path::Path) -> Store {
    Store::open(&Paths::new(root)).unwrap()
}

/// What the test below starts: one process with twenty-five writers. Without a root, nothing.
#[test]
fn writer() {
    let (Some(root), Ok(name)) = (std::env::var_os(ROOT), std::env::var(NAME)) else { return };
    let store = store(root.as_ref());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, name) = (&store, &name);
            scope.spawn(move || {
                for number in 0..EACH {
                    let event = Event::new("container", "start", format!("{name}/{thread}/{number}"));
                    store.event_append(&event.with("padding", "x".repeat(PADDING))).unwrap();
                }
            });
        }
    });
}

fn start(root: &std::path::Path, name: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "events::writer"]).env(ROOT, root).env(NAME, name);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// How many events of each writer there are; each must be the one after the last, so that none is lost or doubled.
#[derive(Default)]
struct Seen(BTreeMap<String, usize>);

impl Seen {
    fn drain(&mut self, reader: &mut EventReader) {
        while let Some(item) = reader.read().unwrap() {
            let EventItem::Event(event) = item else { panic!("{item:?}") };
            let (writer, number) = event.id.rsplit_once('/').unwrap();
            let next = self.0.entry(writer.to_owned()).or_default();
            assert_eq!(number.parse::<usize>().unwrap(), *next, "{writer}");
            *next += 1;
        }
    }
}

#[test]
fn two_hundred_writers_and_one_that_is_killed_lose_and_double_nothing() {
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    let store = store(&root);
    let mut follower = store.event_reader_from_now().unwrap();
    let mut seen = Seen::default();
    let mut writers: Vec<Child> = (0..PROCESSES).map(|number| start(&root, &format!("p{number}"))).collect();
    let mut victim = start(&root, "victim");
    eventually("the victim writes", PATIENCE, || {
        seen.drain(&mut follower);
        seen.0.keys().any(|writer| writer.starts_with("victim")).then_some(())
    });
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("the others have written", PATIENCE, || {
        follower.wait(Duration::from_millis(50)).unwrap();
        seen.drain(&mut follower);
        writers.iter_mut().all(|writer| writer.try_wait().unwrap().is_some_and(|status| status.success())).then_some(())
    });
    seen.drain(&mut follower);
    let whole = seen.0.iter().filter(|(writer, _)| !writer.starts_with("victim"));
    assert_eq!(whole.clone().count(), PROCESSES * THREADS);
    assert!(whole.clone().all(|(_, count)| *count == EACH));
    // Who comes later finds the same.
    let mut again = Seen::default();
    again.drain(&mut store.event_reader());
    assert_eq!(again.0, seen.0);
    let segments: Vec<u64> = std::fs::read_dir(store.paths().events())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert!(segments.len() > 4, "{segments:?}");
    // Over the limit by what was on its way, no more.
    let most = LIMITS.segment_bytes + ((PROCESSES + 1) * THREADS * (PADDING + 300)) as u64;
    assert!(segments.iter().all(|length| *length <= most), "{segments:?}");
}

#[test]
fn a_clock_that_is_set_back_neither_stops_a_follower_nor_hides_an_event() {
    let scratch = Scratch::new();
    let store = store(&scratch.path().join("root"));
    let mut follower = store.event_reader_from_now().unwrap();
    let now = Timestamp::now();
    let day = Duration::from_secs(24 * 3600);
    let ahead = Timestamp::from_nanos(now.as_nanos() + day.as_nanos() as u64);
    for (id, time) in [("a", now), ("b", ahead), ("c", now.before(day)), ("d", now)] {
        let event = Event::new("container", "start", id);
        store.event_append(&Event { time, ..event }).unwrap();
    }
    let ids = |reader: &mut EventReader| -> String {
        std::iter::from_fn(|| reader.read().unwrap())
            .map(|item| match item {
                EventItem::Event(event) => event.id,
                EventItem::Note(words) => panic!("{words}"),
            })
            .collect()
    };
    // In the order in which it happened, which is that of writing.
    assert_eq!((ids(&mut follower), ids(&mut store.event_reader())), ("abcd".to_owned(), "abcd".to_owned()));
}

#[test]
fn a_full_disk_costs_events_and_nothing_else() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "box", BASE, "sleep", "1000"]).ok();
    let shell = |line: &str, failpoint: &str| {
        let mut command = rhumb.command(line.split_whitespace());
        crate::support::process::run(command.env("RHUMB_FAILPOINT", failpoint), None, PATIENCE)
    };
    for line in ["rename box other", "stop -t 0 other", "start other", "volume create vol", "volume rm vol"] {
        let outcome = shell(line, "engine.event.append=enospc,monitor.event.append=enospc");
        assert!(outcome.success(), "{outcome}");
        let told =
            outcome.stderr.is_empty() || outcome.stderr.starts_with("warning: ") && outcome.stderr.lines().count() == 1;
        assert!(told, "{outcome}");
    }
    // A monitor that could not tell its container's start tells later that something is missing.
    let outcome = shell("rm -f other", "engine.event.append=enospc");
    assert!(outcome.success(), "{outcome}");
    assert_eq!(rhumb.states().len(), 0);
    rhumb.assert_consistent();
}

#[test]
fn a_monitor_outlives_its_engine_and_tells_its_end() {
    let rhumb = Rhumb::with_base();
    // The client is killed while its container runs; nobody but the monitor, and what it becomes, is left.
    let mut client = rhumb.spawn(["run", "--rm", "--name", "box", BASE, "sleep", "1"]);
    let told = |filter: &str| {
        let args = ["events", "--since", "1h", "--until", "0s", "--format", "{{.Action}}", "--filter", filter];
        rhumb.run(args).ok().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("it has started", PATIENCE, || told("container=box").contains(&"start".to_owned()).then_some(()));
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("it was removed", PATIENCE, || told("container=box").contains(&"destroy".to_owned()).then_some(()));
    assert_eq!(told("container=box"), ["create", "attach", "start", "die", "destroy"]);
    rhumb.assert_consistent();
}
