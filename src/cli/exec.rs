//! `exec`: a further command in a running container.

use std::path::PathBuf;

use clap::Args;

use crate::base::{Error, Result};
use crate::cli::Session;
use crate::cli::attach::{Streams, attached};
use crate::cli::flags::{environment, flag};
use crate::cli::run::exit_code;
use crate::docker::options;
use crate::model::exec::ExecOptions;

// `rhumb exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Leave the command running
    #[arg(short, long)]
    detach: bool,
    /// Detach with these keys [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set an environment variable; NAME alone takes the one of this shell
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Run as this user, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Start in this directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Give all rights
    #[arg(long)]
    privileged: bool,
    /// The container, the command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CONTAINER COMMAND [ARG]", hide = true)]
    container_and_command: Vec<String>,
}

impl ExecArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let (container, args) = match self.container_and_command.split_first() {
            Some((container, args)) if !args.is_empty() => (container, args),
            _ => {
                return Err(
                    Error::invalid("exec needs a container and a command").with_hint("see \"rhumb exec --help\"")
                );
            }
        };
        let command = ExecOptions {
            args: args.to_vec(),
            env: environment(&self.env_file, &self.env)?,
            user: self.user,
            working_dir: flag("--workdir", self.workdir.as_deref().map(options::absolute_dir).transpose())?,
            tty: self.tty,
            privileged: self.privileged,
        };
        let engine = session.engine()?;
        if self.detach {
            engine.container_exec_detached(container, &command)?;
            return Ok(0);
        }
        let streams = Streams {
            stdin: self.interactive,
            stdout: true,
            stderr: true,
            tty: self.tty,
            // As with Docker, an exec'd command gets no signals from here: Ctrl-C ends the client.
            sig_proxy: false,
            detach_keys: self.detach_keys,
        };
        let ended =
            attached(session, &streams, |attachment| engine.container_exec_attached(container, &command, attachment))?;
        exit_code(ended)
    }
}
