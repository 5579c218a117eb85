//! The OCI runtime specification for Linux, sentence by sentence: each [`case::Case`] names the section it is from, and is
//! run against `rhumb oci` and, so that the tests are tested, against runc and crun where they are installed.
//!
//! A runtime that is known to deviate is listed with the case and the reason; when it does not deviate any more, that is a
//! failure too. Cases stand in files by chapter of the specification.
//!
//! This harness is its own program, since each case runs once for each runtime. Arguments filter by name, as with the
//! standard harness: `cargo test --test conformance -- rhumb/` or `… -- hooks`. What this does not hold: cgroup version 2,
//! which is proved in a machine of its own (`tests/vm`), and the engine, which is above.

#![expect(clippy::print_stdout, reason = "a test harness reports")]

#[path = "../support/mod.rs"]
mod support;

mod bundle;
mod case;
mod runtime;

mod cgroups;
mod config;
mod devices;
mod features;
mod filesystem;
mod hooks;
mod lifecycle;
mod mounts;
mod namespaces;
mod process;
mod seccomp;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bundle::{Bundle, Ground};
use case::Case;
use runtime::{ALL, Runtime};
use support::leaks::Leaks;
use support::{peers, rhumb};

/// Most of a case is waiting for processes, so more of them run than there are processors.
const AT_ONCE: usize = 6;

const CHAPTERS: [(&str, &[Case]); 11] = [
    ("lifecycle", lifecycle::CASES),
    ("hooks", hooks::CASES),
    ("config", config::CASES),
    ("process", process::CASES),
    ("mounts", mounts::CASES),
    ("namespaces", namespaces::CASES),
    ("devices", devices::CASES),
    ("cgroups", cgroups::CASES),
    ("seccomp", seccomp::CASES),
    ("filesystem", filesystem::CASES),
    ("features", features::CASES),
];

thread_local! {
    /// What the last panic of this thread said.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// How a case ended for a runtime.
enum End {
    Holds,
    Deviates(&'static str),
    Failed(String),
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let all = CHAPTERS.iter().flat_map(|(chapter, cases)| cases.iter().map(move |case| (*chapter, case)));
    let all: Vec<(&str, &Case)> = all.collect();
    let names: Vec<&str> = all.iter().map(|(_, case)| case.name).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "two cases are called {name}");
    }
    let tests = ALL.iter().flat_map(|runtime| all.iter().map(move |(chapter, case)| (*runtime, *chapter, *case)));
    let name =
        |(runtime, chapter, case): &(Runtime, &str, &Case)| format!("{}/{chapter}/{}", runtime.name(), case.name);
    let tests: Vec<(Runtime, &str, &Case)> = tests.filter(|test| wanted(&name(test))).collect();
    if args.iter().any(|arg| arg == "--list") {
        tests.iter().for_each(|test| println!("{}: test", name(test)));
        return ExitCode::SUCCESS;
    }
    rhumb::assert_root();
    let tests: Vec<_> = tests.into_iter().filter(|test| present(test.0)).collect();
    std::panic::set_hook(Box::new(|panic| SAID.with(|said| *said.borrow_mut() = panic.to_string())));
    let ground = Ground::new();
    let leaks = Leaks::watch(ground.path(), &ground.root_id);
    let begin = Instant::now();
    let (next, ends) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let end = run(&ground, test.0, test.2);
                    match &end {
                        End::Holds => println!("test {} ... ok", name(test)),
                        End::Deviates(reason) => println!("test {} ... deviates: {reason}", name(test)),
                        End::Failed(_) => println!("test {} ... FAILED", name(test)),
                    }
                    ends.lock().unwrap().push((name(test), test.2, end));
                }
            });
        }
    });
    let ends = ends.into_inner().unwrap();
    let nothing_left = catch_unwind(AssertUnwindSafe(|| {
        leaks.assert_kernel_clean();
        ground.remove_cgroups();
    }));
    if nothing_left.is_err() {
        println!("\n{}", SAID.with(|said| said.borrow().clone()));
        leaks.sweep();
    }
    report(&ends, begin);
    let failed = ends.iter().any(|(_, _, end)| matches!(end, End::Failed(_)));
    if failed || nothing_left.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn present(runtime: Runtime) -> bool {
    static TOLD: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let mut told = TOLD.lock().unwrap();
    if !runtime.installed() && !told.contains(&runtime.name()) {
        told.push(runtime.name());
        peers::skip(&format!("{} is not installed", runtime.name()));
    }
    runtime.installed()
}

fn run(ground: &Ground, runtime: Runtime, case: &Case) -> End {
    let deviation = case.deviations.iter().find(|(deviating, _)| *deviating == runtime).map(|(_, reason)| *reason);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut bundle = Bundle::new(ground, runtime, case.name);
        let result = catch_unwind(AssertUnwindSafe(|| case.check(&mut bundle)));
        bundle.clean_up();
        if let Err(panic) = result {
            if deviation.is_some() {
                bundle.remove_cgroup();
            }
            std::panic::resume_unwind(panic);
        }
        bundle.assert_no_cgroup();
    }));
    match (result, deviation) {
        (Ok(()), None) => End::Holds,
        (Ok(()), Some(reason)) => End::Failed(format!("it is listed as a deviation, but it holds: {reason}")),
        (Err(_), Some(reason)) => End::Deviates(reason),
        (Err(_), None) => End::Failed(SAID.with(|said| said.borrow().clone())),
    }
}

fn report(ends: &[(String, &Case, End)], begin: Instant) {
    let mut failed: Vec<_> = ends.iter().filter(|(_, _, end)| matches!(end, End::Failed(_))).collect();
    failed.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, case, end) in &failed {
        if let End::Failed(why) = end {
            println!("\n---- {name}\n{}: {}\n{why}", case.section, case.says);
        }
    }
    for runtime in ALL {
        let prefix = format!("{}/", runtime.name());
        let of = |wanted: fn(&End) -> bool| {
            ends.iter().filter(|(name, _, end)| name.starts_with(&prefix) && wanted(end)).count()
        };
        let [holds, deviates, failed] = [
            of(|end| matches!(end, End::Holds)),
            of(|end| matches!(end, End::Deviates(_))),
            of(|end| matches!(end, End::Failed(_))),
        ];
        println!("{}: {holds} hold, {deviates} deviate as known, {failed} failed", runtime.name());
    }
    println!("test result: {} failed, in {:.1} s", failed.len(), begin.elapsed().as_secs_f64());
}
