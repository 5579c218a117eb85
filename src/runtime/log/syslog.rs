//! Messages for syslog, in the forms that Docker writes. Each ends with a line end, which separates them in a stream.
//!
//! Times are UTC; in the older forms, which have no zone, too.

use super::LogFacts;
use crate::base::Timestamp;
use crate::model::log::{Stream, SyslogFormat, SyslogOptions};

/// The facility of a daemon (RFC 5424, table 1).
const DAEMON: u8 = 3;
/// Severities (RFC 5424, table 2): what goes to standard error is an error.
const ERROR: u8 = 3;
const INFORMATIONAL: u8 = 6;
/// The longest name of a program, and of a kind of message, in RFC 5424.
const MAX_APP_NAME: usize = 48;
const MAX_MESSAGE_ID: usize = 32;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes messages.
pub(super) struct Encoder {
    format: SyslogFormat,
    facility: u8,
    tag: String,
    host: String,
    pid: u32,
}

impl Encoder {
    pub(super) fn new(options: &SyslogOptions, facts: &LogFacts) -> Encoder {
        Encoder {
            format: options.format,
            facility: options.facility.unwrap_or(DAEMON),
            tag: one_word(&facts.tag),
            host: one_word(&facts.host),
            pid: std::process::id(),
        }
    }

    /// Appends one message to `out`.
    pub(super) fn encode(&self, stream: Stream, time: Timestamp, bytes: &[u8], out: &mut Vec<u8>) {
        let severity = if stream == Stream::Stderr { ERROR } else { INFORMATIONAL };
        let priority = self.facility * 8 + severity;
        let (tag, host, pid) = (&self.tag, &self.host, self.pid);
        let head = match self.format {
            SyslogFormat::Unix => format!("<{priority}>{} {tag}[{pid}]: ", stamp(time)),
            SyslogFormat::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: ", stamp(time)),
            SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro => {
                let digits = if self.format == SyslogFormat::Rfc5424 { 0 } else { 6 };
                let (app, id) = (cut(tag, MAX_APP_NAME), cut(tag, MAX_MESSAGE_ID));
                format!("<{priority}>1 {} {host} {app} {pid} {id} - ", with_fraction(time, digits))
            }
        };
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(bytes.strip_suffix(b"\n").unwrap_or(bytes));
        out.push(b'\n');
    }
}

/// `Jan  2 15:04:05`.
fn stamp(time: Timestamp) -> String {
    let text = time.to_string();
    let number =
        |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<usize>().ok()).unwrap_or(1);
    let month = MONTHS[(number(5..7) + 11) % 12];
    format!("{month} {:>2} {}", number(8..10), text.get(11..19).unwrap_or_default())
}

/// RFC 3339 with so many digits of a second.
fn with_fraction(time: Timestamp, digits: usize) -> String {
    let text = time.to_string();
    let (seconds, fraction) = text.trim_end_matches('Z').split_once('.').unwrap_or((text.trim_end_matches('Z'), ""));
    match digits {
        0 => format!("{seconds}Z"),
        digits => format!("{seconds}.{}Z", &format!("{fraction:0<9}")[..digits]),
    }
}

/// Visible ASCII without blanks, as a header wants it.
fn one_word(text: &str) -> String {
    let word: String = text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

fn cut(word: &str, length: usize) -> &str {
    word.get(..length).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_its_fields() {
        let facts = LogFacts { tag: "web 1/x".into(), host: "box".into(), ..LogFacts::default() };
        let pid = std::process::id();
        let time = Timestamp::parse("2026-01-02T03:04:05.678901234Z").unwrap();
        for (format, expected) in [
            (SyslogFormat::Unix, format!("<30>Jan  2 03:04:05 web_1/x[{pid}]: hi\n")),
            (SyslogFormat::Rfc3164, format!("<30>Jan  2 03:04:05 box web_1/x[{pid}]: hi\n")),
            (SyslogFormat::Rfc5424, format!("<30>1 2026-01-02T03:04:05Z box web_1/x {pid} web_1/x - hi\n")),
            (SyslogFormat::Rfc5424Micro, format!("<30>1 2026-01-02T03:04:05.678901Z box web_1/x {pid} web_1/x - hi\n")),
        ] {
            let encoder = Encoder::new(&SyslogOptions { format, ..SyslogOptions::default() }, &facts);
            let mut out = Vec::new();
            encoder.encode(Stream::Stdout, time, b"hi\n", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let options = SyslogOptions { facility: Some(16), ..SyslogOptions::default() };
        let mut out = Vec::new();
        Encoder::new(&options, &facts).encode(Stream::Stderr, time, b"part", &mut out);
        assert!(out.starts_with(b"<131>") && out.ends_with(b"part\n"));
    }
}
