//! `--format` of the listings: tables, JSON lines and Go templates, row by row, as Docker's formatter does it.
//!
//! ```text
//! --format ─▶ the template of a row: the default table's, one that the user wrote, {{json .}}
//!          ─▶ rows, a line or more for each ─▶ Rendered: lines; in a table cells end at tabs, titles come first
//!          ─▶ align (Go's text/tabwriter)
//! ```
//!
//! Nothing is rendered half: the first row that a template does not fit is the error of all.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::base::{Error, Result};
use crate::docker::template::{Method, Shape, Subject, Template};

/// The least width of a column that is not the last, its gap included; Docker's number.
const MIN_WIDTH: usize = 10;
/// The gap between columns; Docker's number.
const GAP: usize = 3;

/// What can be listed of a noun, in Docker's words.
#[derive(Debug)]
pub struct Listing {
    /// The name of a row's type in Go, which error messages have.
    pub type_name: &'static str,
    /// What a row has, and the titles that a table gives it.
    pub columns: &'static [(&'static str, &'static str)],
    /// The rows of the default table.
    pub table: &'static str,
    /// The rows with `-q`.
    pub quiet: &'static str,
    /// The rows of `--format raw`, if there is such a thing.
    pub raw: Option<&'static str>,
    /// `-q` is stronger than a template.
    pub quiet_wins: bool,
}

/// A row: what it has, and the labels that `.Label` looks up.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// An object with a text for every column.
    pub value: Value,
    /// Empty where there is no such thing.
    pub labels: BTreeMap<String, String>,
}

impl From<Value> for Row {
    fn from(value: Value) -> Row {
        Row { value, labels: BTreeMap::new() }
    }
}

/// How the rows of a listing are printed.
#[derive(Debug)]
pub struct Format {
    listing: &'static Listing,
    template: Template,
    is_table: bool,
    has_titles: bool,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendered {
    /// Text as it is.
    Text(String),
    /// Lines whose cells end at tabs, the titles first.
    Table(String),
}

impl Format {
    /// Reads `--format`, which may be missing.
    ///
    /// # Errors
    /// `invalid_argument` for a template that cannot be read, in Docker's words.
    pub fn new(listing: &'static Listing, given: Option<&str>, quiet: bool) -> Result<Format> {
        Format::with_table(listing, given, quiet, listing.table)
    }

    /// As [`Format::new`] with other columns in the default table.
    ///
    /// # Errors
    /// As there.
    pub fn with_table(listing: &'static Listing, given: Option<&str>, quiet: bool, table: &str) -> Result<Format> {
        let given = given.filter(|given| !given.is_empty()).unwrap_or("table");
        let (text, is_table) = match given {
            "table" if quiet => (listing.quiet, false),
            "table" => (table, true),
            "raw" if listing.raw.is_some() => (listing.raw.unwrap_or_default(), false),
            _ if quiet && listing.quiet_wins => (listing.quiet, false),
            "json" => ("{{json .}}", false),
            _ => match given.strip_prefix("table") {
                Some(rest) => (rest, true),
                // Docker would print the word for every row.
                None if !given.contains("{{") => return Err(unknown(given)),
                None => (given, false),
            },
        };
        let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        Ok(Format { listing, template: Template::parse(&text)?, is_table, has_titles: is_table })
    }

    /// Whether it is a table for people.
    pub fn is_table(&self) -> bool {
        self.is_table
    }

    /// Whether the template mentions a column.
    pub fn mentions(&self, column: &str) -> bool {
        self.template.mentions(column)
    }

    /// Leaves the titles out, as a stream does after its first rows.
    pub fn without_titles(&mut self) {
        self.has_titles = false;
    }

    /// Renders rows.
    ///
    /// # Errors
    /// `invalid_argument` for a template that does not fit, in Docker's words; also when there is no row.
    pub fn render(&self, rows: &[Row]) -> Result<Rendered> {
        let (titles, unknown) = self.titles();
        if let Some(error) = unknown.filter(|_| rows.is_empty()) {
            return Err(error);
        }
        let mut text = String::new();
        if self.has_titles {
            text.push_str(&titles);
            text.push('\n');
        }
        for row in rows {
            let label = |name: &str| row.labels.get(name).cloned().unwrap_or_default();
            let methods: &[Method<'_>] = &[("Label", &label)];
            text.push_str(&self.template.render_subject(&self.subject(&row.value, methods))?);
            text.push('\n');
        }
        Ok(if self.is_table { Rendered::Table(text) } else { Rendered::Text(text) })
    }

    fn titles(&self) -> (String, Option<Error>) {
        let titles: Map<String, Value> =
            self.listing.columns.iter().map(|(name, title)| ((*name).to_owned(), (*title).into())).collect();
        let label = |name: &str| name.rsplit('.').next().unwrap_or(name).replace(['-', '_'], " ");
        self.template.render_titles(&self.subject(&titles.into(), &[("Label", &label)]))
    }

    fn subject<'a>(&self, value: &'a Value, methods: &'a [Method<'a>]) -> Subject<'a> {
        let has_labels = self.listing.columns.iter().any(|(name, _)| *name == "Labels");
        Subject { value, shape: Shape::Row(self.listing.type_name), methods: if has_labels { methods } else { &[] } }
    }
}

/// A word that is no format.
pub(super) fn unknown(word: &str) -> Error {
    Error::invalid(format!("unknown format {word:?}")).with_hint("use table, json or a Go template such as {{.ID}}")
}

/// Cells that end at tabs to columns, as Go's text/tabwriter lays them out: neighbouring lines that have a column share
/// its width, and what stands behind the last tab of a line has none.
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut at = 0;
        while at < lines.len() {
            let block = widths[at..].iter().take_while(|line| line.len() > column).count();
            let cells = lines[at..at + block].iter().map(|line| line[column].chars().count() + GAP);
            let width = cells.max().unwrap_or(0).max(MIN_WIDTH);
            widths[at..at + block].iter_mut().for_each(|line| line[column] = width);
            at += block.max(1);
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (at, (line, widths)) in lines.iter().zip(&widths).enumerate() {
        if at > 0 {
            out.push('\n');
        }
        for (column, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(column) {
                out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LISTING: Listing = Listing {
        type_name: "*formatter.ContainerContext",
        columns: &[("ID", "CONTAINER ID"), ("Names", "NAMES"), ("Labels", "LABELS")],
        table: r"{{.ID}}\t{{.Names}}",
        quiet: "{{.ID}}",
        raw: Some(r"id: {{.ID}}\n"),
        quiet_wins: true,
    };

    fn rows() -> Vec<Row> {
        let labels = BTreeMap::from([("com.example.some-tier".to_owned(), "front".to_owned())]);
        vec![
            Row { value: json!({ "ID": "1", "Names": "a", "Labels": "x=1" }), labels },
            Row::from(json!({ "ID": "2", "Names": "bbbbbbbbbbbb,c", "Labels": "" })),
        ]
    }

    fn shown(format: Option<&str>, quiet: bool) -> String {
        match Format::new(&LISTING, format, quiet).and_then(|format| format.render(&rows())) {
            Ok(Rendered::Text(text)) => text,
            Ok(Rendered::Table(text)) => align(&text),
            Err(error) => format!("!{error}"),
        }
    }

    #[test]
    fn formats_are_dockers() {
        for (format, expected) in [
            ("table", "CONTAINER ID   NAMES\n1              a\n2              bbbbbbbbbbbb,c\n"),
            (
                "json",
                "{\"ID\":\"1\",\"Labels\":\"x=1\",\"Names\":\"a\"}\n{\"ID\":\"2\",\"Labels\":\"\",\"Names\":\"bbbbbbbbbbbb,c\"}\n",
            ),
            ("raw", "id: 1\n\nid: 2\n\n"),
            (r"{{.ID}}\t{{.Names}}", "1\ta\n2\tbbbbbbbbbbbb,c\n"),
            (
                r"table {{.Names}}\t{{.ID}}\t",
                "NAMES            CONTAINER ID   \na                1              \nbbbbbbbbbbbb,c   2              \n",
            ),
            ("table {{upper .Names}}", "NAMES\nA\nBBBBBBBBBBBB,C\n"),
            (r#"table {{join (split .Names ",") "+"}}"#, "NAMES\na\nbbbbbbbbbbbb+c\n"),
            (
                r#"table {{.ID}}\t{{.Label "com.example.some-tier"}}"#,
                "CONTAINER ID   some tier\n1              front\n2              \n",
            ),
            ("table{{.ID}}", "CONTAINER ID\n1\n2\n"),
            ("yaml", "!unknown format \"yaml\""),
            (
                "{{.Foo}}",
                "!template parsing error: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext",
            ),
            ("{{.ID", "!template parsing error: template: :1: unclosed action"),
        ] {
            assert_eq!(shown(Some(format), false), expected, "{format}");
        }
        assert_eq!(shown(None, true), "1\n2\n");
        assert_eq!(shown(Some("{{.Names}}"), true), "1\n2\n");
    }

    #[test]
    fn a_field_that_does_not_exist_is_an_error_without_rows_too() {
        let render = |text| Format::new(&LISTING, Some(text), false).unwrap().render(&[]);
        assert!(render("{{.Foo}}").is_err() && render("table {{.Foo}}").is_err());
        assert_eq!(render("{{.ID}}").unwrap(), Rendered::Text(String::new()));
        assert_eq!(render("table {{.ID}}").unwrap(), Rendered::Table("CONTAINER ID\n".into()));
        // A title is not a list of names; that is no error.
        assert_eq!(render("table {{len .ID}} {{index .Names \"x\"}}").unwrap(), Rendered::Table("12 \n".into()));
    }

    #[test]
    fn neighbouring_lines_share_their_columns() {
        assert_eq!(align("a\tb\nccccccccccc\td\n"), "a             b\nccccccccccc   d\n");
        assert_eq!(align("aaaaaaaaaaaa\tb\nnone\nc\td"), "aaaaaaaaaaaa   b\nnone\nc         d");
        assert_eq!(align("a\t\tb\nü\tc"), "a                   b\nü         c");
        assert_eq!(align(""), "");
    }
}
