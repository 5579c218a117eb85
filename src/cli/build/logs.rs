//! `rhumb build logs`: what the steps of a build wrote.

use std::io::Write as _;

use clap::Args;

use crate::base::Result;
use crate::cli::{Session, out};

// `rhumb build logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// List the builds whose logs are kept, the oldest first
    #[arg(short, long)]
    list: bool,
    /// Which build [default: the last one]
    #[arg(value_name = "BUILD")]
    id: Option<String>,
}

impl LogsArgs {
    pub(crate) fn run(&self, session: &mut Session) -> Result<u8> {
        let engine = session.engine()?;
        if self.list {
            for id in engine.build_logs()? {
                session.out.line(id)?;
            }
            return Ok(0);
        }
        let log = engine.build_log(self.id.as_deref())?;
        out::written(session.out.writer().write_all(&log))?;
        Ok(0)
    }
}
