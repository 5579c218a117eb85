//! `rhumb stats`: what containers use, once, as a stream of tables, or as a live view on a terminal.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;

use crate::base::{Id, Kind, Result};
use crate::cli::container::gauges::{self, Curves};
use crate::cli::screen::{self, Screen, Woken};
use crate::cli::{Out, Session, listing};
use crate::docker::format::Format;
use crate::docker::stats as docker;
use crate::engine::Engine;
use crate::model::stats::{Reading, Sample, Usage};

/// How far two readings of a stream are apart.
const INTERVAL: Duration = Duration::from_secs(1);

// `rhumb stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Show also containers that do not run
    #[arg(short, long)]
    all: bool,
    /// Print in this form: table, json, or a Go template such as {{.Name}}
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print once and leave
    #[arg(long)]
    no_stream: bool,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
    /// Names or ids; all that run when there are none
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// What is known of one container of a stream.
struct Tracked {
    usage: Option<Usage>,
    reading: Reading,
    curves: Curves,
}

/// A row that is to be printed.
type Shown<'a> = (&'a Reading, Option<&'a Usage>, Option<&'a str>);

impl StatsArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        let format = Format::new(&docker::LISTING, self.format.as_deref(), false)?;
        let engine = session.engine()?;
        if !self.no_stream {
            return self.stream(session, &engine, &format);
        }
        let both = engine.container_stats(&self.containers, self.all)?;
        let usages: Vec<Usage> = both.iter().map(|(earlier, now)| usage(earlier.as_ref(), now)).collect();
        let rows = both
            .iter()
            .zip(&usages)
            .enumerate()
            .map(|(at, ((_, reading), usage))| (reading, Some(usage), self.containers.get(at).map(String::as_str)));
        self.print(&mut session.out, &format, rows)?;
        Ok(0)
    }

    fn stream(&self, session: &mut Session, engine: &Engine, format: &Format) -> Result<u8> {
        let interrupt = session.interrupt().clone();
        let mut screen = Screen::new().filter(|_| self.format.as_deref().is_none_or(|format| format == "table"));
        let mut stream = Stream::new(engine, self)?;
        loop {
            let next = Instant::now() + INTERVAL;
            // Without a window there is nothing to see before the second reading.
            if let Some(screen) = &mut screen {
                screen.draw(&mut session.out, &stream.lines(screen.size().0))?;
            } else if stream.is_known() {
                self.print(&mut session.out, format, stream.rows())?;
                session.out.flush()?;
            }
            loop {
                let woken = match &screen {
                    Some(screen) => screen.wait(next, &interrupt),
                    None => screen::wait(next, &interrupt, || false),
                };
                match (woken, &mut screen) {
                    (Woken::Interrupted, shown) => {
                        if shown.is_some() {
                            // What is typed next stands below the view and the echo of Ctrl-C.
                            session.out.line("")?;
                        }
                        return Ok(Kind::Interrupted.exit_code());
                    }
                    (Woken::Resized, Some(screen)) => {
                        screen.draw(&mut session.out, &stream.lines(screen.size().0))?;
                    }
                    _ => break,
                }
            }
            stream.advance(engine)?;
            if stream.is_over() {
                return Ok(0);
            }
        }
    }

    fn print<'a>(&self, out: &mut Out, format: &Format, rows: impl Iterator<Item = Shown<'a>>) -> Result<()> {
        let rows = rows.map(|(reading, usage, given)| docker::row(reading, usage, given, self.no_trunc).into());
        listing::print(out, format, rows)
    }
}

/// What a container uses; nothing at all when it does not run, as with Docker.
fn usage(earlier: Option<&Sample>, now: &Reading) -> Usage {
    now.sample.as_ref().map(|sample| docker::usage(earlier, sample)).unwrap_or_default()
}

/// The containers of a stream, which come and go.
struct Stream {
    all: bool,
    /// What the user named, by identity, since names may change; empty for all.
    named: Vec<(Id, String)>,
    order: Vec<Id>,
    tracked: BTreeMap<Id, Tracked>,
    readings: usize,
}

impl Stream {
    fn new(engine: &Engine, args: &StatsArgs) -> Result<Stream> {
        let first = engine.container_samples(&args.containers, args.all)?;
        let named = args.containers.iter().zip(&first).map(|(given, reading)| (reading.id.clone(), given.clone()));
        let mut stream =
            Stream { all: args.all, named: named.collect(), order: Vec::new(), tracked: BTreeMap::new(), readings: 0 };
        stream.take(first);
        Ok(stream)
    }

    /// Reads again.
    fn advance(&mut self, engine: &Engine) -> Result<()> {
        let mut readings = Vec::new();
        if self.named.is_empty() {
            readings = engine.container_samples(&[], self.all)?;
        }
        for (id, _) in &self.named {
            match engine.container_samples(&[id.to_string()], self.all) {
                Ok(more) => readings.extend(more),
                // It was removed meanwhile.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.take(readings);
        Ok(())
    }

    fn take(&mut self, readings: Vec<Reading>) {
        self.order = readings.iter().map(|reading| reading.id.clone()).collect();
        let mut before = std::mem::take(&mut self.tracked);
        for reading in readings {
            let old = before.remove(&reading.id);
            let (earlier, mut curves) = match old {
                Some(old) => (old.reading.sample, old.curves),
                None => (None, Curves::default()),
            };
            // One that has just come has no second reading; one that does not run needs none.
            let known = earlier.is_some() || reading.sample.is_none();
            let usage = known.then(|| usage(earlier.as_ref(), &reading));
            if let Some(usage) = &usage {
                curves.push(usage);
            }
            self.tracked.insert(reading.id.clone(), Tracked { usage, reading, curves });
        }
        self.readings += 1;
    }

    /// All that the user named are gone.
    fn is_over(&self) -> bool {
        !self.named.is_empty() && self.order.is_empty()
    }

    fn is_known(&self) -> bool {
        self.readings > 1
    }

    fn in_order(&self) -> impl Iterator<Item = &Tracked> {
        self.order.iter().filter_map(|id| self.tracked.get(id))
    }

    fn rows(&self) -> impl Iterator<Item = Shown<'_>> {
        self.in_order().map(|tracked| {
            let given = self.named.iter().find(|(id, _)| *id == tracked.reading.id);
            (&tracked.reading, tracked.usage.as_ref(), given.map(|(_, given)| given.as_str()))
        })
    }

    fn lines(&self, width: usize) -> Vec<String> {
        let rows = self.in_order().map(|tracked| gauges::Row {
            id: tracked.reading.id.short(),
            name: &tracked.reading.name,
            usage: tracked.usage.as_ref(),
            curves: &tracked.curves,
        });
        gauges::lines(&rows.collect::<Vec<_>>(), width)
    }
}
