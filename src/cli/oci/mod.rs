//! `rhumb oci`: the runtime command line as runc's and crun's users and engines call it.
//!
//! Also what this program is when its own name ends in `-oci` or `-runc`: engines take a runtime's path and no arguments.
//! Decodes, calls [`crate::runtime::oci`] once, encodes. It never opens the store, and has one thread.
//!
//! ```text
//! options  global options and flags of each verb     exec, update   those two verbs' own flags
//! list     list and ps                                stats          events, as runc prints them
//! spec     a config.json to begin with
//! log      where errors go, in runc's two formats
//! ```

mod exec;
mod list;
mod log;
mod options;
mod spec;
mod stats;
mod update;

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::base::{Error, Result};
use crate::runtime::oci::{self, DEFAULT_ROOT, Root};
use options::{CgroupManager, Cli, Global, Verb};

/// The subcommand that leads here.
const NAME: &str = "oci";

/// The arguments for [`main`], which begin with the program's name, when `args` ask for it.
pub fn asked(args: &[OsString]) -> Option<Vec<OsString>> {
    let program = args.first()?;
    let own_name = [OsStr::new("-oci"), OsStr::new("-runc")];
    if own_name.iter().any(|ending| program.as_bytes().ends_with(ending.as_bytes())) {
        return Some(args.to_vec());
    }
    match args.get(1) {
        Some(first) if first == NAME => {
            let name = OsString::from("rhumb oci");
            Some(std::iter::once(name).chain(args[2..].iter().cloned()).collect())
        }
        _ => None,
    }
}

/// Runs the command line. Returns the exit code.
pub fn main(args: Vec<OsString>) -> u8 {
    // Reading the command line once is enough, so this comes before it whenever a word may be such a verb; what keeps it
    // from happening is reported where it is needed.
    if args.iter().any(|arg| ENTERING.iter().any(|verb| arg == verb)) {
        let _ = oci::harden(); // as just said
    }
    let program = args.first().map(PathBuf::from).unwrap_or_default();
    let parsed = Cli::command().try_get_matches_from(args).and_then(|matches| {
        let verb = matches.subcommand_name().unwrap_or_default().to_owned();
        Ok((Cli::from_arg_matches(&matches)?, verb))
    });
    let (cli, name) = match parsed {
        Ok(parsed) => parsed,
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            let program = program.file_name().unwrap_or(OsStr::new(NAME)).to_string_lossy();
            // As below.
            let _ = print(&options::version(&program));
            return 0;
        }
        Err(error) => {
            // Help goes to standard output, errors to standard error; nobody is left to tell when it is closed.
            let _ = error.print();
            return u8::from(error.use_stderr());
        }
    };
    let Cli { global, verb } = cli;
    let execs = matches!(verb, Verb::Exec(_));
    let begun = Instant::now();
    log::debug(&global, || format!("{name} begins"));
    let mut warnings = Vec::new();
    let result = run(&global, verb, &mut warnings);
    log::debug(&global, || format!("{name} ends after {:?}", begun.elapsed()));
    warnings.iter().for_each(|warning| log::warning(&global, warning));
    match result {
        Ok(code) => code,
        Err(error) => {
            log::error(&global, &error);
            if execs { EXEC_FAILED } else { 1 }
        }
    }
}

/// The verbs that let processes of a container see this one.
const ENTERING: [&str; 3] = ["create", "run", "exec"];

/// What `exec` exits with when there is no command's status, as with runc.
const EXEC_FAILED: u8 = 255;

fn run(global: &Global, verb: Verb, warnings: &mut Vec<String>) -> Result<u8> {
    if global.cgroup_manager == CgroupManager::Disabled {
        return Err(Error::unsupported("a container without a cgroup").with_hint("leave --cgroup-manager out"));
    }
    if global.systemd_cgroup || global.cgroup_manager == CgroupManager::Systemd {
        return Err(Error::unsupported("systemd cgroups are not supported")
            .with_hint("leave --systemd-cgroup or --cgroup-manager out; with podman: --cgroup-manager=cgroupfs"));
    }
    let root = Root(global.root.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_ROOT)));
    match verb {
        Verb::Create(args) => {
            oci::harden()?;
            oci::create(&root, &args.id, &args.create(), warnings)?;
        }
        Verb::Run(args) => {
            oci::harden()?;
            let code = oci::run(&root, &args.create.id, &args.options(), warnings)?;
            return Ok(u8::try_from(code).unwrap_or(u8::MAX));
        }
        Verb::Start(args) => oci::start(&root, &args.id, warnings)?,
        Verb::State(args) => print_json(&oci::container(&root, &args.id)?)?,
        Verb::Kill(args) => oci::kill(&root, &args.id, args.signal()?, args.all)?,
        Verb::Delete(args) => oci::delete(&root, &args.id, args.force, warnings)?,
        Verb::Exec(args) => {
            oci::harden()?;
            let id = args.id.clone();
            let code = oci::exec(&root, &id, &args.options()?, warnings)?;
            return Ok(u8::try_from(code).unwrap_or(u8::MAX));
        }
        Verb::List(args) => list::list(&root, &args, warnings)?,
        Verb::Ps(args) => list::ps(&root, &args)?,
        Verb::Pause(args) => oci::pause(&root, &args.id)?,
        Verb::Resume(args) => oci::resume(&root, &args.id)?,
        Verb::Update(args) => oci::update(&root, &args.id, &args.resources()?)?,
        Verb::Events(args) => stats::events(&root, &args)?,
        Verb::Spec(args) => spec::write(&args)?,
        Verb::Features => print_json(&oci::features())?,
    }
    Ok(0)
}

/// Prints a value as runc does: indented by two spaces, with a line end.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).expect("plain data with string keys is always JSON");
    text.push('\n');
    print(&text)
}

/// Writes to standard output; a closed one is success.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::from(error).context("writing the result"))
        }
        _ => Ok(()),
    }
}
