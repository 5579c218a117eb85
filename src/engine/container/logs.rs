//! What containers wrote: reading it, forgetting it, and what goes with every entry.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use regex::Regex;

use crate::base::{Error, Id, Result};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::model::container::ContainerRecord;
use crate::model::log::{LogDriver, LogEntry, LogForm, LogOptions, LogQuery, LogSink};
use crate::runtime::log::{self, LogFacts, MAX_ATTRS_BYTES};

/// How many last log lines go into the error of a wait in vain.
const ERROR_LOG_LINES: usize = 10;
/// The most that a regular expression of a log option may take when it is made ready, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

impl Engine {
    /// Gives log entries to `sink` until it breaks or there are no more.
    ///
    /// # Errors
    /// `unsupported` when the container keeps no log that can be read; what `sink` gives.
    pub fn container_logs(&self, container: &str, query: &LogQuery, sink: &mut dyn LogSink) -> Result<()> {
        self.container_logs_until(container, query, &self.interrupt, sink)
    }

    /// As [`Engine::container_logs`], until `interrupt` is set.
    pub(super) fn container_logs_until(
        &self,
        container: &str,
        query: &LogQuery,
        interrupt: &AtomicBool,
        sink: &mut dyn LogSink,
    ) -> Result<()> {
        let found = self.container_find(container)?;
        let form = form(&found)?;
        let (state_dir, run_dir) = (self.paths().container(&found.id), self.paths().container_run(&found.id));
        log::read(&state_dir, &run_dir, found.id.as_str(), form, query, interrupt, sink)
            .map_err(|error| error.context(format!("reading the log of {:?}", found.name)))
    }

    /// Adds the last lines of the log to an error.
    pub(super) fn with_log_tail(&self, container: &Id, error: Error) -> Error {
        let query = LogQuery { tail: Some(ERROR_LOG_LINES), ..LogQuery::default() };
        let mut text = String::new();
        let read = self.container_logs(container.as_str(), &query, &mut |entry: LogEntry<'_>| {
            text.push_str(&String::from_utf8_lossy(entry.bytes));
            Ok(ControlFlow::Continue(()))
        });
        if read.is_err() || text.trim().is_empty() {
            return error;
        }
        let message = format!("{}; its last log lines:\n{}", error.message(), text.trim_end());
        Error::new(error.kind(), message)
    }

    /// What the log of a container says about it, with its name as it is now.
    ///
    /// # Errors
    /// `invalid_argument` for a tag or a regular expression that cannot be read, and for more than fits an entry.
    pub(super) fn log_facts(&self, record: &ContainerRecord) -> Result<LogFacts> {
        let log = &record.options.log;
        let name = match log.driver == LogDriver::Journald || log.tag.is_some() {
            true => self.container_find(record.id.as_str())?.name,
            false => String::new(),
        };
        log_facts(record, &name)
    }
}

/// As [`Engine::log_facts`], for a container of this name.
pub(super) fn log_facts(record: &ContainerRecord, name: &str) -> Result<LogFacts> {
    let options = &record.options.log;
    if options.driver.is_remote() || options.compress == Some(true) {
        return Err(Error::unsupported("this log driver or option is not supported yet"));
    }
    let mut attrs = attributes(options, record)?;
    let tag = options.tag.as_deref().map(|text| tag(text, record, name)).transpose()?;
    if let (Some(tag), LogDriver::JsonFile | LogDriver::Local) = (&tag, options.driver) {
        attrs.insert("tag".to_owned(), tag.clone());
    }
    let size: usize = attrs.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ATTRS_BYTES {
        return Err(Error::invalid(format!(
            "the labels and variables that go with every log entry take {size} bytes, more than {MAX_ATTRS_BYTES}"
        )));
    }
    Ok(LogFacts { attrs })
}

/// The form of the files that can be read.
fn form(found: &Found) -> Result<LogForm> {
    let options = &found.record.options.log;
    options.files().map(|files| files.form).ok_or_else(|| {
        let error = Error::unsupported(format!("the container {:?} keeps no log", found.name));
        match options.driver {
            LogDriver::None => error.with_hint("its log driver is \"none\""),
            driver => error.with_hint(format!(
                "its log driver is {:?}, and \"cache-disabled\" leaves no copy here",
                driver.as_str()
            )),
        }
    })
}

/// The labels and variables that were asked for.
fn attributes(options: &LogOptions, record: &ContainerRecord) -> Result<BTreeMap<String, String>> {
    let labels = record.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let env = record.env.iter().filter_map(|entry| entry.split_once('='));
    let mut attrs = chosen(labels, &options.labels, "labels-regex", options.labels_regex.as_deref())?;
    attrs.extend(chosen(env, &options.env, "env-regex", options.env_regex.as_deref())?);
    Ok(attrs)
}

fn chosen<'a>(
    all: impl Iterator<Item = (&'a str, &'a str)>,
    names: &[String],
    option: &str,
    regex: Option<&str>,
) -> Result<BTreeMap<String, String>> {
    let regex = regex
        .map(|text| regex::RegexBuilder::new(text).size_limit(MAX_REGEX_BYTES).build())
        .transpose()
        .map_err(|error| {
            let why = error.to_string();
            let last = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Error::invalid(format!("log option {option:?} is not a regular expression: {last}"))
        })?;
    let wanted = |key: &str| {
        names.iter().any(|name| name == key) || regex.as_ref().is_some_and(|regex: &Regex| regex.is_match(key))
    };
    Ok(all.filter(|(key, _)| wanted(key)).map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// Renders a tag: text with Docker's fields, `{{.Name}}`.
fn tag(text: &str, record: &ContainerRecord, name: &str) -> Result<String> {
    let refuse = |what: String| {
        Error::invalid(what).with_hint(
            "a tag takes {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageID}}, {{.ImageFullID}}, {{.ImageName}}, \
             {{.DaemonName}} and {{.Command}}",
        )
    };
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, field)) = rest.split_once("{{") {
        out.push_str(before);
        let (field, after) = field
            .split_once("}}")
            .ok_or_else(|| refuse(format!("the log tag {text:?} has a {{{{ without its }}}}")))?;
        let image_id = record.image_id.to_string();
        match field.trim() {
            ".ID" => out.push_str(record.id.short()),
            ".FullID" => out.push_str(record.id.as_str()),
            ".Name" => out.push_str(name),
            ".ImageID" => out.push_str(image_id.get(..12).unwrap_or(&image_id)),
            ".ImageFullID" => out.push_str(&image_id),
            ".ImageName" => out.push_str(&record.image),
            ".DaemonName" => out.push_str("rhumb"),
            ".Command" => out.push_str(&record.args.join(" ")),
            other => return Err(refuse(format!("the log tag {text:?} has the unknown field {other:?}"))),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}
