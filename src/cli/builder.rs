//! The verbs of the build cache, and `build` once more.

use clap::{Args, Subcommand};

use crate::base::{Error, Result, units};
use crate::cli::build::BuildArgs;
use crate::cli::system::PruneArgs;
use crate::cli::{Session, filter, listing};
use crate::docker::build as docker;
use crate::docker::format::Format;
use crate::engine::build::CachePrune;

/// `rhumb builder`, and `rhumb buildx`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum BuilderCommand {
    /// Build an image from a build script or a Dockerfile
    Build(Box<BuildArgs>),
    /// Show what builds keep for the next one
    Du(DuArgs),
    /// Remove what builds keep
    Prune(BuilderPruneArgs),
}

// `rhumb builder du`.
#[derive(Debug, Args)]
pub(crate) struct DuArgs {
    /// Print in this form: table, json, or a Go template such as {{.ID}}
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not cut anything
    #[arg(long, visible_alias = "verbose")]
    no_trunc: bool,
}

// `rhumb builder prune`.
#[derive(Debug, Args)]
pub(crate) struct BuilderPruneArgs {
    /// Remove also what images have in them
    #[arg(short, long)]
    all: bool,
    /// Keep so much of what was of use last, such as 2GB
    #[arg(long, value_name = "SIZE", visible_alias = "max-used-space")]
    keep_storage: Option<String>,
    #[command(flatten)]
    prune: PruneArgs,
}

impl BuilderCommand {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        match self {
            BuilderCommand::Build(args) => args.run(session),
            BuilderCommand::Du(args) => args.run(session),
            BuilderCommand::Prune(args) => args.run(session),
        }
    }
}

impl DuArgs {
    fn run(&self, session: &mut Session) -> Result<u8> {
        let format = Format::new(&docker::LISTING, self.format.as_deref(), false)?;
        let (cached, bytes) = session.engine()?.build_cache_usage()?;
        listing::print(
            &mut session.out,
            &format,
            cached.iter().map(|cached| docker::cache_row(cached, self.no_trunc)),
        )?;
        if self.format.is_none() {
            session.out.line(format!("Reclaimable: {}", units::finer_size(bytes)))?;
        }
        Ok(0)
    }
}

impl BuilderPruneArgs {
    fn run(&self, session: &mut Session) -> Result<u8> {
        let given = filter::prune(&self.prune.filter)?;
        if given.has_labels() {
            return Err(Error::invalid("what builds keep has no labels").with_hint("filter by until=TIME"));
        }
        let what = CachePrune {
            unused_for: given.until.map(|until| until.elapsed()),
            keep_bytes: self.keep_storage.as_deref().map(units::parse_bytes).transpose()?,
            mounts: given.until.is_none() && self.keep_storage.is_none(),
            unshared: !self.all,
        };
        let which = if self.all { "all that builds keep" } else { "what builds keep that is in no image" };
        let heading = "Deleted build cache objects:";
        self.prune
            .run(session, &format!("This will remove {which}."), heading, |engine, _| engine.build_cache_prune(&what))
    }
}
