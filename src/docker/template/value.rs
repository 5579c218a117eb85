//! The values that a template works on.

use std::rc::Rc;

use serde_json::Value as Json;

use crate::docker::template::shape::Shape;

/// A value. Copies are cheap: what can be large is borrowed or shared.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    /// No value at all.
    Absent,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// Text of the subject or the template.
    Text(&'a str),
    /// Text that was made.
    Made(Rc<str>),
    /// Strings that were made.
    Strings(Rc<[Rc<str>]>),
    /// A part of a list of the subject.
    Part(&'a [Json], Shape),
    /// An object, a list, or the nothing of a shape.
    Json(&'a Json, Shape),
}

/// What kind of thing a value is, pointers followed.
pub(super) enum View<'v, 'a> {
    /// Nothing, or a nil interface.
    Nothing,
    /// A nil pointer.
    Nil,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(&'v str),
    Strings(&'v [Rc<str>]),
    List(&'a [Json], Shape),
    /// A map; none is an empty one.
    Map(Option<&'a serde_json::Map<String, Json>>, Shape),
    Struct(&'a serde_json::Map<String, Json>, Shape),
}

impl<'a> Value<'a> {
    /// A value of the subject.
    pub(super) fn of(json: &'a Json, shape: Shape) -> Value<'a> {
        match json {
            Json::Bool(value) => Value::Bool(*value),
            Json::String(text) => Value::Text(text),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Value::Int(number),
                (None, Some(number)) => Value::Uint(number),
                (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::Null => Value::zero(shape),
            Json::Array(_) | Json::Object(_) => Value::Json(json, shape),
        }
    }

    /// What stands for a fact that is not there.
    pub(super) fn zero(shape: Shape) -> Value<'a> {
        match shape {
            Shape::Text => Value::Text(""),
            Shape::Number => Value::Int(0),
            Shape::Bool => Value::Bool(false),
            _ => Value::Json(&Json::Null, shape),
        }
    }

    pub(super) fn made(text: impl Into<Rc<str>>) -> Value<'a> {
        Value::Made(text.into())
    }

    /// What it is.
    pub(super) fn view(&self) -> View<'_, 'a> {
        match self {
            Value::Absent => View::Nothing,
            Value::Bool(value) => View::Bool(*value),
            Value::Int(number) => View::Int(*number),
            Value::Uint(number) => View::Uint(*number),
            Value::Float(number) => View::Float(*number),
            Value::Text(text) => View::Text(text),
            Value::Made(text) => View::Text(text),
            Value::Strings(items) => View::Strings(items),
            Value::Part(items, shape) => View::List(items, *shape),
            Value::Json(json, shape) => match (json, shape) {
                (Json::Array(items), shape) => View::List(items, *shape),
                (Json::Object(map), shape) => match shape.target() {
                    Shape::Struct(_) => View::Struct(map, shape.target()),
                    _ => View::Map(Some(map), shape.target()),
                },
                (_, Shape::List(_)) => View::List(&[], *shape),
                (_, Shape::Map(_)) => View::Map(None, *shape),
                (_, Shape::Pointer(_)) => View::Nil,
                _ => View::Nothing,
            },
        }
    }

    /// A nil interface is no value.
    pub(super) fn settled(self) -> Value<'a> {
        match self {
            Value::Json(Json::Null, Shape::Any | Shape::Struct(_) | Shape::Row(_)) => Value::Absent,
            value => value,
        }
    }

    /// Go's notion of truth: not the zero of its type.
    pub(super) fn is_true(&self) -> bool {
        match self.view() {
            View::Nothing | View::Nil => false,
            View::Bool(value) => value,
            View::Int(number) => number != 0,
            View::Uint(number) => number != 0,
            View::Float(number) => number != 0.0,
            View::Text(text) => !text.is_empty(),
            View::Strings(items) => !items.is_empty(),
            View::List(items, _) => !items.is_empty(),
            View::Map(map, _) => map.is_some_and(|map| !map.is_empty()),
            View::Struct(..) => true,
        }
    }

    /// The name of its type in Go.
    pub(super) fn type_name(&self) -> String {
        match self {
            Value::Absent => "<nil>".into(),
            Value::Bool(_) => "bool".into(),
            Value::Int(_) => "int".into(),
            Value::Uint(_) => "uint64".into(),
            Value::Float(_) => "float64".into(),
            Value::Text(_) | Value::Made(_) => "string".into(),
            Value::Strings(_) => "[]string".into(),
            Value::Json(Json::Array(_), Shape::Any) | Value::Part(_, Shape::Any) => "[]interface {}".into(),
            Value::Json(Json::Object(_), Shape::Any) => "map[string]interface {}".into(),
            Value::Json(_, shape) | Value::Part(_, shape) => shape.name(),
        }
    }

    /// The keys of an object, which a mistyped one may have meant.
    pub(super) fn keys(&self) -> Vec<&'a str> {
        match self {
            Value::Json(Json::Object(map), _) => map.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// The entries of a map in the order that Go walks them.
pub(super) fn sorted(map: &serde_json::Map<String, Json>) -> Vec<(&String, &Json)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| key.as_str());
    entries
}
