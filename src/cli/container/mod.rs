//! The verbs of containers: which there are, flat and in the group. What each takes and does is in the files beside this.
//!
//! ```text
//! life      kill pause rename restart rm stop unpause wait      listing   ls
//! content   commit diff export                                  logs      logs
//! top       top                                                 copy      cp
//! update    update                                            port      port
//! execs     execs exec-kill                                   stats     stats, whose live view gauges draws
//! ```

mod content;
mod copy;
mod execs;
mod gauges;
mod life;
mod listing;
mod logs;
mod port;
mod stats;
mod top;
mod update;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use clap::{Args, Subcommand};

use crate::base::Result;
use crate::cli::Session;
use crate::cli::exec::ExecArgs;
use crate::cli::inspect::InspectContainerArgs;
use crate::cli::run::{AttachArgs, CreateArgs, RunArgs, StartArgs};
use crate::cli::system::PruneArgs;

pub(super) use content::refuse_terminal;
pub(super) use listing::PsArgs;

/// So many containers are stopped, killed or removed at once.
const AT_ONCE: usize = 16;

/// The verbs that are both flat and in the group.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ContainerVerb {
    /// Attach to a running container
    Attach(AttachArgs),
    /// Make an image of a container and what it changed
    Commit(content::CommitArgs),
    /// Copy files out of a container or into it
    Cp(copy::CopyArgs),
    /// Make a container without starting it
    #[command(disable_help_flag = true, override_usage = "rhumb create [OPTIONS] IMAGE [COMMAND] [ARG]...")]
    Create(Box<CreateArgs>),
    /// Show what a container changed of its image
    Diff(content::DiffArgs),
    /// Run a command in a running container
    #[command(override_usage = "rhumb exec [OPTIONS] CONTAINER COMMAND [ARG]...")]
    Exec(ExecArgs),
    /// Write a container's file system as a tar
    Export(content::ExportArgs),
    /// Send a signal to containers
    Kill(life::KillArgs),
    /// Show a container's output
    Logs(logs::LogsArgs),
    /// Freeze all processes of containers
    Pause(Names),
    /// Show which ports of the host lead to a container
    Port(port::PortArgs),
    /// Rename a container
    Rename(life::RenameArgs),
    /// Stop and start containers
    Restart(life::StopArgs),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(life::RmArgs),
    /// Make a container from an image and run it
    #[command(disable_help_flag = true, override_usage = "rhumb run [OPTIONS] IMAGE [COMMAND] [ARG]...")]
    Run(Box<RunArgs>),
    /// Start containers
    Start(StartArgs),
    /// Show what containers use
    Stats(stats::StatsArgs),
    /// Stop containers
    Stop(life::StopArgs),
    /// Show the processes of a running container
    #[command(override_usage = "rhumb top CONTAINER [PS OPTIONS]")]
    Top(top::TopArgs),
    /// Thaw all processes of containers
    Unpause(Names),
    /// Give containers other limits and another restart policy
    Update(update::UpdateArgs),
    /// Wait until containers end and print their exit codes
    Wait(life::WaitArgs),
}

/// `rhumb container`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
#[expect(clippy::large_enum_variant, reason = "one value of it lives, for the length of a command")]
pub(crate) enum ContainerCommand {
    #[command(flatten)]
    Verb(ContainerVerb),
    /// Show all facts of containers as JSON
    Inspect(InspectContainerArgs),
    /// List containers
    #[command(visible_aliases = ["ps", "list"])]
    Ls(PsArgs),
    /// Send a signal to processes that exec started
    ExecKill(execs::ExecKillArgs),
    /// List the processes that exec started
    Execs(execs::ExecsArgs),
    /// Remove all containers that do not run
    Prune(PruneArgs),
}

// One or more containers.
#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl ContainerVerb {
    /// Whether a failure of the engine has an exit code of its own.
    pub(crate) fn has_command(&self) -> bool {
        matches!(self, ContainerVerb::Run(_) | ContainerVerb::Exec(_))
    }

    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        match self {
            ContainerVerb::Attach(args) => args.run(session),
            ContainerVerb::Commit(args) => args.run(session),
            ContainerVerb::Cp(args) => args.run(session),
            ContainerVerb::Create(args) => args.run(session),
            ContainerVerb::Diff(args) => args.run(session),
            ContainerVerb::Exec(args) => args.run(session),
            ContainerVerb::Export(args) => args.run(session),
            ContainerVerb::Kill(args) => args.run(session),
            ContainerVerb::Logs(args) => args.run(session),
            ContainerVerb::Pause(names) => names.each(session, |engine, name| engine.container_pause(name)),
            ContainerVerb::Port(args) => args.run(session),
            ContainerVerb::Rename(args) => args.run(session),
            ContainerVerb::Restart(args) => args.restart(session),
            ContainerVerb::Rm(args) => args.run(session),
            ContainerVerb::Run(args) => args.run(session),
            ContainerVerb::Start(args) => args.run(session),
            ContainerVerb::Stats(args) => args.run(session),
            ContainerVerb::Stop(args) => args.stop(session),
            ContainerVerb::Top(args) => args.run(session),
            ContainerVerb::Unpause(names) => names.each(session, |engine, name| engine.container_unpause(name)),
            ContainerVerb::Update(args) => args.run(session),
            ContainerVerb::Wait(args) => args.run(session),
        }
    }
}

impl ContainerCommand {
    pub(crate) fn has_command(&self) -> bool {
        matches!(self, ContainerCommand::Verb(verb) if verb.has_command())
    }

    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        match self {
            ContainerCommand::Verb(verb) => verb.run(session),
            ContainerCommand::Inspect(args) => args.run(session),
            ContainerCommand::ExecKill(args) => args.run(session),
            ContainerCommand::Execs(args) => args.run(session),
            ContainerCommand::Ls(args) => args.run(session),
            ContainerCommand::Prune(args) => args.run(
                session,
                "This will remove all containers that do not run.",
                "Deleted Containers:",
                |engine, filter| engine.container_prune(filter),
            ),
        }
    }
}

impl Names {
    /// Does `act` for each container, several at a time, and prints its name as it was given, in the order of the names.
    fn each(
        &self,
        session: &mut Session,
        act: impl Fn(&crate::engine::Engine, &str) -> Result<()> + Sync,
    ) -> Result<u8> {
        let engine = session.engine()?;
        if let [name] = self.containers.as_slice() {
            return Ok(session.each(std::slice::from_ref(name), |session, name| {
                act(&engine, name)?;
                session.out.line(name)
            }));
        }
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel();
        let work = |sender: mpsc::Sender<_>| {
            while let Some((index, name)) = {
                let index = next.fetch_add(1, Ordering::Relaxed);
                self.containers.get(index).map(|name| (index, name))
            } {
                // Nobody listens any more once the user has ended it.
                let _ = sender.send((index, act(&engine, name)));
            }
        };
        Ok(thread::scope(|scope| {
            for sender in vec![sender; self.containers.len().min(AT_ONCE)] {
                scope.spawn(|| work(sender));
            }
            let (mut early, mut index) = (BTreeMap::new(), 0..);
            session.each(&self.containers, |session, name| {
                let index = index.next().unwrap_or_default();
                let result = loop {
                    match early.remove(&index) {
                        Some(result) => break result,
                        None => early.extend([receiver.recv().expect("every name gets a result")]),
                    }
                };
                result?;
                session.out.line(name)
            })
        }))
    }
}
