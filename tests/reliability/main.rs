//! The experiments of RELIABILITY.md on the verbs that exist: kills, full disks, reboots, many at once. Each ends with
//! the guard that nothing is left and with `rhumb system check`.
//!
//! The counts are those of the table's tests column. `RHUMB_SOAK=20 cargo test --test reliability` multiplies them: that
//! is the soak command, run by hand.

#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod damage;
mod events;
mod failpoints;
mod full_disk;
mod guard;
mod kills;
mod observe;
mod output;
mod random;
mod reboot;
mod repeat;
mod restarts;
mod verbs;

/// A count of the experiments' table, multiplied for a soak.
fn count(in_tests: usize) -> usize {
    let factor = std::env::var("RHUMB_SOAK").ok().map_or(1, |text| text.parse().expect("RHUMB_SOAK is a number"));
    in_tests * factor
}
