//! Containers as the OCI runtime specification describes them: made from a bundle, known by their ids below a root folder.
//!
//! ```text
//! bundle    config.json and the root folder              validate   what a config.json may say, a pure function
//! plan      all that is decided of a config.json          duplicates a check for what is said twice
//! create    create, start, run                           folder     the state folder of a container, its record and lock
//! end       kill, delete                                 console    a container's terminal, given away or shown here
//! exec      a further process                            live       pause, resume, update, events, ps
//! ```
//!
//! There is no monitor: every verb is one process with one thread that works on the state folder and leaves. What a
//! container does is never remembered but asked of the kernel, so that no kill can make a record lie.
//!
//! It prints nothing and knows no flags; that is the front end's.

mod bundle;
mod console;
mod create;
mod duplicates;
mod end;
mod exec;
mod features;
mod folder;
mod live;
mod plan;
mod validate;

use std::path::PathBuf;

use crate::base::{Context as _, Error, Result};
use crate::runtime::cgroup;
use crate::sys::{process, self_exe};

pub use create::{CreateOptions, RunOptions, create, run, start};
pub use end::{delete, kill};
pub use exec::{Changes, ExecOptions, exec};
pub use features::features;
pub use folder::{Container, container, list};
pub use live::{Event, Watch, pause, processes, resume, stats, update};
pub use plan::{Planned, plan};

/// Where the containers of the root user are.
pub const DEFAULT_ROOT: &str = "/run/rhumb/oci";
/// The version of the specification that this follows.
pub const SPEC_VERSION: &str = "1.2.0";

/// Whether the machine has cgroup version 2 and nothing beside it; a machine without any is none such.
pub fn has_cgroup_2_alone() -> bool {
    cgroup::is_version_2_alone().unwrap_or(false)
}

/// The root folder of a set of containers.
#[derive(Debug, Clone)]
pub struct Root(pub PathBuf);

/// Goes on as the same program from a handle that nobody can write through, unless that is so already. The first act of
/// whatever lets a process of a container see this one (CVE-2019-5736).
///
/// # Errors
/// What opening or executing the program gives; otherwise it returns only in the safe program.
pub fn harden() -> Result<()> {
    if self_exe::is_read_only().context(|| "looking at our own program")? {
        return Ok(());
    }
    let handle = self_exe::open().context(|| "opening our own program")?;
    Err(Error::from(process::exec_again(&self_exe::path(&handle))).context("executing our own program anew"))
}
