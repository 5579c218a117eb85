//! The end of a container: last words, the record, the cgroup, last bytes to clients, and who cleans up.

use std::time::{Duration, Instant};

use super::Monitor;
use crate::base::failpoint;
use crate::base::{Context as _, Error, Result};
use crate::runtime::conn::Conn;
use crate::runtime::plan::Plan;
use crate::runtime::state::{self, ExitRecord};
use crate::runtime::wire::Reply;
use crate::sys::{process, self_exe, signal};

/// How long a client may take none of its last bytes before it loses them.
const LINGER: Duration = Duration::from_secs(10);
/// As [`LINGER`] when the user wanted the end.
const BRIEFLY: Duration = Duration::from_secs(2);

impl Monitor {
    /// After the end of the last run.
    pub(super) fn end(&mut self, record: ExitRecord) -> Result<()> {
        self.end_as(record, Plan::tell_ended)
    }

    /// As [`Monitor::end`] when the end of the last run was told before.
    pub(super) fn end_told(&mut self, record: ExitRecord) -> Result<()> {
        self.end_as(record, |_, _| ())
    }

    fn end_as(&mut self, record: ExitRecord, tell: impl FnOnce(&Plan, &ExitRecord)) -> Result<()> {
        // Who was abandoned, or goes at once by a client that is told the end anyway, leaves no record.
        let gone = self.abandoned || (self.plan.ephemeral && self.is_owned());
        let recorded = if gone { Ok(()) } else { self.record_end(&record) };
        tell(&self.plan, &record);
        // Before anybody is told: who was told must find nobody here.
        self.listener = None;
        let _ = state::remove_file(&self.plan.run_dir.join(state::SOCKET)); // in a folder that goes away anyway
        self.tell_end(&record);
        let removed = failpoint::hit("monitor.end.cgroup").and_then(|()| self.run.cgroup.remove());
        self.reap();
        self.linger();
        if !self.is_owned() {
            self.become_reaper()?;
        }
        recorded.and(removed)
    }

    /// Tells whoever watches or waits how a run has ended.
    pub(super) fn tell_end(&mut self, record: &ExitRecord) {
        for conn in self.conns.values_mut().filter(|conn| conn.attached || conn.waiting) {
            conn.send(&Reply::Exited(record.clone()), None);
            (conn.attached, conn.waiting) = (false, false);
        }
    }

    /// A client has taken the clean-up over and is still there.
    fn is_owned(&self) -> bool {
        self.conns.values().any(|conn| conn.owner && !conn.closed)
    }

    fn record_end(&self, record: &ExitRecord) -> Result<()> {
        failpoint::hit("monitor.end.record")?;
        let durable = !self.plan.ephemeral;
        // A start that failed changes nothing of when it last ran.
        let before = match record.started {
            None => state::last_run(&self.plan.state_dir).ok().flatten(),
            Some(_) => None,
        };
        let record = match before {
            Some((started, finished)) => {
                ExitRecord { started: Some(started), finished: finished.unwrap_or(record.finished), ..record.clone() }
            }
            None => record.clone(),
        };
        state::write_end(&self.plan.state_dir, &record, durable)?;
        state::remove_file(&self.plan.state_dir.join(state::STARTED))?;
        state::remove_file(&self.plan.run_dir.join(state::STATE))
    }

    /// Gives clients their last bytes, as long as they take some. The container is at its end all the same: nobody who
    /// starts or removes it waits for that.
    fn linger(&mut self) {
        self.run.close();
        if self.conns.values().any(|conn| conn.queued() > 0) {
            // Who takes the clean-up over just now is heard first; if that fails, nobody does.
            let _ = self.turn(Some(Duration::ZERO));
            self.conns.retain(|_, conn| conn.queued() > 0 || conn.owner);
            (self.lock, self.netns) = (None, None);
        }
        let limit = if self.restarts.history.stopped_by_user { BRIEFLY } else { LINGER };
        let mut last = Instant::now();
        let mut left: usize = self.conns.values().map(Conn::queued).sum();
        while left > 0 && last.elapsed() < limit {
            if self.turn(Some(Duration::from_millis(100))).is_err() {
                return;
            }
            let now = self.conns.values().map(Conn::queued).sum();
            if now != left {
                (left, last) = (now, Instant::now());
            }
        }
        // An owner that has gone meanwhile must be noticed before we decide who cleans up; if that fails, it is there.
        let _ = self.turn(Some(Duration::ZERO));
    }

    /// Becomes the program that cleans up.
    fn become_reaper(&self) -> Result<()> {
        if self.plan.on_exit.is_empty() {
            return Ok(());
        }
        let handle = self_exe::open().context(|| "opening our own program")?;
        let path = self_exe::path(&handle);
        let c_string = |text: &str| {
            std::ffi::CString::new(text).map_err(|_| Error::invalid("an argument contains a NUL character"))
        };
        let mut args = vec![c_string("rhumb")?];
        for arg in &self.plan.on_exit {
            args.push(c_string(arg)?);
        }
        signal::reset().context(|| "resetting signals")?;
        process::close_on_exec_from(3).context(|| "closing descriptors")?;
        let error = process::exec(&c_string(&path.to_string_lossy())?, &args, &inherited_environment());
        Err(Error::from(error).context("starting the clean-up"))
    }
}

/// The environment that monitors and what they become have: none, but for the test builds' failpoints.
fn inherited_environment() -> Vec<std::ffi::CString> {
    let environment = failpoint::environment().into_iter();
    environment.filter_map(|(name, value)| std::ffi::CString::new(format!("{name}={value}")).ok()).collect()
}
