//! The options of `rhumb oci`: everything that runc and crun take from engines, and its meaning as options of the runtime.
//! Those of `exec` and `update` have files of their own.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::base::{Error, Result};
use crate::cli::oci::exec::ExecArgs;
use crate::cli::oci::update::UpdateArgs;
use crate::runtime::oci::{CreateOptions, RunOptions, SPEC_VERSION};
use crate::sys::signal;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "rhumb oci", about = "Run containers from OCI bundles", disable_version_flag = true)]
#[command(subcommand_required = true, max_term_width = 80, version = env!("CARGO_PKG_VERSION"))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The commit that is built, when the build's environment says so in `RHUMB_COMMIT`.
const COMMIT: &str = match option_env!("RHUMB_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What `--version` says of `program`, in runc's form.
pub(crate) fn version(program: &str) -> String {
    format!("{program} version {}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\n", env!("CARGO_PKG_VERSION"))
}

// Options of every verb.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Keep the state of containers in this folder [default: /run/rhumb/oci]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Write errors to this file as well
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Write errors in this format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Log more
    #[arg(long)]
    pub(crate) debug: bool,
    /// Refused: there are no systemd cgroups
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
    /// How cgroups are managed: cgroupfs is all that there is
    #[arg(long, hide = true, value_name = "MANAGER", default_value = "cgroupfs")]
    pub(crate) cgroup_manager: CgroupManager,
    /// Ignored: whether rights are missing shows when they are needed
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) rootless: Option<String>,
    /// Ignored: there are no checkpoints
    #[arg(long, value_name = "PATH")]
    pub(crate) criu: Option<String>,
    #[arg(short, long, action = ArgAction::Version, help = "Print the version")]
    version: Option<bool>,
}

/// Who makes cgroups, in crun's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CgroupManager {
    // By writing to the file system.
    Cgroupfs,
    // Refused.
    Systemd,
    // Refused.
    Disabled,
}

/// How errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    // `time="…" level=error msg="…"`.
    Text,
    // One object per line.
    Json,
}

/// Every verb. Only the one that is asked for is built with its arguments, so that starting stays cheap.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Verb {
    /// Make a container that waits for its start
    Create(CreateArgs),
    /// Start a container that was created
    Start(IdArgs),
    /// Make a container and start it
    Run(RunArgs),
    /// Run a further command in a container
    Exec(ExecArgs),
    /// Print the state of a container
    State(IdArgs),
    /// Send a signal to a container
    Kill(KillArgs),
    /// Delete a container
    Delete(DeleteArgs),
    /// List containers
    List(ListArgs),
    /// List the processes of a container
    Ps(PsArgs),
    /// Freeze all processes of a container
    Pause(IdArgs),
    /// Thaw all processes of a container
    Resume(IdArgs),
    /// Change the limits of a container
    Update(UpdateArgs),
    /// Print what happens to a container, or its statistics
    Events(EventsArgs),
    /// Write a config.json to begin with
    Spec(SpecArgs),
    /// Print what this runtime supports
    Features,
}

// A container.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

// `create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Read the bundle in this folder
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Read this file of the bundle [default: config.json]
    #[arg(short = 'f', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Send the master of the container's terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Write the first process's number to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Move the root over the old one instead of changing places with it
    #[arg(long)]
    no_pivot: bool,
    /// Stay in the session keyring of the caller
    #[arg(long)]
    no_new_keyring: bool,
    /// Pass this many descriptors from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

impl CreateArgs {
    /// As options of the runtime.
    pub(crate) fn create(&self) -> CreateOptions {
        CreateOptions {
            bundle: self.bundle.clone(),
            config: self.config.clone(),
            pid_file: self.pid_file.clone(),
            console_socket: self.console_socket.clone(),
            listen_fds: listen_fds(),
            preserve_fds: self.preserve_fds,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
        }
    }
}

/// How many sockets a service manager hands over from descriptor 3 on, when it means this process (sd_listen_fds(3)).
fn listen_fds() -> u32 {
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let mine = variable("LISTEN_PID") == Some(std::process::id());
    variable("LISTEN_FDS").filter(|_| mine).unwrap_or(0)
}

// `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) create: CreateArgs,
    /// Leave when the command runs
    #[arg(short, long)]
    detach: bool,
    /// Do not delete the container when its command has ended
    #[arg(long)]
    keep: bool,
    /// Leave orphans of the container to others
    #[arg(long)]
    no_subreaper: bool,
}

impl RunArgs {
    /// As options of the runtime.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            create: self.create.create(),
            detach: self.detach,
            keep: self.keep,
            no_subreaper: self.no_subreaper,
        }
    }
}

// `kill`.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Signal all processes of the container
    #[arg(short, long)]
    pub(crate) all: bool,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
    /// The signal by name or number; 0 only looks whether there is a process
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    signal: String,
}

impl KillArgs {
    /// The signal's number.
    pub(crate) fn signal(&self) -> Result<i32> {
        if self.signal == "0" {
            return Ok(signal::NONE);
        }
        signal::parse(&self.signal).ok_or_else(|| Error::invalid(format!("unknown signal {:?}", self.signal)))
    }
}

// `delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Kill the container if it is not stopped, and do not mind when it is not there
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

// `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print a table or JSON
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Print ids alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// How a listing is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // For people.
    Table,
    // For programs.
    Json,
}

// `ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Print a table, or the numbers as JSON
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
    /// Options of ps(1) [default: -ef]
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) ps_options: Vec<String>,
}

// `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Print statistics again after this time
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(crate) interval: String,
    /// Print statistics once
    #[arg(long)]
    pub(crate) stats: bool,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

// `spec`.
#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    /// Write it into this folder
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// For a user without rights
    #[arg(long)]
    pub(crate) rootless: bool,
}
