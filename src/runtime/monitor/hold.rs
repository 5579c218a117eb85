//! The loop: everything that can happen to a monitor, and at which time it acts by itself.
//!
//! It knows who speaks, not what is said: clients are answered in `answer`, the first process is heard in `run`.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use super::Monitor;
use super::timers::Timer;
use crate::base::{Context as _, Result};
use crate::runtime::conn::{Conn, HIGH_WATER};
use crate::runtime::wire::{Decoder, MAX_FRAME, Reply};
use crate::sys::socket::{self, Interest};
use crate::sys::{memory, process, signal};

/// How long clients are not heard after one could not be taken in.
const DEAF: Duration = Duration::from_millis(100);
/// A container that lives this long is worth giving back the memory that only its start needed.
const SETTLING: Duration = Duration::from_secs(1);

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Event {
    Signal,
    Knock,
    Stage,
    Output(usize),
    Input,
    Log,
    ConnIn(u64),
    ConnOut(u64),
    Exec(i32),
    ExecOutput(i32),
    CheckOutput,
    Oom,
}

impl Monitor {
    /// Goes on until the first process has ended.
    pub(super) fn hold(&mut self) {
        self.timers.set(Timer::Settle, SETTLING);
        while self.run.exit_code.is_none() {
            if self.turn(None).is_err() {
                // The kernel refuses to wait: without us the container must not go on unseen.
                self.run.kill();
                std::thread::sleep(Duration::from_millis(10));
                self.reap();
            }
        }
    }

    /// Waits for something to happen, at most `limit`, and deals with it.
    pub(super) fn turn(&mut self, limit: Option<Duration>) -> Result<()> {
        let ready = self.wait(self.timers.left().into_iter().chain(limit).chain(self.run.log.left()).min())?;
        for event in ready {
            self.on_event(event);
        }
        if self.run.log.left().is_some_and(|left| left.is_zero()) {
            self.run.log.flush();
        }
        while let Some(news) = self.run.execs.news() {
            self.hear_check(news);
        }
        while let Some(timer) = self.timers.take_due() {
            self.on_time(timer);
        }
        self.drop_closed();
        Ok(())
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Signal => self.take_signals(),
            Event::Knock => self.take_connections(),
            Event::Stage => {
                if let Some((starter, reply)) = self.run.hear_stage(&self.plan, self.restarts.history) {
                    if matches!(reply, Reply::Started) {
                        self.restarts.started();
                        if self.plan.has_memory_limit() {
                            self.run.watch_oom();
                        }
                        self.begin_check();
                    }
                    if let Some(id) = starter {
                        self.reply(id, &reply);
                    }
                }
            }
            Event::Output(index) => self.run.take_output(index, &mut self.conns),
            Event::Input => self.run.input.flush(),
            Event::Log => self.run.log.flush(),
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
            Event::Exec(pid) => self.run.execs.hear(pid, &self.plan, &mut self.conns),
            Event::ExecOutput(pid) => self.run.execs.discard(pid),
            Event::CheckOutput => self.read_check(),
            Event::Oom => self.run.hear_oom(&self.plan),
        }
    }

    fn on_time(&mut self, timer: Timer) {
        match timer {
            Timer::Kill => self.run.kill(),
            Timer::Check => self.check_on_time(),
            Timer::Settle => {
                memory::release_program_pages();
                self.run.watch_oom();
            }
            Timer::Names => self.names_on_time(),
            Timer::Hear | Timer::Restart => {} // that it is set no longer is all
        }
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<Vec<Event>> {
        let run = &self.run;
        let held_back =
            self.conns.values().any(|conn| conn.attached && conn.queued() > HIGH_WATER) || run.log.is_full();
        let mut events = vec![Event::Signal];
        let mut interests = vec![Interest::new(self.signals.as_fd(), true, false)];
        let mut watch = |event, interest| {
            events.push(event);
            interests.push(interest);
        };
        let hears = !self.timers.is_set(Timer::Hear) && self.conns.len() < self.room.conns;
        if let Some(listener) = self.listener.as_ref().filter(|_| hears) {
            watch(Event::Knock, Interest::new(listener.as_fd(), true, false));
        }
        if let Some(stage) = &run.stage {
            watch(Event::Stage, Interest::new(stage.fd(), true, false));
        }
        if !held_back {
            for (index, output) in run.outputs.iter().enumerate() {
                if let Some(fd) = output.fd() {
                    watch(Event::Output(index), Interest::new(fd, true, false));
                }
            }
        }
        if let Some(fd) = run.log.waits_for() {
            watch(Event::Log, Interest::new(fd, false, true));
        }
        if let Some(fd) = run.input.wants_to_write() {
            watch(Event::Input, Interest::new(fd, false, true));
        }
        for (id, conn) in &self.conns {
            // A container that does not read holds the client back that writes.
            let read = !(conn.attached && run.input.is_full());
            if read {
                watch(Event::ConnIn(*id), Interest::new(conn.as_fd(), true, false));
            }
            if conn.queued() > 0 {
                watch(Event::ConnOut(*id), Interest::new(conn.as_fd(), false, true));
            }
        }
        for (pid, fd) in run.execs.stages() {
            watch(Event::Exec(pid), Interest::new(fd, true, false));
        }
        for (pid, fd) in run.execs.unwatched_terminals() {
            watch(Event::ExecOutput(pid), Interest::new(fd, true, false));
        }
        if let Some(oom) = &run.oom {
            watch(Event::Oom, Interest::new(oom.fd(), true, false));
        }
        if let Some(fd) = self.check_output() {
            watch(Event::CheckOutput, Interest::new(fd, true, false));
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
                signal::TERM => {
                    self.cancel();
                    drop(process::signal(self.run.init.pidfd.as_fd(), signal::TERM));
                }
                _ => {}
            }
        }
    }

    /// Takes in what has ended.
    pub(super) fn reap(&mut self) {
        while let Ok(Some(ended)) = process::reap() {
            if self.run.exit_code.is_none() && ended.pid == self.run.init.pid {
                self.run.exit_code = Some(ended.code);
            } else if self.names_ended(ended.pid) {
            } else if !self.run.log.child_ended(ended.pid, ended.code) {
                self.run.execs.ended(ended, &self.plan, &mut self.conns);
            }
        }
    }

    fn take_connections(&mut self) {
        let Some(listener) = &self.listener else { return };
        match socket::accept(listener.as_fd()) {
            Ok(Some(fd)) => drop(self.adopt(fd, Decoder::new(MAX_FRAME))),
            Ok(None) => {}
            // An error such as "too many files" passes; the client stays in the queue, which would wake us at once.
            Err(_) => self.timers.set(Timer::Hear, DEAF),
        }
    }

    /// Takes in a client over a non-blocking socket; its number.
    pub(super) fn adopt(&mut self, fd: OwnedFd, decoder: Decoder) -> u64 {
        let id = self.next_conn;
        self.next_conn += 1;
        self.conns.insert(id, Conn::new(fd, decoder));
        id
    }

    fn drop_closed(&mut self) {
        let closed: Vec<u64> = self.conns.iter().filter(|(_, conn)| conn.closed).map(|(id, _)| *id).collect();
        for id in closed {
            let left = self.conns.remove(&id);
            if left.is_some_and(|conn| conn.freezes) {
                // It died in the middle of what it wanted a moment of stillness for. The user can thaw it otherwise.
                let _ = self.thaw();
            }
            self.run.execs.client_left(id);
            let unborn = self.run.is_waiting_for_start();
            if id == self.creator && unborn {
                // Nobody else can start it: a container that was never started leaves nothing behind.
                self.abandoned = true;
                self.run.kill();
            }
        }
    }
}
