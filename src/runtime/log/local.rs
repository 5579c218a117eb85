//! Docker's driver `local`: a message of protocol buffers an entry, between its lengths, so that a file can be read from
//! both ends.
//!
//! ```text
//! length (u32, big endian) · message · length
//!
//! message   1 source "stdout"   2 time in nanoseconds   3 line without its end   4 partial: the line has no end here
//!           5 metadata of a part { 1 last … }            6 attribute { 1 key  2 value }, repeated
//! ```
//!
//! The fields are those of moby's `entry.proto`; unknown ones are passed over.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::{LogFacts, MAX_ENTRY_BYTES};
use crate::base::Timestamp;
use crate::model::log::{LogEntry, Stream};

/// Bytes of a length.
pub(super) const LENGTH: usize = 4;

const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// Writes entries.
pub(super) struct Encoder {
    /// The fields 6, the same in every message.
    attrs: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(facts: &LogFacts) -> Encoder {
        let mut attrs = Vec::new();
        for (key, value) in &facts.attrs {
            let mut attr = Vec::new();
            put_bytes(&mut attr, 1, key.as_bytes());
            put_bytes(&mut attr, 2, value.as_bytes());
            put_bytes(&mut attrs, 6, &attr);
        }
        Encoder { attrs }
    }

    /// Appends one entry to `out`.
    pub(super) fn encode(&self, stream: Stream, time: Timestamp, bytes: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH]);
        put_bytes(out, 1, stream.as_str().as_bytes());
        put_varint(out, 2 << 3 | VARINT);
        put_varint(out, time.as_nanos());
        let (line, partial) = match bytes.split_last() {
            Some((b'\n', line)) => (line, false),
            _ => (bytes, true),
        };
        put_bytes(out, 3, line);
        if partial {
            put_varint(out, 4 << 3 | VARINT);
            put_varint(out, 1);
        }
        out.extend_from_slice(&self.attrs);
        // An entry is far below 4 GiB.
        let length = ((out.len() - start - LENGTH) as u32).to_be_bytes();
        out[start..start + LENGTH].copy_from_slice(&length);
        out.extend_from_slice(&length);
    }
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How long the entry is that begins `bytes`, lengths included; none when not enough of it is there to tell.
///
/// # Errors
/// Why it cannot be an entry.
pub(super) fn entry_length(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(head) = bytes.first_chunk::<LENGTH>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length == 0 || length > MAX_ENTRY_BYTES {
        return Err(format!("an entry of {length} bytes"));
    }
    Ok(Some(length + 2 * LENGTH))
}

/// Where the entry begins that ends at `end` of a file; none when none does.
///
/// # Errors
/// What pread(2) gives.
pub(super) fn entry_before(file: &File, end: u64) -> std::io::Result<Option<u64>> {
    let (mut head, mut tail) = ([0; LENGTH], [0; LENGTH]);
    let Some(at) = end.checked_sub(LENGTH as u64) else { return Ok(None) };
    file.read_exact_at(&mut tail, at)?;
    let Ok(Some(length)) = entry_length(&tail) else { return Ok(None) };
    let Some(start) = end.checked_sub(length as u64) else { return Ok(None) };
    file.read_exact_at(&mut head, start)?;
    Ok((head == tail).then_some(start))
}

/// Reads entries; keeps what it needs for the next one.
#[derive(Default)]
pub(super) struct Decoder {
    line: Vec<u8>,
    attrs: Vec<(String, String)>,
    attrs_raw: Vec<u8>,
}

impl Decoder {
    /// Reads one entry with its lengths.
    pub(super) fn decode(&mut self, entry: &[u8]) -> Result<LogEntry<'_>, String> {
        let length = entry.len().checked_sub(2 * LENGTH).ok_or("an entry is too short")?;
        if entry[..LENGTH] != entry[LENGTH + length..] {
            return Err("the two lengths of an entry differ".to_owned());
        }
        let mut message = Fields(&entry[LENGTH..LENGTH + length]);
        let (mut stream, mut time, mut line, mut partial, mut last) = (Stream::Stdout, 0, &b""[..], false, false);
        let mut raw_attrs = Vec::new();
        while let Some((field, value)) = message.next()? {
            match (field, value) {
                (1, Value::Bytes(b"stderr")) => stream = Stream::Stderr,
                (2, Value::Number(nanos)) => time = nanos,
                (3, Value::Bytes(bytes)) => line = bytes,
                (4, Value::Number(flag)) => partial = flag != 0,
                (5, Value::Bytes(metadata)) => {
                    let mut metadata = Fields(metadata);
                    while let Some((field, value)) = metadata.next()? {
                        last |= matches!((field, value), (1, Value::Number(1..)));
                    }
                }
                (6, Value::Bytes(attr)) => put_bytes(&mut raw_attrs, 6, attr),
                _ => {}
            }
        }
        if raw_attrs != self.attrs_raw {
            self.attrs = attributes(&raw_attrs)?;
            self.attrs_raw = raw_attrs;
        }
        self.line.clear();
        self.line.extend_from_slice(line);
        if !partial || last {
            self.line.push(b'\n');
        }
        Ok(LogEntry { time: Timestamp::from_nanos(time), stream, bytes: &self.line, attrs: &self.attrs })
    }
}

fn attributes(raw: &[u8]) -> Result<Vec<(String, String)>, String> {
    let (mut attrs, mut fields) = (Vec::new(), Fields(raw));
    while let Some((_, value)) = fields.next()? {
        let Value::Bytes(attr) = value else { continue };
        let (mut key, mut text, mut attr) = (String::new(), String::new(), Fields(attr));
        while let Some((field, value)) = attr.next()? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => key = String::from_utf8_lossy(bytes).into_owned(),
                (2, Value::Bytes(bytes)) => text = String::from_utf8_lossy(bytes).into_owned(),
                _ => {}
            }
        }
        attrs.push((key, text));
    }
    attrs.sort();
    Ok(attrs)
}

/// The fields of a message that are left.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            VARINT => Value::Number(self.varint()?),
            BYTES => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Value::Bytes(self.take(length)?)
            }
            1 => Value::Bytes(self.take(8)?),
            5 => Value::Bytes(self.take(4)?),
            other => return Err(format!("a field of the unknown type {other}")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("a field is longer than its message")?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number has no end".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_bytes_as_docker_writes_them() {
        let mut out = Vec::new();
        Encoder::new(&LogFacts::default()).encode(Stream::Stderr, Timestamp::from_nanos(300), b"hi\n", &mut out);
        assert_eq!(out, b"\0\0\0\x0f\x0a\x06stderr\x10\xac\x02\x1a\x02hi\0\0\0\x0f");
    }

    #[test]
    fn what_was_written_is_read_and_parts_have_no_end() {
        let attrs = [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "ä=1".to_owned())];
        let encoder = Encoder::new(&LogFacts { attrs: attrs.into(), ..LogFacts::default() });
        let mut decoder = Decoder::default();
        for bytes in [&b"line\n"[..], b"part", b"\n", &[0xff; 300]] {
            let mut out = Vec::new();
            encoder.encode(Stream::Stdout, Timestamp::from_nanos(7), bytes, &mut out);
            assert_eq!(entry_length(&out), Ok(Some(out.len())));
            let entry = decoder.decode(&out).unwrap();
            assert_eq!((entry.bytes, entry.time.as_nanos(), entry.stream), (bytes, 7, Stream::Stdout));
            assert_eq!(entry.attrs[0], ("a".to_owned(), "ä=1".to_owned()));
        }
    }

    #[test]
    fn hostile_bytes_are_refused() {
        assert_eq!(entry_length(b"\0\0"), Ok(None));
        assert!(entry_length(b"\xff\xff\xff\xff").is_err() && entry_length(&[0; 8]).is_err());
        let mut decoder = Decoder::default();
        for message in [&b"\x0a\xff"[..], b"\x0f", b"\x10", &[0x80; 12]] {
            let length = (message.len() as u32).to_be_bytes();
            assert!(decoder.decode(&[&length[..], message, &length[..]].concat()).is_err(), "{message:?}");
        }
        assert!(decoder.decode(b"\0\0\0\x01\x08\0\0\0\x02").is_err());
        assert!(decoder.decode(b"abc").is_err());
    }
}
