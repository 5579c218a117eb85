//! Verbs about what is inside a container.

use std::path::PathBuf;

use clap::ArgAction::Set;
use clap::Args;

use crate::base::{Error, Result};
use crate::cli::Session;
use crate::model::content::CommitOptions;

// `rhumb commit`.
#[derive(Debug, Args)]
#[command(override_usage = "rhumb commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]")]
pub(crate) struct CommitArgs {
    /// Say who made it
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// Apply a Dockerfile instruction to the image's config
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Put a remark into the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Freeze the container meanwhile
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", action = Set,
        default_missing_value = "true")]
    pause: bool,
    /// Name or id
    container: String,
    /// The image's reference
    #[arg(value_name = "REPOSITORY[:TAG]")]
    tag: Option<String>,
}

impl CommitArgs {
    pub(super) fn run(self, session: &mut Session) -> Result<u8> {
        let options =
            CommitOptions { author: self.author, message: self.message, changes: self.change, pause: self.pause };
        let image = session.engine()?.container_commit(&self.container, self.tag.as_deref(), &options)?;
        session.out.line(image.id)?;
        Ok(0)
    }
}

// `rhumb diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Name or id
    container: String,
}

impl DiffArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        for change in session.engine()?.container_diff(&self.container)? {
            session.out.line(format_args!("{} {}", change.kind.letter(), change.shown()))?;
        }
        Ok(0)
    }
}

// `rhumb export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name or id
    container: String,
}

impl ExportArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        let engine = session.engine()?;
        match &self.output {
            Some(path) => engine.container_export_to(&self.container, path)?,
            None => {
                refuse_terminal("a tar", "-o FILE")?;
                engine.container_export(&self.container, &mut session.out.writer())?;
            }
        }
        Ok(0)
    }
}

/// Refuses to write bytes to a terminal.
pub(crate) fn refuse_terminal(what: &str, instead: &str) -> Result<()> {
    use std::io::IsTerminal as _;
    if std::io::stdout().is_terminal() {
        return Err(Error::invalid(format!("{what} cannot be written to a terminal"))
            .with_hint(format!("use {instead}, or send it into a pipe")));
    }
    Ok(())
}
