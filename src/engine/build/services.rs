//! Services beside a step: containers that its command reaches by their names, in a network of the step's own.
//!
//! ```text
//! builds/networks/<id>      on record before the network exists; its lock is held while the step lives
//! network step-<short id>   the step and its services; it leads outside only where the step's own network does
//! ```
//!
//! Each is started when those that it depends on are as far as it needs; when all are ready the command runs. One that ends
//! badly ends the command. They are killed after it, whatever became of it. Of a
//! build that died the next command finds the containers by their locks, and the network by its record. What they keep is
//! no part of the step's layer.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::key::Inputs;
use super::mask::Mask;
use super::order::{self, Stage};
use super::run::chain_ids;
use super::state::State;
use super::{At, LOOK, Solver};
use crate::base::{Context as _, Error, Id, Kind, Result, failpoint, units};
use crate::engine::Engine;
use crate::engine::container::{Beside, Standing};
use crate::model::build::{BuildEvent, Network, Origin, Run, SecretValue, Service};
use crate::model::container::ContainerOptions;
use crate::model::image::Image;
use crate::model::log::Stream;
use crate::model::network::{Attachment, NetworkOptions, OF_STEP};
use crate::sys::lock::Lock;

/// How long a service may take to be ready unless told otherwise.
const READY: Duration = Duration::from_secs(60);
/// How long who watches a service may take to see that it has ended.
const NOTICE: Duration = Duration::from_millis(500);
/// The most services of one step.
const MOST_SERVICES: usize = 64;
/// How much of what a check said is shown, in characters.
const SHOWN_OUTPUT: usize = 400;

/// A network that is there for the time of a step.
struct StepNetwork {
    id: Id,
    name: String,
    lock: Lock,
}

/// One that was started.
struct Started<'a> {
    service: &'a Service,
    beside: Beside,
    /// Others wait for its end.
    to_complete: bool,
    begun: Instant,
    stage: Stage,
    /// It has ended while the command ran, with this status when that is known.
    ended: Option<Option<i32>>,
}

impl Started<'_> {
    /// It is as far as the step needs it.
    fn is_enough(&self) -> bool {
        self.stage >= if self.to_complete { Stage::Done } else { Stage::Ready }
    }

    /// It has not done its work yet.
    fn lives(&self) -> bool {
        self.stage != Stage::Done
    }
}

/// Sets a flag when it goes, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Commands of the step end when it is set: by the end of everything, or by the end of a service.
struct Halt<'a, 'b> {
    solver: &'a Solver<'b>,
    flag: Arc<AtomicBool>,
}

impl Drop for Halt<'_, '_> {
    fn drop(&mut self) {
        self.solver.board().halts.retain(|halt| !Arc::ptr_eq(halt, &self.flag));
    }
}

impl Solver<'_> {
    /// Adds what the services are to the inputs of a step: images by what is in them, of secrets their ids alone.
    pub(super) fn service_inputs(&self, run: &Run, inputs: &mut Inputs) -> Result<()> {
        order::check(&run.services)?;
        for service in &run.services {
            let image = self.service_image(service)?;
            let layers: Vec<_> = image.layers.iter().map(|layer| &layer.chain_id).collect();
            inputs.add_json(format!("the image of the service {:?}", service.name), &(layers, &image.config));
            // Of secrets that they are there is known, and no more.
            let secret: Vec<&String> = service.secret_env.keys().collect();
            inputs.add_json(format!("the service {:?}", service.name), &(&service.options, secret));
            if !service.depends_on.is_empty() {
                inputs.add_json(format!("what the service {:?} depends on", service.name), &service.depends_on);
            }
        }
        Ok(())
    }

    /// Does the work with the services of a step beside it. It gets the networks that the command is to be on, none when
    /// the step has no services, and what ends the command.
    pub(super) fn with_services<T>(
        &self,
        at: At<'_>,
        run: &Run,
        work: impl FnOnce(&[Attachment], &AtomicBool) -> Result<T>,
    ) -> Result<T> {
        if run.services.is_empty() {
            return work(&[], &self.stop);
        }
        if run.services.len() > MOST_SERVICES {
            return Err(Error::invalid(format!("a step has at most {MOST_SERVICES} services")));
        }
        let (internal, further) = self.surroundings(run)?;
        let network = self.engine.step_network(internal)?;
        let mut networks = vec![Attachment::to(&network.name)];
        networks.extend(further.map(|name| Attachment::to(&name)));
        let mut started = Vec::new();
        let result = std::thread::scope(|scope| {
            let result = self
                .begin(&run.services, &networks, &mut started, &|service, id| {
                    let follow = move || self.follow(at, service, &id);
                    std::thread::Builder::new().spawn_scoped(scope, follow).map(drop)
                })
                .and_then(|()| self.watched(&mut started, |stop| work(&networks, stop)))
                .map_err(|error| self.explained(error, &mut started));
            // Those whose logs are followed end now, and their followers with them.
            let killed = started.iter().try_for_each(|one| self.engine.container_beside_kill(&one.beside));
            // A failure shows again when they are taken away.
            drop(killed);
            result
        });
        let mut ended = Ok(());
        for one in started {
            let doing = || format!("removing the service {:?}", one.service.name);
            ended = ended.and(self.engine.container_beside_end(one.beside).context(doing));
        }
        let ended = ended.and_then(|()| self.engine.step_network_end(network));
        match (result, ended) {
            (Ok(done), Ok(())) => Ok(done),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        }
    }

    /// Whether the step's own network leads nowhere, and what else it is on.
    fn surroundings(&self, run: &Run) -> Result<(bool, Option<String>)> {
        let host = || {
            Err(Error::unsupported("a step on the host's network has no services")
                .with_hint("leave its network out, or use \"none\": services are reached all the same"))
        };
        match (self.network(run), self.engine.default_network.as_deref()) {
            (Network::Host, _) | (Network::Default, Some("host")) => host(),
            (Network::None, _) | (Network::Default, Some("none")) => Ok((true, None)),
            (Network::Default, None | Some("bridge" | "default")) => Ok((false, None)),
            (Network::Default, Some(other)) => Ok((true, Some(other.to_owned()))),
        }
    }

    /// The image of a service, which need not be on record.
    fn service_image(&self, service: &Service) -> Result<Image> {
        let of = || format!("the service {:?}", service.name);
        match &service.image {
            Origin::Image(name) => self.image(name).context(of),
            Origin::Stage(index) => {
                let state: &State = &*self.wait(*index)?;
                if chain_ids(state).is_empty() {
                    return Err(Error::invalid("there is nothing in its image").context(of()));
                }
                Ok(Image { config: state.config.clone(), ..self.image_of(state) })
            }
            Origin::Context(_) => Err(Error::invalid("a service is made from an image or a build").context(of())),
        }
    }

    fn start(&self, service: &Service, networks: &[Attachment]) -> Result<Beside> {
        let image = self.service_image(service)?;
        let mut networks = networks.to_vec();
        networks[0].aliases.push(service.name.clone());
        let options = ContainerOptions {
            networks,
            hostname: service.options.hostname.clone().or_else(|| Some(service.name.clone())),
            ..service.options.clone()
        };
        let mut secret_env = Vec::new();
        for (name, id) in &service.secret_env {
            let SecretValue(value) = self
                .options
                .credentials
                .secrets
                .get(id)
                .ok_or_else(|| Error::not_found(format!("there is no secret {id:?}")))?;
            let text = String::from_utf8(value.clone()).ok().filter(|text| !text.contains('\0'));
            // An error that says so itself would show the value.
            let text = text.ok_or_else(|| Error::invalid(format!("the secret {id:?} is not valid text")))?;
            secret_env.push((name.clone(), text));
        }
        self.engine.container_beside(&image, options, secret_env)
    }

    /// Starts each service when it may begin, until all are as far as the step needs them.
    fn begin<'r>(
        &self,
        services: &'r [Service],
        networks: &[Attachment],
        started: &mut Vec<Started<'r>>,
        follow: &dyn Fn(&'r Service, Id) -> std::io::Result<()>,
    ) -> Result<()> {
        let to_complete = order::to_complete(services);
        let mut waiting: Vec<&Service> = services.iter().collect();
        loop {
            let stages: BTreeMap<&str, Stage> =
                started.iter().map(|one| (one.service.name.as_str(), one.stage)).collect();
            let (able, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|service| order::may_begin(service, &stages));
            waiting = rest;
            for service in &able {
                self.check()?;
                let doing = || format!("starting the service {:?}", service.name);
                let beside = self.start(service, networks).context(doing)?;
                let id = beside.id().clone();
                let to_complete = to_complete.contains(service.name.as_str());
                let (begun, stage) = (Instant::now(), Stage::Started);
                started.push(Started { service, beside, to_complete, begun, stage, ended: None });
                if service.logs {
                    follow(service, id).context(doing)?;
                }
            }
            if waiting.is_empty() && !able.is_empty() {
                failpoint::hit("build.services.started")?;
            }
            self.check()?;
            let mut moved = !able.is_empty();
            for one in started.iter_mut() {
                moved |= self.advance(one)?;
            }
            if waiting.is_empty() && started.iter().all(Started::is_enough) {
                return Ok(());
            }
            if !moved {
                std::thread::sleep(LOOK);
            }
        }
    }

    /// Looks how far a service has come; whether that is further than it was.
    fn advance(&self, one: &mut Started<'_>) -> Result<bool> {
        let name = one.service.name.as_str();
        // One that was ready is not asked again: it may serve only once.
        let standing = match one.stage {
            Stage::Done => return Ok(false),
            Stage::Ready if !self.engine.container_beside_is_over(one.beside.id())? => Standing::Ready,
            _ => self.engine.container_beside_standing(&mut one.beside)?,
        };
        let before = one.stage;
        let checked = match standing {
            Standing::Ended(Some(0)) if one.to_complete || one.stage == Stage::Ready => {
                one.stage = Stage::Done;
                None
            }
            Standing::Done => {
                one.stage = Stage::Done;
                None
            }
            Standing::Ready => {
                one.stage = Stage::Ready;
                None
            }
            Standing::Ended(code) => {
                let when = match one.to_complete || one.stage == Stage::Ready {
                    true => "",
                    false => " before it was ready",
                };
                return Err(
                    self.with_tail(Error::failed(format!("the service {name:?} ended{}{when}", status(code))), one)
                );
            }
            Standing::Coming(checked) => checked,
        };
        let patience = one.service.timeout.unwrap_or(READY);
        if !one.is_enough() && one.begun.elapsed() >= patience {
            let missing = if one.to_complete { "had not ended" } else { "was not ready" };
            let said = checked.map_or_else(String::new, |(code, output)| {
                let output: String = self.masked(&output).trim().chars().take(SHOWN_OUTPUT).collect();
                format!("; its last check ended with {code}: {output}")
            });
            let waited = units::short_duration(patience);
            let error = Error::timeout(format!("the service {name:?} {missing} after {waited}{said}"))
                .with_hint("give it more time: timeout: 2.min");
            return Err(self.with_tail(error, one));
        }
        Ok(one.stage != before)
    }

    /// Works while the services are watched: one that ends badly ends the work.
    fn watched<T>(&self, started: &mut [Started<'_>], work: impl FnOnce(&AtomicBool) -> Result<T>) -> Result<T> {
        let halt = self.halt_alone();
        let (over, noted) = (AtomicBool::new(false), AtomicUsize::new(0));
        let live: Vec<Id> = started.iter().filter(|one| one.lives()).map(|one| one.beside.id().clone()).collect();
        let result = std::thread::scope(|scope| {
            let _over = Over(&over);
            for one in started.iter_mut().filter(|one| one.lives()) {
                let (flag, over, noted) = (&*halt.flag, &over, &noted);
                let watch = move || {
                    let Ok(code) = self.engine.container_beside_wait(&mut one.beside, over) else { return };
                    one.ended = Some(code);
                    if code != Some(0) {
                        flag.store(true, Ordering::Relaxed);
                    }
                    noted.fetch_add(1, Ordering::Relaxed);
                };
                std::thread::Builder::new().spawn_scoped(scope, watch).context(|| "watching services")?;
            }
            let result = work(&halt.flag);
            if result.is_err() {
                // The command may have noticed faster than those who watch.
                let dead = live.iter().filter(|id| self.engine.container_beside_is_over(id).unwrap_or(false)).count();
                let patience = Instant::now() + NOTICE;
                while noted.load(Ordering::Relaxed) < dead && Instant::now() < patience {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            result
        });
        let stopped_alone = || halt.flag.load(Ordering::Relaxed) && self.check().is_ok();
        match result {
            Err(error) if error.kind() == Kind::Interrupted && stopped_alone() => Err(self.end_of(started, error)),
            result => result,
        }
    }

    /// What ends the commands of one step alone.
    fn halt_alone(&self) -> Halt<'_, '_> {
        let flag = Arc::new(AtomicBool::new(false));
        let mut board = self.board();
        board.halts.push(Arc::clone(&flag));
        if self.stop.load(Ordering::Relaxed) {
            flag.store(true, Ordering::Relaxed);
        }
        drop(board);
        Halt { solver: self, flag }
    }

    /// The error of a step that was ended since a service had.
    fn end_of(&self, started: &[Started<'_>], error: Error) -> Error {
        let bad = |one: &&Started<'_>| one.ended.is_some_and(|code| code != Some(0));
        let Some(one) = started.iter().find(bad) else { return error };
        let code = status(one.ended.flatten());
        let said = format!("the service {:?} ended{code} while the command ran", one.service.name);
        self.with_tail(Error::failed(said).with_hint("what the command wrote is in the log: rhumb build logs"), one)
    }

    /// With the last lines of a service's log; a secret is in none.
    fn with_tail(&self, error: Error, one: &Started<'_>) -> Error {
        match self.tail(one) {
            tail if tail.is_empty() => error,
            tail => error.with_source(Error::failed(format!("its last lines:\n{tail}"))),
        }
    }

    fn tail(&self, one: &Started<'_>) -> String {
        self.masked(&self.engine.container_beside_tail(&one.beside))
    }

    /// A text without the values of secrets.
    fn masked(&self, text: &str) -> String {
        let mut mask = self.mask();
        let shown = [mask.take(text.as_bytes()), mask.end()].concat();
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// A command that failed may have failed because a service had died: that is said, too.
    fn explained(&self, error: Error, started: &mut [Started<'_>]) -> Error {
        let of_command = error.failure().is_some() || error.kind() == Kind::Timeout;
        if !of_command {
            return error;
        }
        let dead = started.iter_mut().find_map(|one| match self.engine.container_beside_standing(&mut one.beside) {
            Ok(Standing::Ended(code)) => Some((one, code)),
            _ => None,
        });
        let Some((one, code)) = dead else { return error };
        let said = format!("the service {:?} had ended{}", one.service.name, status(code));
        match self.tail(one) {
            tail if tail.is_empty() => error.with_hint(said),
            tail => error.with_hint(format!("{said}; its last lines:\n{tail}")),
        }
    }

    /// Shows what a service writes with the step's output, until it ends.
    fn follow(&self, at: At<'_>, service: &Service, id: &Id) {
        let (stage, step) = (at.stage, at.index);
        let mut masks = [self.mask(), self.mask()];
        let show = |stream: Stream, shown: &[u8]| {
            for line in shown.split_inclusive(|byte| *byte == b'\n') {
                let text = String::from_utf8_lossy(line);
                let bytes = format!("{} | {}\n", service.name, text.trim_end_matches(['\r', '\n']));
                self.log.line((stage, step), bytes.as_bytes());
                (self.progress)(&BuildEvent::Output { stage, step, stream, bytes: bytes.as_bytes() });
            }
        };
        let read = self.engine.container_beside_follow(id, &mut |entry| {
            let mask = &mut masks[usize::from(!matches!(entry.stream, Stream::Stdout))];
            show(entry.stream, &mask.take(entry.bytes));
        });
        for (mask, stream) in masks.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            show(stream, &mask.end());
        }
        if let Err(error) = read {
            // It is no reason to fail the step.
            self.log.line((stage, step), format!("{} | its log cannot be read: {error}\n", service.name).as_bytes());
        }
    }

    fn mask(&self) -> Mask {
        Mask::new(self.options.credentials.secrets.values().map(|secret| secret.0.as_slice()))
    }
}

fn status(code: Option<i32>) -> String {
    code.map_or_else(String::new, |code| format!(" with {code}"))
}

impl Engine {
    /// A network for one step. Its record comes first.
    fn step_network(&self, internal: bool) -> Result<StepNetwork> {
        let id = Id::random()?;
        let name = format!("step-{}", id.short());
        let lock = self.lock_named(&lock_name(&id))?;
        let folder = self.paths().builds().join("networks");
        std::fs::create_dir_all(&folder).context(|| format!("making {folder:?}"))?;
        let path = folder.join(id.as_str());
        std::fs::write(&path, "").context(|| format!("writing {path:?}"))?;
        let network = StepNetwork { id, name, lock };
        let options = NetworkOptions {
            name: network.name.clone(),
            internal,
            labels: [(OF_STEP.to_owned(), network.id.to_string())].into(),
            ..NetworkOptions::default()
        };
        match failpoint::hit("build.services.network").and_then(|()| self.network_create(&options)) {
            Ok(_) => Ok(network),
            // What could not be taken away either is found by the next command.
            Err(error) => Err(match self.step_network_end(network) {
                Ok(()) => error,
                Err(more) => error.context(format!("and undoing it failed: {more}")),
            }),
        }
    }

    fn step_network_end(&self, network: StepNetwork) -> Result<()> {
        self.step_network_remove(&network.id)?;
        drop(network.lock.remove_on_drop());
        Ok(())
    }

    fn step_network_remove(&self, id: &Id) -> Result<()> {
        let name = format!("step-{}", id.short());
        self.network_remove(&name, true).context(|| format!("removing the network {name:?} of a step"))?;
        let path = self.paths().builds().join("networks").join(id.as_str());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::from(error).context(format!("removing {path:?}")))
            }
            _ => Ok(()),
        }
    }

    /// Removes the networks of steps whose builds died. The containers on them went before.
    pub(in crate::engine) fn build_recover(&self) -> Result<()> {
        let folder = self.paths().builds().join("networks");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::from(error).context(format!("reading {folder:?}"))),
        };
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| Id::parse(name).ok()) else { continue };
            // Its build lives, or something on it resists: a later command's turn.
            if let Ok(Some(lock)) = self.try_lock_named(&lock_name(&id))
                && self.step_network_remove(&id).is_ok()
            {
                drop(lock.remove_on_drop());
            }
        }
        Ok(())
    }
}

fn lock_name(id: &Id) -> String {
    format!("step-network-{id}")
}
