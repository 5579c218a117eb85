//! Two halves of one work with a pipe between them: one makes a stream on a thread of its own, the other takes it in.

use std::io::{self, PipeWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::base::{Context as _, Error, Result};

/// Runs both and gives what both give. What made one fail is told, not that the other found its end of the pipe closed.
pub(super) fn through<A: Send, B>(
    make: impl FnOnce(&mut dyn Write) -> Result<A> + Send,
    take: impl FnOnce(&mut dyn Read) -> Result<B>,
) -> Result<(A, B)> {
    let (mut reader, pipe) = io::pipe().context(|| "making a pipe")?;
    let unread = Arc::new(AtomicBool::new(false));
    let mut writer = End { pipe, unread: Arc::clone(&unread) };
    std::thread::scope(|scope| {
        let maker = std::thread::Builder::new()
            .name("make".into())
            .spawn_scoped(scope, move || make(&mut writer))
            .context(|| "starting a thread")?;
        let taken = take(&mut reader);
        drop(reader);
        let made = maker.join().unwrap_or_else(|_| Err(Error::failed("the thread that makes a stream panicked")));
        match (made, taken) {
            // Nobody read on: why is the other's error.
            (Err(_), Err(taking)) if unread.load(Ordering::Relaxed) => Err(taking),
            (Err(error), _) => Err(error),
            (Ok(made), taken) => taken.map(|taken| (made, taken)),
        }
    })
}

/// The writing end, which remembers that nobody reads on.
struct End {
    pipe: PipeWriter,
    unread: Arc<AtomicBool>,
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.write(bytes).inspect_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.unread.store(true, Ordering::Relaxed);
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

/// A stream that asks before each piece whether it is to go on.
pub(super) struct Checked<'a, S> {
    pub(super) stream: S,
    pub(super) check: &'a Check<'a>,
}

/// Says whether what is under way is to go on.
pub(super) type Check<'a> = dyn Fn() -> Result<()> + Sync + 'a;

impl<S: Write> Write for Checked<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.check)().map_err(io::Error::other)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: Read> Read for Checked<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.check)().map_err(io::Error::other)?;
        self.stream.read(buffer)
    }
}

/// A stream that counts its bytes, and fails once the engine is interrupted.
pub(super) struct Metered<'a, S> {
    pub(super) stream: S,
    pub(super) moved: &'a AtomicU64,
    pub(super) interrupt: &'a AtomicBool,
}

impl<S> Metered<'_, S> {
    fn step(&self) -> io::Result<()> {
        // Not the system's kind Interrupted, upon which everybody tries again.
        match self.interrupt.load(Ordering::Relaxed) {
            true => Err(io::Error::other(Error::interrupted("interrupted"))),
            false => Ok(()),
        }
    }

    fn count(&self, count: usize) {
        self.moved.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl<S: Write> Write for Metered<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.step()?;
        self.stream.write(bytes).inspect(|count| self.count(*count))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: Read> Read for Metered<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.step()?;
        self.stream.read(buffer).inspect(|count| self.count(*count))
    }
}
