//! What becomes of a build: an image with names, a folder, a tar.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::run::chain_ids;
use super::state::State;
use super::{Debug, Progress, Solved, inline};
use crate::base::{Context as _, Digest, Error, Reference, Result, failpoint};
use crate::engine::Engine;
use crate::engine::image::annotations;
use crate::engine::pipe::through;
use crate::model::build::{BuildOptions, BuildReport, CachePlace, Graph};
use crate::model::image::Image;
use crate::store::archive::beside::Beside;
use crate::store::blob::METADATA_LIMIT_BYTES;
use crate::store::image::config::{self, Parsed};
use crate::store::image::{NewImage, write_manifest};
use crate::store::pack::{PackForm, PackOptions, Top, pack_tops};
use crate::store::spread::{Ground, Owner, SpreadOptions, spread};
use crate::sys::fs::sync;
use crate::sys::path::Dir;

impl Engine {
    /// Builds the target and makes an image of it, with the names of the options.
    ///
    /// # Errors
    /// As [`Engine::build_solve`]; `invalid_argument` for a name.
    pub fn build_commit(
        &self,
        graph: &Graph,
        options: &BuildOptions,
        progress: &Progress<'_>,
    ) -> Result<(Image, BuildReport)> {
        let names = options.tags.iter().map(|tag| Reference::parse(tag)).collect::<Result<Vec<_>>>()?;
        if let Some(name) = names.iter().find(|name| name.digest().is_some()) {
            return Err(Error::invalid(format!("{name} has a digest, which is not ours to give")));
        }
        let _lease = self.store.lease()?;
        let (image, came, report) = loop {
            let Solved { mut state, report, recalled } =
                self.solve_with(graph, options, progress, &Debug::default())?;
            state.config.labels.extend(options.labels.clone());
            let parsed = parsed(&state);
            let mut config = config::write(&parsed);
            if options.cache_to.iter().any(|target| target.place == CachePlace::Inline) {
                config = inline::with_cache(&config, &state.layers, &report)?;
            }
            let annotations = &options.annotations;
            // What an earlier build has said of the same image is not said by this one.
            let is_to_say = !annotations.is_empty() || self.is_annotated(&config)?;
            let manifest = is_to_say
                .then(|| write_manifest(&Digest::of(&config), config.len() as u64, &state.layers, annotations));
            let came: Vec<bool> = state.layers.iter().map(|layer| layer.came).collect();
            let says_so = |image: &Image| manifest.as_ref().is_none_or(|bytes| Digest::of(bytes) == image.manifest);
            if let Some(image) = self.store.image_known(&config, &names)?.filter(says_so) {
                break (image, came, report);
            }
            if !self.keep(&recalled)? {
                // What is gone is made anew.
                continue;
            }
            failpoint::hit("build.commit.prepare")?;
            let image = self.store.image_prepare(&config, &parsed, manifest.as_deref(), state.layers)?;
            failpoint::hit("build.commit.record")?;
            let new = NewImage { image, names: names.clone(), replaces_manifest: manifest.is_some() };
            let mut images = self.store.image_commit(&[new])?;
            break (images.remove(0), came, report);
        };
        // The same image may have been pulled before: what it has above its base is of this build nevertheless.
        let image = self.store.image_came(image, &came)?;
        let report = self.build_cache_bound(report)?;
        // Also one that was there: who made it may have been killed before it came to this.
        self.store.flush()?;
        if report.steps.iter().any(|step| step.key.is_some() && !step.cached) {
            self.store.fold_log();
        }
        for name in &names {
            self.tell_tagged(&image, Some(name));
        }
        Ok((image, report))
    }

    /// Whether the image with this config is here, with annotations that a build gave it.
    fn is_annotated(&self, config: &[u8]) -> Result<bool> {
        let id = Digest::of(config);
        let Some(image) = self.store.image_by_id(&id)? else { return Ok(false) };
        let Ok(bytes) = self.store.blob_read(&image.manifest, METADATA_LIMIT_BYTES) else { return Ok(false) };
        let Ok(annotations) = annotations(&bytes) else { return Ok(false) };
        // One that came from elsewhere stays as it came.
        Ok(!annotations.is_empty() && write_manifest(&id, config.len() as u64, &image.layers, &annotations) == bytes)
    }

    /// Builds the target and writes its files into a folder, which is made when it is missing.
    ///
    /// # Errors
    /// As [`Engine::build_solve`]; what writing gives. What was written before stays.
    pub fn build_output(
        &self,
        graph: &Graph,
        options: &BuildOptions,
        progress: &Progress<'_>,
        dir: &Path,
    ) -> Result<BuildReport> {
        let _lease = self.store.lease()?;
        let Solved { state, report, .. } = self.solve(graph, options, progress)?;
        let doing = || format!("writing the folder {dir:?}");
        std::fs::create_dir_all(dir).context(doing)?;
        let target = Dir::open(dir).context(doing)?;
        let Some(root) = self.build_view(&chain_ids(&state))? else { return Ok(report) };
        let names = root.entries().context(doing)?;
        let tops: Vec<Top<'_>> =
            names.iter().map(|(name, _)| Top { dir: &root, name, alias: name.as_slice() }).collect();
        let pack = PackOptions { form: PackForm::Tree, ..PackOptions::default() };
        let how = SpreadOptions { owner: Owner::Archive, ids: None, privileges: true };
        through(|writer| pack_tops(&tops, &pack, writer), |reader| spread(&Ground::Host(&target), reader, how))
            .context(doing)?;
        Ok(report)
    }

    /// Builds the target and writes its files as a tar, beside its place until it is whole; a pipe or a device is written to.
    ///
    /// # Errors
    /// As [`Engine::build_tar`]. What was there before stays then.
    pub fn build_tar_at(
        &self,
        graph: &Graph,
        options: &BuildOptions,
        progress: &Progress<'_>,
        path: &Path,
    ) -> Result<BuildReport> {
        let there = std::fs::metadata(path).ok();
        if there.as_ref().is_some_and(|facts| facts.is_dir()) {
            return Err(Error::already_exists(format!("{path:?} is a folder")).with_hint("name a file in it"));
        }
        if there.is_some_and(|facts| !facts.is_file()) {
            let mut out = OpenOptions::new().write(true).open(path).context(|| format!("opening {path:?}"))?;
            return self.build_tar(graph, options, progress, &mut out);
        }
        let (beside, mut file) = Beside::file(path)?;
        let report = self.build_tar(graph, options, progress, &mut file)?;
        sync(&file).context(|| format!("flushing {path:?}"))?;
        beside.finish()?;
        Ok(report)
    }

    /// Builds the target and writes its files as a tar.
    ///
    /// # Errors
    /// As [`Engine::build_solve`]; what writing gives.
    pub fn build_tar(
        &self,
        graph: &Graph,
        options: &BuildOptions,
        progress: &Progress<'_>,
        out: &mut dyn Write,
    ) -> Result<BuildReport> {
        let _lease = self.store.lease()?;
        let Solved { state, report, .. } = self.solve(graph, options, progress)?;
        let doing = || "writing the tar";
        let root = self.build_view(&chain_ids(&state))?;
        let names = root.as_ref().map(Dir::entries).transpose().context(doing)?.unwrap_or_default();
        let mut tops: Vec<Top<'_>> = root
            .iter()
            .flat_map(|dir| names.iter().map(move |(name, _)| Top { dir, name, alias: name.as_slice() }))
            .collect();
        tops.sort_by_key(|top| top.name);
        let pack = PackOptions { form: PackForm::Tree, latest: options.epoch, ..PackOptions::default() };
        pack_tops(&tops, &pack, out).context(doing)?;
        Ok(report)
    }
}

fn parsed(state: &State) -> Parsed {
    Parsed {
        created: Some(state.epoch),
        author: state.author.clone(),
        architecture: state.architecture.clone(),
        os: state.os.clone(),
        variant: state.variant.clone(),
        config: state.config.clone(),
        diff_ids: state.layers.iter().map(|layer| layer.diff_id.clone()).collect(),
        history: state.history.clone(),
    }
}
