//! Children of our own: asking one to end. Only for processes that were not waited for yet, whose number is still theirs.

use std::io;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

/// Asks a child to end (SIGTERM), so that it can tidy up.
///
/// # Errors
/// What `kill(2)` gives.
pub fn terminate(child: &Child) -> io::Result<()> {
    // A child that was not waited for keeps its number, as a zombie at least.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("a child without a process number"))?;
    Ok(kill_process(pid, Signal::TERM)?)
}
