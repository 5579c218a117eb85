//! The health check: one probe at a time, as a further process of the container, and what comes of it.
//!
//! ```text
//! start ──pause──▶ probe ──▶ ended, failed or took too long ──▶ result, health.json, action ──pause──▶ probe …
//! ```
//!
//! The rules are the model's ([`crate::model::health`]). Nothing is probed while the container is paused, and what a probe
//! says that was under way then counts for nothing. A client that freezes it for a moment changes nothing: time stands still
//! for the check as well. A probe writes into a pipe of ours, of which a few kilobytes are kept and
//! the rest is thrown away, so that neither a probe nor what it leaves behind can hold the monitor up.

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::Monitor;
use super::timers::{Timer, Timers};
use crate::base::{Context as _, Result, Timestamp, units};
use crate::model::exec::ExecOptions;
use crate::model::health::{Health, HealthResult, HealthStatus, MAX_OUTPUT_BYTES, NO_EXIT_CODE, OnUnhealthy, Probe};
use crate::runtime::execs::{News, Owner, Wish};
use crate::runtime::plan::Plan;
use crate::runtime::state;
use crate::sys::signal::KILL;
use crate::sys::{process, socket};

/// How long a probe may take until it has executed its command; that time is not its own.
const BIRTH: Duration = Duration::from_secs(30);
/// How much of a probe's output is read at once, in bytes.
const PIECE: usize = 4096;

/// The health check of a container, over all its runs.
pub(super) struct Check {
    probe: Probe,
    health: Health,
    /// When the container was last started.
    started: Instant,
    running: Option<Running>,
    /// While the container is frozen: when the next thing is due after the thaw.
    left: Option<Duration>,
}

/// A probe under way.
struct Running {
    start: Timestamp,
    /// How long the container had run when it began.
    age: Duration,
    executed: bool,
    output: Option<OwnedFd>,
    written: Vec<u8>,
    cut: bool,
    fate: Fate,
}

/// Whether a probe's own end is what counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is.
    Open,
    /// It took too long and was killed.
    Late,
    /// Nobody wants to know any more.
    Dropped,
}

impl Check {
    /// The check that a plan asks for, with what was known when the container last ended.
    pub(super) fn of(plan: &Plan) -> Option<Check> {
        let probe = plan.probe.clone()?;
        // Results of old are a courtesy.
        let known = state::health(&plan.state_dir, &plan.run_dir).ok().flatten();
        Some(Check { probe, health: known.unwrap_or_default(), started: Instant::now(), running: None, left: None })
    }

    fn pause(&self) -> Duration {
        self.probe.pause(self.health.status, self.started.elapsed())
    }

    /// Sets when the next probe begins, or the one under way is late.
    fn set(&mut self, timers: &mut Timers, frozen: bool, after: Duration) {
        match frozen {
            true => self.left = Some(after),
            false => timers.set(Timer::Check, after),
        }
    }

    fn record(&self, plan: &Plan) {
        // On a full disk the next result tries again.
        let _ = state::overwrite_json(&plan.run_dir.join(state::HEALTH), &self.health);
    }
}

impl Running {
    /// Keeps what there is room for. False at the end.
    fn read(&mut self) -> bool {
        let Some(fd) = &self.output else { return false };
        let mut buffer = [0u8; PIECE];
        match socket::read(fd, &mut buffer) {
            Ok(length @ 1..) => {
                let kept = length.min(MAX_OUTPUT_BYTES - self.written.len());
                self.written.extend_from_slice(&buffer[..kept]);
                self.cut |= kept < length;
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Ok(_) | Err(_) => {
                self.output = None;
                false
            }
        }
    }

    /// What it wrote, with the mark of a cut.
    fn text(&mut self) -> String {
        // The rest of a pipe at most: one that goes on writing is not waited for.
        for _ in 0..=MAX_OUTPUT_BYTES / PIECE {
            if self.cut || !self.read() {
                break;
            }
        }
        let text = String::from_utf8_lossy(&self.written);
        format!("{text}{}", if self.cut { "..." } else { "" })
    }
}

impl Monitor {
    /// The container was started: from now on its health is checked.
    pub(super) fn begin_check(&mut self) {
        let Some(check) = &mut self.check else { return };
        check.health.reset();
        check.started = Instant::now();
        (check.running, check.left) = (None, None);
        check.record(&self.plan);
        self.timers.set(Timer::Check, check.pause());
    }

    /// The container has ended: nobody checks it any more, which Docker calls unhealthy.
    pub(super) fn end_check(&mut self) {
        let Some(check) = &mut self.check else { return };
        self.timers.clear(Timer::Check);
        self.timers.clear(Timer::Kill);
        check.running = None;
        if !self.run.has_started() {
            return;
        }
        check.health.status = HealthStatus::Unhealthy;
        check.record(&self.plan);
        if !self.plan.ephemeral {
            // The run folder goes at the next start or boot. A full disk costs the results, no more.
            let _ = state::write_json(&self.plan.state_dir.join(state::HEALTH), &check.health, false);
        }
    }

    /// The container was frozen for a moment.
    pub(super) fn hold_check(&mut self) {
        if let Some(check) = &mut self.check {
            check.left = self.timers.take(Timer::Check);
        }
    }

    /// It was thawed, whoever froze it.
    pub(super) fn resume_check(&mut self) {
        if let Some(check) = &mut self.check {
            let left = check.left.take().unwrap_or_else(|| check.pause());
            self.timers.set(Timer::Check, left);
        }
    }

    /// It was paused.
    pub(super) fn pause_check(&mut self) {
        let Some(check) = &mut self.check else { return };
        self.timers.clear(Timer::Check);
        check.left = None;
        if let Some(running) = &mut check.running {
            running.fate = Fate::Dropped;
            self.run.execs.kill_check();
        }
        check.health.status = HealthStatus::Unhealthy;
        check.record(&self.plan);
    }

    /// Where a probe's output comes from.
    pub(super) fn check_output(&self) -> Option<BorrowedFd<'_>> {
        self.check.as_ref()?.running.as_ref()?.output.as_ref().map(|fd| fd.as_fd())
    }

    /// Reads what a probe wrote.
    pub(super) fn read_check(&mut self) {
        if let Some(running) = self.check.as_mut().and_then(|check| check.running.as_mut()) {
            running.read();
        }
    }

    /// A probe is due, or takes too long.
    pub(super) fn check_on_time(&mut self) {
        if !self.run.is_running() || self.run.paused {
            return;
        }
        let Some(check) = &mut self.check else { return };
        match &mut check.running {
            Some(running) => {
                if running.fate == Fate::Open {
                    running.fate = Fate::Late;
                }
                self.run.execs.kill_check();
                // One that does not die from it is not heard of again until it does.
            }
            None => {
                if let Err(error) = self.start_probe() {
                    self.hear_check(News::Failed(error));
                }
            }
        }
    }

    fn start_probe(&mut self) -> Result<()> {
        let Some(check) = &mut self.check else { return Ok(()) };
        let running = check.running.insert(Running {
            start: Timestamp::now(),
            age: check.started.elapsed(),
            executed: false,
            output: None,
            written: Vec::new(),
            cut: false,
            fate: Fate::Open,
        });
        let doing = || "starting the health check";
        let (ours, theirs) = socket::pipe().context(doing)?;
        socket::set_nonblocking(&ours, true).context(doing)?;
        running.output = Some(ours);
        let wish = Wish {
            owner: Owner::Check,
            options: ExecOptions { args: check.probe.args.clone(), ..ExecOptions::default() },
            streams: [None, Some(theirs.try_clone().context(doing)?), Some(theirs)],
            size: None,
        };
        self.timers.set(Timer::Check, BIRTH);
        self.run.execs.start(&self.plan, &self.run.cgroup, &self.run.init, wish)
    }

    /// Something became of the probe.
    pub(super) fn hear_check(&mut self, news: News) {
        let Some(check) = &mut self.check else { return };
        // It may be one of a run that is over.
        let Some(running) = &mut check.running else { return };
        let (exit_code, output) = match news {
            News::Started => {
                running.executed = true;
                if running.fate == Fate::Open {
                    let timeout = check.probe.timeout;
                    check.set(&mut self.timers, self.run.paused, timeout);
                }
                return;
            }
            News::Failed(error) => (NO_EXIT_CODE, error.to_string()),
            News::Ended(_) if running.fate == Fate::Late => (NO_EXIT_CODE, late(running, &check.probe)),
            News::Ended(code) => (code, running.text()),
        };
        let (fate, age) = (running.fate, running.age);
        let result = HealthResult { start: running.start, end: Timestamp::now(), exit_code, output };
        check.running = None;
        if fate == Fate::Dropped {
            let pause = check.pause();
            return check.set(&mut self.timers, self.run.paused, pause);
        }
        let changed = check.health.take(result, &check.probe, age);
        check.record(&self.plan);
        if changed {
            self.plan.tell(&format!("health_status: {}", check.health.status.as_str()), &[]);
        }
        let pause = check.pause();
        let unhealthy = changed && check.health.status == HealthStatus::Unhealthy;
        let action = check.probe.on_unhealthy;
        check.set(&mut self.timers, self.run.paused, pause);
        if unhealthy {
            self.act_on_unhealthy(action);
        }
    }

    fn act_on_unhealthy(&mut self, action: OnUnhealthy) {
        let signal = match action {
            OnUnhealthy::None => return,
            // What follows is the restart policy's.
            OnUnhealthy::Kill => KILL,
            OnUnhealthy::Stop => {
                self.cancel();
                self.note_stopped();
                self.plan.stop.signal
            }
            OnUnhealthy::Restart => {
                self.restarts.demand();
                self.plan.stop.signal
            }
        };
        // It may have ended by itself, which is as good.
        let _ = process::signal(self.run.init.pidfd.as_fd(), signal);
        if signal != KILL {
            self.timers.set(Timer::Kill, self.plan.stop.grace);
        }
    }
}

/// Docker's words.
fn late(running: &mut Running, probe: &Probe) -> String {
    if !running.executed {
        return "timed out starting the health check".to_owned();
    }
    let limit = units::go_duration(probe.timeout);
    match running.text() {
        text if text.is_empty() => format!("Health check exceeded timeout ({limit})"),
        text => format!("Health check exceeded timeout ({limit}): {text}"),
    }
}
