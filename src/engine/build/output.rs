//! What becomes of a build: an image with names, a folder; and its log.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::run::chain_ids;
use super::state::State;
use super::{Progress, Solved};
use crate::base::{Context as _, Error, Reference, Result, failpoint};
use crate::engine::Engine;
use crate::engine::pipe::through;
use crate::model::build::{BuildOptions, BuildReport, Graph};
use crate::model::image::Image;
use crate::store::image::NewImage;
use crate::store::image::config::{self, Parsed};
use crate::store::pack::{PackForm, PackOptions, Top, pack_tops};
use crate::store::spread::{Ground, Owner, SpreadOptions, spread};
use crate::sys::path::Dir;

/// How many logs are kept.
const MOST_LOGS: usize = 100;

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
        let Solved { mut state, report } = self.solve(graph, options, progress)?;
        state.config.labels.extend(options.labels.clone());
        let parsed = parsed(&state);
        failpoint::hit("build.commit.prepare")?;
        let image = self.store.image_prepare(&config::write(&parsed), &parsed, None, state.layers)?;
        failpoint::hit("build.commit.record")?;
        let mut images = self.store.image_commit(&[NewImage { image, names: names.clone() }])?;
        self.store.flush()?;
        let image = images.remove(0);
        for name in &names {
            self.tell_tagged(&image, Some(name));
        }
        Ok((image, report))
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
        let Solved { state, report } = self.solve(graph, options, progress)?;
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

    /// What the steps of a build wrote: by its identity, or of the last one.
    ///
    /// # Errors
    /// `not_found`.
    pub fn build_log(&self, id: Option<&str>) -> Result<Vec<u8>> {
        let logs = self.build_logs()?;
        let found = match id {
            None => logs.last(),
            Some(id) => logs.iter().find(|log| !id.is_empty() && log.starts_with(id)),
        };
        let Some(name) = found else {
            return Err(match id {
                Some(id) => Error::not_found(format!("there is no log of a build {id:?}")),
                None => Error::not_found("nothing was built yet"),
            });
        };
        let path = self.paths().builds().join("logs").join(name);
        std::fs::read(&path).context(|| format!("reading {path:?}"))
    }

    /// The identities of builds whose logs are kept, the oldest first.
    ///
    /// # Errors
    /// What reading gives.
    pub fn build_logs(&self) -> Result<Vec<String>> {
        let Ok(entries) = std::fs::read_dir(self.paths().builds().join("logs")) else { return Ok(Vec::new()) };
        let mut logs = Vec::new();
        for entry in entries {
            let entry = entry?;
            let time = entry.metadata()?.modified()?;
            logs.push((time, entry.file_name().to_string_lossy().into_owned()));
        }
        logs.sort();
        Ok(logs.into_iter().map(|(_, name)| name).collect())
    }

    /// A new log; the oldest goes when there are many. None when it cannot be made, which stops no build.
    pub(super) fn build_log_create(&self, id: &str) -> Option<File> {
        let folder = self.paths().builds().join("logs");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
        let logs = self.build_logs().unwrap_or_default();
        for old in logs.iter().take(logs.len().saturating_sub(MOST_LOGS - 1)) {
            let _ = std::fs::remove_file(folder.join(old));
        }
        File::create(folder.join(id)).ok()
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
