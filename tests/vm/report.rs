//! Reads what the checks of a machine said and fails with all of it when one did not pass.
//!
//! A line counts only as a whole, and a machine that stopped in the middle never looks like one that passed: the number
//! at the end must be that of the checks written in the script, and that of those seen.

use std::fmt::Write as _;

use crate::machine::Console;

/// Panics unless every check that the script has was made and passed.
pub(crate) fn assert_passed(console: &Console) {
    let scripts = [include_str!("guest/checks.sh"), include_str!("guest/oci.sh")];
    let expected: Vec<&str> =
        scripts.iter().flat_map(|script| script.lines()).filter_map(|line| line.strip_prefix("check ")).collect();
    let mut passed = Vec::new();
    let mut complaints = String::new();
    let mut done = None;
    for line in console.checks.lines() {
        if let Some(rest) = line.strip_prefix("CHECK ") {
            match rest.split_once(' ') {
                Some((name, "ok")) => passed.push(name),
                _ => writeln!(complaints, "{rest}").expect("writing to a string"),
            }
        } else if let Some(count) = line.strip_prefix("DONE ") {
            done = count.parse::<usize>().ok();
        }
    }
    complaints
        .extend(expected.iter().filter(|name| !passed.contains(name)).map(|name| format!("not passed: {name}\n")));
    if done != Some(expected.len()) || passed.len() != expected.len() {
        writeln!(complaints, "{} checks written, {} passed, done: {done:?}", expected.len(), passed.len())
            .expect("writing to a string");
    }
    complaints.extend(console.trouble.iter().cloned());
    let Console { checks, kernel, elapsed, .. } = console;
    assert!(complaints.is_empty(), "{complaints}\n--- checks\n{checks}\n--- kernel\n{kernel}\n--- after {elapsed:?}");
}
