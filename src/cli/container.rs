//! The verbs of containers that read or change them without joining their streams.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::base::{Context as _, Error, Result, Timestamp, units};
use crate::cli::exec::ExecArgs;
use crate::cli::inspect::{self, InspectArgs};
use crate::cli::listing::{self, Format};
use crate::cli::run::{AttachArgs, CreateArgs, RunArgs, StartArgs};
use crate::cli::system::PruneArgs;
use crate::cli::table::Table;
use crate::cli::{Session, filter, out};
use crate::docker::container as docker;
use crate::model::container::{ContainerFilter, ContainerRemove};
use crate::model::log::{LogEntry, LogQuery, Stream};

/// How long `stop -t -1` waits: for ever, as far as anybody can tell.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The verbs that are both flat and in the group.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ContainerVerb {
    /// Attach to a running container
    Attach(AttachArgs),
    /// Make a container without starting it
    #[command(disable_help_flag = true, override_usage = "rhumb create [OPTIONS] IMAGE [COMMAND] [ARG]...")]
    Create(Box<CreateArgs>),
    /// Run a command in a running container
    #[command(override_usage = "rhumb exec [OPTIONS] CONTAINER COMMAND [ARG]...")]
    Exec(ExecArgs),
    /// Write a container's file system as a tar
    Export(ExportArgs),
    /// Send a signal to containers
    Kill(KillArgs),
    /// Show a container's output
    Logs(LogsArgs),
    /// Freeze all processes of containers
    Pause(Names),
    /// Rename a container
    Rename(RenameArgs),
    /// Stop and start containers
    Restart(StopArgs),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Make a container from an image and run it
    #[command(disable_help_flag = true, override_usage = "rhumb run [OPTIONS] IMAGE [COMMAND] [ARG]...")]
    Run(Box<RunArgs>),
    /// Start containers
    Start(StartArgs),
    /// Stop containers
    Stop(StopArgs),
    /// Thaw all processes of containers
    Unpause(Names),
    /// Wait until containers end and print their exit codes
    Wait(Names),
}

/// `rhumb container`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ContainerCommand {
    #[command(flatten)]
    Verb(ContainerVerb),
    /// Show all facts of containers as JSON
    Inspect(InspectArgs),
    /// List containers
    #[command(visible_aliases = ["ps", "list"])]
    Ls(PsArgs),
    /// Remove all containers that do not run
    Prune(PruneArgs),
}

// One or more containers.
#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

// `rhumb export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name or id
    container: String,
}

// `rhumb kill`.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Send this signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    #[command(flatten)]
    names: Names,
}

// `rhumb logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Show only the last lines: a number or all
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<String>,
    /// Show only what came after a time, or within an age such as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show only what came before a time, or an age such as 10m
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show times
    #[arg(short, long)]
    timestamps: bool,
    /// Name or id
    container: String,
}

// `rhumb rename`.
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// Name or id
    container: String,
    /// The new name
    name: String,
}

// `rhumb stop` and `rhumb restart`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Stop with this signal
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Kill after so many seconds; -1 to wait for ever
    #[arg(short, long = "timeout", alias = "time", value_name = "SECONDS", allow_negative_numbers = true)]
    timeout: Option<i64>,
    #[command(flatten)]
    names: Names,
}

// `rhumb rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Kill a running container first
    #[arg(short, long)]
    force: bool,
    /// Remove its anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    #[command(flatten)]
    names: Names,
}

// `rhumb ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Show also containers that do not run
    #[arg(short, long)]
    all: bool,
    /// Show only what fits: name, id, status, label, ancestor, volume, exited
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print in this form: table or json
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
}

impl ContainerVerb {
    /// Whether a failure of the engine has an exit code of its own.
    pub(crate) fn has_command(&self) -> bool {
        matches!(self, ContainerVerb::Run(_) | ContainerVerb::Exec(_))
    }

    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        match self {
            ContainerVerb::Attach(args) => args.run(session),
            ContainerVerb::Create(args) => args.run(session),
            ContainerVerb::Exec(args) => args.run(session),
            ContainerVerb::Export(args) => export(args, session),
            ContainerVerb::Kill(args) => {
                args.names.each(session, |engine, name| engine.container_kill(name, Some(&args.signal)))
            }
            ContainerVerb::Logs(args) => logs(args, session),
            ContainerVerb::Pause(names) => names.each(session, |engine, name| engine.container_pause(name)),
            ContainerVerb::Rename(args) => {
                session.engine()?.container_rename(&args.container, &args.name)?;
                Ok(0)
            }
            ContainerVerb::Restart(args) => restart(args, session),
            ContainerVerb::Rm(args) => {
                let how = ContainerRemove { force: args.force, volumes: args.volumes };
                args.names.each(session, |engine, name| engine.container_remove(name, how))
            }
            ContainerVerb::Run(args) => args.run(session),
            ContainerVerb::Start(args) => args.run(session),
            ContainerVerb::Stop(args) => {
                let grace = args.grace()?;
                let signal = args.signal.as_deref();
                args.names.each(session, |engine, name| engine.container_stop(name, signal, grace))
            }
            ContainerVerb::Unpause(names) => names.each(session, |engine, name| engine.container_unpause(name)),
            ContainerVerb::Wait(names) => wait(names, session),
        }
    }
}

impl ContainerCommand {
    pub(crate) fn has_command(&self) -> bool {
        matches!(self, ContainerCommand::Verb(verb) if verb.has_command())
    }

    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        match self {
            ContainerCommand::Verb(verb) => verb.run(session),
            ContainerCommand::Inspect(args) => inspect::run(args, Some(inspect::Kind::Container), session),
            ContainerCommand::Ls(args) => args.run(session),
            ContainerCommand::Prune(args) => {
                args.run(session, "This will remove all containers that do not run.", "Deleted Containers:", |engine| {
                    engine.container_prune()
                })
            }
        }
    }
}

impl Names {
    /// Does `act` for each container and prints its name as it was given.
    fn each(&self, session: &mut Session, act: impl Fn(&crate::engine::Engine, &str) -> Result<()>) -> Result<u8> {
        let engine = session.engine()?;
        Ok(session.each(&self.containers, |session, name| {
            act(&engine, name)?;
            session.out.line(name)
        }))
    }
}

impl StopArgs {
    fn grace(&self) -> Result<Option<Duration>> {
        match self.timeout {
            None => Ok(None),
            Some(-1) => Ok(Some(NEVER)),
            Some(seconds) => u64::try_from(seconds)
                .map(|seconds| Some(Duration::from_secs(seconds)))
                .map_err(|_| Error::invalid(format!("option \"--timeout\" takes seconds or -1, not {seconds}"))),
        }
    }
}

impl PsArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let format = listing::format(self.format.as_deref())?;
        let newest = match self.last {
            _ if self.latest => Some(1),
            // Docker's -1 is no limit.
            Some(count) => usize::try_from(count).ok(),
            None => None,
        };
        let mut query = ContainerFilter { all: self.all, last: newest, ..Default::default() };
        filter::container(&self.filter, &mut query)?;
        let containers = session.engine()?.container_list(&query)?;
        let id = |container: &crate::model::container::Container| {
            let id = &container.record.id;
            if self.no_trunc { id.to_string() } else { id.short().to_owned() }
        };
        if self.quiet {
            containers.iter().try_for_each(|container| session.out.line(id(container)))?;
            return Ok(0);
        }
        if format == Format::Json {
            let rows = containers.iter().map(|container| docker::list_row(container, self.no_trunc));
            listing::json_lines(&mut session.out, rows)?;
            return Ok(0);
        }
        let mut table = Table::new(&["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
        for container in &containers {
            table.row(vec![
                id(container),
                container.record.image.clone(),
                docker::command_cell(&container.record, self.no_trunc),
                docker::age(container.record.created),
                docker::status_cell(&container.state),
                String::new(),
                container.name.clone(),
            ]);
        }
        table.print(&mut session.out)?;
        Ok(0)
    }
}

fn export(args: ExportArgs, session: &mut Session) -> Result<u8> {
    let engine = session.engine()?;
    match &args.output {
        Some(path) => {
            let writing = || format!("writing {path:?}");
            let mut file = std::fs::File::create(path).context(writing)?;
            let exported = engine.container_export(&args.container, &mut file);
            if exported.is_err() {
                // Half a tar is worse than none; the export's error is the one to tell.
                let _ = std::fs::remove_file(path);
            }
            exported?;
            file.sync_all().context(writing)?;
        }
        None => {
            refuse_terminal("a tar", "-o FILE")?;
            engine.container_export(&args.container, &mut session.out.writer())?;
        }
    }
    Ok(0)
}

/// Refuses to write bytes to a terminal.
pub(crate) fn refuse_terminal(what: &str, instead: &str) -> Result<()> {
    use std::io::IsTerminal as _;
    if std::io::stdout().is_terminal() {
        return Err(Error::invalid(format!("{what} cannot be written to a terminal"))
            .with_hint(format!("use {instead}, or send it into a pipe")));
    }
    Ok(())
}

fn restart(args: StopArgs, session: &mut Session) -> Result<u8> {
    if args.signal.is_some() {
        return Err(Error::unsupported("option \"--signal\" of restart is not supported yet")
            .with_hint("stop with --signal, then start"));
    }
    let grace = args.grace()?;
    args.names.each(session, |engine, name| engine.container_restart(name, grace))
}

fn wait(names: Names, session: &mut Session) -> Result<u8> {
    let engine = session.engine()?;
    Ok(session.each(&names.containers, |session, name| {
        let state = engine.container_wait(name, None)?;
        match state.exit_code {
            Some(code) => session.out.line(code),
            // A container that was never started has Docker's zero.
            None if state.error.is_none() => session.out.line(0),
            None => {
                let why = state.error.unwrap_or_default();
                Err(Error::failed(format!("the exit code of {name:?} is unknown: {why}")))
            }
        }
    }))
}

fn logs(args: LogsArgs, session: &mut Session) -> Result<u8> {
    let tail = match args.tail.as_deref() {
        None | Some("all" | "-1") => None,
        Some(lines) => Some(
            lines
                .parse()
                .map_err(|_| Error::invalid(format!("option \"--tail\" takes a number or all, not {lines:?}")))?,
        ),
    };
    let query = LogQuery {
        follow: args.follow,
        tail,
        since: time("--since", args.since.as_deref())?,
        until: time("--until", args.until.as_deref())?,
        stream: None,
    };
    let engine = session.engine()?;
    let mut stderr = std::io::stderr().lock();
    let mut each = |entry: LogEntry| -> Result<ControlFlow<()>> {
        let stamp = if args.timestamps { format!("{} ", log_time(entry.time)) } else { String::new() };
        match entry.stream {
            Stream::Stdout => {
                let mut writer = session.out.writer();
                out::written(writer.write_all(stamp.as_bytes()).and_then(|()| writer.write_all(&entry.bytes)))?;
                if args.follow {
                    session.out.flush()?;
                }
            }
            Stream::Stderr => {
                // In order with what went to standard output, when both are one terminal.
                session.out.flush()?;
                let written = stderr.write_all(stamp.as_bytes()).and_then(|()| stderr.write_all(&entry.bytes));
                written.context(|| "writing to standard error")?;
            }
        }
        Ok(ControlFlow::Continue(()))
    };
    engine.container_logs(&args.container, &query, &mut each)?;
    Ok(0)
}

/// Nine digits of a second, so that columns line up.
fn log_time(time: Timestamp) -> String {
    let text = time.to_string();
    let text = text.trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{fraction:0<9}Z")
}

/// A point in time, or an age.
fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>> {
    let Some(text) = text else { return Ok(None) };
    match (Timestamp::parse(text), units::parse_duration(text)) {
        (Ok(time), _) => Ok(Some(time)),
        (Err(_), Ok(age)) => Ok(Some(Timestamp::now().before(age))),
        (Err(error), Err(_)) => super::flags::flag(name, Err(error)),
    }
}
