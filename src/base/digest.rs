//! Content digests: `sha256:` and 64 hexadecimal digits (OCI image specification, "Descriptors", section "Digests").
//!
//! The one door to `sha2`. A digest is checked by its own grammar before it is used as a path or in a URL; sha512,
//! which the specification registers too, is refused as unsupported.

use std::fmt;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::base::id::hex;
use crate::base::{Error, Result};

/// A sha256 digest in its textual form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

const PREFIX: &str = "sha256:";

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of everything that `reader` gives.
    ///
    /// # Errors
    /// What reading gives.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Digest> {
        let mut hasher = Hasher::new();
        io::copy(&mut reader, &mut hasher)?;
        Ok(hasher.finish())
    }

    /// Reads `sha256:` followed by 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// `unsupported` for another registered algorithm, otherwise `invalid_argument`.
    pub fn parse(text: &str) -> Result<Digest> {
        let shown = || text.chars().take(100).collect::<String>();
        let Some(hex) = text.strip_prefix(PREFIX) else {
            return Err(if text.starts_with("sha512:") {
                Error::unsupported(format!("digest {:?} uses an algorithm other than sha256", shown()))
            } else {
                Error::invalid(format!("{:?} is not a digest", shown()))
            });
        };
        if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Digest(text.to_owned()))
        } else {
            Err(Error::invalid(format!("{:?} is not a digest", shown())))
        }
    }

    /// With the algorithm: `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The first twelve digits.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;
    fn try_from(text: String) -> Result<Digest> {
        Digest::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

/// Hashes what is written to it.
#[derive(Clone)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// An empty hasher.
    pub fn new() -> Hasher {
        Hasher(sha2::Sha256::new())
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far.
    pub fn finish(self) -> Digest {
        Digest(format!("{PREFIX}{}", hex(&self.0.finalize())))
    }
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher::new()
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes a stream through and hashes and counts it on the way; works for readers and for writers.
pub struct Hashing<S> {
    inner: S,
    hasher: Hasher,
    count: u64,
}

impl<S> Hashing<S> {
    /// Wraps a stream.
    pub fn new(inner: S) -> Hashing<S> {
        Hashing { inner, hasher: Hasher::new(), count: 0 }
    }

    /// The number of bytes that went through.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The stream, the digest and the number of bytes.
    pub fn finish(self) -> (S, Digest, u64) {
        (self.inner, self.hasher.finish(), self.count)
    }

    /// The stream underneath.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }
}

impl<S: Read> Read for Hashing<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.count += n as u64;
        Ok(n)
    }
}

impl<S: Write> Write for Hashing<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.count += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_abc_is_the_one_of_fips_180() {
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").as_str(), expected);
        let mut stream = Hashing::new(&b"abc"[..]);
        io::copy(&mut stream, &mut io::sink()).unwrap();
        let (_, digest, count) = stream.finish();
        assert_eq!((digest.as_str(), count), (expected, 3));
    }

    #[test]
    fn hostile_digests_are_refused() {
        let long = format!("sha256:{}", "a".repeat(65));
        for text in ["", "sha256:", "sha256:../../etc/passwd", "md5:abc", &long, "sha256:ABC", "sha512:00"] {
            assert!(Digest::parse(text).is_err(), "{text:?}");
        }
    }
}
