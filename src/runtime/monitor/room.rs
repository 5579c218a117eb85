//! How much a monitor holds at once: clients and further processes, which take descriptors.

use crate::sys::process;

/// What it has open itself, and opens for a moment.
const OWN: u64 = 96;
/// What a further process takes: itself, its terminal.
const EXEC: u64 = 2;
/// The most clients, whatever the limit of descriptors is: each has a queue.
const MAX_CONNS: u64 = 4096;
/// The most further processes.
const MAX_EXECS: u64 = 16 * 1024;
/// Clients that want one thing and go always have so many places.
const SHORT: usize = 32;

/// How many there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Clients; more wait in the socket's own queue.
    pub(super) conns: usize,
    /// Those of them that stay: attached ones, those that wait or hold a further process.
    pub(super) lasting: usize,
    /// Further processes.
    pub(super) execs: usize,
}

impl Room {
    /// By how many descriptors this process may have.
    pub(super) fn of_this_process() -> Room {
        Room::within(process::descriptor_limit())
    }

    /// Clients get a third of the descriptors, further processes the rest.
    fn within(descriptors: u64) -> Room {
        let free = descriptors.saturating_sub(OWN);
        let conns = (free / 3).clamp(2 * SHORT as u64, MAX_CONNS);
        let execs = (free.saturating_sub(conns) / EXEC).clamp(1, MAX_EXECS);
        let [conns, execs] = [conns, execs].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        Room { conns, lasting: conns - SHORT, execs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_room_within_the_limit() {
        for descriptors in [256, 1024, 4096, 20_000, 1 << 20, u64::MAX] {
            let Room { conns, lasting, execs } = Room::within(descriptors);
            assert!(conns as u64 + EXEC * execs as u64 + OWN <= descriptors, "{descriptors}");
            assert!(lasting + SHORT == conns && lasting >= SHORT, "{descriptors}");
        }
        assert_eq!(Room::within(1024), Room { conns: 309, lasting: 277, execs: 309 });
        assert_eq!(Room::within(u64::MAX), Room { conns: 4096, lasting: 4064, execs: 16_384 });
    }
}
