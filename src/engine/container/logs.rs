//! What containers wrote: reading it, forgetting it, and what goes with every entry.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use regex::Regex;

use crate::base::failpoint;
use crate::base::{Context as _, Error, Id, Kind, Result};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::model::container::ContainerRecord;
use crate::model::log::{LogDriver, LogEntry, LogForm, LogLoss, LogOptions, LogQuery, LogSink};
use crate::runtime::client;
use crate::runtime::log::{self, LogFacts, MAX_ATTRS_BYTES, Peer};
use crate::runtime::state::Life;

/// How many last log lines go into the error of a wait in vain.
const ERROR_LOG_LINES: usize = 10;
/// The most that a regular expression of a log option may take when it is made ready, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// How long a monitor may take to say what is missing in a log: that is not worth hanging.
const ASIDE: Duration = Duration::from_millis(500);
/// How long a syslog server may take to answer when a container is made or started.
const PATIENCE: Duration = Duration::from_secs(5);
/// The port of syslog when none is given.
const SYSLOG_PORT: u16 = 514;

impl Engine {
    /// Gives log entries to `sink` until it breaks or there are no more. Returns what is missing in the log of the present
    /// or the last run.
    ///
    /// # Errors
    /// `unsupported` when the container keeps no log that can be read; what `sink` gives.
    pub fn container_logs(&self, container: &str, query: &LogQuery, sink: &mut dyn LogSink) -> Result<LogLoss> {
        self.container_logs_until(container, query, &self.interrupt, sink)
    }

    /// As [`Engine::container_logs`], until `interrupt` is set.
    pub(super) fn container_logs_until(
        &self,
        container: &str,
        query: &LogQuery,
        interrupt: &AtomicBool,
        sink: &mut dyn LogSink,
    ) -> Result<LogLoss> {
        let found = self.container_find(container)?;
        let form = form(&found)?;
        let (state_dir, run_dir) = (self.paths().container(&found.id), self.paths().container_run(&found.id));
        log::read(&state_dir, &run_dir, found.id.as_str(), form, query, interrupt, sink)
            .context(|| format!("reading the log of {:?}", found.name))?;
        Ok(self.container_log_lost(&found.id))
    }

    /// Forgets what a container wrote so far, whether it runs or not. Who follows its log goes on with what comes.
    ///
    /// # Errors
    /// `unsupported` when the container keeps no log; what removing the files gives.
    pub fn container_logs_clear(&self, container: &str) -> Result<()> {
        let found = self.container_find(container)?;
        let form = form(&found)?;
        let doing = || format!("clearing the log of {:?}", found.name);
        // Nobody starts or removes it meanwhile.
        let _lock = self.lock_container(&found.id)?;
        self.container_reload(&found.id)?;
        failpoint::hit("container.logs.clear")?;
        while let Some(mut monitor) = self.monitor_if_alive(&found.id)? {
            match monitor.clear_log() {
                // It has ended just now.
                Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Conflict) => {}
                cleared => return cleared.context(doing),
            }
        }
        log::clear(&self.paths().container(&found.id), found.id.as_str(), form).context(doing)
    }

    /// How much output of the present or the last run did not get into the log; nothing when that cannot be told.
    pub(super) fn container_log_lost(&self, id: &Id) -> LogLoss {
        match self.container_life(id) {
            Ok(Life::Alive(_)) => {
                let asked =
                    client::connect(&self.paths().container_run(id)).and_then(|mut monitor| monitor.log_lost(ASIDE));
                asked.unwrap_or_default()
            }
            Ok(Life::Ended(exit)) => exit.log_lost,
            _ => LogLoss::default(),
        }
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

    /// What the log of a container says about it, with its name as it is now, and who takes its entries.
    ///
    /// # Errors
    /// As [`log_facts`]; `unavailable` when nobody takes them.
    pub(super) fn log_facts(&self, record: &ContainerRecord) -> Result<LogFacts> {
        let log = &record.options.log;
        let name = match log.driver.is_remote() || log.tag.is_some() {
            true => self.container_find(record.id.as_str())?.name,
            false => String::new(),
        };
        log_facts(record, &name)
    }
}

/// What the log of a container of this name says about it, and who takes its entries.
///
/// # Errors
/// `invalid_argument` for a tag or a regular expression that cannot be read, and for more than fits an entry;
/// `unavailable` when nobody is there to take the entries.
pub(super) fn log_facts(record: &ContainerRecord, name: &str) -> Result<LogFacts> {
    let options = &record.options.log;
    let mut attrs = attributes(options, record)?;
    let remote = options.driver.is_remote();
    let mut tag = options.tag.as_deref().map(|text| tag(text, record, name)).transpose()?.unwrap_or_default();
    match options.driver {
        LogDriver::JsonFile | LogDriver::Local if !tag.is_empty() => drop(attrs.insert("tag".to_owned(), tag.clone())),
        _ if remote && tag.is_empty() => tag = record.id.short().to_owned(),
        _ => {}
    }
    let size: usize = attrs.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ATTRS_BYTES {
        return Err(Error::invalid(format!(
            "the labels and variables that go with every log entry take {size} bytes, more than {MAX_ATTRS_BYTES}"
        )));
    }
    if !remote {
        return Ok(LogFacts { attrs, tag, ..LogFacts::default() });
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let peer = match options.driver {
        LogDriver::Journald => journal()?,
        _ => syslog(options.syslog.address.as_deref())?,
    };
    Ok(LogFacts { attrs, tag, name: name.to_owned(), image: record.image.clone(), host, peer: Some(peer) })
}

fn journal() -> Result<Peer> {
    let peer = Peer::Datagrams(log::JOURNAL.into());
    match peer.probe(PATIENCE) {
        Ok(()) => Ok(peer),
        Err(error) => Err(Error::unavailable("journald is not enabled on this host")
            .with_hint(format!("nobody listens at {:?}; use the log driver \"local\" or \"json-file\"", log::JOURNAL))
            .with_source(error)),
    }
}

/// Who takes messages for syslog at this address; without one, this machine's own daemon.
fn syslog(address: Option<&str>) -> Result<Peer> {
    let unreachable = |what: &str, error: std::io::Error| {
        Error::unavailable(format!("no syslog server at {what:?}"))
            .with_hint("start it first, or name another one with --log-opt syslog-address=…")
            .with_source(error)
    };
    let (what, candidates): (&str, Vec<Peer>) = match address.and_then(|address| address.split_once("://")) {
        None => {
            let paths = ["/dev/log", "/var/run/syslog", "/var/run/log"];
            let both = |path: &str| [Peer::Datagrams(path.into()), Peer::Stream(path.into())];
            ("/dev/log", paths.into_iter().flat_map(both).collect())
        }
        Some(("unixgram", path)) => (path, vec![Peer::Datagrams(path.into())]),
        Some(("unix", path)) => (path, vec![Peer::Stream(path.into()), Peer::Datagrams(path.into())]),
        Some((scheme, host)) => {
            let addresses = resolve(host)?;
            let peer = if scheme == "udp" { Peer::Udp } else { Peer::Tcp };
            (host, addresses.into_iter().map(peer).collect())
        }
    };
    let mut first = None;
    for peer in candidates {
        match peer.probe(PATIENCE) {
            Ok(()) => return Ok(peer),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(unreachable(what, first.unwrap_or_else(|| std::io::ErrorKind::NotFound.into())))
}

/// The addresses of `host[:port]`. A name is looked up now, so that the monitor need not: that may take its time.
fn resolve(host: &str) -> Result<Vec<SocketAddr>> {
    let with_port = match host.parse::<SocketAddr>().is_ok() || has_port(host) {
        true => host.to_owned(),
        false => format!("{host}:{SYSLOG_PORT}"),
    };
    let found: Vec<SocketAddr> = with_port
        .to_socket_addrs()
        .map_err(|error| Error::unavailable(format!("no address of the syslog server {host:?}")).with_source(error))?
        .collect();
    Ok(found)
}

/// It ends with a port: `host:514`, `[::1]:514`.
fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(name, port)| {
        port.parse::<u16>().is_ok() && (!name.contains(':') || (name.starts_with('[') && name.ends_with(']')))
    })
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
