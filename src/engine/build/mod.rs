//! Builds: a graph of steps is solved with what earlier builds did.
//!
//! ```text
//! state   config and arguments so far (pure)       key     what a step depends on (pure)
//! copy    what a copy puts where (pure but for     walk    what is in a folder, remembered
//!         reading), with chmod and pattern         cache   results on record
//! run     commands in containers, with mounts      output  images, folders and tars
//! binds   folders and files as mounts              fetch   what is elsewhere
//! context contexts that are no folders here
//! agent   an ssh agent for a command               log     what steps write, with mask
//! verify  building twice, with disorder
//! trees   what origins mean                        plan    which stages are needed (pure)
//! exchange   the cache elsewhere                inline  the cache that an image carries
//! attest  statements about an image
//! turn    when a step is done, and by whom      services  containers beside a command, in order
//! ```
//!
//! One thread a stage; a stage waits for another only at the step that needs it. The result of a step is a layer in the
//! store, on record under its key as soon as it is there, so that a build that is killed begins where it stopped. A
//! config costs nothing. Nothing is mounted where this machine sees it.

mod agent;
mod attest;
mod binds;
mod cache;
mod chmod;
mod context;
mod copy;
mod disorder;
mod exchange;
mod fetch;
mod inline;
mod key;
mod log;
mod mask;
mod mounts;
mod order;
mod output;
mod pattern;
mod plan;
mod run;
mod services;
mod shell;
mod squash;
mod state;
mod trees;
mod turn;
mod verify;
mod walk;

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::cache::CachePrune;
pub use self::context::FetchedContext;
use self::copy::{Planned, Target};
use self::key::Inputs;
use self::run::chain_ids;
pub use self::shell::{Debug, Enter, Shell};
use self::state::State;
use self::turn::{Outcome, brief};
use self::walk::Memory;
use crate::base::{Digest, Error, Id, Kind, Result, Timestamp, failpoint};
use crate::engine::Engine;
use crate::engine::container::view;
use crate::engine::pipe::through;
use crate::model::build::{
    Action, Base, BuildEvent, BuildOptions, BuildReport, Change, Copy, Graph, Origin, Position, Source, Step,
    StepReport,
};
use crate::model::image::{Image, Layer, Pull};
use crate::store::assemble::{Piece, assemble};
use crate::store::image::config::MAX_LAYERS;
use crate::store::layer::LayerSource;
use crate::sys::path::Dir;

/// Hears what happens; from several threads.
pub type Progress<'a> = dyn Fn(&BuildEvent<'_>) + Sync + 'a;

/// How often a build looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Where a step stands.
#[derive(Clone, Copy)]
struct At<'a> {
    stage: usize,
    index: usize,
    step: &'a Step,
}

struct Solver<'a> {
    engine: &'a Engine,
    graph: &'a Graph,
    options: &'a BuildOptions,
    progress: &'a Progress<'a>,
    debug: Debug<'a>,
    /// Commands end when it is set.
    stop: AtomicBool,
    begun: Instant,
    deadline: Option<Instant>,
    board: Mutex<Board>,
    changed: Condvar,
    memories: Mutex<HashMap<usize, Arc<Mutex<Memory>>>>,
    log: log::Log,
    /// Layers for commands that see another machine.
    disorder: disorder::Disorder,
    /// Where steps of other machines are.
    depots: Vec<exchange::Depot>,
    /// Images that are looked for in their registries; each has a lock of its own, and whether it was.
    fetched: Mutex<HashMap<String, Arc<Mutex<bool>>>>,
}

/// What the threads know of each other.
#[derive(Default)]
struct Board {
    stages: HashMap<usize, Arc<State>>,
    failed: Option<Error>,
    /// How many stages have ended, however they did.
    ended: usize,
    running: usize,
    /// What ends single commands; all of them are set when everything is to end.
    halts: Vec<Arc<AtomicBool>>,
    steps: Vec<StepReport>,
    /// The keys of what was found, where it is to be noted that it was of use.
    used: BTreeSet<Digest>,
    /// All keys, those of steps in groups as well.
    keys: BTreeSet<Digest>,
    /// The ids of commands' caches.
    caches: BTreeSet<String>,
    /// Layers that stages have recalled and that nothing keeps yet: noting each by itself costs more than all the rest of
    /// a build in which nothing changed.
    recalled: HashMap<usize, Vec<Digest>>,
    /// Stages of which a recalled layer was removed by another process.
    removed: BTreeSet<usize>,
}

/// A stage that ends, also by a panic.
struct Ended<'a, 'b>(&'a Solver<'b>);

impl Drop for Ended<'_, '_> {
    fn drop(&mut self) {
        self.0.board().ended += 1;
        self.0.changed.notify_all();
    }
}

struct Solved {
    state: State,
    report: BuildReport,
    /// Layers of the target that were found and that nothing keeps yet ([`Engine::keep`]).
    recalled: Vec<Digest>,
}

impl Engine {
    /// Does what the target needs, and keeps it in the cache.
    ///
    /// # Errors
    /// `command_failed` of a step; `not_found` for a base or a source; `invalid_argument` for a graph that makes no sense;
    /// `timeout`, `interrupted`.
    pub fn build_solve(&self, graph: &Graph, options: &BuildOptions, progress: &Progress<'_>) -> Result<BuildReport> {
        let _lease = self.store.lease()?;
        Ok(self.solve(graph, options, progress)?.report)
    }

    /// Solves, and keeps what the target came to.
    fn solve(&self, graph: &Graph, options: &BuildOptions, progress: &Progress<'_>) -> Result<Solved> {
        loop {
            let solved = self.solve_with(graph, options, progress, &Debug::default())?;
            if self.keep(&solved.recalled)? {
                return Ok(solved);
            }
        }
    }

    /// Has the lease keep layers that were found on record; false when one was removed meanwhile.
    fn keep(&self, recalled: &[Digest]) -> Result<bool> {
        if recalled.is_empty() {
            return Ok(true);
        }
        failpoint::hit("build.stage.recalled")?;
        self.store.layers_adopt(recalled)
    }

    fn solve_with(
        &self,
        graph: &Graph,
        options: &BuildOptions,
        progress: &Progress<'_>,
        debug: &Debug<'_>,
    ) -> Result<Solved> {
        let begun = Instant::now();
        let needed = plan::needed(graph)?;
        let id = Id::random()?.short().to_owned();
        let (depots, warnings) = self.depots(&options.cache_from)?;
        let solver = Solver {
            engine: self,
            graph,
            options,
            progress,
            debug: *debug,
            stop: AtomicBool::new(false),
            begun,
            deadline: options.timeout.map(|timeout| begun + timeout),
            board: Mutex::default(),
            changed: Condvar::new(),
            memories: Mutex::default(),
            log: log::Log::new(self.build_log_create(&id)),
            disorder: disorder::Disorder::default(),
            depots,
            fetched: Mutex::default(),
        };
        std::thread::scope(|scope| {
            let solver = &solver;
            let begin = |stage: usize| {
                let work = move || {
                    let _ended = Ended(solver);
                    solver.stage_to_end(stage);
                };
                let thread = std::thread::Builder::new().spawn_scoped(scope, work);
                thread.map_err(|error| solver.fail(Error::from(error).context("starting a thread of the build"))).ok()
            };
            let threads: Vec<_> = needed.iter().map_while(|stage| begin(*stage)).collect();
            solver.watch(threads.len());
            for thread in threads {
                if thread.join().is_err() {
                    solver.fail(Error::failed("a thread of the build panicked"));
                }
            }
        });
        for memory in lock(&solver.memories).values() {
            lock(memory).save();
        }
        let target = solver.board().stages.get(&graph.target).cloned();
        if let Some(state) = target.filter(|_| solver.board().failed.is_none()) {
            solver.shell_at_end(&state)?;
        }
        let mut board = solver.board.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = board.failed {
            return Err(error);
        }
        self.steps_used(&board.used)?;
        let state = board.stages.remove(&graph.target).ok_or_else(|| Error::failed("the target was not built"))?;
        let recalled = board.recalled.remove(&graph.target).unwrap_or_default();
        board.steps.sort_by_key(|step| (step.stage, step.step));
        let keys = board.keys.into_iter().collect();
        let caches = board.caches.into_iter().collect();
        let mut report = BuildReport { id, steps: board.steps, keys, caches, elapsed: begun.elapsed(), warnings };
        for target in &options.cache_to {
            self.build_cache_export(&report, target)?;
        }
        if let Some(keep_bytes) = self.build_cache_bytes.filter(|_| report.steps.iter().any(|step| !step.cached)) {
            // What this build came to is kept by its lease, whatever the limit is.
            let what = CachePrune { keep_bytes: Some(keep_bytes), unshared: true, ..CachePrune::default() };
            if let Err(error) = self.build_cache_prune(&what) {
                report.warnings.push(error.context("pruning what builds keep").to_string());
            }
        }
        Ok(Solved { state: Arc::unwrap_or_clone(state), report, recalled })
    }

    /// A view of stacked layers; none of none.
    fn build_view(&self, layers: &[Digest]) -> Result<Option<Dir>> {
        if layers.is_empty() {
            return Ok(None);
        }
        let fd = view(&self.lower_dirs(layers))?;
        Ok(Some(Dir::from_fd(fd.as_fd())?))
    }

    /// The content of an archive, in a folder that the lease keeps.
    fn unpacked(&self, archive: &mut dyn Read) -> Result<Dir> {
        let layer = self.store.layer_import(archive, &LayerSource::default())?;
        Ok(Dir::open(&self.store.layer_diff(&layer.chain_id))?)
    }

    fn layer_of_pieces(
        &self,
        pieces: &[Piece],
        roots: &[Dir],
        parent: Option<Digest>,
        latest: Option<Timestamp>,
    ) -> Result<Layer> {
        let source = LayerSource { parent, compress: true, ..LayerSource::default() };
        let ((), layer) = through(
            |writer| assemble(pieces, roots, latest, writer),
            |reader| self.store.layer_import(reader, &source),
        )?;
        Ok(layer)
    }
}

/// An error with the step that it is of, and where that is written.
fn placed(error: Error, step: &Step) -> Error {
    match &step.position {
        // Its message has the step.
        Some(Position { file, line, .. }) if error.failure().is_some() => {
            error.context(format!("building {file}:{line}"))
        }
        Some(Position { file, line, .. }) => error.context(format!("building {file}:{line}: {}", brief(&step.text))),
        None => error.context(format!("building {:?}", brief(&step.text))),
    }
}

fn layers_of(image: &Image) -> Vec<Digest> {
    image.layers.iter().map(|layer| layer.chain_id.clone()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Solver<'_> {
    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }

    /// Waits for the end of so many stages, and ends commands when the user asks for it.
    fn watch(&self, stages: usize) {
        let mut board = self.board();
        while board.ended < stages {
            if self.engine.interrupt.load(Ordering::Relaxed) {
                self.halt(&board);
            }
            board = self.changed.wait_timeout(board, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn fail(&self, error: Error) {
        let mut board = self.board();
        // What comes after the first failure comes of it.
        board.failed.get_or_insert(error);
        self.halt(&board);
        self.changed.notify_all();
    }

    /// Ends all commands.
    fn halt(&self, board: &Board) {
        self.stop.store(true, Ordering::Relaxed);
        board.halts.iter().for_each(|halt| halt.store(true, Ordering::Relaxed));
    }

    fn check(&self) -> Result<()> {
        self.engine.check_interrupt()?;
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::timeout("the build took too long"));
        }
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Error::interrupted("another stage failed")),
            false => Ok(()),
        }
    }

    fn stage_to_end(&self, index: usize) {
        let mut built = self.stage(index);
        // What is gone is not recalled again.
        while self.board().removed.remove(&index) {
            self.board().steps.retain(|step| step.stage != index);
            built = self.stage(index);
        }
        match built {
            Ok(state) => {
                self.board().stages.insert(index, Arc::new(state));
                self.changed.notify_all();
            }
            Err(error) => self.fail(error),
        }
    }

    /// What another stage came to; waits for it.
    fn wait(&self, index: usize) -> Result<Arc<State>> {
        let mut board = self.board();
        loop {
            if let Some(state) = board.stages.get(&index) {
                return Ok(Arc::clone(state));
            }
            if board.failed.is_some() {
                return Err(Error::interrupted("another stage failed"));
            }
            board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn stage(&self, index: usize) -> Result<State> {
        let stage = &self.graph.stages[index];
        let mut state = match &stage.base {
            Base::Scratch => State::scratch(self.options.epoch),
            Base::Image(name) => {
                let image = self.image_on_record(name).map_err(|error| match &stage.position {
                    Some(Position { file, line, .. }) => error.context(format!("building {file}:{line}: FROM {name}")),
                    None => error,
                })?;
                self.board().recalled.insert(index, layers_of(&image));
                State::of_image(&image, self.options.epoch)
            }
            Base::Stage(base) => self.wait(*base)?.as_base(),
        };
        let own = format!("{}/{}", state.os, state.architecture);
        if let Some(platform) = &stage.platform
            && *platform != own
            && !platform.starts_with(&format!("{own}/"))
        {
            let error = Error::unsupported(format!("the stage asks for {platform:?}, and its base is {own}"))
                .with_hint("leave --platform out, or name a base of that platform and build on such a machine");
            return Err(match &stage.position {
                Some(Position { file, line, .. }) => error.context(format!("building {file}:{line}")),
                None => error,
            });
        }
        let mut cached = true;
        for (step_index, step) in stage.steps.iter().enumerate() {
            self.check()?;
            let at = At { stage: index, index: step_index, step };
            let done = self.step(at, &mut state, &mut cached);
            self.log.ended((index, step_index), done.is_ok());
            // What only ended since another stage failed is no failure of its own.
            if done.as_ref().is_err_and(|error| error.kind() != Kind::Interrupted || self.board().failed.is_none()) {
                (self.progress)(&BuildEvent::Failed { stage: index, step: step_index });
            }
            // Of a group the step in it that failed is named.
            done.map_err(|error| if matches!(step.action, Action::Layer(_)) { error } else { placed(error, step) })?;
        }
        // What becomes of the target decides whether it is to be kept: most often it is there already.
        let needs_more = self.debug.shell.is_some() || !self.options.cache_to.is_empty();
        if index != self.graph.target || needs_more {
            self.keep_recalled(index)?;
        }
        Ok(state)
    }

    /// Keeps the layers that a stage has recalled, before anything is built on them.
    fn keep_recalled(&self, stage: usize) -> Result<()> {
        let recalled = self.board().recalled.remove(&stage).unwrap_or_default();
        if self.engine.keep(&recalled)? {
            return Ok(());
        }
        self.board().removed.insert(stage);
        Err(Error::conflict("a cached layer was removed meanwhile"))
    }

    fn image(&self, name: &str) -> Result<Image> {
        let image = self.image_on_record(name)?;
        match self.engine.store.layers_adopt(&layers_of(&image))? {
            true => Ok(image),
            false => Err(Error::conflict(format!("the image {name} was removed meanwhile"))),
        }
    }

    /// An image, from its registry where that is wanted; each is looked for there once in a build. Nothing keeps its layers
    /// yet.
    fn image_on_record(&self, name: &str) -> Result<Image> {
        // Two stages that want one image fetch it once.
        let own = Arc::clone(lock(&self.fetched).entry(name.to_owned()).or_default());
        let mut known = lock(&own);
        let pull = self.options.pull.unwrap_or(self.engine.pull);
        let again = if *known && pull == Pull::Always { Pull::Missing } else { pull };
        let image = self.engine.image_for(name, again, &|_| {});
        *known = true;
        image.map_err(|error| match error.kind() {
            Kind::NotFound | Kind::Unavailable if error.hint().is_none() => {
                error.with_hint("load it, or make it: rhumb load, rhumb image bootstrap, rhumb image from-host")
            }
            _ => error,
        })
    }

    /// Does what a step says.
    fn act(&self, at: At<'_>, state: &mut State, cached: bool) -> Result<Outcome> {
        Ok(match &at.step.action {
            Action::Config(change) => {
                state.apply(change)?;
                match change.as_ref() {
                    Change::Workdir(_) => self.workdir(at, state)?,
                    _ => {
                        let why = if cached { "" } else { "a step before it was done" };
                        Outcome { cached, why: why.to_owned(), ..Outcome::default() }
                    }
                }
            }
            Action::Run(run) => self.run_step(at, run, state)?,
            Action::Copy(copy) => self.copy_step(at, copy, state)?,
            Action::Layer(steps) => self.group(at, steps, state, cached)?,
        })
    }

    fn step(&self, at: At<'_>, state: &mut State, cached: &mut bool) -> Result<()> {
        let begun = Instant::now();
        let text = at.step.text.as_str();
        let outcome = self.act(at, state, *cached)?;
        if state.layers.len() > MAX_LAYERS {
            return Err(Error::unsupported(format!("the image would have more than {MAX_LAYERS} layers")));
        }
        state.note(text, !outcome.changed);
        *cached &= outcome.cached;
        let report = StepReport {
            stage: at.stage,
            step: at.index,
            text: text.to_owned(),
            position: at.step.position.clone(),
            cached: outcome.cached,
            key: outcome.key.clone(),
            layer: state.layers.last().filter(|_| outcome.changed).cloned(),
            why: outcome.why,
            begun: begun.duration_since(self.begun),
            elapsed: begun.elapsed(),
        };
        (self.progress)(&BuildEvent::Finished(&report));
        self.board().steps.push(report);
        Ok(())
    }

    fn inputs(&self, kind: &str, state: &State) -> Inputs {
        let mut inputs = Inputs::default();
        inputs.add("the kind of step", kind);
        let below = state.layers.last().map_or("nothing", |layer| layer.chain_id.as_str());
        inputs.add(key::BELOW, below);
        inputs
    }

    fn workdir(&self, at: At<'_>, state: &mut State) -> Result<Outcome> {
        let path = state.config.working_dir.clone();
        let mut inputs = self.inputs("workdir", state);
        inputs.add("the path", &path);
        inputs.add("the user", &state.config.user);
        inputs.add(key::EPOCH, state.epoch.as_secs().to_string());
        self.keyed(at, &inputs, state, |state| {
            let view = self.engine.build_view(&chain_ids(state))?;
            let planned = copy::plan_folder(&path, state, view.as_ref())?;
            self.layer_of(&planned, state)
        })
    }

    fn copy_step(&self, at: At<'_>, copy: &Copy, state: &mut State) -> Result<Outcome> {
        // What another stage came to has a digest already: its files need not be looked at.
        let quick = self.quick_inputs(copy, state)?;
        if let Some(quick) = &quick
            && let Some(outcome) = self.recall(at, quick, state)?
        {
            return Ok(outcome);
        }
        self.keep_recalled(at.stage)?;
        let view = self.engine.build_view(&chain_ids(state))?;
        let planned = copy::plan(
            copy,
            &Target { state, view: view.as_ref(), unpack: &|archive| self.engine.unpacked(archive) },
            &copy::Sources { tree: &|origin, work| self.with_tree(origin, work), fetch: &|source| self.fetch(source) },
        )?;
        let mut inputs = self.inputs("copy", state);
        let epoch = if state.clamp_copies { state.epoch.as_secs().to_string() } else { String::new() };
        inputs.add(key::EPOCH, epoch);
        for piece in &planned.pieces {
            let shown = walk::quoted_path(&piece.path);
            inputs.add(format!("the file {shown}"), copy::digest_of(piece).as_str());
        }
        let outcome = self.keyed(at, &inputs, state, |state| self.layer_of(&planned, state))?;
        if let Some(quick) = &quick {
            // What is noted must be there.
            self.keep_recalled(at.stage)?;
            self.remember(at, state.layers.last().filter(|_| outcome.changed), quick, outcome.key.as_ref())?;
        }
        Ok(outcome)
    }

    fn quick_inputs(&self, copy: &Copy, state: &State) -> Result<Option<Inputs>> {
        let mut inputs = self.inputs("copy from a stage", state);
        // The number of a stage is no part of what is copied.
        let mut plain = copy.clone();
        for source in &mut plain.sources {
            let Source::Path { from, pattern, .. } = source else {
                if fetch::is_pinned(source) {
                    continue;
                }
                return Ok(None);
            };
            if matches!(from, Origin::Context(_)) {
                return Ok(None);
            }
            let ids: String = self.layers_of(from)?.iter().map(|id| id.to_string()).collect();
            inputs.add(format!("what {pattern:?} is copied from"), ids);
            *from = Origin::Stage(0);
        }
        inputs.add_json("the copy", &plain);
        inputs.add("the working directory", &state.config.working_dir);
        inputs.add(key::EPOCH, format!("{} {}", state.clamp_copies, state.epoch.as_secs()));
        Ok(Some(inputs))
    }

    fn layer_of(&self, planned: &Planned, state: &State) -> Result<Option<Layer>> {
        if planned.pieces.is_empty() {
            return Ok(None);
        }
        let parent = state.layers.last().map(|layer| layer.chain_id.clone());
        let latest = state.clamp_copies.then_some(state.epoch);
        self.engine.layer_of_pieces(&planned.pieces, &planned.roots, parent, latest).map(Some)
    }
}
