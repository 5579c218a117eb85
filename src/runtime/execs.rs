//! The monitor's further processes: started for clients and for the health check, followed to their ends.
//!
//! A client passes pipes of its own, so output flows between it and the process without the monitor. A terminal's master
//! goes to the client too; the monitor keeps a copy, to read on when the client has left, since a process must not block
//! because nobody looks.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::base::{Context as _, Error, Id, Result, Timestamp};
use crate::model::exec::{self as model, ExecOptions};
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

/// How many that have ended are remembered.
const MAX_ENDED: usize = 16;
/// How much of a command line is remembered, in bytes: all of them together go into one frame.
const MAX_SHOWN: usize = 1024;

/// All further processes of a container.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    running: Vec<Exec>,
    /// The filter of system calls, once it was needed: to make it takes longer than to load it.
    filter: Option<Option<Filter>>,
    /// How many may run at once.
    most: usize,
    news: VecDeque<News>,
    /// The last that have ended, oldest first.
    ended: VecDeque<model::Exec>,
}

/// Who hears of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The client of this number.
    Client(u64),
    /// The health check, through [`Execs::news`].
    Check,
    /// Nobody any more.
    Nobody,
}

/// What the health check hears of its process.
#[derive(Debug)]
pub(crate) enum News {
    /// It has executed its command.
    Started,
    /// It could not.
    Failed(Error),
    /// It has ended with this status.
    Ended(i32),
}

/// A process that is to be started.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Who asks for it.
    pub(crate) owner: Owner,
    /// What is run.
    pub(crate) options: ExecOptions,
    /// Its three streams; none when it shall have none.
    pub(crate) streams: [Option<OwnedFd>; 3],
    /// The size of its terminal.
    pub(crate) size: Option<Size>,
}

#[derive(Debug)]
struct Exec {
    facts: model::Exec,
    child: Child,
    owner: Owner,
    /// The talk with it until it has executed its command.
    stage: Option<Channel>,
    failed: bool,
    terminal: Option<OwnedFd>,
    /// Who answers its notifications, and what it is told of the container.
    agent: Option<(Listener, State)>,
}

impl Execs {
    /// None yet, and never more than `most` at once.
    pub(crate) fn new(most: usize) -> Execs {
        Execs { most, ..Execs::default() }
    }

    /// Starts one. Its owner hears more when the command was executed, or could not be.
    pub(crate) fn start(&mut self, plan: &Plan, cgroup: &Cgroup, init: &Child, wish: Wish) -> Result<()> {
        let Wish { owner, options, streams, size } = wish;
        // A crowd of clients must not make a container look unhealthy.
        if self.running.len() >= self.most && owner != Owner::Check {
            let most = self.most;
            return Err(Error::conflict(format!("the container has {most} further processes already"))
                .with_hint("start the container where more files may be open at once (ulimit -n)"));
        }
        if self.running.iter().any(|exec| exec.owner == owner && owner != Owner::Nobody) {
            return Err(Error::conflict("this connection runs a process already"));
        }
        if let Some(maps) = namespaces::plan(&plan.spec)?.maps {
            maps::give_pipes(&maps, &streams)?;
        }
        let doing = || "starting a process in the container";
        crate::base::failpoint::hit("monitor.exec.fork")?;
        let filter = match &self.filter {
            Some(filter) => filter.clone(),
            None => self.filter.insert(seccomp::of(&plan.spec)?).clone(),
        };
        let agent = filter.as_ref().and_then(Filter::listener).cloned();
        let agent =
            agent.map(|agent| (agent, hooks::state(&plan.spec, &plan.id, &plan.state_dir, "running", init.pid)));
        let mut facts = facts(&options, owner)?;
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
        facts.pid = child.pid;
        tell_command(plan, &facts, "exec_create");
        self.running.push(Exec { facts, child, owner, stage: Some(stage), failed: false, terminal: None, agent });
        Ok(())
    }

    /// Talks to wait for.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (i32, BorrowedFd<'_>)> {
        self.running.iter().filter_map(|exec| Some((exec.child.pid, exec.stage.as_ref()?.fd())))
    }

    /// Terminals that nobody but us reads any more.
    pub(crate) fn unwatched_terminals(&self) -> impl Iterator<Item = (i32, BorrowedFd<'_>)> {
        let unwatched = self.running.iter().filter(|exec| exec.owner == Owner::Nobody);
        unwatched.filter_map(|exec| Some((exec.child.pid, exec.terminal.as_ref()?.as_fd())))
    }

    /// Reads what a stage says.
    pub(crate) fn hear(&mut self, pid: i32, plan: &Plan, conns: &mut BTreeMap<u64, Conn>) {
        if let Some(exec) = self.running.iter_mut().find(|exec| exec.child.pid == pid) {
            exec.hear(plan, conns, &mut self.news);
        }
    }

    /// What the health check has not heard yet, oldest first.
    pub(crate) fn news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Kills what the health check runs, with all that it started.
    pub(crate) fn kill_check(&self) {
        if let Some(exec) = self.running.iter().find(|exec| exec.owner == Owner::Check) {
            // It may have ended by itself, which is as good.
            let _ = process::signal_group(exec.child.pidfd.as_fd(), signal::KILL);
            let _ = process::signal(exec.child.pidfd.as_fd(), signal::KILL); // before it has a group of its own
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
    pub(crate) fn ended(&mut self, ended: Ended, plan: &Plan, conns: &mut BTreeMap<u64, Conn>) {
        let Some(index) = self.running.iter().position(|exec| exec.child.pid == ended.pid) else { return };
        let mut exec = self.running.swap_remove(index);
        // Its last words may still be on their way here; after its end they come at once.
        while exec.stage.is_some() {
            exec.hear(plan, conns, &mut self.news);
        }
        if !exec.failed && !exec.facts.health_check {
            plan.tell("exec_die", &[("execID", &exec.facts.id), ("exitCode", &ended.code)]);
            exec.facts.exit_code = Some(ended.code);
            if self.ended.len() >= MAX_ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back(exec.facts.clone());
        }
        match exec.owner {
            _ if exec.failed => {}
            Owner::Check => self.news.push_back(News::Ended(ended.code)),
            Owner::Client(id) => {
                if let Some(conn) = conns.get_mut(&id) {
                    conn.send(&Reply::ExecExited { code: ended.code }, None);
                }
            }
            Owner::Nobody => {}
        }
    }

    /// Those that run, and the last that have ended, oldest first.
    pub(crate) fn all(&self) -> Vec<model::Exec> {
        let mut all: Vec<_> = self.ended.iter().chain(self.running.iter().map(|exec| &exec.facts)).cloned().collect();
        all.sort_by_key(|exec| exec.started);
        all
    }

    /// Sends a signal to the process of this identity.
    ///
    /// # Errors
    /// `not_found`; `conflict` when it has ended.
    pub(crate) fn kill(&self, id: &Id, signal: i32) -> Result<()> {
        let short = id.short();
        match self.running.iter().find(|exec| exec.facts.id == *id) {
            Some(exec) => process::signal(exec.child.pidfd.as_fd(), signal)
                .context(|| format!("sending {} to the process {short}", signal::name(signal))),
            None if self.ended.iter().any(|exec| exec.id == *id) => {
                Err(Error::conflict(format!("the process {short} has ended")))
            }
            None => Err(Error::not_found(format!("no such process {short}"))),
        }
    }

    /// A client has gone. Its process goes on.
    pub(crate) fn client_left(&mut self, id: u64) {
        for exec in self.running.iter_mut().filter(|exec| exec.owner == Owner::Client(id)) {
            exec.owner = Owner::Nobody;
        }
    }

    /// Sends a signal to the process of the client `id`, or to its process group.
    pub(crate) fn signal(&self, id: u64, signal: i32, group: bool) -> Result<()> {
        let exec = self.running.iter().find(|exec| exec.owner == Owner::Client(id));
        let exec = exec.ok_or_else(|| Error::conflict("the process has ended"))?;
        let send = if group { process::signal_group } else { process::signal };
        send(exec.child.pidfd.as_fd(), signal).context(|| "sending a signal")
    }
}

/// What is remembered of a process that is to be started.
fn facts(options: &ExecOptions, owner: Owner) -> Result<model::Exec> {
    let mut room = MAX_SHOWN;
    let mut args = Vec::new();
    for arg in &options.args {
        let end = (0..=room.min(arg.len())).rev().find(|at| arg.is_char_boundary(*at)).unwrap_or(0);
        let shown = &arg[..end];
        room -= shown.len();
        args.push(shown.to_owned());
        if shown.len() < arg.len() || args.len() == MAX_SHOWN {
            args.push("…".to_owned());
            break;
        }
    }
    let user = options.user.clone().filter(|user| user.len() < MAX_SHOWN);
    Ok(model::Exec {
        id: Id::random()?,
        pid: 0,
        args,
        user,
        tty: options.tty,
        privileged: options.privileged,
        health_check: owner == Owner::Check,
        started: Timestamp::now(),
        exit_code: None,
    })
}

/// Tells of a process in Docker's words: the program, a space, its arguments. Nothing of a health check's.
fn tell_command(plan: &Plan, facts: &model::Exec, action: &str) {
    if let Some((program, args)) = facts.args.split_first().filter(|_| !facts.health_check) {
        plan.tell(&format!("{action}: {program} {}", args.join(" ")), &[("execID", &facts.id)]);
    }
}

impl Exec {
    fn hear(&mut self, plan: &Plan, conns: &mut BTreeMap<u64, Conn>, news: &mut VecDeque<News>) {
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
                tell_command(plan, &self.facts, "exec_start");
                reply = Some(Reply::ExecStarted { id: self.facts.id.clone(), pid: self.child.pid });
            }
        }
        let Some(reply) = reply else { return };
        match (self.owner, reply) {
            (Owner::Client(id), reply) => {
                let terminal = match (&reply, &self.terminal) {
                    // Without a copy of ours the client has the only one, which is enough while it is there.
                    (Reply::ExecStarted { .. }, Some(terminal)) => terminal.try_clone().ok(),
                    _ => None,
                };
                if let Some(conn) = conns.get_mut(&id) {
                    conn.send(&reply, terminal);
                }
            }
            (Owner::Check, Reply::Failed(error)) => {
                // It is not ended yet, and the next one may come first.
                self.owner = Owner::Nobody;
                news.push_back(News::Failed(error.into()));
            }
            (Owner::Check, _) => news.push_back(News::Started),
            (Owner::Nobody, _) => {}
        }
    }
}
