//! Durations, sizes and points in time as values: `500.ms`, `64.kb`, `now()`.
//!
//! Numbers get a property for each unit. Durations and sizes never are negative: a subtraction below zero is an error.
//! Parsing and printing are `base::units`' work.

use std::time::Duration;

use rhai::plugin::*;
use rhai::{Dynamic, FuncRegistration, ImmutableString, Module, NativeCallContext};

use crate::base::units::{binary_size, parse_bytes, parse_duration, short_duration};
use crate::base::{Error, Result, Timestamp};
use crate::script::error::{Fallible, Raise};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

/// A [`Duration`], a string such as `"1m30s"`, or a number of seconds.
pub(crate) type TimeSpan = Dynamic;
/// A [`Size`], a string such as `"512m"`, or a number of bytes.
pub(crate) type ByteCount = Dynamic;

/// Reads a duration wherever one is expected.
pub(crate) fn duration_of(value: &Dynamic) -> Result<Duration> {
    if let Some(duration) = value.read_lock::<Duration>() {
        return Ok(*duration);
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return parse_duration(&text);
    }
    let seconds = match (value.as_int(), value.as_float()) {
        (Ok(seconds), _) => seconds as f64,
        (_, Ok(seconds)) => seconds,
        _ => {
            return Err(Error::invalid(format!("expected a duration, not {}", a_type(value)))
                .with_hint("write 10.s, 500.ms or \"1m30s\""));
        }
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| Error::invalid(format!("{seconds} is not a number of seconds")))
}

/// Reads a size wherever one is expected.
pub(crate) fn size_of(value: &Dynamic) -> Result<u64> {
    if let Some(size) = value.read_lock::<Size>() {
        return Ok(size.0);
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return parse_bytes(&text);
    }
    value.as_int().ok().and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(|| {
        Error::invalid(format!("expected a size, not {}", a_type(value)))
            .with_hint("write 64.mb, \"512m\" or a number of bytes")
    })
}

/// A duration in the largest unit that holds it exactly, as option maps take it: `90s`, `500ms`.
pub(crate) fn exact_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        n if n.is_multiple_of(1_000_000_000) => format!("{}s", n / 1_000_000_000),
        n if n.is_multiple_of(1_000_000) => format!("{}ms", n / 1_000_000),
        n if n.is_multiple_of(1_000) => format!("{}us", n / 1_000),
        n => format!("{n}ns"),
    }
}

/// A value's type as scripts see it.
pub(crate) fn type_name(value: &Dynamic) -> String {
    crate::script::doc::pretty_type(value.type_name())
}

/// The same with its article: `a map`, `an array`.
pub(crate) fn a_type(value: &Dynamic) -> String {
    // Its type has no name of its own.
    if value.is_unit() {
        return "()".to_owned();
    }
    let name = type_name(value);
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']) { "an" } else { "a" };
    format!("{article} {name}")
}

const DURATIONS: [(&str, f64, &str); 7] = [
    ("ms", 0.001, "milliseconds"),
    ("s", 1.0, "seconds"),
    ("sec", 1.0, "seconds"),
    ("min", 60.0, "minutes"),
    ("hour", 3600.0, "hours"),
    ("hours", 3600.0, "hours"),
    ("days", 86_400.0, "days"),
];

const SIZES: [(&str, u32, &str); 4] = [("kb", 1, "KiB"), ("mb", 2, "MiB"), ("gb", 3, "GiB"), ("tb", 4, "TiB")];

/// Registers the unit properties of whole and broken numbers.
pub(crate) fn number_properties(module: &mut Module) {
    for (unit, seconds, words) in DURATIONS {
        let comments = [
            format!("/// This number of {words}, as a duration."),
            "///".to_owned(),
            "/// ```rhai".to_owned(),
            format!("/// assert(type_of(2.{unit}) == \"Duration\");"),
            "/// ```".to_owned(),
        ];
        let registration = |number: &str| {
            FuncRegistration::new_getter(unit)
                .with_params_info([format!("number: {number}"), "Fallible<Duration>".to_owned()])
                .with_comments(&comments)
                .in_global_namespace()
        };
        let make = move |number: f64| {
            Duration::try_from_secs_f64(number * seconds)
                .map_err(|_| Error::invalid(format!("{number} is not a number of {words}")))
        };
        registration("int")
            .set_into_module(module, move |ctx: NativeCallContext, n: &mut i64| make(*n as f64).raise(&ctx));
        registration("float").set_into_module(module, move |ctx: NativeCallContext, n: &mut f64| make(*n).raise(&ctx));
    }
    for (unit, power, words) in SIZES {
        let comments = [
            format!("/// This number of {words} (powers of 1024), as a size."),
            "///".to_owned(),
            "/// ```rhai".to_owned(),
            format!("/// assert(type_of(2.{unit}) == \"Size\");"),
            "/// ```".to_owned(),
        ];
        let registration = |number: &str| {
            FuncRegistration::new_getter(unit)
                .with_params_info([format!("number: {number}"), "Fallible<Size>".to_owned()])
                .with_comments(&comments)
                .in_global_namespace()
        };
        let make = move |number: f64| {
            let bytes = number * 1024f64.powi(power as i32);
            if (0.0..9.2e18).contains(&bytes) {
                Ok(Size(bytes as u64))
            } else {
                Err(Error::invalid(format!("{number} is not a number of {words}")))
            }
        };
        registration("int")
            .set_into_module(module, move |ctx: NativeCallContext, n: &mut i64| make(*n as f64).raise(&ctx));
        registration("float").set_into_module(module, move |ctx: NativeCallContext, n: &mut f64| make(*n).raise(&ctx));
    }
}

fn scaled(duration: Duration, factor: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor)
        .map_err(|_| Error::invalid(format!("{} times {factor} is not a duration", short_duration(duration))))
}

/// Arithmetic, comparison and printing of durations, sizes and times.
#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod unit_functions {
    use super::*;

    /// Reads a duration from a string, a number of seconds or a duration.
    ///
    /// ```rhai
    /// assert(duration("1m30s") == 90.s);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn duration(ctx: NativeCallContext, value: TimeSpan) -> Fallible<Duration> {
        duration_of(&value).raise(&ctx)
    }

    /// Reads a size from a string, a number of bytes or a size.
    ///
    /// ```rhai
    /// assert(size("512m") == 512.mb);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn size(ctx: NativeCallContext, value: ByteCount) -> Fallible<Size> {
        size_of(&value).map(Size).raise(&ctx)
    }

    /// A duration in seconds, with a fraction.
    ///
    /// ```rhai
    /// assert(1500.ms.seconds == 1.5);
    /// ```
    #[rhai_fn(get = "seconds", pure)]
    pub fn seconds(duration: &mut Duration) -> f64 {
        duration.as_secs_f64()
    }

    /// A duration in whole milliseconds.
    ///
    /// ```rhai
    /// assert(2.s.milliseconds == 2000);
    /// ```
    #[rhai_fn(get = "milliseconds", pure)]
    pub fn milliseconds(duration: &mut Duration) -> i64 {
        i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
    }

    /// A size in bytes.
    ///
    /// ```rhai
    /// assert(2.kb.bytes == 2048);
    /// ```
    #[rhai_fn(get = "bytes", pure)]
    pub fn bytes(size: &mut Size) -> i64 {
        i64::try_from(size.0).unwrap_or(i64::MAX)
    }

    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn duration_text(duration: &mut Duration) -> String {
        short_duration(*duration)
    }
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn size_text(size: &mut Size) -> String {
        binary_size(size.0)
    }
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn time_text(time: &mut Timestamp) -> String {
        time.to_string()
    }

    #[rhai_fn(name = "+")]
    pub fn add(a: Duration, b: Duration) -> Duration {
        a.saturating_add(b)
    }
    #[rhai_fn(name = "-", return_raw)]
    pub fn subtract(ctx: NativeCallContext, a: Duration, b: Duration) -> Fallible<Duration> {
        a.checked_sub(b)
            .ok_or_else(|| Error::invalid(format!("{} less {} is negative", short_duration(a), short_duration(b))))
            .raise(&ctx)
    }
    #[rhai_fn(name = "*", return_raw)]
    pub fn times(ctx: NativeCallContext, a: Duration, b: i64) -> Fallible<Duration> {
        scaled(a, b as f64).raise(&ctx)
    }
    #[rhai_fn(name = "*", return_raw)]
    pub fn times_float(ctx: NativeCallContext, a: Duration, b: f64) -> Fallible<Duration> {
        scaled(a, b).raise(&ctx)
    }
    #[rhai_fn(name = "*", return_raw)]
    pub fn times_reversed(ctx: NativeCallContext, a: i64, b: Duration) -> Fallible<Duration> {
        scaled(b, a as f64).raise(&ctx)
    }
    #[rhai_fn(name = "/", return_raw)]
    pub fn divided(ctx: NativeCallContext, a: Duration, b: i64) -> Fallible<Duration> {
        scaled(a, 1.0 / b as f64).raise(&ctx)
    }
    #[rhai_fn(name = "/")]
    pub fn ratio(a: Duration, b: Duration) -> f64 {
        a.as_secs_f64() / b.as_secs_f64()
    }
    #[rhai_fn(name = "==")]
    pub fn equal(a: Duration, b: Duration) -> bool {
        a == b
    }
    #[rhai_fn(name = "!=")]
    pub fn unequal(a: Duration, b: Duration) -> bool {
        a != b
    }
    #[rhai_fn(name = "<")]
    pub fn less(a: Duration, b: Duration) -> bool {
        a < b
    }
    #[rhai_fn(name = "<=")]
    pub fn at_most(a: Duration, b: Duration) -> bool {
        a <= b
    }
    #[rhai_fn(name = ">")]
    pub fn more(a: Duration, b: Duration) -> bool {
        a > b
    }
    #[rhai_fn(name = ">=")]
    pub fn at_least(a: Duration, b: Duration) -> bool {
        a >= b
    }

    #[rhai_fn(name = "+")]
    pub fn add_size(a: Size, b: Size) -> Size {
        Size(a.0.saturating_add(b.0))
    }
    #[rhai_fn(name = "-", return_raw)]
    pub fn subtract_size(ctx: NativeCallContext, a: Size, b: Size) -> Fallible<Size> {
        a.0.checked_sub(b.0)
            .map(Size)
            .ok_or_else(|| Error::invalid(format!("{} less {} is negative", binary_size(a.0), binary_size(b.0))))
            .raise(&ctx)
    }
    #[rhai_fn(name = "*", return_raw)]
    pub fn times_size(ctx: NativeCallContext, a: Size, b: i64) -> Fallible<Size> {
        u64::try_from(b)
            .ok()
            .and_then(|b| a.0.checked_mul(b))
            .map(Size)
            .ok_or_else(|| Error::invalid(format!("{} times {b} is not a size", binary_size(a.0))))
            .raise(&ctx)
    }
    #[rhai_fn(name = "/", return_raw)]
    pub fn divided_size(ctx: NativeCallContext, a: Size, b: i64) -> Fallible<Size> {
        u64::try_from(b)
            .ok()
            .and_then(|b| a.0.checked_div(b))
            .map(Size)
            .ok_or_else(|| Error::invalid(format!("{} divided by {b} is not a size", binary_size(a.0))))
            .raise(&ctx)
    }
    #[rhai_fn(name = "/")]
    pub fn ratio_size(a: Size, b: Size) -> f64 {
        a.0 as f64 / b.0 as f64
    }
    #[rhai_fn(name = "==")]
    pub fn equal_size(a: Size, b: Size) -> bool {
        a == b
    }
    #[rhai_fn(name = "!=")]
    pub fn unequal_size(a: Size, b: Size) -> bool {
        a != b
    }
    #[rhai_fn(name = "<")]
    pub fn less_size(a: Size, b: Size) -> bool {
        a < b
    }
    #[rhai_fn(name = "<=")]
    pub fn at_most_size(a: Size, b: Size) -> bool {
        a <= b
    }
    #[rhai_fn(name = ">")]
    pub fn more_size(a: Size, b: Size) -> bool {
        a > b
    }
    #[rhai_fn(name = ">=")]
    pub fn at_least_size(a: Size, b: Size) -> bool {
        a >= b
    }

    /// The time now. Times subtract to durations, compare, and print as RFC 3339 in UTC.
    ///
    /// ```rhai
    /// let start = now();
    /// assert(now() - start < 1.min);
    /// ```
    pub fn now() -> Timestamp {
        Timestamp::now()
    }

    /// Seconds since 1970, with a fraction.
    ///
    /// ```rhai
    /// assert(now().unix > 1700000000.0);
    /// ```
    #[rhai_fn(get = "unix", pure)]
    pub fn unix(time: &mut Timestamp) -> f64 {
        time.as_nanos() as f64 / 1e9
    }

    #[rhai_fn(name = "-")]
    pub fn between(a: Timestamp, b: Timestamp) -> Duration {
        Duration::from_nanos(a.as_nanos().saturating_sub(b.as_nanos()))
    }
    #[rhai_fn(name = "-")]
    pub fn before(a: Timestamp, b: Duration) -> Timestamp {
        a.before(b)
    }
    #[rhai_fn(name = "+")]
    pub fn after(a: Timestamp, b: Duration) -> Timestamp {
        let nanos = u64::try_from(b.as_nanos()).unwrap_or(u64::MAX);
        Timestamp::from_nanos(a.as_nanos().saturating_add(nanos))
    }
    #[rhai_fn(name = "==")]
    pub fn equal_time(a: Timestamp, b: Timestamp) -> bool {
        a == b
    }
    #[rhai_fn(name = "!=")]
    pub fn unequal_time(a: Timestamp, b: Timestamp) -> bool {
        a != b
    }
    #[rhai_fn(name = "<")]
    pub fn less_time(a: Timestamp, b: Timestamp) -> bool {
        a < b
    }
    #[rhai_fn(name = ">")]
    pub fn more_time(a: Timestamp, b: Timestamp) -> bool {
        a > b
    }
    #[rhai_fn(name = "<=")]
    pub fn at_most_time(a: Timestamp, b: Timestamp) -> bool {
        a <= b
    }
    #[rhai_fn(name = ">=")]
    pub fn at_least_time(a: Timestamp, b: Timestamp) -> bool {
        a >= b
    }
}

/// What strings lack in Rhai.
#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod text_functions {
    use super::*;

    /// The text without white space at both ends; `trim()` changes a string in place instead.
    ///
    /// ```rhai
    /// assert("  x\n".trimmed() == "x");
    /// ```
    pub fn trimmed(text: ImmutableString) -> ImmutableString {
        text.trim().into()
    }

    /// The lines, without their line ends.
    ///
    /// ```rhai
    /// assert("a\nb\n".lines() == ["a", "b"]);
    /// ```
    pub fn lines(text: ImmutableString) -> rhai::Array {
        text.lines().map(|line| Dynamic::from(line.to_owned())).collect()
    }

    /// The words between white space.
    ///
    /// ```rhai
    /// assert("a  b\n".words() == ["a", "b"]);
    /// ```
    pub fn words(text: ImmutableString) -> rhai::Array {
        text.split_whitespace().map(|word| Dynamic::from(word.to_owned())).collect()
    }

    /// The strings of an array with a separator between them.
    ///
    /// ```rhai
    /// assert(["a", "b"].join(", ") == "a, b");
    /// ```
    pub fn join(items: rhai::Array, separator: ImmutableString) -> String {
        items.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator.as_str())
    }

    /// Reads JSON: objects become maps.
    ///
    /// ```rhai
    /// assert(`{"a": [1, 2]}`.from_json().a[1] == 2);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn from_json(ctx: NativeCallContext, text: ImmutableString) -> Fallible<Dynamic> {
        serde_json::from_str(&text)
            .map(|value| crate::script::convert::from_json(&value))
            .map_err(|error| Error::invalid(format!("this is not JSON: {error}")))
            .raise(&ctx)
    }
}
