//! The verbs of images.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use crate::base::{Context as _, Error, Result};
use crate::cli::build::BuildArgs;
use crate::cli::container::refuse_terminal;
use crate::cli::inspect::{self, InspectArgs};
use crate::cli::registry::{CompressionFlags, PullArgs, PushArgs};
use crate::cli::system::PruneArgs;
use crate::cli::{Session, filter, listing};
use crate::docker::format::{Format, Row};
use crate::docker::image as docker;
use crate::engine::image::{BootstrapOptions, ImportOptions, SaveOptions, SaveTo, reference_matches};
use crate::model::image::{ArchiveFormat, Image, ImageRemoved};

/// The verbs that are both flat and in the group.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ImageVerb {
    /// Show how an image was made
    History(HistoryArgs),
    /// Make an image from a tar of a file system
    Import(ImportArgs),
    /// Load images from an archive: docker-archive or OCI layout
    Load(LoadArgs),
    /// Fetch an image from its registry
    Pull(PullArgs),
    /// Write an image to its registry
    Push(PushArgs),
    /// Save images to an archive
    Save(SaveArgs),
    /// Give an image another name
    Tag(TagArgs),
}

/// `rhumb image`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ImageCommand {
    #[command(flatten)]
    Verb(ImageVerb),
    /// Make a Debian base image with mmdebstrap or debootstrap
    Bootstrap(BootstrapArgs),
    /// Build an image from a build script or a Dockerfile
    Build(Box<BuildArgs>),
    /// Make an image from a folder
    FromDir(FromDirArgs),
    /// Make an image from programs of this machine
    FromHost(FromHostArgs),
    /// Show all facts of images as JSON
    Inspect(InspectArgs),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImagesArgs),
    /// Remove images that nothing names or uses
    Prune(ImagePruneArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
}

// `rhumb history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Print in this form: table, json, or a Go template such as {{.ID}}
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print sizes and dates for people
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", action = ArgAction::Set)]
    human: bool,
    /// Do not cut anything
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Name or id
    image: String,
}

// `rhumb import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Apply an instruction, such as CMD ["sh"]
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Set the remark in the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// The tar, or - for standard input
    file: String,
    /// The name to give it
    reference: Option<String>,
}

// `rhumb load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Read a file or a folder instead of standard input
    #[arg(short, long, value_name = "PATH")]
    input: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

// `rhumb save`.
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Write to a file or a folder instead of standard output
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Write in this format
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "docker-archive")]
    format: Layout,
    #[command(flatten)]
    compression: CompressionFlags,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Layout {
    DockerArchive,
    OciArchive,
    OciDir,
}

// `rhumb tag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Name or id
    image: String,
    /// The new name
    reference: String,
}

// `rhumb image bootstrap`.
#[derive(Debug, Args)]
pub(crate) struct BootstrapArgs {
    /// Install a further package
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    package: Vec<String>,
    /// Use this package mirror
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Use this variant of the tool
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Give it this name [default: localhost/SUITE]
    #[arg(short, long, value_name = "REFERENCE")]
    tag: Option<String>,
    /// The release, such as bookworm
    suite: String,
}

// `rhumb image from-dir`.
#[derive(Debug, Args)]
pub(crate) struct FromDirArgs {
    /// The folder
    dir: PathBuf,
    /// The name to give it
    tag: Option<String>,
}

// `rhumb image from-host`.
#[derive(Debug, Args)]
pub(crate) struct FromHostArgs {
    /// The name to give it
    tag: String,
    /// Programs: names on the path, or paths
    #[arg(required = true, value_name = "PROGRAM")]
    programs: Vec<String>,
}

// `rhumb images`.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Accepted for Docker's sake: all images are always shown
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only what fits: before, dangling, label, reference, since, until
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print in this form: table, json, or a Go template such as {{.ID}}
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not cut anything
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Only this repository, or this one image; * is a wildcard
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

// `rhumb image prune`.
#[derive(Debug, Args)]
pub(crate) struct ImagePruneArgs {
    /// Remove also images that have a name
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    prune: PruneArgs,
}

// `rhumb rmi`.
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Remove all names of an id
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl ImageVerb {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        match self {
            ImageVerb::History(args) => history(&args, session),
            ImageVerb::Import(args) => import(args, session),
            ImageVerb::Load(args) => load(&args, session),
            ImageVerb::Pull(args) => args.run(session),
            ImageVerb::Push(args) => args.run(session),
            ImageVerb::Save(args) => save(&args, session),
            ImageVerb::Tag(args) => {
                session.engine()?.image_tag(&args.image, &args.reference)?;
                Ok(0)
            }
        }
    }
}

impl ImageCommand {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        match self {
            ImageCommand::Verb(verb) => verb.run(session),
            ImageCommand::Build(args) => args.run(session),
            ImageCommand::Bootstrap(args) => {
                let options = BootstrapOptions {
                    packages: args.package,
                    mirror: args.mirror,
                    variant: args.variant,
                    tag: args.tag,
                };
                let image = session.engine()?.image_bootstrap(&args.suite, &options)?;
                print_id(&image, session)
            }
            ImageCommand::FromDir(args) => {
                let image = session.engine()?.image_from_dir(&args.dir, args.tag.as_deref())?;
                print_id(&image, session)
            }
            ImageCommand::FromHost(args) => {
                let image = session.engine()?.image_from_host(&args.programs, Some(&args.tag))?;
                print_id(&image, session)
            }
            ImageCommand::Inspect(args) => inspect::run(&args, inspect::Kind::Image, session),
            ImageCommand::Ls(args) => args.run(session),
            ImageCommand::Prune(args) => {
                let warning = match args.all {
                    true => "This will remove all images that no container uses.",
                    false => "This will remove all images without a name that no container uses.",
                };
                args.prune
                    .run(session, warning, "Deleted Images:", |engine, filter| engine.image_prune(args.all, filter))
            }
            ImageCommand::Rm(args) => args.run(session),
        }
    }
}

impl ImagesArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let table = if self.digests { docker::DIGEST_TABLE } else { docker::LISTING.table };
        let format = Format::with_table(&docker::LISTING, self.format.as_deref(), self.quiet, table)?;
        let mut query = filter::image(&self.filter)?;
        query.reference.extend(self.reference.clone());
        let mut images = session.engine()?.image_list(&query)?;
        for image in images.iter_mut().filter(|_| !query.reference.is_empty()) {
            image.tags.retain(|tag| query.reference.iter().any(|pattern| reference_matches(pattern, tag)));
        }
        let rows = images.iter().flat_map(docker::list_rows).map(|row| Row::from(row.json(self.no_trunc)));
        if format.is_table() {
            return listing::print(&mut session.out, &format, rows).map(|()| 0);
        }
        // An id is printed once, whatever names the image has.
        let rows: Vec<Row> = match self.quiet && self.format.is_none() {
            true => images
                .iter()
                .filter_map(|image| docker::list_rows(image).into_iter().next())
                .map(|row| Row::from(row.json(self.no_trunc)))
                .collect(),
            false => rows.collect(),
        };
        listing::print(&mut session.out, &format, rows)?;
        Ok(0)
    }
}

impl RmiArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let engine = session.engine()?;
        Ok(session.each(&self.images, |session, image| {
            for step in engine.image_remove(image, self.force)? {
                session.out.line(match step {
                    ImageRemoved::Untagged(name) => format!("Untagged: {name}"),
                    ImageRemoved::Deleted(id) => format!("Deleted: {id}"),
                })?;
            }
            Ok(())
        }))
    }
}

fn print_id(image: &Image, session: &mut Session) -> Result<u8> {
    session.out.line(&image.id)?;
    Ok(0)
}

fn history(args: &HistoryArgs, session: &mut Session) -> Result<u8> {
    let format = Format::new(&docker::HISTORY, args.format.as_deref(), args.quiet)?;
    let image = session.engine()?.image_get(&args.image)?;
    let rows = docker::history_rows(&image).into_iter().map(|row| Row::from(row.json(args.no_trunc, args.human)));
    listing::print(&mut session.out, &format, rows)?;
    Ok(0)
}

fn import(args: ImportArgs, session: &mut Session) -> Result<u8> {
    let options = ImportOptions { changes: args.change, message: args.message };
    let engine = session.engine()?;
    let tag = args.reference.as_deref();
    let image = if args.file == "-" {
        refuse_keyboard("a file")?;
        engine.image_from_tar(&mut io::stdin().lock(), tag, &options)?
    } else {
        let reading = || format!("reading {:?}", args.file);
        let mut file = File::open(&args.file).context(reading)?;
        engine.image_from_tar(&mut file, tag, &options).context(reading)?
    };
    print_id(&image, session)
}

fn load(args: &LoadArgs, session: &mut Session) -> Result<u8> {
    let engine = session.engine()?;
    let images = match &args.input {
        Some(path) => engine.image_load(path)?,
        None => {
            refuse_keyboard("-i FILE")?;
            engine.image_load_from(&mut io::stdin().lock())?
        }
    };
    for image in images.iter().filter(|_| !args.quiet) {
        if image.tags.is_empty() {
            session.out.line(format!("Loaded image ID: {}", image.id))?;
        }
        for tag in &image.tags {
            session.out.line(format!("Loaded image: {tag}"))?;
        }
    }
    Ok(0)
}

/// Nobody types an archive.
fn refuse_keyboard(instead: &str) -> Result<()> {
    if io::stdin().is_terminal() {
        return Err(Error::invalid("the archive cannot be read from a terminal")
            .with_hint(format!("name it with {instead}, or send it through a pipe")));
    }
    Ok(())
}

fn save(args: &SaveArgs, session: &mut Session) -> Result<u8> {
    let format = match args.format {
        Layout::DockerArchive => ArchiveFormat::DockerArchive,
        Layout::OciArchive => ArchiveFormat::OciArchive,
        Layout::OciDir => ArchiveFormat::OciDir,
    };
    let options = SaveOptions { compression: args.compression.read()?, ..SaveOptions::new(format) };
    let engine = session.engine()?;
    match &args.output {
        Some(path) => engine.image_save_with(&args.images, SaveTo::Path(path), options)?,
        None => {
            refuse_terminal("an archive", "-o FILE")?;
            engine.image_save_with(&args.images, SaveTo::Stream(&mut session.out.writer()), options)?;
        }
    }
    Ok(0)
}
