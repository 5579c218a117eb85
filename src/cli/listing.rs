//! What all listings share: `--format`, and how rows become a table, JSON lines or ids.

use std::str::FromStr;

use serde_json::Value;

use crate::base::{Error, Result};
use crate::cli::Out;

/// How a listing or a fact is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// Docker's table, or text for people.
    #[default]
    Table,
    /// One JSON value a line.
    Json,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Format> {
        match text {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            _ if text.contains("{{") => Err(Error::unsupported("Go templates are not built yet")
                .with_hint("use --format json and read the field with jq")),
            _ => Err(Error::invalid(format!("unknown format {text:?}")).with_hint("use table or json")),
        }
    }
}

/// Reads `--format`.
pub(crate) fn format(text: Option<&str>) -> Result<Format> {
    text.map_or(Ok(Format::default()), str::parse)
}

/// Prints one JSON value a line.
pub(crate) fn json_lines(out: &mut Out, rows: impl IntoIterator<Item = Value>) -> Result<()> {
    rows.into_iter().try_for_each(|row| out.json(&row))
}
