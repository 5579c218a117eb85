//! End to end tests of running containers: namespaces, mounts, limits, logs, attach, exec, signals.

#[path = "../support/mod.rs"]
mod support;
