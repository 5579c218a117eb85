//! A container's file system for visitors: whoever copies in or out, from outside and with all its mounts in sight.
//!
//! ```text
//! it runs      the root of its mount namespace, as its processes see it: volumes, binds, file systems in memory
//! it does not  its layers, its own files and its volumes and binds, mounted once more, attached nowhere
//! ```
//!
//! What is given is a descriptor; everything is then resolved below it by the kernel (`sys::path`). Nobody but the visitor
//! sees the mounts of one that does not run, and a kill leaves none. The visitor holds the container's lock meanwhile, so
//! that nobody starts it on the same files.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::base::{Context as _, Error, Result};
use crate::runtime::plan::Rootfs;
use crate::runtime::rootfs;
use crate::runtime::state::{self, RunState};
use crate::runtime::user;
use crate::sys::mount::{self, Attributes, Kind, Propagation};
use crate::sys::process;

/// Something of the host that is in sight in a container that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Where on the host.
    pub source: PathBuf,
    /// Where in the container, absolute.
    pub target: PathBuf,
    /// Nothing may be written there.
    pub read_only: bool,
    /// What is mounted below it on the host as well.
    pub recursive: bool,
}

/// The root of a running container; none when it has ended, or has no process yet.
///
/// # Errors
/// What the kernel gives.
pub fn root_of_running(run: &RunState) -> Result<Option<OwnedFd>> {
    let Some((pid, start)) = run.init else { return Ok(None) };
    let ended = |error: &std::io::Error| matches!(error.raw_os_error(), Some(NO_SUCH_PROCESS));
    let doing = || "looking into the container";
    let pidfd = match process::pidfd(pid) {
        Err(error) if ended(&error) => return Ok(None),
        pidfd => pidfd.context(doing)?,
    };
    // Taken before it is looked at, the descriptor is that of the process with this start time or of nobody.
    if state::start_time(pid).is_ok_and(|found| found == start) {
        return match mount::root_of(pidfd.as_fd()) {
            Err(error) if ended(&error) => Ok(None),
            // A process on its way out has no namespaces any more.
            Err(_) if process::number(pidfd.as_fd()).is_ok_and(|pid| pid.is_none()) => Ok(None),
            root => root.map(Some).context(doing),
        };
    }
    Ok(None)
}

/// ESRCH of errno(3).
const NO_SUCH_PROCESS: i32 = 3;

/// The root of a container that does not run, its `points` mounted in order; where a target is missing, it is made.
///
/// # Errors
/// `not_found` for a source that is gone; what mounting gives.
pub fn root_of_stopped(rootfs: &Rootfs, read_only: bool, points: &[Point]) -> Result<OwnedFd> {
    let root = rootfs::mount_root(rootfs, None)?;
    let trees = points.iter().map(take).collect::<Result<Vec<_>>>()?;
    mount::assemble(root, |root| {
        for (point, tree) in points.iter().zip(&trees) {
            let doing = || format!("mounting {:?} at {:?}", point.source, point.target);
            let is_folder = mount::kind(tree).context(doing)? == Kind::Dir;
            let place = rootfs::target(root, &point.target, is_folder).context(doing)?;
            mount::attach(tree.as_fd(), place.as_fd()).context(doing)?;
        }
        let attributes = Attributes { set: mount::READ_ONLY, ..Attributes::default() };
        if read_only {
            mount::set_attributes(root, attributes).context(|| "making the root read-only")?;
        }
        Ok(())
    })
}

fn take(point: &Point) -> Result<OwnedFd> {
    let doing = || format!("opening {:?}", point.source);
    let tree = mount::clone_tree_at(&point.source, point.recursive).context(doing)?;
    let attributes = Attributes {
        set: if point.read_only { mount::READ_ONLY } else { 0 },
        propagation: Propagation::Private,
        recursive: point.recursive,
        ..Attributes::default()
    };
    mount::set_attributes(tree.as_fd(), attributes).context(doing)?;
    Ok(tree)
}

/// Whether nothing can be written where a file or folder is.
///
/// # Errors
/// What fstatfs(2) gives.
pub fn is_read_only(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(mount::mounted(fd)?.attributes & mount::READ_ONLY != 0)
}

/// The numbers of `user[:group]` in a root, by its own files.
///
/// # Errors
/// `not_found`, `invalid_argument` as when it is started.
pub fn numbers(root: BorrowedFd<'_>, user: &str) -> Result<(u32, u32)> {
    let user = user::resolve(root, user, &[]).map_err(|error: Error| error.context("looking up the user"))?;
    Ok((user.uid, user.gid))
}
