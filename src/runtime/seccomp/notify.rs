//! The descriptor of notifications, on its way to the agent that answers them.
//!
//! The agent listens at the profile's `listenerPath`. It gets one connection for each process that the runtime starts: the
//! container process state of the specification (runtime-spec, config-linux.md, "The Container Process State") as JSON, with
//! the descriptor on board, then the end. What it answers is between it and the kernel; nothing here waits for it.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use oci_spec::runtime::SECCOMP_FD_NAME;
use serde::Serialize;

use crate::base::{Context as _, Error, Result};
use crate::runtime::handover::ToStage;
use crate::runtime::hooks::State;
use crate::runtime::seccomp::Listener;
use crate::runtime::wire::Channel;
use crate::sys::process::{self, Child};
use crate::sys::socket::{self, Interest};

/// How long an agent may take to accept a connection and to read what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the agent is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'a str,
    /// What the descriptors on board are.
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State,
}

/// Answers the `Notifies` of a stage: takes the descriptor that came along, or fetches the stage's descriptor `fd`, sends it
/// to the agent, and tells the stage.
///
/// # Errors
/// What connecting and sending give, above all `not_found` where nobody listens; `timeout` for an agent that does not
/// read. The stage must not go on then: nobody would ever answer its calls.
pub(crate) fn pass_on(listener: &Listener, stage: &mut Channel, child: &Child, fd: i32, state: &State) -> Result<()> {
    let notifications = match stage.decoder.fds.pop_front() {
        Some(fd) => fd,
        None => process::copy_fd_of(child.pidfd.as_fd(), fd).context(|| "fetching the seccomp descriptor")?,
    };
    let doing = || format!("failed to connect with seccomp agent at {:?}", listener.path);
    send(listener, notifications.as_fd(), child.pid, state).context(doing)?;
    stage.send(&ToStage::Notified, &[])
}

fn send(listener: &Listener, notifications: BorrowedFd<'_>, pid: i32, state: &State) -> Result<()> {
    let message = ContainerProcessState {
        oci_version: &state.oci_version,
        fds: [SECCOMP_FD_NAME],
        pid,
        metadata: listener.metadata.as_deref(),
        state,
    };
    let message = serde_json::to_vec(&message).expect("plain data with string keys is always JSON");
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
