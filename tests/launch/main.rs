//! The container runtime by itself, below the engine: plans in, processes out, on the real kernel.
//!
//! This harness is its own program, since the runtime executes itself as its monitor: the first lines of `main` are what
//! `src/main.rs` does. Arguments filter tests by their names, as with the standard harness.

mod support;

use std::process::ExitCode;

use support::Box_;

const TESTS: &[(&str, fn())] = &[("a_command_runs_and_its_output_and_status_come_back", a_command_runs)];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == rhumb::runtime::monitor::VERB) {
        return ExitCode::from(rhumb::runtime::monitor::main() as u8);
    }
    let filters: Vec<&String> = args[1..].iter().filter(|arg| !arg.starts_with('-')).collect();
    if args.iter().any(|arg| arg == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, test) in TESTS.iter().filter(|(name, _)| filters.is_empty() || filters.iter().any(|f| name.contains(*f)))
    {
        let result = std::panic::catch_unwind(test);
        println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        failed.extend(result.is_err().then_some(*name));
    }
    support::remove_base();
    println!("\ntest result: {} failed {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn a_command_runs() {
    let (code, out, err) = Box_::sh("echo out; echo err >&2; exit 7").run().unwrap();
    assert_eq!((code, out.as_str(), err.as_str()), (7, "out\n", "err\n"));
}
