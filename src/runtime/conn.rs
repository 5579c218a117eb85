//! One connection of a monitor: what arrived, what is still to go out, what the client asked for.
//!
//! Nothing here blocks. A client that attached and reads slowly fills its queue up to [`HIGH_WATER`], whereupon the monitor
//! stops reading the container's output until it has caught up, as Docker does: whoever watches gets every byte. Any other
//! client has no right to a queue that long and is cut off.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::Serialize;

use crate::base::Result;
use crate::runtime::wire::{self, Decoder};
use crate::sys::socket;

/// A queue longer than this, in bytes, holds the container's output back.
pub(crate) const HIGH_WATER: usize = 256 * 1024;

/// A client of the monitor.
#[derive(Debug)]
pub(crate) struct Conn {
    fd: OwnedFd,
    /// What arrived.
    pub(crate) decoder: Decoder,
    queue: VecDeque<Piece>,
    queued: usize,
    /// Gets the streams and the exit record.
    pub(crate) attached: bool,
    /// Gets the exit record.
    pub(crate) waiting: bool,
    /// Cleans up after the container.
    pub(crate) owner: bool,
    /// Has the container frozen: it is thawed when the client goes.
    pub(crate) freezes: bool,
    /// Asked for something that takes its time.
    pub(crate) lasting: bool,
    /// Gone, or cut off.
    pub(crate) closed: bool,
}

#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    sent: usize,
    fd: Option<OwnedFd>,
}

impl Conn {
    /// Over a non-blocking socket.
    pub(crate) fn new(fd: OwnedFd, decoder: Decoder) -> Conn {
        let (queue, queued) = (VecDeque::new(), 0);
        Conn {
            fd,
            decoder,
            queue,
            queued,
            attached: false,
            waiting: false,
            owner: false,
            freezes: false,
            lasting: false,
            closed: false,
        }
    }

    /// Reads what is there. Afterwards `closed` says whether the client is gone.
    pub(crate) fn fill(&mut self) {
        let mut buffer = [0u8; 16 * 1024];
        let mut fds = Vec::new();
        match socket::receive(&self.fd, &mut buffer, &mut fds) {
            Ok(0) => self.closed = true,
            Ok(length) => self.closed |= self.decoder.push(&buffer[..length], fds).is_err(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.closed = true,
        }
    }

    /// Sends a message, now or later.
    pub(crate) fn send(&mut self, message: &impl Serialize, fd: Option<OwnedFd>) {
        self.enqueue(wire::encode_message(message), fd);
    }

    /// Sends bytes of a stream, now or later.
    pub(crate) fn send_stream(&mut self, kind: u8, bytes: &[u8]) {
        self.enqueue(wire::encode(kind, bytes), None);
    }

    fn enqueue(&mut self, bytes: Vec<u8>, fd: Option<OwnedFd>) {
        self.queued += bytes.len();
        self.queue.push_back(Piece { bytes, sent: 0, fd });
        self.flush();
        // A client that asks and never reads the answers.
        self.closed |= !self.attached && self.queued > HIGH_WATER;
    }

    /// Sends what the client takes. Returns whether anything went.
    pub(crate) fn flush(&mut self) -> bool {
        let before = self.queued;
        while let Some(piece) = self.queue.front_mut() {
            let fds: Vec<BorrowedFd<'_>> = piece.fd.iter().map(|fd| fd.as_fd()).collect();
            match socket::send(&self.fd, &piece.bytes[piece.sent..], &fds) {
                Ok(length) => {
                    self.queued -= length;
                    piece.sent += length;
                    piece.fd = None;
                    if piece.sent == piece.bytes.len() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.queued != before
    }

    /// Bytes that wait for the client.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// The next frame; a broken one cuts the client off.
    pub(crate) fn next_frame(&mut self) -> Option<wire::Frame> {
        let frame: Result<Option<wire::Frame>> = self.decoder.next();
        match frame {
            Ok(frame) => frame,
            Err(_) => {
                self.closed = true;
                None
            }
        }
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
