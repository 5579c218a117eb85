//! Standard output: one locked, buffered writer for all results.
//!
//! A closed pipe is remembered, so that the command ends quietly with success instead of an error about its reader.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::Value;

use crate::base::{Context as _, Result};

/// Standard output was closed by its reader.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// Whether a write found standard output closed.
pub(crate) fn is_broken() -> bool {
    BROKEN.load(Ordering::Relaxed)
}

/// Names what failed, and remembers a closed pipe.
pub(crate) fn written(result: io::Result<()>) -> Result<()> {
    if let Err(error) = &result
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        BROKEN.store(true, Ordering::Relaxed);
    }
    result.context(|| "writing to standard output")
}

/// Standard output.
pub(crate) struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    pub(crate) fn new() -> Out {
        Out(BufWriter::with_capacity(64 * 1024, io::stdout().lock()))
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: impl Display) -> Result<()> {
        written(writeln!(self.0, "{text}"))
    }

    /// Writes a text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        written(self.0.write_all(text.as_bytes()))
    }

    /// Writes a value as compact JSON on one line.
    pub(crate) fn json(&mut self, value: &Value) -> Result<()> {
        self.line(value)
    }

    /// Writes a value as JSON for people, indented by four as Docker does.
    pub(crate) fn pretty_json(&mut self, value: &impl Serialize) -> Result<()> {
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut self.0, formatter);
        written(value.serialize(&mut serializer).map_err(io::Error::from))?;
        self.line("")
    }

    /// Gives the writer to something that writes bytes.
    pub(crate) fn writer(&mut self) -> Writer<'_> {
        Writer(&mut self.0)
    }

    /// Hands everything to the kernel.
    pub(crate) fn flush(&mut self) -> Result<()> {
        written(self.0.flush())
    }
}

/// Bytes to standard output; remembers a closed pipe.
pub(crate) struct Writer<'a>(&'a mut BufWriter<StdoutLock<'static>>);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).inspect_err(remember)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().inspect_err(remember)
    }
}

fn remember(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        BROKEN.store(true, Ordering::Relaxed);
    }
}
