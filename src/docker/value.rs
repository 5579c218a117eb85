//! Reads one value of an option map: says which key, what it takes and what came when the type is wrong.
//!
//! Lenient where Compose is (a number where a string is meant, a string where a list is), strict everywhere else. Knows no
//! key by name.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::{Error, Result, units};

/// How much of a wrong value an error shows, in characters.
const SHOWN: usize = 60;

/// A key with its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    /// The key as the user wrote it.
    pub(crate) key: &'a str,
    /// Never null: a null value is the same as no key.
    pub(crate) value: &'a Value,
}

impl<'a> Field<'a> {
    /// The error for a value of the wrong type.
    pub(crate) fn expected(&self, what: &str) -> Error {
        Error::invalid(format!("{:?} takes {what}, not {}", self.key, describe(self.value)))
    }

    /// Adds the key to an error about the value.
    pub(crate) fn wrap(&self, error: Error) -> Error {
        error.context(format!("reading option {:?}", self.key))
    }

    /// A string; numbers are taken as they are written.
    pub(crate) fn string(&self) -> Result<String> {
        scalar(self.value).ok_or_else(|| self.expected("a string"))
    }

    /// A string that is not empty.
    pub(crate) fn word(&self) -> Result<String> {
        match self.string()? {
            text if text.is_empty() => Err(self.expected("a string that is not empty")),
            text => Ok(text),
        }
    }

    /// `true` or `false`.
    pub(crate) fn bool(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    /// A whole number, also as a string.
    pub(crate) fn integer(&self) -> Result<i64> {
        let number = match self.value {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.expected("a whole number"))
    }

    /// A whole number of zero or more.
    pub(crate) fn unsigned(&self) -> Result<u64> {
        u64::try_from(self.integer()?).map_err(|_| self.expected("a whole number of zero or more"))
    }

    /// A number, also as a string.
    pub(crate) fn number(&self) -> Result<f64> {
        let number = match self.value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite()).ok_or_else(|| self.expected("a number"))
    }

    /// A size in bytes: a number, or a string such as `512m`.
    pub(crate) fn bytes(&self) -> Result<u64> {
        match self.value {
            Value::Number(_) => self.unsigned().map_err(|_| self.expected("a size such as \"512m\"")),
            Value::String(text) => units::parse_bytes(text).map_err(|error| self.wrap(error)),
            _ => Err(self.expected("a size such as \"512m\"")),
        }
    }

    /// A size in bytes, or -1.
    pub(crate) fn bytes_or_unlimited(&self) -> Result<i64> {
        if scalar(self.value).is_some_and(|text| text.trim() == "-1") {
            return Ok(-1);
        }
        i64::try_from(self.bytes()?).map_err(|_| self.expected("a size such as \"512m\", or -1"))
    }

    /// A duration: seconds as a number, or a string such as `1m30s`.
    pub(crate) fn duration(&self) -> Result<Duration> {
        match self.value {
            Value::Number(number) => number
                .as_f64()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .ok_or_else(|| self.expected("a duration such as \"10s\"")),
            Value::String(text) => units::parse_duration(text).map_err(|error| self.wrap(error)),
            _ => Err(self.expected("a duration such as \"10s\"")),
        }
    }

    /// A list of strings; a single string is a list of one.
    pub(crate) fn strings(&self) -> Result<Vec<String>> {
        match self.value {
            Value::Array(items) => items
                .iter()
                .map(|item| scalar(item).ok_or_else(|| Field { value: item, ..*self }.expected("a list of strings")))
                .collect(),
            single => scalar(single).map(|text| vec![text]).ok_or_else(|| self.expected("a list of strings")),
        }
    }

    /// The items of a list; anything else is a list of one.
    pub(crate) fn items(&self) -> Vec<Field<'a>> {
        match self.value {
            Value::Array(items) => items.iter().map(|value| Field { key: self.key, value }).collect(),
            value => vec![Field { key: self.key, value }],
        }
    }

    /// A map.
    pub(crate) fn map(&self) -> Result<&'a Map<String, Value>> {
        self.value.as_object().ok_or_else(|| self.expected("a map"))
    }

    /// A map of names to scalars, or a list of `name=value` strings. A name without a value has none.
    pub(crate) fn pairs(&self) -> Result<Vec<(String, Option<String>)>> {
        const WHAT: &str = "a map, or a list of \"name=value\" strings";
        let pairs: Vec<(String, Option<String>)> = match self.value {
            Value::Object(map) => map
                .iter()
                .map(|(name, value)| match value {
                    Value::Null => Ok((name.clone(), None)),
                    Value::Bool(value) => Ok((name.clone(), Some(value.to_string()))),
                    value => scalar(value)
                        .map(|text| (name.clone(), Some(text)))
                        .ok_or_else(|| Field { key: name, value }.expected("a string")),
                })
                .collect::<Result<_>>()?,
            Value::Array(_) | Value::String(_) => {
                let strings = self.strings().map_err(|_| self.expected(WHAT))?;
                strings.iter().map(|text| split_pair(text)).collect()
            }
            _ => return Err(self.expected(WHAT)),
        };
        match pairs.iter().find(|(name, _)| name.is_empty()) {
            Some(_) => Err(self.expected("names that are not empty")),
            None => Ok(pairs),
        }
    }
}

/// Splits `name=value` at the first `=`; a lone name has no value.
pub(crate) fn split_pair(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// A string or a number as text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9.0e15).then_some(number as i64)
}

/// What a value is, in words: `the number 5`, `a map`.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.is_empty() => "an empty string".into(),
        Value::String(text) => format!("the string {:?}", text.chars().take(SHOWN).collect::<String>()),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a map".into(),
    }
}
