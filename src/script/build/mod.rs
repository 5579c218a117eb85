//! The noun `build` in scripts: recipes that record steps, and what becomes of them.
//!
//! ```text
//! dockerfile.rs  a Dockerfile as a recipe
//! mod.rs         the handle: a shared recipe, and how recipes that use each other become one graph
//! steps.rs       words and options of steps to data (`run`, `copy`, mounts)
//! services.rs    containers beside a step
//! given.rs       what the command line says of all builds
//! functions.rs   what scripts call; results.rs what becomes of a build
//! ```
//!
//! A `Build` is shared: a copy of it is the same recipe. What another recipe uses of it (`from`) is what it was at that
//! moment.

mod dockerfile;
pub(crate) mod functions;
mod given;
pub(crate) mod results;
mod services;
mod steps;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::{Error, Result};
use crate::docker::dockerfile::{IGNORE_FILE, ignore_lines};
use crate::engine::Engine;
use crate::engine::build::FetchedContext;
use crate::model::build::{
    Action, Base, BuildReport, Context, Copy, Credentials, Graph, MountKind, Origin, Source, Stage, Step,
};
use crate::script::context::Host;

pub(crate) use given::unnamed;
pub use given::{Builds, Show};

/// A recipe that may grow.
#[derive(Clone)]
pub(crate) struct Build {
    pub(crate) engine: Engine,
    recipe: Arc<Mutex<Recipe>>,
}

/// Steps on a base. [`Origin::Stage`] and [`Base::Stage`] are numbers in `parents`.
#[derive(Clone, Default)]
struct Recipe {
    base: Base,
    steps: Vec<Step>,
    parents: Vec<Arc<Recipe>>,
    /// Folders that files are taken from; the first one is the build context.
    contexts: Vec<Context>,
    /// The contexts are whole: their ignore files have been read.
    whole: bool,
    name: Option<String>,
    platform: Option<String>,
    credentials: Credentials,
    report: Option<BuildReport>,
    /// Keeps contexts that were fetched.
    _held: Vec<Arc<FetchedContext>>,
}

impl Build {
    fn new(engine: Engine, recipe: Recipe) -> Build {
        Build { engine, recipe: Arc::new(Mutex::new(recipe)) }
    }

    fn recipe(&self) -> MutexGuard<'_, Recipe> {
        self.recipe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is now, for another one to use.
    fn frozen(&self) -> Arc<Recipe> {
        Arc::new(Recipe { report: None, ..self.recipe().clone() })
    }

    /// A build of its own that goes on from here.
    fn aside(&self) -> Build {
        Build::new(self.engine.clone(), Recipe { report: None, ..self.recipe().clone() })
    }

    /// What its last step, which captures it, writes.
    fn captured(&self, host: &Host) -> Result<String> {
        let (graph, credentials) = self.graph()?;
        let options = given::options(host, credentials);
        let (output, _) = given::shown(host, &graph, |hears| self.engine.build_capture(&graph, &options, hears))?;
        let text = String::from_utf8(output).map_err(|_| Error::invalid("what the command wrote is no text"))?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// Its text: how many steps.
    pub(crate) fn shown(&self) -> String {
        let steps = self.recipe().steps.len();
        format!("Build({steps} step{})", if steps == 1 { "" } else { "s" })
    }

    /// The graph of it and of all that it uses, and what they were given.
    fn graph(&self) -> Result<(Graph, Credentials)> {
        let recipe = self.frozen();
        let mut flat = Flat::default();
        let target = flat.stage(&recipe)?;
        Ok((Graph { target, ..flat.graph }, flat.credentials))
    }
}

/// Recipes in the order in which they need each other.
#[derive(Default)]
struct Flat {
    graph: Graph,
    known: Vec<(Arc<Recipe>, usize)>,
    credentials: Credentials,
}

impl Flat {
    fn stage(&mut self, recipe: &Arc<Recipe>) -> Result<usize> {
        if let Some((_, index)) = self.known.iter().find(|(known, _)| Arc::ptr_eq(known, recipe)) {
            return Ok(*index);
        }
        let parents = recipe.parents.iter().map(|parent| self.stage(parent)).collect::<Result<Vec<_>>>()?;
        let contexts = recipe.contexts.iter().map(|context| self.context(context, recipe.whole));
        let contexts = contexts.collect::<Result<Vec<_>>>()?;
        let base = match &recipe.base {
            Base::Stage(parent) => Base::Stage(parents[*parent]),
            other => other.clone(),
        };
        let mut steps = recipe.steps.clone();
        steps.iter_mut().for_each(|step| renumber(step, &parents, &contexts));
        self.graph.stages.push(Stage {
            base,
            steps,
            name: recipe.name.clone(),
            platform: recipe.platform.clone(),
            ..Stage::default()
        });
        for (id, value) in &recipe.credentials.secrets {
            steps::put_secret(&mut self.credentials.secrets, id, value.clone())?;
        }
        self.credentials.ssh.extend(recipe.credentials.ssh.clone());
        let index = self.graph.stages.len() - 1;
        self.known.push((Arc::clone(recipe), index));
        Ok(index)
    }

    fn context(&mut self, context: &Context, whole: bool) -> Result<usize> {
        let ignore = match whole {
            true => context.ignore.clone(),
            false => ignore_lines(&context.path.join(IGNORE_FILE))?,
        };
        let context = Context { ignore, ..context.clone() };
        if let Some(index) = self.graph.contexts.iter().position(|known| *known == context) {
            return Ok(index);
        }
        self.graph.contexts.push(context);
        Ok(self.graph.contexts.len() - 1)
    }
}

fn renumber(step: &mut Step, parents: &[usize], contexts: &[usize]) {
    let change = |origin: &mut Origin| match origin {
        Origin::Stage(index) => *index = parents[*index],
        Origin::Context(index) => *index = contexts.get(*index).copied().unwrap_or(usize::MAX),
        Origin::Image(_) => {}
    };
    match &mut step.action {
        Action::Run(run) => {
            run.mounts.iter_mut().for_each(|mount| match &mut mount.kind {
                MountKind::Bind { from, .. } => change(from),
                MountKind::Cache(cache) => cache.from.iter_mut().for_each(change),
                _ => {}
            });
            run.services.iter_mut().for_each(|service| change(&mut service.image));
        }
        Action::Copy(copy) => {
            let Copy { sources, .. } = copy.as_mut();
            sources.iter_mut().for_each(|source| {
                if let Source::Path { from, .. } = source {
                    change(from);
                }
            });
        }
        Action::Config(_) => {}
        Action::Layer(steps) => steps.iter_mut().for_each(|step| renumber(step, parents, contexts)),
    }
}
