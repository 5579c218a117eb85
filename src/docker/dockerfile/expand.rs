//! Variables, quotes and escapes of a Dockerfile's words, as BuildKit's shell lexer takes them away.
//!
//! `$x ${x} ${x:-w} ${x-w} ${x:+w} ${x+w} ${x:?w} ${x?w} ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/w} ${x//p/w}`; in patterns
//! `*` and `?`. What a command line does beyond that (command substitution, arithmetic) does not exist here.

use std::iter::Peekable;
use std::str::Chars;

/// How deep `${x:-${y:-…}}` goes.
const MAX_DEPTH: usize = 100;

/// The longest result, in bytes: a variable that is made of itself doubles with each line.
const MAX_RESULT_BYTES: usize = 4 << 20;

/// The longest value that patterns are tried on, in characters.
const MAX_PATTERN_CHARS: usize = 64 << 10;

/// The value of a name.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What comes of a text, and the names in it that have no value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The words, or the one word.
    pub words: Vec<String>,
    /// Names without a value, in order, each once.
    pub missing: Vec<String>,
}

/// One word: quotes and escapes go, variables get their values.
///
/// # Errors
/// What is wrong with the text.
pub fn word(text: &str, escape: char, lookup: Lookup<'_>) -> Result<(String, Vec<String>), String> {
    let mut lexer = Lexer::new(text, escape, true, lookup);
    let result = lexer.until(None, false)?;
    Ok((result, lexer.missing))
}

/// Words: as [`word`], then by white space that is neither quoted nor escaped, also that in the values of variables.
///
/// # Errors
/// As there.
pub fn words(text: &str, escape: char, lookup: Lookup<'_>) -> Result<Expanded, String> {
    let mut lexer = Lexer::new(text, escape, true, lookup);
    lexer.split = Some((Vec::new(), String::new()));
    lexer.until(None, false)?;
    let (mut words, last) = lexer.split.take().expect("set above");
    words.extend(Some(last).filter(|last| !last.is_empty()));
    Ok(Expanded { words, missing: lexer.missing })
}

/// A here-document: quotes stay.
///
/// # Errors
/// As [`word`].
pub fn document(text: &str, escape: char, lookup: Lookup<'_>) -> Result<(String, Vec<String>), String> {
    let mut lexer = Lexer::new(text, escape, false, lookup);
    let result = lexer.until(None, false)?;
    Ok((result, lexer.missing))
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    escape: char,
    quotes: bool,
    lookup: Lookup<'a>,
    missing: Vec<String>,
    depth: usize,
    made: usize,
    split: Option<(Vec<String>, String)>,
}

const OPEN: &str = "\"${\" has no \"}\"";

impl<'a> Lexer<'a> {
    fn new(text: &'a str, escape: char, quotes: bool, lookup: Lookup<'a>) -> Lexer<'a> {
        Lexer {
            rest: text.chars().peekable(),
            escape,
            quotes,
            lookup,
            missing: Vec::new(),
            depth: 0,
            made: 0,
            split: None,
        }
    }

    /// Reads to this character, which is taken, or to the end. `raw` keeps escapes.
    fn until(&mut self, stop: Option<char>, raw: bool) -> Result<String, String> {
        let mut result = String::new();
        while let Some(c) = self.rest.next() {
            if Some(c) == stop {
                return Ok(result);
            }
            match c {
                '\'' if self.quotes => {
                    let text = self.single()?;
                    self.add(&text, true);
                    result.push_str(&text);
                }
                '"' if self.quotes => {
                    let text = self.double(raw)?;
                    self.add(&text, true);
                    result.push_str(&text);
                }
                '$' => {
                    let text = self.dollar()?;
                    self.add(&text, false);
                    self.made += text.len();
                    if self.made > MAX_RESULT_BYTES {
                        return Err(format!("the value is longer than {MAX_RESULT_BYTES} bytes"));
                    }
                    result.push_str(&text);
                }
                c if c == self.escape => {
                    if raw {
                        result.push(c);
                    }
                    let Some(next) = self.rest.next() else { break };
                    self.add(next.encode_utf8(&mut [0; 4]), true);
                    result.push(next);
                }
                c => {
                    self.add(c.encode_utf8(&mut [0; 4]), false);
                    result.push(c);
                }
            }
        }
        match stop {
            Some('/') => Err("\"${x/\" has no second \"/\"".to_owned()),
            Some(_) => Err(OPEN.to_owned()),
            None => Ok(result),
        }
    }

    /// Collects words, when words are asked for and this is no part of a `${…}`.
    fn add(&mut self, text: &str, whole: bool) {
        let Some((words, last)) = self.split.as_mut().filter(|_| self.depth == 0) else { return };
        for c in text.chars() {
            if !whole && c.is_whitespace() {
                if !last.is_empty() {
                    words.push(std::mem::take(last));
                }
            } else {
                last.push(c);
            }
        }
    }

    fn single(&mut self) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                None => return Err("a single quote has no end".to_owned()),
                Some('\'') => return Ok(text),
                Some(c) => text.push(c),
            }
        }
    }

    fn double(&mut self, raw: bool) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                None => return Err("a double quote has no end".to_owned()),
                Some('"') => return Ok(text),
                Some('$') => {
                    let value = self.dollar()?;
                    self.made += value.len();
                    if self.made > MAX_RESULT_BYTES {
                        return Err(format!("the value is longer than {MAX_RESULT_BYTES} bytes"));
                    }
                    text.push_str(&value);
                }
                Some(c) if c == self.escape => {
                    if raw {
                        text.push(c);
                    }
                    match self.rest.peek() {
                        None => {}
                        Some(&next) if next == '"' || next == '$' || next == self.escape => {
                            self.rest.next();
                            text.push(next);
                        }
                        Some(_) if raw => {}
                        Some(_) => text.push(c),
                    }
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn dollar(&mut self) -> Result<String, String> {
        if self.rest.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name).unwrap_or_default() });
        }
        if self.depth == MAX_DEPTH {
            return Err(format!("\"${{\" goes deeper than {MAX_DEPTH}"));
        }
        self.depth += 1;
        let result = self.braced();
        self.depth -= 1;
        result
    }

    fn braced(&mut self) -> Result<String, String> {
        match self.rest.peek() {
            None => return Err(OPEN.to_owned()),
            Some('{' | '}' | ':') => return Err("\"${\" has no name".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        let mut sign = self.rest.next().ok_or(OPEN)?;
        let mut empty_is_unset = false;
        if sign == ':' {
            empty_is_unset = true;
            sign = self.rest.next().ok_or(OPEN)?;
        }
        match sign {
            '}' if !empty_is_unset => Ok(self.value(&name).unwrap_or_default()),
            '+' | '-' | '?' => {
                let word = self.until(Some('}'), false)?;
                // These ask for the case that it has no value: it is not missing then.
                let value = (self.lookup)(&name).filter(|value| !(empty_is_unset && value.is_empty()));
                match (sign, value) {
                    ('-', value) => Ok(value.unwrap_or(word)),
                    ('+', value) => Ok(value.map(|_| word).unwrap_or_default()),
                    (_, Some(value)) => Ok(value),
                    (_, None) if word.is_empty() => Err(format!("the variable {name:?} must have a value")),
                    (_, None) => Err(format!("{name}: {word}")),
                }
            }
            '#' | '%' if !empty_is_unset => {
                let longest = self.rest.next_if_eq(&sign).is_some();
                let pattern = Pattern::new(&self.until(Some('}'), true)?)?;
                let value = self.value(&name).unwrap_or_default();
                pattern.trim(&value, sign == '%', longest)
            }
            '/' if !empty_is_unset => {
                let all = self.rest.next_if_eq(&'/').is_some();
                let pattern = Pattern::new(&self.until(Some('/'), true)?)?;
                let with = self.until(Some('}'), true)?;
                let value = self.value(&name).unwrap_or_default();
                pattern.replace(&value, &with, all)
            }
            sign => Err(format!("\"${{{name}\" cannot have {sign:?} behind it")),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.rest.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.rest.next_if(char::is_ascii_digit) {
                    name.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.rest.next()),
            _ => {
                while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_none() && !self.missing.iter().any(|known| known == name) {
            self.missing.push(name.to_owned());
        }
        value
    }
}

/// A pattern of the shell without classes.
struct Pattern(Vec<Part>);

enum Part {
    Char(char),
    One,
    Star,
}

impl Pattern {
    fn new(text: &str) -> Result<Pattern, String> {
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' => Part::Star,
                '?' => Part::One,
                '\\' => match chars.next() {
                    Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Part::Char(c),
                    other => {
                        let what = other.map(String::from).unwrap_or_default();
                        return Err(format!("\"\\{what}\" means nothing in the pattern {text:?}"));
                    }
                },
                c => Part::Char(c),
            });
        }
        Ok(Pattern(parts))
    }

    /// How many characters at the beginning can be matched: the fewest, or the most.
    fn reach(&self, text: &[char], backwards: bool, longest: bool) -> Option<usize> {
        let parts: Vec<&Part> = if backwards { self.0.iter().rev().collect() } else { self.0.iter().collect() };
        let mut now = vec![false; parts.len() + 1];
        now[0] = true;
        let skip = |states: &mut Vec<bool>| {
            for (index, part) in parts.iter().enumerate() {
                states[index + 1] |= states[index] && matches!(part, Part::Star);
            }
        };
        skip(&mut now);
        let mut found = now[parts.len()].then_some(0);
        let at = |index: usize| if backwards { text[text.len() - 1 - index] } else { text[index] };
        for index in 0..text.len() {
            if found.is_some() && !longest || !now.iter().any(|state| *state) {
                break;
            }
            let mut next = vec![false; parts.len() + 1];
            for (place, part) in parts.iter().enumerate().filter(|(place, _)| now[*place]) {
                match part {
                    Part::Char(c) => next[place + 1] |= *c == at(index),
                    Part::One => next[place + 1] = true,
                    Part::Star => next[place] = true,
                }
            }
            skip(&mut next);
            now = next;
            if now[parts.len()] {
                found = Some(index + 1);
            }
        }
        found
    }

    fn trim(&self, value: &str, suffix: bool, longest: bool) -> Result<String, String> {
        let text = chars(value)?;
        let taken = self.reach(&text, suffix, longest).unwrap_or(0);
        Ok(if suffix { text[..text.len() - taken].iter().collect() } else { text[taken..].iter().collect() })
    }

    fn replace(&self, value: &str, with: &str, all: bool) -> Result<String, String> {
        // Every place is tried anew, so a long value is refused sooner here.
        let text = chars(value)?;
        if text.len().saturating_mul(self.0.len() + 1) > MAX_PATTERN_CHARS * 16 {
            return Err("the value is too long for a pattern".to_owned());
        }
        let mut result = String::new();
        let (mut at, mut done) = (0, false);
        while at <= text.len() {
            match self.reach(&text[at..], false, true).filter(|taken| !done && (*taken > 0 || self.0.is_empty())) {
                Some(taken) => {
                    result.push_str(with);
                    at += taken;
                    done = !all || taken == 0;
                }
                None => {
                    result.extend(text.get(at));
                    at += 1;
                }
            }
            if result.len() > MAX_RESULT_BYTES {
                return Err(format!("the value is longer than {MAX_RESULT_BYTES} bytes"));
            }
        }
        Ok(result)
    }
}

fn chars(value: &str) -> Result<Vec<char>, String> {
    let text: Vec<char> = value.chars().collect();
    match text.len() > MAX_PATTERN_CHARS {
        true => Err("the value is too long for a pattern".to_owned()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let values = [("x", "foobarbaz"), ("empty", ""), ("two", "a b"), ("v", "1.2.3"), ("p", "/a/b/c.tar.gz")];
        values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn variables_are_replaced_as_the_reference_says() {
        let cases = [
            ("$x", "foobarbaz"),
            ("${x}y", "foobarbazy"),
            ("$xy", ""),
            ("\\$x", "$x"),
            ("'$x'", "$x"),
            ("\"$x\"", "foobarbaz"),
            ("${none:-w}", "w"),
            ("${none-w}", "w"),
            ("${empty:-w}", "w"),
            ("${empty-w}", ""),
            ("${x:+w}", "w"),
            ("${empty:+w}", ""),
            ("${empty+w}", "w"),
            ("${none:-${x}}", "foobarbaz"),
            ("${x#f*o}", "obarbaz"),
            ("${x##*b}", "az"),
            ("${x%b*}", "foobar"),
            ("${x%%b*}", "foo"),
            ("${v%.*}", "1.2"),
            ("${v%%.*}", "1"),
            ("${p##*/}", "c.tar.gz"),
            ("${x/ba/BA}", "fooBArbaz"),
            ("${x//ba/BA}", "fooBArBAz"),
            ("${x/b*/-}", "foo-"),
            ("${p//\\//-}", "-a-b-c.tar.gz"),
            ("${x?no}", "foobarbaz"),
            ("a\\ b", "a b"),
            ("\"a\\nb\"", "a\\nb"),
            ("\"\\\"\"", "\""),
            ("$", "$"),
            ("a$/b", "a$/b"),
            ("$1", ""),
            ("tail\\", "tail"),
            ("it\"'\"s", "it's"),
        ];
        for (text, wanted) in cases {
            assert_eq!(word(text, '\\', &lookup).unwrap().0, wanted, "{text}");
        }
        assert_eq!(word("`$x", '`', &lookup).unwrap().0, "$x");
    }

    #[test]
    fn words_split_values_but_not_quotes() {
        let expanded = words("$two \"$two\" c\\ d $none $none", '\\', &lookup).unwrap();
        assert_eq!(expanded.words, ["a", "b", "a b", "c d"]);
        assert_eq!(expanded.missing, ["none"]);
    }

    #[test]
    fn documents_keep_their_quotes() {
        assert_eq!(document("a \"$v\" 'b'\n\\$x\n", '\\', &lookup).unwrap().0, "a \"1.2.3\" 'b'\n$x\n");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for bad in ["'", "\"", "${", "${}", "${:x}", "${x", "${x:", "${x:-", "${x/a}", "${x/a/b", "${x!}", "${x#\\a}"] {
            assert!(word(bad, '\\', &lookup).is_err(), "{bad}");
        }
        assert_eq!(word("${none:?say it}", '\\', &lookup).unwrap_err(), "none: say it");
        assert!(word(&"${x:-".repeat(100_000), '\\', &lookup).is_err());
    }
}
