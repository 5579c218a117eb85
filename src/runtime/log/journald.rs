//! Messages for systemd's journal in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), with Docker's fields.
//!
//! ```text
//! NAME=value\n                                 for a value in one line
//! NAME\n length (u64, little endian) value \n  for any value
//! ```

use super::LogFacts;
use crate::base::Timestamp;
use crate::model::log::Stream;

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// Priorities of syslog(3): what goes to standard error is an error.
const ERROR: &[u8] = b"3";
const INFORMATIONAL: &[u8] = b"6";

/// Writes messages.
pub(super) struct Encoder {
    /// The fields that every message has.
    fields: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(id: &str, facts: &LogFacts) -> Encoder {
        let mut fields = Vec::new();
        field(&mut fields, "CONTAINER_ID", id.get(..12).unwrap_or(id).as_bytes());
        field(&mut fields, "CONTAINER_ID_FULL", id.as_bytes());
        field(&mut fields, "CONTAINER_NAME", facts.name.as_bytes());
        field(&mut fields, "CONTAINER_TAG", facts.tag.as_bytes());
        field(&mut fields, "IMAGE_NAME", facts.image.as_bytes());
        field(&mut fields, "SYSLOG_IDENTIFIER", facts.tag.as_bytes());
        for (key, value) in &facts.attrs {
            let name = field_name(key);
            if !name.is_empty() {
                field(&mut fields, &name, value.as_bytes());
            }
        }
        Encoder { fields }
    }

    /// Appends one message to `out`.
    pub(super) fn encode(&self, stream: Stream, time: Timestamp, bytes: &[u8], out: &mut Vec<u8>) {
        let (line, partial) = match bytes.split_last() {
            Some((b'\n', line)) => (line, false),
            _ => (bytes, true),
        };
        field(out, "MESSAGE", line);
        field(out, "PRIORITY", if stream == Stream::Stderr { ERROR } else { INFORMATIONAL });
        field(out, "SYSLOG_TIMESTAMP", time.to_string().as_bytes());
        if partial {
            field(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        out.extend_from_slice(&self.fields);
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The journal takes upper-case letters, digits and underscores, and none of its own names, which begin with one.
fn field_name(key: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    key.chars().map(allowed).collect::<String>().trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_dockers_fields() {
        let attrs = [("com.example.role".to_owned(), "two\nlines".to_owned()), ("_x".to_owned(), "1".to_owned())];
        let facts = LogFacts {
            name: "web".into(),
            tag: "abc".into(),
            image: "base:1".into(),
            attrs: attrs.into(),
            ..LogFacts::default()
        };
        let encoder = Encoder::new(&"a".repeat(64), &facts);
        let mut out = Vec::new();
        encoder.encode(Stream::Stderr, Timestamp::from_nanos(0), b"hello\n", &mut out);
        let text = String::from_utf8_lossy(&out);
        for line in [
            "MESSAGE=hello\n",
            "PRIORITY=3\n",
            "CONTAINER_ID=aaaaaaaaaaaa\n",
            "CONTAINER_NAME=web\n",
            "CONTAINER_TAG=abc\n",
            "IMAGE_NAME=base:1\n",
            "SYSLOG_IDENTIFIER=abc\n",
            "X=1\n",
            "COM_EXAMPLE_ROLE\n\u{9}\0\0\0\0\0\0\0two\nlines\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text:?}");
        }
        assert!(!text.contains("PARTIAL"));
        out.clear();
        encoder.encode(Stream::Stdout, Timestamp::from_nanos(0), b"piece", &mut out);
        assert!(String::from_utf8_lossy(&out).contains("CONTAINER_PARTIAL_MESSAGE=true\n"));
    }
}
