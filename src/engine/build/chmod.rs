//! Modes as `chmod` takes them: octal, or symbolic such as `u=rwX,go=rX` (chmod(1)).

use crate::base::{Error, Result};

/// What happens to a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// It becomes this.
    Octal(u32),
    /// Who, how (`+`, `-`, `=`) and what, in order.
    Symbolic(Vec<(u32, char, Vec<char>)>),
}

/// Whether a mode is one.
///
/// # Errors
/// `invalid_argument`.
pub fn check(text: &str) -> Result<()> {
    Mode::parse(text).map(drop)
}

impl Mode {
    /// Reads one.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub(super) fn parse(text: &str) -> Result<Mode> {
        let bad = || Error::invalid(format!("{text:?} is not a mode")).with_hint("write 0755 or u=rwX,go=rX");
        if text.bytes().all(|byte| matches!(byte, b'0'..=b'7')) && !text.is_empty() {
            return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).map(Mode::Octal).ok_or_else(bad);
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let at = clause.find(['+', '-', '=']).ok_or_else(bad)?;
            let mut who = 0;
            for letter in clause[..at].chars() {
                who |= match letter {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return Err(bad()),
                };
            }
            let how = clause[at..].chars().next().ok_or_else(bad)?;
            let what: Vec<char> = clause[at + 1..].chars().collect();
            // Either permissions, or one class of users that has them: `g=u`.
            let good = match what.as_slice() {
                ['u' | 'g' | 'o'] => true,
                letters => letters.iter().all(|letter| matches!(letter, 'r' | 'w' | 'x' | 'X' | 's' | 't')),
            };
            if !good {
                return Err(bad());
            }
            clauses.push((if who == 0 { 0o7777 } else { who }, how, what));
        }
        Ok(Mode::Symbolic(clauses))
    }

    /// The mode that a file or a folder gets.
    pub(super) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let clauses = match self {
            Mode::Octal(mode) => return *mode,
            Mode::Symbolic(clauses) => clauses,
        };
        clauses.iter().fold(mode, |mode, (who, how, what)| {
            let bits = what.iter().fold(0, |bits, letter| {
                bits | match letter {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if is_dir || mode & 0o111 != 0 => 0o111,
                    's' => 0o6000,
                    't' => 0o1000,
                    'u' => (mode >> 6 & 0o7) * 0o111,
                    'g' => (mode >> 3 & 0o7) * 0o111,
                    'o' => (mode & 0o7) * 0o111,
                    _ => 0,
                }
            }) & who;
            match how {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => (mode & !(who & 0o777)) | bits,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_chmod_does() {
        for (text, before, is_dir, after) in [
            ("0755", 0o600, false, 0o755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o775, false, 0o700),
            ("u+s", 0o755, false, 0o4755),
            ("a=r", 0o777, false, 0o444),
            ("g=u", 0o750, true, 0o770),
            ("go=u,o-w", 0o640, false, 0o664),
            ("o+g", 0o651, false, 0o655),
        ] {
            assert_eq!(Mode::parse(text).unwrap().apply(before, is_dir), after, "{text}");
        }
        for text in ["", "9", "u~r", "z+r", "u=q", "77777", "g=ur", "u=ug"] {
            assert!(Mode::parse(text).is_err(), "{text}");
        }
    }
}
