//! Builds: a graph of steps is solved with what earlier builds did.
//!
//! ```text
//! stage   steps, one after the other
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
mod credentials;
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
mod stage;
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
pub use self::chmod::check as check_mode;
pub use self::context::FetchedContext;
pub use self::shell::{Debug, Enter, Shell};
use self::state::State;
pub use self::state::check as check_change;
use self::walk::Memory;
use crate::base::{Digest, Error, Id, Result, Timestamp, failpoint};
use crate::engine::Engine;
use crate::engine::container::view;
use crate::engine::pipe::{Checked, through};
use crate::model::build::{BuildEvent, BuildOptions, BuildReport, Graph, Step, StepReport};
use crate::model::image::{Image, Layer};
use crate::store::assemble::{Piece, assemble};
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
    /// What went wrong and cost time alone.
    warnings: Vec<String>,
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
        if std::thread::panicking() {
            // Others may wait for it.
            self.0.fail(Error::failed("a thread of the build panicked"));
        }
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
                let report = self.build_cache_bound(solved.report)?;
                return Ok(Solved { report, ..solved });
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
        let (depots, mut warnings) = self.depots(&options.cache_from)?;
        self.build_cache_limit()?;
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
            // The end of one that panicked is told already.
            threads.into_iter().for_each(|thread| drop(thread.join()));
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
        // Who asked for the end behind the last step does not want what comes of it.
        self.check_interrupt()?;
        self.steps_used(&board.used)?;
        let state = board.stages.remove(&graph.target).ok_or_else(|| Error::failed("the target was not built"))?;
        let recalled = board.recalled.remove(&graph.target).unwrap_or_default();
        board.steps.sort_by_key(|step| (step.stage, step.step));
        let keys = board.keys.into_iter().collect();
        let caches = board.caches.into_iter().collect();
        warnings.append(&mut board.warnings);
        let report = BuildReport { id, steps: board.steps, keys, caches, elapsed: begun.elapsed(), warnings };
        for target in &options.cache_to {
            self.build_cache_export(&report, target)?;
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

    fn layer_of_pieces(
        &self,
        pieces: &[Piece],
        roots: &[Dir],
        parent: Option<Digest>,
        latest: Option<Timestamp>,
    ) -> Result<Layer> {
        let source = LayerSource { parent, compress: true, ..LayerSource::default() };
        let ((), layer) = through(
            |stream| assemble(pieces, roots, latest, &mut Checked { stream, check: &|| self.check() }),
            |reader| self.engine.store.layer_import(reader, &source),
        )?;
        Ok(layer)
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
}
