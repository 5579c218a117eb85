//! What clients ask of a monitor, and the answers.

use super::{MAX_HELD, Monitor};
use crate::base::{Context as _, Error, Kind, Result};
use crate::model::restart::RestartPolicy;
use crate::runtime::execs::{Owner, Wish};
use crate::runtime::wire::{Reply, Request, STDIN};
use crate::sys::{signal, tty};

impl Monitor {
    /// Deals with everything that a client has sent.
    pub(super) fn serve(&mut self, id: u64) {
        while let Some(conn) = self.conns.get_mut(&id) {
            let Some(frame) = conn.next_frame() else { return };
            if frame.kind == STDIN {
                if conn.attached && (self.plan.stdin_once || !frame.payload.is_empty()) {
                    self.run.input.push(&frame.payload);
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

    /// Sends a message to a client, if it is still there.
    pub(super) fn reply(&mut self, id: u64, reply: &Reply) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.send(reply, None);
        }
    }

    /// Does what was asked; none when the answer comes later.
    fn answer(&mut self, id: u64, request: Request) -> Result<Option<Reply>> {
        if matches!(request, Request::Attach | Request::Exec { .. } | Request::Pause(_) | Request::Freeze) {
            self.must_not_rest()?;
        }
        if matches!(request, Request::Attach | Request::Exec { .. } | Request::Wait) {
            self.must_have_room(id)?;
        }
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(None) };
        let run = &mut self.run;
        match request {
            Request::Create(_) => return Err(Error::invalid("a monitor holds one container")),
            Request::Start => {
                run.start(Some(id))?;
                // Who started it may want to know how it ended after we have gone.
                (conn.waiting, conn.lasting) = (true, true);
                return Ok(None);
            }
            Request::Attach => {
                if run.paused {
                    return Err(Error::conflict("the container is paused").with_hint("unpause it first"));
                }
                conn.attached = true;
            }
            Request::Detach => conn.attached = false,
            Request::Wait => {
                conn.waiting = true;
                return Ok(None);
            }
            Request::TakeOver => conn.owner = true,
            Request::Signal(number) => {
                if number == signal::KILL {
                    (conn.waiting, conn.lasting) = (true, true);
                }
                // One that ended just now counts as resting when it may run again.
                let rests = run.has_ended() && self.plan.restart != RestartPolicy::No;
                if !rests && !self.restarts.is_resting() {
                    run.signal(number)?;
                    run.tell_kill(&self.plan, number);
                }
                self.signalled(number)?;
            }
            Request::Stop(number) => {
                (conn.waiting, conn.lasting) = (true, true);
                // It may have ended just now, before we dealt with that.
                if !self.restarts.is_resting() && !run.has_ended() {
                    // A command that is being executed just now has nothing to save, and might not get its signal.
                    let number = if run.is_starting() { signal::KILL } else { number };
                    if run.is_starting() {
                        run.kill()
                    } else {
                        run.signal(number)?
                    }
                    run.tell_kill(&self.plan, number);
                }
                self.signalled(signal::KILL)?;
            }
            Request::KillAll => {
                if !self.restarts.is_resting() {
                    run.cgroup.kill_all(signal::KILL)?;
                    run.tell_kill(&self.plan, signal::KILL);
                }
                self.signalled(signal::KILL)?;
            }
            Request::SetRestart(policy) => self.plan.restart = policy,
            Request::Names => self.begin_names()?,
            Request::Network => {
                let netns = match &self.netns {
                    Some(netns) => netns.try_clone().context(|| "passing a namespace on")?,
                    None => run.network()?,
                };
                conn.send(&Reply::Network, Some(netns));
                return Ok(None);
            }
            Request::Hold(name) => {
                let fd = conn.decoder.fds.pop_front().ok_or_else(|| Error::corrupt("no descriptor came along"))?;
                if self.held.len() >= MAX_HELD {
                    return Err(Error::new(Kind::NoSpace, "as much is kept for the container as can be"));
                }
                self.held.insert(name, fd);
            }
            Request::LetGo(name) => drop(self.held.remove(&name)),
            Request::ClearLog => run.log.clear()?,
            Request::LogLost => return Ok(Some(Reply::LogLost(run.log.lost()))),
            Request::Pause(paused) => {
                if paused {
                    run.set_paused(true, &self.plan, self.restarts.history)?;
                    self.pause_check();
                } else {
                    self.thaw()?;
                }
            }
            Request::Freeze => {
                run.set_paused(true, &self.plan, self.restarts.history)?;
                conn.freezes = true;
                self.hold_check();
            }
            Request::Resize(size) => {
                if let Some(terminal) = &run.terminal {
                    tty::set_size(terminal, size).context(|| "setting the terminal's size")?;
                    self.plan.tell("resize", &[("height", &size.rows), ("width", &size.columns)]);
                }
            }
            Request::Exec { options, streams, size } => {
                run.must_run()?;
                if run.paused {
                    return Err(Error::conflict("the container is paused").with_hint("unpause it first"));
                }
                let mut fd = || conn.decoder.fds.pop_front().map(Some);
                let streams = match streams.then(|| Some([fd()?, fd()?, fd()?])) {
                    None => [None, None, None],
                    Some(Some(streams)) => streams,
                    Some(None) => return Err(Error::corrupt("a process has three streams")),
                };
                let wish = Wish { owner: Owner::Client(id), options: *options, streams, size };
                run.execs.start(&self.plan, &run.cgroup, &run.init, wish)?;
                return Ok(None);
            }
            Request::Execs => return Ok(Some(Reply::Execs(run.execs.all()))),
            Request::KillExec { id, signal } => run.execs.kill(&id, signal)?,
            Request::SignalExec { signal, group } => run.execs.signal(id, signal, group)?,
        }
        Ok(Some(Reply::Done))
    }

    /// Thaws all processes, whoever froze them.
    ///
    /// # Errors
    /// As [`Run::set_paused`](super::run::Run::set_paused).
    pub(super) fn thaw(&mut self) -> Result<()> {
        self.run.set_paused(false, &self.plan, self.restarts.history)?;
        self.conns.values_mut().for_each(|conn| conn.freezes = false);
        self.resume_check();
        Ok(())
    }

    /// Refuses one more client that stays, when those that only stop or look at the container would have no place.
    fn must_have_room(&mut self, id: u64) -> Result<()> {
        let others = self.conns.iter().filter(|(other, conn)| **other != id && conn.lasting).count();
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        if !conn.lasting && others >= self.room.lasting {
            return Err(Error::conflict(format!("the container has {others} clients already"))
                .with_hint("end some of those that are attached, wait or run commands in it"));
        }
        conn.lasting = true;
        Ok(())
    }

    /// Refuses what cannot be done to a container between two runs.
    fn must_not_rest(&self) -> Result<()> {
        match self.restarts.is_resting() {
            true => Err(Error::conflict("the container is restarting").with_hint("wait until it runs")),
            false => Ok(()),
        }
    }
}
