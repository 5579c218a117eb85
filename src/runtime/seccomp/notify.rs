//! The descriptor of notifications, on its way to the agent that answers them.
//!
//! The agent listens at the profile's `listenerPath`. It gets one connection for each process that the runtime starts: the
//! container process state of the specification (runtime-spec, config-linux.md, "The Container Process State") as JSON, with
//! the descriptor on board, then the end. What it answers is between it and the kernel; nothing here waits for it.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use oci_spec::runtime::{ContainerProcessState, SECCOMP_FD_NAME, State};

use crate::base::{Context as _, Error, Result};
use crate::runtime::seccomp::Listener;
use crate::sys::socket::{self, Interest};

/// How long an agent may take to accept a connection and to read what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends the descriptor `notifications` of the process `pid` of the container `state` to its agent.
///
/// # Errors
/// What connecting and sending give, above all `not_found` where nobody listens; `timeout` for an agent that does not
/// read. The process must not go on then: nobody would ever answer its calls.
pub fn notify(listener: &Listener, notifications: BorrowedFd<'_>, pid: i32, state: &State) -> Result<()> {
    let doing = || format!("sending the seccomp descriptor to the agent at {:?}", listener.path);
    try_notify(listener, notifications, pid, state).context(doing)
}

fn try_notify(listener: &Listener, notifications: BorrowedFd<'_>, pid: i32, state: &State) -> Result<()> {
    let mut message = ContainerProcessState::default();
    message
        .set_version(state.version().clone())
        .set_fds(vec![SECCOMP_FD_NAME.to_owned()])
        .set_pid(pid)
        .set_metadata(listener.metadata.clone())
        .set_state(state.clone());
    let message = serde_json::to_vec(&message).map_err(|error| Error::failed(error.to_string()))?;
    let deadline = Instant::now() + PATIENCE;
    let name = listener.path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::invalid("the listenerPath has no name"))?;
    let folder = listener.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder)?;
    let agent = socket::connect_until(folder.as_fd(), name, deadline)?;
    let mut fds: &[BorrowedFd<'_>] = &[notifications];
    let mut rest = &message[..];
    while !rest.is_empty() {
        match socket::send(agent.as_fd(), rest, fds) {
            Ok(sent) => {
                rest = &rest[sent..];
                fds = &[];
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Error::timeout("the agent does not read"));
                }
                socket::wait(&mut [Interest::new(agent.as_fd(), false, true)], Some(left))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
