//! What can be done with a container that is there: freeze it, change its limits, look at its processes.

use std::time::Duration;

use oci_spec::runtime::LinuxResources;

use crate::base::{Error, Result};
use crate::runtime::cgroup::Cgroup;
use crate::runtime::oci::Root;
use crate::runtime::oci::folder::{Folder, Record, Status};

/// Freezes all processes of a container.
///
/// # Errors
/// `not_found`; `conflict` unless it is created or runs.
pub fn pause(root: &Root, id: &str) -> Result<()> {
    let folder = Folder::of(root, id)?;
    let _lock = folder.lock()?;
    let record = folder.read()?;
    match folder.status(&record)? {
        Status::Running | Status::Created => record.cgroup()?.set_frozen(true),
        _ => Err(Error::conflict("container not running or created")),
    }
}

/// Thaws all processes of a container.
///
/// # Errors
/// `not_found`; `conflict` unless it is paused.
pub fn resume(root: &Root, id: &str) -> Result<()> {
    let folder = Folder::of(root, id)?;
    let _lock = folder.lock()?;
    let record = folder.read()?;
    match folder.status(&record)? {
        Status::Paused => record.cgroup()?.set_frozen(false),
        _ => Err(Error::conflict("container not paused")),
    }
}

/// Changes limits of a container; what `resources` does not mention stays as it is.
///
/// # Errors
/// `not_found`; `conflict` when it has stopped; what setting a limit gives.
pub fn update(root: &Root, id: &str, resources: &LinuxResources) -> Result<()> {
    let folder = Folder::of(root, id)?;
    let _lock = folder.lock()?;
    alive(&folder, &folder.read()?)?.update(resources)
}

/// The numbers of all processes of a container, as the host counts them.
///
/// # Errors
/// `not_found`; `conflict` when it has stopped.
pub fn processes(root: &Root, id: &str) -> Result<Vec<i32>> {
    let folder = Folder::of(root, id)?;
    alive(&folder, &folder.read()?)?.processes()
}

fn alive(folder: &Folder, record: &Record) -> Result<Cgroup> {
    match folder.status(record)? {
        Status::Stopped | Status::Creating => Err(Error::conflict("container not running")),
        _ => record.cgroup(),
    }
}

/// Waits up to `limit` for a container to end; whether it did.
///
/// # Errors
/// `not_found`.
pub fn wait(root: &Root, id: &str, limit: Duration) -> Result<bool> {
    let record = Folder::of(root, id)?.read()?;
    match record.wait_for_end(limit) {
        Err(error) if error.kind() == crate::base::Kind::Timeout => Ok(false),
        waited => waited.map(|()| true),
    }
}
