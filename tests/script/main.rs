//! End to end tests of scripts: the data tests of this folder, the examples of the documentation, errors and the API as
//! golden files, Ctrl-C, the prompt on a terminal.

#[path = "../support/mod.rs"]
mod support;

mod documentation;
mod errors;
mod interrupt;
mod prompt;
mod walk;
