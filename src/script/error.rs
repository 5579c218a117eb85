//! Errors across the border: Rhumb's [`Error`] becomes a map that `catch (e)` gets, and whatever a script can end with
//! becomes a [`Fault`] with kind, message, hint, chain and places.
//!
//! Rhai's own errors and thrown strings answer the same getters: strings have them registered, and a property that an
//! error map lacks is filled in by [`missing_property`]. Rendering for people is `report`'s work, not done here.

use rhai::plugin::*;
use rhai::{Array, Dynamic, EvalAltResult, ImmutableString, Map, NativeCallContext, Position};

use crate::base::error::CommandFailure;
use crate::base::{Error, Kind};
use crate::script::suggest::{self, Names};

/// What every binding returns.
pub(crate) type Fallible<T> = Result<T, Box<EvalAltResult>>;

/// Turns the engine's errors into Rhai's, at the place of the call.
pub(crate) trait Raise<T> {
    /// The value, or the error as a script sees it.
    fn raise(self, ctx: &NativeCallContext) -> Fallible<T>;
}

impl<T, E: Into<Error>> Raise<T> for Result<T, E> {
    fn raise(self, ctx: &NativeCallContext) -> Fallible<T> {
        self.map_err(|error| thrown(ctx, error.into()))
    }
}

/// An error thrown at the call of `ctx`. After Ctrl-C an `interrupted` one ends the script and cannot be caught.
pub(crate) fn thrown(ctx: &NativeCallContext, error: Error) -> Box<EvalAltResult> {
    let position = ctx.call_position();
    let stopping = crate::script::context::Tag::of(ctx).is_some_and(|tag| tag.host.is_stopping());
    if error.kind() == Kind::Interrupted && stopping {
        return EvalAltResult::ErrorTerminated(Dynamic::UNIT, position).into();
    }
    let mut map = error_map(&error);
    if let Some(line) = position.line() {
        map.insert("line".into(), (line as i64).into());
    }
    EvalAltResult::ErrorRuntime(map.into(), position).into()
}

/// The fields that a script sees.
pub(crate) fn error_map(error: &Error) -> Map {
    let mut map = Map::new();
    map.insert("kind".into(), error.kind().as_str().into());
    map.insert("message".into(), error.message().to_owned().into());
    map.insert("hint".into(), error.hint().map_or(Dynamic::UNIT, |hint| hint.to_owned().into()));
    map.insert("chain".into(), error.chain().into_iter().map(Dynamic::from).collect::<Array>().into());
    if let Some(failure) = error.failure() {
        map.insert("exit_code".into(), i64::from(failure.exit_code).into());
        map.insert("stdout".into(), failure.stdout.clone().into());
        map.insert("stderr".into(), failure.stderr.clone().into());
    }
    map
}

/// The properties that every caught error has.
const FIELDS: [&str; 8] = ["kind", "message", "hint", "chain", "line", "exit_code", "stdout", "stderr"];

/// An error map is one of ours, one that Rhai made for `catch`, or a thrown one with a message.
fn is_error_map(map: &Map) -> bool {
    map.contains_key("message") && (map.contains_key("kind") || map.contains_key("error"))
        || map.contains_key("message") && map.len() <= 3
}

/// The value of a standard property that this error map does not hold, or none.
pub(crate) fn missing_property(map: &Map, property: &str, names: &Names) -> Option<Dynamic> {
    if !FIELDS.contains(&property) || !is_error_map(map) {
        return None;
    }
    let text = |key: &str| map.get(key).and_then(|value| value.clone().into_string().ok());
    Some(match property {
        "kind" if suggest::not_built_yet(&text("message").unwrap_or_default(), names).is_some() => {
            Kind::Unsupported.as_str().into()
        }
        "kind" => kind_of_name(&text("error").unwrap_or_default()).as_str().into(),
        "hint" => suggest::hint_for(&text("message").unwrap_or_default(), names).map_or(Dynamic::UNIT, Dynamic::from),
        "chain" => Array::new().into(),
        _ => Dynamic::UNIT,
    })
}

/// The kind of Rhai's error of this name (`ErrorVariableNotFound`).
fn kind_of_name(name: &str) -> Kind {
    match name {
        "ErrorParsing"
        | "ErrorVariableExists"
        | "ErrorForbiddenVariable"
        | "ErrorVariableNotFound"
        | "ErrorPropertyNotFound"
        | "ErrorFunctionNotFound"
        | "ErrorMismatchDataType"
        | "ErrorMismatchOutputType"
        | "ErrorIndexingType"
        | "ErrorFor"
        | "ErrorDataRace"
        | "ErrorNonPureMethodCallOnConstant"
        | "ErrorAssignmentToConstant"
        | "ErrorDotExpr"
        | "ErrorUnboundThis" => Kind::InvalidArgument,
        "ErrorModuleNotFound" => Kind::NotFound,
        "ErrorTerminated" => Kind::Interrupted,
        _ => Kind::Failed,
    }
}

/// A place in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file, or a name such as `<stdlib>/assert.rhai`; empty for the main script.
    pub(crate) source: String,
    /// One-based.
    pub(crate) line: usize,
    /// One-based, in characters.
    pub(crate) column: usize,
    /// The function whose call this is, for the outer places of a backtrace.
    pub(crate) calling: Option<String>,
}

/// Everything that is known about why a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What a script would branch on; picks the exit code.
    pub(crate) kind: Kind,
    /// The message without its causes.
    pub(crate) message: String,
    /// What the user can do.
    pub(crate) hint: Option<String>,
    /// The causes, outermost first.
    pub(crate) chain: Vec<String>,
    /// What the command wrote, for `command_failed`.
    pub(crate) failure: Option<CommandFailure>,
    /// Where it happened, innermost first.
    pub(crate) places: Vec<Place>,
}

impl Fault {
    /// A fault that no place in a script caused.
    pub(crate) fn from_error(error: &Error) -> Fault {
        Fault {
            kind: error.kind(),
            message: error.message().to_owned(),
            hint: error.hint().map(str::to_owned),
            chain: error.chain(),
            failure: error.failure().cloned(),
            places: Vec::new(),
        }
    }
}

/// Reads an error that left a script.
pub(crate) fn describe(error: &EvalAltResult, names: &Names) -> Fault {
    let mut places = Vec::new();
    collect_places(error, String::new(), None, &mut places);
    places.reverse();
    let mut fault = match error.unwrap_inner() {
        EvalAltResult::ErrorRuntime(value, _) => describe_value(value),
        EvalAltResult::ErrorSystem(_, inner) => Fault {
            kind: Kind::Failed,
            message: inner.to_string(),
            hint: None,
            chain: Vec::new(),
            failure: None,
            places: Vec::new(),
        },
        own => describe_own(own, names),
    };
    fault.places = places;
    fault
}

fn describe_own(error: &EvalAltResult, names: &Names) -> Fault {
    let debug = format!("{error:?}");
    let name = debug.split('(').next().unwrap_or_default();
    let text = match error {
        EvalAltResult::ErrorParsing(kind, _) => kind.to_string(),
        other => {
            let text = other.to_string();
            match text.rfind(" (line ") {
                Some(end) => text[..end].to_owned(),
                None => text,
            }
        }
    };
    let (kind, message) = match error {
        EvalAltResult::ErrorTerminated(..) => (Kind::Interrupted, "interrupted".to_owned()),
        _ => match suggest::not_built_yet(&text, names) {
            Some(missing) => (Kind::Unsupported, format!("{missing} is not built yet")),
            None => (kind_of_name(name), suggest::plain(&text)),
        },
    };
    Fault { kind, hint: suggest::hint_for(&text, names), message, chain: Vec::new(), failure: None, places: Vec::new() }
}

/// Reads a thrown value: one of our maps, any map with a message, or something else as text.
fn describe_value(value: &Dynamic) -> Fault {
    let mut fault = Fault {
        kind: Kind::Failed,
        message: String::new(),
        hint: None,
        chain: Vec::new(),
        failure: None,
        places: Vec::new(),
    };
    let Some(map) = value.read_lock::<Map>() else {
        fault.message = if value.is_unit() { "an error without a message".into() } else { value.to_string() };
        return fault;
    };
    let text = |key: &str| map.get(key).and_then(|value| value.clone().into_string().ok());
    fault.kind = match text("kind").as_deref().and_then(Kind::from_name) {
        Some(kind) => kind,
        None => kind_of_name(&text("error").unwrap_or_default()),
    };
    fault.message = text("message").map_or_else(|| value.to_string(), |text| suggest::plain(&text));
    fault.hint = text("hint");
    if let Some(chain) = map.get("chain").and_then(|chain| chain.read_lock::<Array>()) {
        fault.chain = chain.iter().map(ToString::to_string).collect();
    }
    if let Some(code) = map.get("exit_code").and_then(|code| code.as_int().ok()) {
        fault.failure = Some(CommandFailure {
            exit_code: i32::try_from(code).unwrap_or(-1),
            stdout: text("stdout").unwrap_or_default(),
            stderr: text("stderr").unwrap_or_default(),
        });
    }
    fault
}

/// The outermost place first: each call's own position is in its caller's source.
fn collect_places(error: &EvalAltResult, source: String, calling: Option<String>, places: &mut Vec<Place>) {
    let position = error.position();
    let mut add = |position: Position, calling: Option<String>| {
        if let Some(line) = position.line() {
            let place = Place { source: source.clone(), line, column: position.position().unwrap_or(1), calling };
            // A closure and the function that calls it have one place; the closure's is said by the line below it.
            let same = |other: &Place| (&other.source, other.line, other.column) == (&place.source, line, place.column);
            if !places.last().is_some_and(same) {
                places.push(place);
            }
        }
    };
    match error {
        EvalAltResult::ErrorInFunctionCall(name, inner_source, inner, position) => {
            let shown = if name.starts_with("anon$") { "closure".to_owned() } else { format!("{name}()") };
            add(*position, Some(shown));
            let next = if inner_source.is_empty() { source } else { inner_source.clone() };
            collect_places(inner, next, None, places);
        }
        EvalAltResult::ErrorInModule(path, inner, position) => {
            add(*position, Some(format!("import {path:?}")));
            collect_places(inner, path.clone(), None, places);
        }
        _ => add(position, calling),
    }
}

/// The error that `retry`, `parallel` and friends pass on, as the map that `catch` would get.
pub(crate) fn as_map(error: &EvalAltResult, names: &Names) -> Map {
    let fault = describe(error, names);
    let mut map = Map::new();
    map.insert("kind".into(), fault.kind.as_str().into());
    map.insert("message".into(), fault.message.into());
    map.insert("hint".into(), fault.hint.map_or(Dynamic::UNIT, Dynamic::from));
    map.insert("chain".into(), fault.chain.into_iter().map(Dynamic::from).collect::<Array>().into());
    if let Some(place) = fault.places.first() {
        map.insert("line".into(), (place.line as i64).into());
    }
    if let Some(failure) = fault.failure {
        map.insert("exit_code".into(), i64::from(failure.exit_code).into());
        map.insert("stdout".into(), failure.stdout.into());
        map.insert("stderr".into(), failure.stderr.into());
    }
    map
}

/// A caught string answers the getters of an error.
#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod text_errors {
    use super::*;

    /// The kind of a thrown string: always `failed`.
    ///
    /// ```rhai
    /// try { throw "no luck"; } catch (e) { assert(e.kind == "failed"); }
    /// ```
    #[rhai_fn(get = "kind", pure)]
    pub fn kind(_text: &mut ImmutableString) -> ImmutableString {
        "failed".into()
    }

    /// The message of a thrown string: the string itself.
    ///
    /// ```rhai
    /// try { throw "no luck"; } catch (e) { assert(e.message == "no luck"); }
    /// ```
    #[rhai_fn(get = "message", pure)]
    pub fn message(text: &mut ImmutableString) -> ImmutableString {
        text.clone()
    }

    /// The hint of a thrown string: none.
    ///
    /// ```rhai
    /// try { throw "no luck"; } catch (e) { assert(e.hint == ()); }
    /// ```
    #[rhai_fn(get = "hint", pure)]
    pub fn hint(_text: &mut ImmutableString) -> Dynamic {
        Dynamic::UNIT
    }

    /// The causes of a thrown string: none.
    ///
    /// ```rhai
    /// try { throw "no luck"; } catch (e) { assert(e.chain.is_empty()); }
    /// ```
    #[rhai_fn(get = "chain", pure)]
    pub fn chain(_text: &mut ImmutableString) -> Array {
        Array::new()
    }

    /// The line of a thrown string: not known.
    ///
    /// ```rhai
    /// try { throw "no luck"; } catch (e) { assert(e.line == ()); }
    /// ```
    #[rhai_fn(get = "line", pure)]
    pub fn line(_text: &mut ImmutableString) -> Dynamic {
        Dynamic::UNIT
    }

    /// The exit code of a thrown string: none, since no command ended.
    ///
    /// ```rhai
    /// try { throw "no luck"; } catch (e) { assert(e.exit_code == ()); }
    /// ```
    #[rhai_fn(get = "exit_code", pure)]
    pub fn exit_code(_text: &mut ImmutableString) -> Dynamic {
        Dynamic::UNIT
    }

    /// The standard output of a thrown string: none, since no command ended.
    ///
    /// ```rhai
    /// try { throw "no luck"; } catch (e) { assert(e.stdout == ()); }
    /// ```
    #[rhai_fn(get = "stdout", pure)]
    pub fn stdout(_text: &mut ImmutableString) -> Dynamic {
        Dynamic::UNIT
    }

    /// The standard error of a thrown string: none, since no command ended.
    ///
    /// ```rhai
    /// try { throw "no luck"; } catch (e) { assert(e.stderr == ()); }
    /// ```
    #[rhai_fn(get = "stderr", pure)]
    pub fn stderr(_text: &mut ImmutableString) -> Dynamic {
        Dynamic::UNIT
    }
}
