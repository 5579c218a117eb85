//! End to end tests of builds: Dockerfiles and scripts, what is fetched, what happens when one is killed.

#[path = "../support/mod.rs"]
mod support;

mod archives;
mod attested;
mod carried;
mod compressed;
mod contexts;
mod copies;
mod death;
mod devices;
mod dockerfile;
mod example;
mod fetched;
mod flags;
mod hostile;
mod keys;
mod language;
mod scripted;
mod services;
mod shell;
mod steps;
mod translated;
