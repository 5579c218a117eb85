//! The container's resolver: a process of its own beside the monitor, since what the container sends to it may be hostile,
//! and must not be able to end what holds the container.
//!
//! ```text
//! monitor ── fork ──▶ resolver      shares the monitor's pages and program, none of its descriptors
//!         ◀── "" or why not ──      it listens in the container's network namespace
//!                                   dies with the monitor; one that ends otherwise is followed by another
//! ```
//!
//! What it does is not known here: the floor above gives a function. It is there when the file [`FILE`] is.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::Monitor;
use super::run::Run;
use super::timers::Timer;
use crate::base::{Context as _, Error, Result};
use crate::runtime::birth;
use crate::runtime::plan::Plan;
use crate::sys::process::{self, Child, Fork};
use crate::sys::socket::{self, Interest};

/// In the folder of run state: what the container's names are.
pub const FILE: &str = "names.json";

/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon another one follows.
const AGAIN: Duration = Duration::from_millis(200);

/// The resolver's own work: in a process with one thread that holds nothing else. It gets the container's network
/// namespace, the file of its names, and what to call when it answers or cannot. It returns when it cannot go on.
pub type Resolve = fn(OwnedFd, &Path, &mut dyn FnMut(Result<()>));

impl Monitor {
    /// Starts the resolver if there is to be one and it does not run.
    ///
    /// # Errors
    /// What it says.
    pub(super) fn begin_names(&mut self) -> Result<()> {
        // Between two runs there is nobody to ask it: the next run has one.
        let Some(resolve) = self.resolve.filter(|_| self.run.exit_code.is_none()) else { return Ok(()) };
        self.run.begin_names(&self.plan, resolve)?;
        self.run.await_names()
    }

    /// Another one is due.
    pub(super) fn names_on_time(&mut self) {
        if self.begin_names().is_err() {
            self.timers.set(Timer::Names, AGAIN);
        }
    }

    /// It has ended by itself, if this is its number.
    pub(super) fn names_ended(&mut self, pid: i32) -> bool {
        let is_it = self.run.resolver.as_ref().is_some_and(|resolver| resolver.pid == pid);
        if is_it {
            self.run.resolver = None;
            self.timers.set(Timer::Names, AGAIN);
        }
        is_it
    }
}

impl Run {
    /// Starts the resolver if there is to be one and it does not run; [`Run::await_names`] hears what came of it.
    pub(super) fn begin_names(&mut self, plan: &Plan, resolve: Resolve) -> Result<()> {
        let names = plan.run_dir.join(FILE);
        if self.resolver.is_some() || !names.exists() {
            return Ok(());
        }
        // Its number cannot be another's: it is our child and not taken in.
        let path = format!("/proc/{}/ns/net", self.init.pid);
        let namespace = File::open(&path).context(|| format!("opening {path:?}"))?;
        let (resolver, answer) = start(namespace.into(), &names, resolve).context(|| "starting the resolver")?;
        (self.resolver, self.resolver_answer) = (Some(resolver), Some(answer));
        Ok(())
    }

    /// Waits until a resolver that was started answers questions. Others had time to do something else meanwhile.
    ///
    /// # Errors
    /// What it says; there is none then.
    pub(super) fn await_names(&mut self) -> Result<()> {
        let Some(answer) = self.resolver_answer.take() else { return Ok(()) };
        let heard = hear(answer).context(|| "starting the resolver");
        heard.inspect_err(|_| self.end_names())
    }

    /// Ends the resolver.
    pub(super) fn end_names(&mut self) {
        self.resolver_answer = None;
        if let Some(resolver) = self.resolver.take() {
            birth::end(&resolver);
        }
    }
}

fn start(namespace: OwnedFd, names: &Path, resolve: Resolve) -> Result<(Child, OwnedFd)> {
    let (ours, theirs) = socket::pipe().context(|| "making a pipe")?;
    let monitor = process::id();
    match process::fork(0, None).context(|| "forking")? {
        Fork::Child => {
            drop(ours);
            become_resolver(monitor, namespace, names, theirs, resolve);
            process::exit_now(1)
        }
        Fork::Parent(child) => {
            drop(theirs);
            Ok((child, ours))
        }
    }
}

fn become_resolver(monitor: i32, namespace: OwnedFd, names: &Path, answer: OwnedFd, resolve: Resolve) {
    let set_up = || -> Result<()> {
        process::die_with_parent().context(|| "tying it to the monitor")?;
        if process::parent_id() != monitor {
            return Err(Error::failed("the monitor has ended"));
        }
        process::close_all_but(0, &[namespace.as_fd(), answer.as_fd()]).context(|| "closing descriptors")?;
        // Only listings show it.
        let _ = process::set_name(c"rhumb-resolver");
        Ok(())
    };
    let ready = set_up();
    let mut answer = Some(File::from(answer));
    let mut tell = |result: Result<()>| {
        if let Some(mut answer) = answer.take() {
            // When nobody listens any more there is nobody to tell.
            let _ = match result {
                Ok(()) => answer.write_all(READY),
                Err(error) => answer.write_all(error.to_string().as_bytes()),
            };
        }
    };
    match ready {
        Ok(()) => resolve(namespace, names, &mut tell),
        Err(error) => tell(Err(error)),
    }
}

const READY: &[u8] = b"\n";

/// Waits until it answers questions, or says why it cannot.
fn hear(from: OwnedFd) -> Result<()> {
    let mut interests = [Interest::new(from.as_fd(), true, false)];
    socket::wait(&mut interests, Some(PATIENCE)).context(|| "waiting for it")?;
    if !interests[0].readable() && !interests[0].hung_up() {
        return Err(Error::timeout("it does not begin"));
    }
    let mut said = Vec::new();
    File::from(from).take(4096).read_to_end(&mut said).context(|| "hearing it")?;
    match said.as_slice() {
        READY => Ok(()),
        b"" => Err(Error::failed("it ended while it began")),
        said => Err(Error::failed(String::from_utf8_lossy(said).into_owned())),
    }
}
