//! `rhumb ps`.

use clap::Args;

use crate::base::Result;
use crate::cli::{Session, filter, listing};
use crate::docker::container as docker;
use crate::docker::format::Format;
use crate::model::container::{Container, ContainerFilter};

// `rhumb ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Show also containers that do not run
    #[arg(short, long)]
    all: bool,
    /// Show only what fits: ancestor, before, exited, expose, health, id, is-task,
    /// label, name, network, publish, since, status, volume
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print in this form: table, json, or a Go template such as {{.Names}}
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
    /// Show how large each container is
    #[arg(short, long)]
    size: bool,
}

impl PsArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let table = if self.size { docker::SIZED_TABLE } else { docker::LISTING.table };
        let format = Format::with_table(&docker::LISTING, self.format.as_deref(), self.quiet, table)?;
        let newest = match self.last {
            _ if self.latest => Some(1),
            // Docker's -1 is no limit.
            Some(count) => usize::try_from(count).ok(),
            None => None,
        };
        let mut query = ContainerFilter { all: self.all, last: newest, ..Default::default() };
        filter::container(&self.filter, &mut query)?;
        let engine = session.engine()?;
        let containers = engine.container_list(&query)?;
        let size = |container: &Container| {
            let wanted = self.size || self.format.as_deref().is_some_and(|text| shows_size(text, &format));
            // One that went meanwhile has none.
            wanted.then(|| engine.container_size(container.record.id.as_str()).ok()).flatten()
        };
        let rows =
            containers.iter().map(|container| docker::list_row(container, self.no_trunc, size(container).as_ref()));
        listing::print(&mut session.out, &format, rows)?;
        Ok(0)
    }
}

/// Whether a format of the user's shows sizes, which take a while to know: Docker looks them up for a whole row as well, if
/// a template asks for one.
fn shows_size(text: &str, format: &Format) -> bool {
    format.mentions("Size") || text.replace(' ', "").contains("json.}}")
}
