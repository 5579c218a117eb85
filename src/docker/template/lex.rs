//! The words of a template, with their places. A template is cut at once; the last word is its end or what is wrong.

use crate::docker::template::quote;

/// The white space of actions and trim markers.
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What is wrong, instead of the rest.
    Error,
    End,
    Text,
    Open,
    Close,
    Keyword,
    Dot,
    Nil,
    Bool,
    Number,
    Char,
    Quoted,
    Raw,
    Field,
    Variable,
    Identifier,
    Left,
    Right,
    Pipe,
    Declare,
    Assign,
    Other,
}

/// A word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) kind: Kind,
    /// As it is written, or what is wrong.
    pub(super) text: String,
    /// Its first byte.
    pub(super) at: usize,
    /// Its line, from 1.
    pub(super) line: usize,
    /// White space stands before it.
    pub(super) spaced: bool,
}

impl Word {
    /// As Go's messages show it.
    pub(super) fn shown(&self) -> String {
        match self.kind {
            Kind::End => "EOF".into(),
            Kind::Error => self.text.clone(),
            Kind::Keyword | Kind::Dot | Kind::Nil => format!("<{}>", self.text),
            _ if self.text.chars().count() > 10 => {
                format!("{}...", quote::quoted(&self.text.chars().take(10).collect::<String>()))
            }
            _ => quote::quoted(&self.text),
        }
    }
}

/// Cuts a template into words.
pub(super) fn lex(text: &str) -> Vec<Word> {
    let mut lexer = Lexer { text, at: 0, line: 1, counted: 0, spaced: false, words: Vec::new() };
    if let Err(problem) = lexer.all() {
        let (at, line) = (problem.at, lexer.line_of(problem.at));
        lexer.words.push(Word { kind: Kind::Error, text: problem.message, at, line, spaced: false });
    }
    lexer.words
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    /// Lines are counted up to here.
    counted: usize,
    spaced: bool,
    words: Vec<Word>,
}

struct Problem {
    message: String,
    at: usize,
}

impl Lexer<'_> {
    fn all(&mut self) -> Result<(), Problem> {
        loop {
            let rest = &self.text[self.at..];
            let Some(open) = rest.find("{{") else {
                self.push_text(self.text.len());
                self.push(Kind::End, self.text.len());
                return Ok(());
            };
            let inside = &rest[open + 2..];
            let trims = inside.starts_with('-') && inside[1..].starts_with(SPACES);
            let end = if trims { rest[..open].trim_end_matches(SPACES).len() } else { open };
            self.push_text(self.at + end);
            let start = self.at + (open - end);
            let marker = if trims { 2 } else { 0 };
            if inside[marker..].starts_with("/*") {
                self.at = start + 2 + marker;
                self.comment()?;
                continue;
            }
            self.at = start;
            self.spaced = false;
            self.push(Kind::Open, start + 2);
            self.at += marker;
            self.action()?;
        }
    }

    /// Text up to `end`, unless there is none.
    fn push_text(&mut self, end: usize) {
        if end > self.at {
            self.push(Kind::Text, end);
        }
    }

    fn push(&mut self, kind: Kind, end: usize) {
        let line = self.line_of(self.at);
        let text = self.text[self.at..end].to_owned();
        self.words.push(Word { kind, text, at: self.at, line, spaced: std::mem::take(&mut self.spaced) });
        self.at = end;
    }

    fn line_of(&mut self, at: usize) -> usize {
        if at > self.counted {
            self.line += self.text[self.counted..at].matches('\n').count();
            self.counted = at;
        }
        self.line
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn problem(&self, message: impl Into<String>) -> Problem {
        Problem { message: message.into(), at: self.at }
    }

    fn comment(&mut self) -> Result<(), Problem> {
        let end = self.rest().find("*/").ok_or_else(|| self.problem("unclosed comment"))?;
        self.at += end + 2;
        let (length, trims) = self.close().ok_or_else(|| self.problem("comment ends before closing delimiter"))?;
        self.at += length;
        self.trim(trims);
        Ok(())
    }

    fn trim(&mut self, trims: bool) {
        if trims {
            self.at = self.text.len() - self.rest().trim_start_matches(SPACES).len();
        }
    }

    /// The length of a closing delimiter here, and whether it trims.
    fn close(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        match rest.strip_prefix(SPACES) {
            Some(marked) if marked.starts_with("-}}") => Some((4, true)),
            _ => rest.starts_with("}}").then_some((2, false)),
        }
    }

    fn action(&mut self) -> Result<(), Problem> {
        let mut depth = 0_usize;
        loop {
            if let Some((length, trims)) = self.close() {
                if depth > 0 {
                    return Err(self.problem("unclosed left paren"));
                }
                self.push(Kind::Close, self.at + length);
                self.trim(trims);
                return Ok(());
            }
            let Some(sign) = self.peek() else { return Err(self.problem("unclosed action")) };
            let one = self.at + sign.len_utf8();
            match sign {
                _ if SPACES.contains(&sign) => {
                    self.at += 1;
                    self.spaced = true;
                }
                '=' => self.push(Kind::Assign, one),
                ':' if self.rest().starts_with(":=") => self.push(Kind::Declare, self.at + 2),
                ':' => return Err(self.problem("expected :=")),
                '|' => self.push(Kind::Pipe, one),
                '"' => self.quoted('"', Kind::Quoted, "unterminated quoted string")?,
                '\'' => self.quoted('\'', Kind::Char, "unterminated character constant")?,
                '`' => {
                    let end = self.rest()[1..].find('`');
                    let end = end.ok_or_else(|| self.problem("unterminated raw quoted string"))?;
                    self.push(Kind::Raw, self.at + end + 2);
                }
                '$' => self.name(one, Kind::Variable)?,
                '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.name(one, Kind::Field)?,
                '.' | '+' | '-' | '0'..='9' => self.number()?,
                _ if is_name(sign) => self.name(one, Kind::Identifier)?,
                '(' => {
                    depth += 1;
                    self.push(Kind::Left, one);
                }
                ')' if depth == 0 => return Err(self.problem("unexpected right paren")),
                ')' => {
                    depth -= 1;
                    self.push(Kind::Right, one);
                }
                '!'..='~' => self.push(Kind::Other, one),
                _ => {
                    return Err(self.problem(format!("unrecognized character in action: {}", quote::code_point(sign))));
                }
            }
        }
    }

    /// A string or a character up to its unescaped end, on one line.
    fn quoted(&mut self, end: char, kind: Kind, unterminated: &str) -> Result<(), Problem> {
        let mut signs = self.rest().char_indices().skip(1);
        while let Some((at, sign)) = signs.next() {
            match sign {
                '\n' => break,
                // What is escaped is passed over.
                '\\' if signs.next().is_none_or(|(_, escaped)| escaped == '\n') => break,
                '\\' => {}
                _ if sign == end => {
                    self.push(kind, self.at + at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(self.problem(unterminated))
    }

    /// The rest of a name whose first character ends before `from`: nothing of it is a lone `.` or `$`.
    fn name(&mut self, from: usize, kind: Kind) -> Result<(), Problem> {
        let length = self.text[from..].find(|c: char| !is_name(c)).unwrap_or(self.text.len() - from);
        let end = from + length;
        let after = &self.text[end..];
        let ends = after.is_empty() || after.starts_with(SPACES) || after.starts_with("}}");
        if let Some(bad) = after.chars().next()
            && !ends
            && !matches!(bad, '.' | ',' | '|' | ':' | ')' | '(')
        {
            return Err(self.problem(format!("bad character {}", quote::code_point(bad))));
        }
        let kind = match (&self.text[self.at..end], kind) {
            (".", _) => Kind::Dot,
            ("true" | "false", Kind::Identifier) => Kind::Bool,
            ("nil", Kind::Identifier) => Kind::Nil,
            (
                "block" | "break" | "continue" | "define" | "else" | "end" | "if" | "range" | "template" | "with",
                Kind::Identifier,
            ) => Kind::Keyword,
            _ => kind,
        };
        self.push(kind, end);
        Ok(())
    }

    /// Whatever may be a number; reading it says whether it is one.
    fn number(&mut self) -> Result<(), Problem> {
        let bytes = self.rest().as_bytes();
        let start = usize::from(matches!(bytes[0], b'+' | b'-'));
        let has_radix =
            bytes.get(start) == Some(&b'0') && bytes.get(start + 1).is_some_and(|byte| b"xXoObB".contains(byte));
        let mut end = start + if has_radix { 2 } else { 0 };
        while let Some(&byte) = bytes.get(end) {
            match byte {
                b'0'..=b'9' | b'_' | b'.' => end += 1,
                b'a'..=b'f' | b'A'..=b'F' if has_radix => end += 1,
                b'e' | b'E' => end += 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-'))),
                _ => break,
            }
        }
        if let Some(bad) = self.rest()[end..].chars().next().filter(|c| is_name(*c) || matches!(c, '+' | '-')) {
            let text = &self.rest()[..end + bad.len_utf8()];
            return Err(self.problem(format!("bad number syntax: {}", quote::quoted(text))));
        }
        self.push(Kind::Number, self.at + end);
        Ok(())
    }
}

fn is_name(sign: char) -> bool {
    sign == '_' || sign.is_alphanumeric()
}
