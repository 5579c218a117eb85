//! Words of an instruction's line: by white space, by white space outside of quotes, flags, JSON, names of here-documents.

use std::ops::Range;

use crate::docker::dockerfile::ast::HereDocument;

/// Words between white space.
pub(crate) fn plain(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (index, c) in text[range.clone()].char_indices().map(|(index, c)| (range.start + index, c)) {
        match (c.is_whitespace(), start) {
            (true, Some(from)) => {
                words.push(from..index);
                start = None;
            }
            (false, None) => start = Some(index),
            _ => {}
        }
    }
    words.extend(start.map(|from| from..range.end));
    words
}

/// Words between white space that is neither quoted nor escaped; quotes stay in them.
pub(crate) fn quoted(text: &str, range: Range<usize>, escape: char) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote: Option<char> = None;
    let mut chars = text[range.clone()].char_indices().map(|(index, c)| (range.start + index, c));
    while let Some((index, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => words.extend(start.take().map(|from| from..index)),
            None => {
                start.get_or_insert(index);
                if c == escape {
                    chars.next();
                } else if matches!(c, '"' | '\'') {
                    quote = Some(c);
                }
            }
            Some(open) if c == open => quote = None,
            Some('"') if c == escape => {
                chars.next();
            }
            Some(_) => {}
        }
    }
    words.extend(start.map(|from| from..range.end));
    words
}

/// A flag in front of an instruction's arguments.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    /// Without dashes and value.
    pub(crate) name: String,
    /// Quotes and escapes are gone.
    pub(crate) value: Option<String>,
    /// Where the whole is.
    pub(crate) range: Range<usize>,
    /// Where the value is.
    pub(crate) value_range: Range<usize>,
}

/// The flags at the beginning, and where the rest begins.
pub(crate) fn flags(text: &str, range: Range<usize>, escape: char) -> (Vec<Flag>, usize) {
    let mut flags = Vec::new();
    let mut at = range.start;
    loop {
        let rest = &text[at..range.end];
        at += rest.len() - rest.trim_start().len();
        if !text[at..range.end].starts_with("--") {
            return (flags, at);
        }
        let (word, end) = unquoted(text, at..range.end, escape);
        if word == "--" {
            return (flags, end);
        }
        let body = &word[2..];
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (body.to_owned(), None),
        };
        let value_start = text[at..end].find('=').map_or(at, |equals| at + equals + 1);
        flags.push(Flag { name, value, range: at..end, value_range: value_start..end });
        at = end;
    }
}

/// One word without its quotes and escapes, and where it ends.
fn unquoted(text: &str, range: Range<usize>, escape: char) -> (String, usize) {
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text[range.clone()].char_indices();
    while let Some((index, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, range.start + index),
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape => word.extend(chars.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, range.end)
}

/// What a text that may be JSON is.
pub(crate) enum Json {
    /// Strings.
    Strings(Vec<String>),
    /// A list, but not of strings.
    Others,
    /// No list.
    Text,
}

/// Reads a list of strings.
pub(crate) fn json(text: &str) -> Json {
    let text = text.trim();
    if !text.starts_with('[') {
        return Json::Text;
    }
    match serde_json::from_str::<Vec<serde_json::Value>>(text) {
        Err(_) => Json::Text,
        Ok(values) => {
            let strings = values.into_iter().map(|value| match value {
                serde_json::Value::String(text) => Some(text),
                _ => None,
            });
            strings.collect::<Option<Vec<String>>>().map_or(Json::Others, Json::Strings)
        }
    }
}

/// The here-document that a word names: `<<NAME`, `<<-NAME`, `3<<"NAME"`.
pub(crate) fn document(word: &str) -> Option<HereDocument> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = word[digits..].strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let (name, end) = unquoted(rest, 0..rest.len(), '\\');
    if name.is_empty() || end != rest.len() || open_quote(rest) {
        return None;
    }
    let descriptor = match &word[..digits] {
        "" => None,
        digits => Some(digits.parse().ok()?),
    };
    let expand = name == rest;
    Some(HereDocument { name, expand, chomp, descriptor, body: String::new(), span: Default::default() })
}

fn open_quote(word: &str) -> bool {
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    quote.is_some()
}
