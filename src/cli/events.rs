//! `rhumb events`: what happened and what happens.

use std::ops::ControlFlow;

use clap::Args;

use crate::base::{Kind, Result};
use crate::cli::{Session, filter, flags, report};
use crate::docker::event::{self, Format};
use crate::model::event::{EventItem, EventQuery, EventStart};

// `rhumb events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Show also what happened since a time, or within an age such as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show only what happened until a time, or an age such as 10m, and end then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Show only what fits, such as container=web, event=die, type=volume
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print as json, or with a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl EventsArgs {
    pub(crate) fn run(&self, session: &mut Session) -> Result<u8> {
        let format = Format::parse(self.format.as_deref())?;
        let time = |name, text: Option<&str>| {
            text.map(event::point_in_time).transpose().or_else(|e| flags::flag(name, Err(e)))
        };
        let (since, until) = (time("--since", self.since.as_deref())?, time("--until", self.until.as_deref())?);
        let start = match (since, until) {
            (Some(since), _) => EventStart::Since(since),
            (None, Some(_)) => EventStart::Oldest,
            (None, None) => EventStart::Now,
        };
        let query = EventQuery { start, until, follow: true, filter: filter::events(&self.filter)? };
        let engine = session.engine()?;
        let mut each = |item: EventItem| -> Result<ControlFlow<()>> {
            match item {
                EventItem::Note(words) => report::note(&format!("note: {words}")),
                EventItem::Event(event) => {
                    session.out.line(format.line(&event)?)?;
                    // Whoever reads this from a pipe waits for it.
                    session.out.flush()?;
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        match engine.system_events(&query, None, &mut each) {
            // The usual end of one that follows.
            Err(error) if error.kind() == Kind::Interrupted => Ok(error.kind().exit_code()),
            ended => ended.map(|()| 0),
        }
    }
}
