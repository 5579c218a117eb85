//! End to end tests of scripts: every `.rhai` file in this folder, the examples, the REPL on a terminal.

#[path = "../support/mod.rs"]
mod support;
