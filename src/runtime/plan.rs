//! What the runtime is asked to do, as data. The engine makes it, the monitor and the init carry it out.

use std::path::PathBuf;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::model::log::LogOptions;

/// Everything that a monitor needs to hold one container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The container's id (64 digits).
    pub id: String,
    /// The OCI runtime specification; its `root.path` is not used.
    pub spec: Spec,
    /// The root file system.
    pub rootfs: Rootfs,
    /// `user[:group]`, names or numbers, looked up in the container's own `/etc/passwd` and `/etc/group` by the init once
    /// it stands in the new root; it overrides `spec.process.user`. Empty for root. `HOME` is set from it when unset.
    pub user: String,
    /// Further groups, names or numbers, looked up likewise.
    pub group_add: Vec<String>,
    /// Durable state: the exit record and the log go here.
    pub state_dir: PathBuf,
    /// Run state: lock, socket and state file go here. Made by the engine, 0700.
    pub run_dir: PathBuf,
    /// The cgroup, relative to each hierarchy's root: `rhumb-1a2b3c4d/<id>`.
    pub cgroup: String,
    /// Where output goes.
    pub log: LogOptions,
    /// Keep standard input open for attached clients; otherwise it is `/dev/null`.
    pub stdin_open: bool,
    /// Run a small init as process 1.
    pub init: bool,
    /// Write the exit record without fsync: the container goes away anyway (`--rm`).
    pub ephemeral: bool,
    /// What the monitor becomes when the container has ended and no client took the clean-up over: arguments for
    /// this program, such as the hidden verb that removes the container. Empty: nothing.
    pub on_exit: Vec<String>,
}

/// The root file system of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// An overlay, mounted inside the container's own mount namespace so that the host never sees it.
    Overlay {
        /// Read-only layers, highest first.
        lower: Vec<PathBuf>,
        /// Where writes go.
        upper: PathBuf,
        /// Overlay's work folder, on the file system of `upper`.
        work: PathBuf,
        /// Leave out overlay's syncs: the upper folder does not outlive the container.
        volatile: bool,
    },
    /// A folder as it is.
    Dir(PathBuf),
}
