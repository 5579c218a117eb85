//! The API as its own metadata tells it: `help()`, `rhumb doc`, and the definitions that a golden file pins.
//!
//! Nothing is kept by hand: names, parameters and `///` comments come from what is registered. Rhai's own standard
//! functions are not listed here; its book is their documentation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use rhai::{Engine, FnNamespace};

use crate::base::error::Context as _;
use crate::base::{Error, Result, suggest};
use crate::script::resolve::{standard_modules, standard_text};

/// One registered function, property or operator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The module, empty for globals, methods and properties.
    pub module: String,
    /// The type that a method or a property belongs to.
    pub of: Option<String>,
    /// The name in scripts.
    pub name: String,
    /// A property is read without parentheses.
    pub property: bool,
    /// An operator or a conversion that scripts never call by name.
    pub operator: bool,
    /// Parameters, `name: type`; without the receiver of a method.
    pub params: Vec<String>,
    /// The type of the result, empty for unit.
    pub result: String,
    /// The comment without its markers.
    pub text: String,
}

impl Entry {
    /// How it is called: `container::run(image: Image | string, options: map) -> Container`.
    pub fn signature(&self) -> String {
        let mut text = self.full_name();
        if !self.property {
            text += &format!("({})", self.params.join(", "));
        }
        match (&self.result, self.property) {
            (result, _) if result.is_empty() => text,
            (result, true) => format!("{text}: {result}"),
            (result, false) => format!("{text} -> {result}"),
        }
    }

    /// With its module or its type in front.
    pub fn full_name(&self) -> String {
        match &self.of {
            Some(of) => format!("{of}.{}", self.name),
            None if self.module.is_empty() => self.name.clone(),
            None => format!("{}::{}", self.module, self.name),
        }
    }

    /// The code of its examples.
    pub fn examples(&self) -> Vec<String> {
        let mut examples = Vec::new();
        let mut current: Option<Vec<&str>> = None;
        for line in self.text.lines() {
            match (&mut current, line.trim()) {
                (None, "```rhai") => current = Some(Vec::new()),
                (Some(_), "```") => examples.extend(current.take().map(|lines| lines.join("\n"))),
                (Some(lines), _) => lines.push(line),
                _ => {}
            }
        }
        examples
    }
}

/// A Rust type as scripts see it.
pub(crate) fn pretty_type(raw: &str) -> String {
    let raw = raw.trim().trim_start_matches("&mut ").trim_start_matches('&').trim();
    for wrapper in ["Fallible<", "Fallible <", "RhaiResultOf<", "Result<", "std::result::Result<"] {
        if let Some(inner) = raw.strip_prefix(wrapper) {
            let inner = inner.trim_end_matches('>').split(", Box").next().unwrap_or(inner);
            return pretty_type(inner);
        }
    }
    let name: Cow<'_, str> = match raw.rsplit("::").next().unwrap_or(raw).trim() {
        "i64" | "INT" | "int" => "int".into(),
        "f64" | "FLOAT" | "float" => "float".into(),
        "str" | "String" | "ImmutableString" | "string" => "string".into(),
        "Map" | "map" => "map".into(),
        "Array" | "array" => "array".into(),
        "Blob" | "blob" => "blob".into(),
        "Dynamic" | "?" => "any".into(),
        "FnPtr" | "Fn" => "closure".into(),
        "()" => "".into(),
        "Timestamp" => "Time".into(),
        "OneImage" => "Image | string".into(),
        "OneNetwork" => "Network | string".into(),
        "OneVolume" => "Volume | string".into(),
        "Command" => "string | array".into(),
        "TimeSpan" => "Duration | string | number".into(),
        "User" => "string | int".into(),
        range if range.starts_with("Range") => "range".into(),
        "MaybeInt" => "int | ()".into(),
        "MaybeTime" => "Time | ()".into(),
        "MaybeOutput" => "Output | ()".into(),
        "ByteCount" => "Size | string | int".into(),
        other => other.to_owned().into(),
    };
    name.into_owned()
}

/// Everything that Rhumb registers, sorted.
pub fn entries(engine: &Engine) -> Vec<Entry> {
    let mut found: Vec<Entry> = engine
        .collect_fn_metadata(None, |info| Some(entry(&info.namespace, info.metadata)), false)
        .into_iter()
        .collect();
    found.sort();
    found.dedup();
    // Overloads share the comment of the one that has it.
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for entry in found.iter().filter(|entry| !entry.text.is_empty()) {
        texts.entry(entry.full_name()).or_insert_with(|| entry.text.clone());
    }
    for entry in found.iter().filter(|entry| !entry.text.is_empty()) {
        texts.entry(entry.name.clone()).or_insert_with(|| entry.text.clone());
    }
    for entry in found.iter_mut().filter(|entry| entry.text.is_empty() && !entry.operator) {
        let shared = texts.get(&entry.full_name()).or_else(|| texts.get(&entry.name));
        entry.text = shared.cloned().unwrap_or_default();
    }
    found
}

fn entry(namespace: &str, f: &rhai::FuncMetadata) -> Entry {
    let param = |param: &rhai::Identifier| {
        let (name, of) = param.split_once(':').unwrap_or((param, ""));
        (name.trim().to_owned(), pretty_type(of))
    };
    let mut params: Vec<(String, String)> = f.params_info.iter().map(param).collect();
    params.truncate(f.num_params);
    let property = f.name.starts_with("get$");
    let name = f.name.trim_start_matches("get$").to_owned();
    let operator = !name.starts_with(|c: char| c.is_ascii_alphabetic())
        || matches!(name.as_str(), "to_string" | "to_debug" | "debug");
    let receiver = params.first().map(|(_, of)| of.clone());
    let is_method = property
        || operator
        || f.namespace == FnNamespace::Global && !namespace.is_empty()
        || namespace.is_empty() && is_receiver(receiver.as_deref(), f.name.as_str());
    let of = if is_method { receiver } else { None };
    if of.is_some() {
        params.remove(0);
    }
    Entry {
        module: if of.is_some() { String::new() } else { namespace.to_owned() },
        of,
        name,
        property,
        operator,
        params: params
            .into_iter()
            .map(|(name, of)| if of.is_empty() { name } else { format!("{name}: {of}") })
            .collect(),
        result: pretty_type(&f.return_type),
        text: comment(f.comments.iter().map(|text| text.as_str())),
    }
}

/// A comment without its markers.
fn comment<'a>(pieces: impl Iterator<Item = &'a str>) -> String {
    let lines = pieces.flat_map(str::lines).map(|line| {
        let line = line.trim().trim_start_matches("///");
        line.strip_prefix(' ').unwrap_or(line).to_owned()
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Global functions that are written as methods of their first parameter.
fn is_receiver(of: Option<&str>, name: &str) -> bool {
    match of {
        Some("array") => !matches!(name, "parallel" | "print"),
        Some("map") => name != "print",
        Some("string") => matches!(name, "trimmed" | "lines" | "words" | "from_json"),
        _ => false,
    }
}

fn listed(engine: &Engine) -> Vec<Entry> {
    entries(engine).into_iter().filter(|entry| !entry.operator).collect()
}

/// The functions of the standard library's modules, which are scripts: `import "std/assert" as t;`.
fn standard_entries(engine: &Engine) -> Vec<Entry> {
    let mut found = Vec::new();
    for module in standard_modules() {
        let Some(text) = standard_text(&module) else { continue };
        // A module that cannot be read has no functions; the test that imports each of them says so.
        let Ok(ast) = engine.compile(text) else { continue };
        for function in ast.iter_functions() {
            if function.name.starts_with("anon$") {
                continue;
            }
            found.push(Entry {
                module: module.clone(),
                of: None,
                name: function.name.to_owned(),
                property: false,
                operator: false,
                params: function.params.iter().map(|name| (*name).to_owned()).collect(),
                result: String::new(),
                text: comment(function.comments.iter().copied()),
            });
        }
    }
    found.sort();
    found
}

/// Modules, types and globals, each on a line.
pub(crate) fn overview(engine: &Engine) -> String {
    let mut groups: BTreeMap<(u8, String), Vec<String>> = BTreeMap::new();
    for entry in listed(engine) {
        let key = match &entry.of {
            Some(of) => (2, of.clone()),
            None if entry.module.is_empty() => (0, "everywhere".to_owned()),
            None => (1, entry.module.clone()),
        };
        let names = groups.entry(key).or_default();
        if !names.contains(&entry.name) {
            names.push(entry.name);
        }
    }
    let mut text = String::new();
    for ((rank, name), names) in groups {
        let title = if rank == 1 { format!("{name}::") } else { name };
        text += &format!("{title:<14}{}\n", wrapped(&names.join(" "), 14, 80));
    }
    for module in standard_modules() {
        let functions = standard_entries(engine).into_iter().filter(|entry| entry.module == module);
        let names: Vec<String> = functions.map(|entry| entry.name).collect();
        text += &format!("{module:<14}{}\n", wrapped(&names.join(" "), 14, 80));
    }
    text + "\nhelp(\"NAME\") tells more.\n"
}

/// Words over lines, all but the first indented.
fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && indent + last.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

/// What is known about a name: a module, a type, a function with or without its module.
///
/// # Errors
/// `not_found` with a did-you-mean.
pub(crate) fn about(engine: &Engine, name: &str) -> Result<String> {
    let mut entries = listed(engine);
    entries.extend(standard_entries(engine));
    let plain = name.trim_end_matches("()").trim_end_matches("::");
    let group: Vec<&Entry> =
        entries.iter().filter(|e| e.module == plain && !plain.is_empty() || e.of.as_deref() == Some(plain)).collect();
    if !group.is_empty() {
        let mut text = String::new();
        // A module and its handle's type differ in the first letter's case alone.
        for entry in &group {
            text += &format!("{}\n    {}\n", entry.signature(), summary(&entry.text));
        }
        let mut letters = plain.chars();
        if let Some(first) = letters.next() {
            let handle: String = first.to_uppercase().chain(letters).collect();
            if handle != plain && entries.iter().any(|entry| entry.of.as_deref() == Some(handle.as_str())) {
                text += &format!("\nhelp(\"{handle}\") tells about its properties and methods.\n");
            }
        }
        return Ok(text);
    }
    let exact: Vec<&Entry> = entries.iter().filter(|e| e.full_name() == plain || e.name == plain).collect();
    if exact.is_empty() {
        let error = Error::not_found(format!("nothing is called {name:?}"));
        let known: Vec<String> =
            entries.iter().flat_map(|e| [e.name.clone(), e.module.clone(), e.full_name()]).collect();
        return Err(match suggest::hint(plain, known.iter().map(String::as_str)) {
            Some(hint) => error.with_hint(hint),
            None => error.with_hint("help() lists everything"),
        });
    }
    let mut text = String::new();
    for (index, entry) in exact.iter().enumerate() {
        text += &format!("{}\n", entry.signature());
        let last_of_its_name = exact.get(index + 1).is_none_or(|next| next.full_name() != entry.full_name());
        if last_of_its_name {
            text += &format!("\n{}\n", shown_comment(&entry.text));
        }
    }
    Ok(text)
}

/// The first sentence or line of a comment.
fn summary(text: &str) -> String {
    let paragraph: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    match paragraph.find(". ") {
        Some(end) => paragraph[..=end].to_owned(),
        None => paragraph,
    }
}

/// A comment with its examples indented instead of fenced.
fn shown_comment(text: &str) -> String {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside {
            lines.push(format!("        {line}"));
        } else {
            lines.push(if line.is_empty() { String::new() } else { format!("    {line}") });
        }
    }
    lines.join("\n") + "\n"
}

/// Prints the whole API, or what is known about `name`.
///
/// # Errors
/// `not_found` with a did-you-mean; what writing gives.
pub fn print(name: Option<&str>, out: &mut dyn Write) -> Result<()> {
    let engine = crate::script::setup::bare_engine();
    let text = match name {
        Some(name) => about(&engine, name)?,
        None => whole(&engine),
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context(|| "writing the documentation")
}

fn whole(engine: &Engine) -> String {
    let mut text = overview(engine);
    let mut entries = listed(engine);
    entries.extend(standard_entries(engine));
    for (index, entry) in entries.iter().enumerate() {
        text += &format!("\n{}\n", entry.signature());
        if entries.get(index + 1).is_none_or(|next| next.full_name() != entry.full_name()) {
            text += &shown_comment(&entry.text);
        }
    }
    text
}

/// The API as definitions: every signature with its comment, operators included. `tests/golden/api.d.rhai` pins it.
pub fn definitions() -> String {
    let engine = crate::script::setup::bare_engine();
    let mut text = String::from("// The script API. Generated from the metadata of what is registered; do not edit.\n");
    for entry in entries(&engine).into_iter().chain(standard_entries(&engine)) {
        text.push('\n');
        for line in entry.text.lines() {
            text += format!("/// {line}").trim_end();
            text.push('\n');
        }
        text += &format!("{} {};\n", if entry.property { "get" } else { "fn" }, entry.signature());
    }
    text
}

/// Every function and property with the examples of its comment, for the test that runs them.
pub fn documented() -> Vec<Entry> {
    let engine = crate::script::setup::bare_engine();
    let mut entries = listed(&engine);
    entries.extend(standard_entries(&engine));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_types_become_script_types() {
        for (raw, pretty) in [
            ("Fallible<Container>", "Container"),
            ("&mut ImmutableString", "string"),
            ("rhumb::script::units::Size", "Size"),
            ("core::time::Duration", "Duration"),
            ("Fallible < () >", ""),
            ("i64", "int"),
            ("Dynamic", "any"),
        ] {
            assert_eq!(pretty_type(raw), pretty, "{raw}");
        }
    }

    #[test]
    fn every_function_has_a_comment_with_an_example() {
        let bare: Vec<String> =
            documented().iter().filter(|entry| entry.examples().is_empty()).map(Entry::signature).collect();
        assert!(bare.is_empty(), "without an example: {bare:#?}");
    }

    #[test]
    fn no_rust_type_shows() {
        let text = definitions();
        for raw in ["Box<", "EvalAltResult", "NativeCallContext", "ImmutableString", "Dynamic", "i64", "&mut"] {
            assert!(!text.contains(raw), "{raw}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_a_suggestion() {
        let engine = crate::script::setup::bare_engine();
        let error = about(&engine, "contaner").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean \"container\"?"));
        assert!(about(&engine, "container::run").unwrap().contains("-> Container"));
    }
}
