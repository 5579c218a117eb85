//! Numbers in headers: octal digits, or base 256 for what does not fit (GNU tar manual, "Extensions"), and the decimal
//! seconds of PAX records.

use crate::sys::node::Time;

/// Reads a numeric field. An empty one is zero.
pub(crate) fn parse(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => parse_binary(field),
        _ => {
            let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
            let digits = field[..end].trim_ascii();
            if !digits.iter().all(|b| matches!(b, b'0'..=b'7')) {
                return None;
            }
            digits.iter().try_fold(0i64, |value, digit| value.checked_mul(8)?.checked_add(i64::from(digit - b'0')))
        }
    }
}

/// Two's complement, the first bit only marking the form.
fn parse_binary(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (position, byte) in field.iter().enumerate() {
        let byte = match (position, negative) {
            (0, false) => byte & 0x7f,
            (0, true) => byte | 0x80,
            _ => *byte,
        };
        value = (value << 8) | i128::from(byte);
        if i64::try_from(value).is_err() {
            return None;
        }
    }
    i64::try_from(value).ok()
}

/// Writes a number: octal with a NUL behind when it fits, otherwise base 256.
pub(crate) fn format(field: &mut [u8], value: i64) {
    let digits = field.len() - 1;
    if value >= 0 && (digits >= 21 || value < 1i64 << (3 * digits)) {
        let text = format!("{value:0digits$o}\0");
        field.copy_from_slice(text.as_bytes());
        return;
    }
    let bytes = i128::from(value).to_be_bytes();
    field.copy_from_slice(&bytes[bytes.len() - field.len()..]);
    field[0] |= 0x80;
}

/// Reads decimal digits, as PAX records have them.
pub(crate) fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads `[-]seconds[.fraction]`; digits past nanoseconds are dropped.
pub(crate) fn parse_time(text: &[u8]) -> Option<Time> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let dot = digits.iter().position(|b| *b == b'.');
    let (whole, fraction) = dot.map_or((digits, &b""[..]), |dot| (&digits[..dot], &digits[dot + 1..]));
    let seconds = i64::try_from(parse_decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos =
        (0..9).fold(0u32, |nanos, place| nanos * 10 + fraction.get(place).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanos) {
        (false, _) => Time { seconds, nanos },
        (true, 0) => Time { seconds: -seconds, nanos },
        // Half a second before the epoch is second -1 and a half after it.
        (true, _) => Time { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// Writes a time as PAX does, without trailing zeros.
pub(crate) fn format_time(time: Time) -> String {
    let (sign, seconds, nanos) = match (time.seconds < 0, time.nanos) {
        (false, nanos) => ("", time.seconds.unsigned_abs(), nanos),
        (true, 0) => ("-", time.seconds.unsigned_abs(), 0),
        (true, nanos) => ("-", (time.seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
    };
    if nanos == 0 {
        return format!("{sign}{seconds}");
    }
    let text = format!("{sign}{seconds}.{nanos:09}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_and_binary_numbers_are_read() {
        assert_eq!(parse(b"0000644\0"), Some(0o644));
        assert_eq!(parse(b"  644 \0 "), Some(0o644));
        assert_eq!(parse(b"\0\0\0\0"), Some(0));
        assert_eq!(parse(b"77777777777\0"), Some(0o77777777777));
        assert_eq!(parse(b"0000008\0"), None);
        assert_eq!(parse(b"-000001\0"), None);
        assert_eq!(parse(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(parse(&[0xff; 12]), Some(-1));
        assert_eq!(parse(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(parse(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for value in [0, 1, 0o7777777, 0o77777777, 1 << 40, i64::MAX, -1, -1_000_000, i64::MIN] {
            let mut field = [0; 12];
            format(&mut field, value);
            assert_eq!(parse(&field), Some(value), "{value}");
        }
    }

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds, nanos) in [
            ("0", 0, 0),
            ("12.5", 12, 500_000_000),
            ("-1", -1, 0),
            ("-0.5", -1, 500_000_000),
            ("-1.25", -2, 750_000_000),
        ] {
            let time = Time { seconds, nanos };
            assert_eq!((parse_time(text.as_bytes()), format_time(time)), (Some(time), text.to_owned()));
        }
        assert_eq!(parse_time(b"1.0000000019"), Some(Time { seconds: 1, nanos: 1 }));
        for text in ["", "x", "1.x", "--1", "99999999999999999999", "."] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
    }
}
