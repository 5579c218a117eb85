//! The monitor: one small process per container, which makes it, holds it, and records how it ended.
//!
//! ```text
//! rhumb [monitor]     standard input is the creator's connection, whose first frame is the plan
//!   birth    lock, cgroup, root, fork of the init, id maps      an error undoes all and is the reply
//!   hold     one loop over everything that can happen            see `Monitor::turn`
//!   end      drain, record, cgroup, last bytes to clients        then `on_exit`, unless an owner is still connected
//! ```
//!
//! It has one thread and never waits for a client. It holds no descriptor of the host's that it does not need, and sets its
//! own memory to a few hundred kilobytes: no allocation grows with what the container writes.
//!
//! It does not restart, check health or resolve names.

mod end;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::{Context as _, Error, Result, Timestamp};
use crate::model::log::Stream;
use crate::runtime::birth::{self, Newborn, Order, Wiring};
use crate::runtime::cgroup::Cgroup;
use crate::runtime::conn::{Conn, HIGH_WATER};
use crate::runtime::execs::Execs;
use crate::runtime::handover::{FromStage, ToStage};
use crate::runtime::log::Writer;
use crate::runtime::plan::Plan;
use crate::runtime::state::{self, RunState};
use crate::runtime::stdio::{self, Input, Output};
use crate::runtime::wire::{Channel, Decoder, MAX_FRAME, MAX_PLAN, Reply, Request, STDERR, STDIN, STDOUT};
use crate::sys::process::{self, Child};
use crate::sys::signal::{self, Signals};
use crate::sys::socket::{self, Interest};
use crate::sys::{memory, mount, tty};

/// The hidden verb.
pub const VERB: &str = "[monitor]";

/// How many clients are served at once; more wait in the socket's own queue. With all further processes this stays below
/// the usual limit of 1024 descriptors.
const MAX_CONNS: usize = 256;
/// How long clients are not heard after one could not be taken in.
const DEAF: Duration = Duration::from_millis(100);
/// How long the lock of an ending predecessor is waited for.
const PREDECESSOR: Duration = Duration::from_secs(10);
/// A container that lives this long is worth giving back the memory that only its start needed.
const SETTLING: Duration = Duration::from_secs(1);
/// Descriptors of our own begin here, so that 0 to 2 are never among them.
const FIRST_FD: i32 = 10;

/// Runs a monitor; the exit status of the process.
pub fn main() -> i32 {
    match run() {
        Ok(()) => 0,
        Err(_) => 1, // whoever waits for it was told
    }
}

fn run() -> Result<()> {
    process::close_inherited_from(3).context(|| "closing descriptors")?;
    let creator = process::take_stdin(FIRST_FD).context(|| "taking the creator's connection")?;
    let null = File::options().read(true).write(true).open("/dev/null").context(|| "opening \"/dev/null\"")?;
    process::set_stdio([null.as_fd(); 3]).context(|| "leaving the standard streams")?;
    drop(null);
    process::new_session().context(|| "starting a session")?;
    // What it forks has both from birth: keys of who started it are not the container's, and no process of a container
    // that sees a stage before it has given up its rights may trace it.
    process::leave_keyring().context(|| "leaving the session keyring")?;
    process::set_undumpable().context(|| "closing the process to tracing")?;
    process::set_umask(0o022);
    process::change_dir(Path::new("/")).context(|| "leaving the working folder")?;
    // Only listings show it.
    let _ = process::set_name(c"rhumb-monitor");
    process::adopt_orphans().context(|| "adopting orphans")?;
    let signals = Signals::all().context(|| "blocking signals")?;
    let mut channel = Channel::new(creator, MAX_PLAN);
    let plan = match channel.receive()?.map(|frame| frame.message()) {
        Some(Ok(Request::Create(plan))) => *plan,
        Some(Ok(_)) | None => return Err(Error::corrupt("the creator sent no plan")),
        Some(Err(error)) => {
            channel.send(&Reply::Failed((&error).into()), &[])?;
            return Err(error);
        }
    };
    match Monitor::new(plan, signals, &mut channel) {
        Ok(mut monitor) => {
            let (fd, mut decoder) = channel.into_parts();
            decoder.set_limit(MAX_FRAME);
            monitor.adopt(fd, decoder)?;
            monitor.hold();
            monitor.end()
        }
        Err(error) => {
            channel.send(&Reply::Failed((&error).into()), &[])?;
            Err(error)
        }
    }
}

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Event {
    Signal,
    Knock,
    Stage,
    Output(usize),
    Input,
    ConnIn(u64),
    ConnOut(u64),
    Exec(i32),
    ExecOutput(i32),
}

struct Monitor {
    plan: Plan,
    cgroup: Cgroup,
    signals: Signals,
    _lock: File,
    listener: Option<OwnedFd>,
    init: Child,
    /// The talk with the init until it has executed the command.
    stage: Option<Channel>,
    /// Who asked for the start and waits for the answer.
    starter: Option<u64>,
    start_failed: Option<Error>,
    started: Option<Timestamp>,
    exit_code: Option<i32>,
    paused: bool,
    terminal: Option<OwnedFd>,
    outputs: Vec<Output>,
    input: Input,
    log: Writer,
    execs: Execs,
    conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    creator: u64,
    abandoned: bool,
    /// Clients that knock are not heard before this, since there was no room for them.
    deaf_until: Option<Instant>,
}

impl Monitor {
    fn new(plan: Plan, signals: Signals, channel: &mut Channel) -> Result<Monitor> {
        let lock = lock(&plan.run_dir)?;
        let run_dir = mount::open_folder(&plan.run_dir).context(|| format!("opening {:?}", plan.run_dir))?;
        let log = Writer::open(&plan.state_dir, &plan.id, &plan.log)?;
        let cgroup = Cgroup::new(&plan.cgroup)?;
        let listener = socket::listen(run_dir.as_fd(), state::SOCKET).context(|| "opening the control socket")?;
        let order = Order {
            id: &plan.id,
            spec: &plan.spec,
            rootfs: &plan.rootfs,
            bundle: &plan.state_dir,
            who: plan.who(),
            wiring: Wiring::Pipes { stdin_open: plan.stdin_open },
            small_init: plan.init,
            die_with_parent: true,
            preserve_fds: 0,
            listener: None,
        };
        let newborn = birth::make(order, &cgroup).inspect_err(|_| {
            let _ = state::remove_file(&plan.run_dir.join(state::SOCKET)); // the error of the birth is what matters
        })?;
        // A creator that is gone by now is noticed in the loop, which undoes everything.
        let _ = channel.send(&Reply::Created, &[]);
        let Newborn { init, stage, streams, terminal } = newborn;
        let (outputs, input) = stdio::connect(streams, terminal.as_ref(), plan.stdin_open)?;
        Ok(Monitor {
            execs: Execs::new(),
            plan,
            cgroup,
            signals,
            _lock: lock,
            listener: Some(listener),
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
            conns: BTreeMap::new(),
            next_conn: 0,
            creator: 0,
            abandoned: false,
            deaf_until: None,
        })
    }

    fn adopt(&mut self, fd: OwnedFd, decoder: Decoder) -> Result<()> {
        socket::set_nonblocking(&fd, true).context(|| "taking a connection")?;
        let id = self.next_conn;
        self.next_conn += 1;
        self.conns.insert(id, Conn::new(fd, decoder));
        // It may have sent more than its first frame already.
        self.serve(id);
        Ok(())
    }

    /// Goes on until the container has ended.
    fn hold(&mut self) {
        let mut settle = Some(Instant::now() + SETTLING);
        while self.exit_code.is_none() {
            if settle.is_some_and(|at| at <= Instant::now()) {
                memory::release_program_pages();
                settle = None;
            }
            if self.turn(settle.map(|at| at.saturating_duration_since(Instant::now()))).is_err() {
                // The kernel refuses to wait: without us the container must not go on unseen.
                self.kill();
                std::thread::sleep(Duration::from_millis(10));
                self.reap();
            }
        }
    }

    /// Waits for something to happen and deals with it.
    fn turn(&mut self, timeout: Option<Duration>) -> Result<()> {
        let ready = self.wait(timeout)?;
        for event in ready {
            match event {
                Event::Signal => self.take_signals(),
                Event::Knock => self.take_connections(),
                Event::Stage => self.hear_stage(),
                Event::Output(index) => self.take_output(index),
                Event::Input => self.input.flush(),
                Event::ConnIn(id) => {
                    if let Some(conn) = self.conns.get_mut(&id) {
                        conn.fill();
                    }
                    self.serve(id);
                }
                Event::ConnOut(id) => {
                    if let Some(conn) = self.conns.get_mut(&id) {
                        conn.flush();
                    }
                }
                Event::Exec(pid) => self.execs.hear(pid, &mut self.conns),
                Event::ExecOutput(pid) => self.execs.discard(pid),
            }
        }
        self.drop_closed();
        Ok(())
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<Vec<Event>> {
        let held_back = self.conns.values().any(|conn| conn.attached && conn.queued() > HIGH_WATER);
        let mut events = vec![Event::Signal];
        let mut interests = vec![Interest::new(self.signals.as_fd(), true, false)];
        let mut watch = |event, interest| {
            events.push(event);
            interests.push(interest);
        };
        let deaf = self.deaf_until.map(|until| until.saturating_duration_since(Instant::now()));
        let deaf = deaf.filter(|left| !left.is_zero());
        let timeout = timeout.into_iter().chain(deaf).min();
        let hears = deaf.is_none() && self.conns.len() < MAX_CONNS;
        if let Some(listener) = self.listener.as_ref().filter(|_| hears) {
            watch(Event::Knock, Interest::new(listener.as_fd(), true, false));
        }
        if let Some(stage) = &self.stage {
            watch(Event::Stage, Interest::new(stage.fd(), true, false));
        }
        if !held_back {
            for (index, output) in self.outputs.iter().enumerate() {
                if let Some(fd) = output.fd() {
                    watch(Event::Output(index), Interest::new(fd, true, false));
                }
            }
        }
        if let Some(fd) = self.input.wants_to_write() {
            watch(Event::Input, Interest::new(fd, false, true));
        }
        for (id, conn) in &self.conns {
            // A container that does not read holds the client back that writes.
            let read = !(conn.attached && self.input.is_full());
            if read {
                watch(Event::ConnIn(*id), Interest::new(conn.as_fd(), true, false));
            }
            if conn.queued() > 0 {
                watch(Event::ConnOut(*id), Interest::new(conn.as_fd(), false, true));
            }
        }
        for (pid, fd) in self.execs.stages() {
            watch(Event::Exec(pid), Interest::new(fd, true, false));
        }
        for (pid, fd) in self.execs.unwatched_terminals() {
            watch(Event::ExecOutput(pid), Interest::new(fd, true, false));
        }
        socket::wait(&mut interests, timeout).context(|| "waiting")?;
        let ready = |(_, interest): &(Event, Interest<'_>)| interest.readable() || interest.writable();
        Ok(events.into_iter().zip(interests).filter(ready).map(|(event, _)| event).collect())
    }

    fn take_signals(&mut self) {
        while let Ok(Some(number)) = self.signals.next() {
            match number {
                signal::CHLD => self.reap(),
                // The machine goes down, or someone means the container.
                signal::TERM => drop(process::signal(self.init.pidfd.as_fd(), signal::TERM)),
                _ => {}
            }
        }
    }

    fn reap(&mut self) {
        while let Ok(Some(ended)) = process::reap() {
            if ended.pid == self.init.pid {
                self.exit_code = Some(ended.code);
            } else {
                self.execs.ended(ended, &mut self.conns);
            }
        }
    }

    fn kill(&self) {
        // Both may be too late, which is what was wanted.
        let _ = process::signal(self.init.pidfd.as_fd(), signal::KILL);
        let _ = self.cgroup.kill_all(signal::KILL);
    }

    fn take_connections(&mut self) {
        let Some(listener) = &self.listener else { return };
        match socket::accept(listener.as_fd()) {
            Ok(Some(fd)) => {
                let id = self.next_conn;
                self.next_conn += 1;
                self.conns.insert(id, Conn::new(fd, Decoder::new(MAX_FRAME)));
            }
            Ok(None) => {}
            // An error such as "too many files" passes; the client stays in the queue, which would wake us at once.
            Err(_) => self.deaf_until = Some(Instant::now() + DEAF),
        }
    }

    fn drop_closed(&mut self) {
        let closed: Vec<u64> = self.conns.iter().filter(|(_, conn)| conn.closed).map(|(id, _)| *id).collect();
        for id in closed {
            drop(self.conns.remove(&id));
            self.execs.client_left(id);
            if id == self.creator && self.started.is_none() && self.exit_code.is_none() && self.starter.is_none() {
                // Nobody else can start it: a container that was never started leaves nothing behind.
                self.abandoned = true;
                self.kill();
            }
        }
    }

    /// What the init says until it has executed the command.
    fn hear_stage(&mut self) {
        let Some(stage) = &mut self.stage else { return };
        let alive = stage.fill().unwrap_or(false);
        while let Ok(Some(frame)) = stage.decoder.next() {
            if let Ok(FromStage::Failed(error)) = frame.message() {
                self.start_failed = Some(error.into());
            }
        }
        if alive {
            return;
        }
        self.stage = None;
        let Some(starter) = self.starter else { return };
        let reply = match &self.start_failed {
            Some(error) => Reply::Failed(error.into()),
            None => match self.record_start() {
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
        self.starter = None;
        if let Some(conn) = self.conns.get_mut(&starter) {
            conn.send(&reply, None);
        }
    }

    fn record_start(&mut self) -> Result<()> {
        self.started = Some(Timestamp::now());
        state::remove_file(&self.plan.state_dir.join(state::EXIT))?;
        let state = self.run_state()?;
        state::write_json(&self.plan.state_dir.join(state::STARTED), &state, false)?;
        state::write_json(&self.plan.run_dir.join(state::STATE), &state, false)
    }

    fn run_state(&self) -> Result<RunState> {
        let pid = std::process::id() as i32;
        // An init that has ended already still has its number: it is our child and not reaped.
        let init = state::start_time(self.init.pid).ok().map(|start| (self.init.pid, start));
        Ok(RunState {
            boot_id: state::boot_id()?,
            monitor: (pid, state::start_time(pid)?),
            init,
            started: self.started.unwrap_or_default(),
            paused: self.paused,
        })
    }

    fn take_output(&mut self, index: usize) {
        let Some(output) = self.outputs.get_mut(index) else { return };
        let stream = output.stream;
        let Some(bytes) = output.read() else { return };
        self.log.write(stream, bytes);
        let kind = if stream == Stream::Stdout { STDOUT } else { STDERR };
        for conn in self.conns.values_mut().filter(|conn| conn.attached) {
            conn.send_stream(kind, bytes);
        }
    }

    fn serve(&mut self, id: u64) {
        while let Some(conn) = self.conns.get_mut(&id) {
            let Some(frame) = conn.next_frame() else { return };
            if frame.kind == STDIN {
                if conn.attached {
                    self.input.push(&frame.payload);
                }
                continue;
            }
            let Ok(request) = frame.message::<Request>() else {
                conn.closed = true;
                return;
            };
            match self.answer(id, request) {
                Ok(None) => {}
                Ok(Some(reply)) => self.reply(id, &reply),
                Err(error) => self.reply(id, &Reply::Failed((&error).into())),
            }
        }
    }

    fn reply(&mut self, id: u64, reply: &Reply) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.send(reply, None);
        }
    }

    /// Does what was asked; none when the answer comes later.
    fn answer(&mut self, id: u64, request: Request) -> Result<Option<Reply>> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(None) };
        match request {
            Request::Create(_) => return Err(Error::invalid("a monitor holds one container")),
            Request::Start => return self.start(id),
            Request::Attach => conn.attached = true,
            Request::Detach => conn.attached = false,
            Request::Wait => {
                conn.waiting = true;
                return Ok(None);
            }
            Request::TakeOver => conn.owner = true,
            Request::Signal(number) => {
                self.must_run()?;
                process::signal(self.init.pidfd.as_fd(), number)
                    .context(|| format!("sending {}", signal::name(number)))?;
            }
            Request::KillAll => self.cgroup.kill_all(signal::KILL)?,
            Request::Pause(paused) => self.pause(paused)?,
            Request::Resize(size) => {
                if let Some(terminal) = &self.terminal {
                    tty::set_size(terminal, size).context(|| "setting the terminal's size")?;
                }
            }
            Request::Exec { options, streams, size } => {
                self.must_run()?;
                if self.paused {
                    return Err(Error::conflict("the container is paused").with_hint("unpause it first"));
                }
                let conn = self.conns.get_mut(&id).expect("looked up above");
                let fds: Vec<OwnedFd> = if streams { conn.decoder.fds.drain(..).collect() } else { Vec::new() };
                self.execs.start(id, &self.plan, &self.cgroup, &self.init, *options, fds, size)?;
                return Ok(None);
            }
            Request::SignalExec { signal, group } => self.execs.signal(id, signal, group)?,
        }
        Ok(Some(Reply::Done))
    }

    fn must_run(&self) -> Result<()> {
        if self.started.is_some() && self.exit_code.is_none() {
            Ok(())
        } else {
            Err(Error::conflict("the container does not run"))
        }
    }

    fn start(&mut self, id: u64) -> Result<Option<Reply>> {
        if self.started.is_some() || self.starter.is_some() {
            return Err(Error::conflict("the container runs already"));
        }
        let Some(stage) = &self.stage else { return Err(Error::conflict("the container has ended")) };
        crate::base::failpoint::hit("monitor.start.execute")?;
        stage.send(&ToStage::Start, &[]).context(|| "starting the container")?;
        self.starter = Some(id);
        if let Some(conn) = self.conns.get_mut(&id) {
            // Who started it may want to know how it ended after we have gone.
            conn.waiting = true;
        }
        Ok(None)
    }

    fn pause(&mut self, paused: bool) -> Result<()> {
        self.must_run()?;
        if paused == self.paused {
            let which = if paused { "paused already" } else { "not paused" };
            return Err(Error::conflict(format!("the container is {which}")));
        }
        crate::base::failpoint::hit("monitor.pause.freeze")?;
        if let Err(error) = self.cgroup.set_frozen(paused) {
            // Some of its processes may stand still already, and nobody would know of a frozen container.
            return Err(match paused.then(|| self.cgroup.set_frozen(false)) {
                None | Some(Ok(())) => error,
                Some(Err(more)) => error.context(format!("and thawing it again failed: {more}")),
            });
        }
        self.paused = paused;
        let noted = crate::base::failpoint::hit("monitor.pause.record")
            .and_then(|()| self.run_state())
            .and_then(|state| state::write_json(&self.plan.run_dir.join(state::STATE), &state, false));
        noted.map_err(|error| {
            self.paused = !paused;
            match self.cgroup.set_frozen(!paused) {
                Ok(()) => error,
                Err(more) => error.context(format!("and undoing it failed: {more}")),
            }
        })
    }
}

/// Takes the lock that says that this container has a monitor.
fn lock(run_dir: &Path) -> Result<File> {
    let path = run_dir.join(state::LOCK);
    let doing = || format!("locking {path:?}");
    let file = File::options().write(true).create(true).truncate(false).open(&path).context(doing)?;
    let deadline = Instant::now() + PREDECESSOR;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(Error::from(error).context(doing())),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::conflict("another monitor holds the container"));
            }
        }
    }
}
