//! What all listings share: rows and `--format` to standard output.

use std::io::IsTerminal as _;

use serde_json::Value;

use crate::base::Result;
use crate::cli::Out;
use crate::cli::table::Table;
use crate::docker::format::{Format, Rendered, Row, align};
use crate::docker::inspect;

/// Prints rows. Nothing is printed when one of them does not fit the format.
pub(crate) fn print(out: &mut Out, format: &Format, rows: impl IntoIterator<Item = Row>) -> Result<()> {
    let rows: Vec<Row> = rows.into_iter().collect();
    let to_terminal = std::io::stdout().is_terminal();
    match format.render(&rows)? {
        Rendered::Table(text) if to_terminal => match Table::of_lines(&text) {
            Some(table) => table.print(out),
            None => out.text(&harmless(&align(&text))),
        },
        Rendered::Table(text) => out.text(&align(&text)),
        Rendered::Text(text) if to_terminal => out.text(&harmless(&text)),
        Rendered::Text(text) => out.text(&text),
    }
}

/// Prints a fact with `--format`, or `text` without one.
pub(crate) fn fact(
    out: &mut Out,
    format: Option<&str>,
    value: &Value,
    text: impl FnOnce() -> Vec<String>,
) -> Result<()> {
    match inspect::Format::parse(format)? {
        inspect::Format::Pretty => text().iter().try_for_each(|line| out.line(line)),
        format => out.text(&harmless_on_terminal(format.line(value, inspect::ANY)?)),
    }
}

/// Text for whatever standard output is: to a terminal without what could move its cursor.
pub(crate) fn harmless_on_terminal(text: String) -> String {
    if std::io::stdout().is_terminal() { harmless(&text) } else { text }
}

/// Cells come from images and containers.
fn harmless(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect()
}
