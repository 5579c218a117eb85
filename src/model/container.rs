//! Containers: the options that make one, its durable record, and the live facts about it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Id, Timestamp};
use crate::model::health::{Health, HealthCheck, HealthStatus, OnUnhealthy, Probe};
use crate::model::image::Pull;
use crate::model::limits::{Limits, Ulimit};
use crate::model::log::{LogLoss, LogOptions};
use crate::model::mount::{Mount, VolumesFrom};
use crate::model::network::{Attachment, Endpoint, Publish};
use crate::model::restart::RestartPolicy;

/// How long `stop` waits before it kills, unless told otherwise; Docker's number.
pub const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);
/// The size of `/dev/shm` unless told otherwise; Docker's number.
pub const DEFAULT_SHM_SIZE_BYTES: u64 = 64 * 1024 * 1024;
/// What stands for the host's address among the lines for `/etc/hosts`; Docker's word.
pub const HOST_GATEWAY: &str = "host-gateway";

/// What an unprivileged container does not see; Docker's list (moby, `oci/defaults.go`). It also hides the counters of
/// thermal throttling that a machine has for each processor (GHSA-6fw5-f8r9-fgfm): see [`ContainerRecord::masked_paths`].
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// What an unprivileged container cannot write; Docker's list.
pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a new container shall be. `Default` is Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerOptions {
    /// The name; none picks a free one.
    pub name: Option<String>,
    /// Arguments after the image: they replace the image's command.
    pub command: Option<Vec<String>>,
    /// Replaces the image's entrypoint and drops its command; an empty list means no entrypoint at all.
    pub entrypoint: Option<Vec<String>>,
    /// Environment in order; later entries win over earlier ones and over the image's.
    pub env: Vec<(String, String)>,
    /// Labels over the image's.
    pub labels: BTreeMap<String, String>,
    /// The working directory, absolute, made when it is missing.
    pub working_dir: Option<String>,
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// Further groups, names or numbers.
    pub group_add: Vec<String>,
    /// The host name; none is the short id.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// Lines for `/etc/hosts`: name and address, or [`HOST_GATEWAY`] for the
    /// host as its first network shows it.
    pub extra_hosts: Vec<(String, String)>,
    /// Name servers for `/etc/resolv.conf`; none copies the host's.
    pub dns: Vec<String>,
    /// Search domains for `/etc/resolv.conf`.
    pub dns_search: Vec<String>,
    /// Resolver options for `/etc/resolv.conf`.
    pub dns_options: Vec<String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub stdin_open: bool,
    /// Which streams whoever made it was attached to, or will be. Input that was is closed when its first user ends.
    pub attached: Attached,
    /// Run a small init as process 1 that forwards signals and reaps orphans.
    pub init: bool,
    /// Mount the root file system read-only.
    pub read_only: bool,
    /// All capabilities that the engine holds, all devices, nothing masked.
    pub privileged: bool,
    /// Bind, volume and tmpfs mounts.
    pub mounts: Vec<Mount>,
    /// Take over the mounts of other containers.
    pub volumes_from: Vec<VolumesFrom>,
    /// The network namespace.
    pub network_mode: NetworkMode,
    /// The networks that it is on; none is the default one. By id in records.
    pub networks: Vec<Attachment>,
    /// Ports that are reached from outside.
    pub publish: Vec<Publish>,
    /// Publish every exposed port that is not named, too.
    pub publish_all: bool,
    /// Ports to expose beside the image's, `80/tcp`: facts that are shown, without an effect of their own.
    pub expose: Vec<String>,
    /// The pid namespace.
    pub pid_mode: NamespaceMode,
    /// The ipc namespace.
    pub ipc_mode: IpcMode,
    /// The uts namespace (`Private` or `Host`).
    pub uts_mode: NamespaceMode,
    /// The cgroup namespace (`Private` or `Host`).
    pub cgroupns_mode: NamespaceMode,
    /// A user namespace of its own; see [`UsernsMode`].
    pub userns_mode: UsernsMode,
    /// Memory, cpu and process limits.
    pub limits: Limits,
    /// Resource limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// The size of `/dev/shm`, in bytes; none is [`DEFAULT_SHM_SIZE_BYTES`].
    pub shm_size_bytes: Option<u64>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Capabilities over the default set, as `NET_ADMIN` or `CAP_NET_ADMIN` or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities taken from the default set.
    pub cap_drop: Vec<String>,
    /// `no-new-privileges` and other security options, as Docker writes them, `name` or `name=value`. The value of
    /// `seccomp` is `unconfined`, `builtin`, or a whole profile as JSON.
    pub security_opt: Vec<String>,
    /// Devices of the host, or folders of them: `host[:container[:rwm]]`.
    pub devices: Vec<String>,
    /// Further device rules, as Docker writes them: `c 1:3 mr`, `b 8:* rwm`.
    pub device_cgroup_rules: Vec<String>,
    /// Annotations of the OCI specification.
    pub annotations: BTreeMap<String, String>,
    /// The cgroup that the container's own is made in, a path below every hierarchy; none is the engine's.
    pub cgroup_parent: Option<String>,
    /// Adjusts the out-of-memory killer's choice, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// The signal of `stop`; none is the image's or `SIGTERM`.
    pub stop_signal: Option<String>,
    /// How long `stop` waits before it kills; none is [`DEFAULT_STOP_GRACE`].
    pub stop_grace_period: Option<Duration>,
    /// Remove the container and its anonymous volumes when it ends (`--rm`).
    pub auto_remove: bool,
    /// When the image is fetched; none is what the engine does otherwise. It is asked once and not kept.
    #[serde(skip)]
    pub pull: Option<Pull>,
    /// Run it again when it has ended; not together with `auto_remove`.
    pub restart: RestartPolicy,
    /// Where its output goes.
    pub log: LogOptions,
    /// How its health is checked, over what the image says.
    pub healthcheck: Option<HealthCheck>,
    /// What is done when it becomes unhealthy.
    pub on_unhealthy: OnUnhealthy,
}

/// Standard streams that somebody is attached to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Errors.
    pub stderr: bool,
}

impl ContainerOptions {
    /// The containers whose network, ipc and pid namespaces it joins.
    pub fn joined(&self) -> [Option<&str>; 3] {
        let network = match &self.network_mode {
            NetworkMode::Container(other) => Some(other.as_str()),
            _ => None,
        };
        let ipc = match &self.ipc_mode {
            IpcMode::Container(other) => Some(other.as_str()),
            _ => None,
        };
        let pid = match &self.pid_mode {
            NamespaceMode::Container(other) => Some(other.as_str()),
            _ => None,
        };
        [network, ipc, pid]
    }

    /// Nothing is masked or read-only: the container is privileged, or was asked to be so in this.
    pub fn sees_system_paths(&self) -> bool {
        self.privileged || self.security_opt.iter().any(|option| option == "systempaths=unconfined")
    }
}

/// The network namespace of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Interfaces on networks.
    #[default]
    Bridge,
    /// A namespace with the loopback interface alone.
    None,
    /// The host's.
    Host,
    /// Another container's, by name or id (by id in records).
    Container(String),
}

/// One of the namespaces that can be private, the host's or another container's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    /// A new namespace.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Another container's, by name or id (by id in records).
    Container(String),
}

/// The ipc namespace of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpcMode {
    /// A new namespace that no other container can join.
    #[default]
    Private,
    /// A new namespace without `/dev/shm`.
    None,
    /// A new namespace that other containers can join, with its `/dev/shm`.
    Shareable,
    /// The host's.
    Host,
    /// Another container's, by name or id (by id in records), and its `/dev/shm`.
    Container(String),
}

/// The user namespace of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsernsMode {
    /// The engine's own.
    #[default]
    Host,
    /// A new one with ids of the host that no other container has; see [`ContainerRecord::id_range`].
    Auto {
        /// How many ids; none fits the image's users, and is [`DEFAULT_ID_COUNT`] at least.
        size: Option<u32>,
    },
    /// A new one in which ids 0 to `size - 1` are the host's `base` to `base + size - 1`.
    Mapped {
        /// The host id of the container's root.
        base: u32,
        /// How many ids are mapped.
        size: u32,
    },
}

/// How many ids an automatic user namespace has unless told otherwise: all that programs expect, `nobody` included.
pub const DEFAULT_ID_COUNT: u32 = 65_536;

/// Ids of the host that a container's user namespace has for its own life, so that every start sees the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The host's number of the container's user 0.
    pub uid_base: u32,
    /// The host's number of the container's group 0.
    pub gid_base: u32,
    /// How many there are of each.
    pub size: u32,
}

impl IdRange {
    /// The container's numbers of a user and a group of the host; what it has no number for is `nobody`.
    pub fn inside(self, uid: u32, gid: u32) -> (u32, u32) {
        let number = |id: u32, base: u32| id.checked_sub(base).filter(|id| *id < self.size).unwrap_or(NOBODY);
        (number(uid, self.uid_base), number(gid, self.gid_base))
    }

    /// The host's numbers of a user and a group of the container; of those that it has not, its root's.
    pub fn outside(self, uid: u32, gid: u32) -> (u32, u32) {
        let number = |id: u32, base: u32| base + if id < self.size { id } else { 0 };
        (number(uid, self.uid_base), number(gid, self.gid_base))
    }
}

/// The number that the kernel shows for what has none in a user namespace (user_namespaces(7)).
const NOBODY: u32 = 65_534;

/// The durable record of a container: what was asked for and what was decided at creation. It does not change while the
/// container runs; the live part is [`State`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its identity.
    pub id: Id,
    /// When it was made.
    pub created: Timestamp,
    /// The image as the user wrote it, in familiar form.
    pub image: String,
    /// The image's id (the digest of its config).
    pub image_id: Digest,
    /// Chain ids of the layers, lowest first.
    pub layers: Vec<Digest>,
    /// The options, with names of other containers and volumes resolved to ids.
    pub options: ContainerOptions,
    /// Entrypoint and command joined by Docker's rules; never empty.
    pub args: Vec<String>,
    /// The effective entrypoint (for inspect).
    pub entrypoint: Vec<String>,
    /// The effective command (for inspect).
    pub command: Vec<String>,
    /// The effective environment, `NAME=value`, in order.
    pub env: Vec<String>,
    /// The effective labels.
    pub labels: BTreeMap<String, String>,
    /// The effective working directory.
    pub working_dir: String,
    /// The effective `user[:group]`, empty for root.
    pub user: String,
    /// The effective host name.
    pub hostname: String,
    /// The effective stop signal's name, `SIGTERM`.
    pub stop_signal: String,
    /// Ports that image or options expose, `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Every mount besides the standard ones.
    pub mounts: Vec<MountPoint>,
    /// What it does not see; empty when it sees everything.
    #[serde(default = "default_masked_paths")]
    pub masked_paths: Vec<String>,
    /// What is mapped in its user namespace, when it has one.
    #[serde(default)]
    pub id_range: Option<IdRange>,
    /// The effective health check, when there is one.
    #[serde(default)]
    pub healthcheck: Option<HealthCheck>,
    /// The image's shell; none is `/bin/sh -c`.
    #[serde(default)]
    pub shell: Vec<String>,
}

/// For records that were written before the list was kept.
fn default_masked_paths() -> Vec<String> {
    MASKED_PATHS.map(str::to_owned).to_vec()
}

impl ContainerRecord {
    /// What checks its health; none when nothing does.
    pub fn probe(&self) -> Option<Probe> {
        self.healthcheck.as_ref()?.probe(&self.shell, self.options.on_unhealthy)
    }

    /// The volumes that it mounts.
    pub fn volumes(&self) -> impl Iterator<Item = &Id> {
        self.mounts.iter().filter_map(|point| match &point.kind {
            MountPointKind::Volume { id, .. } => Some(id),
            _ => None,
        })
    }
}

/// A mount of a container as decided at creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What it is.
    pub kind: MountPointKind,
    /// Where in the container, absolute.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
    /// Taken over from another container with `volumes_from`.
    #[serde(default)]
    pub inherited: bool,
    /// Further options, as `mount -o` takes them, already checked: propagation for binds, size and mode for tmpfs.
    pub options: Vec<String>,
}

/// The three kinds of mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum MountPointKind {
    /// A folder or file of the host.
    Bind {
        /// Absolute path on the host.
        source: String,
    },
    /// A volume.
    Volume {
        /// Its identity.
        id: Id,
        /// Its name when the container was made.
        name: String,
        /// Made for this container without a name: removed with `rm -v` and by `--rm`.
        anonymous: bool,
    },
    /// Memory.
    Tmpfs,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Made, never started.
    Created,
    /// Its first process lives.
    Running,
    /// Frozen.
    Paused,
    /// It ended, and its restart policy starts it again in a moment.
    Restarting,
    /// Its first process ended and the exit status is known.
    Exited,
    /// It ended and nobody knows how: its monitor was killed or the machine was restarted.
    Dead,
    /// A remove is under way or was interrupted.
    Removing,
}

impl Status {
    /// Every one, in the order in which a container goes through them.
    pub const ALL: [Status; 7] = [
        Status::Created,
        Status::Running,
        Status::Paused,
        Status::Restarting,
        Status::Exited,
        Status::Dead,
        Status::Removing,
    ];

    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
            Status::Dead => "dead",
            Status::Removing => "removing",
        }
    }

    /// Running, paused or about to run again: what Docker counts as running.
    pub fn is_alive(self) -> bool {
        matches!(self, Status::Running | Status::Paused | Status::Restarting)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The live state of a container, read anew each time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What it is doing.
    pub status: Status,
    /// The host's process id of its first process, while alive.
    pub pid: Option<i32>,
    /// Known after it ended.
    pub exit_code: Option<i32>,
    /// The kernel's out-of-memory killer ended one of its processes.
    pub oom_killed: bool,
    /// Why it could not start, or why its end is unknown.
    pub error: Option<String>,
    /// When it was last started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Its further processes that run; known to [`crate::engine::Engine::container_inspect`] alone.
    #[serde(default)]
    pub execs: Vec<Id>,
    /// Output of its last run that did not get into the log; of a run under way only what `inspect` asked for.
    pub log_lost: LogLoss,
    /// Its health, when it has a check and was started; the last that was known when it does not run.
    pub health: Option<Health>,
    /// How often its restart policy has started it again since the user did.
    #[serde(default)]
    pub restart_count: u32,
    /// The user stopped or killed it.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// Its networks, and what it has there while it runs.
    #[serde(default)]
    pub networks: Vec<Connection>,
}

/// A network of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// The network's name.
    pub name: String,
    /// The network's identity.
    pub id: Id,
    /// What was asked for.
    pub attachment: Attachment,
    /// What it has there now.
    pub endpoint: Option<Endpoint>,
}

/// A container in a listing or an inspect: record, name and live state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// What was decided at creation.
    pub record: ContainerRecord,
    /// What it is doing now.
    pub state: State,
}

/// Which containers a listing shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerFilter {
    /// Also those that do not run.
    pub all: bool,
    /// Only those in one of these states.
    pub status: Vec<Status>,
    /// Only those whose name one of these regular expressions is found in, with a slash before it or without.
    pub name: Vec<String>,
    /// Only those whose id starts with one of these.
    pub id: Vec<String>,
    /// Only those with all of these labels: `key` or `key=value`.
    pub label: Vec<String>,
    /// Only those of this image (reference or id), or made from one that shares all its layers.
    pub ancestor: Vec<String>,
    /// Only those that mount one of these volumes (name, id) or targets.
    pub volume: Vec<String>,
    /// Only those that ended with one of these codes.
    pub exited: Vec<i32>,
    /// Only those of one of these healths; none is a container without a check.
    pub health: Vec<Option<HealthStatus>>,
    /// Only those that were made before this one (name, id).
    pub before: Option<String>,
    /// Only those that were made after this one (name, id).
    pub since: Option<String>,
    /// Only those in one of these networks (name, id).
    pub network: Vec<String>,
    /// Only those with one of these ports published, `80/tcp`.
    pub publish: Vec<String>,
    /// Only those with one of these ports exposed, `80/tcp`.
    pub expose: Vec<String>,
    /// Only those that are tasks of a swarm, of which there are none, or that are not.
    pub is_task: Option<bool>,
    /// The newest N, running or not.
    pub last: Option<usize>,
}

/// What is waited for; the words are those of Docker's API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run; at once if so.
    #[default]
    NotRunning,
    /// It ends the next time, however long it is until it runs; or it is removed.
    NextExit,
    /// It is removed.
    Removed,
}

impl WaitCondition {
    /// Every one.
    pub const ALL: [WaitCondition; 3] = [WaitCondition::NotRunning, WaitCondition::NextExit, WaitCondition::Removed];

    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            WaitCondition::NotRunning => "not-running",
            WaitCondition::NextExit => "next-exit",
            WaitCondition::Removed => "removed",
        }
    }
}

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerRemove {
    /// Kill it first when it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
}
