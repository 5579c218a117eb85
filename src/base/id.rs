//! Identifiers of containers, volumes and networks: 64 hexadecimal digits, shown as the first twelve.
//!
//! A *state root id* is shorter: see [`crate::base::paths`].

use std::fmt;
use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Result};

/// A random identifier of 256 bits, as Docker's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// The number of hexadecimal digits.
    pub const LENGTH: usize = 64;
    /// The number of digits that listings show.
    pub const SHORT: usize = 12;

    /// A new identifier from the kernel's random source.
    ///
    /// # Errors
    /// `failed` when `/dev/urandom` cannot be read.
    pub fn random() -> Result<Id> {
        let mut bytes = [0u8; Id::LENGTH / 2];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(|error| Error::from(error).context("reading \"/dev/urandom\""))?;
        Ok(Id(hex(&bytes)))
    }

    /// Reads a whole identifier.
    ///
    /// # Errors
    /// `invalid_argument` when it is not 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Id> {
        let digits = text.len() == Id::LENGTH && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits { Ok(Id(text.to_owned())) } else { Err(Error::invalid(format!("{text:?} is not an identifier"))) }
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits.
    pub fn short(&self) -> &str {
        &self.0[..Id::SHORT]
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Much of what a build does is to compare digests: formatting byte by byte would show.
    let digit = |nibble: u8| DIGITS[usize::from(nibble)];
    let mut digits = Vec::with_capacity(bytes.len() * 2);
    bytes.iter().for_each(|byte| digits.extend([digit(byte >> 4), digit(byte & 15)]));
    String::from_utf8(digits).expect("hexadecimal digits are text")
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

impl TryFrom<String> for Id {
    type Error = Error;
    fn try_from(text: String) -> Result<Id> {
        Id::parse(&text)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_identifiers_differ_and_parse() {
        let (a, b) = (Id::random().unwrap(), Id::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(Id::parse(a.as_str()).unwrap(), a);
        assert_eq!(a.short().len(), 12);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "abc", &"g".repeat(64), &"A".repeat(64), &"a".repeat(65), "../../etc/passwd"] {
            assert!(Id::parse(text).is_err(), "{text:?}");
        }
    }
}
