//! The cache where other machines find it, in a folder or a registry: what a build came to is written there, and another
//! machine's builds take from it what they need.
//!
//! ```text
//! folder      rhumb-cache.json            version, for each key the step's text, inputs and layer, for each id of a
//!                                         command's cache a tar
//!             blobs/sha256/<hex>          the layers, as they are in the store, and the tars
//! registry    a manifest under a tag      its config is the same document, its layers are the blobs
//!             an image                    that carries what it came from (inline.rs), here as well
//! ```
//!
//! A folder gathers what builds write; a tag has what the last one wrote. A step is taken by its key, which holds the digest
//! of all that is below it, and its layer must have the digests that are named. But who can write there can say that a step
//! came to something else, and what was taken once is this machine's: one trusts a cache as one trusts a base image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek as _, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cache::{Recalled, lock_in_turn};
use super::key::Inputs;
use super::state::State;
use super::{At, Solver, inline};
use crate::base::digest::Hashing;
use crate::base::{Context as _, Digest, Error, Id, Kind, Reference, Result};
use crate::engine::Engine;
use crate::engine::image::{each, image_of};
use crate::model::build::{BuildReport, CachePlace, CacheTarget};
use crate::model::image::Layer;
use crate::registry::remote::Remote;
use crate::store::image::MANIFEST_TYPE;
use crate::store::image::manifest::{Platform, READABLE};
use crate::store::layer::{LayerSource, chain_id};
use crate::store::pack::{PackForm, PackOptions, pack};
use crate::store::spread::{Ground, Owner, SpreadOptions, spread};
use crate::sys::lock::Mode;
use crate::sys::path::Dir;

/// The file that says what is there.
const INDEX: &str = "rhumb-cache.json";
/// The folder of the blobs.
const BLOBS: &str = "blobs/sha256";
/// The version of that file.
const VERSION: u32 = 1;
/// The file that is locked while somebody writes.
const LOCK: &str = "rhumb-cache.lock";
/// How the name of a file begins that is not whole yet.
const UNDER_WAY: &str = "rhumb-new-";
/// How long another build may write to a folder.
const PATIENCE: Duration = Duration::from_secs(600);
/// The largest document that is read.
const MOST_INDEX_BYTES: u64 = 256 << 20;
/// The media type of that document in a registry.
const INDEX_TYPE: &str = "application/vnd.rhumb.cache.v1+json";
/// The media type of what a command keeps.
const TAR_TYPE: &str = "application/vnd.rhumb.cache.mount.v1.tar";

/// What is there.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) version: u32,
    pub(super) steps: BTreeMap<Digest, Entry>,
    /// What commands keep, by id: what a new cache of that id begins with.
    #[serde(default)]
    pub(super) caches: BTreeMap<String, Digest>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) text: String,
    pub(super) layer: Option<Layer>,
    pub(super) inputs: Inputs,
    /// See [`super::cache::Done`].
    #[serde(default)]
    pub(super) content: Option<Digest>,
}

/// A place with a cache, and what it has.
pub(super) struct Depot {
    pub(super) place: Place,
    pub(super) index: Index,
}

pub(super) enum Place {
    /// The layers of an image that is here, by its name.
    Here(String),
    Folder(PathBuf),
    /// The sizes of the blobs, as the manifest says them.
    Registry(Remote, BTreeMap<Digest, u64>),
}

impl Depot {
    fn shown(&self) -> String {
        match &self.place {
            Place::Here(name) => name.clone(),
            Place::Folder(folder) => format!("{folder:?}"),
            Place::Registry(remote, _) => format!("{}/{}", remote.host(), remote.repository()),
        }
    }

    /// Reads a blob with a connection of its own, since stages read at one time.
    fn with_blob<T>(&self, digest: &Digest, take: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
        match &self.place {
            Place::Here(name) => Err(Error::corrupt(format!("the image {name} has no blob {digest}"))),
            // What is no file there is not waited for.
            Place::Folder(folder) => take(&mut Dir::open(&folder.join(BLOBS))?.open_file(digest.hex().as_bytes())?),
            Place::Registry(remote, sizes) => {
                let size = sizes.get(digest).ok_or_else(|| Error::corrupt(format!("it has no blob {digest}")))?;
                let remote = remote.again(&Arc::default())?;
                let mut blob = remote.blob(digest, *size)?;
                take(&mut blob).map_err(|error| blob.explain(error))
            }
        }
    }
}

/// The index of a folder; none when there is no such folder yet.
fn index(folder: &Path) -> Result<Option<Index>> {
    let path = folder.join(INDEX);
    let reading = || format!("reading the cache {path:?}");
    let file = match Dir::open(folder).and_then(|dir| dir.open_file(INDEX.as_bytes())) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.context(reading)?,
    };
    let mut text = Vec::new();
    file.take(MOST_INDEX_BYTES).read_to_end(&mut text).context(reading)?;
    parsed(&text).context(reading).map(Some)
}

fn parsed(text: &[u8]) -> Result<Index> {
    let index: Index =
        serde_json::from_slice(text).map_err(|error| Error::corrupt(crate::base::error::quoted(&error)))?;
    if index.version != VERSION {
        return Err(Error::unsupported(format!("it has the version {}", index.version)));
    }
    Ok(index)
}

fn blob(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(BLOBS).join(digest.hex())
}

impl Engine {
    /// What places have, and what could not be had.
    ///
    /// # Errors
    /// As [`Engine::build_cache_open`], but for names.
    pub(super) fn depots(&self, places: &[CachePlace]) -> Result<(Vec<Depot>, Vec<String>)> {
        let (mut depots, mut warnings) = (Vec::new(), Vec::new());
        for place in places {
            // Whoever pulled or built an image wants it used, and perhaps nothing, or a newer one, is at the registry.
            let here = match place {
                CachePlace::Registry(name) => self.build_cache_here(name),
                CachePlace::Folder(_) | CachePlace::Inline => Ok(None),
            };
            let is_here = here.as_ref().is_ok_and(Option::is_some);
            for opened in [here, self.build_cache_open(place)] {
                match opened {
                    Ok(depot) => depots.extend(depot),
                    Err(_) if is_here => {}
                    // One that has no cache yet, or a bad one, or cannot be reached, costs time and nothing else.
                    Err(error) if matches!(place, CachePlace::Registry(_)) && error.kind() != Kind::Interrupted => {
                        warnings.push(error.to_string());
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok((depots, warnings))
    }

    /// What a place has; none when nothing was written there yet.
    pub(super) fn build_cache_open(&self, place: &CachePlace) -> Result<Option<Depot>> {
        match place {
            CachePlace::Inline => Ok(None),
            CachePlace::Folder(folder) => {
                let index = index(folder)?;
                Ok(index.map(|index| Depot { place: Place::Folder(folder.clone()), index }))
            }
            CachePlace::Registry(name) => self.registry_cache(name).context(|| format!("reading the cache {name}")),
        }
    }

    fn registry_cache(&self, name: &str) -> Result<Option<Depot>> {
        #[derive(Deserialize)]
        struct Descriptor {
            #[serde(rename = "mediaType")]
            media_type: String,
            digest: Digest,
            size: u64,
        }
        #[derive(Deserialize)]
        struct Cache {
            config: Descriptor,
            #[serde(default)]
            layers: Vec<Descriptor>,
        }
        let reference = Reference::parse(name)?;
        let remote = self.remote(&reference)?;
        let which = reference.digest().map_or_else(|| reference.tag().unwrap_or("latest"), Digest::as_str);
        let found = match remote.manifest(which, &READABLE) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            found => found?,
        };
        let cache = serde_json::from_slice::<Cache>(&found.bytes);
        let Some(Cache { config, layers }) = cache.ok().filter(|cache| cache.config.media_type == INDEX_TYPE) else {
            // An image, or an index of several.
            let image = image_of(&remote, &found, &Platform::host())?;
            let index = inline::of_image(&image.config, &inline::layers_of(&image))?;
            let index = index.ok_or_else(|| {
                Error::unsupported(format!("{name} is an image that carries no cache"))
                    .with_hint("build it with --cache-to type=inline, or name what --cache-to type=registry wrote")
            })?;
            let sizes = image.layers.into_iter().map(|layer| (layer.digest, layer.size_bytes)).collect();
            return Ok(Some(Depot { place: Place::Registry(remote, sizes), index }));
        };
        if config.size > MOST_INDEX_BYTES {
            return Err(Error::corrupt(format!("its document is larger than {MOST_INDEX_BYTES} bytes")));
        }
        let mut blob = remote.blob(&config.digest, config.size)?;
        let mut text = Vec::new();
        let read = blob.read_to_end(&mut text);
        read.map_err(|error| blob.explain(error))?;
        if Digest::of(&text) != config.digest {
            return Err(Error::corrupt(format!("its document does not have the digest {}", config.digest)));
        }
        let index = parsed(&text)?;
        drop(blob);
        let sizes = layers.into_iter().map(|layer| (layer.digest, layer.size)).collect();
        Ok(Some(Depot { place: Place::Registry(remote, sizes), index }))
    }

    /// Writes the steps of a build where other machines find them.
    ///
    /// # Errors
    /// What writing gives; `corrupt` and `unsupported` for what is in the folder already.
    pub(super) fn build_cache_export(&self, report: &BuildReport, target: &CacheTarget) -> Result<()> {
        match &target.place {
            CachePlace::Folder(folder) => {
                self.folder_export(report, folder, target.mounts).context(|| format!("writing the cache {folder:?}"))
            }
            CachePlace::Registry(name) => {
                self.registry_export(report, name, target.mounts).context(|| format!("writing the cache {name}"))
            }
            // It is written with the image.
            CachePlace::Inline => Ok(()),
        }
    }

    fn folder_export(&self, report: &BuildReport, folder: &Path, mounts: bool) -> Result<()> {
        std::fs::create_dir_all(folder.join(BLOBS))?;
        // Two builds may write at one time: neither loses what the other wrote.
        let begun = Instant::now();
        let patient = || match begun.elapsed() < PATIENCE {
            true => self.check_interrupt(),
            false => Err(Error::timeout("another build writes there, and does not end")),
        };
        let _turn = lock_in_turn(&folder.join(LOCK), Mode::Exclusive, &patient)?;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(UNDER_WAY.as_bytes()) {
                // Whoever made it was killed: it would hold the lock.
                std::fs::remove_file(entry.path())?;
            }
        }
        let _lease = self.store.lease()?;
        let mut all = index(folder)?.unwrap_or_default();
        all.version = VERSION;
        for (key, entry) in self.entries(report)? {
            if let Some(layer) = &entry.layer {
                let target = blob(folder, &layer.blob);
                if !target.exists() {
                    beside(folder, |out| {
                        std::io::copy(&mut self.store.blob_open(&layer.blob)?, out)?;
                        Ok(target)
                    })?;
                }
            }
            all.steps.insert(key, entry);
        }
        let mut old = Vec::new();
        for id in report.caches.iter().filter(|_| mounts) {
            let Some((data, _lock)) = self.cache_kept(id)? else { continue };
            let mut made = None;
            beside(folder, |out| Ok(blob(folder, made.insert(pack_tree(&data, out)?))))?;
            old.extend(made.and_then(|digest| all.caches.insert(id.clone(), digest)));
        }
        let text = serde_json::to_vec(&all).map_err(|error| Error::failed(error.to_string()))?;
        beside(folder, |out| {
            out.write_all(&text)?;
            Ok(folder.join(INDEX))
        })?;
        for gone in old.iter().filter(|digest| !all.caches.values().any(|kept| kept == *digest)) {
            // It is of no use any more, and of no harm either.
            let _ = std::fs::remove_file(blob(folder, gone));
        }
        Ok(())
    }

    fn registry_export(&self, report: &BuildReport, name: &str, mounts: bool) -> Result<()> {
        let reference = Reference::parse(name)?;
        let Some(tag) = reference.tag().filter(|_| reference.digest().is_none()) else {
            return Err(Error::invalid("a cache is written under a tag, and not under a digest"));
        };
        let _lease = self.store.lease()?;
        let remote = self.remote(&reference)?;
        let mut all = Index { version: VERSION, ..Index::default() };
        all.steps.extend(self.entries(report)?);
        let mut layers: BTreeMap<&Digest, &Layer> = BTreeMap::new();
        layers.extend(all.steps.values().filter_map(|entry| entry.layer.as_ref()).map(|layer| (&layer.blob, layer)));
        let layers: Vec<&Layer> = layers.into_values().collect();
        let put = |remote: &Remote, layer: &&Layer| {
            if remote.has_blob(&layer.blob)? {
                return Ok(());
            }
            remote.put_blob(
                &layer.blob,
                layer.blob_size_bytes,
                &|| Ok(Box::new(self.store.blob_open(&layer.blob)?)),
                &|_| {},
            )
        };
        each(&remote, &layers, put)?;
        let mut blobs: Vec<Value> = layers
            .iter()
            .map(|layer| json!({ "mediaType": layer.media_type, "digest": layer.blob, "size": layer.blob_size_bytes }))
            .collect();
        for id in report.caches.iter().filter(|_| mounts) {
            let Some((data, _lock)) = self.cache_kept(id)? else { continue };
            let mut spool = self.store.spool()?;
            let digest = pack_tree(&data, &mut spool)?;
            let size = spool.stream_position()?;
            if !remote.has_blob(&digest)? {
                let file = Arc::new(spool);
                let open = || Ok(Box::new(FromStart { file: Arc::clone(&file), at: 0 }) as Box<dyn Read + Send>);
                remote.put_blob(&digest, size, &open, &|_| {})?;
            }
            blobs.push(json!({ "mediaType": TAR_TYPE, "digest": digest, "size": size }));
            all.caches.insert(id.clone(), digest);
        }
        let text = serde_json::to_vec(&all).map_err(|error| Error::failed(error.to_string()))?;
        let digest = Digest::of(&text);
        self.put_small(&remote, &digest, &text)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": INDEX_TYPE,
            "config": { "mediaType": INDEX_TYPE, "digest": digest, "size": text.len() },
            "layers": blobs,
        });
        remote.put_manifest(tag, MANIFEST_TYPE, manifest.to_string().as_bytes()).map(drop)
    }

    /// What a build found or left in the cache.
    fn entries(&self, report: &BuildReport) -> Result<Vec<(Digest, Entry)>> {
        let mut entries = Vec::with_capacity(report.keys.len());
        for key in &report.keys {
            let Some(entry) = self.step_kept(key)? else { continue };
            // A digest of a short value is as good as the value: whoever takes the step knows what goes into its key.
            entries.push((key.clone(), Entry { inputs: Inputs::default(), ..entry }));
        }
        Ok(entries)
    }
}

/// A file that is read from its beginning, also when somebody else reads it at one time.
struct FromStart {
    file: Arc<File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read_at(out, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

/// Writes what is in a command's cache as a tar; gives its digest.
fn pack_tree(data: &Path, out: &mut File) -> Result<Digest> {
    let mut hashing = Hashing::new(out);
    pack(data, &PackOptions { form: PackForm::Tree, ..PackOptions::default() }, &mut hashing)?;
    Ok(hashing.finish().1)
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
    /// Puts what a depot has of a command's cache into a new one; gives whether it has any.
    pub(super) fn import_cache(&self, id: &str, into: &Path) -> Result<bool> {
        let found = self.depots.iter().find_map(|depot| Some((depot, depot.index.caches.get(id)?)));
        let Some((depot, wanted)) = found else { return Ok(false) };
        let taken = depot.with_blob(wanted, |reader| {
            let mut hashing = Hashing::new(BufReader::new(reader));
            let ground = Dir::open(into)?;
            let how = SpreadOptions { owner: Owner::Archive, ids: None, privileges: true };
            spread(&Ground::Host(&ground), &mut hashing, how)?;
            std::io::copy(&mut hashing, &mut std::io::sink())?;
            let (_, digest, _) = hashing.finish();
            match digest == *wanted {
                true => Ok(()),
                false => Err(Error::corrupt(format!("it has the digest {digest}, and not {wanted}"))),
            }
        });
        taken.context(|| format!("taking the cache {id:?} from {}", depot.shown())).map(|()| true)
    }

    /// The result of a step, from a depot that has it. From then on it is in this machine's cache.
    pub(super) fn import(&self, at: At<'_>, inputs: &Inputs, state: &State) -> Result<Option<Recalled>> {
        let key = inputs.key();
        for (depot, entry) in self.depots.iter().filter_map(|depot| Some((depot, depot.index.steps.get(&key)?))) {
            match self.import_from(depot, entry, state) {
                Ok(Some(layer)) => {
                    self.remember(at, layer.as_ref(), inputs, entry.content.as_ref())?;
                    return Ok(Some(Recalled { layer, stale: false, content: entry.content.clone() }));
                }
                Ok(None) => {}
                // As for the place: what a registry has lost costs time.
                Err(error)
                    if matches!(depot.place, Place::Registry(..))
                        && !matches!(error.kind(), Kind::Interrupted | Kind::NoSpace) =>
                {
                    self.board().warnings.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The layer that a depot has for a step, if any is; none when it has none any more.
    fn import_from(&self, depot: &Depot, entry: &Entry, state: &State) -> Result<Option<Option<Layer>>> {
        let parent = state.layers.last().map(|layer| layer.chain_id.clone());
        Ok(Some(match (&entry.layer, &depot.place) {
            (None, _) => None,
            (Some(layer), Place::Here(_)) => {
                match self.engine.store.layer_whole(&chain_id(parent.as_ref(), &layer.diff_id))? {
                    Some(layer) => Some(layer),
                    // Somebody removed the image meanwhile.
                    None => return Ok(None),
                }
            }
            (Some(layer), _) => {
                let source = LayerSource {
                    parent,
                    expect_blob: Some(layer.blob.clone()),
                    expect_diff_id: Some(layer.diff_id.clone()),
                    expect_size_bytes: Some(layer.blob_size_bytes),
                    compress: false,
                };
                let taken = depot.with_blob(&layer.blob, |reader| self.engine.store.layer_import(reader, &source));
                Some(taken.context(|| format!("taking a step from the cache {}", depot.shown()))?)
            }
        }))
    }
}
