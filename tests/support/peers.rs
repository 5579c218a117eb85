//! Programs of other projects that some tests need: skopeo, podman, umoci, crun …
//!
//! A test whose peer is missing is skipped, and says so on standard error past the test harness's capture, with a running
//! count. `REQUIRE_ALL=1`, which `.ci/run` sets, turns a skip into a failure.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// A command for the program `name`, or none when it is not installed and the test shall be skipped.
#[track_caller]
pub(crate) fn peer(name: &str) -> Option<Command> {
    match find(name) {
        Some(path) => Some(Command::new(path)),
        None => {
            skip(&format!("{name} is not installed"));
            None
        }
    }
}

/// Counts and prints a skip; panics when nothing may be skipped. The caller returns afterwards.
#[track_caller]
pub(crate) fn skip(reason: &str) {
    let place = std::panic::Location::caller();
    assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|v| v != "1"), "REQUIRE_ALL=1, but {reason} ({place})");
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "skipped ({count} so far): {test}: {reason}").expect("writing to standard error");
}

/// The path of a program, looked up on PATH and in the superuser's usual places.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"])
        .map(|dir| PathBuf::from(dir).join(name))
        .find(|file| file.is_file())
}
