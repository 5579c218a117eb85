//! End to end tests of builds: what happens when one is killed, and what the examples show.

#[path = "../support/mod.rs"]
mod support;

mod death;
mod example;
