//! `rhumb ps`.

use clap::Args;

use crate::base::Result;
use crate::cli::listing::{self, Format};
use crate::cli::table::Table;
use crate::cli::{Session, filter};
use crate::docker::container as docker;
use crate::model::container::ContainerFilter;

// `rhumb ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Show also containers that do not run
    #[arg(short, long)]
    all: bool,
    /// Show only what fits: name, id, status, health, label, ancestor, volume,
    /// exited
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print in this form: table or json
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show the newest N containers, running or not
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    last: Option<i64>,
    /// Show the newest container, running or not
    #[arg(short, long)]
    latest: bool,
    /// Do not cut anything
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

impl PsArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let format = listing::format(self.format.as_deref())?;
        let newest = match self.last {
            _ if self.latest => Some(1),
            // Docker's -1 is no limit.
            Some(count) => usize::try_from(count).ok(),
            None => None,
        };
        let mut query = ContainerFilter { all: self.all, last: newest, ..Default::default() };
        filter::container(&self.filter, &mut query)?;
        let containers = session.engine()?.container_list(&query)?;
        let id = |container: &crate::model::container::Container| {
            let id = &container.record.id;
            if self.no_trunc { id.to_string() } else { id.short().to_owned() }
        };
        if self.quiet {
            containers.iter().try_for_each(|container| session.out.line(id(container)))?;
            return Ok(0);
        }
        if format == Format::Json {
            let rows = containers.iter().map(|container| docker::list_row(container, self.no_trunc));
            listing::json_lines(&mut session.out, rows)?;
            return Ok(0);
        }
        let mut table = Table::new(&["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
        for container in &containers {
            table.row(vec![
                id(container),
                container.record.image.clone(),
                docker::command_cell(&container.record, self.no_trunc),
                docker::age(container.record.created),
                docker::status_cell(&container.state),
                String::new(),
                container.name.clone(),
            ]);
        }
        table.print(&mut session.out)?;
        Ok(0)
    }
}
