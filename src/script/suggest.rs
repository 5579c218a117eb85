//! Did-you-mean for Rhai's own errors: which names exist, and which of them was meant.
//!
//! Rhai's messages are the only carrier of the name that failed, so they are read here; nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{Engine, FnNamespace};

use crate::base::suggest::{hint, nearest};
use crate::script::doc::pretty_type;
use crate::script::race;

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

/// How Rhai's error begins for a value that is used while it is locked.
const RACE: &str = "Data race detected";

/// What the script interface names and this version does not have: words by module or type. A module without words is
/// not there at all.
const NOT_BUILT_YET: [(&str, &str); 9] = [
    ("build", "dockerfile"),
    ("Build", "sh layer"),
    ("registry", ""),
    ("image", "pull search"),
    ("backup", "repo"),
    ("system", "doctor"),
    ("Image", "push files diff"),
    ("Volume", "clone copy_to copy_from ls read"),
    ("Container", "toolbox"),
];

/// Whether a later version is to have this function of a module, or this method or property of a type.
fn is_to_come(of: &str, word: &str, known: impl FnOnce() -> bool) -> bool {
    let listed = |(owner, words): &(&str, &str)| {
        *owner == of && (words.is_empty() || words.split_whitespace().any(|listed| listed == word))
    };
    NOT_BUILT_YET.iter().any(listed) && !known()
}

/// What is not built yet, when that is all that Rhai's error means: `image::pull`, `Container.top`.
pub(crate) fn not_built_yet(text: &str, names: &Names) -> Option<String> {
    if let Some(module) = text.strip_prefix("Undefined module: ").or_else(|| text.strip_prefix("Module not found: ")) {
        let module = module.split("::").next().unwrap_or(module).trim();
        return is_to_come(module, "", || names.modules.contains_key(module)).then(|| format!("the module {module}"));
    }
    if let Some(signature) = text.strip_prefix("Function not found: ") {
        let name = signature.split([' ', '(']).next()?;
        if let Some((module, function)) = name.rsplit_once("::") {
            let known = || names.modules.get(module).is_some_and(|known| known.contains(function));
            return is_to_come(module, function, known).then(|| name.to_owned());
        }
        let of = first_type(signature);
        let known = || names.methods.get(&of).is_some_and(|known| known.contains(name));
        return is_to_come(&of, name, known).then(|| format!("{of}.{name}"));
    }
    let (property, rest) = text.strip_prefix("Unknown property '")?.split_once('\'')?;
    let of = pretty_type(rest.split("type '").nth(1)?.split('\'').next()?);
    let known = || names.properties.get(&of).is_some_and(|known| known.contains(property));
    is_to_come(&of, property, known).then(|| format!("{of}.{property}"))
}

/// The type of the first argument of `foo (i64, string)`, as scripts see it.
fn first_type(signature: &str) -> String {
    let first = signature.split_once('(').map_or("", |(_, rest)| rest).split([',', ')']).next().unwrap_or("");
    pretty_type(first.split(" |").next().unwrap_or(first).trim())
}

/// A hint for the text of one of Rhai's errors.
pub(crate) fn hint_for(text: &str, names: &Names) -> Option<String> {
    if not_built_yet(text, names).is_some() {
        return Some("`rhumb doc` prints all that is there".to_owned());
    }
    let quoted = |from: &str| text.strip_prefix(from).map(|rest| rest.split([' ', '(', '\'']).next().unwrap_or(rest));
    if let Some(name) = text.strip_prefix(RACE).and_then(race::method) {
        return Some(match name {
            // The one method whose closure gets the value itself.
            "layer" => "let the function take the build: b.layer(|b| …)".to_owned(),
            name => format!("write {name}(value, …) instead of value.{name}(…)"),
        });
    }
    if let Some(module) = quoted("Undefined module: ").or_else(|| quoted("Module not found: ")) {
        let module = module.split("::").next().unwrap_or(module);
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
    let of = first_type(signature);
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
    if let Some(rest) = text.strip_prefix(RACE) {
        return match race::method(rest) {
            Some(name) => format!("{name} is given a function that uses the value which {name} is called on"),
            None => "a value is used where it is in use already".to_owned(),
        };
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
        let names = Names::default();
        let missing = |text| not_built_yet(text, &names);
        assert_eq!(missing("Function not found: image::pull (&str)").unwrap(), "image::pull");
        assert_eq!(missing("Function not found: image::pul (&str)"), None);
        assert_eq!(missing("Undefined module: registry").unwrap(), "the module registry");
        let text = "Unknown property 'toolbox' - a getter is not registered for type 'Container'";
        assert_eq!(missing(text).unwrap(), "Container.toolbox");

        let text = "Unknown property 'statuss' - a getter is not registered for type 'Container'";
        assert_eq!(plain(text), "a Container has no property \"statuss\"");
    }
}
