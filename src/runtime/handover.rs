//! The talk between a parent and a stage that it forked: the container's init, or an exec. Drawn once, here. The parent is
//! a container's monitor, or `rhumb oci`, which leaves when the container is made.
//!
//! ```text
//! parent                                              init, in new namespaces
//!    ── clone3 ─────────────────────────────────────────▶  not dumpable, keeps only what it needs
//!    writes the id maps
//!    ── Mapped (only with a user namespace) ────────────▶  becomes root there
//!                                                          joins the cgroup, mounts
//!    ◀── Built (only with hooks of the runtime) ─────────
//!    runs those hooks
//!    ── Hooked ─────────────────────────────────────────▶  runs the hooks of the container, enters the root
//!                                                          has its final user and rights
//!    ◀── Notifies (only with a seccomp agent) ───────────  its filter is loaded
//!    passes the descriptor of notifications to the agent
//!    ── Notified ───────────────────────────────────────▶
//!    ◀───────────────── Ready (with the terminal's master)
//!    ── Start ──────────────────────────────────────────▶  runs the hooks at the start, looks the program up
//!    ◀────────────────────────── end of the socket ──────  execve: the socket closes by itself
//!    ◀───────────────────────── Failed(error), then end ─  at any time
//!
//! parent                                              go-between (with a user namespace by path, and for a stage
//!    ── clone3 ─────────────────────────────────────────▶  that a container sees); leaves the host, joins namespaces
//!    ◀──────────── Forked (with a descriptor of the stage)  forks the stage as its sibling
//!    ◀────────────────────────── end of the socket ──────  ends; the stage goes on as drawn here
//!
//! `rhumb oci create`                                  init
//!    ── Recorded (instead of Start) ────────────────────▶  waits at a socket in the container's state folder
//! `rhumb oci start`
//!    ── connects, Start ────────────────────────────────▶  as above, over this connection
//!
//! parent                                              exec, forked into the container's pid namespace
//!    ── clone3 ─────────────────────────────────────────▶  joins cgroup and namespaces, final user and rights
//!    ◀── Notifies, Notified ─────────────────────────────▶  as above
//!    ◀──────────────── Ready (only with a terminal: master)
//!    ◀────────────────────────── end of the socket ──────  execve
//! ```
//!
//! A stage whose socket ends before `Start` or `Recorded` exits: its parent is dead. That closes the gap before the
//! kernel's own parent death signal is armed, and a container that nobody has on record never outlives its maker.
//!
//! The stages are plain forks of the parent and not a re-executed program: the parent has one thread and a few hundred
//! kilobytes of its own, which a fork shares, where executing costs a millisecond of every start. What isolates them is
//! the same in either case: not dumpable, no descriptor survives execve, and the program's file is a read-only mount.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::base::{Context as _, Error, Result};
use crate::runtime::wire::{Channel, MAX_FRAME, WireError};
use crate::sys::process;
use crate::sys::signal::{self, Signals};
use crate::sys::socket::{self, Interest};

/// From the parent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToStage {
    /// The user namespace has its ids.
    Mapped,
    /// The hooks of the runtime have run.
    Hooked,
    /// The agent has the descriptor of notifications.
    Notified,
    /// The container is on record and its parent leaves: wait at the socket for `Start`.
    Recorded,
    /// Execute the command.
    Start,
}

/// To the parent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromStage {
    /// The init is forked; carries its descriptor.
    Forked {
        /// Its number in the parent's pid namespace.
        pid: i32,
    },
    /// All that is mounted is there and the root is not entered yet.
    Built,
    /// The filter is loaded, and its profile has an agent. Carries the descriptor of notifications, unless the filter
    /// stands in the way.
    Notifies {
        /// Its number in the stage.
        fd: i32,
    },
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

    /// Waits for the parent's word; an end of the socket is an error, which ends the stage.
    pub(crate) fn expect(&mut self) -> Result<ToStage> {
        match self.0.receive()? {
            Some(frame) => frame.message(),
            None => Err(Error::unavailable("the process that makes the container went away")),
        }
    }

    /// A descriptor that came with the last word.
    pub(crate) fn take_fd(&mut self) -> Option<OwnedFd> {
        self.0.decoder.fds.pop_front()
    }

    /// Goes on over the first connection at `listener` that says `Start`. A signal that ends other processes ends this one,
    /// which the kernel would spare as the first of its pid namespace.
    ///
    /// # Errors
    /// What waiting gives.
    pub(crate) fn wait_at(&mut self, listener: &OwnedFd) -> Result<()> {
        // The parent leaves, and must not be kept from seeing the end of this talk.
        let signals = Signals::all().context(|| "blocking signals")?;
        self.0 = Channel::new(socket::pair().context(|| "leaving the parent")?.0, MAX_FRAME);
        loop {
            let mut interests =
                [Interest::new(listener.as_fd(), true, false), Interest::new(signals.as_fd(), true, false)];
            socket::wait(&mut interests, None).context(|| "waiting for the start")?;
            while let Ok(Some(number)) = signals.next() {
                if signal::ends_by_default(number) {
                    process::exit_now(128 + number);
                }
            }
            let Some(connection) = socket::accept(listener.as_fd()).context(|| "waiting for the start")? else {
                continue;
            };
            socket::set_nonblocking(&connection, false).context(|| "waiting for the start")?;
            let mut channel = Channel::new(connection, MAX_FRAME);
            // Who only looks whether somebody waits here says nothing.
            if let Ok(Some(frame)) = channel.receive()
                && matches!(frame.message(), Ok(ToStage::Start))
            {
                self.0 = channel;
                return Ok(());
            }
        }
    }

    /// Says that the init is forked.
    pub(crate) fn forked(&self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        self.0.send(&FromStage::Forked { pid }, &[pidfd])
    }

    /// Says that everything is mounted.
    pub(crate) fn built(&self) -> Result<()> {
        self.0.send(&FromStage::Built, &[])
    }

    /// Hands the descriptor of notifications to the parent and waits until the agent has it. The filter is loaded by now, so
    /// it may be the agent who answers for the calls that this makes: the descriptor must be on its way with the first one,
    /// and that one must not wait for an answer. Where a message is not surely `allowed`, it is plain writing, which no
    /// filter may notify of, and the parent fetches the descriptor.
    pub(crate) fn notifies(&mut self, notifications: OwnedFd, allowed: bool) -> Result<()> {
        let message = FromStage::Notifies { fd: notifications.as_raw_fd() };
        match allowed {
            true => self.0.send(&message, &[notifications.as_fd()])?,
            false => self.0.write(&message)?,
        }
        match self.expect()? {
            ToStage::Notified => Ok(()),
            _ => Err(Error::failed("something else before the agent had its descriptor")),
        }
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
