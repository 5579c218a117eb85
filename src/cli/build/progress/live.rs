//! What runs now, drawn again in place: a line on the whole, then each step with its time and its last lines. It takes at
//! most half of the window; what is done stays above it, as a line each.
//!
//! Nothing of the terminal is changed that would have to be given back. What steps write is shown without its control
//! characters: they are not for this window.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::time::Instant;

use super::{Held, Key, Names, View, key, print, seconds, shown_seconds};
use crate::docker::words::ellipsis;
use crate::model::build::{BuildEvent, Graph};
use crate::sys::terminal;

/// The size of a terminal that does not say.
const USUAL: (u16, u16) = (80, 24);
/// The most lines that are kept of a step.
const MOST_LINES: usize = 50;
/// The longest line that is kept.
const MOST_LINE_CHARS: usize = 1000;
/// Clears the rest of a line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears everything below.
const CLEAR_BELOW: &str = "\x1b[J";

pub(super) struct Live {
    held: Held,
    begun: Instant,
    total: usize,
    done: usize,
    cached: usize,
    running: Vec<Running>,
    /// Lines that are on the screen.
    drawn: usize,
}

struct Running {
    key: Key,
    begun: Instant,
    lines: VecDeque<String>,
    open: String,
}

impl Live {
    pub(super) fn new(names: Names, graph: &Graph) -> Live {
        let total = graph.stages.iter().map(|stage| stage.steps.len()).sum();
        Live { held: Held::new(names), begun: Instant::now(), total, done: 0, cached: 0, running: Vec::new(), drawn: 0 }
    }

    /// Draws, with further lines above that stay.
    fn draw(&mut self, above: &[String]) {
        let (columns, rows) = terminal::size(std::io::stderr().as_fd()).filter(|(_, rows)| *rows > 0).unwrap_or(USUAL);
        let (columns, rows) = (usize::from(columns), usize::from(rows));
        let lines = self.lines((rows / 2).max(1));
        let mut text = up(self.drawn);
        for line in above.iter().chain(&lines) {
            text.push_str(&format!("{}{CLEAR_LINE}\n", ellipsis(line, columns.saturating_sub(1).max(1))));
        }
        text.push_str(CLEAR_BELOW);
        self.drawn = lines.len();
        print(text.as_bytes());
    }

    /// No more lines than `most`.
    fn lines(&self, most: usize) -> Vec<String> {
        let (done, total, cached) = (self.done, self.total, self.cached);
        let mut lines = vec![format!("building {} ({done} of {total} steps, {cached} cached)", seconds(self.begun))];
        let shown = self.running.len().min(most.saturating_sub(1));
        // What is left is shared among the steps.
        let tail = (most - 1 - shown).checked_div(shown).unwrap_or(0);
        for running in &self.running[..shown] {
            lines.push(format!("{} {}", self.held.names.get(running.key), seconds(running.begun)));
            let open = Some(&running.open).filter(|open| !open.is_empty());
            let all: Vec<&String> = running.lines.iter().chain(open).collect();
            lines.extend(all[all.len().saturating_sub(tail)..].iter().map(|line| format!("  {line}")));
        }
        lines
    }

    fn clear(&mut self) {
        print(format!("{}{CLEAR_BELOW}", up(self.drawn)).as_bytes());
        self.drawn = 0;
    }
}

fn up(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\r") }
}

impl Running {
    fn take(&mut self, bytes: &[u8]) {
        for c in String::from_utf8_lossy(bytes).chars() {
            match c {
                '\n' => {
                    self.lines.push_back(std::mem::take(&mut self.open));
                    if self.lines.len() > MOST_LINES {
                        self.lines.pop_front();
                    }
                }
                // A line that is written over.
                '\r' => self.open.clear(),
                '\t' => self.open.push(' '),
                c if c.is_control() => {}
                c if self.open.len() < MOST_LINE_CHARS => self.open.push(c),
                _ => {}
            }
        }
    }
}

impl View for Live {
    fn event(&mut self, event: &BuildEvent<'_>) {
        let key = key(event);
        match event {
            BuildEvent::Started { .. } => {
                let running = Running { key, begun: Instant::now(), lines: VecDeque::new(), open: String::new() };
                self.running.push(running);
                self.draw(&[]);
            }
            BuildEvent::Output { bytes, .. } => {
                self.held.event(event);
                // Drawn with the next tick: a step may write faster than anybody reads.
                if let Some(running) = self.running.iter_mut().find(|running| running.key == key) {
                    running.take(bytes);
                }
            }
            BuildEvent::Finished(report) => {
                self.held.event(event);
                self.running.retain(|running| running.key != key);
                self.done += 1;
                self.cached += usize::from(report.cached);
                if report.key.is_some() {
                    let time = if report.cached { "cached".to_owned() } else { shown_seconds(report.elapsed) };
                    self.draw(&[format!("{time:>6} {}", self.held.names.get(key))]);
                }
            }
            BuildEvent::Failed { .. } => {
                self.running.retain(|running| running.key != key);
                self.clear();
                self.held.event(event);
            }
        }
    }

    fn tick(&mut self) {
        self.draw(&[]);
    }

    fn end(&mut self, well: bool) {
        self.clear();
        let (done, total, cached) = (self.done, self.total, self.cached);
        let time = seconds(self.begun);
        let word = if well { "built in" } else { "failed after" };
        print(format!("{word} {time}: {done} of {total} steps, {cached} cached\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::build::{Action, Change, Stage, Step};

    #[test]
    fn the_view_is_never_taller_than_it_may_be() {
        let step = || Step {
            action: Action::Config(Box::new(Change::ClearOnBuild)),
            text: "RUN one\u{1b}[2J\ntwo".to_owned(),
            position: None,
        };
        let stages = (0..9).map(|_| Stage { steps: vec![step()], ..Stage::default() }).collect();
        let graph = Graph { stages, ..Graph::default() };
        let mut live = Live::new(Names::of(&graph), &graph);
        for stage in 0..9 {
            let mut running =
                Running { key: (stage, 0), begun: Instant::now(), lines: VecDeque::new(), open: String::new() };
            running.take(b"a\nb\nc\x1b[2J\nprogress 1\rprogress 2");
            live.running.push(running);
        }
        for most in 1..60 {
            assert!(live.lines(most).len() <= most, "{most}");
        }
        let lines = live.lines(60);
        assert!(lines[1].starts_with("[stage-0 1/1] RUN one [2J …"), "{lines:?}");
        assert_eq!(lines[2..6], ["  a", "  b", "  c[2J", "  progress 2"]);
    }
}
