//! Points in time as Docker writes them: RFC 3339 in UTC with nanoseconds.
//!
//! The one door to `humantime`. Waiting never uses these: deadlines are `std::time::Instant`, which the clock's owner
//! cannot move.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::base::{Error, Result};

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The present.
    pub fn now() -> Timestamp {
        Timestamp::from_system(SystemTime::now())
    }

    /// From the standard library's clock; times before 1970 become 1970.
    pub fn from_system(time: SystemTime) -> Timestamp {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// From nanoseconds since the epoch.
    pub fn from_nanos(nanos: u64) -> Timestamp {
        Timestamp(nanos)
    }

    /// Nanoseconds since the epoch.
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// How long before now; zero for the future.
    pub fn elapsed(self) -> Duration {
        Duration::from_nanos(Timestamp::now().0.saturating_sub(self.0))
    }

    /// This time less `duration`.
    #[must_use]
    pub fn before(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Reads RFC 3339 (`Z` or a zone offset), Docker's date and time without a zone, or seconds since the epoch with a
    /// fraction.
    ///
    /// # Errors
    /// `invalid_argument` for anything else.
    pub fn parse(text: &str) -> Result<Timestamp> {
        let refuse = || {
            Error::invalid(format!("{text:?} is not a time"))
                .with_hint("write 2026-01-31T12:00:00Z, or an age such as 10m")
        };
        if text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            && text.bytes().any(|b| b.is_ascii_digit())
            && text.matches('.').count() < 2
        {
            let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
            let seconds: u64 = seconds.parse().map_err(|_| refuse())?;
            let nanos: u64 = format!("{fraction:0<9}")[..9].parse().map_err(|_| refuse())?;
            return seconds
                .checked_mul(1_000_000_000)
                .and_then(|n| n.checked_add(nanos))
                .map(Timestamp)
                .ok_or_else(refuse);
        }
        let (local, offset_s) = split_zone(text).ok_or_else(refuse)?;
        let local = if local.len() == 10 { format!("{local}T00:00:00") } else { local.to_owned() };
        let local = if local.len() == 16 { format!("{local}:00") } else { local };
        let time = humantime::parse_rfc3339_weak(&local).map_err(|_| refuse())?;
        let nanos = i128::from(Timestamp::from_system(time).0) - i128::from(offset_s) * 1_000_000_000;
        u64::try_from(nanos).map(Timestamp).map_err(|_| refuse())
    }
}

/// The longest wait that is kept track of: for ever, as far as anybody can tell.
const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The moment so long after now by the monotonic clock. Durations come from users, and no clock reaches as far as they can
/// write: what is further away than a hundred years is taken for that.
pub fn deadline(after: Duration) -> Instant {
    Instant::now() + after.min(LONGEST_WAIT)
}

/// Splits a trailing `Z` or `±hh:mm` off; the offset is in seconds east of UTC.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    if !text.is_ascii() || text.len() < 10 {
        return None;
    }
    if let Some(local) = text.strip_suffix('Z') {
        return Some((local, 0));
    }
    let (local, zone) = text.split_at(text.len() - text.len().min(6));
    let sign = match zone.as_bytes() {
        [b'+', ..] => 1,
        [b'-', _, _, b':', ..] => -1,
        _ => return Some((text, 0)),
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some((local, sign * (hours * 3600 + minutes * 60)))
}

/// RFC 3339 in UTC with trailing zeros of the fraction removed, as Go's `RFC3339Nano`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(self.0)).to_string();
        let text = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
        write!(f, "{text}Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_too_far_away() {
        assert!(deadline(Duration::MAX) > deadline(Duration::from_secs(3600)));
        assert!(deadline(Duration::ZERO) <= Instant::now());
    }

    #[test]
    fn times_print_and_parse_as_rfc_3339_nano() {
        let time = Timestamp::from_nanos(1_700_000_000_120_000_000);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.12Z");
        assert_eq!(Timestamp::parse("2023-11-14T22:13:20.12Z").unwrap(), time);
        assert_eq!(Timestamp::parse("2023-11-14T23:13:20.12+01:00").unwrap(), time);
        assert_eq!(Timestamp::parse("1700000000.12").unwrap(), time);
        assert_eq!(Timestamp::from_nanos(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp::parse("1970-01-02").unwrap().as_secs(), 86400);
        assert_eq!(Timestamp::parse("1970-01-01T00:01").unwrap().as_secs(), 60);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            ".",
            "yesterday",
            "2023-13-01T00:00:00Z",
            "1.2.3",
            "99999999999999999999",
            "2023-11-14T22:13:20+99:00",
            "ünïcödé-text-here",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text:?}");
        }
    }
}
