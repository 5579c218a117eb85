//! `inspect`: all facts as Docker's JSON.

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::base::{Error, Kind as ErrorKind, Result};
use crate::cli::{Session, listing, report};
use crate::docker::inspect::{self, Format};
use crate::docker::{self, template::Shape};
use crate::engine::Engine;

// `rhumb inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Print with a Go template such as {{.State.Status}}, or as json on one line
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

// `rhumb inspect` of any noun.
#[derive(Debug, Args)]
pub(crate) struct InspectAnyArgs {
    /// Look among these only
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
    /// Tell also how large containers are
    #[arg(short, long)]
    size: bool,
    #[command(flatten)]
    args: InspectArgs,
}

// `rhumb container inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectContainerArgs {
    /// Tell also how large it is
    #[arg(short, long)]
    size: bool,
    #[command(flatten)]
    args: InspectArgs,
}

// The nouns that can be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Container,
    Image,
    Volume,
    Network,
}

/// The order in which a name is looked up; Docker's.
const ORDER: [Kind; 4] = [Kind::Container, Kind::Image, Kind::Volume, Kind::Network];

impl InspectAnyArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        print(&self.args, self.kind, self.size, session)
    }
}

impl InspectContainerArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        print(&self.args, Some(Kind::Container), self.size, session)
    }
}

/// Prints the facts of images or volumes.
pub(crate) fn run(args: &InspectArgs, kind: Kind, session: &mut Session) -> Result<u8> {
    print(args, Some(kind), false, session)
}

/// Prints what is found, as one list also when something is missing, and reports the rest.
fn print(args: &InspectArgs, kind: Option<Kind>, size: bool, session: &mut Session) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let engine = session.engine()?;
    let (mut found, mut text, mut errors) = (Vec::new(), String::new(), Vec::new());
    for name in &args.names {
        let facts = look_up(&engine, name, kind, size);
        let done = facts.and_then(|(facts, shape)| {
            match &format {
                Format::Template(_) => text.push_str(&format.line(&facts, shape)?),
                _ => found.push(facts),
            }
            Ok(())
        });
        errors.extend(done.err());
    }
    match format {
        Format::Pretty => session.out.pretty_json(&found)?,
        Format::Json => session.out.json(&found.into())?,
        // Docker's line for nothing.
        Format::Template(_) if text.is_empty() => session.out.line("")?,
        Format::Template(_) => session.out.text(&listing::harmless_on_terminal(text))?,
    }
    session.out.flush()?;
    errors.iter().for_each(report::error);
    Ok(errors.first().map_or(0, |error| error.kind().exit_code()))
}

fn look_up(engine: &Engine, name: &str, kind: Option<Kind>, size: bool) -> Result<(Value, Shape)> {
    if let Some(kind) = kind {
        return facts(engine, name, kind, size);
    }
    for kind in ORDER {
        match facts(engine, name, kind, size) {
            // Not a name of this noun, or not even a possible one.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidArgument) => {}
            other => return other,
        }
    }
    Err(Error::not_found(format!("no such container, image, volume or network {name:?}")))
}

fn facts(engine: &Engine, name: &str, kind: Kind, size: bool) -> Result<(Value, Shape)> {
    Ok(match kind {
        Kind::Container => {
            let mut facts = inspect::container(&engine.container_inspect(name)?, engine.paths());
            if size {
                docker::container::add_size(&mut facts, &engine.container_size(name)?);
            }
            (facts, inspect::CONTAINER)
        }
        Kind::Image => (inspect::image(&engine.image_get(name)?, engine.paths()), inspect::IMAGE),
        Kind::Network => (inspect::network(&engine.network_inspect(name)?), inspect::NETWORK),
        Kind::Volume => (inspect::volume(&engine.volume_get(name)?), inspect::VOLUME),
    })
}
