//! The engine's side of the talk with a monitor.
//!
//! One connection carries one conversation at a time. What a conversation leaves half-read is never read as something
//! else: after an attachment that did not end with the process, the next call takes a new connection.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::base::{Context as _, Error, Id, Kind, Result};
use crate::base::{failpoint, time};
use crate::model::exec::{Exec, ExecOptions};
use crate::model::log::{LogLoss, Stream};
use crate::model::restart::RestartPolicy;
use crate::runtime::attach::{self, Streams};
use crate::runtime::plan::Plan;
use crate::runtime::state::{self, ExitRecord};
use crate::runtime::wire::{Channel, MAX_FRAME, Reply, Request};
use crate::sys::socket::{self, Interest};
use crate::sys::{mount, self_exe, tty};

/// How long processes may take to die from SIGKILL, and a monitor to go.
const DYING: Duration = Duration::from_secs(10);

/// How often it is looked for the lock of a monitor that still has bytes for other clients when the container has ended.
const LOOK: Duration = Duration::from_millis(50);

/// How long a monitor may take for an answer. Freezing may take it [`DYING`]; one that takes longer is stopped or stuck.
const ANSWER: Duration = Duration::from_secs(15);

/// How long a monitor may take to make a container, or its command to be executed: both wait for disks.
const BIRTH: Duration = Duration::from_secs(120);

/// A connection to a container's monitor. Dropping it never stops a container that was started.
pub struct Monitor {
    pub(crate) channel: Channel,
    run_dir: PathBuf,
    /// How the container ended, when this connection was told.
    pub(crate) record: Option<ExitRecord>,
    /// Half-read: not for anything further.
    pub(crate) broken: bool,
    /// The further process that this connection last started.
    pub(crate) exec: Option<Id>,
    /// This connection took the clean-up over and must stay open.
    owner: Option<Channel>,
    /// The container's network namespace, when the plan asked for it.
    netns: Option<OwnedFd>,
}

/// What an attached client does with the container's streams.
pub struct Attachment<'a> {
    /// Copied to the container's standard input until its end; none closes it at once for an exec.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Takes output. An error ends the attachment.
    pub output: &'a mut (dyn FnMut(Stream, &[u8]) -> Result<()> + Send),
    /// The user's terminal: its size is passed on now and whenever it changes. Raw mode is the caller's.
    pub terminal: Option<BorrowedFd<'a>>,
    /// Bytes on standard input that end the attachment; empty for none.
    pub detach_keys: Vec<u8>,
    /// Yields signal numbers, one byte each, to send to the container (sig-proxy).
    pub signals: Option<BorrowedFd<'a>>,
    /// Ends the attachment with `interrupted` when set.
    pub interrupt: &'a AtomicBool,
    /// Ends the attachment with `timeout`.
    pub deadline: Option<Instant>,
}

/// How an attachment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachEnd {
    /// The container, or the exec'd process, ended with this status.
    Exited(i32),
    /// The user typed the detach keys.
    Detached,
}

/// Starts a monitor for `plan`, which makes everything up to the point where the container's command is about to be
/// executed, and then waits for [`Monitor::start`]. The caller may attach in between, so no output is missed. A container
/// that was not started goes away with this connection.
///
/// # Errors
/// Whatever made a step fail, with everything undone: nothing is left in the kernel.
pub fn create(plan: &Plan) -> Result<Monitor> {
    let doing = || "starting the container's monitor";
    let (ours, theirs) = socket::pair().context(doing)?;
    let program = self_exe::open().context(|| "opening our own program")?;
    let mut command = Command::new(self_exe::path(&program));
    command.arg0("rhumb").arg(super::monitor::VERB).env_clear();
    command.envs(failpoint::environment());
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().context(doing)?;
    drop((command, program));
    // It outlives us as a rule; while we live it must not stay a zombie.
    std::thread::Builder::new()
        .name("monitor-end".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || drop(child.wait()))
        .context(doing)?;
    let mut monitor = Monitor::over(Channel::new(ours, MAX_FRAME), &plan.run_dir);
    monitor.channel.send(&Request::Create(Box::new(plan.clone())), &[])?;
    // One that is stopped sees this connection closed when it goes on, and undoes what it did.
    let reply = monitor.reply(Some(Instant::now() + BIRTH)).map_err(|error| monitor.silent(error, BIRTH))?;
    match reply {
        Reply::Created => {
            monitor.netns = monitor.channel.decoder.fds.pop_front();
            Ok(monitor)
        }
        other => Err(unexpected(&other)),
    }
}

/// Connects to the monitor of a running container.
///
/// # Errors
/// `conflict` when no monitor is there.
pub fn connect(run_dir: &Path) -> Result<Monitor> {
    let not_running = |error: std::io::Error| Error::conflict("the container does not run").with_source(error);
    let folder = mount::open_folder(run_dir).map_err(not_running)?;
    let socket = socket::connect(folder.as_fd(), state::SOCKET).map_err(not_running)?;
    Ok(Monitor::over(Channel::new(socket, MAX_FRAME), run_dir))
}

impl Monitor {
    fn over(channel: Channel, run_dir: &Path) -> Monitor {
        Monitor {
            channel,
            run_dir: run_dir.to_owned(),
            record: None,
            broken: false,
            exec: None,
            owner: None,
            netns: None,
        }
    }

    /// The network namespace of a container that was made just now.
    pub fn take_netns(&mut self) -> Option<OwnedFd> {
        self.netns.take()
    }

    /// Lets the command be executed. Returns when it was, or could not be.
    ///
    /// # Errors
    /// `command_failed` with exit code 127 (not found) or 126 (not executable); others as they come.
    pub fn start(&mut self) -> Result<()> {
        match self.talk(&Request::Start)? {
            Reply::Started => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Attaches to the first process; for a created container before [`Monitor::start`], which `start` then does once
    /// the attachment stands.
    ///
    /// # Errors
    /// `interrupted`, `timeout`; `unavailable` when the monitor goes away; with `start` as [`Monitor::start`].
    pub fn attach(&mut self, attachment: Attachment<'_>, start: bool) -> Result<AttachEnd> {
        self.mend()?;
        attach::first(self, attachment, start)
    }

    /// Runs a further process, attached.
    ///
    /// # Errors
    /// As [`Monitor::attach`], and the process is killed; `command_failed` with 126 or 127 when it cannot be executed;
    /// `conflict` when the container does not run.
    pub fn exec(&mut self, options: &ExecOptions, attachment: Attachment<'_>) -> Result<AttachEnd> {
        self.mend()?;
        let size = attachment.terminal.and_then(|terminal| tty::size(terminal).ok());
        let request = |streams| Request::Exec { options: Box::new(options.clone()), streams, size };
        let mut streams = Streams::default();
        if options.tty {
            self.channel.send(&request(false), &[])?;
        } else {
            let pipe = || socket::pipe().context(|| "making a pipe");
            let (stdin, our_in) = pipe()?;
            let (our_out, stdout) = pipe()?;
            let (our_err, stderr) = pipe()?;
            self.channel.send(&request(true), &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
            streams.stdin = Some(our_in);
            streams.outputs = vec![(Stream::Stdout, our_out), (Stream::Stderr, our_err)];
        }
        attach::further(self, attachment, streams)
    }

    /// Runs a further process without streams; returns its identity.
    ///
    /// # Errors
    /// As [`Monitor::exec`].
    pub fn exec_detached(&mut self, options: &ExecOptions) -> Result<Id> {
        let request = Request::Exec { options: Box::new(options.clone()), streams: false, size: None };
        let reply = self.talk(&request)?;
        // How it ends comes on this connection at some time.
        self.broken = true;
        match reply {
            Reply::ExecStarted { id, .. } => Ok(id),
            other => Err(unexpected(&other)),
        }
    }

    /// The further processes: those that run, and the last that have ended, oldest first.
    ///
    /// # Errors
    /// `unavailable` when the monitor is gone; `timeout`.
    pub fn execs(&mut self) -> Result<Vec<Exec>> {
        match self.talk(&Request::Execs)? {
            Reply::Execs(execs) => Ok(execs),
            other => Err(unexpected(&other)),
        }
    }

    /// As [`Monitor::execs`] for those who show them among other things: a monitor that is stopped or busy is not waited
    /// for longer than `patience`.
    ///
    /// # Errors
    /// As [`Monitor::execs`].
    pub fn execs_within(&mut self, patience: Duration) -> Result<Vec<Exec>> {
        self.mend()?;
        self.channel.send(&Request::Execs, &[])?;
        let reply = self.reply(Some(Instant::now() + patience));
        self.broken |= reply.is_err();
        match reply? {
            Reply::Execs(execs) => Ok(execs),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a signal to the further process of this identity.
    ///
    /// # Errors
    /// `not_found`; `conflict` when it has ended.
    pub fn kill_exec(&mut self, id: &Id, signal: i32) -> Result<()> {
        self.ask(&Request::KillExec { id: id.clone(), signal })
    }

    /// Waits for the end of the container.
    ///
    /// # Errors
    /// `timeout`, `interrupted`; `unavailable` when the monitor dies without a record.
    pub fn wait(&mut self, deadline: Option<Instant>, interrupt: &AtomicBool) -> Result<ExitRecord> {
        if let Some(record) = &self.record {
            return Ok(record.clone());
        }
        self.mend()?;
        // A monitor that is gone already has told the connection that started the container how it ended.
        let asked = self.channel.send(&Request::Wait, &[]);
        self.wait_asked(asked, deadline, interrupt)
    }

    /// Waits for the exit record that was asked for.
    fn wait_asked(
        &mut self,
        asked: Result<()>,
        deadline: Option<Instant>,
        interrupt: &AtomicBool,
    ) -> Result<ExitRecord> {
        if let Some(record) = &self.record {
            return Ok(record.clone());
        }
        let result = self.await_end(deadline, interrupt).map_err(|error| match asked {
            Err(asked) if error.kind() == Kind::Unavailable => asked,
            _ => error,
        });
        self.broken |= result.is_err();
        result
    }

    fn await_end(&mut self, deadline: Option<Instant>, interrupt: &AtomicBool) -> Result<ExitRecord> {
        loop {
            match self.channel.receive_within(deadline, interrupt)?.map(|frame| frame.message()).transpose()? {
                Some(Reply::Exited(record)) => {
                    self.record = Some(record.clone());
                    return Ok(record);
                }
                Some(Reply::Failed(error)) => return Err(error.into()),
                Some(_) => {}
                None => return Err(Error::unavailable("the container's monitor went away without a record")),
            }
        }
    }

    /// How the container ended, when this connection was told.
    pub fn ended(&self) -> Option<&ExitRecord> {
        self.record.as_ref()
    }

    /// The further process that was last started through this.
    pub fn exec_id(&self) -> Option<&Id> {
        self.exec.as_ref()
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// `conflict` when it has ended.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        self.ask(&Request::Signal(signal))
    }

    /// Sends `signal`, and SIGKILL to all processes after `grace`; returns when the container has ended.
    ///
    /// # Errors
    /// `timeout` when even SIGKILL does not help within ten seconds; `interrupted`.
    pub fn stop(&mut self, signal: i32, grace: Duration, interrupt: &AtomicBool) -> Result<ExitRecord> {
        self.ask(&Request::Stop(signal))?;
        // What this connection was told of earlier runs is not the end that was asked for.
        self.record = self.record.take().filter(|record| !record.restarting);
        match self.wait_asked(Ok(()), Some(time::deadline(grace)), interrupt) {
            Err(error) if error.kind() == Kind::Timeout => {}
            other => return other,
        }
        match self.ask(&Request::KillAll) {
            Err(error) if error.kind() == Kind::Conflict => {} // it ended just now
            result => result?,
        }
        self.wait(Some(Instant::now() + DYING), interrupt).context(|| "killing the container")
    }

    /// Sets the restart policy.
    ///
    /// # Errors
    /// `conflict` when the container has ended.
    pub fn set_restart(&mut self, policy: RestartPolicy) -> Result<()> {
        self.ask(&Request::SetRestart(policy))
    }

    /// Starts the container's resolver, for which there is a file of names now, unless it runs.
    ///
    /// # Errors
    /// What it says.
    pub fn begin_names(&mut self) -> Result<()> {
        self.ask(&Request::Names)
    }

    /// The container's network namespace. Found by the number of its first process it could be another's by now.
    ///
    /// # Errors
    /// `conflict` between two runs, when it is not kept; `unavailable` when the monitor is gone.
    pub fn network(&mut self) -> Result<OwnedFd> {
        match self.talk(&Request::Network)? {
            Reply::Network => {
                let fd = self.channel.decoder.fds.pop_front();
                fd.ok_or_else(|| Error::corrupt("no network namespace came along"))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Has the monitor keep a descriptor for as long as it lives, under a name.
    ///
    /// # Errors
    /// `no_space` when it keeps [`crate::runtime::monitor::MAX_HELD`] already.
    pub fn hold(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
        self.talk_with(&Request::Hold(name.to_owned()), &[fd]).map(drop)
    }

    /// Has it close what it keeps under a name; nothing is fine.
    ///
    /// # Errors
    /// Troubles of the connection.
    pub fn let_go(&mut self, name: &str) -> Result<()> {
        self.ask(&Request::LetGo(name.to_owned()))
    }

    /// Freezes or thaws all processes.
    ///
    /// # Errors
    /// `conflict` when it is in that state already.
    pub fn set_paused(&mut self, paused: bool) -> Result<()> {
        self.ask(&Request::Pause(paused))
    }

    /// Forgets what was written to the log so far.
    ///
    /// # Errors
    /// What removing the files gives.
    pub fn clear_log(&mut self) -> Result<()> {
        self.ask(&Request::ClearLog)
    }

    /// How much output of this run did not get into the log. A monitor that is stopped or busy is not waited for longer than
    /// `patience`.
    ///
    /// # Errors
    /// `timeout`; `unavailable` when the monitor is gone.
    pub fn log_lost(&mut self, patience: Duration) -> Result<LogLoss> {
        self.mend()?;
        self.channel.send(&Request::LogLost, &[])?;
        let reply = self.reply(Some(Instant::now() + patience));
        self.broken |= reply.is_err();
        match reply? {
            Reply::LogLost(lost) => Ok(lost),
            other => Err(unexpected(&other)),
        }
    }

    /// Freezes all processes until they are thawed or this connection ends, however it does.
    ///
    /// # Errors
    /// `conflict` when they are frozen already.
    pub fn freeze(&mut self) -> Result<()> {
        self.ask(&Request::Freeze)
    }

    /// Tells the monitor that this client cleans up after the container has ended, so that it does not run `on_exit`.
    /// If this connection closes before the monitor has ended, the monitor runs it after all.
    ///
    /// # Errors
    /// `unavailable` when the monitor is gone.
    pub fn take_over_cleanup(&mut self) -> Result<()> {
        self.ask(&Request::TakeOver)
    }

    /// Waits until the monitor has let go of the container (its lock is free), so that run state can be removed.
    ///
    /// # Errors
    /// `timeout` after ten seconds.
    pub fn join(self) -> Result<()> {
        let deadline = Instant::now() + DYING;
        let mut channel = self.owner.unwrap_or(self.channel);
        // Its end of the connection closes with it; whatever it still says is for nobody.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut interest = [Interest::new(channel.fd(), true, false)];
            socket::wait(&mut interest, Some(left.min(LOOK))).context(|| "waiting for the container's monitor")?;
            let waiting = match interest[0].readable() {
                true => channel.fill().unwrap_or(false),
                false => !left.is_zero() && state::is_held(&self.run_dir)?,
            };
            while let Ok(Some(_)) = channel.decoder.next() {}
            if !waiting {
                break;
            }
        }
        while state::is_held(&self.run_dir)? {
            if Instant::now() >= deadline {
                return Err(Error::timeout("the container's monitor does not end"));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Asks for something whose answer is "done".
    pub(crate) fn ask(&mut self, request: &Request) -> Result<()> {
        match self.talk(request)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks on a connection of its own, while this one is busy. Not heard is not an error: the container may be ending.
    pub(crate) fn ask_aside(&self, request: &Request) {
        if let Ok(mut aside) = connect(&self.run_dir) {
            let _ = aside.ask(request);
        }
    }

    fn talk(&mut self, request: &Request) -> Result<Reply> {
        self.talk_with(request, &[])
    }

    fn talk_with(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
        self.mend()?;
        let sent = self.channel.send(request, fds);
        let patience = if matches!(request, Request::Start) { BIRTH } else { ANSWER };
        let result = sent.and_then(|()| self.reply(Some(Instant::now() + patience)));
        match result {
            Err(error) if error.kind() == Kind::Timeout => Err(self.silent(error, patience)),
            Err(error) if error.kind() == Kind::Unavailable && self.has_ended() => {
                Err(Error::conflict("the container has ended"))
            }
            result => result,
        }
    }

    /// The error for a monitor that does not answer; others stay as they are.
    fn silent(&mut self, error: Error, patience: Duration) -> Error {
        if error.kind() != Kind::Timeout {
            return error;
        }
        // The answer may come yet, to no question.
        self.broken = true;
        Error::timeout(format!("the container's monitor does not answer within {} s", patience.as_secs()))
            .with_hint("look whether it is stopped; removing the container with force ends it")
    }

    fn reply(&mut self, deadline: Option<Instant>) -> Result<Reply> {
        static NEVER: AtomicBool = AtomicBool::new(false);
        loop {
            match self.channel.receive_within(deadline, &NEVER)?.map(|frame| frame.message()).transpose()? {
                Some(Reply::Failed(error)) => return Err(error.into()),
                Some(Reply::Exited(record)) => self.record = Some(record),
                Some(reply) => return Ok(reply),
                None => return Err(Error::unavailable("the container's monitor went away")),
            }
        }
    }

    /// The monitor's last word on this connection was how the container ended.
    fn has_ended(&mut self) -> bool {
        while self.record.is_none() {
            match self.channel.receive() {
                Ok(Some(frame)) => {
                    if let Ok(Reply::Exited(record)) = frame.message() {
                        self.record = Some(record);
                    }
                }
                Ok(None) | Err(_) => return false,
            }
        }
        true
    }

    /// A new connection when this one is half-read. The old one stays open for what hangs on it.
    fn mend(&mut self) -> Result<()> {
        if self.broken {
            let fresh = connect(&self.run_dir)?.channel;
            let old = std::mem::replace(&mut self.channel, fresh);
            self.owner.get_or_insert(old);
            self.broken = false;
        }
        Ok(())
    }
}

fn unexpected(reply: &Reply) -> Error {
    Error::corrupt(format!("the container's monitor answered {reply:?}"))
}
