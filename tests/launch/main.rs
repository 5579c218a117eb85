//! The container runtime by itself, below the engine: plans in, processes out, on the real kernel.
//!
//! This harness is its own program, since the runtime executes itself as its monitor: the first lines of `main` are what
//! `src/main.rs` does. Arguments filter tests by their names, as with the standard harness.

#![expect(clippy::print_stdout, reason = "a test harness reports")]

mod devices;
mod filter;
mod inside;
mod life;
mod mounts;
mod names;
mod namespaces;
mod process;
mod restarts;
#[allow(dead_code, reason = "each test crate uses another part of it")]
#[path = "../support/rootfs.rs"]
mod rootfs;
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == rhumb::runtime::monitor::VERB) {
        return ExitCode::from(rhumb::runtime::monitor::main(Some(rhumb::net::dns::serve)) as u8);
    }
    if let [_, verb, path] = args.as_slice()
        && verb == "[mark]"
    {
        std::fs::write(path, "").unwrap();
        return ExitCode::SUCCESS;
    }
    let tests = || {
        life::TESTS
            .iter()
            .chain(inside::TESTS)
            .chain(names::TESTS)
            .chain(namespaces::TESTS)
            .chain(process::TESTS)
            .chain(mounts::TESTS)
            .chain(devices::TESTS)
            .chain(filter::TESTS)
            .chain(restarts::TESTS)
    };
    let filters: Vec<&String> = args[1..].iter().filter(|arg| !arg.starts_with('-')).collect();
    if args.iter().any(|arg| arg == "--list") {
        tests().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, test) in tests().filter(|(name, _)| filters.is_empty() || filters.iter().any(|f| name.contains(*f))) {
        let result = std::panic::catch_unwind(test);
        println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        failed.extend(result.is_err().then_some(*name));
    }
    support::remove_base();
    println!("\ntest result: {} failed {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
