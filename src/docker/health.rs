//! Health checks in the words of the command line and of Compose, to the model's.
//!
//! Nothing is joined with the image here, and nothing is run.

use std::time::Duration;

use serde_json::{Value, json};

use crate::base::{Error, Result, suggest};
use crate::docker::options::{command_line, fields};
use crate::docker::value::Field;
use crate::model::container::{ContainerOptions, State};
use crate::model::health::{Health, HealthCheck, HealthResult, HealthStatus, MIN_TIME, NONE, OnUnhealthy};

/// Docker's word for a container without a check.
const NO_HEALTH: &str = "none";

/// The keys of Compose's `healthcheck`, and ours.
const KEYS: &[(&str, &[&str])] = &[
    ("test", &[]),
    ("interval", &[]),
    ("timeout", &[]),
    ("retries", &[]),
    ("start_period", &[]),
    ("start_interval", &[]),
    ("disable", &[]),
    ("on_unhealthy", &["on_failure"]),
];

/// Reads what is done about an unhealthy container.
///
/// # Errors
/// `invalid_argument`.
pub fn on_unhealthy(word: &str) -> Result<OnUnhealthy> {
    OnUnhealthy::ALL.into_iter().find(|action| action.as_str() == word).ok_or_else(|| {
        let names = OnUnhealthy::ALL.map(OnUnhealthy::as_str);
        Error::invalid(format!("unknown action {word:?} for an unhealthy container"))
            .with_hint(suggest::hint(word, names).unwrap_or_else(|| format!("known are {}", names.join(", "))))
    })
}

/// Reads the word for a status; `none` is a container without a check.
///
/// # Errors
/// `invalid_argument`.
pub fn status(word: &str) -> Result<Option<HealthStatus>> {
    if word == NO_HEALTH {
        return Ok(None);
    }
    HealthStatus::ALL.into_iter().find(|status| status.as_str() == word).map(Some).ok_or_else(|| {
        let names = HealthStatus::ALL.map(HealthStatus::as_str).into_iter().chain([NO_HEALTH]);
        let all = names.clone().collect::<Vec<_>>().join(", ");
        Error::invalid(format!("unknown health {word:?}"))
            .with_hint(suggest::hint(word, names).unwrap_or_else(|| format!("known are {all}")))
    })
}

/// The word for a container's health: `starting`, `healthy`, `unhealthy`, and `none` without a check.
pub fn word(state: &State) -> &'static str {
    state.health.as_ref().map_or(NO_HEALTH, |health| health.status.as_str())
}

/// `State.Health` of `inspect` (Docker Engine API 1.43, "Health").
pub(super) fn json(health: &Health) -> Value {
    let result = |result: &HealthResult| json!({ "Start": result.start, "End": result.end, "ExitCode": result.exit_code, "Output": result.output });
    json!({
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(result).collect::<Vec<_>>(),
    })
}

/// Checks a time of a health check; zero is the image's, or the default.
///
/// # Errors
/// `invalid_argument` below [`MIN_TIME`].
pub fn time(time: Duration) -> Result<Option<Duration>> {
    match time {
        Duration::ZERO => Ok(None),
        time if time < MIN_TIME => Err(Error::invalid("a time of a health check cannot be less than 1ms")),
        time => Ok(Some(time)),
    }
}

/// The test of a line for the shell; none for an empty line, which is the image's.
pub fn shell_test(line: &str) -> Vec<String> {
    if line.is_empty() { Vec::new() } else { vec!["CMD-SHELL".to_owned(), line.to_owned()] }
}

/// Reads one of the keys that are about health; false for any other.
pub(super) fn option(canonical: &str, field: &Field<'_>, options: &mut ContainerOptions) -> Result<bool> {
    if canonical == "healthcheck" {
        compose(field, options)?;
        return Ok(true);
    }
    if canonical == "health_on_unhealthy" {
        options.on_unhealthy = on_unhealthy(&field.string()?).map_err(|error| field.wrap(error))?;
        return Ok(true);
    }
    if canonical == "no_healthcheck" {
        match (field.bool()?, &options.healthcheck) {
            (false, _) => {}
            (true, None) => options.healthcheck = Some(HealthCheck::none()),
            (true, Some(_)) => return Err(conflicting()),
        }
        return Ok(true);
    }
    let Some(setting) = canonical.strip_prefix("health_") else { return Ok(false) };
    if options.healthcheck.as_ref().is_some_and(|check| check.test.first().is_some_and(|word| word == NONE)) {
        return Err(conflicting());
    }
    let check = options.healthcheck.get_or_insert_default();
    match (setting, field.value) {
        ("cmd", Value::String(line)) => check.test = shell_test(line),
        ("cmd", value) => {
            check.test = command_line(field.key, value)?;
            check.test.insert(0, "CMD".to_owned());
        }
        (setting, _) => return set(setting, field, check),
    }
    Ok(true)
}

fn conflicting() -> Error {
    Error::invalid("\"no_healthcheck\" does not go together with other options of health checks")
}

fn compose(field: &Field<'_>, options: &mut ContainerOptions) -> Result<()> {
    let check = options.healthcheck.get_or_insert_default();
    let mut off = false;
    for (canonical, inner) in fields(field.map()?, KEYS, &[])? {
        let wrap = |error: Error| inner.wrap(error);
        match canonical {
            "test" => check.test = test(&inner)?,
            "disable" => off = inner.bool()?,
            "on_unhealthy" => options.on_unhealthy = on_unhealthy(&inner.string()?).map_err(wrap)?,
            setting => drop(set(setting, &inner, check)?),
        }
    }
    match (off, check.test.is_empty()) {
        (false, _) => Ok(()),
        (true, true) => {
            *check = HealthCheck::none();
            Ok(())
        }
        (true, false) => Err(Error::invalid("\"disable\" and \"test\" do not go together")),
    }
}

/// A line for the shell, or a list whose first word says what it is.
fn test(field: &Field<'_>) -> Result<Vec<String>> {
    const WHAT: &str = "a string for the shell, or a list that begins with NONE, CMD or CMD-SHELL";
    let words = match field.value {
        Value::String(line) => return Ok(shell_test(line)),
        _ => command_line(field.key, field.value).map_err(|_| field.expected(WHAT))?,
    };
    match (words.first().map(String::as_str), words.len()) {
        (None | Some(NONE), _) | (Some("CMD"), 2..) | (Some("CMD-SHELL"), 2) => Ok(words),
        (Some("CMD" | "CMD-SHELL"), 1) => Err(field.expected("a command after its first word")),
        (Some("CMD-SHELL"), _) => Err(field.expected("one line after CMD-SHELL")),
        _ => Err(field.expected(WHAT)),
    }
}

fn set(setting: &str, field: &Field<'_>, check: &mut HealthCheck) -> Result<bool> {
    let duration = || time(field.duration()?).map_err(|error| field.wrap(error));
    match setting {
        "interval" => check.interval = duration()?,
        "timeout" => check.timeout = duration()?,
        "start_period" => check.start_period = duration()?,
        "start_interval" => check.start_interval = duration()?,
        "retries" => check.retries = Some(retries(field)?).filter(|retries| *retries > 0),
        _ => return Ok(false),
    }
    Ok(true)
}

fn retries(field: &Field<'_>) -> Result<u32> {
    u32::try_from(field.unsigned()?).map_err(|_| field.expected("a smaller number"))
}
