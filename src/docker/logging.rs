//! Docker's log drivers and their options: from names and texts to [`LogOptions`], and back for `inspect`.
//!
//! What Docker finds only when a container starts is found here already.

use serde_json::{Map, Value, json};

use crate::base::{Error, Result, Timestamp, suggest, units};
use crate::docker::words;
use crate::model::log::{LogDriver, LogOptions, SyslogFormat};

/// Options of every driver but `none`.
const COMMON: &[&str] = &["mode", "max-buffer-size"];
/// Options that choose what goes with every entry.
const ATTRIBUTES: &[&str] = &["labels", "labels-regex", "env", "env-regex", "tag"];
/// Options of the drivers that keep files.
const FILES: &[&str] = &["max-size", "max-file", "compress"];
/// Options of the copy that can be read.
const CACHE: &[&str] = &["cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
const SYSLOG: &[&str] = &["syslog-address", "syslog-facility", "syslog-format"];
/// Options of `syslog` over TLS, which is refused.
const TLS: &[&str] = &["syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify"];
/// The facilities of syslog; the place is the number (RFC 5424, table 1).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "",
    "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// The shortest buffer of the non-blocking mode that holds any entry, in bytes.
const LEAST_BUFFER: u64 = 1;

/// Reads a log driver with its options.
///
/// # Errors
/// `unsupported` for Docker's other drivers; `invalid_argument` for options that the driver does not have, bad values, and
/// values that contradict each other.
pub fn logging(name: Option<&str>, options: &[(String, String)]) -> Result<LogOptions> {
    let driver = driver(name.unwrap_or("json-file"))?;
    if driver == LogDriver::None && !options.is_empty() {
        return Err(Error::invalid("invalid logging opts for driver none"));
    }
    let mut log = LogOptions { driver, ..LogOptions::default() };
    for (name, value) in options {
        option(&mut log, name, value)?;
        log.config.insert(name.clone(), value.clone());
    }
    check(&log)?;
    Ok(log)
}

fn driver(name: &str) -> Result<LogDriver> {
    if let Some(driver) = LogDriver::ALL.into_iter().find(|driver| driver.as_str() == name) {
        return Ok(driver);
    }
    let known = LogDriver::ALL.map(LogDriver::as_str);
    let hint = || format!("use {}", known.join(", "));
    match name {
        "gelf" | "fluentd" | "awslogs" | "splunk" | "etwlogs" | "gcplogs" | "logentries" => {
            Err(Error::unsupported(format!("log driver {name:?} is not supported")).with_hint(hint()))
        }
        _ => Err(Error::invalid(format!("logger: no log driver named '{name}' is registered"))
            .with_hint(suggest::hint(name, known).unwrap_or_else(hint))),
    }
}

/// The options that a driver has.
fn known(driver: LogDriver) -> Vec<&'static str> {
    let own: &[&[&str]] = match driver {
        LogDriver::JsonFile | LogDriver::Local => &[FILES, ATTRIBUTES, COMMON],
        LogDriver::Syslog => &[SYSLOG, TLS, ATTRIBUTES, COMMON, CACHE],
        LogDriver::Journald => &[ATTRIBUTES, COMMON, CACHE],
        LogDriver::None => &[],
    };
    own.concat()
}

fn option(log: &mut LogOptions, name: &str, value: &str) -> Result<()> {
    let driver = log.driver.as_str();
    let known = known(log.driver);
    if !known.contains(&name) {
        let error = Error::invalid(match log.driver {
            LogDriver::Local => format!("unknown log opt '{name}' for log driver {driver}"),
            _ => format!("unknown log opt '{name}' for {driver} log driver"),
        });
        let listed = || format!("known are {}", known.join(", "));
        return Err(error.with_hint(suggest::hint(name, known.iter().copied()).unwrap_or_else(listed)));
    }
    let wrong = |what: &str| Error::invalid(format!("log option {name:?} takes {what}, not {value:?}"));
    let size = || match units::parse_decimal_bytes(value) {
        Ok(size) if size > 0 => Ok(size),
        Ok(_) => Err(Error::invalid(format!("{name} must be a positive number"))),
        Err(_) => Err(wrong("a size such as 10m")),
    };
    let files = || match value.parse::<u32>() {
        Ok(0) => Err(Error::invalid(format!("{name} cannot be less than 1"))),
        Ok(files) if files <= MAX_FILES => Ok(files),
        _ => Err(wrong(&format!("a number from 1 to {MAX_FILES}"))),
    };
    let flag = || go_bool(value).ok_or_else(|| wrong("true or false"));
    let list = || value.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    match name {
        // Docker takes it for no limit.
        "max-size" if value == "-1" => {}
        "max-size" => log.max_size_bytes = Some(size()?),
        "max-file" => log.max_files = Some(files()?),
        "compress" => log.compress = Some(flag()?),
        "cache-disabled" => log.cache.disabled = flag()?,
        "cache-max-size" => log.cache.max_size_bytes = Some(size()?),
        "cache-max-file" => log.cache.max_files = Some(files()?),
        "cache-compress" => log.cache.compress = Some(flag()?),
        "mode" => {
            log.non_blocking = match value {
                "non-blocking" => true,
                "blocking" | "" => false,
                _ => {
                    return Err(Error::invalid(format!("logger: logging mode not supported: {value}"))
                        .with_hint("use blocking or non-blocking"));
                }
            }
        }
        "max-buffer-size" => {
            let bytes = units::parse_bytes(value).map_err(|_| wrong("a size such as 4m"))?;
            log.max_buffer_bytes = Some(bytes.max(LEAST_BUFFER));
        }
        "labels" => log.labels = list(),
        "env" => log.env = list(),
        "labels-regex" => log.labels_regex = Some(value.to_owned()).filter(|text| !text.is_empty()),
        "env-regex" => log.env_regex = Some(value.to_owned()).filter(|text| !text.is_empty()),
        "tag" => log.tag = Some(value.to_owned()).filter(|text| !text.is_empty()),
        "syslog-address" => log.syslog.address = syslog_address(value)?,
        "syslog-facility" => {
            log.syslog.facility = Some(facility(value).ok_or_else(|| {
                Error::invalid("invalid syslog facility")
                    .with_hint("use a name such as daemon or local0, or a number from 0 to 23")
            })?);
        }
        "syslog-format" => {
            log.syslog.format = match value {
                "" => SyslogFormat::Unix,
                "rfc3164" => SyslogFormat::Rfc3164,
                "rfc5424" => SyslogFormat::Rfc5424,
                "rfc5424micro" => SyslogFormat::Rfc5424Micro,
                _ => {
                    return Err(
                        Error::invalid("invalid syslog format").with_hint("use rfc3164, rfc5424 or rfc5424micro")
                    );
                }
            }
        }
        _ => {
            return Err(Error::unsupported(format!("log option {name:?} is not supported"))
                .with_hint("syslog over TLS is not built; use tcp://, udp:// or a unix socket"));
        }
    }
    Ok(())
}

/// How many files a log may have: each rotation renames all of them.
const MAX_FILES: u32 = 1000;

/// What single options cannot tell.
fn check(log: &LogOptions) -> Result<()> {
    if log.max_buffer_bytes.is_some() && !log.non_blocking {
        return Err(Error::invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'"));
    }
    match log.driver {
        LogDriver::JsonFile => {
            if log.compress == Some(true)
                && (log.max_files.is_none_or(|files| files < 2) || log.max_size_bytes.is_none())
            {
                return Err(Error::invalid(
                    "compress cannot be true when max-file is less than 2 or max-size is not set",
                ));
            }
            if log.max_files.is_some_and(|files| files > 1) && log.max_size_bytes.is_none() {
                return Err(Error::invalid("log option \"max-file\" over 1 needs \"max-size\""));
            }
            Ok(())
        }
        LogDriver::Local if log.max_files == Some(1) && log.compress != Some(false) => {
            Err(Error::invalid("compression cannot be enabled when max file count is 1")
                .with_hint("say compress=false as well"))
        }
        _ => Ok(()),
    }
}

/// What Go's `strconv.ParseBool` takes.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn facility(text: &str) -> Option<u8> {
    match text.parse::<u8>() {
        Ok(number) => Some(number).filter(|number| usize::from(*number) < FACILITIES.len()),
        Err(_) => FACILITIES.iter().position(|name| *name == text && !name.is_empty()).map(|at| at as u8),
    }
}

/// Checks the form of an address; whether somebody is there is found when a container is made.
fn syslog_address(text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let form = || {
        Error::invalid(format!("syslog-address should be in form proto://address, got {text}"))
            .with_hint("write tcp://host:514, udp://host:514, unix:///path or unixgram:///path")
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
    match scheme {
        "unix" | "unixgram" if rest.starts_with('/') && !rest.contains('\0') => {}
        "tcp" | "udp" if !rest.is_empty() && !rest.contains(['/', ' ', '\0']) => {}
        "tcp+tls" => {
            return Err(
                Error::unsupported("syslog over TLS is not supported").with_hint("use tcp://, udp:// or a unix socket")
            );
        }
        _ => return Err(form()),
    }
    Ok(Some(text.to_owned()))
}

/// Nine digits of a second, so that columns line up: how `docker logs -t` writes a time.
pub fn fixed_time(time: Timestamp) -> String {
    let text = time.to_string();
    let text = text.trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{fraction:0<9}Z")
}

/// What goes with an entry as `docker logs --details` writes it: `key=value` separated by commas, as in a URL's query, and
/// a space.
pub fn details(attrs: &[(String, String)], text: &mut String) {
    for (number, (key, value)) in attrs.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        query_escape(key, text);
        text.push('=');
        query_escape(value, text);
    }
    text.push(' ');
}

fn query_escape(word: &str, text: &mut String) {
    for byte in word.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(byte.into()),
            b' ' => text.push('+'),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// `LogConfig` of `inspect`.
pub(super) fn log_config(log: &LogOptions) -> Value {
    let mut config: Map<String, Value> =
        log.config.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    // Records that were written before the texts were kept.
    if let (Some(size), false) = (log.max_size_bytes, config.contains_key("max-size")) {
        config.insert("max-size".into(), words::exact_size(size).into());
    }
    if let (Some(files), false) = (log.max_files, config.contains_key("max-file")) {
        config.insert("max-file".into(), files.to_string().into());
    }
    json!({ "Type": log.driver, "Config": config })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(driver: &str, options: &[&str]) -> Result<LogOptions> {
        let pair = |text: &&str| text.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        logging(Some(driver), &options.iter().map(pair).collect::<Vec<_>>())
    }

    #[test]
    fn every_option_of_a_driver_is_read() {
        let log = read("json-file", &["max-size=10m", "max-file=3", "compress=true", "labels=a,b", "tag={{.Name}}"]);
        let log = log.unwrap();
        assert_eq!((log.max_size_bytes, log.max_files, log.compress), (Some(10_000_000), Some(3), Some(true)));
        assert_eq!((log.labels.len(), log.tag.as_deref()), (2, Some("{{.Name}}")));
        let log = read("local", &["mode=non-blocking", "max-buffer-size=4m", "max-file=1", "compress=0"]).unwrap();
        assert_eq!((log.non_blocking, log.max_buffer_bytes), (true, Some(4 << 20)));
        let files = log.files().unwrap();
        assert_eq!((files.max_size_bytes, files.max_files, files.compress), (Some(20 << 20), 1, false));
        let log =
            read("syslog", &["syslog-address=udp://10.0.0.1:514", "syslog-facility=local3", "syslog-format=rfc5424"]);
        let log = log.unwrap();
        assert_eq!((log.syslog.facility, log.syslog.format), (Some(19), SyslogFormat::Rfc5424));
        assert!(log.files().is_some_and(|files| files.compress));
        assert!(read("journald", &["cache-disabled=true", "env-regex=^A"]).unwrap().files().is_none());
        assert!(read("none", &[]).unwrap().files().is_none());
    }

    #[test]
    fn what_docker_refuses_is_refused_in_its_words() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("jsonfile", &[], "no log driver named 'jsonfile' is registered"),
            ("gelf", &[], "log driver \"gelf\" is not supported"),
            ("json-file", &["max-siz=1m"], "unknown log opt 'max-siz' for json-file log driver"),
            ("journald", &["max-size=1m"], "unknown log opt 'max-size' for journald log driver"),
            ("local", &["x=1"], "unknown log opt 'x' for log driver local"),
            ("none", &["max-size=1m"], "invalid logging opts for driver none"),
            ("json-file", &["max-size=0"], "max-size must be a positive number"),
            ("json-file", &["max-size=big"], "takes a size such as 10m"),
            ("json-file", &["max-size=1m", "max-file=0"], "max-file cannot be less than 1"),
            ("json-file", &["max-file=3"], "needs \"max-size\""),
            ("json-file", &["compress=yes"], "takes true or false"),
            ("json-file", &["compress=true"], "compress cannot be true when max-file is less than 2"),
            ("local", &["max-file=1"], "compression cannot be enabled when max file count is 1"),
            ("json-file", &["mode=fast"], "logging mode not supported: fast"),
            ("json-file", &["max-buffer-size=1m"], "only supported with 'mode=non-blocking'"),
            ("syslog", &["syslog-facility=local9"], "invalid syslog facility"),
            ("syslog", &["syslog-facility=24"], "invalid syslog facility"),
            ("syslog", &["syslog-format=xml"], "invalid syslog format"),
            ("syslog", &["syslog-address=1.2.3.4"], "should be in form proto://address"),
            ("syslog", &["syslog-address=unix://relative"], "should be in form proto://address"),
            ("syslog", &["syslog-address=tcp+tls://h:1"], "TLS is not supported"),
            ("syslog", &["syslog-tls-cert=/x"], "\"syslog-tls-cert\" is not supported"),
        ];
        for (driver, options, expected) in cases {
            let error = read(driver, options).unwrap_err().to_string();
            assert!(error.contains(expected), "{driver} {options:?}: {error}");
        }
    }

    #[test]
    fn times_and_details_are_dockers() {
        assert_eq!(fixed_time(Timestamp::from_nanos(1_500_000_000)), "1970-01-01T00:00:01.500000000Z");
        let mut text = String::new();
        details(&[("a b".into(), "1,2".into()), ("c".into(), "ä".into())], &mut text);
        assert_eq!(text, "a+b=1%2C2,c=%C3%A4 ");
        text.clear();
        details(&[], &mut text);
        assert_eq!(text, " ");
    }

    #[test]
    fn inspect_shows_the_options_as_they_were_written() {
        let log = read("json-file", &["max-size=10MB", "max-file=3"]).unwrap();
        assert_eq!(log_config(&log), json!({ "Type": "json-file", "Config": { "max-file": "3", "max-size": "10MB" } }));
        let old = LogOptions { max_size_bytes: Some(10 << 20), ..LogOptions::default() };
        assert_eq!(log_config(&old)["Config"]["max-size"], "10m");
    }
}
