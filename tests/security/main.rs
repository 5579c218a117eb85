//! SECURITY.md's rows from the outside: what broke other engines, tried on the real binary and the real kernel.
//!
//! Each row is found under its id: a test of that name, with the hostile case, which is refused with one clear error or
//! contained, nothing left and no lock held, and its benign twin, which works. A row that the engine and `rhumb oci` both
//! concern has a test in each; several ids of one row are one test where they are one cause. Rows without an id have the
//! names of their causes.
//!
//! | rows | where |
//! |---|---|
//! | 1, 2, 3, 19, 20 | `handles`: the binary, descriptors, working folders, tracing, sockets, folders; 1, 2, 20 also `oci` |
//! | 4 to 12, 16, 42 | `mounts`; 4, 5, 9, 11 also `oci`; races of 6 to 8 and 12 also `adversary` |
//! | 13, 14, 18, 28, 35, 38, 43, 44, 45, 62 | `users`; 13, 43 also `oci` |
//! | 27, 28, 29, 31 | `cp`: copies out of containers and into them |
//! | 15 | `config`, with all hostile configurations |
//! | 17 | `syscalls` |
//! | 26, 30, 64, 69, 70, 71 | `engine` |
//! | 29, 31 to 34, 36, 37, 39 to 41, 47, 52 to 54 | `images`; the corpus of 32 to 34 and 36 is tests/store/hostile |
//! | 68 | `oci` |
//! | 21, 22, 24, 25 | `tests/network/guards.rs` |
//! | 23 | `tests/network/dns.rs` |
//! | 46, 48 to 51 | `tests/registry`, `tests/interop_registry.rs`, `src/registry`, `src/docker/registry.rs` |
//! | 55, 65 to 67 | a registry of our own, which is not built: with it |
//! | 56, 57, 60 | `tests/build/hostile.rs` |
//! | 58, 59 | `tests/build/hostile.rs`, `tests/build/fetched.rs`, `tests/build/contexts.rs` |
//! | 61 | `tests/build/hostile.rs`, `tests/build/language.rs`; archives also `tests/store/hostile` |
//! | 63 | the API server, which is not built: with it |
//!
//! Beside the rows: `faults` kills the verbs of `rhumb oci` at every stage, `config` goes through hostile configurations,
//! `corpus` replays what the fuzz targets in fuzz/ keep.

#[path = "../support/mod.rs"]
mod support;

#[path = "../store/hostile/raw.rs"]
#[allow(dead_code, reason = "tests/store uses the rest of it")]
mod raw;

#[path = "../support/archives.rs"]
mod archives;

mod adversary;
mod bundles;
mod config;
mod corpus;
mod cp;
mod engine;
mod faults;
mod handles;
mod images;
mod mounts;
mod neighbours;
mod oci;
mod stage;
mod syscalls;
mod users;
