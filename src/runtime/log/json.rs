//! Docker's json-file: one line of JSON an entry.
//!
//! ```text
//! {"log":"text\n","stream":"stdout","attrs":{"tag":"web"},"time":"2026-01-31T12:00:00.123456789Z"}
//! ```
//!
//! JSON text is Unicode, which output need not be: a piece that is not UTF-8 is shown with replacement characters, as Docker
//! does, and its bytes are kept exactly in a further field at the end, `"hex"`, which other readers ignore.
//!
//! Both directions have a short way for what is usual, and serde for all else.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::LogFacts;
use crate::base::Timestamp;
use crate::base::id::hex;
use crate::model::log::{LogEntry, Stream};

const START: &[u8] = b"{\"log\":\"";

/// Writes entries.
pub(super) struct Encoder {
    /// `,"attrs":{…}` or nothing.
    attrs: String,
    /// What follows the text of an entry of each stream, for [`Encoder::time`].
    ends: [Vec<u8>; 2],
    time: Option<Timestamp>,
}

impl Encoder {
    pub(super) fn new(facts: &LogFacts) -> Encoder {
        let attrs = match facts.attrs.is_empty() {
            true => String::new(),
            false => {
                let map = serde_json::to_string(&facts.attrs).expect("a map of strings is always JSON");
                format!(",\"attrs\":{map}")
            }
        };
        Encoder { attrs, ends: [Vec::new(), Vec::new()], time: None }
    }

    /// Appends one entry to `text`.
    pub(super) fn encode(&mut self, stream: Stream, time: Timestamp, bytes: &[u8], text: &mut Vec<u8>) {
        if self.time != Some(time) {
            self.time = Some(time);
            for stream in [Stream::Stdout, Stream::Stderr] {
                let end = format!("\",\"stream\":\"{}\"{},\"time\":\"{time}\"}}\n", stream.as_str(), self.attrs);
                self.ends[stream as usize] = end.into_bytes();
            }
        }
        let end = &self.ends[stream as usize];
        let (body, line_end) = match bytes.split_last() {
            Some((b'\n', body)) => (body, true),
            _ => (bytes, false),
        };
        text.extend_from_slice(START);
        let mut exact = None;
        if is_plain(body) {
            text.extend_from_slice(body);
        } else {
            match std::str::from_utf8(body) {
                Ok(body) => escape(body.as_bytes(), text),
                Err(_) => {
                    escape(String::from_utf8_lossy(body).as_bytes(), text);
                    exact = Some(hex(bytes));
                }
            }
        }
        if line_end {
            text.extend_from_slice(b"\\n");
        }
        match exact {
            None => text.extend_from_slice(end),
            Some(hex) => {
                text.extend_from_slice(&end[..end.len() - 2]);
                text.extend_from_slice(format!(",\"hex\":\"{hex}\"}}\n").as_bytes());
            }
        }
    }
}

/// Nothing in it needs an escape or a look at its encoding. Written so that the compiler looks at many bytes at once.
fn is_plain(bytes: &[u8]) -> bool {
    let odd = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte >= 0x7f);
    bytes.chunks(64).all(|chunk| !chunk.iter().fold(false, |found, byte| found | odd(*byte)))
}

fn escape(utf8: &[u8], text: &mut Vec<u8>) {
    let mut copied = 0;
    for (at, byte) in utf8.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => 0,
            _ => continue,
        };
        text.extend_from_slice(&utf8[copied..at]);
        copied = at + 1;
        match short {
            0 => text.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            letter => text.extend_from_slice(&[b'\\', letter]),
        }
    }
    text.extend_from_slice(&utf8[copied..]);
}

/// An entry as the file has it.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(default)]
    stream: Option<Stream>,
    time: Timestamp,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    #[serde(default, borrow)]
    hex: Option<Cow<'a, str>>,
}

/// Reads entries; keeps what it needs for the next one.
#[derive(Default)]
pub(super) struct Decoder {
    text: Vec<u8>,
    attrs: Vec<(String, String)>,
    /// The text of the last attributes, which are those of every entry.
    attrs_text: Vec<u8>,
    time_text: Vec<u8>,
    time: Timestamp,
}

impl Decoder {
    /// Reads one line, without its end.
    pub(super) fn decode<'a>(&'a mut self, line: &'a [u8]) -> Result<LogEntry<'a>, String> {
        match self.quickly(line) {
            Some((stream, Body::Plain(length))) => {
                let bytes = &line[START.len()..START.len() + length];
                Ok(LogEntry { time: self.time, stream, bytes, attrs: &self.attrs })
            }
            Some((stream, Body::Unescaped)) => {
                Ok(LogEntry { time: self.time, stream, bytes: &self.text, attrs: &self.attrs })
            }
            None => self.thoroughly(line),
        }
    }

    /// For a line as [`Encoder`] or Docker writes it: fields in their order, no hex, simple escapes.
    fn quickly(&mut self, line: &[u8]) -> Option<(Stream, Body)> {
        let rest = line.strip_prefix(START)?;
        let body = self.body(rest)?;
        let used = match body {
            Body::Plain(length) => length,
            Body::Unescaped => self.used(rest)?,
        };
        let rest = rest[used..].strip_prefix(b"\",\"stream\":\"")?;
        let (stream, rest) = match rest.strip_prefix(b"stdout\",") {
            Some(rest) => (Stream::Stdout, rest),
            None => (Stream::Stderr, rest.strip_prefix(b"stderr\",")?),
        };
        let rest = match rest.strip_prefix(b"\"attrs\":") {
            None => {
                self.attrs.clear();
                self.attrs_text.clear();
                rest
            }
            // The same as in the line before; anything else is for the thorough way, which remembers it.
            Some(rest) if !self.attrs_text.is_empty() => rest.strip_prefix(&self.attrs_text[..])?.strip_prefix(b",")?,
            Some(_) => return None,
        };
        let time = rest.strip_prefix(b"\"time\":\"")?.strip_suffix(b"\"}")?;
        if time != self.time_text {
            self.time = Timestamp::parse(std::str::from_utf8(time).ok()?).ok()?;
            self.time_text.clear();
            self.time_text.extend_from_slice(time);
        }
        Some((stream, body))
    }

    /// The text of an entry, up to the quote that ends it.
    fn body(&mut self, rest: &[u8]) -> Option<Body> {
        let first = memchr::memchr2(b'"', b'\\', rest)?;
        if rest[first] == b'"' {
            return Some(Body::Plain(first));
        }
        self.text.clear();
        let mut at = 0;
        loop {
            let next = at + memchr::memchr2(b'"', b'\\', &rest[at..])?;
            self.text.extend_from_slice(&rest[at..next]);
            if rest[next] == b'"' {
                return Some(Body::Unescaped);
            }
            self.text.push(match rest.get(next + 1)? {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                byte @ (b'"' | b'\\' | b'/') => *byte,
                // Docker writes these so for the sake of browsers, and control characters.
                b'u' => {
                    let digits = std::str::from_utf8(rest.get(next + 2..next + 6)?).ok()?;
                    let code = u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)?;
                    at = next + 6;
                    self.text.push(code);
                    continue;
                }
                _ => return None,
            });
            at = next + 2;
        }
    }

    /// Where the quote is that ends a text with escapes.
    fn used(&self, rest: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            at += memchr::memchr2(b'"', b'\\', &rest[at..])?;
            if rest[at] == b'"' {
                return Some(at);
            }
            at += 2;
        }
    }

    fn thoroughly(&mut self, line: &[u8]) -> Result<LogEntry<'_>, String> {
        let entry: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        self.text.clear();
        match &entry.hex {
            Some(hex) => self.text = unhex(hex).ok_or("the field \"hex\" is malformed")?,
            None => self.text.extend_from_slice(entry.log.as_bytes()),
        }
        self.time = entry.time;
        self.time_text.clear();
        self.attrs_text.clear();
        if !entry.attrs.is_empty() {
            self.attrs_text = serde_json::to_vec(&entry.attrs).unwrap_or_default();
        }
        self.attrs = entry.attrs.into_iter().collect();
        let stream = entry.stream.unwrap_or(Stream::Stdout);
        Ok(LogEntry { time: self.time, stream, bytes: &self.text, attrs: &self.attrs })
    }
}

/// Where the text of an entry is.
enum Body {
    /// In the line itself, so many bytes.
    Plain(usize),
    /// In the decoder.
    Unescaped,
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()).collect()
}
