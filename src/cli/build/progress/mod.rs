//! What one sees of a build while it goes on, on standard error; its result is somebody else's.
//!
//! ```text
//! plain   every line of every step, with the step's number and its time      (pipes, logs of CI)
//! live    what runs now, drawn again in place; what is done stays above it   (terminals)
//! json    one object a line                                                  (programs)
//! quiet   nothing
//! ```
//!
//! Whatever is shown, a step that fails is shown with all that it wrote.

mod json;
mod live;
mod plain;

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::engine::build::Progress;
use crate::model::build::{BuildEvent, Graph};

/// How often a live view is drawn anew when nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// As much of a step's output is kept to be shown when it fails; its log has all of it.
const MOST_HELD_BYTES: usize = 64 << 20;

/// How a build is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Live on a terminal, otherwise plain
    #[default]
    Auto,
    /// Every line
    Plain,
    /// Live
    Tty,
    /// One JSON object a line
    #[value(alias = "rawjson")]
    Json,
    /// Failures alone
    Quiet,
}

/// Takes what happens.
trait View: Send {
    fn event(&mut self, event: &BuildEvent<'_>);

    /// Some time is over.
    fn tick(&mut self) {}

    /// The build is, well or not.
    fn end(&mut self, _well: bool) {}
}

impl Form {
    /// Whether it is drawn at the end of a terminal's window.
    pub(crate) fn is_drawn(self) -> bool {
        self == Form::Tty || (self == Form::Auto && std::io::stderr().is_terminal())
    }
}

/// Shows a build while it runs; it says whether it went well.
pub(crate) fn show(form: Form, graph: &Graph, build: impl FnOnce(&Progress<'_>) -> bool) {
    let live = form.is_drawn();
    let names = Names::of(graph);
    let view: Box<dyn View> = match form {
        Form::Json => Box::new(json::Json::new(names)),
        Form::Quiet => Box::new(Quiet(Held::new(names))),
        _ if live => Box::new(live::Live::new(names, graph)),
        _ => Box::new(plain::Plain::new(names)),
    };
    let view = Mutex::new(view);
    let with = |act: &dyn Fn(&mut dyn View)| act(view.lock().unwrap_or_else(PoisonError::into_inner).as_mut());
    let (over, ended) = channel::<()>();
    let well = std::thread::scope(|scope| {
        if live {
            scope.spawn(|| {
                let ended = ended;
                while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    with(&|view| view.tick());
                }
            });
        }
        let well = build(&|event| with(&|view| view.event(event)));
        drop(over);
        well
    });
    with(&|view| view.end(well));
}

/// Where a step stands: its stage and its place in it.
type Key = (usize, usize);

fn key(event: &BuildEvent<'_>) -> Key {
    match event {
        BuildEvent::Started { stage, step, .. }
        | BuildEvent::Output { stage, step, .. }
        | BuildEvent::Failed { stage, step } => (*stage, *step),
        BuildEvent::Finished(report) => (report.stage, report.step),
    }
}

/// What steps are called.
struct Names(HashMap<Key, String>);

impl Names {
    fn of(graph: &Graph) -> Names {
        let mut names = HashMap::new();
        for (index, stage) in graph.stages.iter().enumerate() {
            let name = match &stage.name {
                Some(name) => format!("{name} "),
                None if graph.stages.len() > 1 => format!("stage-{index} "),
                None => String::new(),
            };
            for (step_index, step) in stage.steps.iter().enumerate() {
                let mut lines = step.text.lines();
                let mut text = lines.next().unwrap_or_default().to_owned();
                if lines.next().is_some() {
                    text.push_str(" …");
                }
                // A Dockerfile's text is not for the terminal to act on.
                let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                let place = format!("[{name}{}/{}] {text}", step_index + 1, stage.steps.len());
                names.insert((index, step_index), place);
            }
        }
        Names(names)
    }

    fn get(&self, key: Key) -> &str {
        self.0.get(&key).map_or("", String::as_str)
    }
}

/// The output of steps that run, for the one that fails.
struct Held {
    names: Names,
    output: HashMap<Key, Vec<u8>>,
}

impl Held {
    fn new(names: Names) -> Held {
        Held { names, output: HashMap::new() }
    }

    /// Keeps what a step writes, and prints it when that step fails.
    fn event(&mut self, event: &BuildEvent<'_>) {
        let key = key(event);
        match event {
            BuildEvent::Started { .. } => {}
            BuildEvent::Output { bytes, .. } => {
                let held = self.output.entry(key).or_default();
                let room = MOST_HELD_BYTES.saturating_sub(held.len());
                held.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            BuildEvent::Finished(_) => drop(self.output.remove(&key)),
            BuildEvent::Failed { .. } => {
                let mut text = format!("{}\n", self.names.get(key)).into_bytes();
                let output = self.output.remove(&key).unwrap_or_default();
                text.extend_from_slice(&output);
                if !text.ends_with(b"\n") {
                    text.push(b'\n');
                }
                if output.len() >= MOST_HELD_BYTES {
                    text.extend_from_slice(b"(what follows is in: rhumb build logs)\n");
                }
                print(&text);
            }
        }
    }
}

/// Failures alone.
struct Quiet(Held);

impl View for Quiet {
    fn event(&mut self, event: &BuildEvent<'_>) {
        self.0.event(event);
    }
}

/// Nobody is left to tell when standard error is closed.
fn print(text: &[u8]) {
    let _ = std::io::stderr().lock().write_all(text);
}

fn seconds(since: Instant) -> String {
    shown_seconds(since.elapsed())
}

fn shown_seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}
