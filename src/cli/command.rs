//! The tree of commands: groups, the flat verbs that Docker's users type, and global options.
//!
//! Subcommands are deferred: only the one that is asked for is built with its arguments, so that starting stays cheap.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::base::{Error, Result};
use crate::cli::Session;
use crate::cli::build::BuildArgs;
use crate::cli::builder::BuilderCommand;
use crate::cli::container::{ContainerCommand, ContainerVerb, PsArgs};
use crate::cli::events::EventsArgs;
use crate::cli::image::{ImageCommand, ImageVerb, ImagesArgs, RmiArgs};
use crate::cli::inspect::InspectAnyArgs;
use crate::cli::network::NetworkCommand;
use crate::cli::program;
use crate::cli::registry::{LoginArgs, LogoutArgs};
use crate::cli::report::ENGINE_FAILED;
use crate::cli::system::{FormatArgs, SystemCommand};
use crate::cli::volume::VolumeCommand;

/// The columns that help texts are written for.
const HELP_WIDTH: usize = 80;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "rhumb", about = "A container engine that you script", version)]
#[command(disable_version_flag = true, max_term_width = HELP_WIDTH, subcommand_required = true)]
pub(crate) struct Cli {
    /// Keep state in this folder [default: /var/lib/rhumb]
    #[arg(long, global = true, value_name = "DIR", env = program::ROOT_VARIABLE, hide_env_values = true)]
    pub(crate) root: Option<PathBuf>,
    #[arg(short, long, action = ArgAction::Version, help = "Print the version")]
    version: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    #[command(flatten)]
    ContainerVerb(ContainerVerb),
    #[command(flatten)]
    ImageVerb(ImageVerb),
    /// Build an image from a build script or a Dockerfile
    Build(Box<BuildArgs>),
    /// List containers
    Ps(PsArgs),
    /// List images
    Images(ImagesArgs),
    /// Remove images
    Rmi(RmiArgs),
    /// Show what happens, and what happened
    Events(EventsArgs),
    /// Show all facts of containers, images, volumes or networks as JSON
    Inspect(InspectAnyArgs),
    /// Sign in at a registry
    Login(LoginArgs),
    /// Sign out at a registry
    Logout(LogoutArgs),
    /// Show facts about this machine and engine
    Info(FormatArgs),
    /// Show the version
    Version(FormatArgs),
    /// Work with builds and their cache
    #[command(subcommand, subcommand_required = true, alias = "buildx")]
    Builder(BuilderCommand),
    /// Work with containers
    #[command(subcommand, subcommand_required = true)]
    Container(ContainerCommand),
    /// Work with images
    #[command(subcommand, subcommand_required = true)]
    Image(ImageCommand),
    /// Work with networks
    #[command(subcommand, subcommand_required = true)]
    Network(NetworkCommand),
    /// Work with volumes
    #[command(subcommand, subcommand_required = true)]
    Volume(VolumeCommand),
    /// Work with the engine as a whole
    #[command(subcommand, subcommand_required = true)]
    System(SystemCommand),
    /// Print the script API
    Doc(DocArgs),
    /// Explore at a prompt
    Repl(ReplArgs),
    /// Run containers from OCI bundles, as runc does
    #[command(disable_help_flag = true)]
    Oci(OciArgs),
}

// `rhumb doc`.
#[derive(Debug, Args)]
pub(crate) struct DocArgs {
    /// Print only this noun or function, such as container or container::run
    topic: Option<String>,
}

// `rhumb repl`.
#[derive(Debug, Args)]
pub(crate) struct ReplArgs {}

// `rhumb oci`, whose words are those of [`crate::cli::oci`].
#[derive(Debug, Args)]
pub(crate) struct OciArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    args: Vec<std::ffi::OsString>,
}

impl Command {
    /// The exit code of the engine's own failures, where the command's codes are the container's.
    pub(crate) fn engine_code(&self) -> Option<u8> {
        let has_command = match self {
            Command::ContainerVerb(verb) => verb.has_command(),
            Command::Container(command) => command.has_command(),
            _ => false,
        };
        has_command.then_some(ENGINE_FAILED)
    }

    /// What is to be built, where something is.
    pub(crate) fn build(&self) -> Option<&BuildArgs> {
        match self {
            Command::Build(args)
            | Command::Builder(BuilderCommand::Build(args))
            | Command::Image(ImageCommand::Build(args)) => Some(args),
            _ => None,
        }
    }

    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        match self {
            Command::ContainerVerb(verb) => verb.run(session),
            Command::ImageVerb(verb) => verb.run(session),
            Command::Build(args) => args.run(session),
            Command::Ps(args) => args.run(session),
            Command::Images(args) => args.run(session),
            Command::Rmi(args) => args.run(session),
            Command::Events(args) => args.run(session),
            Command::Inspect(args) => args.run(session),
            Command::Login(args) => args.run(session),
            Command::Logout(args) => args.run(session),
            Command::Info(args) => args.info(session),
            Command::Version(args) => args.version(session),
            Command::Builder(command) => command.run(session),
            Command::Container(command) => command.run(session),
            Command::Image(command) => command.run(session),
            Command::Network(command) => command.run(session),
            Command::Volume(command) => command.run(session),
            Command::System(command) => command.run(session),
            Command::Doc(args) => program::doc(args.topic.as_deref(), session),
            // Taken care of before a session is made.
            Command::Repl(ReplArgs {}) => Ok(0),
            // Reached only behind --root, which there is a flag of its own.
            Command::Oci(_) => Err(Error::invalid("--root stands behind `oci`: rhumb oci --root DIR COMMAND")),
        }
    }
}
