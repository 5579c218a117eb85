//! R7, a short one: many processes at once on one root.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::count;
use crate::random::Random;
use crate::support::{BASE, Outcome, Rhumb};

/// No command may wait longer than this for the others.
const LONGEST: Duration = Duration::from_secs(30);

#[test]
fn fifty_runs_at_once() {
    let rhumb = Rhumb::with_base();
    for _ in 0..count(1) {
        std::thread::scope(|scope| {
            for number in 0..50 {
                let rhumb = &rhumb;
                scope.spawn(move || {
                    let text = format!("number {number}");
                    let outcome = rhumb.run(["run", "--rm", "-v", "/data", BASE, "echo", &text]);
                    assert_eq!(outcome.ok(), text, "{outcome}");
                    assert!(outcome.elapsed < LONGEST, "{outcome}");
                });
            }
        });
    }
    rhumb.leaks().assert_clean();
    rhumb.assert_consistent();
    assert_eq!(rhumb.run(["volume", "ls", "-q"]).ok(), "");
}

#[test]
fn one_name_is_given_once() {
    let rhumb = Rhumb::with_base();
    let made = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let outcome = rhumb.run(["create", "--name", "only", BASE, "true"]);
                match outcome.code {
                    0 => drop(made.fetch_add(1, Ordering::Relaxed)),
                    _ => drop(outcome.fails_with(outcome.code, "only")),
                }
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    assert_eq!(rhumb.run(["ps", "-aq"]).ok().lines().count(), 1);
}

/// Eight writers with different verbs on the same few names: whatever happens is either success or a documented kind.
#[test]
fn writers_of_all_kinds_only_conflict() {
    let rhumb = Rhumb::with_base();
    let end = Instant::now() + Duration::from_secs(6 * count(1) as u64);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut random = Random::new();
                while Instant::now() < end {
                    let name = format!("box-{}", random.below(4)); // no beginning of an id
                    let volume = format!("v{}", random.below(3));
                    let mount = format!("{volume}:/v");
                    let tag = format!("t{}:1", random.below(3));
                    let outcome = match random.below(11) {
                        0 => rhumb.run(["create", "--name", &name, "-v", &mount, BASE, "sleep", "1000"]),
                        1 => rhumb.run(["run", "-d", "--name", &name, "-v", &mount, BASE, "sleep", "1000"]),
                        2 => rhumb.run(["start", &name]),
                        3 => rhumb.run(["stop", "-t", "0", &name]),
                        4 => rhumb.run(["rm", "-f", "-v", &name]),
                        5 => rhumb.run(["exec", &name, "true"]),
                        6 => rhumb.run(["ps", "-a"]),
                        7 => rhumb.run(["tag", BASE, &tag]),
                        8 => rhumb.run(["rmi", &tag]),
                        9 => rhumb.run(["volume", "rm", &volume]),
                        _ => rhumb.run(["run", "--rm", BASE, "true"]),
                    };
                    judge(&outcome);
                }
            });
        }
    });
    rhumb.remove_all();
    rhumb.leaks().assert_clean();
    rhumb.assert_consistent();
    // The image that every tag pointed to is still whole.
    rhumb.run(["system", "check", "--rehash"]).ok();
}

#[track_caller]
fn judge(outcome: &Outcome) {
    assert!(outcome.elapsed < LONGEST, "it waited for others: {outcome}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    // `run` and `exec` say 125 for the engine; the kill of an exec'd process or of a started one is its own status.
    let documented = [0, 1, 3, 4, 5, 125, 137];
    assert!(documented.contains(&outcome.code), "{outcome}");
    let reasons =
        ["no such", "already", "in use", "not run", "uses", "used by", "removed", "ended", "went away", "is "];
    let explained = outcome.stderr.is_empty() || reasons.iter().any(|reason| outcome.stderr.contains(reason));
    assert!(explained, "not a documented conflict: {outcome}");
}
