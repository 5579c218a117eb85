//! Health checks: what images and options ask for, how the two are joined, and how results make a status.
//!
//! Names, defaults and rules are Docker's (Dockerfile reference, `HEALTHCHECK`; moby `daemon/health.go`); what is done about
//! an unhealthy container is ours. Nothing here runs a probe.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::Timestamp;

/// How long after the start, and after each probe, the next one begins, unless told otherwise.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
/// How long a probe may take, unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval within the start period, unless told otherwise.
pub const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
/// How many failures in a row make a container unhealthy, unless told otherwise.
pub const DEFAULT_RETRIES: u32 = 3;
/// The shortest time that can be asked for.
pub const MIN_TIME: Duration = Duration::from_millis(1);
/// How much of what a probe wrote is kept, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 4096;
/// How many results are kept.
pub const MAX_RESULTS: usize = 5;
/// The exit code of a probe that was killed, or could not be started.
pub const NO_EXIT_CODE: i32 = -1;
/// The first word of a test that turns the image's off.
pub const NONE: &str = "NONE";

/// A health check as an image or an option writes it. What is not set is the image's, or the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// `NONE`; `CMD` and a program with its arguments; or `CMD-SHELL` and a line for the image's shell.
    pub test: Vec<String>,
    /// How long after the start, and after the end of each probe, the next one begins.
    pub interval: Option<Duration>,
    /// How long a probe may take.
    pub timeout: Option<Duration>,
    /// How long failures after the start do not count.
    pub start_period: Option<Duration>,
    /// The interval within the start period, until a probe succeeds.
    pub start_interval: Option<Duration>,
    /// How many failures in a row make the container unhealthy.
    pub retries: Option<u32>,
}

impl HealthCheck {
    /// The one that turns the image's off.
    pub fn none() -> HealthCheck {
        HealthCheck { test: vec![NONE.to_owned()], ..HealthCheck::default() }
    }

    /// It has a test of a kind that is known, and that is not `NONE`.
    pub fn is_on(&self) -> bool {
        self.probe(&[], OnUnhealthy::None).is_some()
    }

    /// These settings over those of the image, one by one.
    #[must_use]
    pub fn over(&self, image: &HealthCheck) -> HealthCheck {
        let test = if self.test.is_empty() { &image.test } else { &self.test };
        HealthCheck {
            test: test.clone(),
            interval: self.interval.or(image.interval),
            timeout: self.timeout.or(image.timeout),
            start_period: self.start_period.or(image.start_period),
            start_interval: self.start_interval.or(image.start_interval),
            retries: self.retries.or(image.retries),
        }
    }

    /// As image configs and Docker's API write it: times in nanoseconds, and nothing that is not set (Docker image
    /// specification 1.3, "Healthcheck").
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Option<Value>| drop(value.map(|value| map.insert(key.to_owned(), value)));
        let nanos = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).into());
        put("Test", Some(&self.test).filter(|test| !test.is_empty()).map(|test| test.clone().into()));
        put("Interval", nanos(self.interval));
        put("Timeout", nanos(self.timeout));
        put("StartPeriod", nanos(self.start_period));
        put("StartInterval", nanos(self.start_interval));
        put("Retries", self.retries.map(Value::from));
        Value::Object(map)
    }

    /// What is to be run and when, with all defaults; none when there is nothing to run. `shell` is the image's, none being
    /// `/bin/sh -c`.
    pub fn probe(&self, shell: &[String], on_unhealthy: OnUnhealthy) -> Option<Probe> {
        let (kind, words) = self.test.split_first()?;
        let args: Vec<String> = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" if shell.is_empty() => {
                ["/bin/sh", "-c"].map(str::to_owned).iter().chain(words).cloned().collect()
            }
            "CMD-SHELL" => shell.iter().chain(words).cloned().collect(),
            _ => return None,
        };
        let time = |asked: Option<Duration>, default: Duration| match asked.unwrap_or_default() {
            Duration::ZERO => default,
            asked => asked.max(MIN_TIME),
        };
        Some(Probe {
            args,
            interval: time(self.interval, DEFAULT_INTERVAL),
            timeout: time(self.timeout, DEFAULT_TIMEOUT),
            start_period: self.start_period.unwrap_or_default(),
            start_interval: time(self.start_interval, DEFAULT_START_INTERVAL),
            retries: self.retries.filter(|retries| *retries > 0).unwrap_or(DEFAULT_RETRIES),
            on_unhealthy,
        })
    }
}

/// What is done when a container becomes unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnhealthy {
    /// It is told, and that is all, as with Docker.
    #[default]
    None,
    /// It is stopped and started again.
    Restart,
    /// It is stopped, and stays so.
    Stop,
    /// It is killed; its restart policy decides what follows.
    Kill,
}

impl OnUnhealthy {
    /// All of them.
    pub const ALL: [OnUnhealthy; 4] = [OnUnhealthy::None, OnUnhealthy::Restart, OnUnhealthy::Stop, OnUnhealthy::Kill];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            OnUnhealthy::None => "none",
            OnUnhealthy::Restart => "restart",
            OnUnhealthy::Stop => "stop",
            OnUnhealthy::Kill => "kill",
        }
    }
}

/// What is to be run and when; see [`HealthCheck::probe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// How long after the start, and after the end of each probe, the next one begins.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// How long failures after the start do not count.
    pub start_period: Duration,
    /// The interval within the start period, until a probe succeeds.
    pub start_interval: Duration,
    /// How many failures in a row make the container unhealthy.
    pub retries: u32,
    /// What is done then.
    pub on_unhealthy: OnUnhealthy,
}

impl Probe {
    /// How long after the start, or after the end of the last probe, the next one begins; `age` is how long the container
    /// has run.
    pub fn pause(&self, status: HealthStatus, age: Duration) -> Duration {
        let starting = age < self.start_period && status == HealthStatus::Starting;
        if starting { self.start_interval } else { self.interval }
    }
}

/// Whether a container does what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// No probe has succeeded yet, and not enough have failed.
    Starting,
    /// The last probes did not fail as often as it takes to be unhealthy.
    Healthy,
    /// As many probes in a row failed, or nobody probes it any more: it is paused, or has ended.
    Unhealthy,
}

impl HealthStatus {
    /// All of them.
    pub const ALL: [HealthStatus; 3] = [HealthStatus::Starting, HealthStatus::Healthy, HealthStatus::Unhealthy];

    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

/// One run of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Its exit status, or [`NO_EXIT_CODE`].
    pub exit_code: i32,
    /// What it wrote, cut to [`MAX_OUTPUT_BYTES`].
    pub output: String,
}

/// The health of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The word for it.
    pub status: HealthStatus,
    /// How many probes in a row have failed; those of the start period are not counted.
    pub failing_streak: u32,
    /// The last results, oldest first, at most [`MAX_RESULTS`].
    pub log: Vec<HealthResult>,
}

impl Default for Health {
    fn default() -> Health {
        Health { status: HealthStatus::Starting, failing_streak: 0, log: Vec::new() }
    }
}

impl Health {
    /// Takes a result in. `age` is how long the container had run when the probe began. Returns whether the status is
    /// another now.
    pub fn take(&mut self, result: HealthResult, probe: &Probe, age: Duration) -> bool {
        let before = self.status;
        let good = result.exit_code == 0;
        if self.log.len() >= MAX_RESULTS {
            self.log.drain(..=self.log.len() - MAX_RESULTS);
        }
        self.log.push(result);
        if good {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if self.status != HealthStatus::Starting || age >= probe.start_period {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= probe.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.status != before
    }

    /// The container was started: what happened before is remembered, and counts no more.
    pub fn reset(&mut self) {
        (self.status, self.failing_streak) = (HealthStatus::Starting, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(test: &[&str]) -> HealthCheck {
        HealthCheck { test: test.iter().map(|&word| word.to_owned()).collect(), ..HealthCheck::default() }
    }

    fn probe(retries: u32, start_period_s: u64) -> Probe {
        let check = HealthCheck {
            retries: Some(retries),
            start_period: Some(Duration::from_secs(start_period_s)),
            ..check(&["CMD", "true"])
        };
        check.probe(&[], OnUnhealthy::None).unwrap()
    }

    fn ended(exit_code: i32) -> HealthResult {
        let (start, end) = (Timestamp::from_nanos(1), Timestamp::from_nanos(2));
        HealthResult { start, end, exit_code, output: String::new() }
    }

    #[test]
    fn options_replace_the_images_settings_one_by_one() {
        let image = HealthCheck { interval: Some(Duration::from_secs(5)), retries: Some(9), ..check(&["CMD", "a"]) };
        let options = HealthCheck { retries: Some(2), ..HealthCheck::default() };
        let joined = options.over(&image);
        assert_eq!((joined.test.join(" "), joined.retries), ("CMD a".to_owned(), Some(2)));
        assert_eq!(joined.interval, Some(Duration::from_secs(5)));
        assert!(!HealthCheck::none().over(&image).is_on());
        assert_eq!(check(&["CMD-SHELL", "b"]).over(&image).test.join(" "), "CMD-SHELL b");
    }

    #[test]
    fn a_probe_has_dockers_defaults_and_the_images_shell() {
        let plain = check(&["CMD-SHELL", "test -e /ready"]).probe(&[], OnUnhealthy::None).unwrap();
        assert_eq!(plain.args, ["/bin/sh", "-c", "test -e /ready"]);
        assert_eq!((plain.interval, plain.timeout), (Duration::from_secs(30), Duration::from_secs(30)));
        assert_eq!((plain.start_period, plain.start_interval), (Duration::ZERO, Duration::from_secs(5)));
        assert_eq!(plain.retries, 3);
        let shell = ["/bin/bash".to_owned(), "-ec".to_owned()];
        let other = check(&["CMD-SHELL", "x"]).probe(&shell, OnUnhealthy::Kill).unwrap();
        assert_eq!((other.args.join(" "), other.on_unhealthy), ("/bin/bash -ec x".to_owned(), OnUnhealthy::Kill));
        for test in [&[][..], &["NONE"], &["NONE", "x"], &["HTTP", "/"], &["true"]] {
            assert!(!check(test).is_on(), "{test:?}");
        }
    }

    #[test]
    fn as_many_failures_in_a_row_as_retries_make_it_unhealthy() {
        let (probe, old) = (probe(3, 0), Duration::from_secs(60));
        let mut health = Health::default();
        assert!(!health.take(ended(1), &probe, old));
        assert!(health.take(ended(0), &probe, old));
        for code in [1, NO_EXIT_CODE] {
            assert!(!health.take(ended(code), &probe, old));
            assert_eq!(health.status, HealthStatus::Healthy);
        }
        assert!(health.take(ended(2), &probe, old));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Unhealthy, 3));
        assert!(health.take(ended(0), &probe, old));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        let codes: Vec<i32> = health.log.iter().map(|result| result.exit_code).collect();
        assert_eq!(codes, [0, 1, NO_EXIT_CODE, 2, 0]);
    }

    #[test]
    fn failures_within_the_start_period_do_not_count_until_a_probe_succeeded() {
        let (probe, young) = (probe(1, 30), Duration::from_secs(10));
        let mut health = Health::default();
        assert!(!health.take(ended(1), &probe, young));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 0));
        assert_eq!(probe.pause(health.status, young), DEFAULT_START_INTERVAL);
        assert!(health.take(ended(0), &probe, young));
        assert_eq!(probe.pause(health.status, young), DEFAULT_INTERVAL);
        assert!(health.take(ended(1), &probe, young));
        assert_eq!(health.status, HealthStatus::Unhealthy);
        health.reset();
        assert!(health.take(ended(1), &probe, Duration::from_secs(30)));
        assert_eq!(health.log.len(), 4);
    }
}
