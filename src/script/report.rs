//! An error for people: message, script line with a caret, where it was called from, causes, hint.
//!
//! The one user of `annotate_snippets`. It returns text; the front end's writer prints it.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::script::error::{Fault, Place};
use crate::script::resolve::source_text;

/// How many lines of a failed command's standard error are shown.
const STDERR_LINES: usize = 10;

/// A text that errors may point into: its name and its content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Main<'a> {
    /// As shown: a path, `-e`, `<stdin>`.
    pub(crate) name: &'a str,
    /// The whole text.
    pub(crate) text: &'a str,
}

/// Renders a fault; `find` gives texts by name beyond files and the standard library.
pub(crate) fn render(fault: &Fault, main: Main<'_>, colour: bool) -> String {
    let sources: Vec<(Place, String, String)> = fault
        .places
        .iter()
        .filter_map(|place| {
            let is_main = place.source.is_empty() || place.source == main.name;
            let (name, text) = if is_main {
                (main.name.to_owned(), main.text.to_owned())
            } else {
                (place.source.clone(), source_text(&place.source)?)
            };
            Some((place.clone(), name, text))
        })
        .collect();
    let mut group = Group::with_title(Level::ERROR.primary_title(fault.message.as_str()));
    for (index, (place, name, text)) in sources.iter().enumerate() {
        let span = span_of(text, place);
        let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let mut annotation = kind.span(span);
        if let Some(calling) = &place.calling {
            annotation = annotation.label(format!("in {calling}, called here"));
        }
        group = group.element(Snippet::source(text.as_str()).path(name.as_str()).annotation(annotation));
    }
    for cause in &fault.chain {
        group = group.element(Level::NOTE.with_name("caused by").message(cause.as_str()));
    }
    if let Some(failure) = &fault.failure {
        let lines: Vec<&str> = failure.stderr.lines().collect();
        for line in &lines[lines.len().saturating_sub(STDERR_LINES)..] {
            group = group.element(Level::NOTE.with_name("stderr").message(*line));
        }
    }
    if let Some(hint) = &fault.hint {
        group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    format!("{}\n", renderer.render(&[group]))
}

/// The bytes of the word at a place; at the end of a line, an empty span.
fn span_of(text: &str, place: &Place) -> std::ops::Range<usize> {
    let line_start: usize = text.split_inclusive('\n').take(place.line - 1).map(str::len).sum();
    let line = text[line_start..].lines().next().unwrap_or_default();
    let start = line.char_indices().nth(place.column.saturating_sub(1)).map_or(line.len(), |(index, _)| index);
    let rest = &line[start..];
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let length = match rest.find(|c| !word(c)) {
        Some(0) => rest.chars().next().map_or(0, char::len_utf8),
        Some(end) => end,
        None => rest.len(),
    };
    line_start + start..line_start + start + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_at_a_place_is_marked() {
        let at = |line, column| Place { source: String::new(), line, column, calling: None };
        let text = "let a = 1;\nlet ö = foo(2);\n";
        assert_eq!(&text[span_of(text, &at(2, 9))], "foo");
        assert_eq!(&text[span_of(text, &at(1, 10))], ";");
        assert_eq!(span_of(text, &at(9, 1)), text.len()..text.len());
    }
}
