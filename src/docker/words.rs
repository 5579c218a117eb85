//! Docker's small notations, one reader each, shared by option maps and command-line flags: ulimits,
//! hosts.

use std::net::IpAddr;

use crate::base::{Error, Result, suggest};
use crate::model::container::{HOST_GATEWAY, WaitCondition};
use crate::model::limits::Ulimit;
use crate::model::restart::RestartPolicy;

/// The names of setrlimit(2)'s resources, without `RLIMIT_`.
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// The highest processor or memory node that a set may name; a bound, so that a range cannot ask for gigabytes of bits.
const MAX_CPU: u32 = 8191;

/// Reads `--ulimit`: `nofile=1024` or `nofile=1024:2048`.
///
/// # Errors
/// `invalid_argument`.
pub fn ulimit(text: &str) -> Result<Ulimit> {
    let refuse = |why: &str| {
        Error::invalid(format!("{text:?} is not a ulimit: {why}"))
            .with_hint("write name=soft[:hard], such as nofile=1024:2048")
    };
    let (name, values) = text.split_once('=').ok_or_else(|| refuse("it has no value"))?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| refuse(&format!("{text:?} is not a number")));
    ulimit_of(name, number(soft)?, number(hard)?)
}

/// A ulimit from its parts; -1 is unlimited.
///
/// # Errors
/// `invalid_argument` for an unknown name or a soft limit over the hard one.
pub(crate) fn ulimit_of(name: &str, soft: i64, hard: i64) -> Result<Ulimit> {
    if !ULIMITS.contains(&name) {
        let error = Error::invalid(format!("unknown ulimit {name:?}"));
        return Err(match suggest::hint(name, ULIMITS) {
            Some(hint) => error.with_hint(hint),
            None => error.with_hint(format!("known are {}", ULIMITS.join(", "))),
        });
    }
    let limit = |value: i64| match value {
        -1 => Ok(None),
        value => {
            u64::try_from(value).map(Some).map_err(|_| Error::invalid(format!("ulimit {name:?} cannot be {value}")))
        }
    };
    let (soft, hard) = (limit(soft)?, limit(hard)?);
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err(Error::invalid(format!("ulimit {name:?}: the soft limit is over the hard limit")));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// Reads `--add-host`: `name:address` or `name=address`.
///
/// # Errors
/// `invalid_argument`.
pub fn extra_host(text: &str) -> Result<(String, String)> {
    let (name, address) = match text.split_once('=') {
        Some(parts) => parts,
        None => text
            .split_once(':')
            .ok_or_else(|| Error::invalid(format!("{text:?} is not a host entry")).with_hint("write name:address"))?,
    };
    host_entry(name, address)
}

/// A line of /etc/hosts from its parts.
///
/// # Errors
/// As [`extra_host`].
pub(crate) fn host_entry(name: &str, address: &str) -> Result<(String, String)> {
    if name.is_empty()
        || name.len() > 255
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    {
        return Err(Error::invalid(format!("{name:?} is not a host name")));
    }
    if address == HOST_GATEWAY {
        return Ok((name.to_owned(), address.to_owned()));
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = bare.parse().map_err(|_| Error::invalid(format!("{address:?} is not an IP address")))?;
    Ok((name.to_owned(), address.to_string()))
}

/// Checks a name server's address.
///
/// # Errors
/// `invalid_argument`.
pub fn dns_server(text: &str) -> Result<String> {
    let address: IpAddr = text.parse().map_err(|_| Error::invalid(format!("{text:?} is not an IP address")))?;
    Ok(address.to_string())
}

/// Checks a word for a line of /etc/resolv.conf.
///
/// # Errors
/// `invalid_argument` for white space and control characters, which could add lines.
pub fn resolver_word(text: &str) -> Result<String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Error::invalid(format!("{text:?} cannot stand in /etc/resolv.conf")));
    }
    Ok(text.to_owned())
}

/// The fields between commas of a flag such as `--mount`, which Docker reads as one line of CSV (RFC 4180): a field with a
/// comma or a quote in it stands in quotes.
///
/// # Errors
/// `invalid_argument` for a quote that is not closed, and for a zero byte.
pub fn comma_fields(text: &str) -> Result<Vec<String>> {
    // The reader takes what is not closed as if it were.
    if text.matches('"').count() % 2 == 1 {
        return Err(Error::invalid(format!("{text:?} has an open quote"))
            .with_hint("a quote sign itself is written twice, in a field that is in quotes"));
    }
    if text.contains('\0') {
        return Err(Error::invalid(format!("{text:?} has a zero byte")));
    }
    let mut reader = csv::ReaderBuilder::new();
    // A line's end is part of a field, then.
    let mut reader = reader.has_headers(false).terminator(csv::Terminator::Any(0)).from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    match reader.read_record(&mut record) {
        Ok(true) => Ok(record.iter().map(str::to_owned).collect()),
        Ok(false) => Ok(vec![String::new()]),
        Err(error) => Err(Error::invalid(format!("{text:?} is no list of fields: {error}"))),
    }
}

/// Checks a set of processors or memory nodes: `0-2,4`.
///
/// # Errors
/// `invalid_argument`.
pub fn cpuset(text: &str) -> Result<String> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n <= MAX_CPU);
    let range = |part: &str| match part.split_once('-') {
        Some((low, high)) => matches!((number(low), number(high)), (Some(low), Some(high)) if low <= high),
        None => number(part).is_some(),
    };
    if text.split(',').all(range) {
        return Ok(text.to_owned());
    }
    Err(Error::invalid(format!("{text:?} is not a set of processors"))
        .with_hint("write numbers and ranges, such as 0-2,4"))
}

/// Reads permissions in digits to the base of 8: `0755`, `0o755`.
pub fn octal(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Reads permissions that are a number, such as 0o755. Who writes 755 means that, and gets 0o1363: a number that gives
/// others what the owner lacks, or that is one of the two usual modes of which this cannot be said, is refused.
///
/// # Errors
/// `invalid_argument`.
pub fn permissions(number: i64) -> Result<u32> {
    let is_usual = |mode: u32| {
        let (owner, group, others) = (mode >> 6 & 7, mode >> 3 & 7, mode & 7);
        let sticky = mode & 0o1000 != 0;
        (group | others) & !owner == 0 && (!sticky || owner == 7) && ![400, 500].contains(&mode)
    };
    let mode = u32::try_from(number).ok().filter(|mode| *mode <= 0o7777);
    let meant = octal(&number.to_string()).map(|_| format!("write 0o{number} or \"{number:04}\""));
    match mode {
        Some(mode) if is_usual(mode) => Ok(mode),
        Some(mode) => {
            let as_it_is = format!("if it is meant as it is, write \"{mode:04o}\"");
            let hint = meant.map_or(as_it_is.clone(), |meant| format!("{meant}; {as_it_is}"));
            Err(Error::invalid(format!("{number} as a mode is {mode:#o}, which hardly anybody means")).with_hint(hint))
        }
        None => {
            let hint = meant.unwrap_or_else(|| "write 0o755 or \"0755\"".to_owned());
            Err(Error::invalid(format!("{number} is not a mode")).with_hint(hint))
        }
    }
}

/// Reads a port to expose: `80`, `80/udp`, `8000-8010/tcp`; one entry a port.
///
/// # Errors
/// `invalid_argument`.
pub fn expose(text: &str) -> Result<Vec<String>> {
    let refuse = || Error::invalid(format!("{text:?} is not a port")).with_hint("write 80, 80/udp or 8000-8010/tcp");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(refuse());
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(refuse);
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(refuse());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Reads what is waited for: `not-running`, `next-exit` or `removed`.
///
/// # Errors
/// `invalid_argument`.
pub fn wait_condition(text: &str) -> Result<WaitCondition> {
    WaitCondition::ALL.into_iter().find(|condition| condition.as_str() == text).ok_or_else(|| {
        let names = WaitCondition::ALL.map(WaitCondition::as_str);
        let hint = suggest::hint(text, names).unwrap_or_else(|| format!("use {}", names.join(", ")));
        Error::invalid(format!("invalid wait condition {text:?}")).with_hint(hint)
    })
}

/// Reads `--restart`: `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:5`. Empty is `no`.
///
/// # Errors
/// `invalid_argument`; as with Docker, only `on-failure` takes a number.
pub fn restart(text: &str) -> Result<RestartPolicy> {
    let refuse = |why: &str| Error::invalid(format!("invalid restart policy {text:?}: {why}"));
    let (word, number) = match text.split_once(':') {
        Some(("", _)) => return Err(refuse("there is no policy before the colon")),
        // Docker takes a colon without a number.
        Some((word, "")) => (word, None),
        Some((word, number)) => {
            let number = number.parse::<i64>().map_err(|_| refuse("the number of retries must be an integer"))?;
            (word, Some(number).filter(|number| *number != 0))
        }
        None => (text, None),
    };
    let policy = match word {
        "no" | "" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => {
            let max_retries = u32::try_from(number.unwrap_or(0)).map_err(|_| match number {
                Some(..0) => refuse("the number of retries cannot be negative"),
                _ => refuse("the number of retries is too large"),
            })?;
            return Ok(RestartPolicy::OnFailure { max_retries });
        }
        _ => {
            let names = ["no", "always", "unless-stopped", "on-failure"];
            let hint = suggest::hint(word, names);
            return Err(refuse("there is no such policy")
                .with_hint(hint.unwrap_or_else(|| format!("use {}", names.join(", ")))));
        }
    };
    match number {
        Some(_) => Err(refuse("only \"on-failure\" takes a number of retries")
            .with_hint(format!("write \"{policy}\", or \"on-failure:N\""))),
        None => Ok(policy),
    }
}

/// The first `width` characters, the last of them `…` when some are left out.
pub fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A size in the largest binary unit that divides it, as options are written: `10m`, `1536`.
pub fn exact_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "g"), (20, "m"), (10, "k")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Reads `--detach-keys`: a letter or `ctrl-` and a letter or one of `@ [ \ ] ^ _`, `DEL`, separated by commas, to the bytes that
/// a terminal sends.
///
/// # Errors
/// `invalid_argument`.
pub fn detach_keys(text: &str) -> Result<Vec<u8>> {
    let key = |word: &str| match (word.strip_prefix("ctrl-"), word.as_bytes()) {
        (Some(control), _) => match control.as_bytes() {
            [letter] if letter.is_ascii_lowercase() => Some(letter - b'a' + 1),
            [b'@'] => Some(0),
            [sign] if (b'['..=b'_').contains(sign) => Some(sign - b'@'),
            _ => None,
        },
        (None, b"DEL") => Some(0x7f),
        (None, [letter]) if letter.is_ascii_graphic() => Some(*letter),
        _ => None,
    };
    text.split(',').map(key).collect::<Option<Vec<u8>>>().ok_or_else(|| {
        Error::invalid(format!("{text:?} is not a key sequence"))
            .with_hint("write keys such as ctrl-p,ctrl-q or ctrl-a,d")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_whose_digits_are_a_mode_is_none() {
        for mode in
            [0, 0o755, 0o644, 0o600, 0o400, 0o440, 0o444, 0o640, 0o664, 0o700, 0o750, 0o711, 0o777, 0o1777, 0o4755]
        {
            assert_eq!(permissions(mode).unwrap(), u32::try_from(mode).unwrap(), "{mode:o}");
        }
        for digits in [755, 644, 600, 400, 440, 444, 500, 640, 660, 664, 666, 700, 711, 750, 770, 775, 777, 1777, 4755]
        {
            let error = permissions(digits).unwrap_err();
            assert!(error.hint().unwrap().starts_with(&format!("write 0o{digits} or ")), "{digits}: {error}");
        }
        for number in [-1, i64::MIN, i64::MAX, 0o10000, 0o007] {
            assert!(permissions(number).is_err(), "{number}");
        }
        assert_eq!(octal("0o755"), octal("0755"));
        assert_eq!((octal("+755"), octal("9"), octal("")), (None, None, None));
    }

    #[test]
    fn fields_between_commas_may_stand_in_quotes() {
        for (text, wanted) in [
            ("", &[""][..]),
            ("a=1,b", &["a=1", "b"]),
            ("a,,b,", &["a", "", "b", ""]),
            ("\"a=1,2\",b", &["a=1,2", "b"]),
            ("\"a=\"\"1\"\"\"", &["a=\"1\""]),
            ("a=\"1\"", &["a=\"1\""]),
            ("a=1\nb=2", &["a=1\nb=2"]),
            (" a ,b", &[" a ", "b"]),
            ("é=ü", &["é=ü"]),
        ] {
            assert_eq!(comma_fields(text).unwrap(), wanted, "{text:?}");
        }
        assert!(comma_fields("\"a").unwrap_err().message().contains("open quote"));
        assert!(comma_fields("a\0b").is_err());
    }
}
