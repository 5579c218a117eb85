//! Names of containers: what is allowed, and new ones for those who give none.

use crate::base::{Error, Id, Result};

/// What a container may feel like at sea.
const MOODS: [&str; 32] = [
    "able", "bold", "brave", "breezy", "brisk", "bright", "calm", "clear", "deft", "eager", "fair", "fleet", "gentle",
    "glad", "hardy", "jolly", "keen", "lively", "lucky", "merry", "nimble", "proud", "quick", "quiet", "ready",
    "salty", "serene", "steady", "stout", "swift", "trusty", "upbeat",
];
/// Who or what one meets there.
const THINGS: [&str; 40] = [
    "albatross",
    "anchor",
    "barnacle",
    "beacon",
    "bosun",
    "buoy",
    "capstan",
    "clipper",
    "compass",
    "corsair",
    "current",
    "cutter",
    "dolphin",
    "dory",
    "fathom",
    "foghorn",
    "galleon",
    "gannet",
    "halyard",
    "harbor",
    "helm",
    "jib",
    "keel",
    "ketch",
    "lantern",
    "lighthouse",
    "mariner",
    "mast",
    "meridian",
    "osprey",
    "petrel",
    "pilot",
    "porpoise",
    "rudder",
    "schooner",
    "sextant",
    "sloop",
    "spinnaker",
    "tern",
    "tiller",
];

/// A name made from the identity; `attempt` picks others when it is taken.
pub(super) fn generated(id: &Id, attempt: usize) -> String {
    let byte = |at: usize| usize::from_str_radix(&id.as_str()[at..at + 4], 16).unwrap_or(attempt);
    let mood = MOODS[(byte(0) + attempt) % MOODS.len()];
    let thing = THINGS[(byte(4) + attempt * 7) % THINGS.len()];
    match attempt {
        0..8 => format!("{mood}_{thing}"),
        _ => format!("{mood}_{thing}_{}", &id.as_str()[8..14]),
    }
}

/// Docker's rule: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
///
/// # Errors
/// `invalid_argument`.
pub(super) fn check(name: &str) -> Result<()> {
    let word = |b: u8| b.is_ascii_alphanumeric();
    let ok = (2..=253).contains(&name.len())
        && name.bytes().next().is_some_and(word)
        && name.bytes().all(|b| word(b) || matches!(b, b'_' | b'.' | b'-'));
    // A name of 64 hexadecimal digits would hide the container with that id.
    if ok && Id::parse(name).is_err() {
        return Ok(());
    }
    let shown: String = name.chars().take(100).collect();
    Err(Error::invalid(format!("{shown:?} is not a name for a container"))
        .with_hint("use two or more letters, digits, underscores, dots and dashes, beginning with a letter or digit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_allowed_and_differ_by_attempt() {
        let id = Id::random().unwrap();
        let names: std::collections::BTreeSet<String> = (0..12).map(|attempt| generated(&id, attempt)).collect();
        assert_eq!(names.len(), 12);
        names.iter().for_each(|name| check(name).unwrap());
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in ["", "a", "-a", "a b", "../x", "a/b", "a\n", "é1", &"a".repeat(300), &"a".repeat(64)] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
