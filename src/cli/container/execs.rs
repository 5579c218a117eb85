//! `rhumb container execs` and `rhumb container exec-kill`: what `exec` started.

use clap::Args;

use crate::base::Result;
use crate::cli::{Session, listing};
use crate::docker::exec;
use crate::docker::format::Format;

// `rhumb container execs`.
#[derive(Debug, Args)]
pub(crate) struct ExecsArgs {
    /// Print in this form: table, json, or a Go template such as {{.ID}}
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not cut anything
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Name or id
    container: String,
}

// `rhumb container exec-kill`.
#[derive(Debug, Args)]
pub(crate) struct ExecKillArgs {
    /// Send this signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Name or id
    container: String,
    /// Ids that execs prints
    #[arg(required = true, value_name = "EXEC")]
    execs: Vec<String>,
}

impl ExecsArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        let format = Format::new(&exec::LISTING, self.format.as_deref(), self.quiet)?;
        let execs = session.engine()?.container_execs(&self.container)?;
        listing::print(&mut session.out, &format, execs.iter().map(|one| exec::list_row(one, self.no_trunc).into()))?;
        Ok(0)
    }
}

impl ExecKillArgs {
    pub(super) fn run(self, session: &mut Session) -> Result<u8> {
        let engine = session.engine()?;
        Ok(session.each(&self.execs, |session, exec| {
            engine.container_exec_kill(&self.container, exec, Some(&self.signal))?;
            session.out.line(exec)
        }))
    }
}
