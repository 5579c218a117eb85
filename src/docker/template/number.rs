//! Numbers as Go writes them: `10`, `-0x1F`, `0b11`, `017`, `1_000`, `1.5e3`, `'a'`.

use crate::docker::template::quote;

/// A constant, as everything that it can be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    /// As it is written.
    pub(super) text: String,
    /// As an integer, when it is one.
    pub(super) integer: Option<i64>,
    /// Over the greatest signed integer.
    pub(super) overflows: bool,
    /// As a floating-point number.
    pub(super) float: f64,
    /// Where no type is asked for, it is a floating-point number.
    pub(super) is_float: bool,
}

/// Reads a number.
pub(super) fn number(text: &str) -> Result<Number, String> {
    let illegal = || format!("illegal number syntax: {}", quote::quoted(text));
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let radix = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => Some((16, 2)),
        Some("0o") => Some((8, 2)),
        Some("0b") => Some((2, 2)),
        Some(start) if start.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_') => {
            Some((8, 1))
        }
        _ => None,
    };
    if !underscores_are_well(digits, radix.is_some()) {
        return Err(illegal());
    }
    let plain = |digits: &str| digits.replace('_', "");
    let magnitude = match radix {
        Some((radix, skip)) => whole(&plain(&digits[skip..]), radix),
        None => whole(&plain(digits), 10),
    };
    match magnitude {
        Whole::Is(magnitude) => {
            let signed = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
            let integer = i64::try_from(signed).ok();
            if negative && integer.is_none() {
                return Err(format!("integer overflow: {}", quote::quoted(text)));
            }
            let overflows = integer.is_none();
            Ok(Number { text: text.into(), integer, overflows, float: signed as f64, is_float: false })
        }
        // A nine in an octal number, says Go.
        Whole::IsNot if radix == Some((8, 1)) => Err(format!("integer overflow: {}", quote::quoted(text))),
        Whole::TooLarge => Err(format!("integer overflow: {}", quote::quoted(text))),
        Whole::IsNot if radix.is_some_and(|(_, skip)| skip == 2) => Err(illegal()),
        Whole::IsNot => {
            let digits = plain(digits);
            let is_number = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
            let float: f64 = digits.parse().ok().filter(|_| is_number).ok_or_else(illegal)?;
            if !float.is_finite() {
                return Err(illegal());
            }
            let float = if negative { -float } else { float };
            let integer = (float.fract() == 0.0 && float.abs() < 9.2e18).then_some(float as i64);
            Ok(Number { text: text.into(), integer, overflows: false, float, is_float: true })
        }
    }
}

/// Reads a character, which is a number too.
pub(super) fn character(text: &str) -> Result<Number, String> {
    let malformed = || format!("malformed character constant: {text}");
    let inner = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).ok_or_else(malformed)?;
    let code = quote::character(inner).ok_or_else(malformed)?;
    let integer = Some(i64::from(code));
    Ok(Number { text: text.into(), integer, overflows: false, float: f64::from(code), is_float: false })
}

enum Whole {
    Is(u64),
    TooLarge,
    IsNot,
}

fn whole(digits: &str, radix: u32) -> Whole {
    if digits.is_empty() && radix == 8 {
        return Whole::Is(0);
    }
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Whole::IsNot;
    }
    u64::from_str_radix(digits, radix).map_or(Whole::TooLarge, Whole::Is)
}

/// Go allows an underscore between two digits, and after a prefix.
fn underscores_are_well(digits: &str, has_radix: bool) -> bool {
    let bytes = digits.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    let start = if has_radix { 1 } else { 0 };
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_').all(|(at, _)| {
        at > start && digit(at.checked_sub(1)) && digit(Some(at + 1)) && {
            // A decimal number's neighbours are digits, not an exponent's letter.
            has_radix || (bytes[at - 1].is_ascii_digit() && bytes[at + 1].is_ascii_digit())
        }
    })
}
