//! Verbs about what is inside a container.

use std::path::PathBuf;

use clap::Args;

use crate::base::{Context as _, Error, Result};
use crate::cli::Session;

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
            Some(path) => {
                let writing = || format!("writing {path:?}");
                let mut file = std::fs::File::create(path).context(writing)?;
                let exported = engine.container_export(&self.container, &mut file);
                if exported.is_err() {
                    // Half a tar is worse than none; the export's error is the one to tell.
                    let _ = std::fs::remove_file(path);
                }
                exported?;
                file.sync_all().context(writing)?;
            }
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
