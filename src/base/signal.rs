//! Signal names and numbers of Linux (signal(7), the numbers of x86 and ARM).

use crate::base::{Error, Result, suggest};

/// Names without `SIG`; the place in the list plus one is the number.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// The C library's first real-time signal; the kernel's first two are its own.
const RTMIN: i32 = 34;
/// The last signal.
const RTMAX: i32 = 64;
/// SIGKILL.
pub const KILL: i32 = 9;
/// SIGTERM.
pub const TERM: i32 = 15;

/// Reads `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3` or `RTMAX-1`.
///
/// # Errors
/// `invalid_argument` for anything else.
pub fn parse(text: &str) -> Result<i32> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name.parse::<i32>() {
        Ok(number) => Some(number),
        Err(_) => match NAMES.iter().position(|known| *known == name) {
            Some(place) => i32::try_from(place + 1).ok(),
            None => real_time(name),
        },
    };
    number.filter(|number| (1..=RTMAX).contains(number)).ok_or_else(|| {
        let error = Error::invalid(format!("{text:?} is not a signal"));
        match suggest::nearest(name, NAMES) {
            Some(near) => error.with_hint(format!("did you mean \"SIG{near}\"?")),
            None => error,
        }
    })
}

fn real_time(name: &str) -> Option<i32> {
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<i32>().ok().filter(|n| (0..=RTMAX - RTMIN).contains(n)),
    };
    match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => Some(RTMIN + offset(rest, '+')?),
        (_, Some(rest)) => Some(RTMAX - offset(rest, '-')?),
        _ => None,
    }
}

/// `SIGTERM` for 15; real-time signals as `SIGRTMIN+3`.
pub fn name(number: i32) -> String {
    match usize::try_from(number - 1).ok().and_then(|place| NAMES.get(place)) {
        Some(name) => format!("SIG{name}"),
        None if number >= RTMIN => format!("SIGRTMIN+{}", number - RTMIN),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        for (text, number) in
            [("TERM", 15), ("SIGKILL", 9), ("sigint", 2), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("SYS", 31)]
        {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        assert_eq!((name(15).as_str(), name(37).as_str()), ("SIGTERM", "SIGRTMIN+3"));
    }

    #[test]
    fn others_are_refused() {
        for text in ["", "0", "65", "-1", "NOPE", "RTMIN+31", "RTMIN-1", "SIG"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse("SIGTRM").unwrap_err().hint(), Some("did you mean \"SIGTERM\"?"));
    }
}
