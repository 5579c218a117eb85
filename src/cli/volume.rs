//! The verbs of volumes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::base::{Error, Result, units};
use crate::cli::inspect::{self, InspectArgs};
use crate::cli::system::PruneArgs;
use crate::cli::{Session, filter, flags, listing};
use crate::docker::format::Format;
use crate::docker::{env, volume as docker};
use crate::model::volume::{Backup, DifferenceKind, VolumeOptions};

/// `rhumb volume`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum VolumeCommand {
    /// Write a volume's content to an archive: .tar.zst or .tar
    Backup(BackupArgs),
    /// Make a volume
    Create(CreateArgs),
    /// Show what would have to change to make one volume like another
    Diff(DiffArgs),
    /// Show all facts of volumes as JSON
    Inspect(InspectArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Remove anonymous volumes that no container uses
    Prune(VolumePruneArgs),
    /// Rename a volume, also while it is in use
    Rename(RenameArgs),
    /// Replace a volume's content by a backup's
    Restore(BackupArgs),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

// `rhumb volume backup` and `restore`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Name or id
    volume: String,
    /// The archive
    path: PathBuf,
}

// `rhumb volume create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Use this driver; only local so far
    #[arg(short, long, value_name = "DRIVER")]
    driver: Option<String>,
    /// Add a label
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Set a driver option; there are none
    #[arg(short, long, value_name = "NAME=VALUE", hide = true)]
    opt: Vec<String>,
    /// The name; none makes an anonymous volume
    name: Option<String>,
}

// `rhumb volume diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Name or id
    volume: String,
    /// Name or id of the one to become like
    other: String,
}

// `rhumb volume ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Show only what fits: dangling, driver, label, name
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print in this form: table, json, or a Go template such as {{.Name}}
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
}

// `rhumb volume prune`.
#[derive(Debug, Args)]
pub(crate) struct VolumePruneArgs {
    /// Remove also volumes that have a name
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    prune: PruneArgs,
}

// `rhumb volume rename`.
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// Name or id
    volume: String,
    /// The new name
    name: String,
}

// `rhumb volume rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Say nothing about missing volumes
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

impl VolumeCommand {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        match self {
            VolumeCommand::Backup(args) => {
                let backup = session.engine()?.volume_backup(&args.volume, &args.path)?;
                print_backup("Wrote", &backup, session)
            }
            VolumeCommand::Create(args) => create(args, session),
            VolumeCommand::Diff(args) => diff(&args, session),
            VolumeCommand::Inspect(args) => inspect::run(&args, inspect::Kind::Volume, session),
            VolumeCommand::Ls(args) => ls(&args, session),
            VolumeCommand::Prune(args) => {
                if filter::prune(&args.prune.filter)?.until.is_some() {
                    return Err(
                        Error::invalid("volumes are not pruned by \"until\"").with_hint("filters are label, label!")
                    );
                }
                let warning = match args.all {
                    true => "This will remove all volumes that no container uses.",
                    false => "This will remove all anonymous volumes that no container uses.",
                };
                args.prune
                    .run(session, warning, "Deleted Volumes:", |engine, filter| engine.volume_prune(args.all, filter))
            }
            VolumeCommand::Rename(args) => {
                session.engine()?.volume_rename(&args.volume, &args.name)?;
                Ok(0)
            }
            VolumeCommand::Restore(args) => {
                let backup = session.engine()?.volume_restore(&args.volume, &args.path)?;
                print_backup("Restored", &backup, session)
            }
            VolumeCommand::Rm(args) => {
                let engine = session.engine()?;
                Ok(session.each(&args.volumes, |session, volume| {
                    engine.volume_remove(volume, args.force)?;
                    session.out.line(volume)
                }))
            }
        }
    }
}

fn create(args: CreateArgs, session: &mut Session) -> Result<u8> {
    if let Some(option) = args.opt.first() {
        return Err(Error::unsupported(format!("driver option {option:?} is not supported"))
            .with_hint("mount a path of the host instead"));
    }
    let labels = args.label.iter().map(|text| env::label(text)).collect::<Result<_>>();
    let options = VolumeOptions {
        name: args.name,
        driver: args.driver,
        labels: flags::flag("--label", labels)?,
        ..Default::default()
    };
    let volume = session.engine()?.volume_create(&options)?;
    session.out.line(volume.name)?;
    Ok(0)
}

fn diff(args: &DiffArgs, session: &mut Session) -> Result<u8> {
    for difference in session.engine()?.volume_diff(&args.volume, &args.other)? {
        let letter = match difference.kind {
            DifferenceKind::Added => 'A',
            DifferenceKind::Removed => 'D',
            DifferenceKind::Changed => 'C',
        };
        session.out.line(format!("{letter} {}", difference.path))?;
    }
    Ok(0)
}

fn ls(args: &LsArgs, session: &mut Session) -> Result<u8> {
    let format = Format::new(&docker::LISTING, args.format.as_deref(), args.quiet)?;
    let volumes = session.engine()?.volume_list(&filter::volume(&args.filter)?)?;
    listing::print(&mut session.out, &format, volumes.iter().map(docker::list_row))?;
    Ok(0)
}

fn print_backup(done: &str, backup: &Backup, session: &mut Session) -> Result<u8> {
    let files = if backup.files == 1 { "file" } else { "files" };
    session.out.line(format!(
        "{done} {}: {} {files}, {}, {}",
        backup.path.display(),
        backup.files,
        units::human_size(backup.size_bytes),
        backup.digest,
    ))?;
    Ok(0)
}
