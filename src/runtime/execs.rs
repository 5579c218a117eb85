//! The monitor's further processes: started for clients, followed to their ends.
//!
//! A client passes pipes of its own, so output flows between it and the process without the monitor. A terminal's master
//! goes to the client too; the monitor keeps a copy, to read on when the client has left, since a process must not block
//! because nobody looks.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::base::{Context as _, Error, Result};
use crate::model::exec::ExecOptions;
use crate::runtime::cgroup::Cgroup;
use crate::runtime::conn::Conn;
use crate::runtime::exec::{self, Entry};
use crate::runtime::handover::FromStage;
use crate::runtime::hooks::{self, State};
use crate::runtime::launch::Launch;
use crate::runtime::plan::Plan;
use crate::runtime::seccomp::{self, Filter, Listener};
use crate::runtime::wire::{Channel, Reply};
use crate::runtime::{maps, namespaces};
use crate::sys::process::{self, Child, Ended};
use crate::sys::tty::Size;
use crate::sys::{signal, socket};

/// How many further processes may run at once.
const MAX_EXECS: usize = 128;

/// All further processes of a container.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    running: Vec<Exec>,
}

#[derive(Debug)]
struct Exec {
    child: Child,
    client: Option<u64>,
    /// The talk with it until it has executed its command.
    stage: Option<Channel>,
    failed: bool,
    terminal: Option<OwnedFd>,
    /// Who answers its notifications, and what it is told of the container.
    agent: Option<(Listener, State)>,
}

impl Execs {
    /// None.
    pub(crate) fn new() -> Execs {
        Execs::default()
    }

    /// Starts one for the client `id`. The answer to it follows when the command was executed, or could not be.
    #[expect(clippy::too_many_arguments, reason = "all of a container's parts meet here once")]
    pub(crate) fn start(
        &mut self,
        id: u64,
        plan: &Plan,
        cgroup: &Cgroup,
        init: &Child,
        options: ExecOptions,
        streams: Vec<OwnedFd>,
        size: Option<Size>,
    ) -> Result<()> {
        if self.running.len() >= MAX_EXECS {
            return Err(Error::conflict(format!("the container has {MAX_EXECS} further processes already")));
        }
        if self.running.iter().any(|exec| exec.client == Some(id)) {
            return Err(Error::conflict("this connection runs a process already"));
        }
        let streams = match <[OwnedFd; 3]>::try_from(streams) {
            Ok(streams) => streams.map(Some),
            Err(streams) if streams.is_empty() => [None, None, None],
            Err(_) => return Err(Error::corrupt("a process has three streams")),
        };
        if let Some(maps) = namespaces::plan(&plan.spec)?.maps {
            maps::give_pipes(&maps, &streams)?;
        }
        let doing = || "starting a process in the container";
        crate::base::failpoint::hit("monitor.exec.fork")?;
        let filter = seccomp::of(&plan.spec)?;
        let agent = filter.as_ref().and_then(Filter::listener).cloned();
        let agent =
            agent.map(|agent| (agent, hooks::state(&plan.spec, &plan.id, &plan.state_dir, "running", init.pid)));
        let (child, stage) = exec::start(Entry {
            spec: &plan.spec,
            init: init.pidfd.try_clone().context(doing)?,
            unified: cgroup.unified_folder_below(&[], init.pid)?,
            entrances: cgroup.entrances()?,
            streams,
            tty: options.tty,
            size,
            // A process that is to be privileged has all capabilities, but is as confined as the others, as with Docker.
            launch: Launch { filter, ..exec::describe(plan, &options)? },
        })?;
        self.running.push(Exec { child, client: Some(id), stage: Some(stage), failed: false, terminal: None, agent });
        Ok(())
    }

    /// Talks to wait for.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (i32, BorrowedFd<'_>)> {
        self.running.iter().filter_map(|exec| Some((exec.child.pid, exec.stage.as_ref()?.fd())))
    }

    /// Terminals that nobody but us reads any more.
    pub(crate) fn unwatched_terminals(&self) -> impl Iterator<Item = (i32, BorrowedFd<'_>)> {
        let unwatched = self.running.iter().filter(|exec| exec.client.is_none());
        unwatched.filter_map(|exec| Some((exec.child.pid, exec.terminal.as_ref()?.as_fd())))
    }

    /// Reads what a stage says.
    pub(crate) fn hear(&mut self, pid: i32, conns: &mut BTreeMap<u64, Conn>) {
        if let Some(exec) = self.running.iter_mut().find(|exec| exec.child.pid == pid) {
            exec.hear(conns);
        }
    }

    /// Throws away what an unwatched terminal shows.
    pub(crate) fn discard(&mut self, pid: i32) {
        let mut buffer = [0u8; 4096];
        if let Some(exec) = self.running.iter_mut().find(|exec| exec.child.pid == pid) {
            let end = exec.terminal.as_ref().is_none_or(|fd| !matches!(socket::read(fd, &mut buffer), Ok(1..)));
            if end {
                exec.terminal = None;
            }
        }
    }

    /// A child of the monitor has ended.
    pub(crate) fn ended(&mut self, ended: Ended, conns: &mut BTreeMap<u64, Conn>) {
        let Some(index) = self.running.iter().position(|exec| exec.child.pid == ended.pid) else { return };
        let mut exec = self.running.swap_remove(index);
        // Its last words may still be on their way here; after its end they come at once.
        while exec.stage.is_some() {
            exec.hear(conns);
        }
        let conn = exec.client.and_then(|id| conns.get_mut(&id));
        if let (Some(conn), false) = (conn, exec.failed) {
            conn.send(&Reply::ExecExited { code: ended.code }, None);
        }
    }

    /// A client has gone. Its process goes on.
    pub(crate) fn client_left(&mut self, id: u64) {
        for exec in self.running.iter_mut().filter(|exec| exec.client == Some(id)) {
            exec.client = None;
        }
    }

    /// Sends a signal to the process of the client `id`, or to its process group.
    pub(crate) fn signal(&self, id: u64, signal: i32, group: bool) -> Result<()> {
        let exec = self.running.iter().find(|exec| exec.client == Some(id));
        let exec = exec.ok_or_else(|| Error::conflict("the process has ended"))?;
        let send = if group { process::signal_group } else { process::signal };
        send(exec.child.pidfd.as_fd(), signal).context(|| "sending a signal")
    }
}

impl Exec {
    fn hear(&mut self, conns: &mut BTreeMap<u64, Conn>) {
        let Some(stage) = &mut self.stage else { return };
        let alive = stage.fill().unwrap_or(false);
        let mut reply = None;
        while let Ok(Some(frame)) = stage.decoder.next() {
            match frame.message() {
                Ok(FromStage::Notifies { fd }) => {
                    let result = match &self.agent {
                        Some((agent, state)) => seccomp::notify::pass_on(agent, stage, &self.child, fd, state),
                        None => Err(Error::failed("there is no agent")),
                    };
                    if let Err(error) = result {
                        self.failed = true;
                        reply = Some(Reply::Failed((&error).into()));
                        // Nobody would ever answer its calls. It may have ended by itself, which is as good.
                        let _ = process::signal(self.child.pidfd.as_fd(), signal::KILL);
                    }
                }
                Ok(FromStage::Ready { .. }) => {
                    self.terminal = stage.decoder.fds.pop_front();
                }
                Ok(FromStage::Failed(error)) => {
                    self.failed = true;
                    reply = Some(Reply::Failed(error));
                }
                Ok(FromStage::Forked { .. } | FromStage::Built) | Err(_) => {}
            }
        }
        if !alive {
            self.stage = None;
            if !self.failed {
                reply = Some(Reply::ExecStarted { pid: self.child.pid });
            }
        }
        let conn = self.client.and_then(|id| conns.get_mut(&id));
        if let (Some(conn), Some(reply)) = (conn, reply) {
            let terminal = match (&reply, &self.terminal) {
                // Without a copy of ours the client has the only one, which is enough while it is there.
                (Reply::ExecStarted { .. }, Some(terminal)) => terminal.try_clone().ok(),
                _ => None,
            };
            conn.send(&reply, terminal);
        }
    }
}
