//! End to end tests of what one does to containers that live: looking, measuring, limiting, checking health.

#[path = "../support/mod.rs"]
mod support;

mod attach;
mod events;
mod execs;
mod health;
mod stats;
mod top;
mod update;
mod waits;
