//! Commands in running containers.

use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use crate::base::{Context as _, Error, Id, Result};
use crate::engine::Engine;
use crate::engine::container::{AttachEnd, Attachment, MAX_CAPTURE_BYTES, tell};
use crate::model::exec::{ExecOptions, Output};
use crate::model::log::Stream;
use crate::runtime::client::{self, Monitor};

impl Engine {
    /// Runs a command in a running container and captures its output. A non-zero exit is data.
    ///
    /// # Errors
    /// `conflict` when it does not run; `command_failed` with 126 or 127; `timeout`, `interrupted` (the command is killed).
    pub fn container_exec(
        &self,
        container: &str,
        options: &ExecOptions,
        stdin: Option<&[u8]>,
        timeout: Option<Duration>,
    ) -> Result<Output> {
        let begun = Instant::now();
        let mut capture = Capture::default();
        let end = feed(stdin, |stdin| {
            let attachment = Attachment {
                stdin,
                output: &mut |stream, bytes| capture.take(stream, bytes),
                terminal: None,
                detach_keys: Vec::new(),
                signals: None,
                interrupt: &self.interrupt,
                deadline: timeout.map(|timeout| begun + timeout),
            };
            self.container_exec_attached(container, options, attachment)
        })?;
        match end {
            AttachEnd::Exited(code) => Ok(capture.output(code, begun.elapsed())),
            AttachEnd::Detached => Err(Error::failed("the command was detached from")),
        }
    }

    /// Runs a command in a running container with its streams attached.
    ///
    /// # Errors
    /// As [`Engine::container_exec`].
    pub fn container_exec_attached(
        &self,
        container: &str,
        options: &ExecOptions,
        attachment: Attachment<'_>,
    ) -> Result<AttachEnd> {
        let mut monitor = self.exec_monitor(container, options)?;
        let end = monitor.exec(options, attachment);
        if let (Ok(AttachEnd::Detached), Some(id), Ok(found)) =
            (&end, monitor.exec_id(), self.container_find(container))
        {
            self.tell(&tell::event(&found.record, &found.name, "exec_detach").with("execID", id));
        }
        end
    }

    /// Starts a command in a running container and leaves it; its identity.
    ///
    /// # Errors
    /// As [`Engine::container_exec`].
    pub fn container_exec_detached(&self, container: &str, options: &ExecOptions) -> Result<Id> {
        self.exec_monitor(container, options)?.exec_detached(options)
    }

    fn exec_monitor(&self, container: &str, options: &ExecOptions) -> Result<Monitor> {
        if options.args.first().is_none_or(String::is_empty) {
            return Err(Error::invalid("no command given"));
        }
        let found = self.container_find(container)?;
        self.container_monitor(&found.id, &found.name)
    }

    /// The monitor of a running container.
    pub(super) fn container_monitor(&self, id: &Id, name: &str) -> Result<Monitor> {
        client::connect(&self.paths().container_run(id)).map_err(|error| match error.kind() {
            crate::base::Kind::Conflict => Error::conflict(format!("the container {name:?} does not run")),
            _ => error.context(format!("reaching the container {name:?}")),
        })
    }
}

/// Collects output up to [`MAX_CAPTURE_BYTES`] a stream.
#[derive(Default)]
pub(super) struct Capture {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Capture {
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        let into = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if into.len() + bytes.len() > MAX_CAPTURE_BYTES {
            return Err(Error::failed("the command wrote more than 64 MiB, which is the most that is captured")
                .with_hint("let it write to a file or a volume"));
        }
        into.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn output(self, code: i32, elapsed: Duration) -> Output {
        Output { code, stdout: self.stdout, stderr: self.stderr, elapsed }
    }
}

/// Runs `work` with a descriptor from which `bytes` can be read.
pub(super) fn feed<T>(bytes: Option<&[u8]>, work: impl FnOnce(Option<BorrowedFd<'_>>) -> Result<T>) -> Result<T> {
    let Some(bytes) = bytes else { return work(None) };
    let (reader, mut writer) = std::io::pipe().context(|| "making a pipe")?;
    std::thread::scope(|scope| {
        // A command that ends without reading all of its input closes the pipe, which is not our error.
        scope.spawn(move || drop(writer.write_all(bytes)));
        let done = work(Some(reader.as_fd()));
        drop(reader);
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capture_refuses_more_than_its_limit() {
        let mut capture = Capture::default();
        capture.take(Stream::Stdout, b"out").unwrap();
        capture.take(Stream::Stderr, &vec![0; MAX_CAPTURE_BYTES]).unwrap();
        assert!(capture.take(Stream::Stderr, b"x").is_err());
        assert_eq!(capture.output(3, Duration::ZERO).stdout, b"out");
    }

    #[test]
    fn feeding_a_reader_that_stops_early_does_not_block() {
        let bytes = vec![7u8; 1 << 20];
        let read = feed(Some(&bytes), |fd| Ok(fd.is_some())).unwrap();
        assert!(read);
    }
}
