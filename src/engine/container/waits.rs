//! Waiting until a container is ready: healthy, listening, answering, or saying so.
//!
//! Every wait has a deadline on the monotonic clock and ends early, with an error, when the container ends. The container's
//! last log lines are in each error. What ends a container is waited for elsewhere.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use crate::base::{Error, Id, Result, time, units};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::model::container::State;
use crate::model::health::HealthStatus;
use crate::model::log::{LogEntry, LogQuery};
use crate::runtime::reach;
use crate::runtime::state::{Life, RunState};

/// How often a container is looked at.
const LOOK: Duration = Duration::from_millis(25);
/// How long one connection may take, and one answer.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How much of an answer is read to find its status, in bytes.
const MAX_STATUS_LINE: usize = 1024;
/// How much of a probe's output goes into an error, in bytes.
const SHOWN_OUTPUT: usize = 400;

/// A wait under way.
struct Wait<'a> {
    engine: &'a Engine,
    found: Found,
    timeout: Duration,
    deadline: Instant,
    /// What is waited for, as `to be healthy`.
    what: String,
}

impl Engine {
    /// Waits until the health check of a container says healthy.
    ///
    /// # Errors
    /// `invalid_argument` for a container without a health check; `conflict` when it does not run or ends; `timeout`,
    /// `interrupted`.
    pub fn container_wait_healthy(&self, container: &str, timeout: Duration) -> Result<()> {
        let wait = self.wait(container, timeout, "to be healthy".to_owned())?;
        if wait.found.record.probe().is_none() {
            return Err(Error::invalid(format!("the container {:?} has no health check", wait.found.name))
                .with_hint("give it one with healthcheck, or wait for a port or a line of its log"));
        }
        wait.until(|state, _| Ok(state.health.as_ref().is_some_and(|health| health.status == HealthStatus::Healthy)))
    }

    /// Waits until something in the container's network listens on a TCP port, on its loopback interface or on all.
    ///
    /// # Errors
    /// `conflict` when the container does not run or ends; `timeout`, `interrupted`.
    pub fn container_wait_port(&self, container: &str, port: u16, timeout: Duration) -> Result<()> {
        let wait = self.wait(container, timeout, format!("to listen on port {port}"))?;
        wait.until(|_, run| Ok(run.is_some_and(|run| matches!(reach::connect(run, port, wait.patience()), Ok(Ok(_))))))
    }

    /// Waits until a GET of `path` on a TCP port of the container is answered with a status from 200 to 399.
    ///
    /// # Errors
    /// `invalid_argument` for a path that cannot be asked for; otherwise as [`Engine::container_wait_port`].
    pub fn container_wait_http(&self, container: &str, port: u16, path: &str, timeout: Duration) -> Result<()> {
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid(format!("{path:?} is not a path for HTTP"))
                .with_hint("begin it with a slash, and write other than plain characters as %20"));
        }
        let mut answer = None;
        let wait = self.wait(container, timeout, format!("to answer on port {port} at {path}"))?;
        let waited = wait.until(|_, run| {
            let Some(run) = run else { return Ok(false) };
            if let Ok(Ok(stream)) = reach::connect(run, port, wait.patience()) {
                answer = http_status(stream, port, path, wait.patience());
            }
            Ok(answer.is_some_and(|status| (200..400).contains(&status)))
        });
        waited.map_err(|error| match answer {
            Some(status) => error.with_source(Error::failed(format!("its last answer had the status {status}"))),
            None => error,
        })
    }

    /// Waits until the log of a container's present run contains `text`; for one that has ended, of its last run.
    ///
    /// # Errors
    /// `unsupported` when the container keeps no log; otherwise as [`Engine::container_wait_port`].
    pub fn container_wait_log(&self, container: &str, text: &str, timeout: Duration) -> Result<()> {
        let wait = self.wait_of_any(container, timeout, format!("to write {text:?}"))?;
        let id = wait.found.id.as_str();
        let query = LogQuery { follow: true, since: self.container_state(&wait.found)?.started, ..LogQuery::default() };
        // The reader goes on until the container has ended; that it shall stop, another flag tells it.
        let stop = AtomicBool::new(false);
        let (sender, receiver) = sync_channel(1);
        let found = std::thread::scope(|scope| {
            let stop = &stop;
            scope.spawn(move || {
                let mut last = Vec::new();
                let mut found = text.is_empty();
                let read = self.container_logs_until(id, &query, stop, &mut |entry: LogEntry<'_>| {
                    last.extend_from_slice(entry.bytes);
                    found |= contains(&last, text.as_bytes());
                    last.drain(..last.len().saturating_sub(text.len()));
                    Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                });
                // Whoever waits for it may have given up.
                let _ = sender.send(read.map(|_lost| found));
            });
            let result = loop {
                match receiver.recv_timeout(LOOK) {
                    Ok(result) => break result,
                    Err(RecvTimeoutError::Disconnected) => break Err(Error::failed("the log's reader is gone")),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if let Err(error) = wait.check() {
                    break Err(error);
                }
            };
            stop.store(true, Ordering::Relaxed);
            result
        });
        if found? { Ok(()) } else { Err(wait.ended()) }
    }

    /// A wait for a container that runs.
    fn wait(&self, container: &str, timeout: Duration, what: String) -> Result<Wait<'_>> {
        let wait = self.wait_of_any(container, timeout, what)?;
        match self.container_state(&wait.found)?.status.is_alive() {
            true => Ok(wait),
            false => Err(Error::conflict(format!("the container {:?} does not run", wait.found.name))),
        }
    }

    fn wait_of_any(&self, container: &str, timeout: Duration, what: String) -> Result<Wait<'_>> {
        let deadline = time::deadline(timeout);
        Ok(Wait { engine: self, found: self.container_find(container)?, timeout, deadline, what })
    }

    fn run_state(&self, id: &Id) -> Result<Option<RunState>> {
        match self.container_life(id)? {
            Life::Alive(run) => Ok(Some(run)),
            _ => Ok(None),
        }
    }
}

impl Wait<'_> {
    /// Looks again and again until `ready` says so.
    fn until(&self, mut ready: impl FnMut(&State, Option<&RunState>) -> Result<bool>) -> Result<()> {
        loop {
            // Asked before looking: what was so before the end is then seen for certain.
            let state = self.engine.container_state(&self.found)?;
            let run = self.engine.run_state(&self.found.id)?;
            if ready(&state, run.as_ref())? {
                return Ok(());
            }
            if !state.status.is_alive() {
                return Err(self.ended());
            }
            self.check()?;
            std::thread::sleep(LOOK.min(self.deadline.saturating_duration_since(Instant::now())));
        }
    }

    /// How long one attempt may take.
    fn patience(&self) -> Duration {
        // A timeout of zero is refused by the standard library.
        self.deadline.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), ATTEMPT)
    }

    fn check(&self) -> Result<()> {
        self.engine.check_interrupt()?;
        if Instant::now() < self.deadline {
            return Ok(());
        }
        let waited = units::short_duration(self.timeout);
        let message = format!("waited {waited} in vain for the container {:?} {}", self.found.name, self.what);
        Err(self.explained(Error::timeout(message)))
    }

    fn ended(&self) -> Error {
        let how = match self.engine.container_state(&self.found) {
            Ok(State { exit_code: Some(code), .. }) => format!(" with status {code}"),
            _ => String::new(),
        };
        let message = format!("the container {:?} ended{how} while it was waited for {}", self.found.name, self.what);
        self.explained(Error::conflict(message))
    }

    /// With what the last probe said, and the last lines of the log.
    fn explained(&self, error: Error) -> Error {
        let last = self.engine.container_get(self.found.id.as_str()).ok().and_then(|now| now.state.health?.log.pop());
        let error = match last.filter(|result| result.exit_code != 0) {
            Some(result) => {
                let output: String = result.output.trim().chars().take(SHOWN_OUTPUT).collect();
                let message = format!("{}; its last check: exit code {}: {output}", error.message(), result.exit_code);
                Error::new(error.kind(), message)
            }
            None => error,
        };
        self.engine.with_log_tail(&self.found.id, error)
    }
}

/// Whether `text` is in `bytes`.
fn contains(bytes: &[u8], text: &[u8]) -> bool {
    !text.is_empty() && bytes.windows(text.len()).any(|window| window == text)
}

/// Asks for `path` and reads the status of the answer (RFC 9112, "Status Line"); none for no answer in time, or none of HTTP.
fn http_status(mut stream: TcpStream, port: u16, path: &str, patience: Duration) -> Option<u16> {
    let deadline = Instant::now() + patience;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: rhumb\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.set_write_timeout(Some(patience)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut buffer = [0; MAX_STATUS_LINE];
    while !answer.contains(&b'\n') && answer.len() < MAX_STATUS_LINE {
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left).filter(|left| !left.is_zero())).ok().filter(|()| !left.is_zero())?;
        match stream.read(&mut buffer).ok()? {
            0 => break,
            length => answer.extend_from_slice(&buffer[..length]),
        }
    }
    parse_status(&answer)
}

fn parse_status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    let status = words.next()?.trim_end();
    status.parse().ok().filter(|code| status.len() == 3 && (100..600).contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_line_of_http_is_an_answer() {
        assert_eq!(parse_status(b"HTTP/1.1 204 No Content\r\nX: y\r\n"), Some(204));
        assert_eq!(parse_status(b"HTTP/1.0 503\r\n"), Some(503));
        for other in
            [b"".as_slice(), b"SSH-2.0-x\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1 20 x\r\n", b"HTTP/2 200\r\n", b"\xff 200"]
        {
            assert_eq!(parse_status(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_text_is_found_only_where_it_is() {
        assert!(contains(b"all is ready", b"ready"));
        assert!(!contains(b"read", b"ready") && !contains(b"x", b""));
    }
}
