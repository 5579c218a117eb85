//! Logs end to end: drivers and their options, reading and following, clearing, and Docker's own output beside ours.

#[path = "../support/mod.rs"]
mod support;

mod drivers;
mod following;
mod interop;
mod reading;
mod remote;

use std::path::PathBuf;

use support::Rhumb;
use support::process::{PATIENCE, eventually};

/// The folder with a container's log files.
fn folder(rhumb: &Rhumb, name: &str) -> PathBuf {
    let id = support::rhumb::string(&rhumb.inspect(name)["Id"]);
    rhumb.root().join("containers").join(id)
}

/// Waits until a container has ended.
#[track_caller]
fn ended(rhumb: &Rhumb, name: &str) {
    rhumb.sh(&format!("wait {name}")).ok();
}

/// Waits until the log of a container contains a text.
#[track_caller]
fn logged(rhumb: &Rhumb, name: &str, text: &str) {
    eventually(text, PATIENCE, || rhumb.sh(&format!("logs --tail 5 {name}")).stdout.contains(text).then_some(()));
}
