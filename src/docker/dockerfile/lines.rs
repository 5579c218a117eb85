//! The lines of a Dockerfile: directives at the top, comments, continued lines made one, here-documents behind them.
//!
//! A [`Line`] knows for each of its bytes where it stood, so that whatever is read from it has a place in the file.
//! What the words mean is not known here.

use crate::base::{Error, Result};
use crate::docker::dockerfile::ast::{HereDocument, Span, Word};

/// The most characters that are counted for a column: long lines are remembered in pieces.
const PIECE: usize = 256;

/// A physical line.
struct Physical<'a> {
    /// Without its end.
    text: &'a str,
    /// With its end.
    whole: &'a str,
}

/// An instruction in one line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// For each piece: its offset in `text`, its line, the column where it begins.
    pieces: Vec<(usize, usize, usize)>,
    /// The last physical line of it.
    pub(crate) end_line: usize,
    pub(crate) comments: Vec<String>,
}

impl Line {
    fn push(&mut self, text: &str, line: usize, column: usize) {
        let begin = self.text.len();
        let starts = text.char_indices().enumerate().step_by(PIECE).map(|(count, (index, _))| (index, column + count));
        self.pieces.extend(starts.map(|(index, column)| (begin + index, line, column)));
        self.text.push_str(text);
        self.end_line = line;
    }

    /// Line and column of a byte.
    fn place(&self, offset: usize) -> (usize, usize) {
        let index = self.pieces.partition_point(|(start, ..)| *start <= offset).saturating_sub(1);
        let Some(&(start, line, column)) = self.pieces.get(index) else { return (self.end_line.max(1), 1) };
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, column + before.chars().count())
    }

    /// The place of a range of bytes.
    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        let (line, column) = self.place(start);
        let (end_line, end_column) = match end > start {
            // The piece of the last character, not of the one behind it.
            true => {
                let last = self.text[start..end].char_indices().next_back().map_or(start, |(index, _)| start + index);
                let (line, column) = self.place(last);
                (line, column + 1)
            }
            false => (line, column),
        };
        Span { line, column, end_line, end_column }
    }

    /// The word of a range of bytes.
    pub(crate) fn word(&self, start: usize, end: usize) -> Word {
        Word { text: self.text[start..end].to_owned(), span: self.span(start, end) }
    }
}

/// Reads line by line.
pub(crate) struct Lines<'a> {
    file: &'a str,
    lines: Vec<Physical<'a>>,
    next: usize,
    pub(crate) escape: char,
    pub(crate) syntax: Option<Word>,
    pub(crate) check: Option<Word>,
    pub(crate) empty_continuations: Vec<Span>,
}

impl<'a> Lines<'a> {
    /// # Errors
    /// `invalid_argument` for a directive that is there twice or says what it cannot.
    pub(crate) fn new(file: &'a str, text: &'a str) -> Result<Lines<'a>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text
            .split_inclusive('\n')
            .map(|whole| Physical { text: whole.trim_end_matches('\n').trim_end_matches('\r'), whole })
            .collect();
        let mut lines =
            Lines { file, lines, next: 0, escape: '\\', syntax: None, check: None, empty_continuations: Vec::new() };
        lines.directives()?;
        Ok(lines)
    }

    fn directives(&mut self) -> Result<()> {
        let first = usize::from(self.lines.first().is_some_and(|line| line.text.starts_with("#!")));
        let mut escape_given = false;
        for index in first..self.lines.len() {
            let text = self.lines[index].text;
            let Some((name, value)) = directive(text) else { break };
            let column = text.find(value).map_or(1, |at| text[..at].chars().count() + 1);
            let span =
                Span { line: index + 1, column, end_line: index + 1, end_column: column + value.chars().count() };
            let word = Word { text: value.to_owned(), span };
            let twice = || super::at(self.file, span, format!("only one \"# {name}=\" can be there"));
            match name.as_str() {
                "syntax" if self.syntax.is_some() => return Err(twice()),
                "syntax" => self.syntax = Some(word),
                "check" if self.check.is_some() => return Err(twice()),
                "check" => self.check = Some(word),
                "escape" if escape_given => return Err(twice()),
                "escape" => {
                    escape_given = true;
                    self.escape = match value {
                        "\\" => '\\',
                        "`" => '`',
                        _ => {
                            let error = super::at(self.file, span, format!("{value:?} cannot be the escape character"));
                            return Err(error.with_hint("it is a backslash or a backquote"));
                        }
                    };
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// The next instruction in one line.
    pub(crate) fn next(&mut self) -> Option<Line> {
        let mut comments = Vec::new();
        loop {
            let physical = self.lines.get(self.next)?;
            self.next += 1;
            let trimmed = physical.text.trim_start();
            if let Some(comment) = trimmed.strip_prefix('#') {
                match comment.trim() {
                    "" => comments.clear(),
                    comment => comments.push(comment.to_owned()),
                }
                continue;
            }
            if trimmed.is_empty() {
                comments.clear();
                continue;
            }
            let column = physical.text[..physical.text.len() - trimmed.len()].chars().count() + 1;
            let mut line = Line { comments, ..Line::default() };
            let (text, mut goes_on) = continued(trimmed, self.escape);
            line.push(text, self.next, column);
            while goes_on && let Some(physical) = self.lines.get(self.next) {
                self.next += 1;
                let trimmed = physical.text.trim_start();
                if trimmed.starts_with('#') {
                    continue;
                }
                if trimmed.is_empty() {
                    let (line, column) = (self.next, 1);
                    self.empty_continuations.push(Span { line, column, end_line: line, end_column: column });
                    continue;
                }
                let text;
                (text, goes_on) = continued(physical.text, self.escape);
                line.push(text, self.next, 1);
            }
            if line.text.trim().is_empty() {
                comments = Vec::new();
                continue;
            }
            return Some(line);
        }
    }

    /// The body of a here-document, which begins on the next line.
    ///
    /// # Errors
    /// `invalid_argument` when it has no end.
    pub(crate) fn body(&mut self, document: &mut HereDocument, named_at: Span) -> Result<()> {
        let first = self.next + 1;
        while let Some(physical) = self.lines.get(self.next) {
            self.next += 1;
            let ends = match document.chomp {
                true => physical.text.trim_start_matches('\t'),
                false => physical.text,
            };
            if ends == document.name {
                document.span = Span { line: first, column: 1, end_line: self.next, end_column: 1 };
                return Ok(());
            }
            document.body.push_str(physical.whole);
        }
        let message = format!("the here-document {:?} has no end", document.name);
        Err(super::at(self.file, named_at, message).with_hint(format!("a line with {} alone ends it", document.name)))
    }

    /// The number of the line that was read last.
    pub(crate) fn line(&self) -> usize {
        self.next
    }
}

/// `# name = value`.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.split_once('=')?;
    let name = name.trim();
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric());
    let value = value.trim();
    (plain && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

/// The line without its continuation sign, and whether there was one. Two signs are an escaped one.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

/// An error of a file that is no text.
pub(crate) fn not_text(file: &str, bytes: &[u8], valid: usize) -> Error {
    let line = bytes[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
    Error::invalid(format!("{file}:{line}: it is not UTF-8"))
}
