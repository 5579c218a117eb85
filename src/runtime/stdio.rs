//! The monitor's ends of a container's streams. Nothing here blocks.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::base::{Context as _, Result};
use crate::model::log::Stream;
use crate::runtime::birth::Streams;
use crate::runtime::wire::CHUNK;
use crate::sys::socket;

/// Input that a container has not read yet holds its clients back above this, in bytes.
const HIGH_WATER: usize = 256 * 1024;
/// What ends the input of a program at a terminal: Ctrl-D.
const END_OF_TRANSMISSION: u8 = 4;

/// An output stream.
#[derive(Debug)]
pub(crate) struct Output {
    /// Which one.
    pub(crate) stream: Stream,
    fd: Option<OwnedFd>,
    buffer: Vec<u8>,
}

/// The ends of a container's streams: pipes, or the master of its terminal.
pub(crate) fn connect(streams: Streams, terminal: Option<&OwnedFd>, stdin_open: bool) -> Result<(Vec<Output>, Input)> {
    let doing = || "making the container's streams";
    if let Some(master) = terminal {
        socket::set_nonblocking(master, true).context(doing)?;
        let (read, write) = (master.try_clone().context(doing)?, master.try_clone().context(doing)?);
        return Ok((vec![Output::new(Stream::Stdout, read)], Input::new(stdin_open.then_some(write), true)));
    }
    let Streams { stdin, stdout, stderr } = streams;
    for fd in [&stdin, &stdout, &stderr].into_iter().flatten() {
        socket::set_nonblocking(fd, true).context(doing)?;
    }
    let outputs = [(Stream::Stdout, stdout), (Stream::Stderr, stderr)];
    let outputs = outputs.into_iter().filter_map(|(stream, fd)| Some(Output::new(stream, fd?)));
    Ok((outputs.collect(), Input::new(stdin, false)))
}

impl Output {
    /// Over a non-blocking descriptor.
    pub(crate) fn new(stream: Stream, fd: OwnedFd) -> Output {
        Output { stream, fd: Some(fd), buffer: Vec::new() }
    }

    /// The descriptor, until the end of the stream.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(|fd| fd.as_fd())
    }

    /// What is there, at most so many bytes; none for nothing now or never again.
    pub(crate) fn read(&mut self, most: usize) -> Option<&[u8]> {
        let fd = self.fd.as_ref()?;
        // Made when something is written for the first time: many containers never write anything.
        self.buffer.resize(CHUNK, 0);
        match socket::read(fd, &mut self.buffer[..most.min(CHUNK)]) {
            Ok(length @ 1..) => Some(&self.buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            // The end; a terminal whose last user has gone says EIO.
            Ok(_) | Err(_) => {
                self.fd = None;
                self.buffer = Vec::new();
                None
            }
        }
    }
}

/// The input stream.
#[derive(Debug, Default)]
pub(crate) struct Input {
    fd: Option<OwnedFd>,
    terminal: bool,
    queue: VecDeque<u8>,
    ending: bool,
}

impl Input {
    /// Over a non-blocking descriptor; none for a container without input.
    pub(crate) fn new(fd: Option<OwnedFd>, terminal: bool) -> Input {
        Input { fd, terminal, ..Input::default() }
    }

    /// Takes bytes of a client; none is the end.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.fd.is_none() || self.ending {
            return;
        }
        match (bytes.is_empty(), self.terminal) {
            (false, _) => self.queue.extend(bytes),
            (true, true) => self.queue.push_back(END_OF_TRANSMISSION),
            (true, false) => self.ending = true,
        }
        self.flush();
    }

    /// Clients have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() > HIGH_WATER
    }

    /// The descriptor, while something waits to be written.
    pub(crate) fn wants_to_write(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().filter(|_| !self.queue.is_empty()).map(|fd| fd.as_fd())
    }

    /// Writes what the container takes.
    pub(crate) fn flush(&mut self) {
        while let (Some(fd), false) = (&self.fd, self.queue.is_empty()) {
            match socket::write(fd, self.queue.as_slices().0) {
                Ok(length) => drop(self.queue.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Nobody reads any more.
                Err(_) => self.close(),
            }
        }
        if self.ending && self.queue.is_empty() {
            self.close();
        }
        if self.queue.is_empty() && self.queue.capacity() > HIGH_WATER / 4 {
            self.queue = VecDeque::new();
        }
    }

    /// The end.
    pub(crate) fn close(&mut self) {
        self.fd = None;
        self.queue = VecDeque::new();
    }
}
