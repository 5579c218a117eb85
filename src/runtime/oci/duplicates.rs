//! JSON in which no object says one thing twice.
//!
//! Readers differ in which of two values they take; a configuration that is checked by one and carried out by another could
//! have fewer namespaces than it seemed. Types made by `serde` refuse a field that is there twice, but a
//! [`serde_json::Value`] takes the last one: whoever goes through that asks here first.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Any JSON without duplicates; what it says is not kept.
pub(super) struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unambiguous, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unambiguous, A::Error> {
        while list.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unambiguous, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<Unambiguous>()?;
            if let Some(twice) = seen.replace(key) {
                return Err(A::Error::custom(format!("duplicate field `{twice}`")));
            }
        }
        Ok(Unambiguous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_twice_is_refused_at_any_depth() {
        for good in [r#"{"a": {"a": 1}, "b": [{"a": null}, {"a": -2.5e3}]}"#, "[]", "true", "\"x\""] {
            assert!(serde_json::from_str::<Unambiguous>(good).is_ok(), "{good}");
        }
        for bad in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"x": 0, "y": 1, "x": 2}}]"#, r#"{"a": 1, "\u0061": 2}"#, "{", ""]
        {
            assert!(serde_json::from_str::<Unambiguous>(bad).is_err(), "{bad}");
        }
    }
}
