//! Runs that follow each other under one monitor: thousands of them, with clients that come and go.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rhumb::base::Kind;
use rhumb::model::restart::RestartPolicy;
use rhumb::runtime::client;
use rhumb::runtime::plan::Pauses;
use rhumb::runtime::state::{Life, RunState};

use crate::support::{Box_, attach, eventually};

static NEVER_SET: AtomicBool = AtomicBool::new(false);
const NEVER: &AtomicBool = &NEVER_SET;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("memory_does_not_grow_over_restarts", memory_does_not_grow),
    ("clients_of_all_kinds_survive_restarts", clients_survive),
    ("a_terminated_monitor_ends_without_a_restart", terminated_monitor),
];

/// A container that runs again almost at once.
fn eager(script: &str) -> Box_ {
    let instant = Duration::from_millis(1);
    Box_::sh(script).with(|plan| {
        plan.restart = RestartPolicy::Always;
        plan.pauses = Pauses { first: instant, longest: instant, settled: Duration::from_secs(10) };
        plan.ephemeral = false;
        if let rhumb::runtime::plan::Rootfs::Overlay { volatile, .. } = &mut plan.rootfs {
            // The kernel refuses a volatile overlay a second time.
            *volatile = false;
        }
    })
}

fn alive(container: &Box_) -> RunState {
    match container.life() {
        Life::Alive(run) => run,
        other => panic!("{other:?}"),
    }
}

/// Waits until it was restarted so often.
fn await_restarts(container: &Box_, count: u32) {
    let deadline = Instant::now() + Duration::from_secs(1800);
    while alive(container).restart_count < count {
        assert!(Instant::now() < deadline, "only {} restarts", alive(container).restart_count);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Private memory in KiB, and open descriptors.
fn use_of(pid: i32) -> (u64, usize) {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private = smaps.lines().filter(|line| line.starts_with("Private_Dirty:") || line.starts_with("Private_Clean:"));
    let kibibytes = private.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum();
    (kibibytes, fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

/// Ten thousand by hand: `RHUMB_SOAK=20 cargo test --test launch restarts`.
fn memory_does_not_grow() {
    let factor = std::env::var("RHUMB_SOAK").ok().map_or(1, |text| text.parse().expect("RHUMB_SOAK is a number"));
    let container = eager("echo once more; exit 1");
    let mut monitor = container.start();
    await_restarts(&container, 100);
    let pid = alive(&container).monitor.0;
    // A run that is just being made has descriptors and memory of its own: the least of several looks counts.
    let least = || {
        let uses: Vec<(u64, usize)> =
            (0..40).map(|_| (std::thread::sleep(Duration::from_millis(3)), use_of(pid)).1).collect();
        (uses.iter().map(|one| one.0).min().unwrap(), uses.iter().map(|one| one.1).min().unwrap())
    };
    let before = least();
    await_restarts(&container, 500 * factor);
    let after = least();
    assert!(after.0 <= before.0 + 128 && after.1 <= before.1, "KiB and descriptors: {before:?}, then {after:?}");
    assert_eq!(alive(&container).monitor.0, pid);
    let record = monitor.stop(15, Duration::from_secs(10), NEVER).unwrap();
    assert!(record.stopped_by_user && !record.restarting, "{record:?}");
    monitor.join().unwrap();
}

fn clients_survive() {
    let container = eager("echo hello; sleep 0.02; exit 3");
    let mut starter = container.start();
    // The one who started it is told of the first end, and that another run follows.
    assert!(starter.wait(None, NEVER).unwrap().restarting);
    for _ in 0..40 {
        let Ok(mut monitor) = client::connect(&container.plan.run_dir) else { panic!("nobody is there") };
        let mut streams = (Vec::new(), Vec::new());
        match attach(&mut monitor, &mut streams, false) {
            Ok(end) => assert_eq!(end, client::AttachEnd::Exited(3)),
            Err(error) => assert!(error.kind() == Kind::Conflict, "{error}"),
        }
        match container.exec(&["true"]) {
            // Killed with its container, or too late for this run.
            Ok((code, ..)) => assert!([0, 137].contains(&code), "{code}"),
            Err(error) => assert!([Kind::Conflict, Kind::Failed].contains(&error.kind()), "{error}"),
        }
    }
    let mut monitor = client::connect(&container.plan.run_dir).unwrap();
    assert_eq!(monitor.wait(None, NEVER).unwrap().exit_code, 3);
    // From one moment to the next the policy is another one.
    client::connect(&container.plan.run_dir).unwrap().set_restart(RestartPolicy::No).unwrap();
    starter.join().unwrap();
    assert!(matches!(container.life(), Life::Ended(exit) if exit.exit_code == 3 && !exit.restarting));
}

fn terminated_monitor() {
    let container = eager("trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done");
    let monitor = container.start();
    eventually("the trap is set", || container.log().contains("ready"));
    let pid = alive(&container).monitor.0;
    std::process::Command::new("/bin/kill").arg(pid.to_string()).status().unwrap();
    monitor.join().unwrap();
    let Life::Ended(exit) = container.life() else { panic!() };
    // As when the machine goes down: the user has not stopped it, so that a resume starts it.
    assert!(exit.restart_count == 0 && !exit.stopped_by_user && [9, 143].contains(&exit.exit_code), "{exit:?}");
}
