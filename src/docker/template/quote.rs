//! Go's quoted strings, both ways (strconv.Quote and strconv.Unquote).

/// What a quoted string says; nothing when it is malformed.
pub(super) fn unquoted(text: &str) -> Option<String> {
    if let Some(raw) = text.strip_prefix('`') {
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let mut rest = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (unit, after) = unit(rest, '"')?;
        match unit {
            Unit::Byte(byte) => bytes.push(byte),
            Unit::Char(sign) => bytes.extend(sign.encode_utf8(&mut [0; 4]).bytes()),
        }
        rest = after;
    }
    Some(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// What stands between the quotes of a character constant.
pub(super) fn character(text: &str) -> Option<u32> {
    match unit(text, '\'')? {
        (Unit::Byte(byte), "") => Some(u32::from(byte)),
        (Unit::Char(sign), "") => Some(u32::from(sign)),
        _ => None,
    }
}

enum Unit {
    Byte(u8),
    Char(char),
}

/// The first character or escape, and the rest.
fn unit(text: &str, quote: char) -> Option<(Unit, &str)> {
    let mut signs = text.chars();
    let first = signs.next()?;
    if first == quote || first == '\n' {
        return None;
    }
    if first != '\\' {
        return Some((Unit::Char(first), signs.as_str()));
    }
    let escape = signs.next()?;
    let rest = signs.as_str();
    let simple = |sign: char| Some((Unit::Char(sign), rest));
    let coded = |count: usize| {
        let digits = rest.get(..count)?;
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        Some((code, &rest[count..]))
    };
    match escape {
        'a' => simple('\u{7}'),
        'b' => simple('\u{8}'),
        'f' => simple('\u{c}'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'v' => simple('\u{b}'),
        '\\' => simple('\\'),
        '\'' | '"' if escape == quote => simple(escape),
        'x' => coded(2).map(|(code, rest)| (Unit::Byte(code as u8), rest)),
        'u' => coded(4).and_then(|(code, rest)| Some((Unit::Char(char::from_u32(code)?), rest))),
        'U' => coded(8).and_then(|(code, rest)| Some((Unit::Char(char::from_u32(code)?), rest))),
        '0'..='7' => {
            let more = rest.get(..2)?;
            let code = u32::from_str_radix(&format!("{escape}{more}"), 8).ok()?;
            Some((Unit::Byte(u8::try_from(code).ok()?), &rest[2..]))
        }
        _ => None,
    }
}

/// A string as Go quotes it: `"a\nb"`.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    text.chars().for_each(|sign| escape(&mut quoted, sign, '"', false));
    quoted.push('"');
    quoted
}

/// A string in which only ASCII is left as it is.
pub(super) fn quoted_ascii(text: &str) -> String {
    let mut quoted = String::from('"');
    text.chars().for_each(|sign| escape(&mut quoted, sign, '"', true));
    quoted.push('"');
    quoted
}

/// A character as Go quotes it: `'a'`.
pub(super) fn quoted_char(sign: char, ascii: bool) -> String {
    let mut quoted = String::from('\'');
    escape(&mut quoted, sign, '\'', ascii);
    quoted.push('\'');
    quoted
}

fn escape(out: &mut String, sign: char, quote: char, ascii: bool) {
    match sign {
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        _ if sign == quote => out.extend(['\\', sign]),
        _ if sign < ' ' || sign == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(sign))),
        _ if sign.is_ascii() || (!ascii && is_printable(sign)) => out.push(sign),
        _ if u32::from(sign) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(sign))),
        _ => out.push_str(&format!("\\U{:08x}", u32::from(sign))),
    }
}

/// `U+0041 'A'`.
pub(super) fn code_point(sign: char) -> String {
    let code = format!("U+{:04X}", u32::from(sign));
    if is_printable(sign) { format!("{code} '{sign}'") } else { code }
}

/// Near enough to Go's unicode.IsPrint: no control, no white space but the blank, no private or missing character.
pub(super) fn is_printable(sign: char) -> bool {
    // Rust's own escapes know the printable characters.
    sign == ' '
        || sign == '"'
        || sign == '\''
        || sign == '\\'
        || (!sign.is_whitespace() && sign.escape_debug().count() == 1)
}
