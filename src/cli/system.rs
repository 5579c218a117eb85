//! The verbs of the engine as a whole: info, df, events, prune, check, resume, version.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::base::{Error, Kind, Result, units};
use crate::cli::confirm::confirm;
use crate::cli::events::EventsArgs;
use crate::cli::listing::{self, Format};
use crate::cli::table::Table;
use crate::cli::{Session, report};
use crate::engine::Engine;
use crate::model::system::{CheckOptions, DiskUsageRow, Info, PruneReport};

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
    /// Print in this form: table or json
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

// What all prunes share.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Prune only what fits; none so far
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    filter: Vec<String>,
}

// `rhumb system prune`.
#[derive(Debug, Args)]
pub(crate) struct SystemPruneArgs {
    /// Remove also images that have a name and are not used
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
                let images = if args.all { "all images that no container uses" } else { "all images without a name" };
                let volumes = if args.volumes { ", all anonymous volumes that no container uses" } else { "" };
                let warning = format!("This will remove all containers that do not run, {images}{volumes}.");
                args.prune.run(session, &warning, "Deleted:", |engine| engine.system_prune(args.all, args.volumes))
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
        prune: impl FnOnce(&Engine) -> Result<PruneReport>,
    ) -> Result<u8> {
        if let Some(filter) = self.filter.first() {
            return Err(Error::unsupported(format!("prune filter {filter:?} is not supported yet"))
                .with_hint("list with --filter and remove what you see"));
        }
        if !self.force && !confirm(warning)? {
            return Ok(0);
        }
        let report = prune(&session.engine()?)?;
        if !report.items.is_empty() {
            session.out.line(heading)?;
            report.items.iter().try_for_each(|item| session.out.line(item))?;
            session.out.line("")?;
        }
        session.out.line(format!("Total reclaimed space: {}", units::human_size(report.freed_bytes)))?;
        session.out.flush()?;
        report.failures.iter().for_each(|failure| report::error(&Error::failed(failure.clone())));
        Ok(if report.failures.is_empty() { 0 } else { Kind::Failed.exit_code() })
    }
}

impl FormatArgs {
    /// `rhumb info`.
    pub(crate) fn info(&self, session: &mut Session) -> Result<u8> {
        let format = listing::format(self.format.as_deref())?;
        let info = session.engine()?.system_info()?;
        match format {
            Format::Json => session.out.json(&info_json(&info))?,
            Format::Table => info_text(&info).iter().try_for_each(|line| session.out.line(line))?,
        }
        Ok(0)
    }

    /// `rhumb version`.
    pub(crate) fn version(&self, session: &mut Session) -> Result<u8> {
        let version = env!("CARGO_PKG_VERSION");
        let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
        match listing::format(self.format.as_deref())? {
            Format::Json => session.out.json(&json!({ "Version": version, "Os": os, "Arch": architecture }))?,
            Format::Table => {
                session.out.line(format!("Version:    {version}"))?;
                session.out.line(format!("OS/Arch:    {os}/{architecture}"))?;
            }
        }
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
    let format = listing::format(args.format.as_deref())?;
    let usage = session.engine()?.system_df()?;
    if format == Format::Json {
        let rows = usage.rows.iter().map(|row| {
            json!({
                "Active": row.active.to_string(),
                "Reclaimable": reclaimable(row),
                "Size": units::human_size(row.size_bytes),
                "TotalCount": row.total.to_string(),
                "Type": row.noun,
            })
        });
        listing::json_lines(&mut session.out, rows)?;
        return Ok(0);
    }
    let mut table = Table::new(&["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    for row in &usage.rows {
        table.row(vec![
            row.noun.clone(),
            row.total.to_string(),
            row.active.to_string(),
            units::human_size(row.size_bytes),
            reclaimable(row),
        ]);
    }
    table.print(&mut session.out)?;
    Ok(0)
}

/// `1.2MB (50%)`; without the share when there is nothing at all.
fn reclaimable(row: &DiskUsageRow) -> String {
    let size = units::human_size(row.reclaimable_bytes);
    match (row.reclaimable_bytes * 100).checked_div(row.size_bytes) {
        Some(share) => format!("{size} ({share}%)"),
        None => size,
    }
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

/// The fields of Docker's `GET /info` that have an answer here.
fn info_json(info: &Info) -> serde_json::Value {
    json!({
        "ServerVersion": info.version,
        "DockerRootDir": info.root,
        "Containers": info.containers_running + info.containers_paused + info.containers_stopped,
        "ContainersRunning": info.containers_running,
        "ContainersPaused": info.containers_paused,
        "ContainersStopped": info.containers_stopped,
        "Images": info.images,
        "Volumes": info.volumes,
        "Driver": "overlay2",
        "LoggingDriver": "json-file",
        "CgroupVersion": info.cgroup,
        "KernelVersion": info.kernel,
        "OperatingSystem": info.operating_system,
        "OSType": "linux",
        "Architecture": info.architecture,
        "NCPU": info.cpus,
        "MemTotal": info.memory_bytes,
    })
}
