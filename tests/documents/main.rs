//! What the documents promise: every block of README.md runs, and so does every script in `scripts/`.

#[path = "../support/mod.rs"]
mod support;

mod blocks;
mod readme;
mod scripts;
