//! End to end tests of the command line: flags, columns, exit codes, golden help. What a verb does is tested elsewhere.

#[path = "../support/mod.rs"]
mod support;

mod golden;
mod help;
mod usage;
