//! `eq ne lt le gt ge`: Go's comparisons of basic values.

use std::cmp::Ordering;

use crate::docker::template::value::{Value, View};
use crate::docker::template::verbs;

/// How much of a value a message shows.
const SHOWN_BYTES: usize = 1_000;
const INCOMPATIBLE: &str = "incompatible types for comparison";
const NOT_COMPARABLE: &str = "invalid type for comparison";

/// Whether the first is equal to any of the others.
pub(super) fn equals_any(values: &[Value<'_>]) -> Result<bool, String> {
    let Some((first, others)) = values.split_first() else { return Err("missing argument for comparison".into()) };
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    for other in others {
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal(one: &Value<'_>, other: &Value<'_>) -> Result<bool, String> {
    Ok(match (one.view(), other.view()) {
        (View::Bool(one), View::Bool(other)) => one == other,
        (View::Text(one), View::Text(other)) => one == other,
        (View::Float(one), View::Float(other)) => one == other,
        (View::Int(one), View::Int(other)) => one == other,
        (View::Uint(one), View::Uint(other)) => one == other,
        (View::Int(one), View::Uint(other)) | (View::Uint(other), View::Int(one)) => u64::try_from(one) == Ok(other),
        (View::Nothing | View::Nil, View::Nothing | View::Nil) => true,
        // Nothing is equal to nothing else, but a map or a list may be nil.
        (View::Nothing, other) | (other, View::Nothing) => is_nil(&other),
        (one, other) if is_basic(&one) || is_basic(&other) => return Err(INCOMPATIBLE.into()),
        (View::Nil, other) | (other, View::Nil) => is_nil(&other),
        _ if is_nil(&one.view()) || is_nil(&other.view()) => is_nil(&one.view()) == is_nil(&other.view()),
        _ => {
            let shown = verbs::printf("%s", std::slice::from_ref(other), SHOWN_BYTES);
            return Err(format!("non-comparable type {shown}: {}", other.type_name()));
        }
    })
}

fn is_basic(view: &View<'_, '_>) -> bool {
    matches!(view, View::Bool(_) | View::Text(_) | View::Float(_) | View::Int(_) | View::Uint(_))
}

/// A map or a list of which there is not even an empty one. Lists do not tell; an empty one from JSON is not nil.
fn is_nil(view: &View<'_, '_>) -> bool {
    matches!(view, View::Map(None, _) | View::Nil | View::Nothing)
}

/// Whether the first is less than the second.
pub(super) fn less(one: &Value<'_>, other: &Value<'_>) -> Result<bool, String> {
    let (one, other) = (one.view(), other.view());
    if !is_basic(&one) || !is_basic(&other) {
        return Err(NOT_COMPARABLE.into());
    }
    let order = match (one, other) {
        (View::Text(one), View::Text(other)) => one.cmp(other),
        (View::Float(one), View::Float(other)) => return Ok(one < other),
        (View::Int(one), View::Int(other)) => one.cmp(&other),
        (View::Uint(one), View::Uint(other)) => one.cmp(&other),
        (View::Int(one), View::Uint(other)) => u64::try_from(one).map_or(Ordering::Less, |one| one.cmp(&other)),
        (View::Uint(one), View::Int(other)) => u64::try_from(other).map_or(Ordering::Greater, |other| one.cmp(&other)),
        (View::Bool(_), View::Bool(_)) => return Err(NOT_COMPARABLE.into()),
        _ => return Err(INCOMPATIBLE.into()),
    };
    Ok(order == Ordering::Less)
}

/// Whether the first is less than the second or equal to it.
pub(super) fn less_or_equal(one: &Value<'_>, other: &Value<'_>) -> Result<bool, String> {
    Ok(less(one, other)? || equal(one, other)?)
}
