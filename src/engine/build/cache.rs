//! The cache: what steps came to, on record, by key.
//!
//! ```text
//! record (Noun::Step, id = key)   names = where it stands, what it says   uses = its layer
//! ```
//!
//! A record is written when the layer is in the store, in one transaction with its use of it: a build that is killed
//! leaves the steps that it finished. Two builds that come to one key at one time do it once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::exchange::Entry;
use super::key::Inputs;
use crate::base::{Context as _, Digest, Result, Timestamp, failpoint, units};
use crate::engine::Engine;
use crate::engine::container::disk_usage;
use crate::model::build::{BuildReport, CachedStep, Position};
use crate::model::image::Layer;
use crate::model::system::{Cached, PruneReport};
use crate::store::db::{Noun, Phase};
use crate::sys::lock::{self, Lock, Mode};
use crate::sys::path::remove_tree;

/// How often one looks whether somebody else is done.
pub(super) const PAUSE: Duration = Duration::from_millis(20);
/// What a record takes besides its text and its inputs.
const RECORD_BYTES: u64 = 1000;
/// A use is not written down more often.
const USE_S: u64 = 60;

/// What is kept of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    text: String,
    layer: Option<Layer>,
    created: Timestamp,
    used: Timestamp,
    inputs: Inputs,
    /// See [`Done::content`].
    #[serde(default)]
    content: Option<Digest>,
}

/// As much of a [`Record`] as is read when a step is recalled.
#[derive(Deserialize)]
struct Came {
    layer: Option<Layer>,
    used: Timestamp,
    #[serde(default)]
    content: Option<Digest>,
}

/// What a step came to. Nothing keeps it yet.
pub(super) struct Recalled {
    /// None of a step that changed nothing.
    pub(super) layer: Option<Layer>,
    /// That it was of use is to be noted again.
    pub(super) stale: bool,
    /// See [`Done::content`].
    pub(super) content: Option<Digest>,
}

/// A step that is to be kept.
pub(super) struct Done<'a> {
    pub(super) text: &'a str,
    pub(super) position: Option<&'a Position>,
    pub(super) layer: Option<&'a Layer>,
    pub(super) inputs: &'a Inputs,
    /// The key of the same step by the content of what it takes from other stages, when `inputs` has only which stages
    /// these are: another machine may have come to the same files in another way.
    pub(super) content: Option<&'a Digest>,
}

/// Which steps go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CachePrune {
    /// Those that were not of use for so long.
    pub unused_for: Option<Duration>,
    /// Those that are of no use for the longest time, until the rest is no larger.
    pub keep_bytes: Option<u64>,
    /// Caches of commands go, too.
    pub mounts: bool,
    /// Only those that free something: they have a layer, and no image has it. With `keep_bytes`, what an image has costs
    /// nothing but its record.
    pub unshared: bool,
}

impl Engine {
    /// The steps whose results are kept, the oldest first.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn build_cache_list(&self) -> Result<Vec<CachedStep>> {
        Ok(self.steps_on_record()?.into_iter().map(|(step, _)| step).collect())
    }

    /// As [`Engine::build_cache_list`], each with how much its record takes itself, about.
    fn steps_on_record(&self) -> Result<Vec<(CachedStep, u64)>> {
        let rows = self.store.read(|tx| tx.list::<Record>(Noun::Step))?;
        let step = |row: crate::store::db::Row<Record>| {
            let Record { text, layer, created, used, inputs, .. } = row.body;
            let record_bytes = RECORD_BYTES + text.len() as u64 + inputs.size_bytes();
            Ok((CachedStep { key: Digest::parse(&row.id)?, text, layer, created, used }, record_bytes))
        };
        rows.into_iter().map(step).collect()
    }

    /// The most bytes that builds keep.
    ///
    /// # Errors
    /// `invalid_argument` for what is no size.
    pub(super) fn build_cache_limit(&self) -> Result<Option<u64>> {
        let limit = self.build_cache.as_deref().map(units::parse_bytes).transpose();
        limit.context(|| "reading how much builds may keep (RHUMB_BUILD_CACHE)")
    }

    /// Forgets what is beyond the limit, after a build that did something; a failure of that is a warning.
    pub(super) fn build_cache_bound(&self, mut report: BuildReport) -> Result<BuildReport> {
        let Some(limit) = self.build_cache_limit()? else { return Ok(report) };
        if report.steps.iter().all(|step| step.cached) {
            return Ok(report);
        }
        let what = CachePrune { keep_bytes: Some(limit), unshared: true, ..CachePrune::default() };
        if let Err(error) = self.build_cache_prune(&what) {
            report.warnings.push(error.context("pruning what builds keep").to_string());
        }
        Ok(report)
    }

    /// What builds keep, the oldest step first; and the bytes that are free when all of it goes: layers that several steps
    /// share count once, those of images not at all.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn build_cache_usage(&self) -> Result<(Vec<Cached>, u64)> {
        let of_images = self.layers_of_images()?;
        let (mut seen, mut free_bytes) = (of_images.clone(), 0);
        let forms = self.store.forms_bytes()?;
        let mut all = Vec::new();
        for step in self.build_cache_list()? {
            let new = step.layer.as_ref().filter(|layer| seen.insert(layer.chain_id.clone()));
            free_bytes += new.map_or(0, |layer| bytes_of(layer, &forms));
            all.push(Cached {
                id: step.key.to_string(),
                is_mount: false,
                text: step.text,
                size_bytes: step.layer.as_ref().map_or(0, |layer| layer.size_bytes),
                created: Some(step.created),
                used: Some(step.used),
                is_shared: step.layer.is_none_or(|layer| of_images.contains(&layer.chain_id)),
            });
        }
        let mounts = self.cache_mounts()?;
        free_bytes += mounts.iter().map(|mount| mount.size_bytes).sum::<u64>();
        all.extend(mounts);
        Ok((all, free_bytes))
    }

    fn layers_of_images(&self) -> Result<BTreeSet<Digest>> {
        let images = self.store.images()?;
        Ok(images.into_iter().flat_map(|image| image.layers).map(|layer| layer.chain_id).collect())
    }

    /// Forgets steps; without a condition all of them.
    ///
    /// # Errors
    /// The first failure.
    pub fn build_cache_prune(&self, what: &CachePrune) -> Result<PruneReport> {
        let mut steps = self.steps_on_record()?;
        steps.sort_by_key(|(step, _)| step.used);
        let of_images = if what.unshared { self.layers_of_images()? } else { BTreeSet::new() };
        let frees = |step: &CachedStep| step.layer.as_ref().is_some_and(|layer| !of_images.contains(&layer.chain_id));
        let is_old = |step: &CachedStep| match what.unused_for {
            Some(time) => step.used.elapsed() >= time,
            None => what.keep_bytes.is_none(),
        };
        let goes = |(step, _): &(CachedStep, u64)| is_old(step) && (!what.unshared || frees(step));
        let (mut gone, mut kept): (Vec<_>, Vec<_>) = steps.into_iter().partition(goes);
        if let Some(limit) = what.keep_bytes {
            let first = kept.len() - fitting(&kept, &of_images, &self.store.forms_bytes()?, limit);
            gone.extend(kept.drain(..first));
        }
        let gone: Vec<CachedStep> = gone.into_iter().map(|(step, _)| step).collect();
        failpoint::hit("build.prune.records")?;
        self.store.write(|tx| gone.iter().try_for_each(|step| tx.delete(Noun::Step, step.key.as_str()).map(drop)))?;
        let mut freed_bytes = self.store.sweep()?.freed_bytes;
        let mut items: Vec<String> = gone.into_iter().map(|step| step.key.to_string()).collect();
        if what.mounts {
            for mount in self.prune_cache_mounts()? {
                freed_bytes += mount.size_bytes;
                items.push(mount.id);
            }
        }
        if what.unused_for.is_none() && what.keep_bytes.is_none() {
            // What is known of contexts is built up again.
            let contexts = self.paths().builds().join("contexts");
            freed_bytes += disk_usage(&contexts);
            remove_tree(&contexts)?;
        }
        Ok(PruneReport { items, freed_bytes, ..PruneReport::default() })
    }

    /// What a step came to, when that is known.
    pub(super) fn step_recall(&self, key: &Digest) -> Result<Option<Recalled>> {
        self.store.read(|tx| {
            let Some(result) = tx.body::<Came>(Noun::Step, key.as_str())? else { return Ok(None) };
            let stale = result.used.elapsed().as_secs() >= USE_S;
            let content = result.content;
            let Some(layer) = result.layer else { return Ok(Some(Recalled { layer: None, stale, content })) };
            // A layer that was lost is made anew.
            let found = self.store.layer_in(tx, &layer.chain_id)?;
            Ok(found.map(|layer| Recalled { layer: Some(layer), stale, content }))
        })
    }

    /// What a step says, came to and depended on, for other machines.
    pub(super) fn step_kept(&self, key: &Digest) -> Result<Option<Entry>> {
        let record = self.store.read(|tx| tx.body::<Record>(Noun::Step, key.as_str()))?;
        Ok(record.map(|Record { text, layer, inputs, content, .. }| Entry { text, layer, inputs, content }))
    }

    /// Keeps what a step came to.
    pub(super) fn step_remember(&self, done: &Done<'_>) -> Result<()> {
        failpoint::hit("build.step.record")?;
        let key = done.inputs.key();
        let now = Timestamp::now();
        let record = Record {
            text: done.text.to_owned(),
            layer: done.layer.cloned(),
            created: now,
            used: now,
            inputs: done.inputs.kept(),
            content: done.content.cloned(),
        };
        self.store.write(|tx| {
            tx.delete(Noun::Step, key.as_str())?;
            tx.insert(Noun::Step, key.as_str(), Phase::Ready, &record)?;
            for name in names(done.text, done.position) {
                tx.unname(Noun::Step, &name)?;
                tx.name(Noun::Step, &name, key.as_str())?;
            }
            match done.layer {
                Some(layer) => tx.add_use((Noun::Step, key.as_str()), (Noun::Layer, layer.chain_id.as_str())),
                None => Ok(()),
            }
        })
    }

    /// Notes that steps were of use.
    pub(super) fn steps_used(&self, keys: &BTreeSet<Digest>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        self.store.write(|tx| {
            for key in keys {
                if let Some(record) = tx.body::<Record>(Noun::Step, key.as_str())? {
                    tx.update(Noun::Step, key.as_str(), &Record { used: Timestamp::now(), ..record })?;
                }
            }
            Ok(())
        })
    }

    /// Why a step is not cached: what changed since one that says the same, or that stood in its place.
    pub(super) fn step_why(&self, text: &str, position: Option<&Position>, inputs: &Inputs) -> Result<String> {
        let before = self.store.read(|tx| {
            for name in names(text, position) {
                if let Some(id) = tx.named(Noun::Step, &name)?
                    && let Some(record) = tx.body::<Record>(Noun::Step, &id)?
                    && record.inputs.is_alike(inputs)
                {
                    return Ok(Some(record.inputs));
                }
            }
            Ok(None)
        })?;
        Ok(match before {
            None => "it was never done before".to_owned(),
            Some(before) => inputs.first_change(&before).unwrap_or_else(|| "its result is gone".to_owned()),
        })
    }

    /// Waits for the right to do the step with this key.
    pub(super) fn step_lock(&self, key: &Digest, check: &dyn Fn() -> Result<()>) -> Result<Lock> {
        let path = self.paths().locks().join(format!("step-{}", &key.hex()[..32]));
        Ok(lock_in_turn(&path, Mode::Exclusive, check)?.remove_on_drop())
    }
}

/// How many of the last steps take no more than `limit` together: each its record, and a layer that nothing else has.
fn fitting(
    steps: &[(CachedStep, u64)],
    of_images: &BTreeSet<Digest>,
    forms: &BTreeMap<Digest, u64>,
    limit: u64,
) -> usize {
    let (mut seen, mut total) = (BTreeSet::new(), 0);
    for (count, (step, record_bytes)) in steps.iter().rev().enumerate() {
        let new = step.layer.as_ref().filter(|layer| seen.insert(&layer.chain_id));
        let own = new.filter(|layer| !of_images.contains(&layer.chain_id));
        total += record_bytes + own.map_or(0, |layer| bytes_of(layer, forms));
        if total > limit {
            return count;
        }
    }
    steps.len()
}

/// What a layer takes: its files, its blob, and its further forms.
fn bytes_of(layer: &Layer, forms: &BTreeMap<Digest, u64>) -> u64 {
    layer.size_bytes + layer.blob_size_bytes + forms.get(&layer.chain_id).copied().unwrap_or(0)
}

/// Locks a file, however long somebody else has it; `check` ends the wait.
pub(super) fn lock_in_turn(path: &Path, mode: Mode, check: &dyn Fn() -> Result<()>) -> Result<Lock> {
    loop {
        if let Some(lock) = lock::try_acquire(path, mode)? {
            return Ok(lock);
        }
        check()?;
        std::thread::sleep(PAUSE);
    }
}

/// Under which names a step is found again: what it says, and where it stands.
fn names(text: &str, position: Option<&Position>) -> Vec<String> {
    let at = position.map(|position| format!("at {}:{}", position.file, position.line));
    [format!("text {}", Digest::of(text.as_bytes()))].into_iter().chain(at).collect()
}
