//! A step's turn: it is recalled from the cache, or done by one build alone, and as many at one time as may be.

use std::sync::PoisonError;

use super::cache::Recalled;
use super::key::Inputs;
use super::state::State;
use super::{At, LOOK, Solver, cache};
use crate::base::{Digest, Result, failpoint};
use crate::model::build::{BuildEvent, Position, Step};
use crate::model::image::Layer;

/// The most of a step's text that a message has.
const MOST_TEXT_CHARACTERS: usize = 200;

impl Solver<'_> {
    /// The result of a step that is on record, put on the state.
    pub(super) fn recall(&self, at: At<'_>, inputs: &Inputs, state: &mut State) -> Result<Option<Outcome>> {
        let name = self.graph.stages[at.stage].name.as_ref();
        if self.options.no_cache || name.is_some_and(|name| self.options.no_cache_filter.contains(name)) {
            return Ok(None);
        }
        let key = inputs.key();
        let recalled = match self.engine.step_recall(&key)? {
            Some(recalled) => Some(recalled),
            None => self.import(at, inputs, state)?,
        };
        let Some(Recalled { layer, stale, content }) = recalled else { return Ok(None) };
        let changed = layer.is_some();
        self.log.cached(&at.step.text);
        let mut board = self.board();
        if let Some(layer) = &layer {
            board.recalled.entry(at.stage).or_default().push(layer.chain_id.clone());
        }
        state.layers.extend(layer);
        if stale {
            board.used.insert(key.clone());
        }
        board.keys.insert(key.clone());
        board.keys.extend(content.clone());
        drop(board);
        Ok(Some(Outcome { cached: true, changed, key: Some(content.unwrap_or(key)), why: String::new() }))
    }

    /// A step by its key: recalled, or done by one build alone.
    pub(super) fn keyed(
        &self,
        at: At<'_>,
        inputs: &Inputs,
        state: &mut State,
        work: impl FnOnce(&State) -> Result<Option<Layer>>,
    ) -> Result<Outcome> {
        if let Some(outcome) = self.recall(at, inputs, state)? {
            return Ok(outcome);
        }
        let key = inputs.key();
        let _turn = self.engine.step_lock(&key, &|| self.check())?;
        if let Some(outcome) = self.recall(at, inputs, state)? {
            return Ok(outcome);
        }
        let why = match self.options.no_cache {
            true => "the cache was not to be used".to_owned(),
            false => self.engine.step_why(&at.step.text, self.place(at).as_ref(), inputs)?,
        };
        let _slot = self.slot()?;
        (self.progress)(&BuildEvent::Started { stage: at.stage, step: at.index, text: &at.step.text });
        self.log.began((at.stage, at.index), &at.step.text);
        failpoint::hit("build.step.begin")?;
        self.keep_recalled(at.stage)?;
        let layer = work(state)?;
        failpoint::hit("build.step.layer")?;
        self.remember(at, layer.as_ref(), inputs, None)?;
        let changed = layer.is_some();
        state.layers.extend(layer);
        Ok(Outcome { cached: false, changed, key: Some(key), why })
    }

    /// Waits until fewer steps run than may.
    fn slot(&self) -> Result<Slot<'_, '_>> {
        let processors = || std::thread::available_parallelism().map_or(2, usize::from);
        let most = self.options.jobs.unwrap_or_else(processors).max(1);
        loop {
            self.check()?;
            let mut board = self.board();
            if board.running < most {
                board.running += 1;
                return Ok(Slot(self));
            }
            drop(self.changed.wait_timeout(board, LOOK).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Where a step stands, told from others of its line: a script has several there, in a chain or a loop.
    fn place(&self, at: At<'_>) -> Option<Position> {
        let position = at.step.position.clone()?;
        let here = |step: &&Step| step.position.as_ref().is_some_and(|other| other.line == position.line);
        match self.graph.stages[at.stage].steps.iter().take(at.index).filter(here).count() {
            0 => Some(position),
            number => Some(Position { file: format!("{}#{number}", position.file), ..position }),
        }
    }

    /// Keeps what a step came to; for `content` see [`cache::Done`].
    pub(super) fn remember(
        &self,
        at: At<'_>,
        layer: Option<&Layer>,
        inputs: &Inputs,
        content: Option<&Digest>,
    ) -> Result<()> {
        if self.debug.elsewhere {
            // What comes of it there may be another thing: that is what is looked for.
            return Ok(());
        }
        let (text, position) = (at.step.text.as_str(), self.place(at));
        self.engine.step_remember(&cache::Done { text, position: position.as_ref(), layer, inputs, content })?;
        self.board().keys.insert(inputs.key());
        Ok(())
    }
}

/// The right to run a step now.
struct Slot<'a, 'b>(&'a Solver<'b>);

impl Drop for Slot<'_, '_> {
    fn drop(&mut self) {
        self.0.board().running -= 1;
        self.0.changed.notify_all();
    }
}

/// How a step went.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) cached: bool,
    /// It made a layer.
    pub(super) changed: bool,
    pub(super) key: Option<Digest>,
    pub(super) why: String,
}

/// A step's text in a message: its first line, and not the whole of one that is long. Its place is said beside it.
pub(super) fn brief(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(MOST_TEXT_CHARACTERS).collect();
    if short.len() < text.len() {
        short.push_str(" …");
    }
    short
}
