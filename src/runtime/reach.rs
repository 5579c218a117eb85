//! Reaching what listens inside a container, as one of its own processes would: from its network namespace.
//!
//! A thread of its own enters the namespace and ends with the attempt; no other thread of the engine ever leaves its own.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use crate::base::{Context as _, Error, Result};
use crate::runtime::state::{self, RunState};
use crate::sys::{namespace, process};

/// Connects to a TCP port of the container's loopback interface, of version 4 and then 6. The stream stays in the
/// container's network, whoever reads from it.
///
/// # Errors
/// `conflict` when the container's first process is gone; what a port that nobody listens on gives is the inner error.
pub fn connect(run: &RunState, port: u16, patience: Duration) -> Result<io::Result<TcpStream>> {
    let ended = || Error::conflict("the container has ended");
    let (pid, start) = run.init.ok_or_else(ended)?;
    // The descriptor first: what the number means cannot change after it was compared.
    let init = process::pidfd(pid).map_err(|error| ended().with_source(error))?;
    if run.boot_id != state::boot_id()? || state::start_time(pid).ok() != Some(start) {
        return Err(ended());
    }
    let attempt = || -> Result<io::Result<TcpStream>> {
        // A process on its way out has no namespaces any more.
        namespace::join(init.as_fd(), namespace::NETWORK).map_err(|error| match error.raw_os_error() {
            Some(NO_SUCH_PROCESS) => ended(),
            _ => Error::from(error).context("entering the container's network"),
        })?;
        let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let first = TcpStream::connect_timeout(&four, patience);
        Ok(first.or_else(|refused| TcpStream::connect_timeout(&six, patience).map_err(|_| refused)))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("reach".to_owned()).stack_size(64 * 1024);
        let thread = thread.spawn_scoped(scope, attempt).context(|| "starting a thread")?;
        thread.join().unwrap_or_else(|_| Err(Error::failed("the attempt to connect panicked")))
    })
}

/// ESRCH of errno(3).
const NO_SUCH_PROCESS: i32 = 3;
