//! What the line editor asks while a line is typed: completions, colours, whether the line is complete.
//!
//! Holds the session, since all answers come from it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rustyline::completion::Completer;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Result};

use crate::script::{Colour, Session};

/// The session as the line editor sees it.
pub(super) struct Helper {
    session: Option<Session>,
    colour: bool,
    history: Option<PathBuf>,
}

impl Helper {
    pub(super) fn new(session: Session, colour: bool) -> Helper {
        Helper { session: Some(session), colour, history: None }
    }

    /// Keeps lines in this file.
    pub(super) fn remembering(mut self, history: Option<&Path>) -> Helper {
        self.history = history.map(Path::to_owned);
        self
    }

    /// The file of earlier lines.
    pub(super) fn history(&self) -> Option<PathBuf> {
        self.history.clone()
    }

    /// Keeps no lines any more.
    pub(super) fn forget_history(&mut self) {
        self.history = None;
    }

    /// Asks the session, unless it has ended.
    pub(super) fn with<T>(&self, ask: impl FnOnce(&Session) -> T) -> Option<T> {
        self.session.as_ref().map(ask)
    }

    /// Works with the session, unless it has ended.
    pub(super) fn with_mut<T>(&mut self, work: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.session.as_mut().map(work)
    }

    /// The session, to end it.
    pub(super) fn take(&mut self) -> Option<Session> {
        self.session.take()
    }
}

impl rustyline::Helper for Helper {}

impl Hinter for Helper {
    type Hint = String;
}

impl Completer for Helper {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        Ok(self.with(|session| session.complete(&line[..position])).unwrap_or((position, Vec::new())))
    }
}

impl Highlighter for Helper {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let Some(session) = self.session.as_ref().filter(|_| self.colour && !line.starts_with(':')) else {
            return Cow::Borrowed(line);
        };
        let mut text = String::with_capacity(line.len() * 2);
        for (range, colour) in session.colours(line) {
            let code = match colour {
                Colour::Keyword => "1;34",
                Colour::Text => "32",
                Colour::Number => "36",
                Colour::Faint => "2",
                Colour::Plain => {
                    text += &line[range];
                    continue;
                }
            };
            text += &format!("\x1b[{code}m{}\x1b[0m", &line[range]);
        }
        Cow::Owned(text)
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if self.colour { Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m")) } else { Cow::Borrowed(prompt) }
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        self.colour && kind != CmdKind::MoveCursor
    }
}

impl Validator for Helper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        let text = context.input();
        let incomplete =
            !text.trim_start().starts_with(':') && self.with(|session| session.is_incomplete(text)).unwrap_or(false);
        Ok(if incomplete { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}
