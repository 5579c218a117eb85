//! Changing the limits of a container that runs, without its monitor: one that stands still loses nothing by it.
//!
//! ```text
//! <run_dir>/resources.json     what replaces the plan's limits at the container's next run
//! ```
//!
//! The file comes first, so that a run which begins meanwhile has the new limits already. Who decides what changes, and
//! keeps the record, is the engine.

use std::path::Path;

use oci_spec::runtime::{LinuxResources, Spec};
use serde::{Deserialize, Serialize};

use crate::base::failpoint;
use crate::base::{Error, Kind, Result};
use crate::runtime::cgroup::Cgroup;
use crate::runtime::state::{read_json, remove_file, write_json};

/// The file in the run folder.
const FILE: &str = "resources.json";

/// A change of limits, and the way back. Devices are not among them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// All limits before.
    pub before: LinuxResources,
    /// All limits after.
    pub after: LinuxResources,
    /// What is told to the kernel.
    pub wanted: LinuxResources,
    /// What the kernel is told to undo that.
    pub previous: LinuxResources,
}

/// Sets the new limits; when the kernel refuses one, all are as before.
///
/// # Errors
/// What the kernel says. A container without a cgroup, which has ended or is between two runs, is none.
pub fn apply(cgroup: &str, run_dir: &Path, change: &Change) -> Result<()> {
    write_json(&run_dir.join(FILE), &change.after, false)?;
    let set = failpoint::hit("container.update.kernel").and_then(|()| set(cgroup, &change.wanted));
    set.map_err(|error| match undo(cgroup, run_dir, change) {
        Ok(()) => error,
        Err(more) => error.context(format!("and setting the former limits again failed: {more}")),
    })
}

/// Goes back. Idempotent.
///
/// # Errors
/// As [`apply`].
pub fn undo(cgroup: &str, run_dir: &Path, change: &Change) -> Result<()> {
    match write_json(&run_dir.join(FILE), &change.before, false) {
        // Its run is over.
        Err(error) if error.kind() == Kind::NotFound => {}
        written => written?,
    }
    set(cgroup, &change.previous)
}

fn set(cgroup: &str, resources: &LinuxResources) -> Result<()> {
    match Cgroup::new(cgroup)?.update(resources) {
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        set => set,
    }
}

/// Keeps a change that is under way, so that whoever comes after a crash can undo it.
///
/// # Errors
/// What writing gives.
pub fn write_intent(path: &Path, change: &Change) -> Result<()> {
    write_json(path, change, false)
}

/// Reads one that was kept.
///
/// # Errors
/// `corrupt`.
pub fn read_intent(path: &Path) -> Result<Option<Change>> {
    read_json(path)
}

/// Forgets it.
///
/// # Errors
/// What removing gives.
pub fn remove_intent(path: &Path) -> Result<()> {
    remove_file(path)
}

/// The specification of the next run: the plan's, with the limits that the container has by now.
///
/// # Errors
/// `corrupt` when the file cannot be read.
pub(crate) fn of_next_run(spec: &Spec, run_dir: &Path) -> Result<Option<Spec>> {
    let Some(mut limits) = read_json::<LinuxResources>(&run_dir.join(FILE))? else { return Ok(None) };
    let mut spec = spec.clone();
    let mut linux = spec.linux().clone().ok_or_else(|| Error::corrupt("the plan has no part for Linux"))?;
    limits.set_devices(linux.resources().as_ref().and_then(|resources| resources.devices().clone()));
    linux.set_resources(Some(limits));
    spec.set_linux(Some(linux));
    Ok(Some(spec))
}
