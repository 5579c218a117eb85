//! Keys: a digest over what a step does and over what it is given, and the names of these inputs to tell what changed.
//!
//! A line number, a time of a file and the value of a secret are no inputs. What is below a step is, as the digest of its
//! content: a step that came out the same leaves the steps above it cached.

use serde::{Deserialize, Serialize};

use crate::base::Digest;
use crate::base::digest::Hasher;

/// The version of everything that goes into keys: a new one forgets the cache.
const VERSION: &str = "1";
/// The name of the input that is the content below a step.
pub(super) const BELOW: &str = "what is below";
/// The name of the input that is the latest time of what a step makes: most often that of the base.
pub(super) const EPOCH: &str = "the epoch";
/// The most inputs that are kept to tell what changed; of more only the digest of all counts.
const MOST_KEPT: usize = 2000;

/// What a step depends on, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inputs(Vec<(String, Digest)>);

impl Inputs {
    /// Adds an input.
    pub(super) fn add(&mut self, name: impl Into<String>, value: impl AsRef<[u8]>) {
        self.0.push((name.into(), Digest::of(value.as_ref())));
    }

    /// Adds one as it is written in JSON.
    pub(super) fn add_json(&mut self, name: impl Into<String>, value: &impl Serialize) {
        // Plain data with string keys always has a JSON form.
        let text = serde_json::to_vec(value).expect("plain data can be written as JSON");
        self.add(name, text);
    }

    /// The key.
    pub(super) fn key(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(VERSION.as_bytes());
        for (name, digest) in &self.0 {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(digest.as_str().as_bytes());
        }
        hasher.finish()
    }

    /// As much of it as is worth keeping.
    pub(super) fn kept(&self) -> Inputs {
        if self.0.len() <= MOST_KEPT { self.clone() } else { Inputs::default() }
    }

    /// How many bytes they take on record, about.
    pub(super) fn size_bytes(&self) -> u64 {
        self.0.iter().map(|(name, digest)| (name.len() + digest.as_str().len() + 8) as u64).sum()
    }

    /// Whether both are of one kind of step: of others there is nothing to compare.
    pub(super) fn is_alike(&self, other: &Inputs) -> bool {
        self.0.first() == other.0.first() || self.0.is_empty() || other.0.is_empty()
    }

    /// The first input that is not what it was.
    pub(super) fn first_change(&self, before: &Inputs) -> Option<String> {
        if before.0.is_empty() {
            return Some("one of its many inputs changed".to_owned());
        }
        let find = |list: &Inputs, name: &str| list.0.iter().find(|(known, _)| known == name).cloned();
        // What is below changes with every step before, and the epoch with the base: they tell only when nothing else does.
        let rank = |name: &str| match name {
            BELOW => 1,
            EPOCH => 2,
            _ => 0,
        };
        let mut ranked: Vec<&(String, Digest)> = self.0.iter().collect();
        ranked.sort_by_key(|(name, _)| rank(name));
        let gone = || before.0.iter().find(|(name, _)| find(self, name).is_none());
        for (name, digest) in ranked {
            if rank(name) > 0
                && let Some((name, _)) = gone()
            {
                return Some(format!("{name} is gone"));
            }
            match find(before, name) {
                None => return Some(format!("{name} is new")),
                Some((_, old)) if old != *digest && name == BELOW => {
                    return Some("its base, or what a step before it came to, changed".to_owned());
                }
                Some((_, old)) if old != *digest => return Some(format!("{name} changed")),
                Some(_) => {}
            }
        }
        gone().map(|(name, _)| format!("{name} is gone"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(pairs: &[(String, String)]) -> Inputs {
        let mut inputs = Inputs::default();
        pairs.iter().for_each(|(name, value)| inputs.add(name.clone(), value));
        inputs
    }

    proptest! {
        /// Two lists of inputs have one key exactly when they are the same, wherever one could be cut differently.
        #[test]
        fn keys_are_equal_exactly_when_inputs_are(
            a in proptest::collection::vec(("[ab]{0,3}", "[ab]{0,3}"), 0..4),
            b in proptest::collection::vec(("[ab]{0,3}", "[ab]{0,3}"), 0..4),
        ) {
            prop_assert_eq!(of(&a).key() == of(&b).key(), a == b);
        }
    }

    #[test]
    fn the_first_change_is_named() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(many().first_change(&many().kept()).as_deref(), Some("one of its many inputs changed"));
        let before = of(&[pair("the command", "make"), pair("file a", "1")]);
        for (now, why) in [
            (vec![pair("the command", "make"), pair("file a", "1")], None),
            (vec![pair("the command", "make all"), pair("file a", "2")], Some("the command changed")),
            (vec![pair("the command", "make"), pair("file b", "1")], Some("file b is new")),
            (vec![pair("the command", "make")], Some("file a is gone")),
        ] {
            assert_eq!(of(&now).first_change(&before).as_deref(), why);
        }
        // A base brings its own date: that it is another one tells more.
        let on = |below: &str, epoch: &str, file: &str| of(&[pair(BELOW, below), pair(EPOCH, epoch), pair(file, "1")]);
        for (now, why) in [
            (on("2", "2", "file a"), "its base, or what a step before it came to, changed"),
            (on("1", "2", "file a"), "the epoch changed"),
            (on("2", "2", "file b"), "file b is new"),
        ] {
            assert_eq!(now.first_change(&on("1", "1", "file a")).as_deref(), Some(why));
        }
    }

    fn many() -> Inputs {
        of(&(0..=MOST_KEPT).map(|number| (format!("file {number}"), String::new())).collect::<Vec<_>>())
    }
}
