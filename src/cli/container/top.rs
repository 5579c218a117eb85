//! `rhumb top`.

use clap::Args;

use crate::base::{Result, Timestamp};
use crate::cli::Session;
use crate::cli::table::Table;
use crate::docker::top;

// `rhumb top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Name or id
    container: String,
    /// Options for the host's ps, whose output is shown then
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    options: Vec<String>,
}

impl TopArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        let engine = session.engine()?;
        let processes = match self.options.is_empty() {
            true => top::table(&engine.container_top(&self.container)?, Timestamp::now().as_secs()),
            false => engine.container_top_with(&self.container, &self.options)?,
        };
        let mut table = Table::new(&processes.titles.iter().map(String::as_str).collect::<Vec<_>>());
        processes.rows.into_iter().for_each(|row| table.row(row));
        table.print(&mut session.out)?;
        Ok(0)
    }
}
