//! Builds: the graph that scripts and Dockerfiles are turned into, what one asks of a build, and what comes of it.
//!
//! ```text
//! Graph ── stages ── base: scratch | image | other stage
//!                 └─ steps: run | copy | config (env, label, cmd, …) | layer (a group of steps that become one layer)
//!       ── contexts: folders that copies and mounts take from
//! ```
//!
//! A graph is complete: variables are expanded, relative targets are not (they are the engine's, which knows the working
//! directory of the base). Where a step stands in its file is data beside it and no part of what it is: see
//! [`Position`]. Secret values are never in a graph, only their ids.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Timestamp};
use crate::model::health::HealthCheck;
use crate::model::image::{Layer, Pull};
use crate::model::limits::{Limits, Ulimit};
use crate::model::log::Stream;

mod beside;
mod cache;

pub use beside::{Condition, Device, Service};
pub use cache::{CachePlace, CacheTarget, CachedStep};

/// Everything that a build can be made of; only what `target` needs is done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Graph {
    /// Stages; each may use those with a lower index alone, so that there is no cycle.
    pub stages: Vec<Stage>,
    /// The index of the stage that is wanted.
    pub target: usize,
    /// Folders of this machine that steps take files from; the first one is the build context.
    pub contexts: Vec<Context>,
}

/// A folder of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// Its name; empty for the build context.
    pub name: String,
    /// Where it is; empty when there is none.
    pub path: PathBuf,
    /// Patterns of what is not in it, in the language of `.dockerignore`, in order.
    pub ignore: Vec<String>,
}

/// A base and the steps on top of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    /// `AS name`; for messages and for `no_cache_filter`.
    pub name: Option<String>,
    /// What it begins with.
    pub base: Base,
    /// Where the base is named.
    pub position: Option<Position>,
    /// `os/architecture[/variant]` that is asked for; none is this machine's.
    pub platform: Option<String>,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// What a stage begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// Nothing.
    #[default]
    Scratch,
    /// An image: what a user writes.
    Image(String),
    /// What another stage came to.
    Stage(usize),
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What it does: the key is made of this alone.
    pub action: Action,
    /// The step as one reads it, such as `RUN make`: for progress and the image's history.
    pub text: String,
    /// Where it is written.
    pub position: Option<Position>,
}

/// A place in a script or a Dockerfile; no part of any key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file, as the user named it.
    pub file: String,
    /// The first line, from 1.
    pub line: usize,
    /// The last line; the same as `line` for a step of one line.
    pub end_line: usize,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Runs a command; what it changes is a layer.
    Run(Box<Run>),
    /// Puts files there; they are a layer.
    Copy(Box<Copy>),
    /// Changes what the image says of itself. Costs nothing.
    Config(Box<Change>),
    /// Steps that make one layer together.
    Layer(Vec<Step>),
}

/// A command that runs in the file system so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// What is executed.
    pub command: Command,
    /// Variables besides the image's and the arguments so far; these win.
    pub env: BTreeMap<String, String>,
    /// The working directory; none is the image's so far. A relative one is below that.
    pub workdir: Option<String>,
    /// Who runs it; none is the image's user so far.
    pub user: Option<String>,
    /// What is mounted while it runs, in order.
    pub mounts: Vec<Mount>,
    /// What it reaches.
    pub network: Network,
    /// With all rights (`--security=insecure`).
    pub insecure: bool,
    /// How long it may take; none is without end.
    pub timeout: Option<Duration>,
    /// Further names: `host:address`, as `--add-host` has them.
    pub extra_hosts: Vec<String>,
    /// Contents of files that the command finds under `/dev/pipes` or where its text names them.
    pub files: Vec<Inline>,
    /// What it writes to its standard output is what it comes to: a layer with that file alone. What it changes is dropped.
    pub capture: bool,
    /// Devices besides the usual ones.
    pub devices: Vec<Device>,
    /// What runs beside it, by name.
    pub services: Vec<Service>,
}

/// What a [`Run`] executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// One line (or several) for the shell of the image so far: `SHELL`, or `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
    /// A script that begins with `#!`, which is executed itself (`RUN <<EOF`).
    Script(String),
}

impl Default for Command {
    fn default() -> Command {
        Command::Exec(Vec::new())
    }
}

/// What a command reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// What containers have by default.
    #[default]
    Default,
    /// Nothing.
    None,
    /// Everything that this machine does.
    Host,
}

/// Something that is there while a command runs, and no part of its layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where; a relative one is below the working directory. Empty for a secret or an ssh agent at its usual place.
    pub target: String,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A folder that is kept between builds.
    Cache(CacheMount),
    /// Files from elsewhere.
    Bind {
        /// From where.
        from: Origin,
        /// Which folder or file of it.
        source: String,
        /// The command may write; what it writes is dropped.
        writable: bool,
    },
    /// A file with a secret, or a variable.
    Secret {
        /// Which.
        id: String,
        /// The variable that holds it; with an empty target there is no file then.
        env: Option<String>,
        /// Fail when it was not given.
        required: bool,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// An ssh agent's socket; `SSH_AUTH_SOCK` names it.
    Ssh {
        /// Which; `default` is usual.
        id: String,
        /// Fail when it was not given.
        required: bool,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// The most that it holds.
        size_bytes: Option<u64>,
    },
}

/// A folder that is kept between builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheMount {
    /// Which one: the same id is the same folder in all builds. Empty is the target.
    pub id: String,
    /// How builds at one time share it.
    pub sharing: Sharing,
    /// It cannot be written.
    pub read_only: bool,
    /// What a new one begins with.
    pub from: Option<Origin>,
    /// Which folder of that.
    pub source: String,
    /// The mode of a new one.
    pub mode: u32,
    /// The owner of a new one.
    pub uid: u32,
    /// The group of a new one.
    pub gid: u32,
}

impl CacheMount {
    /// Its id; without one, where it is mounted.
    pub fn id_at<'a>(&'a self, target: &'a str) -> &'a str {
        if self.id.is_empty() { target } else { &self.id }
    }
}

impl Default for CacheMount {
    fn default() -> CacheMount {
        CacheMount {
            id: String::new(),
            sharing: Sharing::Shared,
            read_only: false,
            from: None,
            source: "/".to_owned(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        }
    }
}

/// How commands at one time share a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sharing {
    /// Together.
    #[default]
    Shared,
    /// Each has its own when another one is in use.
    Private,
    /// One waits for the other.
    Locked,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A folder of this machine, by its index in [`Graph::contexts`].
    Context(usize),
    /// What another stage came to; only stages with a lower index than the one that the step is in.
    Stage(usize),
    /// An image: what a user writes.
    Image(String),
}

/// Files that are put into the file system so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Copy {
    /// What is copied, in order.
    pub sources: Vec<Source>,
    /// Where to; relative to the working directory. With a slash behind it, or with several sources, a folder.
    pub target: String,
    /// `user[:group]`, names or numbers; none is root.
    pub chown: Option<String>,
    /// The mode that everything gets: octal (`0755`) or symbolic (`u=rwX,go=rX`).
    pub chmod: Option<String>,
    /// Patterns of what is left out, in the language of `.dockerignore`, against paths below each source's root.
    pub exclude: Vec<String>,
    /// Keep the folders above each source; `/./` in a source says from where.
    pub parents: bool,
    /// A layer that does not look at what is below: links in the target's path are replaced, not followed.
    pub link: bool,
}

/// Something to copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Files and folders that match a path or pattern (`*`, `?`, `[…]`, `**`).
    Path {
        /// Of what.
        from: Origin,
        /// Which. Of a folder its content is copied, unless `parents`.
        pattern: String,
        /// Nothing that matches is no error (a conditional copy).
        optional: bool,
        /// Local archives (tar, plain or compressed) are unpacked, as `ADD` does.
        unpack: bool,
    },
    /// A file with this content.
    Inline(Inline),
    /// What is behind an address.
    Url {
        /// `http://…` or `https://…`.
        url: String,
        /// What it must be.
        checksum: Option<Digest>,
        /// An archive is unpacked.
        unpack: bool,
    },
    /// A commit's files.
    Git {
        /// The repository, without a fragment.
        url: String,
        /// A branch, a tag or a commit; none is the default branch.
        reference: Option<String>,
        /// A folder of it.
        folder: Option<String>,
        /// The commit that the reference must mean (its beginning is enough).
        checksum: Option<String>,
        /// Keep `.git`.
        keep_git_dir: bool,
    },
}

/// A file that is written in the build itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inline {
    /// Its name.
    pub name: String,
    /// Its content.
    pub data: Vec<u8>,
    /// Its mode; none is 0644.
    pub mode: Option<u32>,
}

/// A change of what the image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Sets variables, in order.
    Env(Vec<(String, String)>),
    /// Sets a variable for the commands that follow, and not for the image. An [`Change::Env`] of that name wins.
    Arg(String, String),
    /// Sets labels.
    Label(BTreeMap<String, String>),
    /// The default command; `shell` when it is one line for the shell so far.
    Cmd {
        /// The words, or the one line.
        words: Vec<String>,
        /// A line for the shell.
        shell: bool,
    },
    /// The fixed front of the command; drops a command of the base, as Docker does.
    Entrypoint {
        /// The words, or the one line.
        words: Vec<String>,
        /// A line for the shell.
        shell: bool,
    },
    /// The working directory; a relative one is below the one so far. It is made when it is missing.
    Workdir(String),
    /// The user.
    User(String),
    /// Ports such as `80`, `80/udp`, `8000-8010/tcp`.
    Expose(Vec<String>),
    /// Targets of anonymous volumes.
    Volume(Vec<String>),
    /// The shell of string commands.
    Shell(Vec<String>),
    /// The signal of stop.
    StopSignal(String),
    /// An instruction for builds on top of the image, in the Dockerfile's language.
    OnBuild(String),
    /// Forgets what the base says for builds on top of it: it has been done.
    ClearOnBuild,
    /// How health is checked.
    HealthCheck(HealthCheck),
    /// Who made it (`MAINTAINER`).
    Author(String),
}

/// A secret's value: it never shows, whatever prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(pub Vec<u8>);

impl fmt::Debug for SecretValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// What signs for one over ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshAgent {
    /// The socket of an agent.
    Socket(PathBuf),
    /// Files of private keys, which an agent holds for as long as it is asked.
    Keys(Vec<PathBuf>),
}

/// Who one is to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Values by id.
    pub secrets: BTreeMap<String, SecretValue>,
    /// Agents by id.
    pub ssh: BTreeMap<String, SshAgent>,
}

/// What is asked of a build besides its graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuildOptions {
    /// References that the image gets.
    pub tags: Vec<String>,
    /// Do every step anew.
    pub no_cache: bool,
    /// Do the steps of these stages anew.
    pub no_cache_filter: Vec<String>,
    /// What steps may have, and what is shown where something is fetched.
    pub credentials: Credentials,
    /// No file of a layer, and no date of the image, is later (SOURCE_DATE_EPOCH). None is the date of the base image, for
    /// all but copied files, which keep their times then.
    pub epoch: Option<Timestamp>,
    /// The network of steps that say nothing.
    pub network: Network,
    /// How many steps at most run at one time; none is the number of processors.
    pub jobs: Option<usize>,
    /// How long the whole may take.
    pub timeout: Option<Duration>,
    /// Names of hosts for all steps, `host:address`.
    pub extra_hosts: Vec<String>,
    /// Labels on top of all others.
    pub labels: BTreeMap<String, String>,
    /// Limits of the processes of commands.
    pub ulimits: Vec<Ulimit>,
    /// Limits of each command as a whole: how it runs, and no part of what it is.
    pub limits: Limits,
    /// The cgroup that commands' own ones are below; none is the engine's. How they run, and no part of what they are.
    pub cgroup_parent: Option<String>,
    /// What the image's manifest says of it.
    pub annotations: BTreeMap<String, String>,
    /// The size of commands' `/dev/shm`; none is the usual one.
    pub shm_size_bytes: Option<u64>,
    /// Where a cache was exported to: steps that are not in this machine's cache are taken from there.
    pub cache_from: Vec<CachePlace>,
    /// Where the cache is exported to when the build is done.
    pub cache_to: Vec<CacheTarget>,
    /// When images are fetched from their registries; none is what the engine does otherwise.
    pub pull: Option<Pull>,
}

/// What is said of an image that is built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attest {
    /// How it was built.
    pub provenance: bool,
    /// Which packages are in it.
    pub sbom: bool,
}

/// How a step came to its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The index of the stage.
    pub stage: usize,
    /// The index of the step in it.
    pub step: usize,
    /// The step as one reads it.
    pub text: String,
    /// Where it is written.
    pub position: Option<Position>,
    /// It was not done again. Changes of the config count as cached when everything before them is.
    pub cached: bool,
    /// Its key; a change of the config has none.
    pub key: Option<Digest>,
    /// Its layer; none when it changed nothing.
    pub layer: Option<Layer>,
    /// Why it was not cached: the first input that changed.
    pub why: String,
    /// When it began, counted from the beginning of the build.
    pub begun: Duration,
    /// How long it took.
    pub elapsed: Duration,
}

/// What became of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildReport {
    /// Its identity, for `logs`.
    pub id: String,
    /// The steps that the target needed, in the order of the graph.
    pub steps: Vec<StepReport>,
    /// What it found or left in the cache: the keys of the steps, those in groups as well.
    pub keys: Vec<Digest>,
    /// The ids of the caches that its commands have, cached or not.
    pub caches: Vec<String>,
    /// How long all of it took.
    pub elapsed: Duration,
    /// What could not be had, and was done without.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl BuildReport {
    /// How many of the steps were cached.
    pub fn cached(&self) -> usize {
        self.steps.iter().filter(|step| step.cached).count()
    }
}

/// Where two builds of one graph came to different files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The step as one reads it.
    pub text: String,
    /// Where it is written.
    pub position: Option<Position>,
    /// The first file that differs.
    pub path: String,
    /// How.
    pub what: String,
}

/// What happens while a build goes on.
#[derive(Debug)]
pub enum BuildEvent<'a> {
    /// A step that is not cached begins.
    Started {
        /// The index of the stage.
        stage: usize,
        /// The index of the step in it.
        step: usize,
        /// The step as one reads it.
        text: &'a str,
    },
    /// A step wrote something.
    Output {
        /// The index of the stage.
        stage: usize,
        /// The index of the step in it.
        step: usize,
        /// Where to.
        stream: Stream,
        /// What.
        bytes: &'a [u8],
    },
    /// A step is done.
    Finished(&'a StepReport),
    /// A step failed.
    Failed {
        /// The index of the stage.
        stage: usize,
        /// The index of the step in it.
        step: usize,
    },
}
