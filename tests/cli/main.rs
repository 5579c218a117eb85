//! End to end tests of the command line: flags, columns, exit codes, golden help. What a verb does is tested elsewhere.

#[path = "../support/mod.rs"]
mod support;

mod build;
mod builder;
mod container;
mod content;
mod copy;
mod filter;
mod format;
mod golden;
mod help;
mod image;
mod isolation;
mod program;
mod terminal;
mod usage;
mod volume;
