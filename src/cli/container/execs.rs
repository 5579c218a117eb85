//! `rhumb container execs` and `rhumb container exec-kill`: what `exec` started.

use clap::Args;

use crate::base::Result;
use crate::cli::Session;
use crate::cli::listing::{self, Format};
use crate::cli::table::Table;
use crate::docker::{container, exec};

// `rhumb container execs`.
#[derive(Debug, Args)]
pub(crate) struct ExecsArgs {
    /// Print in this form: table or json
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
        let format = listing::format(self.format.as_deref())?;
        let execs = session.engine()?.container_execs(&self.container)?;
        let id = |exec: &crate::model::exec::Exec| {
            if self.no_trunc { exec.id.to_string() } else { exec.id.short().to_owned() }
        };
        if self.quiet {
            execs.iter().try_for_each(|exec| session.out.line(id(exec)))?;
            return Ok(0);
        }
        if format == Format::Json {
            let rows = execs.iter().map(|exec| exec::list_row(exec, self.no_trunc));
            listing::json_lines(&mut session.out, rows)?;
            return Ok(0);
        }
        let mut table = Table::new(&["EXEC ID", "PID", "COMMAND", "CREATED", "STATUS"]);
        for one in &execs {
            table.row(vec![
                id(one),
                one.pid.to_string(),
                exec::command_cell(one, self.no_trunc),
                container::age(one.started),
                exec::status_cell(one),
            ]);
        }
        table.print(&mut session.out)?;
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
