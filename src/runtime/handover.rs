//! The talk between a monitor and a stage that it forked: the container's init, or an exec. Drawn once, here.
//!
//! ```text
//! monitor                                             init, in new namespaces
//!    ── clone3 ─────────────────────────────────────────▶  not dumpable, keeps only what it needs
//!    writes the id maps
//!    ── Mapped (only with a user namespace) ────────────▶  becomes root there
//!                                                          joins the cgroup, mounts, enters the root
//!    ◀───────────────── Ready (with the terminal's master)  has its final user and rights
//!    ── Start ──────────────────────────────────────────▶  looks the program up
//!    ◀────────────────────────── end of the socket ──────  execve: the socket closes by itself
//!    ◀───────────────────────── Failed(error), then end ─  at any time
//!
//! monitor                                             exec, forked into the container's pid namespace
//!    ── clone3 ─────────────────────────────────────────▶  joins cgroup and namespaces, final user and rights
//!    ◀──────────────── Ready (only with a terminal: master)
//!    ◀────────────────────────── end of the socket ──────  execve
//! ```
//!
//! A stage whose socket ends before `Start` exits: its monitor is dead. That closes the gap before the kernel's own
//! parent death signal is armed.
//!
//! The stages are plain forks of the monitor and not a re-executed program: the monitor has one thread and a few hundred
//! kilobytes of its own, which a fork shares, where executing costs a millisecond of every start. What isolates them is
//! the same in either case: not dumpable, no descriptor survives execve, and the program's file is a read-only mount.

use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::base::{Error, Result};
use crate::runtime::wire::{Channel, MAX_FRAME, WireError};

/// From the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToStage {
    /// The user namespace has its ids.
    Mapped,
    /// Execute the command.
    Start,
}

/// To the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromStage {
    /// Everything is in place; carries the terminal's master when there is one.
    Ready {
        /// The numeric user that the command runs as.
        uid: u32,
    },
    /// It cannot be done.
    Failed(WireError),
}

/// The stage's end.
#[derive(Debug)]
pub(crate) struct Stage(Channel);

impl Stage {
    /// Over its socket.
    pub(crate) fn new(fd: OwnedFd) -> Stage {
        Stage(Channel::new(fd, MAX_FRAME))
    }

    /// Waits for the monitor's word; an end of the socket is an error, which ends the stage.
    pub(crate) fn expect(&mut self) -> Result<ToStage> {
        match self.0.receive()? {
            Some(frame) => frame.message(),
            None => Err(Error::unavailable("the monitor went away")),
        }
    }

    /// A descriptor that came with the monitor's last word.
    pub(crate) fn take_fd(&mut self) -> Option<OwnedFd> {
        self.0.decoder.fds.pop_front()
    }

    /// Says that all is in place.
    pub(crate) fn ready(&self, uid: u32, master: Option<BorrowedFd<'_>>) -> Result<()> {
        match master {
            Some(master) => self.0.send(&FromStage::Ready { uid }, &[master]),
            None => self.0.send(&FromStage::Ready { uid }, &[]),
        }
    }

    /// Says why it cannot be done.
    pub(crate) fn failed(&self, error: &Error) {
        // When nobody listens any more there is nobody to tell.
        let _ = self.0.send(&FromStage::Failed(error.into()), &[]);
    }
}
