//! Go's text/template as Docker's users write it in `--format`, over JSON.
//!
//! ```text
//! text ─▶ lex     words with their places
//!      ─▶ parse   a tree; functions, variables and nesting are checked here
//!      ─▶ run     walks the tree over a subject ─▶ functions, compare ─▶ verbs (Go's fmt) ─▶ text
//! ```
//!
//! Written here rather than taken from a library: people have these templates in scripts and expect Docker's output and
//! Docker's messages to the letter, with positions. The one crate there is (gtmpl) has no `break`, `continue` or `else with`,
//! ranges over no numbers, says neither place nor cause, and recurses as deep as a template wants.
//!
//! What a value is in Go decides what is printed: a struct is `{a b}` and a map is `map[k:v]`, and nothing is `[]`, `map[]`,
//! `<nil>` or `<no value>`. JSON does not tell them apart, so a subject has a [`Shape`] beside its value.
//!
//! Templates may be hostile. Length, nesting, calls, steps and the bytes that are made have limits (below), so that every
//! template ends soon and with a text or an error.
//!
//! It does not do: complex numbers, `call` of anything (no value is a function), other delimiters, several files.

mod call;
mod compare;
mod functions;
mod lex;
mod number;
mod parse;
mod quote;
mod run;
mod shape;
mod tree;
mod value;
mod verbs;

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::base::{Error, Result};
pub use shape::{Field, Shape};

/// The longest template, in bytes.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// How deep blocks and parentheses nest, and how deep templates call each other.
const MAX_DEPTH: usize = 100;
/// How much one rendering may do: steps, and bytes that are made or compared.
const FUEL: usize = 32 << 20;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    /// Of all templates in the text by name; the whole text's is the empty one.
    trees: HashMap<String, Vec<tree::Node>>,
    text: String,
}

/// A method of a subject: it takes one string.
pub type Method<'a> = (&'static str, &'a dyn Fn(&str) -> String);

/// What a template is rendered with.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The facts.
    pub value: &'a Json,
    /// What they are in Go.
    pub shape: Shape,
    /// Methods beside the facts, such as `.Label "x"`.
    pub methods: &'a [Method<'a>],
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// `invalid_argument` in Docker's words, with the line: `template parsing error: template: :1: unclosed action`.
    pub fn parse(text: &str) -> Result<Template> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(refused("template: : longer than a megabyte"));
        }
        parse::parse(text).map(|trees| Template { trees, text: text.to_owned() }).map_err(|error| refused(&error))
    }

    /// Renders plain JSON. A key that a map does not have is an error.
    ///
    /// # Errors
    /// As [`Template::render_subject`].
    pub fn render(&self, value: &Json) -> Result<String> {
        self.render_subject(&Subject { value, shape: Shape::Any, methods: &[] })
    }

    /// Renders a subject.
    ///
    /// # Errors
    /// `invalid_argument` in Docker's words, with line and column:
    /// `template parsing error: template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"`.
    pub fn render_subject(&self, subject: &Subject<'_>) -> Result<String> {
        run::run(self, subject).map_err(|failure| with_hint(&failure))
    }

    /// Renders the titles of a table's columns as far as that goes, which is how Docker does it: functions that change text
    /// leave them as they are, and the rest of a template that fits no title is not shown. The error is that of a field
    /// that does not exist.
    pub(super) fn render_titles(&self, subject: &Subject<'_>) -> (String, Option<Error>) {
        let (made, failure) = run::run_part(self, subject, true);
        let unknown = failure.filter(|failure| failure.message.contains("can't evaluate field"));
        (made, unknown.map(|failure| with_hint(&failure)))
    }

    /// Whether the template mentions a field of this name anywhere: a fact that is dear to know is looked up only then.
    pub fn mentions(&self, field: &str) -> bool {
        self.trees.values().any(|nodes| tree::mention(nodes, field))
    }
}

fn with_hint(failure: &run::Failure) -> Error {
    let error = refused(&failure.message);
    match &failure.hint {
        Some(hint) => error.with_hint(hint.clone()),
        None => error,
    }
}

fn refused(message: &str) -> Error {
    Error::invalid(format!("template parsing error: {message}"))
}

#[cfg(test)]
mod go_tests;
#[cfg(test)]
mod tests;
