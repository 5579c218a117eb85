//! A view on the user's terminal that is drawn again and again in place.
//!
//! Nothing of the terminal is changed that would have to be given back: it stays in its mode, and the cursor waits below
//! the view. So whatever ends the process, also SIGKILL, leaves a terminal that works, with the last view on it.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::base::Result;
use crate::cli::Out;
use crate::docker::words::ellipsis;
use crate::sys::terminal;

/// How often a wait looks whether it was interrupted, or the window has another size.
const TICK: Duration = Duration::from_millis(50);
/// To the upper left corner.
const HOME: &str = "\x1b[H";
/// Clears the whole window.
const CLEAR: &str = "\x1b[2J";
/// Clears the rest of a line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears everything below.
const CLEAR_BELOW: &str = "\x1b[J";
/// The size of a terminal that does not say.
const USUAL: (u16, u16) = (80, 24);

/// The window on standard output.
pub(crate) struct Screen {
    drawn_for: Option<(u16, u16)>,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The time is over.
    Time,
    /// The window has another size.
    Resized,
    /// The user had enough.
    Interrupted,
}

impl Screen {
    /// The window, if standard output is one.
    pub(crate) fn new() -> Option<Screen> {
        io::stdout().is_terminal().then_some(Screen { drawn_for: None })
    }

    /// Columns and rows now.
    pub(crate) fn size(&self) -> (usize, usize) {
        let (columns, rows) = size();
        (usize::from(columns), usize::from(rows))
    }

    /// Shows these lines instead of what was there. What does not fit is cut, and said to be.
    pub(crate) fn draw(&mut self, out: &mut Out, lines: &[String]) -> Result<()> {
        let now = size();
        let (columns, rows) = self.size();
        // The last row is the cursor's.
        let room = rows.saturating_sub(1).max(1);
        let shown = if lines.len() > room { room.saturating_sub(1) } else { lines.len() };
        let mut text = String::new();
        text.push_str(if self.drawn_for == Some(now) { "" } else { CLEAR });
        text.push_str(HOME);
        let mut put = |line: &str| text.push_str(&format!("{}{CLEAR_LINE}\n", ellipsis(line, columns)));
        lines.iter().take(shown).for_each(|line| put(line));
        if shown < lines.len() {
            put(&format!("… and {} more", lines.len() - shown));
        }
        text.push_str(CLEAR_BELOW);
        self.drawn_for = Some(now);
        out.text(&text)?;
        out.flush()
    }

    /// Waits.
    pub(crate) fn wait(&self, until: Instant, interrupt: &AtomicBool) -> Woken {
        wait(until, interrupt, || self.drawn_for.is_some_and(|drawn| drawn != size()))
    }
}

/// Waits without a window.
pub(crate) fn wait(until: Instant, interrupt: &AtomicBool, resized: impl Fn() -> bool) -> Woken {
    loop {
        if interrupt.load(Ordering::Relaxed) {
            return Woken::Interrupted;
        }
        if resized() {
            return Woken::Resized;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Woken::Time;
        }
        std::thread::sleep(left.min(TICK));
    }
}

fn size() -> (u16, u16) {
    terminal::size(io::stdout().as_fd()).filter(|(_, rows)| *rows > 0).unwrap_or(USUAL)
}
