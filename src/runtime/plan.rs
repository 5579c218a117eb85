//! What the runtime is asked to do, as data. The engine makes it, the monitor and the init carry it out.

use std::path::PathBuf;
use std::time::Duration;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::model::health::Probe;
use crate::model::log::LogOptions;
use crate::model::restart::RestartPolicy;
use crate::runtime::launch::Who;
use crate::runtime::log::LogFacts;
use crate::runtime::tell::EventSource;

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
    /// What the log says about the container.
    pub log_facts: LogFacts,
    /// Keep standard input open for attached clients; otherwise it is `/dev/null`.
    pub stdin_open: bool,
    /// Close it when an attached client's input ends.
    #[serde(default)]
    pub stdin_once: bool,
    /// Run a small init as process 1.
    pub init: bool,
    /// How its health is checked.
    #[serde(default)]
    pub probe: Option<Probe>,
    /// Whether it runs again when it has ended.
    pub restart: RestartPolicy,
    /// How long is waited before.
    #[serde(default)]
    pub pauses: Pauses,
    /// The stop signal, when it was given one: then only this signal and SIGKILL, sent by the user, end the restart policy.
    pub stop_signal: Option<i32>,
    /// How it is stopped when its health check asks for that.
    pub stop: Stop,
    /// Whose namespaces the specification names.
    pub joined: Vec<Joined>,
    /// Where it tells what happens; none tells nothing.
    #[serde(default)]
    pub events: Option<EventSource>,
    /// Write the exit record without fsync: the container goes away anyway (`--rm`).
    pub ephemeral: bool,
    /// Hand the network namespace to the creator, and keep it from one run to the next.
    #[serde(default)]
    pub hold_network: bool,
    /// What the monitor becomes when the container has ended and no client took the clean-up over: arguments for
    /// this program, such as the hidden verb that removes the container. Empty: nothing.
    pub on_exit: Vec<String>,
}

/// How a container is asked to end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stop {
    /// The signal that its first process gets.
    pub signal: i32,
    /// How long it may take before all of it is killed.
    pub grace: Duration,
}

/// The pauses between the runs of a restart policy. The defaults are Docker's numbers (moby, `restartmanager`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pauses {
    /// The first one; each further one is twice as long.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// A run of this length makes the next pause the first one again.
    pub settled: Duration,
}

impl Default for Pauses {
    fn default() -> Pauses {
        Pauses { first: Duration::from_millis(100), longest: Duration::from_secs(60), settled: Duration::from_secs(10) }
    }
}

/// Another container, some of whose namespaces are joined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Joined {
    /// Its first process: the specification says `/proc/<pid>/…`. Looked up anew for each run.
    pub pid: i32,
    /// Its folder of durable state.
    pub state_dir: PathBuf,
    /// Its folder of run state.
    pub run_dir: PathBuf,
}

impl Plan {
    /// Its memory is limited, so that the out-of-memory killer may strike early.
    pub(crate) fn has_memory_limit(&self) -> bool {
        let resources = self.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let limit = resources.and_then(|resources| resources.memory().as_ref()).and_then(|memory| memory.limit());
        limit.is_some_and(|bytes| bytes > 0)
    }

    /// Who its command runs as.
    pub(crate) fn who(&self) -> Who {
        Who::Named { user: self.user.clone(), group_add: self.group_add.clone() }
    }
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
    /// The root folder of an OCI bundle, attached at its own path in the container's mount namespace so that hooks find it
    /// there. Its files belong to whom they belong to, whatever the container's user namespace is.
    Bundle {
        /// The folder of config.json: relative sources of mounts are below it.
        bundle: PathBuf,
        /// The root file system, absolute and without links.
        path: PathBuf,
        /// Move the root over the old one instead of changing places with it: for a root in memory, which pivot_root(2)
        /// cannot leave. Whoever escapes from it finds the host's mounts.
        no_pivot: bool,
    },
}

impl Rootfs {
    /// Its files are shown with the ids of a new user namespace, and so can be mounted only when that has its ids.
    pub(crate) fn is_mapped(&self) -> bool {
        !matches!(self, Rootfs::Bundle { .. })
    }
}
