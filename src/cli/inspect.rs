//! `inspect`: all facts as Docker's JSON.

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::base::{Error, Kind as ErrorKind, Result};
use crate::cli::listing::{self, Format};
use crate::cli::{Session, report};
use crate::docker::inspect;
use crate::engine::Engine;

// `rhumb inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Print in this form: json for one compact line each
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
    #[command(flatten)]
    args: InspectArgs,
}

// The nouns that can be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Container,
    Image,
    Volume,
}

/// The order in which a name is looked up; Docker's.
const ORDER: [Kind; 3] = [Kind::Container, Kind::Image, Kind::Volume];

impl InspectAnyArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        run(self.args, self.kind, session)
    }
}

/// Prints what is found, as one list also when something is missing, and reports the rest.
pub(crate) fn run(args: InspectArgs, kind: Option<Kind>, session: &mut Session) -> Result<u8> {
    // Without --format, Docker prints an indented list.
    let lines = listing::format(args.format.as_deref())? == Format::Json;
    let engine = session.engine()?;
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in &args.names {
        match look_up(&engine, name, kind) {
            Ok(facts) => found.push(facts),
            Err(error) => errors.push(error),
        }
    }
    if lines {
        listing::json_lines(&mut session.out, found)?;
    } else {
        session.out.pretty_json(&found)?;
    }
    session.out.flush()?;
    errors.iter().for_each(report::error);
    Ok(errors.first().map_or(0, |error| error.kind().exit_code()))
}

fn look_up(engine: &Engine, name: &str, kind: Option<Kind>) -> Result<Value> {
    if let Some(kind) = kind {
        return facts(engine, name, kind);
    }
    for kind in ORDER {
        match facts(engine, name, kind) {
            // Not a name of this noun, or not even a possible one.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidArgument) => {}
            other => return other,
        }
    }
    Err(Error::not_found(format!("no such container, image or volume {name:?}")))
}

fn facts(engine: &Engine, name: &str, kind: Kind) -> Result<Value> {
    match kind {
        Kind::Container => {
            engine.container_inspect(name).map(|container| inspect::container(&container, engine.paths()))
        }
        Kind::Image => engine.image_get(name).map(|image| inspect::image(&image, engine.paths())),
        Kind::Volume => engine.volume_get(name).map(|volume| inspect::volume(&volume)),
    }
}
