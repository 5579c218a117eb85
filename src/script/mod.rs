//! Floor 6: the Rhai host. Bindings for every noun, conversion of values and errors, the embedded standard library, and
//! running scripts in batch ([`run_file`], [`run_text`]) or line by line ([`Session`]).
//!
//! Bindings decode, call the engine once and encode; what a container is, they do not know. Everything a script prints
//! goes to the writers of the [`Console`] that a front end gives. The one door to `rhai`.
//!
//! ```text
//! run_file ─▶ setup (modules, limits, hooks) ─▶ compile ─▶ evaluate ─▶ defers ─▶ temp dirs ─▶ report, exit code
//!               │ Tag{Host, Frame} travels in Rhai's call context
//!               ▼
//!   container.rs image.rs volume.rs …   context::engine(ctx) opens the engine on first use
//! ```

mod args;
mod backup;
mod build;
mod closure;
mod container;
mod context;
mod control;
mod convert;
mod display;
pub mod doc;
mod error;
mod events;
mod host;
mod http;
mod image;
mod network;
mod output;
mod race;
mod reach;
mod report;
mod resolve;
mod secret;
mod session;
mod setup;
mod suggest;
mod system;
mod topology;
mod units;
mod volume;

use std::path::Path;
use std::sync::{Arc, PoisonError};

use rhai::{Dynamic, EvalAltResult, Scope};

use crate::base::error::Context as _;
use crate::base::{Error, Kind, Result};
use crate::script::context::{Frame, Host, Tag};
use crate::script::error::Fault;
use crate::script::report::Main;
use crate::script::resolve::Modules;

pub use crate::script::build::{Builds, Show};
pub use crate::script::context::{Console, Options};
pub use crate::script::resolve::standard_modules;
pub use crate::script::session::{Colour, Evaluated, Session};

/// The longest script, in bytes.
const MAX_SCRIPT_BYTES: u64 = 16 * 1024 * 1024;

/// Runs a script file to its end and returns the exit code of the process.
pub fn run_file(path: &Path, options: Options) -> u8 {
    let host = Arc::new(Host::new(options));
    match read_script(path) {
        Ok(text) => run(&host, &path.to_string_lossy(), &text, false),
        Err(error) => {
            say_fault(&host, &Fault::from_error(&error), Main { name: "", text: "" });
            error.kind().exit_code()
        }
    }
}

/// Runs a text as a script: `name` stands for it in errors. With `show`, the value of its last expression is printed, as
/// `-e` does. Returns the exit code of the process.
pub fn run_text(name: &str, text: &str, show: bool, options: Options) -> u8 {
    run(&Arc::new(Host::new(options)), name, &resolve::without_shebang(text), show)
}

fn read_script(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).context(|| format!("reading the script {path:?}"))?.len();
    if size > MAX_SCRIPT_BYTES {
        return Err(Error::invalid(format!("the script {path:?} is larger than 16 MiB")));
    }
    let text = std::fs::read_to_string(path).context(|| format!("reading the script {path:?}"))?;
    Ok(resolve::without_shebang(&text))
}

fn run(host: &Arc<Host>, name: &str, text: &str, show: bool) -> u8 {
    if let Err(error) = crate::sys::signal_pipe::raise_flag_on(&crate::sys::signal_pipe::ENDING, host.interrupt()) {
        host.note(&format!("warning: Ctrl-C will not run what is deferred: {error}"));
    }
    let frame = Arc::new(Frame::default());
    let engine = setup::engine_for(Tag { host: host.clone(), frame: frame.clone() }, Modules::default());
    let (ended, failures) = on_large_stack(|| {
        let ended = evaluate(&engine, name, text);
        let interrupted = host.wind_up();
        (Ended::new(ended, interrupted), control::run_deferred(&engine, &frame))
    });
    let code = finish(host, &engine, ended, failures, Main { name, text }, show);
    host.remove_temp_dirs();
    code
}

/// Rhai's evaluator recurses deeper than the main thread's stack allows.
fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(setup::STACK_BYTES).spawn_scoped(scope, work);
        let thread = thread.expect("a process can make its second thread");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn evaluate(engine: &rhai::Engine, name: &str, text: &str) -> Result<Dynamic, Box<EvalAltResult>> {
    let mut ast = engine.compile(text).map_err(Box::<EvalAltResult>::from)?;
    ast.set_source(name);
    engine.eval_ast_with_scope::<Dynamic>(&mut Scope::new(), &ast).map_err(|error| race::placed(error, &ast))
}

/// How the script itself ended, before its defers.
struct Ended {
    result: Result<Dynamic, Box<EvalAltResult>>,
    interrupted: bool,
}

impl Ended {
    fn new(result: Result<Dynamic, Box<EvalAltResult>>, interrupted: bool) -> Ended {
        Ended { result, interrupted }
    }
}

/// Says what there is to say and picks the exit code.
fn finish(
    host: &Host,
    engine: &rhai::Engine,
    ended: Ended,
    failures: Vec<EvalAltResult>,
    main: Main<'_>,
    show: bool,
) -> u8 {
    let mut code = match ended.result {
        // What `exit` was called with; Rhai gives its value as the script's.
        Ok(_) if host.exit_code().is_some() => host.exit_code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        Ok(value) => {
            if show && !value.is_unit() {
                host.say(&format!("{}\n", display::pretty(&value, host.width)));
            }
            let asked = host.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut unread = args::unread(&host.args, &asked);
            // A script that reads no option may be one of those that take what they are given elsewhere.
            if host.builds.is_none() && asked.is_empty() {
                unread.clear();
            }
            let unnamed = host.builds.is_some() && unread.remove("tag");
            let warnings = args::unused(unread, &asked);
            for warning in warnings.into_iter().chain(host.builds.iter().flat_map(Builds::unheeded)) {
                host.note(&warning);
            }
            match unnamed {
                true => {
                    let fault = Fault::from_error(&build::unnamed());
                    say_fault(host, &fault, Main { name: "", text: "" });
                    fault.kind.exit_code()
                }
                false => 0,
            }
        }
        Err(_) if ended.interrupted => {
            host.note("interrupted");
            for container in host.still_running() {
                host.note(&format!("still running: {container}"));
            }
            Kind::Interrupted.exit_code()
        }
        // Nobody reads the output any more: that is the reader's right, not a failure.
        Err(_) if host.is_output_closed() => 0,
        Err(error) => {
            let fault = error::describe(&error, host.names(engine));
            say_fault(host, &fault, main);
            fault.kind.exit_code()
        }
    };
    if let Some(lost) = host.engine_if_open().and_then(|engine| engine.lost_events().take()) {
        host.note(&format!("warning: {lost}"));
    }
    for failure in failures {
        let fault = error::describe(&failure, host.names(engine));
        host.note("in a deferred closure:");
        say_fault(host, &fault, main);
        if code == 0 {
            code = fault.kind.exit_code();
        }
    }
    code
}

fn say_fault(host: &Host, fault: &Fault, main: Main<'_>) {
    let colour = host.console.lock().unwrap_or_else(PoisonError::into_inner).colour;
    host.note(report::render(fault, main, colour).trim_end());
}

#[cfg(test)]
mod tests;
