//! The verbs of the engine as a whole: info, df, events, prune, check, resume, version.

use clap::{Args, Subcommand};

use crate::base::{Error, Kind, Result, units};
use crate::cli::confirm::confirm;
use crate::cli::events::EventsArgs;
use crate::cli::{Session, filter, listing, report};
use crate::docker::format::Format;
use crate::docker::system as docker;
use crate::engine::Engine;
use crate::model::system::{CheckOptions, Info, PruneFilter, PruneReport};

/// `rhumb system`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum SystemCommand {
    /// Cross-check records, files and kernel objects
    Check(CheckArgs),
    /// Show disk usage
    Df(FormatArgs),
    /// Show what happens, and what happened
    Events(EventsArgs),
    /// Show facts about this machine and engine
    Info(FormatArgs),
    /// Remove all that is not used
    Prune(SystemPruneArgs),
    /// Start what restart policies ask for, after a boot
    Resume(ResumeArgs),
}

// `rhumb system check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Mend what can be mended
    #[arg(long)]
    repair: bool,
    /// Read every blob and compare it with its digest
    #[arg(long)]
    rehash: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

// `rhumb system resume`.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

// A verb with nothing but a form.
#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// Print in this form: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

// What all prunes share.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Remove only what fits: until (a time or an age), label, label!
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}

// `rhumb system prune`.
#[derive(Debug, Args)]
pub(crate) struct SystemPruneArgs {
    /// Remove also images that have a name and are not used, and all that builds keep
    #[arg(short, long)]
    all: bool,
    /// Remove also anonymous volumes that are not used
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    prune: PruneArgs,
}

impl SystemCommand {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        match self {
            SystemCommand::Check(args) => check(&args, session),
            SystemCommand::Df(args) => df(&args, session),
            SystemCommand::Events(args) => args.run(session),
            SystemCommand::Info(args) => args.info(session),
            SystemCommand::Resume(args) => resume(&args, session),
            SystemCommand::Prune(args) => {
                if args.volumes && filter::prune(&args.prune.filter)?.until.is_some() {
                    return Err(Error::invalid("the filter \"until\" does not go with --volumes")
                        .with_hint("a volume is used when it was made long ago, too"));
                }
                let images = if args.all { "all images that no container uses" } else { "all images without a name" };
                let volumes = if args.volumes { ", all anonymous volumes that no container uses" } else { "" };
                let cache = if args.all { "all that builds keep" } else { "what builds keep that is in no image" };
                let warning = format!(
                    "This will remove all containers that do not run, all networks that no container uses, {images}, \
                     {cache}{volumes}."
                );
                args.prune.run(session, &warning, "Deleted:", |engine, filter| {
                    engine.system_prune(args.all, args.volumes, filter)
                })
            }
        }
    }
}

impl PruneArgs {
    /// Asks, prunes, and prints Docker's report.
    pub(crate) fn run(
        &self,
        session: &mut Session,
        warning: &str,
        heading: &str,
        prune: impl FnOnce(&Engine, &PruneFilter) -> Result<PruneReport>,
    ) -> Result<u8> {
        let filter = filter::prune(&self.filter)?;
        if !self.force && !confirm(warning)? {
            return Ok(0);
        }
        let report = prune(&session.engine()?, &filter)?;
        if !report.items.is_empty() {
            session.out.line(heading)?;
            report.items.iter().try_for_each(|item| session.out.line(item))?;
            session.out.line("")?;
        }
        session.out.line(format!("Total reclaimed space: {}", units::finer_size(report.freed_bytes)))?;
        session.out.flush()?;
        report.failures.iter().for_each(|failure| report::error(&Error::failed(failure.clone())));
        Ok(if report.failures.is_empty() { 0 } else { Kind::Failed.exit_code() })
    }
}

impl FormatArgs {
    /// `rhumb info`.
    pub(crate) fn info(&self, session: &mut Session) -> Result<u8> {
        let info = session.engine()?.system_info()?;
        listing::fact(&mut session.out, self.format.as_deref(), &docker::info(&info), || info_text(&info))?;
        Ok(0)
    }

    /// `rhumb version`.
    pub(crate) fn version(&self, session: &mut Session) -> Result<u8> {
        let version = env!("CARGO_PKG_VERSION");
        let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
        let value = docker::version(version, os, architecture);
        let text = || vec![format!("Version:    {version}"), format!("OS/Arch:    {os}/{architecture}")];
        listing::fact(&mut session.out, self.format.as_deref(), &value, text)?;
        Ok(0)
    }
}

fn check(args: &CheckArgs, session: &mut Session) -> Result<u8> {
    let report = session.engine()?.system_check(CheckOptions { repair: args.repair, rehash: args.rehash })?;
    let left = report.problems.iter().filter(|problem| !problem.repaired).count();
    if args.json {
        session.out.pretty_json(&report)?;
    } else {
        for problem in &report.problems {
            let mended = if problem.repaired { " (repaired)" } else { "" };
            session.out.line(format!("{} {}: {}{mended}", problem.noun, problem.name, problem.problem))?;
        }
        let found = match report.problems.len() {
            0 => "no problem".to_owned(),
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        session.out.line(format!("Checked {}: {found}, {} repaired.", report.checked, report.problems.len() - left))?;
    }
    if left > 0 && !args.repair {
        session.out.flush()?;
        report::note("hint: run rhumb system check --repair");
    }
    Ok(if left == 0 { 0 } else { Kind::Corrupt.exit_code() })
}

fn resume(args: &ResumeArgs, session: &mut Session) -> Result<u8> {
    let resumed = session.engine()?.system_resume()?;
    if args.json {
        session.out.pretty_json(&resumed)?;
    } else {
        resumed.started.iter().try_for_each(|id| session.out.line(id))?;
        session.out.flush()?;
        resumed.failures.iter().for_each(|failure| report::error(&Error::failed(failure.clone())));
    }
    Ok(if resumed.failures.is_empty() { 0 } else { Kind::Failed.exit_code() })
}

fn df(args: &FormatArgs, session: &mut Session) -> Result<u8> {
    let format = Format::new(&docker::DISK_USAGE, args.format.as_deref(), false)?;
    let usage = session.engine()?.system_df()?;
    listing::print(&mut session.out, &format, usage.rows.iter().map(|row| docker::disk_usage_row(row).into()))?;
    Ok(0)
}

fn info_text(info: &Info) -> Vec<String> {
    vec![
        format!("Version: {}", info.version),
        format!("State root: {}", info.root),
        format!("Containers: {}", info.containers_running + info.containers_paused + info.containers_stopped),
        format!(" Running: {}", info.containers_running),
        format!(" Paused: {}", info.containers_paused),
        format!(" Stopped: {}", info.containers_stopped),
        format!("Images: {}", info.images),
        format!("Volumes: {}", info.volumes),
        "Storage driver: overlay2".into(),
        "Logging driver: json-file".into(),
        format!("Cgroup version: {}", info.cgroup),
        format!("Kernel version: {}", info.kernel),
        format!("Operating system: {}", info.operating_system),
        format!("Architecture: {}", info.architecture),
        format!("CPUs: {}", info.cpus),
        format!("Total memory: {}", units::binary_size(info.memory_bytes)),
    ]
}
