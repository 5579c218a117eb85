//! How values print: text in one line, tables and trees that fit the terminal, JSON and YAML.
//!
//! An array of maps or of handles is a table, a map is a tree, everything else is its text. The one user of `comfy_table`
//! and of `serde_yaml_ng` in scripts.

use std::time::Duration;

use rhai::plugin::*;
use rhai::{Array, Dynamic, FnPtr, Map, NativeCallContext};

use crate::base::units::{binary_size, short_duration};
use crate::base::{Error, Timestamp};
use crate::script::container::Container;
use crate::script::context::tag;
use crate::script::convert::to_shown_json;
use crate::script::error::{Fallible, Raise};
use crate::script::image::Image;
use crate::script::network::Network;
use crate::script::output::Output;
use crate::script::secret::Secret;
use crate::script::topology::Topology;
use crate::script::units::{Size, type_name};
use crate::script::volume::Volume;

/// How deep trees and inline texts go.
const MAX_DEPTH: usize = 24;

/// A value as `print` shows it where there is no room for more than its text.
pub(crate) fn text_of(value: &Dynamic) -> String {
    if value.is_unit() {
        return String::new();
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return text.to_string();
    }
    inline(value, 0)
}

/// A value as one would write it in a script.
pub(crate) fn inline(value: &Dynamic, depth: usize) -> String {
    if depth > MAX_DEPTH {
        return "…".to_owned();
    }
    if value.is_unit() {
        return "()".to_owned();
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return format!("{:?}", text.as_str());
    }
    if let Some(items) = value.read_lock::<Array>() {
        let items: Vec<String> = items.iter().map(|item| inline(item, depth + 1)).collect();
        return format!("[{}]", items.join(", "));
    }
    if let Some(map) = value.read_lock::<Map>() {
        let entries: Vec<String> =
            map.iter().map(|(key, value)| format!("{}: {}", shown_key(key), inline(value, depth + 1))).collect();
        return if entries.is_empty() { "#{}".to_owned() } else { format!("#{{ {} }}", entries.join(", ")) };
    }
    own_text(value).unwrap_or_else(|| {
        let text = value.to_string();
        // Rhai shows types that it does not know by their Rust name.
        if text.contains("::") { type_name(value) } else { text }
    })
}

fn shown_key(key: &str) -> String {
    let plain =
        key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !key.starts_with(|c: char| c.is_numeric());
    if plain && !key.is_empty() { key.to_owned() } else { format!("{key:?}") }
}

/// The text of the types that this crate brings.
fn own_text(value: &Dynamic) -> Option<String> {
    if let Some(duration) = value.read_lock::<Duration>() {
        return Some(short_duration(*duration));
    }
    if let Some(size) = value.read_lock::<Size>() {
        return Some(binary_size(size.0));
    }
    if let Some(time) = value.read_lock::<Timestamp>() {
        return Some(time.to_string());
    }
    if value.read_lock::<Secret>().is_some() {
        return Some("***".to_owned());
    }
    if value.read_lock::<FnPtr>().is_some() {
        return Some("closure".to_owned());
    }
    if let Some(output) = value.read_lock::<Output>() {
        return Some(crate::script::output::output_functions::text(output.clone()).to_string());
    }
    if let Some(container) = value.read_lock::<Container>() {
        return Some(container.shown());
    }
    if let Some(image) = value.read_lock::<Image>() {
        return Some(image.shown());
    }
    if let Some(network) = value.read_lock::<Network>() {
        return Some(network.shown());
    }
    if let Some(topology) = value.read_lock::<Topology>() {
        return Some(topology.shown());
    }
    if let Some(build) = value.read_lock::<crate::script::build::Build>() {
        return Some(build.shown());
    }
    value.read_lock::<Volume>().map(|volume| volume.shown())
}

/// A value's row in a table: a map as it is, a handle's main facts.
fn row_of(value: &Dynamic) -> Option<Map> {
    if let Some(map) = value.read_lock::<Map>() {
        return Some(map.clone());
    }
    let row = if let Some(container) = value.read_lock::<Container>() {
        crate::script::container::row(&container)
    } else if let Some(image) = value.read_lock::<Image>() {
        crate::script::image::row(&image)
    } else if let Some(volume) = value.read_lock::<Volume>() {
        crate::script::volume::row(&volume)
    } else {
        return None;
    };
    // A thing that is gone by now has its text for a row.
    Some(row.unwrap_or_else(|_| Map::from([("name".into(), inline(value, 0).into())])))
}

/// The columns that come first, if they are there; the others follow by name.
const FIRST: [&str; 6] = ["name", "id", "pid", "user", "path", "noun"];

fn columns(rows: &[Map]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for first in FIRST {
        if rows.iter().any(|row| row.contains_key(first)) {
            names.push(first.to_owned());
        }
    }
    for key in rows.iter().flat_map(|row| row.keys()) {
        if !names.iter().any(|name| name == key.as_str()) {
            names.push(key.to_string());
        }
    }
    names
}

/// Rows under headings, no wider than `width` columns.
pub(crate) fn table(rows: &[Map], width: usize) -> String {
    let names = columns(rows);
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table.set_header(names.iter().map(|name| name.to_uppercase().replace('_', " ")));
    for row in rows {
        table.add_row(names.iter().map(|name| row.get(name.as_str()).map(text_of).unwrap_or_default()));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        let numbers = rows.iter().all(|row| {
            row.get(names[index].as_str()).is_none_or(|value| value.is_int() || value.is_float() || value.is_unit())
        });
        if numbers {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A value for people, over as many lines as it takes.
pub(crate) fn pretty(value: &Dynamic, width: usize) -> String {
    pretty_at(value, width.max(20), 0)
}

fn pretty_at(value: &Dynamic, width: usize, depth: usize) -> String {
    if depth > MAX_DEPTH {
        return "…".to_owned();
    }
    if let Some(topology) = value.read_lock::<Topology>() {
        return topology.tree(width);
    }
    if let Some(items) = value.read_lock::<Array>() {
        if items.is_empty() {
            return "[]".to_owned();
        }
        if let Some(rows) = items.iter().map(row_of).collect::<Option<Vec<Map>>>()
            && rows.iter().all(|row| !row.is_empty())
        {
            return table(&rows, width);
        }
        let line = inline(value, depth);
        if line.chars().count() <= width && !line.contains('\n') {
            return line;
        }
        let items = items.iter().map(|item| format!("- {}", indent(&pretty_at(item, width - 2, depth + 1), 2)));
        return items.collect::<Vec<_>>().join("\n");
    }
    let Some(map) = value.read_lock::<Map>() else {
        return text_of(value);
    };
    if map.is_empty() {
        return "#{}".to_owned();
    }
    let entries = map.iter().map(|(key, value)| {
        let key = shown_key(key);
        let line = if value.is_unit() { "()".to_owned() } else { text_of(value) };
        let nested = value.is_map() || value.is_array();
        let fits = key.chars().count() + 2 + line.chars().count() <= width;
        let small = !nested || line.ends_with("{}") || line == "[]" || (value.is_array() && !line.contains("#{"));
        if fits && small && !line.contains('\n') {
            return format!("{key}: {line}");
        }
        let below = if nested { pretty_at(value, (width - 2).max(20), depth + 1) } else { line };
        format!("{key}:\n  {}", indent(below.trim_end_matches('\n'), 2))
    });
    entries.collect::<Vec<_>>().join("\n")
}

/// Moves all lines but the first to the right.
fn indent(text: &str, by: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(by)))
}

fn json(value: &Dynamic) -> Result<String, Error> {
    let shown = to_shown_json(value, &text_of);
    serde_json::to_string_pretty(&shown).map_err(|error| Error::failed(error.to_string()))
}

fn yaml(value: &Dynamic) -> Result<String, Error> {
    let shown = to_shown_json(value, &text_of);
    serde_yaml_ng::to_string(&shown).map_err(|error| Error::failed(error.to_string()))
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod display_functions {
    use super::*;

    /// Prints an array of maps or handles as a table that fits the terminal.
    ///
    /// ```rhai
    /// [#{ name: "a", size: 1.kb }, #{ name: "b", size: 2.kb }].table();
    /// ```
    #[rhai_fn(name = "table", return_raw)]
    pub fn table_of(ctx: NativeCallContext, items: Array) -> Fallible<()> {
        let host = tag(&ctx)?.host;
        let rows: Option<Vec<Map>> = items.iter().map(row_of).collect();
        let rows = rows.ok_or_else(|| Error::invalid("a table is made of maps or handles")).raise(&ctx)?;
        if !rows.is_empty() {
            host.say(&format!("{}\n", table(&rows, host.width)));
        }
        Ok(())
    }

    #[rhai_fn(name = "table", return_raw)]
    pub fn table_of_map(ctx: NativeCallContext, map: Map) -> Fallible<()> {
        let row = |(key, value)| {
            let mut row = Map::new();
            row.insert("name".into(), Dynamic::from(rhai::ImmutableString::from(key)));
            row.insert("value".into(), value);
            Dynamic::from(row)
        };
        table_of(ctx, map.into_iter().map(row).collect())
    }

    /// A map or an array as JSON text.
    ///
    /// ```rhai
    /// assert(#{ a: 1 }.json() == "{\n  \"a\": 1\n}");
    /// ```
    #[rhai_fn(name = "json", return_raw)]
    pub fn json_of(ctx: NativeCallContext, value: Map) -> Fallible<String> {
        json(&value.into()).raise(&ctx)
    }

    #[rhai_fn(name = "json", return_raw)]
    pub fn json_of_array(ctx: NativeCallContext, value: Array) -> Fallible<String> {
        json(&value.into()).raise(&ctx)
    }

    /// A map or an array as YAML text.
    ///
    /// ```rhai
    /// assert(#{ a: 1 }.yaml() == "a: 1\n");
    /// ```
    #[rhai_fn(name = "yaml", return_raw)]
    pub fn yaml_of(ctx: NativeCallContext, value: Map) -> Fallible<String> {
        yaml(&value.into()).raise(&ctx)
    }

    #[rhai_fn(name = "yaml", return_raw)]
    pub fn yaml_of_array(ctx: NativeCallContext, value: Array) -> Fallible<String> {
        yaml(&value.into()).raise(&ctx)
    }

    /// Prints a value on standard output: maps as trees, arrays of maps or handles as tables, others as their text.
    ///
    /// ```rhai
    /// print(#{ name: "web", ports: [80, 443] });
    /// ```
    #[rhai_fn(name = "print", return_raw)]
    pub fn print_array(ctx: NativeCallContext, value: Array) -> Fallible<String> {
        Ok(pretty(&value.into(), tag(&ctx)?.host.width))
    }

    #[rhai_fn(name = "print", return_raw)]
    pub fn print_map(ctx: NativeCallContext, value: Map) -> Fallible<String> {
        Ok(pretty(&value.into(), tag(&ctx)?.host.width))
    }

    #[rhai_fn(name = "to_string", name = "to_debug", name = "debug")]
    pub fn array_text(value: Array) -> String {
        inline(&value.into(), 0)
    }

    #[rhai_fn(name = "to_string", name = "to_debug", name = "debug")]
    pub fn map_text(value: Map) -> String {
        inline(&value.into(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, Dynamic)]) -> Map {
        entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect()
    }

    #[test]
    fn an_array_of_maps_is_a_table_within_the_width() {
        let rows = [map(&[("name", "a".into()), ("size", Dynamic::from(Size(1024)))]), map(&[("name", "bb".into())])];
        assert_eq!(table(&rows, 80), "NAME  SIZE\na     1KiB\nbb");
        let long = [map(&[("name", "x ".repeat(100).into())])];
        assert!(table(&long, 40).lines().all(|line| line.chars().count() <= 40));
    }

    #[test]
    fn a_map_is_a_tree_and_short_arrays_stay_on_their_line() {
        let inner = map(&[("b", 1i64.into())]);
        let list: Array = vec![1i64.into(), "x".into()];
        let value = map(&[("a", inner.into()), ("list", list.into()), ("none", Dynamic::UNIT)]);
        assert_eq!(pretty(&value.into(), 80), "a:\n  b: 1\nlist: [1, \"x\"]\nnone: ()");
    }
}
