//! Patterns over paths: Go's `filepath.Match` with `**`, and the lists of them that `.dockerignore` holds.
//!
//! ```text
//! *     any text without a slash          **/   any folders, also none        **   at the end: everything
//! ?     one character but a slash         [a-z] [^a]  one of a class          \x   the character x itself
//! !x    takes back what an earlier pattern left out: the last pattern that matches a path or a folder above it wins
//! ```
//!
//! Pure text: nothing here looks at a disk. Paths are relative, with slashes, as walks give them. Matching simulates all
//! positions at once, so that no pattern can make it slow (the product of both lengths bounds it).

use std::iter::Peekable;
use std::str::Chars;

use crate::base::{Error, Result};

/// The most bytes of an ignore file.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// The most patterns of a list.
pub const MAX_PATTERNS: usize = 10_000;

/// The lines of an ignore file that are patterns.
pub fn lines(text: &str) -> Vec<String> {
    let lines =
        text.strip_prefix('\u{feff}').unwrap_or(text).lines().filter(|line| !line.starts_with('#')).map(str::trim);
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// One pattern for whole paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// This character.
    Char(char),
    /// `?`: any but a slash.
    One,
    /// A class: negated, ranges.
    Class(bool, Vec<(char, char)>),
    /// `*`.
    Star,
    /// `**` at the end.
    All,
    /// The entrance of `**/`: both next parts are reached without a character.
    Folders,
    /// The inside of `**/`: anything, left by a slash.
    Inside,
}

impl Pattern {
    /// Reads a pattern with `**`, as `.dockerignore` and `COPY --exclude` have it.
    ///
    /// # Errors
    /// `invalid_argument` for an open class, an empty range, or a backslash at the end.
    pub fn new(text: &str) -> Result<Pattern> {
        Pattern::read(text, true)
    }

    /// Reads a pattern in which `**` is no more than `*`, as the sources of `COPY` have it.
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub fn plain(text: &str) -> Result<Pattern> {
        Pattern::read(text, false)
    }

    fn read(text: &str, folders: bool) -> Result<Pattern> {
        let bad = |why: &str| Error::invalid(format!("{text:?} is no pattern: {why}"));
        let mut parts = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '*' if folders && rest.peek() == Some(&'*') => {
                    while rest.next_if_eq(&'*').is_some() {}
                    rest.next_if_eq(&'/');
                    match rest.peek() {
                        None => parts.push(Part::All),
                        Some(_) => parts.extend([Part::Folders, Part::Inside]),
                    }
                }
                '*' => parts.push(Part::Star),
                '?' => parts.push(Part::One),
                '\\' => parts.push(Part::Char(rest.next().ok_or_else(|| bad("it ends in a backslash"))?)),
                '[' => parts.push(class(&mut rest).map_err(bad)?),
                c => parts.push(Part::Char(c)),
            }
        }
        Ok(Pattern { parts })
    }

    /// Whether the whole path is meant.
    pub fn matches(&self, path: &str) -> bool {
        self.reached(path).last().copied().unwrap_or(false)
    }

    /// Whether something below this folder can match.
    pub fn can_match_below(&self, folder: &str) -> bool {
        let below = format!("{folder}/");
        self.reached(&below).iter().any(|state| *state)
    }

    /// Whether it names one path only, without any wildcard.
    pub fn is_literal(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Char(_)))
    }

    /// For each part, whether it can be next when the text is used up; the one behind the last means a match.
    fn reached(&self, text: &str) -> Vec<bool> {
        let end = self.parts.len();
        let mut now = vec![false; end + 1];
        now[0] = true;
        self.skip(&mut now);
        for c in text.chars() {
            let mut next = vec![false; end + 1];
            for (index, part) in self.parts.iter().enumerate().filter(|(index, _)| now[*index]) {
                match part {
                    Part::Char(wanted) => next[index + 1] |= c == *wanted,
                    Part::One => next[index + 1] |= c != '/',
                    Part::Class(negated, ranges) => {
                        let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                        next[index + 1] |= c != '/' && inside != *negated;
                    }
                    Part::Star => next[index] |= c != '/',
                    Part::All => next[index] = true,
                    Part::Folders => {}
                    Part::Inside => {
                        next[index] = true;
                        next[index + 1] |= c == '/';
                    }
                }
            }
            self.skip(&mut next);
            now = next;
        }
        now
    }

    /// Adds what is reached without a character.
    fn skip(&self, states: &mut [bool]) {
        for (index, part) in self.parts.iter().enumerate() {
            if states[index] {
                match part {
                    Part::Star | Part::All => states[index + 1] = true,
                    Part::Folders => {
                        states[index + 1] = true;
                        states[index + 2] = true;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The rest of a class behind its bracket.
fn class(rest: &mut Peekable<Chars<'_>>) -> Result<Part, &'static str> {
    let negated = rest.next_if(|c| matches!(c, '^' | '!')).is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match rest.next() {
            None => return Err("a class has no end"),
            Some(']') if !ranges.is_empty() => return Ok(Part::Class(negated, ranges)),
            Some(']' | '-') => return Err("a class begins with a sign of its own"),
            Some('\\') => rest.next().ok_or("it ends in a backslash")?,
            Some(c) => c,
        };
        let high = match rest.next_if_eq(&'-') {
            None => low,
            Some(_) => match rest.next() {
                None | Some(']') => return Err("a range has no end"),
                Some('\\') => rest.next().ok_or("it ends in a backslash")?,
                Some(c) => c,
            },
        };
        if low > high {
            return Err("a range runs backwards");
        }
        ranges.push((low, high));
    }
}

/// A list of patterns that leave paths out or take them back, such as a `.dockerignore`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<(bool, Pattern)>,
}

impl Ignore {
    /// Reads the text of a `.dockerignore`: a pattern a line, `#` in the first column starts a comment.
    ///
    /// # Errors
    /// `invalid_argument` names the line of a pattern that is none, or the limit that is passed.
    pub fn parse(text: &str) -> Result<Ignore> {
        if text.len() > MAX_FILE_BYTES {
            return Err(Error::invalid(format!("the ignore file is larger than {MAX_FILE_BYTES} bytes")));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut ignore = Ignore::default();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            ignore.add(line).map_err(|error| error.context(format!("line {}", index + 1)))?;
        }
        Ok(ignore)
    }

    /// A list of patterns, as `--exclude` gives them.
    ///
    /// # Errors
    /// `invalid_argument` names the pattern that is none.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Ignore> {
        let mut ignore = Ignore::default();
        for pattern in patterns {
            ignore.add(pattern)?;
        }
        Ok(ignore)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let line = line.trim();
        let (back, pattern) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        if line.is_empty() {
            return Ok(());
        }
        if pattern.is_empty() {
            return Err(Error::invalid("\"!\" takes nothing back").with_hint("write the pattern behind it"));
        }
        let pattern = clean(pattern);
        if pattern == "." {
            return Ok(());
        }
        if self.rules.len() == MAX_PATTERNS {
            return Err(Error::invalid(format!("there are more than {MAX_PATTERNS} patterns")));
        }
        self.rules.push((back, Pattern::new(&pattern)?));
        Ok(())
    }

    /// Whether there is nothing to leave out.
    pub fn is_empty(&self) -> bool {
        self.rules.iter().all(|(back, _)| *back)
    }

    /// Whether a path is left out, by a pattern for itself or for a folder above it.
    pub fn excludes(&self, path: &str) -> bool {
        let ends = path.char_indices().filter(|(_, c)| *c == '/').map(|(index, _)| index).chain([path.len()]);
        let prefixes: Vec<&str> = ends.map(|end| &path[..end]).filter(|prefix| !prefix.is_empty()).collect();
        self.rules.iter().fold(false, |out, (back, pattern)| {
            // A rule that would change nothing need not be looked at.
            if out != *back {
                return out;
            }
            if prefixes.iter().any(|prefix| pattern.matches(prefix)) { !back } else { out }
        })
    }

    /// Whether a walk can pass by a folder that is left out: nothing below it can be taken back.
    pub fn excludes_all_below(&self, folder: &str) -> bool {
        self.excludes(folder) && !self.rules.iter().any(|(back, pattern)| *back && pattern.can_match_below(folder))
    }
}

/// Go's `filepath.Clean` and without the slash in front: `./a//b/../c/` is `a/c`.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => {
                parts.pop();
            }
            ("..", None) if pattern.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_go_and_docker_say() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("*.md", &["a.md", ".md"], &["a/b.md", "a.mdx"]),
            ("**/*.md", &["a.md", "a/b.md", "a/b/c.md"], &["amd"]),
            ("**", &["a", "a/b"], &[]),
            ("a/**", &["a/b", "a/b/c"], &["a", "ab"]),
            ("a**b", &["ab", "ax/b"], &["axb"]),
            ("dir/**/x", &["dir/x", "dir/a/b/x"], &["dirx"]),
            ("a?c", &["abc"], &["a/c", "ac"]),
            ("[a-c]x", &["ax", "cx"], &["dx"]),
            ("[^a-c]x", &["dx"], &["ax", "/x"]),
            ("\\*", &["*"], &["a"]),
            ("a[\\]]", &["a]"], &["a"]),
        ];
        for (pattern, yes, no) in cases {
            let read = Pattern::new(pattern).unwrap();
            yes.iter().for_each(|path| assert!(read.matches(path), "{pattern} {path}"));
            no.iter().for_each(|path| assert!(!read.matches(path), "{pattern} {path}"));
        }
        assert!(!Pattern::plain("**/x").unwrap().matches("a/b/x") && Pattern::plain("**/x").unwrap().matches("b/x"));
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in ["[", "[]", "[a", "[a-", "[a-]", "[b-a]", "\\", "a\\", "[-a]"] {
            let error = Pattern::new(bad).unwrap_err();
            assert_eq!(error.kind(), crate::base::Kind::InvalidArgument, "{bad}");
        }
        assert!(Ignore::parse("ok\n!\n").unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn the_last_match_wins() {
        let ignore = Ignore::parse("\u{feff}# comment\n /target/ \n*.md\n!README.md\nREADME-secret.md\n\n.\n").unwrap();
        assert!(ignore.excludes("target") && ignore.excludes("target/debug/x"));
        assert!(ignore.excludes("a.md") && !ignore.excludes("README.md") && !ignore.excludes("sub/a.md"));
        assert!(ignore.excludes("README-secret.md") && !ignore.excludes("src"));
        let all = Ignore::parse("*\r\n!src\r\n!a/keep\r\nsrc/bad").unwrap();
        assert!(all.excludes("x") && !all.excludes("src/lib.rs") && all.excludes("src/bad/x"));
        assert!(all.excludes("a") && !all.excludes("a/keep") && all.excludes("a/other"));
        assert!(all.excludes_all_below("x") && !all.excludes_all_below("a"));
    }

    #[test]
    fn a_hostile_pattern_is_not_slow() {
        let pattern = Pattern::new(&"*a".repeat(500)).unwrap();
        assert!(!pattern.matches(&"a".repeat(400)));
    }
}
