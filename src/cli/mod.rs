//! Floor 7: the command line. Docker's verbs and flags, flat (`rhumb ps`) and grouped (`rhumb container ls`).
//!
//! ```text
//! arguments ─▶ program?  FILE.rhai, -e, -, nothing    ─▶ crate::script, crate::repl   (nothing is parsed with clap)
//!           ─▶ command   clap, only the asked subcommand is built ─▶ one engine call ─▶ Out (standard output)
//! ```
//!
//! Decodes, calls the engine once, encodes: nothing is decided about containers here. Results go to standard output,
//! everything else to standard error. A closed standard output is success, since whoever read it had enough.

mod attach;
mod build;
mod builder;
mod command;
mod confirm;
mod container;
mod events;
mod exec;
mod filter;
mod flags;
mod help;
mod image;
mod inspect;
mod listing;
mod network;
pub mod oci;
mod out;
mod program;
mod refused;
mod registry;
mod report;
mod run;
mod screen;
mod system;
mod table;
mod truth;
mod volume;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory as _, Parser as _};

use crate::base::{Kind, Result};
use crate::engine::event::LostEvents;
use crate::engine::{Engine, EngineOptions};
use crate::sys::signal_pipe;

pub(crate) use out::Out;
pub use program::Prompt;

/// What every verb gets: where the state is, and where results go.
pub(crate) struct Session {
    root: Option<PathBuf>,
    interrupt: Arc<AtomicBool>,
    lost_events: LostEvents,
    engine: OnceCell<Engine>,
    /// Standard output.
    pub(crate) out: Out,
}

/// An engine as this environment has it.
pub(crate) fn engine_options(root: Option<PathBuf>) -> EngineOptions {
    let proxies = PROXIES.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)));
    EngineOptions {
        root,
        search_path: std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect(),
        proxies: proxies.collect(),
        default_network: std::env::var(NETWORK_VARIABLE).ok(),
        pull: std::env::var(PULL_VARIABLE).ok(),
        build_cache: std::env::var(BUILD_CACHE_VARIABLE).ok(),
        registries: registry::registries(),
        ..EngineOptions::default()
    }
}

impl Session {
    fn new(root: Option<PathBuf>) -> Session {
        Session {
            root,
            interrupt: Arc::default(),
            lost_events: LostEvents::default(),
            engine: OnceCell::new(),
            out: Out::new(),
        }
    }

    /// Opens the state root, once. From here on the first Ctrl-C ends waits, so that half-done things are undone; the
    /// second one ends the process, and the next command undoes them.
    pub(crate) fn engine(&self) -> Result<Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine.clone());
        }
        signal_pipe::raise_flag_on(&signal_pipe::ENDING, &self.interrupt)?;
        let engine = Engine::open(&EngineOptions {
            interrupt: Arc::clone(&self.interrupt),
            lost_events: self.lost_events.clone(),
            ..engine_options(self.root.clone())
        })?;
        Ok(self.engine.get_or_init(|| engine).clone())
    }

    /// The flag that ends the engine's waits.
    pub(crate) fn interrupt(&self) -> &Arc<AtomicBool> {
        &self.interrupt
    }

    /// Does `act` for each operand. A failure is reported and the rest goes on; the exit code is the first failure's.
    pub(crate) fn each(&mut self, operands: &[String], mut act: impl FnMut(&mut Session, &str) -> Result<()>) -> u8 {
        let mut code = 0;
        for operand in operands {
            if let Err(error) = act(self, operand) {
                if out::is_broken() {
                    return 0;
                }
                // What was done so far stands before what failed, also when both go to one terminal.
                if self.out.flush().is_err() {
                    return 0;
                }
                report::error(&error);
                code = if code == 0 { error.kind().exit_code() } else { code };
                if error.kind() == Kind::Interrupted {
                    break;
                }
            }
        }
        code
    }
}

/// Variables that say how one gets out of this network, as curl and git read them.
const PROXIES: [&str; 7] =
    ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"];

/// The variable that names the network of containers that say nothing of one: `none`, `host`, or a network.
const NETWORK_VARIABLE: &str = "RHUMB_NETWORK";

/// The variable with the most that builds keep for the next one, such as `20GB`.
const BUILD_CACHE_VARIABLE: &str = "RHUMB_BUILD_CACHE";

/// The variable that says when images are fetched from their registries: `missing`, `always` or `never`.
const PULL_VARIABLE: &str = "RHUMB_PULL";

/// Runs the command line; `args` begin with the program's name. `prompt` is what runs at a terminal when no command is
/// given; none reads a script there. Returns the exit code.
pub fn main(args: &[OsString], prompt: Option<Prompt>) -> u8 {
    match program::find(args) {
        Some(program) => program.run(prompt),
        None if help::is_asked(args) => {
            let mut session = Session::new(None);
            let printed = help::print(&mut session.out).map(|()| 0);
            finish(session, printed, None)
        }
        None => match command::Cli::try_parse_from(plain(args).as_ref()) {
            Err(error) => report::usage(&error, args),
            Ok(cli) => {
                if let command::Command::Repl(_) = cli.command {
                    return program::repl(cli.root, prompt);
                }
                // A script writes from a thread of its own, and a session holds standard output.
                if let Some(args) = cli.command.build() {
                    match args.script(cli.root.as_deref()) {
                        Ok(None) => {}
                        Ok(Some(code)) => return code,
                        Err(error) => {
                            report::error(&error);
                            return error.kind().exit_code();
                        }
                    }
                }
                let mut session = Session::new(cli.root);
                let engine_code = cli.command.engine_code();
                let result = cli.command.run(&mut session);
                finish(session, result, engine_code)
            }
        },
    }
}

/// The arguments without values of switches.
fn plain(args: &[OsString]) -> Cow<'_, [OsString]> {
    match truth::may_have(args) {
        true => {
            let mut command = command::Cli::command();
            command.build();
            Cow::Owned(truth::plain(&command, args))
        }
        false => Cow::Borrowed(args),
    }
}

/// Clears up after a container that ended, and removes one that was started with `--rm`: the monitor's last act, as the hidden verb `[reap] ROOT ID`.
/// Returns the exit code.
pub fn reap(root: &OsStr, id: &str) -> u8 {
    let removed = Engine::open(&EngineOptions { root: Some(Path::new(root).to_owned()), ..Default::default() })
        .and_then(|engine| engine.container_reap(id));
    match removed {
        // Somebody else removed it first.
        Err(error) if error.kind() == Kind::NotFound => 0,
        Err(error) => {
            report::error(&error);
            error.kind().exit_code()
        }
        Ok(()) => 0,
    }
}

/// Writes out what is left, and turns the outcome into an exit code.
fn finish(mut session: Session, result: Result<u8>, engine_code: Option<u8>) -> u8 {
    let flushed = session.out.flush();
    if let Some(lost) = session.lost_events.take() {
        report::note(&format!("warning: {lost}"));
    }
    match result.and_then(|code| flushed.map(|()| code)) {
        _ if out::is_broken() => 0,
        Ok(code) => code,
        Err(error) => {
            report::error(&error);
            report::exit_code(&error, engine_code)
        }
    }
}
