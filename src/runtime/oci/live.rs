//! What can be done with a container that is there: freeze it, change its limits, look at its processes.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use oci_spec::runtime::LinuxResources;

use crate::base::{Context as _, Error, Result};
use crate::model::stats::Stats;
use crate::runtime::cgroup::{Cgroup, OomWatch};
use crate::runtime::oci::Root;
use crate::runtime::oci::folder::{Folder, Record, Status};
use crate::sys::socket::{self, Interest};

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

/// The numbers of all processes of a container, as the host counts them; none of one that has stopped.
///
/// # Errors
/// `not_found`.
pub fn processes(root: &Root, id: &str) -> Result<Vec<i32>> {
    let folder = Folder::of(root, id)?;
    let record = folder.read()?;
    match folder.status(&record)? {
        Status::Stopped | Status::Creating => Ok(Vec::new()),
        _ => record.cgroup()?.processes(),
    }
}

/// What a container has used.
///
/// # Errors
/// `not_found`; `conflict` when it has stopped.
pub fn stats(root: &Root, id: &str) -> Result<Stats> {
    let folder = Folder::of(root, id)?;
    alive(&folder, &folder.read()?)?.stats()
}

/// What happened to a container that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The out-of-memory killer struck, or memory ran out.
    OutOfMemory,
    /// It has ended.
    Ended,
    /// Nothing for the time of the wait.
    Nothing,
}

/// A watch on a container.
#[derive(Debug)]
pub struct Watch {
    oom: OomWatch,
    first: OwnedFd,
}

impl Watch {
    /// Watches the container `id` from now on.
    ///
    /// # Errors
    /// `not_found`; `conflict` when it has stopped; `unsupported` without a memory controller.
    pub fn begin(root: &Root, id: &str) -> Result<Watch> {
        let folder = Folder::of(root, id)?;
        let record = folder.read()?;
        let oom = alive(&folder, &record)?.watch_oom()?;
        let first = record.process()?.ok_or_else(|| Error::conflict("container not running"))?;
        Ok(Watch { oom, first })
    }

    /// Waits up to `limit` for something to happen.
    ///
    /// # Errors
    /// What waiting gives.
    pub fn next(&mut self, limit: Duration) -> Result<Event> {
        let mut interests = [Interest::new(self.oom.fd(), true, false), Interest::new(self.first.as_fd(), true, false)];
        socket::wait(&mut interests, Some(limit)).context(|| "watching the container")?;
        let (news, ended) = (interests[0].readable(), interests[1].readable());
        let news = if news { Some(self.oom.take()?) } else { None };
        Ok(match news {
            Some(news) if news.strikes > 0 => Event::OutOfMemory,
            Some(news) if news.over => Event::Ended,
            _ if ended => Event::Ended,
            _ => Event::Nothing,
        })
    }
}

fn alive(folder: &Folder, record: &Record) -> Result<Cgroup> {
    match folder.status(record)? {
        Status::Stopped | Status::Creating => Err(Error::conflict("container not running")),
        _ => record.cgroup(),
    }
}
