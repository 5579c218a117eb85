//! Values across the border: Rhai's to JSON and back, option maps, commands.
//!
//! What container options mean is `docker::options`' business; this only takes the script's own keys off first
//! ([`Keys`]) and turns handles, durations and sizes into what option maps hold.

use std::collections::BTreeMap;
use std::time::Duration;

use rhai::{Array, Dynamic, Map};
use serde_json::Value;

use crate::base::{Error, Result, Timestamp, suggest};
use crate::script::container::Container;
use crate::script::image::Image;
use crate::script::network::Network;
use crate::script::secret::Secret;
use crate::script::units::{Size, a_type, duration_of, exact_duration};
use crate::script::volume::Volume;

/// A command: a string is `sh -c`, an array is argv.
pub(crate) type Command = Dynamic;

/// JSON as a script's value; whole numbers become ints.
pub(crate) fn from_json(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Dynamic::from_float(number.as_f64().unwrap_or(f64::NAN)), Dynamic::from_int)
        }
        Value::String(text) => text.clone().into(),
        Value::Array(items) => items.iter().map(from_json).collect::<Array>().into(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.as_str().into(), from_json(value))).collect::<Map>().into()
        }
    }
}

/// A script's value as option maps hold it: handles become ids, durations `10s`, sizes bytes.
///
/// # Errors
/// `invalid_argument` for closures and secrets.
pub(crate) fn to_json(value: &Dynamic) -> Result<Value> {
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = value.as_bool() {
        return Ok(Value::Bool(flag));
    }
    if let Ok(number) = value.as_int() {
        return Ok(number.into());
    }
    if let Ok(number) = value.as_float() {
        return Ok(serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number));
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(Value::String(text.to_string()));
    }
    if let Ok(letter) = value.as_char() {
        return Ok(Value::String(letter.to_string()));
    }
    if let Some(items) = value.read_lock::<Array>() {
        return items.iter().map(to_json).collect::<Result<Vec<_>>>().map(Value::Array);
    }
    if let Some(map) = value.read_lock::<Map>() {
        let entries = map.iter().map(|(key, value)| Ok((key.to_string(), to_json(value)?)));
        return entries.collect::<Result<serde_json::Map<_, _>>>().map(Value::Object);
    }
    if let Some(duration) = value.read_lock::<Duration>() {
        return Ok(Value::String(exact_duration(*duration)));
    }
    if let Some(size) = value.read_lock::<Size>() {
        return Ok(size.0.into());
    }
    if let Some(time) = value.read_lock::<Timestamp>() {
        return Ok(Value::String(time.to_string()));
    }
    if let Some(container) = value.read_lock::<Container>() {
        return Ok(Value::String(container.id.to_string()));
    }
    if let Some(image) = value.read_lock::<Image>() {
        return Ok(Value::String(image.id.to_string()));
    }
    if let Some(volume) = value.read_lock::<Volume>() {
        return Ok(Value::String(volume.id.to_string()));
    }
    if let Some(network) = value.read_lock::<Network>() {
        return Ok(Value::String(network.id.to_string()));
    }
    if value.read_lock::<Secret>().is_some() {
        return Err(Error::invalid("a secret cannot be written here: it would be seen by inspect")
            .with_hint("write it to a file with mode 0600 and mount that"));
    }
    Err(Error::invalid(format!("{} cannot be written as an option", a_type(value))))
}

/// As [`to_json`] for showing: what has no JSON form becomes its text, secrets stay hidden.
pub(crate) fn to_shown_json(value: &Dynamic, text: &dyn Fn(&Dynamic) -> String) -> Value {
    if let Some(items) = value.read_lock::<Array>() {
        return items.iter().map(|item| to_shown_json(item, text)).collect();
    }
    if let Some(map) = value.read_lock::<Map>() {
        return map.iter().map(|(key, value)| (key.to_string(), to_shown_json(value, text))).collect();
    }
    if value.is_unit() || value.is_bool() || value.is_int() || value.is_float() || value.is_string() {
        return to_json(value).unwrap_or(Value::Null);
    }
    Value::String(text(value))
}

/// The words of a command, or none for an empty array or unit.
///
/// # Errors
/// `invalid_argument` when it is neither a string nor an array of scalars.
pub(crate) fn command_of(command: &Command) -> Result<Option<Vec<String>>> {
    if command.is_unit() {
        return Ok(None);
    }
    if let Ok(text) = command.as_immutable_string_ref() {
        return Ok(Some(vec!["sh".into(), "-c".into(), text.to_string()]));
    }
    let Some(words) = command.read_lock::<Array>() else {
        return Err(Error::invalid(format!("a command is a string or an array, not {}", a_type(command)))
            .with_hint("a string is run by sh -c, an array is run as it is"));
    };
    let words = words.iter().map(word).collect::<Result<Vec<_>>>()?;
    Ok(Some(words).filter(|words| !words.is_empty()))
}

/// A string, number or truth value as one word; a handle as its id.
fn word(value: &Dynamic) -> Result<String> {
    match to_json(value)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(Error::invalid(format!("expected a string, not {}", a_type(value)))),
    }
}

/// An option map that is read key by key; what nobody read is an error with a did-you-mean.
pub(crate) struct Keys {
    of: &'static str,
    map: Map,
    known: Vec<&'static str>,
}

impl Keys {
    /// `of` names the function in errors.
    pub(crate) fn new(of: &'static str, map: Map) -> Keys {
        Keys { of, map, known: Vec::new() }
    }

    /// Takes a key's value off; unit counts as missing.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Dynamic> {
        self.known.push(key);
        self.map.remove(key).filter(|value| !value.is_unit())
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Dynamic) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match read(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::invalid(format!("{:?} of {} takes {expected}, not {}", key, self.of, a_type(&value)))),
        }
    }

    /// A truth value; missing is false.
    pub(crate) fn flag(&mut self, key: &'static str) -> Result<bool> {
        Ok(self.optional_flag(key)?.unwrap_or(false))
    }

    /// A truth value.
    pub(crate) fn optional_flag(&mut self, key: &'static str) -> Result<Option<bool>> {
        self.typed(key, "true or false", |value| value.as_bool().ok())
    }

    /// A string or a handle.
    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<String>> {
        self.typed(key, "a string", |value| word(value).ok())
    }

    /// A whole number.
    pub(crate) fn integer(&mut self, key: &'static str) -> Result<Option<i64>> {
        self.typed(key, "a whole number", |value| value.as_int().ok())
    }

    /// A duration.
    pub(crate) fn duration(&mut self, key: &'static str) -> Result<Option<Duration>> {
        self.take(key)
            .map(|value| duration_of(&value).map_err(|error| error.context(format!("reading {key:?} of {}", self.of))))
            .transpose()
    }

    /// A point in time: an RFC 3339 string, a time, or an age.
    pub(crate) fn time(&mut self, key: &'static str) -> Result<Option<Timestamp>> {
        let Some(value) = self.take(key) else { return Ok(None) };
        if let Some(time) = value.read_lock::<Timestamp>() {
            return Ok(Some(*time));
        }
        if let Ok(text) = value.as_immutable_string_ref()
            && let Ok(time) = Timestamp::parse(&text)
        {
            return Ok(Some(time));
        }
        duration_of(&value)
            .map(|age| Some(Timestamp::now().before(age)))
            .map_err(|error| error.context(format!("reading {key:?} of {}", self.of)))
    }

    /// A string or an array of strings; missing is empty.
    pub(crate) fn texts(&mut self, key: &'static str) -> Result<Vec<String>> {
        let read = |value: &Dynamic| match value.read_lock::<Array>() {
            Some(items) => items.iter().map(|item| word(item).ok()).collect(),
            None => word(value).ok().map(|word| vec![word]),
        };
        Ok(self.typed(key, "a string or an array of strings", read)?.unwrap_or_default())
    }

    /// A map or an array of `key=value`; missing is empty. The order of an array is kept.
    pub(crate) fn pairs(&mut self, key: &'static str) -> Result<Vec<(String, String)>> {
        let read = |value: &Dynamic| -> Option<Vec<(String, String)>> {
            if let Some(map) = value.read_lock::<Map>() {
                return map.iter().map(|(key, value)| Some((key.to_string(), word(value).ok()?))).collect();
            }
            let items = value.read_lock::<Array>()?;
            let split = |item: &Dynamic| {
                let text = word(item).ok()?;
                let (key, value) = text.split_once('=')?;
                Some((key.to_owned(), value.to_owned()))
            };
            items.iter().map(split).collect()
        };
        Ok(self.typed(key, "a map or an array of \"key=value\"", read)?.unwrap_or_default())
    }

    /// As [`Keys::pairs`], sorted.
    pub(crate) fn labels(&mut self) -> Result<BTreeMap<String, String>> {
        Ok(self.pairs("labels")?.into_iter().collect())
    }

    /// What nobody took.
    pub(crate) fn rest(self) -> Map {
        self.map
    }

    /// Refuses what nobody took.
    ///
    /// # Errors
    /// `invalid_argument` with a did-you-mean.
    pub(crate) fn finish(self) -> Result<()> {
        let Some(unknown) = self.map.keys().next() else { return Ok(()) };
        let error = Error::invalid(format!("{} has no option {unknown:?}", self.of));
        Err(match suggest::hint(unknown, self.known.iter().copied()) {
            Some(hint) => error.with_hint(hint),
            None => error.with_hint(format!("it takes: {}", self.known.join(", "))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_options_are_refused_with_a_suggestion() {
        let map = Map::from([("forse".into(), true.into())]);
        let mut keys = Keys::new("remove", map);
        assert!(!keys.flag("force").unwrap());
        let error = keys.finish().unwrap_err();
        assert_eq!(error.hint(), Some("did you mean \"force\"?"));
    }

    #[test]
    fn durations_and_sizes_become_what_option_maps_hold() {
        assert_eq!(to_json(&Dynamic::from(Duration::from_millis(1500))).unwrap(), Value::from("1500ms"));
        assert_eq!(to_json(&Dynamic::from(Size(1024))).unwrap(), Value::from(1024));
        assert!(to_json(&Dynamic::from(Secret::new("x"))).is_err());
        assert!(to_json(&Dynamic::from(rhai::FnPtr::new("f").unwrap())).is_err());
    }

    #[test]
    fn a_string_command_is_a_shell_command_and_an_array_is_argv() {
        assert_eq!(command_of(&"ls /".into()).unwrap().unwrap(), ["sh", "-c", "ls /"]);
        assert_eq!(command_of(&Array::new().into()).unwrap(), None);
        let argv: Dynamic = Array::from(["sleep".into(), 5i64.into()]).into();
        assert_eq!(command_of(&argv).unwrap().unwrap(), ["sleep", "5"]);
        assert!(command_of(&5i64.into()).is_err());
    }
}
