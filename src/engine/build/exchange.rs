//! The cache in a folder: what a build came to is written there, and another machine's builds take from it what they need.
//!
//! ```text
//! rhumb-cache.json            version, and for each key: the step's text, inputs and layer
//! blobs/sha256/<hex>          the layers, as they are in the store
//! ```
//!
//! A step is taken by its key, which holds the digest of all that is below it: nothing that a folder says can stand for
//! another step. Its layer must have the digests that the folder names. Who can write the folder can still say that a step
//! came to something else: one trusts it as one trusts an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::key::Inputs;
use super::state::State;
use super::{At, Solver};
use crate::base::{Context as _, Digest, Error, Result};
use crate::engine::Engine;
use crate::model::build::BuildReport;
use crate::model::image::Layer;
use crate::store::layer::LayerSource;

/// The file that says what is there.
const INDEX: &str = "rhumb-cache.json";
/// The version of that file.
const VERSION: u32 = 1;
/// The largest one that is read.
const MOST_INDEX_BYTES: u64 = 256 << 20;

/// What a folder has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    version: u32,
    steps: BTreeMap<Digest, Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    text: String,
    layer: Option<Layer>,
    inputs: Inputs,
}

/// The index of a folder; none when there is no such folder yet.
pub(super) fn index(folder: &Path) -> Result<Option<Index>> {
    use std::io::Read as _;
    let path = folder.join(INDEX);
    let reading = || format!("reading the cache {path:?}");
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.context(reading)?,
    };
    let mut text = Vec::new();
    file.take(MOST_INDEX_BYTES).read_to_end(&mut text).context(reading)?;
    let index: Index = serde_json::from_slice(&text)
        .map_err(|error| Error::corrupt(crate::base::error::quoted(&error)).context(reading()))?;
    if index.version != VERSION {
        return Err(Error::unsupported(format!("it has the version {}", index.version)).context(reading()));
    }
    Ok(Some(index))
}

fn blob(folder: &Path, digest: &Digest) -> std::path::PathBuf {
    folder.join("blobs/sha256").join(digest.hex())
}

impl Engine {
    /// Writes the steps of a build into a folder, beside those that are there.
    ///
    /// # Errors
    /// What writing gives; `corrupt` and `unsupported` for what is in the folder already.
    pub fn build_cache_export(&self, report: &BuildReport, folder: &Path) -> Result<()> {
        let writing = || format!("writing the cache {folder:?}");
        std::fs::create_dir_all(folder.join("blobs/sha256")).context(writing)?;
        let _lease = self.store.lease()?;
        let mut all = index(folder)?.unwrap_or_default();
        all.version = VERSION;
        for key in &report.keys {
            let Some((text, layer, inputs)) = self.step_kept(key)? else { continue };
            if let Some(layer) = &layer {
                let target = blob(folder, &layer.blob);
                if !target.exists() {
                    let beside = target.with_extension(format!("{}", std::process::id()));
                    let mut out = File::create(&beside).context(writing)?;
                    let copied = std::io::copy(&mut self.store.blob_open(&layer.blob)?, &mut out)
                        .and_then(|_| std::fs::rename(&beside, &target));
                    if copied.is_err() {
                        // What is left of it has another name than any blob.
                        let _ = std::fs::remove_file(&beside);
                    }
                    copied.context(writing)?;
                }
            }
            all.steps.insert(key.clone(), Entry { text, layer, inputs });
        }
        let text = serde_json::to_vec(&all).map_err(|error| Error::failed(error.to_string()))?;
        let beside = folder.join(format!("{INDEX}.{}", std::process::id()));
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, folder.join(INDEX)))
            .inspect_err(|_| drop(std::fs::remove_file(&beside)))
            .context(writing)
    }
}

impl Solver<'_> {
    /// The result of a step, from a folder that has it. From then on it is in this machine's cache.
    pub(super) fn import(&self, at: At<'_>, inputs: &Inputs, state: &State) -> Result<Option<Option<Layer>>> {
        let key = inputs.key();
        let found = self.folders.iter().find_map(|(path, index)| Some((path, index.steps.get(&key)?)));
        let Some((folder, entry)) = found else { return Ok(None) };
        let layer = match &entry.layer {
            None => None,
            Some(layer) => {
                let path = blob(folder, &layer.blob);
                let source = LayerSource {
                    parent: state.layers.last().map(|layer| layer.chain_id.clone()),
                    expect_blob: Some(layer.blob.clone()),
                    expect_diff_id: Some(layer.diff_id.clone()),
                    expect_size_bytes: Some(layer.blob_size_bytes),
                    compress: false,
                };
                let taking = || format!("taking a step from the cache {folder:?}");
                let mut file = File::open(&path).context(taking)?;
                Some(self.engine.store.layer_import(&mut file, &source).context(taking)?)
            }
        };
        self.remember(at, layer.as_ref(), inputs)?;
        Ok(Some(layer))
    }
}
