//! Sparse files in the four forms that GNU tar has written (GNU tar manual, "Storing Sparse Files").
//!
//! | form | where the map is |
//! |---|---|
//! | old GNU | type `S`, four pairs in the header, then blocks of 21 |
//! | PAX 0.0 | records `GNU.sparse.offset` and `GNU.sparse.numbytes` in turn |
//! | PAX 0.1 | record `GNU.sparse.map`, pairs with commas |
//! | PAX 1.0 | decimal lines at the head of the content, padded to a block |

use super::number;
use crate::base::{Error, Result};

/// The most stretches of data in one file: 16 MiB of map.
pub(crate) const MOST_STRETCHES: usize = 1 << 20;

/// Offsets and lengths of data, in order.
pub(crate) type Map = Vec<(u64, u64)>;

/// What PAX records say about a sparse file.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    pub(super) map: Option<Map>,
    major: Option<u64>,
    minor: Option<u64>,
    offset: Option<u64>,
}

impl PaxSparse {
    /// Takes in one record; none when it is malformed.
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let decimal = || number::parse_decimal(value);
        match &key[b"GNU.sparse.".len()..] {
            b"name" if !value.contains(&0) => self.name = Some(value.to_vec()),
            b"name" => return None,
            b"size" | b"realsize" => self.real_size = Some(decimal()?),
            b"major" => self.major = Some(decimal()?),
            b"minor" => self.minor = Some(decimal()?),
            b"numblocks" => self.map = Some(self.map.take().unwrap_or_default()),
            b"offset" => match self.offset.replace(decimal()?) {
                None => {}
                Some(_) => return None,
            },
            b"numbytes" => {
                let offset = self.offset.take()?;
                let map = self.map.get_or_insert_default();
                if map.len() >= MOST_STRETCHES {
                    return None;
                }
                map.push((offset, decimal()?));
            }
            b"map" => {
                let numbers: Option<Vec<u64>> = match value {
                    b"" => Some(Vec::new()),
                    list => list.split(|b| *b == b',').map(number::parse_decimal).collect(),
                };
                let numbers = numbers?;
                if numbers.len() % 2 != 0 || numbers.len() / 2 > MOST_STRETCHES {
                    return None;
                }
                self.map = Some(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect());
            }
            _ => {}
        }
        Some(())
    }

    /// The map is at the head of the content (form 1.0).
    pub(super) fn is_inline(&self) -> Result<bool> {
        match (self.major, self.minor) {
            (None, None) | (Some(0), _) => Ok(false),
            (Some(1), Some(0) | None) => Ok(true),
            (major, minor) => Err(Error::unsupported(format!(
                "a sparse file has the form {}.{}",
                major.unwrap_or(0),
                minor.unwrap_or(0)
            ))),
        }
    }
}

/// Checks that stretches ascend, do not overlap, end inside the file and carry exactly `stored` bytes.
pub(super) fn check(map: &[(u64, u64)], real_size: u64, stored: u64) -> Result<()> {
    let refuse = |why: &str| Err(Error::corrupt(format!("a sparse file's map {why}")));
    let (mut end, mut total) = (0u64, 0u64);
    for (offset, length) in map {
        if *offset < end {
            return refuse("goes back or overlaps");
        }
        match offset.checked_add(*length) {
            Some(next) if next <= real_size => end = next,
            _ => return refuse("leaves the file"),
        }
        total += length; // cannot overflow: the stretches are disjoint and end below 2^64
    }
    if total != stored {
        return refuse(&format!("has {total} bytes of data, the archive {stored}"));
    }
    Ok(())
}

/// Writes the head of a form 1.0 content: the number of stretches and their pairs, each on a line, padded to a block.
pub(crate) fn format_inline(map: &[(u64, u64)]) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut text = format!("{}\n", map.len());
    for (offset, length) in map {
        write!(text, "{offset}\n{length}\n").expect("writing to a String cannot fail");
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(super::BLOCK), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_overlap_or_leave_the_file_are_refused() {
        check(&[], 0, 0).unwrap();
        check(&[(0, 5), (5, 5), (100, 0)], 100, 10).unwrap();
        for (map, size, stored) in [
            (&[(5, 5), (0, 1)][..], 100, 6),
            (&[(0, 5), (4, 1)], 100, 6),
            (&[(0, 5)], 4, 5),
            (&[(u64::MAX, 2)], u64::MAX, 2),
            (&[(0, 5)], 5, 4),
        ] {
            assert!(check(map, size, stored).is_err(), "{map:?}");
        }
    }

    #[test]
    fn records_build_a_map() {
        let mut sparse = PaxSparse::default();
        for (key, value) in [("numblocks", "2"), ("offset", "0"), ("numbytes", "1"), ("offset", "9"), ("numbytes", "2")]
        {
            sparse.record(format!("GNU.sparse.{key}").as_bytes(), value.as_bytes()).unwrap();
        }
        assert_eq!(sparse.map.unwrap(), [(0, 1), (9, 2)]);
        let mut sparse = PaxSparse::default();
        sparse.record(b"GNU.sparse.map", b"0,1,9,2").unwrap();
        assert_eq!(sparse.map.as_ref().unwrap(), &[(0, 1), (9, 2)]);
        for (key, value) in [("map", "1"), ("map", "a,b"), ("numbytes", "1"), ("size", "x"), ("name", "a\0")] {
            let mut sparse = PaxSparse::default();
            assert!(sparse.record(format!("GNU.sparse.{key}").as_bytes(), value.as_bytes()).is_none(), "{key}");
        }
    }
}
