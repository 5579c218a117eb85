//! A stage, from its base to its last step: what each step is, and what it comes to.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::copy::{self, Planned, Target};
use super::key::{self, Inputs};
use super::run::chain_ids;
use super::state::State;
use super::turn::{Outcome, brief};
use super::{At, Solver, fetch, layers_of, lock, walk};
use crate::base::{Error, Kind, Result};
use crate::model::build::{Action, Base, BuildEvent, Change, Copy, Origin, Position, Source, Step, StepReport};
use crate::model::image::{Image, Layer, Pull};
use crate::store::image::config::MAX_LAYERS;

/// An error with the step that it is of, and where that is written.
pub(super) fn placed(error: Error, step: &Step) -> Error {
    match &step.position {
        // Its message has the step.
        Some(Position { file, line, .. }) if error.failure().is_some() => {
            error.context(format!("building {file}:{line}"))
        }
        Some(Position { file, line, .. }) => error.context(format!("building {file}:{line}: {}", brief(&step.text))),
        None => error.context(format!("building {:?}", brief(&step.text))),
    }
}

impl Solver<'_> {
    /// Does a stage, and tells the others.
    pub(super) fn stage_to_end(&self, index: usize) {
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
    pub(super) fn wait(&self, index: usize) -> Result<Arc<State>> {
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
    pub(super) fn keep_recalled(&self, stage: usize) -> Result<()> {
        let recalled = self.board().recalled.remove(&stage).unwrap_or_default();
        if self.engine.keep(&recalled)? {
            return Ok(());
        }
        self.board().removed.insert(stage);
        Err(Error::conflict("a cached layer was removed meanwhile"))
    }

    /// An image and its layers, which the lease keeps from now on.
    pub(super) fn image(&self, name: &str) -> Result<Image> {
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
        let image = self.engine.image_for_build(name, again, &|_| {});
        *known = true;
        image.map_err(|error| match error.kind() {
            Kind::NotFound | Kind::Unavailable if error.hint().is_none() => {
                error.with_hint("load it, or make it: rhumb load, rhumb image bootstrap, rhumb image from-host")
            }
            _ => error,
        })
    }

    /// Does what a step says.
    pub(super) fn act(&self, at: At<'_>, state: &mut State, cached: bool) -> Result<Outcome> {
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

    /// What every step depends on.
    pub(super) fn inputs(&self, kind: &str, state: &State) -> Inputs {
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
            &copy::Sources {
                tree: &|origin, work| self.with_tree(origin, work),
                fetch: &|source| self.fetch(source),
                check: &|| self.check(),
            },
        )?;
        let mut inputs = self.inputs("copy", state);
        inputs.add(key::EPOCH, if state.clamp_copies { state.epoch.as_secs().to_string() } else { String::new() });
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
        self.layer_of_pieces(&planned.pieces, &planned.roots, parent, latest).map(Some)
    }
}
