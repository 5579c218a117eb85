//! Sizes and durations, read and printed as Docker does.
//!
//! Reading sizes: `b k m g t p`, also `kb`/`kib` and so on, are powers of 1024 (`docker run -m 64m` is 67,108,864 bytes).
//! Printing: listings use powers of 1000 (`12.3MB`), limits and memory powers of 1024 (`64MiB`), as `docker/go-units`.

use std::time::Duration;

use crate::base::{Error, Result};

/// Reads a size in bytes: `512`, `64m`, `1.5GiB`.
///
/// # Errors
/// `invalid_argument` when it is not a number with a known unit, or does not fit 63 bits.
pub fn parse_bytes(text: &str) -> Result<u64> {
    parse_scaled(text, 1024)
}

fn parse_scaled(text: &str, base: u64) -> Result<u64> {
    let refuse = || {
        Error::invalid(format!("{text:?} is not a size")).with_hint("write a number and a unit, such as 512m or 1.5g")
    };
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let power = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(refuse()),
    };
    let scale = base.pow(power);
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(scale).ok_or_else(refuse)?,
        Err(_) => {
            let value = number.parse::<f64>().map_err(|_| refuse())? * scale as f64;
            if !(0.0..9.2e18).contains(&value) {
                return Err(refuse());
            }
            value as u64
        }
    };
    if bytes > i64::MAX as u64 { Err(refuse()) } else { Ok(bytes) }
}

/// Reads a size in bytes whose units are powers of 1000, as Docker reads the sizes of logs: `512`, `10m`, `1.5gb`.
///
/// # Errors
/// As [`parse_bytes`].
pub fn parse_decimal_bytes(text: &str) -> Result<u64> {
    parse_scaled(text, 1000)
}

/// Reads a duration: `10s`, `1m30s`, `500ms`, `1.5h`; a bare number is seconds.
///
/// # Errors
/// `invalid_argument` otherwise.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let refuse = || {
        Error::invalid(format!("{text:?} is not a duration"))
            .with_hint("write a number and a unit, such as 10s or 1m30s")
    };
    let text_ = text.trim();
    match text_.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| refuse()),
        Err(_) => humantime::parse_duration(text_).map_err(|_| refuse()),
    }
}

/// The decimal units.
const DECIMAL: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// Three significant digits and a decimal unit: `0B`, `999B`, `12.3MB`, `1.23GB` (go-units `HumanSizeWithPrecision`).
pub fn human_size(bytes: u64) -> String {
    scaled(bytes, 1000.0, 3, DECIMAL)
}

/// Four significant digits and a decimal unit: `12.34MB` (go-units `HumanSize`).
pub fn finer_size(bytes: u64) -> String {
    scaled(bytes, 1000.0, 4, DECIMAL)
}

/// Four significant digits and a binary unit: `64MiB`, `1.5GiB` (go-units `BytesSize`).
pub fn binary_size(bytes: u64) -> String {
    scaled(bytes, 1024.0, 4, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

fn scaled(bytes: u64, base: f64, digits: usize, units: [&str; 7]) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit < units.len() - 1 {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// Go's `%.Ng` for the values that occur here: N significant digits, no trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let whole = (value.abs().max(1.0).log10().floor() as usize) + 1;
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// An age in words: `Less than a second`, `5 seconds`, `About a minute`, `3 hours`, `2 weeks` (go-units `HumanDuration`).
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as u64);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// A short exact duration: `1.5s`, `350ms`, `2m30s`.
pub fn short_duration(duration: Duration) -> String {
    let s = duration.as_secs_f64();
    if s < 0.001 {
        format!("{}us", duration.as_micros())
    } else if s < 1.0 {
        format!("{}ms", significant(s * 1000.0, 3))
    } else if s < 60.0 {
        format!("{}s", significant(s, 3))
    } else {
        let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
        match (minutes / 60, minutes % 60, seconds) {
            (0, m, 0) => format!("{m}m"),
            (0, m, s) => format!("{m}m{s}s"),
            (h, 0, 0) => format!("{h}h"),
            (h, m, 0) => format!("{h}h{m}m"),
            (h, m, s) => format!("{h}h{m}m{s}s"),
        }
    }
}

/// A duration as Go prints it: `0s`, `500ms`, `1.5s`, `1m0s`, `1h30m0s` (package time, `Duration.String`).
pub fn go_duration(duration: Duration) -> String {
    let fraction = |whole: u64, rest: u64, digits: usize| {
        let text = format!("{whole}.{rest:0digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let (all, nanos) = (duration.as_secs(), u64::from(duration.subsec_nanos()));
    match (all / 3600, all / 60 % 60, all % 60) {
        (0, 0, 0) if nanos == 0 => "0s".to_owned(),
        (0, 0, 0) if nanos < 1_000 => format!("{nanos}ns"),
        (0, 0, 0) if nanos < 1_000_000 => format!("{}µs", fraction(nanos / 1_000, nanos % 1_000, 3)),
        (0, 0, 0) => format!("{}ms", fraction(nanos / 1_000_000, nanos % 1_000_000, 6)),
        (0, 0, seconds) => format!("{}s", fraction(seconds, nanos, 9)),
        (0, minutes, seconds) => format!("{minutes}m{}s", fraction(seconds, nanos, 9)),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{}s", fraction(seconds, nanos, 9)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        assert_eq!(parse_bytes("64m").unwrap(), 67_108_864);
        assert_eq!(parse_bytes("512").unwrap(), 512);
        assert_eq!(parse_bytes("1.5GiB").unwrap(), 1_610_612_736);
        assert_eq!(parse_bytes("2 kb").unwrap(), 2048);
        assert_eq!(parse_decimal_bytes("1.5m").unwrap(), 1_500_000);
        for text in ["", "m", "-1", "1x", "1e400", "nan", "99999999999g", "1..5m"] {
            assert!(parse_bytes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_printed_as_go_units_prints_them() {
        assert_eq!(human_size(0), "0B");
        assert_eq!(human_size(999), "999B");
        assert_eq!(human_size(12_345_678), "12.3MB");
        assert_eq!(human_size(1_000_000), "1MB");
        assert_eq!(binary_size(67_108_864), "64MiB");
        assert_eq!(binary_size(1_610_612_736), "1.5GiB");
    }

    #[test]
    fn durations_are_read_and_printed() {
        assert_eq!(parse_duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("10").unwrap(), Duration::from_secs(10));
        for text in ["", "soon", "-1s", "inf", "nan"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        for (millis, text) in [(0, "0s"), (1, "1ms"), (1500, "1.5s"), (60_000, "1m0s"), (5_400_250, "1h30m0.25s")] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_duration(Duration::from_nanos(1_500)), "1.5µs");
        assert_eq!(short_duration(Duration::from_millis(1500)), "1.5s");
        assert_eq!(short_duration(Duration::from_secs(150)), "2m30s");
        assert_eq!(human_duration(Duration::from_secs(75)), "About a minute");
        assert_eq!(human_duration(Duration::from_secs(3 * 3600)), "3 hours");
    }
}
