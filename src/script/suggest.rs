//! Did-you-mean for Rhai's own errors: which names exist, and which of them was meant.
//!
//! Rhai's messages are the only carrier of the name that failed, so they are read here; nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{Engine, FnNamespace};

use crate::base::suggest::{hint, nearest};
use crate::script::doc::pretty_type;

/// The names that scripts can use, collected from the metadata of everything registered.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    /// Functions and methods of the global namespace.
    pub(crate) functions: BTreeSet<String>,
    /// Methods by the type of their first parameter, as scripts see it.
    pub(crate) methods: BTreeMap<String, BTreeSet<String>>,
    /// Properties by type.
    pub(crate) properties: BTreeMap<String, BTreeSet<String>>,
    /// Functions by module.
    pub(crate) modules: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    /// Collects them.
    pub(crate) fn of(engine: &Engine) -> Names {
        let found = engine.collect_fn_metadata(
            None,
            |info| {
                let f = info.metadata;
                let first = f.params_info.first().map(|p| p.split_once(':').map_or("", |(_, t)| t.trim()).to_owned());
                Some((
                    info.namespace.to_string(),
                    f.namespace == FnNamespace::Global,
                    f.name.to_string(),
                    pretty_type(&first.unwrap_or_default()),
                ))
            },
            true,
        );
        let mut names = Names::default();
        for (module, global, name, first) in found {
            if let Some(property) = name.strip_prefix("get$") {
                names.properties.entry(first).or_default().insert(property.to_owned());
            } else if name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.contains('$') {
                if module.is_empty() || global {
                    names.functions.insert(name.clone());
                    names.methods.entry(first).or_default().insert(name);
                } else {
                    names.modules.entry(module).or_default().insert(name);
                }
            }
        }
        names
    }
}

/// Modules of the contract that this version does not have.
const NOT_BUILT_YET: [&str; 3] = ["network", "build", "registry"];

/// A hint for the text of one of Rhai's errors.
pub(crate) fn hint_for(text: &str, names: &Names) -> Option<String> {
    let quoted = |from: &str| text.strip_prefix(from).map(|rest| rest.split([' ', '(', '\'']).next().unwrap_or(rest));
    if let Some(rest) = text.strip_prefix("Data race detected on argument") {
        let name = rest.split('\'').nth(1).unwrap_or("function");
        return Some(format!("a closure that uses the value whose method gets it: write {name}(value, …) instead"));
    }
    if let Some(module) = quoted("Undefined module: ").or_else(|| quoted("Module not found: ")) {
        let module = module.split("::").next().unwrap_or(module);
        if NOT_BUILT_YET.contains(&module) {
            return Some(format!("the module {module:?} is not built yet"));
        }
        return hint(module, names.modules.keys().map(String::as_str));
    }
    if let Some(variable) = quoted("Undefined variable: ").or_else(|| quoted("Variable not found: ")) {
        return hint(variable, names.functions.iter().chain(names.modules.keys()).map(String::as_str));
    }
    if let Some(signature) = text.strip_prefix("Function not found: ") {
        return hint_for_function(signature, names);
    }
    if let Some(rest) = text.strip_prefix("Unknown property '").or_else(|| text.strip_prefix("No writable property '"))
    {
        let (property, rest) = rest.split_once('\'')?;
        let of = pretty_type(rest.split("type '").nth(1)?.split('\'').next()?);
        let known = names.properties.get(&of)?;
        if known.contains(property) {
            return Some("properties are facts; change things with methods".to_owned());
        }
        let methods = names.methods.get(&of).into_iter().flatten();
        let near = nearest(property, known.iter().chain(methods).map(String::as_str));
        return Some(match near {
            Some(near) if known.contains(near) => format!("did you mean {near:?}?"),
            Some(near) => format!("{near:?} is a method: write {near}(…)"),
            None => {
                let list: Vec<&str> = known.iter().map(String::as_str).collect();
                format!("its properties: {}", list.join(", "))
            }
        });
    }
    None
}

/// `foo (i64, string)`, perhaps with `module::` in front.
fn hint_for_function(signature: &str, names: &Names) -> Option<String> {
    let name = signature.split([' ', '(']).next()?;
    if let Some((module, function)) = name.rsplit_once("::") {
        if let Some(known) = names.modules.get(module) {
            if known.contains(function) {
                return Some(format!("see help(\"{module}::{function}\") for its parameters"));
            }
            return hint(function, known.iter().map(String::as_str)).or_else(|| {
                let list: Vec<&str> = known.iter().map(String::as_str).collect();
                Some(format!("{module} has: {}", list.join(", ")))
            });
        }
        return hint(module, names.modules.keys().map(String::as_str));
    }
    let first = signature.split_once('(').map_or("", |(_, rest)| rest).split([',', ')']).next().unwrap_or("");
    let of = pretty_type(first.split(" |").next().unwrap_or(first).trim());
    if names.properties.get(&of).is_some_and(|known| known.contains(name)) {
        return Some(format!("{name:?} is a property: write it without ()"));
    }
    let own = names.methods.get(&of);
    if own.is_some_and(|known| known.contains(name)) || names.functions.contains(name) {
        return Some(format!("see help(\"{name}\") for its parameters"));
    }
    own.and_then(|known| hint(name, known.iter().map(String::as_str)))
        .or_else(|| hint(name, names.functions.iter().map(String::as_str)))
}

/// One of Rhai's messages in our words: script names of types, lower case, one line.
pub(crate) fn plain(text: &str) -> String {
    let text = text.lines().next().unwrap_or_default();
    if let Some(signature) = text.strip_prefix("Function not found: ") {
        let (name, rest) = signature.split_once(" (").unwrap_or((signature.trim_end_matches("()"), ")"));
        let rest = rest.replace("&str | ImmutableString | String", "string");
        let arguments: Vec<String> = rest
            .trim_end_matches(')')
            .split(',')
            .map(|argument| pretty_type(argument.trim()))
            .filter(|argument| !argument.is_empty())
            .collect();
        return format!("no function {name}({})", arguments.join(", "));
    }
    for (theirs, ours) in [
        ("Undefined variable: ", "no variable "),
        ("Variable not found: ", "no variable "),
        ("Undefined module: ", "no module "),
        ("Module not found: ", "no module "),
        ("Property not found: ", "no property "),
    ] {
        if let Some(name) = text.strip_prefix(theirs) {
            return format!("{ours}{name:?}");
        }
    }
    if let Some(rest) = text.strip_prefix("Unknown property '")
        && let Some((property, rest)) = rest.split_once('\'')
        && let Some(of) = rest.split("type '").nth(1).and_then(|of| of.split('\'').next())
    {
        let of = pretty_type(of);
        let article = if of.starts_with(['A', 'E', 'I', 'O', 'U', 'a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        return format!("{article} {of} has no property {property:?}");
    }
    if let Some(rest) = text.strip_prefix("No writable property '")
        && let Some((property, rest)) = rest.split_once('\'')
        && let Some(of) = rest.split("type '").nth(1).and_then(|of| of.split('\'').next())
    {
        return format!("the property {property:?} of a {} cannot be set", pretty_type(of));
    }
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if letters.clone().next().is_some_and(|c| c.is_lowercase() || c == ' ') => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rhais_messages_become_ours() {
        assert_eq!(
            plain("Function not found: foo (i64, &str | ImmutableString | String)"),
            "no function foo(int, string)"
        );
        assert_eq!(plain("Undefined variable: x"), "no variable \"x\"");
        assert_eq!(plain("Data type incorrect: x"), "data type incorrect: x");
        let text = "Unknown property 'statuss' - a getter is not registered for type 'Container'";
        assert_eq!(plain(text), "a Container has no property \"statuss\"");
    }
}
