//! PAX extended headers: records `LENGTH KEY=VALUE\n` (POSIX.1-2017 `pax`, "pax Extended Header").

use super::number;
use super::shown;
use super::sparse::PaxSparse;
use crate::base::{Error, Result};
use crate::sys::node::Time;

/// The prefix of records that carry extended attributes (star, GNU tar, Go).
pub(crate) const XATTR: &[u8] = b"SCHILY.xattr.";

/// What extended headers say about the next entry.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: PaxSparse,
}

/// Reads the body of an extended header. An empty value takes a record back, as the standard says.
pub(super) fn parse(mut body: &[u8]) -> Result<Extensions> {
    let mut found = Extensions::default();
    while !body.is_empty() {
        let (key, value, rest) = split_record(body)?;
        body = rest;
        let refuse = || bad_record(key, value);
        let number = || match value {
            b"" => Ok(None),
            digits => number::parse_decimal(digits).map(Some).ok_or_else(refuse),
        };
        match key {
            b"path" => found.path = text(key, value)?,
            b"linkpath" => found.link = text(key, value)?,
            b"size" => found.size = number()?,
            b"uid" => found.uid = number()?,
            b"gid" => found.gid = number()?,
            b"mtime" => {
                found.mtime = match value {
                    b"" => None,
                    digits => Some(number::parse_time(digits).ok_or_else(refuse)?),
                };
            }
            _ if key.starts_with(XATTR) => {
                let name = &key[XATTR.len()..];
                if name.is_empty() || name.contains(&0) {
                    return Err(refuse());
                }
                found.xattrs.retain(|(known, _)| known != name);
                found.xattrs.push((name.to_vec(), value.to_vec()));
            }
            _ if key.starts_with(b"GNU.sparse.") => found.sparse.record(key, value).ok_or_else(refuse)?,
            // Other records are remarks to us, as the standard allows.
            _ => {}
        }
    }
    Ok(found)
}

/// Key, value and what follows.
fn split_record(body: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let refuse = || Error::corrupt(format!("a pax header has the record {}", shown(&body[..body.len().min(60)])));
    let space = body.iter().take(20).position(|b| *b == b' ').ok_or_else(refuse)?;
    let length = number::parse_decimal(&body[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(refuse)?;
    if length <= space + 2 || length > body.len() || body[length - 1] != b'\n' {
        return Err(refuse());
    }
    let record = &body[space + 1..length - 1];
    let equals = record.iter().position(|b| *b == b'=').ok_or_else(refuse)?;
    Ok((&record[..equals], &record[equals + 1..], &body[length..]))
}

fn text(key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>> {
    if value.contains(&0) {
        return Err(bad_record(key, value));
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn bad_record(key: &[u8], value: &[u8]) -> Error {
    Error::corrupt(format!("a pax header gives {} the value {}", shown(key), shown(value)))
}

/// Appends a record.
pub(crate) fn write_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_as_they_are_read() {
        for length in [0, 1, 84, 85, 86, 87, 88, 980, 985, 990, 995, 1000, 70_000] {
            let value = vec![b'v'; length];
            let mut body = Vec::new();
            write_record(&mut body, b"SCHILY.xattr.user.x", &value);
            write_record(&mut body, b"path", b"a\nb=c");
            let found = parse(&body).unwrap();
            assert_eq!(found.xattrs, [(b"user.x".to_vec(), value)]);
            assert_eq!(found.path.unwrap(), b"a\nb=c");
        }
    }

    #[test]
    fn broken_records_are_refused() {
        for body in [
            &b"x"[..],
            b"5 a=b",
            b"0 a=b\n",
            b"99 a=b\n",
            b"-6 a=b\n",
            b"6 ab b\n",
            b"6  a=b\n",
            b"13 size=abc\n\n",
            b"12 size=-11\n",
            b"12 path=a\0b\n",
            b"99999999999999999999999 a=b\n",
            b"\0\0\0\0",
            b"18 SCHILY.xattr.=\n",
        ] {
            assert!(parse(body).is_err(), "{}", shown(body));
        }
    }

    #[test]
    fn the_last_record_counts_and_an_empty_one_takes_back() {
        let mut body = Vec::new();
        write_record(&mut body, b"path", b"one");
        write_record(&mut body, b"path", b"two");
        write_record(&mut body, b"uid", b"7");
        write_record(&mut body, b"uid", b"");
        write_record(&mut body, b"comment", b"ignored");
        let found = parse(&body).unwrap();
        assert_eq!((found.path.unwrap(), found.uid), (b"two".to_vec(), None));
    }
}
