//! One run of a container's first process: made, started, heard while it lives, recorded. Nothing of a run is left for
//! the next one.
//!
//! It does not wait: the loop says when there is something to hear or to read.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxNamespaceType;

use super::names::Resolve;
use super::restart::History;
use super::room::Room;
use crate::base::failpoint;
use crate::base::{Context as _, Error, Result, Timestamp};
use crate::model::log::Stream;
use crate::model::restart::RestartPolicy;
use crate::runtime::birth::{self, Newborn, Order, Wiring};
use crate::runtime::cgroup::{Cgroup, OomWatch};
use crate::runtime::conn::Conn;
use crate::runtime::execs::Execs;
use crate::runtime::handover::{FromStage, ToStage};
use crate::runtime::limits;
use crate::runtime::log::Writer;
use crate::runtime::mounts;
use crate::runtime::plan::Plan;
use crate::runtime::state::{self, ExitRecord, RunState};
use crate::runtime::stdio::{self, Input, Output};
use crate::runtime::wire::{CHUNK, Channel, Reply, STDERR, STDOUT};
use crate::sys::process::{self, Child};
use crate::sys::signal;
use crate::sys::socket::{self, Interest};

/// How long the last words in a pipe are waited for when a process that outlives the container holds it.
const DRAIN: Duration = Duration::from_secs(2);

/// A run, from the birth of its first process until the next one.
pub(super) struct Run {
    pub(super) cgroup: Cgroup,
    pub(super) init: Child,
    /// The talk with the init until it has executed the command.
    pub(super) stage: Option<Channel>,
    /// The start was asked for, by this client if it was one, and has not been answered.
    starter: Option<Option<u64>>,
    start_failed: Option<Error>,
    started: Option<(Timestamp, Instant)>,
    pub(super) exit_code: Option<i32>,
    pub(super) paused: bool,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) outputs: Vec<Output>,
    pub(super) input: Input,
    pub(super) log: Writer,
    pub(super) execs: Execs,
    /// Who answers its questions for names.
    pub(super) resolver: Option<Child>,
    /// Where it says that it answers, until it was heard.
    pub(super) resolver_answer: Option<OwnedFd>,
    pub(super) oom: Option<OomWatch>,
    oom_told: bool,
    kill_told: bool,
}

impl Run {
    /// Makes everything up to the point where the command is about to be executed.
    ///
    /// # Errors
    /// Whatever failed, with everything undone.
    pub(super) fn make(plan: &Plan, resolve: Option<Resolve>, netns: &mut Option<OwnedFd>) -> Result<Run> {
        let log = Writer::open(&plan.state_dir, &plan.id, &plan.log, &plan.log_facts)?;
        let cgroup = Cgroup::new(&plan.cgroup)?;
        // It may have got other limits since it was started.
        let mut changed = limits::of_next_run(&plan.spec, &plan.run_dir)?;
        if let Some(netns) = netns {
            // What is in it was made for the first run, and stays.
            enter_netns(changed.get_or_insert_with(|| plan.spec.clone()), netns);
        }
        let order = Order {
            id: &plan.id,
            spec: changed.as_ref().unwrap_or(&plan.spec),
            rootfs: &plan.rootfs,
            bundle: &plan.state_dir,
            who: plan.who(),
            wiring: Wiring::Pipes { stdin_open: plan.stdin_open },
            small_init: plan.init,
            die_with_parent: true,
            preserve_fds: 0,
            listener: None,
        };
        let Newborn { init, stage, streams, terminal } = birth::make(order, &cgroup)?;
        if plan.hold_network && netns.is_none() {
            *netns = Some(open_netns(init.pid).inspect_err(|_| {
                birth::end(&init);
                let _ = cgroup.remove(); // the error of the namespace is what matters
            })?);
        }
        let connected = stdio::connect(streams, terminal.as_ref(), plan.stdin_open);
        let (outputs, input) = connected.inspect_err(|_| {
            birth::end(&init);
            let _ = cgroup.remove(); // the error of the streams is what matters
        })?;
        let mut run = Run {
            cgroup,
            init,
            stage: Some(stage),
            starter: None,
            start_failed: None,
            started: None,
            exit_code: None,
            paused: false,
            terminal,
            outputs,
            input,
            log,
            execs: Execs::new(Room::of_this_process().execs),
            resolver: None,
            resolver_answer: None,
            oom: None,
            oom_told: false,
            kill_told: false,
        };
        match resolve.map_or(Ok(()), |resolve| run.begin_names(plan, resolve)) {
            Ok(()) => Ok(run),
            Err(error) => {
                let _ = run.undo(); // the error of the names is what matters
                Err(error)
            }
        }
    }

    /// Tells the init to execute the command, for a client or by ourselves; [`Run::hear_stage`] says what came of it.
    ///
    /// # Errors
    /// `conflict` when it runs or has ended.
    pub(super) fn start(&mut self, starter: Option<u64>) -> Result<()> {
        if self.started.is_some() || self.starter.is_some() {
            return Err(Error::conflict("the container runs already"));
        }
        failpoint::hit("monitor.start.execute")?;
        self.await_names()?;
        let Some(stage) = &self.stage else { return Err(Error::conflict("the container has ended")) };
        stage.send(&ToStage::Start, &[]).context(|| "starting the container")?;
        self.starter = Some(starter);
        Ok(())
    }

    /// It is made, and nobody has asked for its start.
    pub(super) fn is_waiting_for_start(&self) -> bool {
        self.started.is_none() && self.exit_code.is_none() && self.starter.is_none()
    }

    /// Its start was asked for, and whether its command was executed is not known yet.
    pub(super) fn is_starting(&self) -> bool {
        self.started.is_none() && self.exit_code.is_none() && self.starter.is_some()
    }

    /// Its command was executed, whatever came of it.
    pub(super) fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// Its command was executed and has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.started.is_some() && self.exit_code.is_some()
    }

    /// Ends it before its command is executed: it will never have started.
    pub(super) fn give_up(&mut self) {
        (self.stage, self.starter) = (None, None);
        self.kill();
    }

    /// The command runs: it was executed and has not ended.
    pub(super) fn is_running(&self) -> bool {
        self.started.is_some() && self.exit_code.is_none()
    }

    /// Refuses what only a running command can have done to it.
    pub(super) fn must_run(&self) -> Result<()> {
        if self.is_running() { Ok(()) } else { Err(Error::conflict("the container does not run")) }
    }

    /// The network namespace of the first process.
    ///
    /// # Errors
    /// `conflict` when it does not run.
    pub(super) fn network(&self) -> Result<OwnedFd> {
        self.must_run()?;
        open_netns(self.init.pid)
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// `conflict` when it does not run.
    pub(super) fn signal(&self, number: i32) -> Result<()> {
        self.must_run()?;
        process::signal(self.init.pidfd.as_fd(), number).context(|| format!("sending {}", signal::name(number)))
    }

    /// Tells that a signal was sent; of SIGKILL once, after which a run is over.
    pub(super) fn tell_kill(&mut self, plan: &Plan, number: i32) {
        if number != signal::KILL || !std::mem::replace(&mut self.kill_told, true) {
            plan.tell("kill", &[("signal", &number)]);
        }
    }

    /// Tells of the first stroke of the out-of-memory killer, and of later ones that are heard of at their time.
    fn tell_oom(&mut self, plan: &Plan) {
        if !std::mem::replace(&mut self.oom_told, true) {
            plan.tell("oom", &[]);
        }
    }

    /// Listens for the out-of-memory killer from now on, if it does not yet. What it cannot hear is told at the end.
    pub(super) fn watch_oom(&mut self) {
        if self.oom.is_none() {
            self.oom = self.cgroup.watch_oom().ok();
        }
    }

    /// The out-of-memory killer struck, or will not strike again.
    pub(super) fn hear_oom(&mut self, plan: &Plan) {
        let Some(watch) = &mut self.oom else { return };
        match watch.take() {
            Ok(news) => {
                if news.strikes > 0 {
                    self.oom_told = false;
                    self.tell_oom(plan);
                }
                if news.over {
                    self.oom = None;
                }
            }
            Err(_) => self.oom = None, // the end tells
        }
    }

    /// Kills all its processes.
    pub(super) fn kill(&self) {
        // Both may be too late, which is what was wanted.
        let _ = process::signal(self.init.pidfd.as_fd(), signal::KILL);
        let _ = self.cgroup.kill_all(signal::KILL);
    }

    /// Takes back what [`Run::make`] made.
    ///
    /// # Errors
    /// `timeout` when a process does not die.
    pub(super) fn undo(mut self) -> Result<()> {
        self.end_names();
        birth::end(&self.init);
        self.cgroup.remove()
    }

    /// What the init says until it has executed the command. Returns the answer to the start, and who waits for it if
    /// that is a client.
    pub(super) fn hear_stage(&mut self, plan: &Plan, history: History) -> Option<(Option<u64>, Reply)> {
        let stage = self.stage.as_mut()?;
        let alive = stage.fill().unwrap_or(false);
        while let Ok(Some(frame)) = stage.decoder.next() {
            if let Ok(FromStage::Failed(error)) = frame.message() {
                self.start_failed = Some(error.into());
            }
        }
        if alive {
            return None;
        }
        self.stage = None;
        let starter = self.starter.take()?;
        let reply = match &self.start_failed {
            Some(error) => Reply::Failed(error.into()),
            None => match self.record_start(plan, history) {
                Ok(()) => Reply::Started,
                Err(error) => {
                    // Without a record of its start nobody could tell what became of it.
                    self.kill();
                    let reply = Reply::Failed((&error).into());
                    self.start_failed = Some(error);
                    reply
                }
            },
        };
        Some((starter, reply))
    }

    fn record_start(&mut self, plan: &Plan, history: History) -> Result<()> {
        self.started = Some((Timestamp::now(), Instant::now()));
        let state = self.state(history)?;
        // After a power cut it must be known which containers are to run.
        let durable = plan.restart != RestartPolicy::No && history.restart_count == 0;
        state::write_json(&plan.state_dir.join(state::STARTED), &state, durable)?;
        state::write_json(&plan.run_dir.join(state::STATE), &state, false)?;
        if !plan.ephemeral && history.restart_count == 0 {
            state::reserve_end(&plan.state_dir)?;
        }
        state::remove_file(&plan.state_dir.join(state::EXIT))?;
        plan.tell_started();
        Ok(())
    }

    /// What the state files say while it runs.
    pub(super) fn state(&self, history: History) -> Result<RunState> {
        let pid = std::process::id() as i32;
        // An init that has ended already still has its number: it is our child and not reaped.
        let init = self.exit_code.is_none().then(|| state::start_time(self.init.pid).ok()).flatten();
        Ok(RunState {
            boot_id: state::boot_id()?,
            monitor: (pid, state::start_time(pid)?),
            init: init.map(|start| (self.init.pid, start)),
            started: self.started.map(|(time, _)| time).unwrap_or_default(),
            paused: self.paused,
            restart_count: history.restart_count,
            stopped_by_user: history.stopped_by_user,
            ended: None,
        })
    }

    /// Freezes or thaws all processes, and notes it.
    ///
    /// # Errors
    /// `conflict` when it does not run or is so already; what the freezer or the disk gives, with everything undone.
    pub(super) fn set_paused(&mut self, paused: bool, plan: &Plan, history: History) -> Result<()> {
        self.must_run()?;
        if paused == self.paused {
            let which = if paused { "paused already" } else { "not paused" };
            return Err(Error::conflict(format!("the container is {which}")));
        }
        failpoint::hit("monitor.pause.freeze")?;
        if let Err(error) = self.cgroup.set_frozen(paused) {
            // Some of its processes may stand still already, and nobody would know of a frozen container.
            return Err(match paused.then(|| self.cgroup.set_frozen(false)) {
                None | Some(Ok(())) => error,
                Some(Err(more)) => error.context(format!("and thawing it again failed: {more}")),
            });
        }
        self.paused = paused;
        let noted = failpoint::hit("monitor.pause.record")
            .and_then(|()| self.state(history))
            .and_then(|state| state::write_json(&plan.run_dir.join(state::STATE), &state, false));
        noted.map_err(|error| {
            self.paused = !paused;
            match self.cgroup.set_frozen(!paused) {
                Ok(()) => error,
                Err(more) => error.context(format!("and undoing it failed: {more}")),
            }
        })?;
        plan.tell(if paused { "pause" } else { "unpause" }, &[]);
        Ok(())
    }

    /// How long the command has run, or ran.
    pub(super) fn lived(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |(_, at)| at.elapsed())
    }

    /// Lets go of the streams.
    pub(super) fn close(&mut self) {
        self.outputs.clear();
        self.input.close();
        self.terminal = None;
    }

    /// Passes on what a stream has to say, to the log and to whoever is attached.
    pub(super) fn take_output(&mut self, index: usize, conns: &mut BTreeMap<u64, Conn>) {
        let Some(output) = self.outputs.get_mut(index) else { return };
        let stream = output.stream;
        let Some(bytes) = output.read(self.log.appetite(CHUNK)) else { return };
        self.log.write(stream, bytes);
        let kind = if stream == Stream::Stdout { STDOUT } else { STDERR };
        for conn in conns.values_mut().filter(|conn| conn.attached) {
            conn.send_stream(kind, bytes);
        }
    }

    /// After the end of the first process: hears and reads what is left, and says how it ended.
    pub(super) fn finish(&mut self, plan: &Plan, history: History, conns: &mut BTreeMap<u64, Conn>) -> ExitRecord {
        // An init that failed said why before it ended.
        while self.stage.is_some() {
            if let Some((starter, reply)) = self.hear_stage(plan, history)
                && let Some(conn) = starter.and_then(|id| conns.get_mut(&id))
            {
                conn.send(&reply, None);
            }
        }
        self.end_names();
        self.drain(plan, conns);
        let oom_killed = self.cgroup.oom_kills() > 0;
        if oom_killed {
            self.tell_oom(plan);
        }
        self.log.finish();
        let exit_code = self.exit_code.unwrap_or_default();
        let failure = self.start_failed.as_ref().and_then(Error::failure);
        ExitRecord {
            started: self.started.map(|(time, _)| time),
            finished: Timestamp::now(),
            exit_code: failure.map_or(exit_code, |failure| failure.exit_code),
            oom_killed,
            error: self.start_failed.as_ref().map(Error::to_string),
            restart_count: history.restart_count,
            stopped_by_user: history.stopped_by_user,
            restarting: false,
            log_lost: self.log.lost(),
        }
    }

    /// Reads what is left of the output. The pid namespace is dead, so the end comes at once; only with the host's pid
    /// namespace others may hold the streams, and they are given [`DRAIN`].
    fn drain(&mut self, plan: &Plan, conns: &mut BTreeMap<u64, Conn>) {
        if !mounts::is_new(&plan.spec, LinuxNamespaceType::Pid) {
            let _ = self.cgroup.kill_all(signal::KILL); // the removal of the cgroup tries again and reports
        }
        let deadline = Instant::now() + DRAIN;
        while self.outputs.iter().any(|output| output.fd().is_some()) && Instant::now() < deadline {
            let mut idle = true;
            for index in 0..self.outputs.len() {
                let ready = match self.outputs[index].fd() {
                    Some(fd) => {
                        let mut interest = [Interest::new(fd, true, false)];
                        socket::wait(&mut interest, Some(Duration::ZERO)).is_ok() && interest[0].readable()
                    }
                    None => false,
                };
                if ready {
                    self.take_output(index, conns);
                    idle = false;
                }
            }
            if idle {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Opens the network namespace of our child, whose number is nobody else's until it is taken in.
fn open_netns(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/net");
    crate::sys::namespace::open(Path::new(&path)).context(|| format!("opening {path:?}"))
}

/// Has the next run join the network namespace of the first one.
fn enter_netns(spec: &mut oci_spec::runtime::Spec, netns: &OwnedFd) {
    let Some(linux) = spec.linux_mut() else { return };
    let of_network = |one: &&mut oci_spec::runtime::LinuxNamespace| one.typ() == LinuxNamespaceType::Network;
    if let Some(namespace) = linux.namespaces_mut().iter_mut().flatten().find(of_network) {
        namespace.set_path(Some(format!("/proc/self/fd/{}", netns.as_raw_fd()).into()));
    }
}
