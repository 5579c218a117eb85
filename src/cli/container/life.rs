//! Verbs that start nothing anew but end, freeze, name or await what there is.

use std::time::Duration;

use clap::Args;

use crate::base::{Error, Result};
use crate::cli::Session;
use crate::cli::container::Names;
use crate::cli::flags::{self, flag};
use crate::docker::words;
use crate::model::container::ContainerRemove;

// `rhumb kill`.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Send this signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    #[command(flatten)]
    names: Names,
}

// `rhumb rename`.
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// Name or id
    container: String,
    /// The new name
    name: String,
}

// `rhumb stop` and `rhumb restart`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Stop with this signal
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Kill after so many seconds; -1 to wait for ever
    #[arg(short, long = "timeout", alias = "time", value_name = "SECONDS", allow_negative_numbers = true)]
    timeout: Option<i64>,
    #[command(flatten)]
    names: Names,
}

// `rhumb rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Kill a running container first
    #[arg(short, long)]
    force: bool,
    /// Refused: there are no links
    #[arg(short, long, hide = true)]
    link: bool,
    /// Remove its anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    #[command(flatten)]
    names: Names,
}

// `rhumb wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait for this: not-running, next-exit or removed
    #[arg(long, value_name = "CONDITION", default_value = "not-running")]
    condition: String,
    #[command(flatten)]
    names: Names,
}

impl KillArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        self.names.each(session, |engine, name| engine.container_kill(name, Some(&self.signal)))
    }
}

impl RenameArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        session.engine()?.container_rename(&self.container, &self.name)?;
        Ok(0)
    }
}

impl StopArgs {
    pub(super) fn stop(&self, session: &mut Session) -> Result<u8> {
        let grace = self.grace()?;
        let signal = self.signal.as_deref();
        self.names.each(session, |engine, name| engine.container_stop(name, signal, grace))
    }

    pub(super) fn restart(&self, session: &mut Session) -> Result<u8> {
        let grace = self.grace()?;
        let signal = self.signal.as_deref();
        self.names.each(session, |engine, name| engine.container_restart(name, signal, grace))
    }

    fn grace(&self) -> Result<Option<Duration>> {
        flags::stop_grace("--timeout", self.timeout)
    }
}

impl RmArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        if self.link {
            return Err(Error::unsupported("option \"--link\" is not supported")
                .with_hint("there are no links between containers to remove"));
        }
        let how = ContainerRemove { force: self.force, volumes: self.volumes };
        self.names.each(session, |engine, name| engine.container_remove(name, how))
    }
}

impl WaitArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        let condition = flag("--condition", words::wait_condition(&self.condition))?;
        let engine = session.engine()?;
        Ok(session.each(&self.names.containers, |session, name| {
            let state = engine.container_wait(name, condition, None)?;
            match state.exit_code {
                Some(code) => session.out.line(code),
                // A container that was never started has Docker's zero.
                None if state.error.is_none() => session.out.line(0),
                None => {
                    let why = state.error.unwrap_or_default();
                    Err(Error::failed(format!("the exit code of {name:?} is unknown: {why}")))
                }
            }
        }))
    }
}
