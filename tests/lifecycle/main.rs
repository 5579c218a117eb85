//! End to end tests of what one does to containers that live: looking, measuring, limiting.

#[path = "../support/mod.rs"]
mod support;

mod top;
