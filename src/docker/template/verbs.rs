//! Go's fmt: how values are printed, and the verbs of `printf` with their complaints.
//!
//! Everything is written up to a limit. What goes beyond it is not written, and one byte too many tells the caller.

use std::fmt::Write as _;

use crate::docker::template::quote;
use crate::docker::template::shape::{Shape, names};
use crate::docker::template::value::{Value, View, sorted};

/// The greatest width and precision; Go's number.
const MAX_WIDTH: usize = 1_000_000;
/// No floating-point number has more digits behind its point.
const MAX_FRACTION_DIGITS: usize = 1_100;

/// A value as `%v`.
pub(super) fn shown(value: &Value<'_>, limit: usize) -> String {
    let mut printer = Printer::new(limit);
    printer.value(value, 'v', Flags::default());
    printer.out
}

/// The arguments of an escaping function as one text.
pub(super) fn plain(values: &[Value<'_>], limit: usize) -> String {
    match values {
        [Value::Absent] => "<no value>".into(),
        values => print(values, limit),
    }
}

/// `print`: a space between two that are no strings.
pub(super) fn print(values: &[Value<'_>], limit: usize) -> String {
    let mut printer = Printer::new(limit);
    let is_text = |value: &Value<'_>| matches!(value.view(), View::Text(_));
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !is_text(value) && !is_text(&values[at - 1]) {
            printer.push(" ");
        }
        printer.value(value, 'v', Flags::default());
    }
    printer.out
}

/// `println`: a space between any two, and the end of a line.
pub(super) fn print_line(values: &[Value<'_>], limit: usize) -> String {
    let mut printer = Printer::new(limit);
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            printer.push(" ");
        }
        printer.value(value, 'v', Flags::default());
    }
    printer.push("\n");
    printer.out
}

/// `printf`.
pub(super) fn printf(format: &str, values: &[Value<'_>], limit: usize) -> String {
    let mut printer = Printer::new(limit);
    let mut format = Format { rest: format, values, next: 0, reordered: false, bad_index: false };
    while let Some(start) = format.rest.find('%') {
        printer.push(&format.rest[..start]);
        format.rest = &format.rest[start + 1..];
        format.directive(&mut printer);
        if printer.is_full() {
            return printer.out;
        }
    }
    printer.push(format.rest);
    if !format.reordered && format.next < values.len() {
        printer.push("%!(EXTRA ");
        for (at, value) in values[format.next..].iter().enumerate() {
            printer.push(if at > 0 { ", " } else { "" });
            printer.typed(value);
        }
        printer.push(")");
    }
    printer.out
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    /// `%+v`: fields with their names.
    names: bool,
    /// `%#v`: as Go writes it.
    syntax: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The directives of a format that are left, and the values.
struct Format<'f, 'v, 'a> {
    rest: &'f str,
    values: &'v [Value<'a>],
    next: usize,
    reordered: bool,
    bad_index: bool,
}

impl Format<'_, '_, '_> {
    fn starts(&mut self, sign: char) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn directive(&mut self, printer: &mut Printer) {
        let mut flags = Flags::default();
        loop {
            match self.rest.chars().next() {
                Some('#') => flags.sharp = true,
                Some('0') => flags.zero = true,
                Some('+') => flags.plus = true,
                Some('-') => flags.minus = true,
                Some(' ') => flags.space = true,
                _ => break,
            }
            self.rest = &self.rest[1..];
        }
        self.bad_index = false;
        let mut after_index = self.index();
        if self.starts('*') {
            match self.star() {
                Some(width) => {
                    flags.minus |= width < 0;
                    flags.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => printer.push("%!(BADWIDTH)"),
            }
            after_index = false;
        } else {
            flags.width = self.number();
            // An index stands behind a width only when that is `*`.
            self.bad_index |= after_index && flags.width.is_some();
        }
        if self.starts('.') {
            self.bad_index |= after_index;
            after_index = self.index();
            if self.starts('*') {
                match self.star().map(usize::try_from) {
                    Some(Ok(precision)) => flags.precision = Some(precision),
                    // A negative one is none.
                    Some(Err(_)) | None => printer.push("%!(BADPREC)"),
                }
                after_index = false;
            } else {
                flags.precision = Some(self.number().unwrap_or(0));
            }
        }
        if !after_index {
            self.index();
        }
        flags.zero &= !flags.minus;
        if self.rest.starts_with('v') {
            flags.names = std::mem::take(&mut flags.plus);
            flags.syntax = std::mem::take(&mut flags.sharp);
        }
        let Some(verb) = self.rest.chars().next() else { return printer.push("%!(NOVERB)") };
        self.rest = &self.rest[verb.len_utf8()..];
        match verb {
            '%' => printer.push("%"),
            _ if self.bad_index => printer.push(&format!("%!{verb}(BADINDEX)")),
            _ => match self.values.get(self.next) {
                None => printer.push(&format!("%!{verb}(MISSING)")),
                Some(value) => {
                    self.next += 1;
                    match verb {
                        'T' => printer.text(&value.type_name(), 's', flags),
                        _ => printer.value(value, verb, flags),
                    }
                }
            },
        }
    }

    /// `[2]`: which value comes next. Says whether there was one.
    fn index(&mut self) -> bool {
        let Some(rest) = self.rest.strip_prefix('[') else { return false };
        self.reordered = true;
        let Some((number, after)) = rest.split_once(']') else {
            self.bad_index = true;
            self.rest = rest;
            return false;
        };
        self.rest = after;
        match number.parse::<usize>() {
            Ok(number) if (1..=self.values.len()).contains(&number) => self.next = number - 1,
            _ => self.bad_index = true,
        }
        !self.bad_index
    }

    /// The next value as a width.
    fn star(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        match value.view() {
            View::Int(number) if number.unsigned_abs() <= MAX_WIDTH as u64 => Some(number),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<usize> {
        let length = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(length);
        if digits.is_empty() {
            return None;
        }
        self.rest = rest;
        let number = digits.parse().ok().filter(|number| *number <= MAX_WIDTH);
        if number.is_none() {
            // Go gives the whole rest up.
            self.rest = "";
        }
        number
    }
}

struct Printer {
    out: String,
    limit: usize,
}

impl Printer {
    fn new(limit: usize) -> Printer {
        Printer { out: String::new(), limit }
    }

    fn is_full(&self) -> bool {
        self.out.len() > self.limit
    }

    fn push(&mut self, text: &str) {
        if self.out.len() + text.len() <= self.limit {
            self.out.push_str(text);
        } else if !self.is_full() {
            let missing = self.limit + 1 - self.out.len();
            self.out.extend(std::iter::repeat_n('.', missing));
        }
    }

    fn pad(&mut self, text: &str, flags: Flags) {
        let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
        if missing == 0 {
            return self.push(text);
        }
        let fill = if flags.zero && !flags.minus { "0" } else { " " }.repeat(missing);
        if flags.minus {
            self.push(text);
            self.push(&fill);
        } else {
            self.push(&fill);
            self.push(text);
        }
    }

    /// `string=x`
    fn typed(&mut self, value: &Value<'_>) {
        if let View::Nothing = value.view() {
            return self.push("<nil>");
        }
        self.push(&value.type_name());
        self.push("=");
        self.value(value, 'v', Flags::default());
    }

    /// `%!d(string=x)`
    fn bad_verb(&mut self, value: &Value<'_>, verb: char) {
        self.push(&format!("%!{verb}("));
        self.typed(value);
        self.push(")");
    }

    fn value(&mut self, value: &Value<'_>, verb: char, flags: Flags) {
        if self.is_full() {
            return;
        }
        match value.view() {
            View::Nothing | View::Nil if verb == 'v' => self.pad("<nil>", flags),
            View::Nothing => self.push(&format!("%!{verb}(<nil>)")),
            View::Bool(truth) if matches!(verb, 't' | 'v') => self.pad(if truth { "true" } else { "false" }, flags),
            View::Int(number) => self.integer(value, number.unsigned_abs(), number < 0, verb, flags),
            View::Uint(number) => self.integer(value, number, false, verb, flags),
            View::Float(number) => self.float(value, number, verb, flags),
            View::Text(text) if matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') => self.text(text, verb, flags),
            View::Strings(items) => {
                let items = items.iter().map(|item| (None, Value::Made(item.clone())));
                self.list("[]string", "[", items, "]", verb, flags);
            }
            View::List(items, shape) => {
                let items = items.iter().map(|item| (None, Value::of(item, shape.element())));
                self.list(&value.type_name(), "[", items, "]", verb, flags);
            }
            View::Map(map, shape) => {
                let entries = map.map(sorted).unwrap_or_default().into_iter();
                let entries = entries.map(|(key, item)| (Some(key.as_str()), Value::of(item, shape.element())));
                self.list(&value.type_name(), "map[", entries, "]", verb, flags);
            }
            View::Struct(map, shape) => self.structure(map, shape, verb, flags),
            _ => self.bad_verb(value, verb),
        }
    }

    fn list<'k, 'a>(
        &mut self,
        name: &str,
        open: &str,
        items: impl Iterator<Item = (Option<&'k str>, Value<'a>)>,
        close: &str,
        verb: char,
        flags: Flags,
    ) {
        let is_syntax = flags.syntax;
        self.push(if is_syntax { name } else { open });
        self.push(if is_syntax { "{" } else { "" });
        for (at, (key, item)) in items.enumerate() {
            if at > 0 {
                self.push(if is_syntax { ", " } else { " " });
            }
            if let Some(key) = key {
                self.value(&Value::Text(key), verb, flags);
                self.push(":");
            }
            match item.view() {
                // Inside of something, nothing is nothing for every verb.
                View::Nothing => self.pad("<nil>", flags),
                _ => self.value(&item, verb, flags),
            }
            if self.is_full() {
                return;
            }
        }
        self.push(if is_syntax { "}" } else { close });
    }

    /// The fields that are known in their order, then those that are there as well.
    fn structure(&mut self, map: &serde_json::Map<String, serde_json::Value>, shape: Shape, verb: char, flags: Flags) {
        let Shape::Struct(fields) = shape else { return };
        let known = fields.iter().map(|(name, shape)| {
            let (name, key) = names(name);
            (name, map.get(key).map_or_else(|| Value::zero(*shape), |json| Value::of(json, *shape)))
        });
        let others = map.iter().filter(|(name, _)| shape.json_field(name).is_none());
        let others = others.map(|(name, json)| (name.as_str(), Value::of(json, Shape::Any)));
        self.push("{");
        for (at, (name, value)) in known.chain(others).enumerate() {
            if at > 0 {
                self.push(" ");
            }
            if flags.names || flags.syntax {
                self.push(name);
                self.push(":");
            }
            self.value(&value, verb, flags);
        }
        self.push("}");
    }

    fn text(&mut self, text: &str, verb: char, flags: Flags) {
        let end = flags.precision.and_then(|count| text.char_indices().nth(count)).map_or(text.len(), |(at, _)| at);
        let text = &text[..end];
        match verb {
            'x' | 'X' => {
                let mut hex = String::with_capacity(text.len() * 2);
                for (at, byte) in text.bytes().enumerate() {
                    let gap = if at > 0 && flags.space { " " } else { "" };
                    let prefix =
                        if flags.sharp && (at == 0 || flags.space) { format!("0{verb}") } else { String::new() };
                    let digits = if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") };
                    hex.extend([gap, &prefix, &digits]);
                }
                self.pad(&hex, flags);
            }
            'q' if flags.sharp && !text.contains(|c: char| c == '`' || (c < ' ' && c != '\t')) => {
                self.pad(&format!("`{text}`"), flags);
            }
            'q' if flags.plus => self.pad(&quote::quoted_ascii(text), flags),
            'q' => self.pad(&quote::quoted(text), flags),
            'v' if flags.syntax => self.pad(&quote::quoted(text), flags),
            _ => self.pad(text, flags),
        }
    }

    fn integer(&mut self, value: &Value<'_>, magnitude: u64, negative: bool, verb: char, flags: Flags) {
        let digits = match verb {
            'v' | 'd' => magnitude.to_string(),
            'b' => format!("{magnitude:b}"),
            'o' | 'O' => format!("{magnitude:o}"),
            'x' => format!("{magnitude:x}"),
            'X' => format!("{magnitude:X}"),
            'c' | 'q' | 'U' => return self.character(magnitude, negative, verb, flags),
            _ => return self.bad_verb(value, verb),
        };
        let has_sign = negative || flags.plus || flags.space;
        let least = match (flags.precision, flags.width) {
            (Some(0), _) if magnitude == 0 => {
                return self.pad("", Flags { zero: false, ..flags });
            }
            (Some(precision), _) => precision,
            (None, Some(width)) if flags.zero && !flags.minus => width.saturating_sub(usize::from(has_sign)),
            _ => 0,
        };
        let mut number = String::new();
        number.push_str(match (negative, flags.plus, flags.space) {
            (true, _, _) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        });
        let zeros = least.saturating_sub(digits.len());
        number.push_str(match verb {
            'O' => "0o",
            'b' if flags.sharp => "0b",
            'x' if flags.sharp => "0x",
            'X' if flags.sharp => "0X",
            'o' if flags.sharp && zeros == 0 && !digits.starts_with('0') => "0",
            _ => "",
        });
        number.extend(std::iter::repeat_n('0', zeros));
        number.push_str(&digits);
        self.pad(&number, Flags { zero: false, ..flags });
    }

    fn character(&mut self, magnitude: u64, negative: bool, verb: char, flags: Flags) {
        let sign = u32::try_from(magnitude).ok().filter(|_| !negative).and_then(char::from_u32);
        let sign = sign.unwrap_or(char::REPLACEMENT_CHARACTER);
        match verb {
            'c' => self.pad(sign.encode_utf8(&mut [0; 4]), flags),
            'q' => self.pad(&quote::quoted_char(sign, flags.plus), flags),
            _ => {
                let mut text = format!("U+{magnitude:04X}");
                if flags.sharp {
                    // Writing to a string cannot fail.
                    let _ = write!(text, " '{sign}'");
                }
                self.pad(&text, Flags { zero: false, ..flags });
            }
        }
    }

    fn float(&mut self, value: &Value<'_>, number: f64, verb: char, flags: Flags) {
        let (form, precision) = match verb {
            'v' | 'g' => ('g', flags.precision),
            'G' => ('G', flags.precision),
            'e' | 'E' => (verb, Some(flags.precision.unwrap_or(6))),
            'f' | 'F' => ('f', Some(flags.precision.unwrap_or(6))),
            _ => return self.bad_verb(value, verb),
        };
        let digits = digits(number, form, precision);
        let (sign, digits) = match digits.strip_prefix(['-', '+']) {
            Some(rest) if digits.starts_with('-') || flags.plus => (&digits[..1], rest),
            Some(rest) if !number.is_finite() => ("+", rest),
            Some(rest) => ("", rest),
            None if flags.plus => ("+", &*digits),
            None if flags.space => (" ", &*digits),
            None => ("", &*digits),
        };
        let zeros = match flags.width {
            Some(width) if flags.zero && !flags.minus && number.is_finite() => {
                width.saturating_sub(sign.len() + digits.len())
            }
            _ => 0,
        };
        let text = format!("{sign}{}{digits}", "0".repeat(zeros));
        self.pad(&text, Flags { zero: false, ..flags });
    }
}

/// A floating-point number in the form `e`, `E`, `f`, `g` or `G`, with so many digits or as few as say it.
fn digits(number: f64, form: char, precision: Option<usize>) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let text = match form {
        'f' => fixed(number, precision.unwrap_or(6)),
        'e' | 'E' => scientific(number, precision.unwrap_or(6)),
        _ => general(number, precision),
    };
    if form.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text }
}

fn fixed(number: f64, precision: usize) -> String {
    let exact = precision.min(MAX_FRACTION_DIGITS);
    format!("{number:.exact$}{}", "0".repeat(precision - exact))
}

fn scientific(number: f64, precision: usize) -> String {
    let exact = precision.min(MAX_FRACTION_DIGITS);
    let text = format!("{number:.exact$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    exponential(&format!("{mantissa}{}", "0".repeat(precision - exact)), exponent.parse().unwrap_or(0))
}

/// Go writes two digits of an exponent at least, and its sign.
fn exponential(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

fn general(number: f64, precision: Option<usize>) -> String {
    let text = match precision {
        None => format!("{number:e}"),
        Some(precision) => format!("{number:.0$e}", precision.clamp(1, MAX_FRACTION_DIGITS) - 1),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let count = mantissa.chars().filter(char::is_ascii_digit).count();
    // The shortest form changes at six digits, any other at its precision or its number of digits.
    let most = match precision {
        None => 6,
        Some(precision) if precision > count && count as i32 > exponent => count as i32,
        Some(precision) => precision.max(1) as i32,
    };
    if exponent < -4 || exponent >= most {
        return exponential(mantissa, exponent);
    }
    fixed(number, usize::try_from(count as i32 - 1 - exponent).unwrap_or(0))
}
