//! What a container is doing: record and run state joined; get and list.

use regex::Regex;

use crate::base::{Context as _, Error, Id, Reference, Result};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::model::container::{
    Container, ContainerFilter, ContainerRecord, MountPointKind, NetworkMode, State, Status,
};
use crate::model::health::{Health, HealthStatus};
use crate::model::network::{NetworkFilter, Publish};
use crate::model::system::has_label;
use crate::runtime::state::{self, ExitRecord, Life, RunState, life};
use crate::store::db::{Noun, Phase};

impl Engine {
    /// One container with its live state.
    ///
    /// # Errors
    /// `not_found`, `conflict` when a beginning of an id fits several.
    pub fn container_get(&self, container: &str) -> Result<Container> {
        let found = self.container_find(container)?;
        let mut state = self.container_state(&found)?;
        if let Some(health) = &mut state.health {
            let (state_dir, run_dir) = (self.paths().container(&found.id), self.paths().container_run(&found.id));
            // Unreadable, there are no results to show; the status was read or set before.
            health.log =
                state::health(&state_dir, &run_dir).ok().flatten().map(|health| health.log).unwrap_or_default();
        }
        Ok(Container { name: found.name, record: found.record, state })
    }

    /// What is asked for by name or id, with the ids of those networks that there are.
    fn network_ids(&self, asked: &[String]) -> Result<Vec<String>> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let mut ids = asked.to_vec();
        for network in self.network_list(&NetworkFilter::default())? {
            let id = network.id.to_string();
            if asked.iter().any(|text| *text == network.name || id.starts_with(text.as_str())) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// The matching containers, newest first.
    ///
    /// # Errors
    /// `invalid_argument` for a name that is no regular expression, `not_found` for `before` and `since`, `corrupt`.
    pub fn container_list(&self, filter: &ContainerFilter) -> Result<Vec<Container>> {
        let all = filter.all || filter.last.is_some() || !filter.status.is_empty() || !filter.exited.is_empty();
        let names = patterns(&filter.name)?;
        let made = |name: &Option<String>| name.as_ref().map(|name| self.container_find(name)).transpose();
        let (before, since) = (made(&filter.before)?, made(&filter.since)?);
        let networks = self.network_ids(&filter.network)?;
        let mut list = Vec::new();
        for found in self.container_rows()? {
            let age = (found.record.created, &found.id);
            let in_time = before.as_ref().is_none_or(|other| age < (other.record.created, &other.id))
                && since.as_ref().is_none_or(|other| age > (other.record.created, &other.id));
            // A step of a build is nobody's container.
            let is_step = found.record.image.is_empty();
            if is_step || !in_time || !matches_record(&found, filter, &names, &networks) {
                continue;
            }
            let state = self.container_state(&found)?;
            // Half-made: there is nothing to see yet. One with `--rm` that runs keeps this phase to its end.
            if found.phase == Phase::Creating && !state.status.is_alive() {
                continue;
            }
            // One that cannot be taken away is listed: whoever removes it is told why.
            if found.record.options.auto_remove
                && !state.status.is_alive()
                && self.container_sweep_ephemeral(&found).unwrap_or(false)
            {
                continue;
            }
            let status_fits = filter.status.is_empty() || filter.status.contains(&state.status);
            let exited_fits = filter.exited.is_empty()
                || (state.status == Status::Exited
                    && state.exit_code.is_some_and(|code| filter.exited.contains(&code)));
            let health = state.health.as_ref().map(|health| health.status);
            let health_fits = filter.health.is_empty() || filter.health.contains(&health);
            if (all || state.status.is_alive()) && status_fits && exited_fits && health_fits {
                list.push(Container { name: found.name, record: found.record, state });
            }
        }
        list.sort_by(|a, b| (b.record.created, &b.record.id).cmp(&(a.record.created, &a.record.id)));
        list.truncate(filter.last.unwrap_or(usize::MAX));
        Ok(list)
    }

    /// Every container's record, oldest first.
    pub(in crate::engine) fn container_rows(&self) -> Result<Vec<Found>> {
        let rows = self.store.read(|tx| tx.list::<ContainerRecord>(Noun::Container))?;
        Ok(rows
            .into_iter()
            .map(|row| Found {
                name: row.names.into_iter().next().unwrap_or_else(|| row.body.id.short().to_owned()),
                phase: row.phase,
                id: row.body.id.clone(),
                record: row.body,
            })
            .collect())
    }

    /// What the container's processes are doing.
    pub(in crate::engine) fn container_life(&self, id: &Id) -> Result<Life> {
        life(&self.paths().container(id), &self.paths().container_run(id))
            .context(|| format!("reading the state of the container {}", id.short()))
    }

    pub(super) fn container_state(&self, found: &Found) -> Result<State> {
        let mut state = of_life(self.container_life(&found.id)?);
        state.health = self.container_health(found, &state);
        if found.phase == Phase::Removing {
            state.status = Status::Removing;
        }
        state.networks = self.container_connections(&found.record, state.status.is_alive())?;
        Ok(state)
    }
}

impl Engine {
    /// What is known of a container's health, without the results. What a killed monitor or a full disk left unreadable is
    /// as if nothing had been written: no listing fails for it.
    fn container_health(&self, found: &Found, state: &State) -> Option<Health> {
        if matches!(state.status, Status::Created) || found.record.probe().is_none() {
            return None;
        }
        let (state_dir, run_dir) = (self.paths().container(&found.id), self.paths().container_run(&found.id));
        let known = state::health_status(&state_dir, &run_dir).ok().flatten();
        match state.status.is_alive() {
            true => Some(known.unwrap_or_default()),
            // Nobody probes it any more. Docker's word for that, whatever it was before.
            false => known.map(|health| Health { status: HealthStatus::Unhealthy, ..health }),
        }
    }
}

/// The facts that follow from what is known of the processes.
pub(super) fn of_life(life: Life) -> State {
    let blank = State {
        status: Status::Created,
        pid: None,
        exit_code: None,
        oom_killed: false,
        error: None,
        started: None,
        finished: None,
        log_lost: Default::default(),
        health: None,
        restart_count: 0,
        stopped_by_user: false,
        execs: Vec::new(),
        networks: Vec::new(),
    };
    match life {
        Life::Never => blank,
        Life::Alive(RunState { ended: Some(exit), .. }) => State { status: Status::Restarting, ..of_end(exit, blank) },
        Life::Alive(run) => State {
            status: if run.paused { Status::Paused } else { Status::Running },
            pid: run.init.map(|(pid, _)| pid),
            started: Some(run.started),
            restart_count: run.restart_count,
            stopped_by_user: run.stopped_by_user,
            ..blank
        },
        // A command that could not be executed never ran: the container is as it was, and says why.
        Life::Ended(exit) if exit.started.is_none() => {
            State { exit_code: Some(exit.exit_code), error: exit.error, ..blank }
        }
        Life::Ended(exit) => of_end(exit, blank),
        Life::Lost { last, why } => State {
            status: Status::Dead,
            error: Some(format!("{why}; the exit status is unknown")),
            started: last.as_ref().map(|run| run.started),
            restart_count: last.as_ref().map_or(0, |run| run.restart_count),
            stopped_by_user: last.is_some_and(|run| run.stopped_by_user),
            ..blank
        },
    }
}

fn of_end(exit: ExitRecord, blank: State) -> State {
    State {
        status: Status::Exited,
        exit_code: Some(exit.exit_code),
        oom_killed: exit.oom_killed,
        error: exit.error,
        started: exit.started,
        finished: Some(exit.finished),
        log_lost: exit.log_lost,
        restart_count: exit.restart_count,
        stopped_by_user: exit.stopped_by_user,
        ..blank
    }
}

/// Names are regular expressions, as Docker has it.
fn patterns(texts: &[String]) -> Result<Vec<Regex>> {
    let pattern = |text: &String| {
        let refuse = |error| Error::invalid(format!("{text:?} is not a regular expression for names: {error}"));
        Regex::new(text).map_err(refuse)
    };
    texts.iter().map(pattern).collect()
}

/// Whether a container is in one of these networks, given by name or id.
fn in_network(record: &ContainerRecord, wanted: &[String]) -> bool {
    match record.options.network_mode {
        NetworkMode::None => wanted.iter().any(|text| text == "none"),
        NetworkMode::Host => wanted.iter().any(|text| text == "host"),
        NetworkMode::Container(_) => false,
        NetworkMode::Bridge => record.options.networks.iter().any(|one| wanted.contains(&one.network)),
    }
}

fn matches_record(found: &Found, filter: &ContainerFilter, names: &[Regex], networks: &[String]) -> bool {
    let record = &found.record;
    let any = |list: &[String], fits: &dyn Fn(&str) -> bool| list.is_empty() || list.iter().any(|text| fits(text));
    let slashed = format!("/{}", found.name);
    let named = |name: &Regex| name.is_match(&found.name) || name.is_match(&slashed);
    let ports = || {
        let published = |port: &String| {
            let named = |one: &Publish| format!("{}/{}", one.container_port, one.protocol.as_str()) == *port;
            record.options.publish.iter().any(named)
                || (record.options.publish_all && record.exposed_ports.contains(port))
        };
        let any = filter.expose.is_empty() && filter.publish.is_empty();
        any || filter.expose.iter().any(|port| record.exposed_ports.contains(port) || published(port))
            || filter.publish.iter().any(published)
    };
    let image = |text: &str| {
        let same_name = Reference::parse(text).is_ok_and(|name| name.familiar() == record.image);
        same_name || record.image_id.hex().starts_with(text.trim_start_matches("sha256:"))
    };
    let volume = |text: &str| {
        record.mounts.iter().any(|point| {
            point.target == text
                || matches!(&point.kind, MountPointKind::Volume { id, name, .. } if name == text || id.as_str() == text)
        })
    };
    (names.is_empty() || names.iter().any(named))
        && ports()
        && filter.is_task != Some(true)
        && (filter.network.is_empty() || in_network(record, networks))
        && any(&filter.id, &|text| found.id.as_str().starts_with(text))
        && filter.label.iter().all(|text| has_label(&record.labels, text))
        && any(&filter.ancestor, &image)
        && any(&filter.volume, &volume)
}
