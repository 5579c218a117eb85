//! A container beside a step of a build: a service that the step's command uses.
//!
//! It is on record as a step is: it goes away when it ends, it is nobody's container, and whoever finds its lock free knows
//! that its build is dead and ends it. Its lock is held until [`Engine::container_beside_end`].

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::base::{Id, Kind, Result, failpoint};
use crate::engine::Engine;
use crate::engine::container::create::Made;
use crate::engine::container::start::NEVER;
use crate::engine::container::step::add_secret_env;
use crate::model::container::{ContainerOptions, ContainerRecord, ContainerRemove};
use crate::model::health::HealthStatus;
use crate::model::image::Image;
use crate::model::log::{LogEntry, LogQuery};
use crate::runtime::client::Monitor;
use crate::runtime::reach;
use crate::runtime::state::Life;
use crate::sys::lock::Lock;

/// How long one connection may take.
const ATTEMPT: Duration = Duration::from_millis(500);
/// How many lines of its log are told.
const SHOWN_LINES: usize = 20;

/// A service that was started.
pub(in crate::engine) struct Beside {
    id: Id,
    record: ContainerRecord,
    monitor: Monitor,
    lock: Lock,
}

/// Where a service stands.
pub(in crate::engine) enum Standing {
    /// Its health check says so; without one, a port that it exposes is listened to; without both, it runs.
    Ready,
    /// It had nothing to be checked by, and ended well.
    Done,
    /// Not yet; and how its last check ended, and what that said, which may be a secret.
    Coming(Option<(i32, String)>),
    /// It has ended, with this status when that is known.
    Ended(Option<i32>),
}

impl Engine {
    /// Makes and starts it. Its image need not be on record.
    ///
    /// # Errors
    /// As create and start; nothing is left then.
    pub(in crate::engine) fn container_beside(
        &self,
        image: &Image,
        options: ContainerOptions,
        secret_env: Vec<(String, String)>,
    ) -> Result<Beside> {
        let options = ContainerOptions { auto_remove: true, ..options };
        let mut made = self.container_make_of(image, &options)?;
        add_secret_env(&mut made.spec, secret_env);
        let launched = self.container_launch(&made.record, Some(&made.spec), None).and_then(|mut monitor| {
            failpoint::hit("build.service.start")?;
            monitor.start().map(|()| monitor)
        });
        match launched {
            Ok(monitor) => {
                let Made { record, lock, .. } = made;
                Ok(Beside { id: record.id.clone(), record, monitor, lock })
            }
            Err(error) => Err(self.container_abandon(made, error)),
        }
    }

    /// How far it is.
    ///
    /// # Errors
    /// What reading its state gives.
    pub(in crate::engine) fn container_beside_standing(&self, beside: &mut Beside) -> Result<Standing> {
        let found = self.container_reload(&beside.id)?;
        let state = self.container_state(&found)?;
        let ports = ports(&beside.record);
        let checked = beside.record.probe().is_some();
        if !state.status.is_alive() {
            // Who has the clean-up is told how it ended: there is no record of it.
            let told = beside.monitor.wait(Some(Instant::now() + ATTEMPT), &NEVER);
            let code = told.map_or(state.exit_code, |record| Some(record.exit_code));
            let done = !checked && ports.is_empty() && code == Some(0);
            return Ok(if done { Standing::Done } else { Standing::Ended(code) });
        }
        if checked {
            if state.health.as_ref().is_some_and(|health| health.status == HealthStatus::Healthy) {
                return Ok(Standing::Ready);
            }
            let last = self.container_get(beside.id.as_str()).ok().and_then(|now| now.state.health?.log.pop());
            return Ok(Standing::Coming(last.map(|last| (last.exit_code, last.output))));
        }
        let Life::Alive(run) = self.container_life(&beside.id)? else { return Ok(Standing::Coming(None)) };
        let listens = |port: &u16| matches!(reach::connect(&run, *port, ATTEMPT), Ok(Ok(_)));
        Ok(if ports.is_empty() || ports.iter().any(listens) { Standing::Ready } else { Standing::Coming(None) })
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// What reading its state gives.
    pub(in crate::engine) fn container_beside_is_over(&self, id: &Id) -> Result<bool> {
        let found = self.container_reload(id)?;
        Ok(!self.container_state(&found)?.status.is_alive())
    }

    /// Waits for its end; its status is none when nobody knows it.
    ///
    /// # Errors
    /// `interrupted` when `over` is set before.
    pub(in crate::engine) fn container_beside_wait(
        &self,
        beside: &mut Beside,
        over: &AtomicBool,
    ) -> Result<Option<i32>> {
        match beside.monitor.wait(None, over) {
            Ok(record) => Ok(Some(record.exit_code)),
            Err(error) if error.kind() == Kind::Interrupted => Err(error),
            // Its monitor is gone, and it with that.
            Err(_) => Ok(None),
        }
    }

    /// The last lines of its log; empty when it keeps none.
    pub(in crate::engine) fn container_beside_tail(&self, beside: &Beside) -> String {
        let mut text = String::new();
        let query = LogQuery { tail: Some(SHOWN_LINES), ..LogQuery::default() };
        let mut take = |entry: LogEntry<'_>| {
            text.push_str(&String::from_utf8_lossy(entry.bytes));
            Ok(ControlFlow::Continue(()))
        };
        // What it says explains another error: that one counts.
        let _ = self.container_logs_until(beside.id.as_str(), &query, &AtomicBool::new(false), &mut take);
        text.truncate(text.trim_end().len());
        text
    }

    /// Gives every line of its log to `line`, until it has ended.
    ///
    /// # Errors
    /// As reading logs.
    pub(in crate::engine) fn container_beside_follow(
        &self,
        id: &Id,
        line: &mut dyn FnMut(&LogEntry<'_>),
    ) -> Result<()> {
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let read =
            self.container_logs_until(id.as_str(), &query, &AtomicBool::new(false), &mut |entry: LogEntry<'_>| {
                line(&entry);
                Ok(ControlFlow::Continue(()))
            });
        read.map(drop)
    }

    /// Kills it: its log is whole afterwards.
    ///
    /// # Errors
    /// As kill; one that has ended is none.
    pub(in crate::engine) fn container_beside_kill(&self, beside: &Beside) -> Result<()> {
        match self.container_kill(beside.id.as_str(), None) {
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::Unavailable | Kind::NotFound) => Ok(()),
            killed => killed,
        }
    }

    /// Takes it away.
    ///
    /// # Errors
    /// As remove.
    pub(in crate::engine) fn container_beside_end(&self, beside: Beside) -> Result<()> {
        let Beside { id, monitor, lock, .. } = beside;
        drop((monitor, lock));
        match self.container_remove(id.as_str(), ContainerRemove { force: true, volumes: true }) {
            // Whoever found the lock free was faster.
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

impl Beside {
    /// Its identity.
    pub(in crate::engine) fn id(&self) -> &Id {
        &self.id
    }
}

/// The ports of TCP that it exposes.
fn ports(record: &ContainerRecord) -> Vec<u16> {
    let tcp = |port: &String| {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        number.parse().ok().filter(|_| protocol == "tcp")
    };
    record.exposed_ports.iter().filter_map(tcp).collect()
}
