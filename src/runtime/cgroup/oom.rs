//! A word when the out-of-memory killer strikes in a cgroup: an event of the kernel on version 1, a watched file on
//! version 2.
//!
//! Who was killed is not said; how many were, is [`Cgroup::oom_kills`].

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use super::Cgroup;
use super::control::{self, refused};
use crate::base::{Context as _, Result};
use crate::sys::notify;

/// A watch on one cgroup.
#[derive(Debug)]
pub(crate) struct OomWatch {
    fd: OwnedFd,
    cgroup: Cgroup,
    /// Kills that were told; version 2 alone counts them here.
    seen: u64,
}

/// What has happened since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OomNews {
    /// How often the killer struck, or on version 1 with the killer switched off, memory ran out.
    pub(crate) strikes: u64,
    /// The container's processes are gone: nothing more will come.
    pub(crate) over: bool,
}

impl Cgroup {
    /// Watches for the out-of-memory killer from now on.
    ///
    /// # Errors
    /// `not_found` when the cgroup is gone, `unsupported` without a memory controller.
    pub(crate) fn watch_oom(&self) -> Result<OomWatch> {
        let dir = self.controller("memory")?;
        let doing = || format!("watching the memory of {dir:?}");
        let fd = if self.is_v2() {
            let files = [dir.join("memory.events"), dir.join("cgroup.events")];
            notify::watch(&[&files[0], &files[1]])
                .map_err(|error| refused(&dir, "memory.events", "watch on", "memory", error))?
        } else {
            let counter = notify::counter().context(doing)?;
            let file = File::open(dir.join("memory.oom_control")).context(doing)?;
            let line = format!("{} {}", counter.as_raw_fd(), file.as_raw_fd());
            control::write(&dir, "cgroup.event_control", &line)
                .map_err(|error| refused(&dir, "cgroup.event_control", "watch on", "memory", error))?;
            counter
        };
        Ok(OomWatch { fd, cgroup: self.clone(), seen: self.oom_kills() })
    }
}

impl OomWatch {
    /// Readable when there are news.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Takes the news. Does not wait.
    pub(crate) fn take(&mut self) -> Result<OomNews> {
        let doing = || "watching the container's memory";
        if !self.cgroup.is_v2() {
            let count = notify::take_count(&self.fd).context(doing)?;
            let over = !self.cgroup.folder("memory").exists();
            // The removal of the cgroup is an event, too.
            return Ok(OomNews { strikes: count.saturating_sub(over.into()), over });
        }
        notify::drain(&self.fd).context(doing)?;
        let over = match std::fs::read_to_string(self.cgroup.folder("").join("cgroup.events")) {
            Ok(events) => events.lines().any(|line| line == "populated 0"),
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(19) => true, // ENODEV
            Err(error) => return Err(error).context(doing),
        };
        let kills = self.cgroup.oom_kills().max(self.seen);
        let strikes = kills - self.seen;
        self.seen = kills;
        Ok(OomNews { strikes, over })
    }
}
