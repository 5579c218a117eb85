//! What one running script shares: the engine (opened on first use), the console, the arguments, what was deferred, what
//! was started, and whether it is stopping.
//!
//! Bindings find it through the context of their call ([`Tag`]); there are no globals. It does not print on its own: text
//! goes to the writers of the [`Console`] that the front end gave.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rhai::{Dynamic, EvalAltResult, FnPtr, NativeCallContext};

use crate::base::{Error, Id, Result};
use crate::engine::{Engine, EngineOptions};
use crate::script::build::Builds;
use crate::script::error::{Fallible, Raise, thrown};
use crate::script::suggest::Names;

/// Where a script's text goes and comes from; the front end decides.
pub struct Console {
    /// Results: `print`, tables.
    pub out: Box<dyn Write + Send>,
    /// Everything else: errors, steps, warnings.
    pub err: Box<dyn Write + Send>,
    /// Answers to `confirm`.
    pub input: Box<dyn BufRead + Send>,
    /// Columns that tables may use.
    pub width: usize,
    /// Colour errors.
    pub colour: bool,
    /// A person is there to answer questions.
    pub interactive: bool,
    /// The terminal that they type at and look at, if both are one.
    pub terminal: Option<Arc<OwnedFd>>,
}

/// How a script is run.
pub struct Options {
    /// How the engine is opened, if the script uses it. Its interrupt flag stops the script too.
    pub engine: EngineOptions,
    /// What follows the script on the command line.
    pub args: Vec<String>,
    /// Where text goes.
    pub console: Console,
    /// What is said of its builds, when the script is a build script.
    pub builds: Option<Builds>,
}

/// What a closure that was deferred needs to be called later.
pub(crate) struct Deferred {
    pub(crate) closure: FnPtr,
    pub(crate) context: crate::script::closure::Kept,
}

/// The deferred closures of one `scope`, or of the script.
#[derive(Default)]
pub(crate) struct Frame {
    pub(crate) deferred: Mutex<Vec<Deferred>>,
}

/// The shared state.
pub(crate) struct Host {
    options: EngineOptions,
    engine: OnceLock<Engine>,
    opening: Mutex<()>,
    pub(crate) args: Vec<String>,
    pub(crate) builds: Option<Builds>,
    /// Options of the script that it asked for.
    pub(crate) asked: Mutex<BTreeSet<String>>,
    pub(crate) console: Mutex<Console>,
    pub(crate) width: usize,
    /// Defers run now: the interrupt that led here does not stop them.
    winding_up: AtomicBool,
    /// The reader of our output is gone.
    output_closed: AtomicBool,
    /// The argument of `exit`, or `i64::MIN`.
    exit_code: AtomicI64,
    /// Containers that this script started.
    pub(crate) started: Mutex<Vec<Id>>,
    /// Folders to remove at the end.
    pub(crate) temp_dirs: Mutex<Vec<PathBuf>>,
    pub(crate) names: OnceLock<Names>,
}

impl Host {
    /// A host over these options; nothing is opened yet.
    pub(crate) fn new(options: Options) -> Host {
        let heeded = options.builds.iter().flat_map(|builds| builds.heeded.iter().cloned()).collect();
        Host {
            options: options.engine,
            engine: OnceLock::new(),
            opening: Mutex::new(()),
            args: options.args,
            builds: options.builds,
            asked: Mutex::new(heeded),
            width: options.console.width,
            console: Mutex::new(options.console),
            winding_up: AtomicBool::new(false),
            output_closed: AtomicBool::new(false),
            exit_code: AtomicI64::new(i64::MIN),
            started: Mutex::default(),
            temp_dirs: Mutex::default(),
            names: OnceLock::new(),
        }
    }

    /// Notes that an option of the script is heeded.
    pub(crate) fn heed(&self, name: &str) {
        self.asked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(name.to_owned());
    }

    /// The container engine, opened on first use.
    pub(crate) fn engine(&self) -> Result<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let _one_at_a_time = self.opening.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = Engine::open(&self.options)?;
        Ok(self.engine.get_or_init(|| engine))
    }

    /// The engine, if the script has used it.
    pub(crate) fn engine_if_open(&self) -> Option<&Engine> {
        self.engine.get()
    }

    /// The flag of Ctrl-C.
    pub(crate) fn interrupt(&self) -> &Arc<AtomicBool> {
        &self.options.interrupt
    }

    /// Ctrl-C was pressed or the output is closed, and the defers do not run yet.
    pub(crate) fn is_stopping(&self) -> bool {
        if self.winding_up.load(Ordering::Relaxed) {
            return false;
        }
        self.options.interrupt.load(Ordering::Relaxed) || self.output_closed.load(Ordering::Relaxed)
    }

    /// Someone stopped reading our output.
    pub(crate) fn is_output_closed(&self) -> bool {
        self.output_closed.load(Ordering::Relaxed)
    }

    /// From here on the script's defers run; returns whether Ctrl-C led here. The flag is cleared so that they can wait.
    pub(crate) fn wind_up(&self) -> bool {
        self.winding_up.store(true, Ordering::Relaxed);
        self.options.interrupt.swap(false, Ordering::Relaxed)
    }

    /// Defers are over; for a session that goes on.
    pub(crate) fn wound_up(&self) {
        self.winding_up.store(false, Ordering::Relaxed);
        self.output_closed.store(false, Ordering::Relaxed);
    }

    /// Remembers what `exit` was called with.
    pub(crate) fn set_exit_code(&self, code: i64) {
        self.exit_code.store(code, Ordering::Relaxed);
    }

    /// What `exit` was called with.
    pub(crate) fn exit_code(&self) -> Option<i64> {
        Some(self.exit_code.load(Ordering::Relaxed)).filter(|code| *code != i64::MIN)
    }

    /// Writes to the script's standard output. A closed one stops the script as Ctrl-C does, without an error.
    pub(crate) fn say(&self, text: &str) {
        let mut console = self.console.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if console.out.write_all(text.as_bytes()).and_then(|()| console.out.flush()).is_err() {
            self.output_closed.store(true, Ordering::Relaxed);
        }
    }

    /// Writes a line to the script's standard error; nobody can be told when that fails.
    pub(crate) fn note(&self, line: &str) {
        let mut console = self.console.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _nowhere_to_report = writeln!(console.err, "{line}").and_then(|()| console.err.flush());
    }

    /// The names for did-you-mean, collected on first use.
    pub(crate) fn names(&self, engine: &rhai::Engine) -> &Names {
        self.names.get_or_init(|| Names::of(engine))
    }

    /// Removes the temporary folders.
    pub(crate) fn remove_temp_dirs(&self) {
        let dirs = std::mem::take(&mut *self.temp_dirs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for dir in dirs {
            if let Err(error) = std::fs::remove_dir_all(&dir)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                self.note(&format!("warning: removing {}: {error}", dir.display()));
            }
        }
    }

    /// Containers of this script that still run, as lines for people.
    pub(crate) fn still_running(&self) -> Vec<String> {
        let Some(engine) = self.engine_if_open() else { return Vec::new() };
        let started = self.started.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        started
            .iter()
            .filter_map(|id| engine.container_get(id.as_str()).ok())
            .filter(|container| container.state.status.is_alive())
            .map(|container| format!("{} ({})", container.name, container.record.id.short()))
            .collect()
    }
}

/// What Rhai carries along with every call: the host and the innermost `scope`.
#[derive(Clone)]
pub(crate) struct Tag {
    pub(crate) host: Arc<Host>,
    pub(crate) frame: Arc<Frame>,
}

impl Tag {
    /// The tag of a call.
    pub(crate) fn of(ctx: &NativeCallContext) -> Option<Tag> {
        ctx.tag().and_then(|tag| tag.read_lock::<Tag>().map(|tag| tag.clone()))
    }

    /// As Rhai keeps it.
    pub(crate) fn into_dynamic(self) -> Dynamic {
        Dynamic::from(self)
    }
}

/// The tag of a call.
pub(crate) fn tag(ctx: &NativeCallContext) -> Fallible<Tag> {
    Tag::of(ctx)
        .ok_or_else(|| EvalAltResult::ErrorRuntime("the script host is missing".into(), ctx.call_position()).into())
}

/// The container engine, or why it cannot be opened.
pub(crate) fn engine(ctx: &NativeCallContext) -> Fallible<Engine> {
    let tag = tag(ctx)?;
    tag.host.engine().cloned().raise(ctx)
}

/// An `invalid_argument` at the call.
pub(crate) fn refuse(ctx: &NativeCallContext, message: String) -> Box<EvalAltResult> {
    thrown(ctx, Error::invalid(message))
}
