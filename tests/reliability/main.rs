//! The experiments of RELIABILITY.md on the verbs that exist: kills, full disks, reboots, many at once. Each ends with
//! the guard that nothing is left and with `rhumb system check`.

#[path = "../support/mod.rs"]
mod support;
