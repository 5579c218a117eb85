//! What a container wrote: its handle's methods `logs`, `follow` and `clear_logs`.

use std::ops::ControlFlow;

use rhai::plugin::*;
use rhai::{Dynamic, FnPtr, Map, NativeCallContext};

use crate::base::{Error, Result};
use crate::docker::logging;
use crate::model::log::{LogEntry, LogQuery, LogSink, Stream, missed_words};
use crate::script::container::Container;
use crate::script::context::{Host, tag};
use crate::script::convert::Keys;
use crate::script::error::{Fallible, Raise};

/// What a script asks of a log.
#[derive(Default)]
struct Wanted {
    query: LogQuery,
    timestamps: bool,
    details: bool,
}

impl Wanted {
    fn read(of: &'static str, options: Map) -> Result<Wanted> {
        let mut keys = Keys::new(of, options);
        let stream = match keys.text("stream")?.as_deref() {
            None => None,
            Some("stdout") => Some(Stream::Stdout),
            Some("stderr") => Some(Stream::Stderr),
            Some(other) => {
                return Err(Error::invalid(format!("{other:?} is not a stream")).with_hint("stdout or stderr"));
            }
        };
        let query = LogQuery {
            follow: false,
            // As on the command line, a negative number is all.
            tail: keys.integer("tail")?.and_then(|n| usize::try_from(n).ok()),
            since: keys.time("since")?,
            until: keys.time("until")?,
            stream,
        };
        let wanted = Wanted { query, timestamps: keys.flag("timestamps")?, details: keys.flag("details")? };
        keys.finish()?;
        Ok(wanted)
    }

    /// What goes before an entry.
    fn head(&self, entry: &LogEntry<'_>) -> String {
        let mut head = String::new();
        if self.timestamps {
            head += &logging::fixed_time(entry.time);
            head.push(' ');
        }
        if self.details {
            logging::details(entry.attrs, &mut head);
        }
        head
    }
}

fn logs(container: &Container, wanted: &Wanted) -> Result<String> {
    let mut bytes = Vec::new();
    container.engine.container_logs(container.id.as_str(), &wanted.query, &mut |entry: LogEntry<'_>| {
        bytes.extend_from_slice(wanted.head(&entry).as_bytes());
        bytes.extend_from_slice(entry.bytes);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Gives whole lines to a closure; pieces of a long line are put together first, each stream's for itself.
struct Lines<'a> {
    ctx: &'a NativeCallContext<'a>,
    host: rhai::Shared<Host>,
    closure: &'a FnPtr,
    wanted: &'a Wanted,
    rest: [Vec<u8>; 2],
    failure: Option<Box<rhai::EvalAltResult>>,
}

impl Lines<'_> {
    fn call(&mut self, line: &[u8]) -> ControlFlow<()> {
        let line = String::from_utf8_lossy(line).into_owned();
        match self.closure.call_within_context::<Dynamic>(self.ctx, (line,)) {
            Ok(answer) if answer.as_bool() == Ok(false) => ControlFlow::Break(()),
            Ok(_) if self.host.is_stopping() => ControlFlow::Break(()),
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl LogSink for Lines<'_> {
    fn entry(&mut self, entry: LogEntry<'_>) -> Result<ControlFlow<()>> {
        let rest = &mut self.rest[entry.stream as usize];
        if rest.is_empty() {
            rest.extend_from_slice(self.wanted.head(&entry).as_bytes());
        }
        rest.extend_from_slice(entry.bytes);
        if rest.last() != Some(&b'\n') {
            return Ok(ControlFlow::Continue(()));
        }
        rest.pop();
        let line = std::mem::take(rest);
        Ok(self.call(&line))
    }

    fn pause(&mut self) -> Result<ControlFlow<()>> {
        Ok(if self.host.is_stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn missed(&mut self, files: u64) -> Result<()> {
        self.host.note(&missed_words(files));
        Ok(())
    }
}

/// Gives log lines to a closure until it returns false or the container ends.
fn follow(ctx: &NativeCallContext, container: &Container, wanted: &Wanted, closure: &FnPtr) -> Fallible<()> {
    let host = tag(ctx)?.host;
    let query = LogQuery { follow: true, ..wanted.query.clone() };
    let mut lines = Lines { ctx, host, closure, wanted, rest: Default::default(), failure: None };
    let mut ended = false;
    let result = container.engine.container_logs(
        container.id.as_str(),
        &query,
        &mut Ended { lines: &mut lines, ended: &mut ended },
    );
    for rest in std::mem::take(&mut lines.rest) {
        // The last line has no line end.
        if result.is_ok() && !ended && !rest.is_empty() {
            ended = lines.call(&rest).is_break();
        }
    }
    lines.failure.map_or_else(|| result.map(drop).raise(ctx), Err)
}

/// Remembers that the closure wants no more.
struct Ended<'a, 'b> {
    lines: &'a mut Lines<'b>,
    ended: &'a mut bool,
}

impl LogSink for Ended<'_, '_> {
    fn entry(&mut self, entry: LogEntry<'_>) -> Result<ControlFlow<()>> {
        let flow = self.lines.entry(entry)?;
        *self.ended = flow.is_break();
        Ok(flow)
    }

    fn pause(&mut self) -> Result<ControlFlow<()>> {
        self.lines.pause()
    }

    fn missed(&mut self, files: u64) -> Result<()> {
        self.lines.missed(files)
    }
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod container_logs {
    use super::*;

    /// Its log as text. Options: `tail` (lines), `since` and `until` (a time or an age), `stream` ("stdout" or "stderr"),
    /// `timestamps`, `details` (labels, variables and the tag that the log driver was told to keep).
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "echo one; echo two" });
    /// c.wait();
    /// assert(c.logs(#{ tail: 1 }) == "two\n");
    /// c.remove();
    /// ```
    #[rhai_fn(global, name = "logs", return_raw)]
    pub fn logs_with(ctx: NativeCallContext, container: Container, options: Map) -> Fallible<String> {
        Wanted::read("logs", options).and_then(|wanted| logs(&container, &wanted)).raise(&ctx)
    }

    #[rhai_fn(global, name = "logs", return_raw)]
    pub fn logs_default(ctx: NativeCallContext, container: Container) -> Fallible<String> {
        logs(&container, &Wanted::default()).raise(&ctx)
    }

    /// Calls a closure with every line of its log, those to come included, until the closure returns false or the
    /// container ends; a restart by its policy is not its end. The options are those of `logs`. A closure that uses the
    /// container itself needs the function form, `follow(c, |line| …)`.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "echo one; echo two; sleep 300" });
    /// c.follow(|line| line != "two");
    /// c.follow(#{ tail: 1 }, |line| { assert(line == "two"); false });
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "follow", return_raw)]
    pub fn follow_lines(ctx: NativeCallContext, container: Container, closure: FnPtr) -> Fallible<()> {
        follow(&ctx, &container, &Wanted::default(), &closure)
    }

    /// Forgets what it wrote so far; who follows its log goes on with what comes.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "echo one" });
    /// c.wait();
    /// c.clear_logs();
    /// assert(c.logs() == "");
    /// c.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn clear_logs(ctx: NativeCallContext, container: Container) -> Fallible<()> {
        container.engine.container_logs_clear(container.id.as_str()).raise(&ctx)
    }

    #[rhai_fn(global, name = "follow", return_raw)]
    pub fn follow_with(ctx: NativeCallContext, container: Container, options: Map, closure: FnPtr) -> Fallible<()> {
        let wanted = Wanted::read("follow", options).raise(&ctx)?;
        follow(&ctx, &container, &wanted, &closure)
    }
}
