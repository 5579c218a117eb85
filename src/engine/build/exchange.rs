//! The cache in a folder: what a build came to is written there, and another machine's builds take from it what they need.
//!
//! ```text
//! rhumb-cache.json            version, for each key the step's text, inputs and layer, for each id of a command's cache a tar
//! blobs/sha256/<hex>          the layers, as they are in the store, and the tars
//! ```
//!
//! A step is taken by its key, which holds the digest of all that is below it: nothing that a folder says can stand for
//! another step. Its layer must have the digests that the folder names. Who can write the folder can still say that a step
//! came to something else: one trusts it as one trusts an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::Inputs;
use super::state::State;
use super::{At, Solver};
use crate::base::digest::Hashing;
use crate::base::{Context as _, Digest, Error, Id, Result};
use crate::engine::Engine;
use crate::model::build::{BuildReport, CacheTarget};
use crate::model::image::Layer;
use crate::store::layer::LayerSource;
use crate::store::pack::{PackForm, PackOptions, pack};
use crate::store::spread::{Ground, Owner, SpreadOptions, spread};
use crate::sys::lock::{self, Mode};
use crate::sys::path::Dir;

/// The file that says what is there.
const INDEX: &str = "rhumb-cache.json";
/// The version of that file.
const VERSION: u32 = 1;
/// The file that is locked while somebody writes.
const LOCK: &str = "rhumb-cache.lock";
/// How the name of a file begins that is not whole yet.
const UNDER_WAY: &str = "rhumb-new-";
/// How long another build may write to a folder.
const PATIENCE: Duration = Duration::from_secs(600);
/// The largest one that is read.
const MOST_INDEX_BYTES: u64 = 256 << 20;

/// What a folder has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    version: u32,
    steps: BTreeMap<Digest, Entry>,
    /// What commands keep, by id: what a new cache of that id begins with.
    #[serde(default)]
    caches: BTreeMap<String, Digest>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    text: String,
    layer: Option<Layer>,
    inputs: Inputs,
}

/// The index of a folder; none when there is no such folder yet.
pub(super) fn index(folder: &Path) -> Result<Option<Index>> {
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
    pub(super) fn build_cache_export(&self, report: &BuildReport, target: &CacheTarget) -> Result<()> {
        let CacheTarget { path: folder, mounts } = target;
        let writing = || format!("writing the cache {folder:?}");
        std::fs::create_dir_all(folder.join("blobs/sha256")).context(writing)?;
        // Two builds may write at one time: neither loses what the other wrote.
        let _turn = lock::acquire(&folder.join(LOCK), Mode::Exclusive, PATIENCE).context(writing)?;
        for entry in std::fs::read_dir(folder).context(writing)? {
            let entry = entry.context(writing)?;
            if entry.file_name().as_encoded_bytes().starts_with(UNDER_WAY.as_bytes()) {
                // Whoever made it was killed: it would hold the lock.
                std::fs::remove_file(entry.path()).context(writing)?;
            }
        }
        let _lease = self.store.lease()?;
        let mut all = index(folder)?.unwrap_or_default();
        all.version = VERSION;
        for key in &report.keys {
            let Some((text, layer, inputs)) = self.step_kept(key)? else { continue };
            if let Some(layer) = &layer {
                let target = blob(folder, &layer.blob);
                if !target.exists() {
                    beside(folder, |out| {
                        std::io::copy(&mut self.store.blob_open(&layer.blob)?, out)?;
                        Ok(target)
                    })
                    .context(writing)?;
                }
            }
            all.steps.insert(key.clone(), Entry { text, layer, inputs });
        }
        let mut old = Vec::new();
        for id in report.caches.iter().filter(|_| *mounts) {
            let Some(digest) = self.export_cache(id, folder).context(writing)? else { continue };
            old.extend(all.caches.insert(id.clone(), digest));
        }
        let text = serde_json::to_vec(&all).map_err(|error| Error::failed(error.to_string()))?;
        beside(folder, |out| {
            out.write_all(&text)?;
            Ok(folder.join(INDEX))
        })
        .context(writing)?;
        for gone in old.iter().filter(|digest| !all.caches.values().any(|kept| kept == *digest)) {
            // It is of no use any more, and of no harm either.
            let _ = std::fs::remove_file(blob(folder, gone));
        }
        Ok(())
    }

    /// Writes what is in a command's cache into a folder; gives its digest, or none when there is no such cache.
    fn export_cache(&self, id: &str, folder: &Path) -> Result<Option<Digest>> {
        let Some((data, _lock)) = self.cache_kept(id)? else { return Ok(None) };
        let mut made = None;
        beside(folder, |out| {
            let mut hashing = Hashing::new(out);
            pack(&data, &PackOptions { form: PackForm::Tree, ..PackOptions::default() }, &mut hashing)?;
            let (_, digest, _) = hashing.finish();
            Ok(blob(folder, made.insert(digest)))
        })?;
        Ok(made)
    }
}

/// Writes a file under a name of its own, and gives it the name that comes of that.
fn beside(folder: &Path, write: impl FnOnce(&mut File) -> Result<PathBuf>) -> Result<()> {
    let path = folder.join(format!("{UNDER_WAY}{}", Id::random()?.short()));
    let written = File::create_new(&path).map_err(Error::from).and_then(|mut file| {
        let name = write(&mut file)?;
        file.sync_all()?;
        Ok(std::fs::rename(&path, name)?)
    });
    if written.is_err() {
        // What is left of it has another name than anything that is looked for.
        let _ = std::fs::remove_file(&path);
    }
    written
}

impl Solver<'_> {
    /// Puts what a folder has of a command's cache into a new one; gives whether it has any.
    pub(super) fn import_cache(&self, id: &str, into: &Path) -> Result<bool> {
        let found = self.folders.iter().find_map(|(path, index)| Some((path, index.caches.get(id)?)));
        let Some((folder, wanted)) = found else { return Ok(false) };
        let taking = || format!("taking the cache {id:?} from {folder:?}");
        let file = File::open(blob(folder, wanted)).context(taking)?;
        let mut hashing = Hashing::new(BufReader::new(file));
        let ground = Dir::open(into)?;
        let how = SpreadOptions { owner: Owner::Archive, ids: None, privileges: true };
        spread(&Ground::Host(&ground), &mut hashing, how).context(taking)?;
        std::io::copy(&mut hashing, &mut std::io::sink()).context(taking)?;
        let (_, digest, _) = hashing.finish();
        if digest != *wanted {
            return Err(Error::corrupt(format!("it has the digest {digest}, and not {wanted}")).context(taking()));
        }
        Ok(true)
    }

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
