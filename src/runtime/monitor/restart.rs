//! The restart policy: whether a run follows another, after which pause, and how it is made.
//!
//! The numbers and the rules are Docker's (moby, `restartmanager` and `daemon/kill.go`): 100 ms at first, twice as long
//! each time, at most a minute; anew after a run of ten seconds. A start that fails ends the policy, and the container is
//! as its last run left it. In the pause nothing of the old run is left but its record, and the monitor answers as ever.

use std::time::Duration;

use super::Monitor;
use super::run::Run;
use super::timers::Timer;
use crate::base::failpoint;
use crate::base::{Context as _, Error, Result};
use crate::model::restart::RestartPolicy;
use crate::runtime::plan::{Pauses, Plan};
use crate::runtime::state::{self, ExitRecord, Life};
use crate::sys::signal;

/// What is remembered from one run to the next.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// How often, and whether the user asked for the end.
    pub(super) history: History,
    /// No further run, whatever the policy says.
    cancelled: bool,
    /// Another run, whatever the policy says.
    demanded: bool,
    pause: Duration,
    /// How the last run ended, until the next one has started.
    resting: Option<ExitRecord>,
}

/// What the records of a run say of those before it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct History {
    pub(super) restart_count: u32,
    pub(super) stopped_by_user: bool,
}

impl Restarts {
    /// The pause before the next run, or none when none follows a run of this length.
    fn after(&mut self, policy: RestartPolicy, pauses: &Pauses, exit_code: i32, lived: Duration) -> Option<Duration> {
        let History { restart_count, stopped_by_user } = self.history;
        let demanded = std::mem::take(&mut self.demanded);
        if self.cancelled || !(demanded || policy.wants(exit_code, stopped_by_user, restart_count)) {
            return None;
        }
        self.pause = match self.pause {
            Duration::ZERO => pauses.first,
            _ if lived >= pauses.settled => pauses.first,
            pause => (pause * 2).min(pauses.longest),
        };
        self.history.restart_count = restart_count.saturating_add(1);
        Some(self.pause)
    }

    /// Another run follows this one, whatever the policy says, unless the user has ended it.
    pub(super) fn demand(&mut self) {
        self.demanded = true;
    }

    /// The last run has ended and the next one has not started.
    pub(super) fn is_resting(&self) -> bool {
        self.resting.is_some()
    }

    /// A run has started.
    pub(super) fn started(&mut self) {
        self.resting = None;
    }
}

impl Monitor {
    /// Goes on until the last run has ended.
    pub(super) fn live(&mut self) -> Result<()> {
        loop {
            self.hold();
            let record = self.run.finish(&self.plan, self.restarts.history, &mut self.conns);
            self.end_check();
            let ran = record.started.is_some() && record.error.is_none();
            if let Some(last) = self.restarts.resting.take().filter(|_| !ran) {
                // It could not be started, or the user was faster.
                return self.end_resting(last, record.error);
            }
            let wanted = match ran && !self.abandoned {
                true => {
                    let lived = self.run.lived();
                    self.restarts.after(self.plan.restart, &self.plan.pauses, record.exit_code, lived)
                }
                false => None,
            };
            let Some(pause) = wanted else { return self.end(record) };
            let restart_count = self.restarts.history.restart_count;
            let record = ExitRecord { restart_count, restarting: true, ..record };
            let again = self.rest(&record, pause).and_then(|()| match self.restarts.cancelled {
                true => Ok(None),
                false => self.renew().map(Some),
            });
            match again {
                Ok(Some(run)) => self.run = run,
                Ok(None) => return self.end_resting(record, None),
                Err(error) => {
                    return self.end_resting(record, Some(error.context("restarting the container").to_string()));
                }
            }
        }
    }

    /// The end after a run that another one was to follow: what it left stays true.
    fn end_resting(&mut self, last: ExitRecord, error: Option<String>) -> Result<()> {
        self.restarts.resting = None;
        let stopped_by_user = self.restarts.history.stopped_by_user;
        self.end_told(ExitRecord { restarting: false, stopped_by_user, error, ..last })
    }

    /// Clears the old run away and waits for the time of the next, or until it is not to be any more.
    fn rest(&mut self, record: &ExitRecord, pause: Duration) -> Result<()> {
        self.restarts.resting = Some(record.clone());
        self.timers.clear_all();
        self.note_rest(record);
        self.plan.tell_ended(record);
        self.tell_end(record);
        self.run.close();
        failpoint::hit("monitor.restart.cgroup")?;
        self.run.cgroup.remove()?;
        self.reap();
        self.timers.set(Timer::Restart, pause);
        while self.timers.is_set(Timer::Restart) && !self.restarts.cancelled {
            if self.turn(None).is_err() {
                // The kernel refuses to wait. Nothing runs that would be unseen: we look again.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// Writes down that the container rests. Restarting it is more than the files about it: what cannot be written now
    /// is when the next run starts or the last one has ended.
    fn note_rest(&self, record: &ExitRecord) {
        let plan = &self.plan;
        let _ = failpoint::hit("monitor.restart.record")
            .and_then(|()| state::write_json(&plan.state_dir.join(state::EXIT), record, !plan.ephemeral));
        let _ = self.run.state(self.restarts.history).and_then(|state| {
            let state = state::RunState { init: None, paused: false, ended: Some(record.clone()), ..state };
            state::write_json(&plan.run_dir.join(state::STATE), &state, false)
        });
    }

    /// Makes the next run and starts it.
    fn renew(&mut self) -> Result<Run> {
        failpoint::hit("monitor.restart.make")?;
        join_anew(&mut self.plan)?;
        let mut run = Run::make(&self.plan, self.resolve, &mut self.netns)?;
        let started = still_joined(&self.plan).and_then(|()| run.start(None));
        match started {
            Ok(()) => Ok(run),
            Err(error) => match run.undo() {
                Ok(()) => Err(error),
                Err(more) => Err(error.context(format!("and undoing it failed: {more}"))),
            },
        }
    }

    /// The user has sent this signal. By Docker's rules that may end the policy and thaw what is frozen, and it is
    /// remembered across a boot.
    ///
    /// # Errors
    /// As thawing.
    pub(super) fn signalled(&mut self, signal: i32) -> Result<()> {
        let ends = signal == signal::KILL || self.plan.stop_signal.is_none_or(|own| own == signal);
        self.note_stopped();
        if !ends {
            return Ok(());
        }
        self.cancel();
        match self.run.paused && self.run.is_running() {
            // What is frozen gets the signal when it thaws.
            true => self.thaw(),
            false => Ok(()),
        }
    }

    /// No run follows, and one that was made and has not started yet never will.
    pub(super) fn cancel(&mut self) {
        self.restarts.cancelled = true;
        if self.restarts.is_resting() && self.run.exit_code.is_none() {
            self.run.give_up();
        }
    }

    /// The user, or what the user asked for, wants the container to end, which is remembered across a boot.
    pub(super) fn note_stopped(&mut self) {
        if std::mem::replace(&mut self.restarts.history.stopped_by_user, true) {
            return;
        }
        // Only a boot before the end is recorded would ask these files; the user's signal has gone out.
        let _ = self.note_run();
    }

    /// Writes the state files anew.
    fn note_run(&self) -> Result<()> {
        let state = self.run.state(self.restarts.history)?;
        let state = state::RunState { ended: self.restarts.resting.clone(), ..state };
        if !self.restarts.is_resting() {
            state::write_json(&self.plan.state_dir.join(state::STARTED), &state, false)?;
        }
        state::write_json(&self.plan.run_dir.join(state::STATE), &state, false)
    }
}

/// Puts the containers whose namespaces are joined into the specification, as they are now.
fn join_anew(plan: &mut Plan) -> Result<()> {
    for index in 0..plan.joined.len() {
        let now = first_process(&plan.joined[index])?;
        let before = std::mem::replace(&mut plan.joined[index].pid, now);
        if now == before {
            continue;
        }
        let (old, new) = (format!("/proc/{before}/"), format!("/proc/{now}/"));
        let rename = |path: &std::path::Path| Some(format!("{new}{}", path.to_str()?.strip_prefix(&old)?).into());
        if let Some(linux) = plan.spec.linux_mut() {
            for namespace in linux.namespaces_mut().iter_mut().flatten() {
                if let Some(path) = namespace.path().as_deref().and_then(rename) {
                    namespace.set_path(Some(path));
                }
            }
        }
        for mount in plan.spec.mounts_mut().iter_mut().flatten() {
            if let Some(path) = mount.source().as_deref().and_then(rename) {
                mount.set_source(Some(path));
            }
        }
    }
    Ok(())
}

/// A joined container may have ended, and its pid been given away, while its namespaces were opened.
fn still_joined(plan: &Plan) -> Result<()> {
    for joined in &plan.joined {
        if first_process(joined)? != joined.pid {
            return Err(Error::conflict("the container whose namespaces are joined ended meanwhile"));
        }
    }
    Ok(())
}

fn first_process(joined: &crate::runtime::plan::Joined) -> Result<i32> {
    let name = joined.run_dir.file_name().unwrap_or_default().to_string_lossy();
    let running = match state::life(&joined.state_dir, &joined.run_dir)? {
        Life::Alive(run) => run.init.map(|(pid, _)| pid),
        _ => None,
    };
    let short = name.get(..crate::base::Id::SHORT).unwrap_or(&name);
    running
        .ok_or_else(|| Error::conflict(format!("the container {short} does not run, so it cannot be joined")))
        .context(|| "joining its namespaces")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const DOCKER: Pauses = Pauses {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(60),
        settled: Duration::from_secs(10),
    };

    #[test]
    fn pauses_double_to_a_minute_and_begin_anew_after_ten_seconds() {
        assert_eq!(Pauses::default(), DOCKER);
        let mut restarts = Restarts::default();
        let mut pauses: Vec<u64> = Vec::new();
        for _ in 0..12 {
            pauses.push(restarts.after(RestartPolicy::Always, &DOCKER, 0, SHORT).unwrap().as_millis() as u64);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(restarts.after(RestartPolicy::Always, &DOCKER, 0, Duration::from_secs(10)), Some(DOCKER.first));
        assert_eq!(restarts.after(RestartPolicy::Always, &DOCKER, 0, SHORT), Some(DOCKER.first * 2));
        assert_eq!(restarts.history.restart_count, 14);
    }

    #[test]
    fn failures_are_counted_and_a_success_is_the_end() {
        let policy = RestartPolicy::OnFailure { max_retries: 2 };
        let mut restarts = Restarts::default();
        let results: Vec<bool> = (0..3).map(|_| restarts.after(policy, &DOCKER, 7, SHORT).is_some()).collect();
        assert_eq!((results, restarts.history.restart_count), (vec![true, true, false], 2));
        assert_eq!(Restarts::default().after(policy, &DOCKER, 0, SHORT), None);
    }

    #[test]
    fn cancelled_is_the_end_and_demanded_is_not_even_with_no_policy() {
        let mut restarts = Restarts { demanded: true, ..Restarts::default() };
        assert_eq!(restarts.after(RestartPolicy::No, &DOCKER, 0, SHORT), Some(DOCKER.first));
        assert_eq!(restarts.after(RestartPolicy::No, &DOCKER, 1, SHORT), None);
        restarts.cancelled = true;
        assert_eq!(restarts.after(RestartPolicy::Always, &DOCKER, 1, SHORT), None);
    }
}
