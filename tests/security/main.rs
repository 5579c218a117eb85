//! SECURITY.md's rows from the outside: what broke other engines, tried on the real binary and the real kernel.
#[path = "../support/mod.rs"]
mod support;

#[path = "../store/hostile/raw.rs"]
#[allow(dead_code, reason = "tests/store uses the rest of it")]
mod raw;

#[path = "../support/archives.rs"]
mod archives;

mod adversary;
mod config;
mod engine;
mod handles;
mod images;
mod mounts;
mod stage;
mod syscalls;
mod users;
