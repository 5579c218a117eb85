//! The functions of templates: Go's, and those that Docker adds.

use std::rc::Rc;

use serde_json::Value as Json;

use crate::docker::template::compare;
use crate::docker::template::quote;
use crate::docker::template::shape::{Shape, names};
use crate::docker::template::value::{Value, View, sorted};
use crate::docker::template::verbs;

/// What a function takes.
pub(super) struct Signature {
    pub(super) fixed: &'static [Want],
    /// Of all further arguments, when there may be any.
    pub(super) rest: Option<Want>,
}

/// The type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Any,
    Text,
    Int,
    Strings,
}

impl Want {
    pub(super) fn name(self) -> &'static str {
        match self {
            Want::Any => "reflect.Value",
            Want::Text => "string",
            Want::Int => "int",
            Want::Strings => "[]string",
        }
    }
}

impl Signature {
    pub(super) fn want(&self, at: usize) -> Want {
        self.fixed.get(at).copied().or(self.rest).unwrap_or(Want::Any)
    }
}

/// The functions that leave a column's title as it is; Docker's.
pub(super) const LEAVES_TITLES: [&str; 7] = ["join", "json", "lower", "split", "title", "truncate", "upper"];

/// Whether there is a function of this name.
pub(super) fn is_known(name: &str) -> bool {
    signature(name).is_some()
}

/// What a function takes.
pub(super) fn signature(name: &str) -> Option<Signature> {
    use Want::{Any, Int, Strings, Text};
    let (fixed, rest): (&[Want], _) = match name {
        "html" | "js" | "print" | "println" | "urlquery" => (&[], Some(Any)),
        "and" | "call" | "eq" | "index" | "or" | "slice" => (&[Any], Some(Any)),
        "ge" | "gt" | "le" | "lt" | "ne" => (&[Any, Any], None),
        "json" | "len" | "not" => (&[Any], None),
        "printf" => (&[Text], Some(Any)),
        "join" => (&[Strings, Text], None),
        "split" => (&[Text, Text], None),
        "lower" | "title" | "upper" => (&[Text], None),
        "pad" => (&[Text, Int, Int], None),
        "truncate" => (&[Text, Int], None),
        _ => return None,
    };
    Some(Signature { fixed, rest })
}

/// What a call costs beside what it returns: it has to read its arguments, and lists take more than their text.
pub(super) fn price(name: &str, values: &[Value<'_>]) -> usize {
    let length = |value: &Value<'_>| match value.view() {
        View::Text(text) => text.len(),
        View::Strings(items) => items.len(),
        View::List(items, _) => items.len(),
        _ => 1,
    };
    let lengths: usize = values.iter().map(length).sum();
    if name == "split" { lengths.saturating_mul(16) } else { lengths }
}

type Called<'a> = Result<Value<'a>, String>;

/// Calls a function that is not `and` or `or`. What it makes has no more than `limit` bytes.
pub(super) fn call<'a>(name: &str, values: &[Value<'a>], limit: usize) -> Called<'a> {
    match name {
        "call" => Err(match values[0].view() {
            View::Nothing => "call of nil".into(),
            _ => format!("non-function of type {}", values[0].type_name()),
        }),
        "eq" => compare::equals_any(values).map(Value::Bool),
        "ne" => compare::equals_any(values).map(|equal| Value::Bool(!equal)),
        "lt" => compare::less(&values[0], &values[1]).map(Value::Bool),
        "le" => compare::less_or_equal(&values[0], &values[1]).map(Value::Bool),
        "gt" => compare::less_or_equal(&values[0], &values[1]).map(|less| Value::Bool(!less)),
        "ge" => compare::less(&values[0], &values[1]).map(|less| Value::Bool(!less)),
        "not" => Ok(Value::Bool(!values[0].is_true())),
        "index" => index(values),
        "slice" => slice(values),
        "len" => length(&values[0]).map(Value::Int),
        "json" => Ok(Value::made(json(&values[0]))),
        "html" => Ok(Value::made(html(&verbs::plain(values, limit)))),
        "js" => Ok(Value::made(js(&verbs::plain(values, limit)))),
        "urlquery" => Ok(Value::made(url_query(&verbs::plain(values, limit)))),
        "print" => Ok(Value::made(verbs::print(values, limit))),
        "println" => Ok(Value::made(verbs::print_line(values, limit))),
        "printf" => Ok(Value::made(verbs::printf(text(&values[0]), &values[1..], limit))),
        "join" => join(&values[0], text(&values[1]), limit),
        "split" => Ok(split(text(&values[0]), text(&values[1]))),
        "lower" => Ok(Value::made(text(&values[0]).to_lowercase())),
        "upper" => Ok(Value::made(text(&values[0]).to_uppercase())),
        "title" => Ok(Value::made(title(text(&values[0])))),
        "pad" => pad(text(&values[0]), integer(&values[1]), integer(&values[2]), limit),
        "truncate" => truncate(&values[0], integer(&values[1])),
        _ => Err("not a function".into()),
    }
}

/// Text of an argument whose type was checked.
fn text<'v>(value: &'v Value<'_>) -> &'v str {
    match value.view() {
        View::Text(text) => text,
        _ => "",
    }
}

/// A number of an argument whose type was checked.
fn integer(value: &Value<'_>) -> i64 {
    match value.view() {
        View::Int(number) => number,
        _ => 0,
    }
}

/// A place in something of this length, up to its end.
fn place(index: &Value<'_>, length: usize) -> Result<usize, String> {
    let out_of_range = |number: &dyn std::fmt::Display| format!("index out of range: {number}");
    match index.view() {
        View::Int(number) => {
            usize::try_from(number).ok().filter(|at| *at <= length).ok_or_else(|| out_of_range(&number))
        }
        View::Uint(number) => {
            usize::try_from(number).ok().filter(|at| *at <= length).ok_or_else(|| out_of_range(&number))
        }
        View::Nothing => Err("cannot index slice/array with nil".into()),
        _ => Err(format!("cannot index slice/array with type {}", index.type_name())),
    }
}

fn index<'a>(values: &[Value<'a>]) -> Called<'a> {
    let mut item = values[0].clone();
    if matches!(item, Value::Absent) {
        return Err("index of untyped nil".into());
    }
    for index in &values[1..] {
        let within = |what: &str, length: usize| {
            place(index, length).and_then(|at| match at < length {
                true => Ok(at),
                // Go's own check lets this one through to its reflection.
                false => Err(format!("reflect: {what} index out of range")),
            })
        };
        item = match item.view() {
            View::Nothing | View::Nil => return Err("index of nil pointer".into()),
            View::Text(text) => Value::Uint(u64::from(text.as_bytes()[within("string", text.len())?])),
            View::Strings(items) => Value::Made(items[within("slice", items.len())?].clone()),
            View::List(items, shape) => Value::of(&items[within("slice", items.len())?], shape.element()),
            View::Map(map, shape) => match index.view() {
                View::Text(key) => match map.and_then(|map| map.get(key)) {
                    Some(json) => Value::of(json, shape.element()),
                    None => Value::zero(shape.element()),
                },
                View::Nothing => return Err("value is nil; should be of type string".into()),
                _ => return Err(format!("value has type {}; should be string", index.type_name())),
            },
            _ => return Err(format!("can't index item of type {}", item.type_name())),
        };
    }
    Ok(item)
}

fn slice<'a>(values: &[Value<'a>]) -> Called<'a> {
    let (item, indexes) = (&values[0], &values[1..]);
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let length = match item.view() {
        View::Nothing => return Err("slice of untyped nil".into()),
        View::Text(_) if indexes.len() == 3 => return Err("cannot 3-index slice a string".into()),
        View::Text(text) => text.len(),
        View::Strings(items) => items.len(),
        View::List(items, _) => items.len(),
        _ => return Err(format!("can't slice item of type {}", item.type_name())),
    };
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = place(index, length)?;
    }
    for pair in bounds[..indexes.len().max(2)].windows(2) {
        if pair[0] > pair[1] {
            return Err(format!("invalid slice index: {} > {}", pair[0], pair[1]));
        }
    }
    let range = bounds[0]..bounds[1];
    Ok(match (item, item.view()) {
        (Value::Text(text), _) if text.is_char_boundary(range.start) && text.is_char_boundary(range.end) => {
            Value::Text(&text[range])
        }
        (_, View::Text(text)) => Value::made(String::from_utf8_lossy(&text.as_bytes()[range]).into_owned()),
        (_, View::Strings(items)) => Value::Strings(items[range].into()),
        (_, View::List(items, shape)) => Value::Part(&items[range], shape),
        _ => Value::Absent,
    })
}

fn length(value: &Value<'_>) -> Result<i64, String> {
    let length = match value.view() {
        View::Text(text) => text.len(),
        View::Strings(items) => items.len(),
        View::List(items, _) => items.len(),
        View::Map(map, _) => map.map_or(0, serde_json::Map::len),
        View::Nil | View::Nothing => return Err("len of nil pointer".into()),
        _ => return Err(format!("len of type {}", value.type_name())),
    };
    Ok(length as i64)
}

/// As Go's encoding/json without its escapes for HTML: a struct's fields in their order, a map's keys sorted.
pub(super) fn json(value: &Value<'_>) -> String {
    let mut out = String::new();
    match value {
        Value::Json(json, shape) => {
            write_json(&mut out, json, *shape);
            // A row writes its own JSON, with Go's escapes for HTML.
            if matches!(shape, Shape::Row(_)) {
                out = out.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
            }
        }
        Value::Part(items, shape) => write_list(&mut out, items, shape.element()),
        value => match value.view() {
            View::Bool(value) => out.push_str(&value.to_string()),
            View::Int(number) => out.push_str(&number.to_string()),
            View::Uint(number) => out.push_str(&number.to_string()),
            View::Float(number) => write_json(&mut out, &Json::from(number), Shape::Any),
            View::Text(text) => write_text(&mut out, text),
            View::Strings(items) => {
                let items: Vec<Json> = items.iter().map(|item| Json::from(&**item)).collect();
                write_list(&mut out, &items, Shape::Any);
            }
            _ => out.push_str("null"),
        },
    }
    out
}

fn write_json(out: &mut String, json: &Json, shape: Shape) {
    match json {
        Json::Array(items) => write_list(out, items, shape.element()),
        Json::Object(map) => {
            let entries = match shape.target() {
                Shape::Struct(fields) => {
                    let known = fields.iter().filter_map(|(name, _)| map.get_key_value(names(name).1));
                    let others = map.iter().filter(|(key, _)| shape.json_field(key).is_none());
                    known.chain(others).collect()
                }
                _ => sorted(map),
            };
            out.push('{');
            for (at, (key, value)) in entries.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_text(out, key);
                out.push(':');
                write_json(out, value, shape.json_field(key).unwrap_or(shape.element()));
            }
            out.push('}');
        }
        Json::String(text) => write_text(out, text),
        Json::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            // Without an exponent in this range, as JavaScript does it.
            let plain = number == 0.0 || (1e-6..1e21).contains(&number.abs());
            out.push_str(&if plain {
                format!("{number}")
            } else {
                format!("{number:e}").replace("e", "e+").replace("e+-", "e-")
            });
        }
        other => out.push_str(&other.to_string()),
    }
}

fn write_list(out: &mut String, items: &[Json], shape: Shape) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_json(out, item, shape);
    }
    out.push(']');
}

fn write_text(out: &mut String, text: &str) {
    let quoted = Json::from(text).to_string();
    // Go escapes these two, which end lines in JavaScript.
    out.push_str(&quoted.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"));
}

fn join<'a>(list: &Value<'a>, separator: &str, limit: usize) -> Called<'a> {
    let items: Vec<&str> = match list.view() {
        View::Strings(items) => items.iter().map(|item| &**item).collect(),
        View::List(items, _) => items.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    let length: usize = items.iter().map(|item| item.len()).sum();
    if length.saturating_add(separator.len().saturating_mul(items.len())) > limit {
        return Err("the text would be too long".into());
    }
    Ok(Value::made(items.join(separator)))
}

fn split<'a>(text: &str, separator: &str) -> Value<'a> {
    let items: Vec<Rc<str>> = match separator {
        "" => text.chars().map(|sign| Rc::from(&*sign.encode_utf8(&mut [0; 4]))).collect(),
        _ => text.split(separator).map(Rc::from).collect(),
    };
    Value::Strings(items.into())
}

/// A capital at the beginning of each word, as Go's deprecated strings.Title has it.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for sign in text.chars() {
        let is_inside = if before.is_ascii() {
            before.is_ascii_alphanumeric() || before == '_'
        } else {
            before.is_alphanumeric() || !before.is_whitespace()
        };
        if is_inside {
            out.push(sign)
        } else {
            out.extend(sign.to_uppercase())
        }
        before = sign;
    }
    out
}

fn pad<'a>(text: &str, before: i64, after: i64, limit: usize) -> Called<'a> {
    if text.is_empty() {
        return Ok(Value::Text(""));
    }
    let count = |count: i64| usize::try_from(count).map_err(|_| "strings: negative Repeat count".to_owned());
    let (before, after) = (count(before)?, count(after)?);
    if before.saturating_add(after) > limit {
        return Err("the text would be too long".into());
    }
    Ok(Value::made(format!("{}{text}{}", " ".repeat(before), " ".repeat(after))))
}

/// The first bytes of a text; a character is never cut.
fn truncate<'a>(value: &Value<'a>, length: i64) -> Called<'a> {
    let Ok(length) = usize::try_from(length) else {
        return Err(format!("runtime error: slice bounds out of range [:{length}]"));
    };
    let whole = text(value);
    if whole.len() < length {
        return Ok(value.clone());
    }
    Ok(Value::made(String::from_utf8_lossy(&whole.as_bytes()[..length]).into_owned()))
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            _ => out.push(sign),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(sign))),
            _ if sign < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(sign))),
            _ if !sign.is_ascii() && !quote::is_printable(sign) => {
                out.push_str(&format!("\\u{:04X}", u32::from(sign)));
            }
            _ => out.push(sign),
        }
    }
    out
}

fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
