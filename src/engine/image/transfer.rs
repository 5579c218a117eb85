//! Images from registries, and to them.
//!
//! ```text
//! pull   manifest ─▶ config ─▶ layers, several at once, each unpacked while it comes ─▶ one transaction
//! push   layers, several at once, unless they are there ─▶ config ─▶ manifest ─▶ what refers to it
//! ```
//!
//! A layer that breaks off goes on where it was, several times. Layers that came stay for a day when a pull fails or is
//! killed: the next one takes them up.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::recompress::Sent;
use crate::base::{Context as _, Digest, Error, Kind, Reference, Result, failpoint};
use crate::engine::Engine;
use crate::engine::lanes::in_lanes;
use crate::model::image::{Attestation, Image, Layer, Pull, Recompress, Transfer, TransferState};
use crate::registry::remote::{Manifest, Remote};
use crate::store::archive::write::{Blobs, referrer};
use crate::store::blob::METADATA_LIMIT_BYTES;
use crate::store::db::Noun;
use crate::store::image::manifest::{self, Descriptor, ManifestImage, ManifestLayer, Platform, READABLE};
use crate::store::image::{MANIFEST_TYPE, NewImage};
use crate::store::layer::{LayerSource, chain_id};

/// How many blobs are on their way at once; Docker's number for pushes.
const LANES: usize = 4;
/// How many other repositories are asked for a blob.
const MOST_OTHERS: usize = 3;
/// How often one hears how far a blob is.
const NEWS: Duration = Duration::from_millis(100);

/// What helps when something is missing.
const CHECK: &str = "\"rhumb system check\" finds what is damaged; load or pull the image again";

/// Hears what becomes of blobs; from several threads.
pub type Transfers<'a> = dyn Fn(&Transfer) + Sync + 'a;

/// How an image is written to a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// What is said of it, there as well.
    pub attestations: Vec<Attestation>,
    /// How its layers are compressed there; none is as they are here.
    pub compression: Option<Recompress>,
}

/// What came of a pull.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// The digest of what the reference leads to: a manifest, or an index of several.
    pub digest: Digest,
    /// It was not here, or not under this name.
    pub is_new: bool,
}

impl Engine {
    /// Fetches an image from its registry: the one for this machine, or for `platform`.
    ///
    /// # Errors
    /// `invalid_argument`; `not_found`, `permission_denied`, `unavailable` as the registry says; `unsupported` when it has
    /// none for that platform; `corrupt` when what comes is not what its digest says. Whole layers are kept for the
    /// next try.
    pub fn image_pull(&self, reference: &str, platform: Option<&str>, hears: &Transfers<'_>) -> Result<Pulled> {
        let reference = Reference::parse(reference)?;
        let machine = platform.map_or_else(|| Ok(Platform::host()), Platform::parse)?;
        let remote = self.remote(&reference)?;
        let lease = self.store.lease()?;
        let pulled = self.pull(&remote, &reference, &machine, hears);
        drop(lease);
        match &pulled {
            Ok(pulled) => self.tell(&super::event(&pulled.image, "pull", Some(&reference.familiar()))),
            // What a failed pull had of a layer has no user now.
            Err(_) => self.sweep_after_failure(),
        }
        pulled.context(|| format!("pulling {}", reference.familiar()))
    }

    /// The image for what a user wrote: the one that is here, or fetched where that is wanted. An id is never fetched.
    ///
    /// # Errors
    /// As [`Engine::image_get`] and [`Engine::image_pull`].
    pub fn image_for(&self, text: &str, pull: Pull, hears: &Transfers<'_>) -> Result<Image> {
        self.image_here_or_fetched(self.image_get(text), text, pull, hears)
    }

    /// As [`Engine::image_for`], for what a build names: names come first, and a short text is no beginning of an id.
    ///
    /// # Errors
    /// As there.
    pub fn image_for_build(&self, text: &str, pull: Pull, hears: &Transfers<'_>) -> Result<Image> {
        self.image_here_or_fetched(self.image_get_for_build(text), text, pull, hears)
    }

    fn image_here_or_fetched(
        &self,
        here: Result<Image>,
        text: &str,
        pull: Pull,
        hears: &Transfers<'_>,
    ) -> Result<Image> {
        match (here, pull) {
            (here, Pull::Never) => here,
            (Err(error), Pull::Missing | Pull::Always)
                if error.kind() == Kind::NotFound && !text.starts_with("sha256:") && Reference::parse(text).is_ok() =>
            {
                let pulled = self.image_pull(text, None, hears);
                let missing =
                    |error: Error| error.context(format!("there is no image {text:?} here")).about("image", text);
                Ok(pulled.map_err(missing)?.image)
            }
            (Ok(image), Pull::Always)
                if Reference::parse(text).is_ok()
                    && !image.id.hex().starts_with(text.trim_start_matches("sha256:")) =>
            {
                Ok(self.image_pull(text, None, hears)?.image)
            }
            (here, Pull::Missing | Pull::Always) => here,
        }
    }

    /// Writes an image to the registry that its reference names, and what is said of it. Gives the digest of the manifest,
    /// which is another when its layers are compressed anew.
    ///
    /// # Errors
    /// `not_found` when it is not here; `permission_denied`, `unavailable` as the registry says; as
    /// [`Engine::image_recompressed`].
    pub fn image_push(&self, reference: &str, options: &PushOptions, hears: &Transfers<'_>) -> Result<Digest> {
        let name = Reference::parse(reference)?;
        if name.digest().is_some() {
            return Err(Error::invalid(format!("{reference:?} has a digest, and an image is pushed under a tag")));
        }
        let _lease = self.store.lease()?;
        let id = self.store.read(|tx| tx.image_find(&name.to_string()))?.0;
        // From here on it stays until it is written, also when somebody removes it.
        let image = self.held(&Digest::parse(&id)?)?;
        let remote = self.remote(&name)?;
        let pushing = || format!("pushing {}", name.familiar());
        let sent = self.sent(image, options.compression).context(pushing)?;
        self.push(&remote, &name, &sent, &options.attestations, hears).context(pushing)?;
        let image = sent.image;
        self.store.write(|tx| match tx.phase(Noun::Image, image.id.as_str())? {
            Some(_) => tx.image_name(image.id.as_str(), &name.at(&image.manifest)),
            // Somebody removed it meanwhile.
            None => Ok(()),
        })?;
        self.tell(&super::event(&image, "push", Some(&name.familiar())));
        Ok(image.manifest)
    }

    /// An image of which nothing is missing; the held lease keeps all of it.
    pub(super) fn held(&self, id: &Digest) -> Result<Image> {
        let image = self.store.image_hold(id)?;
        image.ok_or_else(|| Error::corrupt("a blob of the image is missing").with_hint(CHECK))
    }

    fn pull(
        &self,
        remote: &Remote,
        reference: &Reference,
        machine: &Platform,
        hears: &Transfers<'_>,
    ) -> Result<Pulled> {
        let which = reference.digest().map_or_else(|| reference.tag().unwrap_or("latest"), Digest::as_str);
        let top = remote.manifest(which, &READABLE)?;
        let found = image_of(remote, &top, machine)?;
        let manifest = Digest::of(&found.manifest);
        let name = reference.digest().map_or_else(|| reference.clone(), |digest| reference.at(digest));
        let before = self.store.read(|tx| tx.named(Noun::Image, &name.to_string()))?;
        let kept = match self.store.image_hold(&Digest::of(&found.config))? {
            // The same image, perhaps compressed otherwise: it gets a name more.
            Some(image) => {
                found.layers.iter().for_each(|layer| {
                    hears(&Transfer { digest: layer.digest.clone(), state: TransferState::Exists });
                });
                image
            }
            None => {
                let layers = self.pull_layers(remote, &found, &manifest, hears);
                if layers.as_ref().is_err_and(|error| error.kind() == Kind::NoSpace) {
                    // What is here already is in the way of everything else; a disk that is full may refuse even that.
                    let _ = self.store.write(|tx| tx.pull_end(&manifest));
                }
                let layers = layers?;
                failpoint::hit("image.pull.layers")?;
                self.store.image_prepare(&found.config, &found.parsed, Some(&found.manifest), layers)?
            }
        };
        let is_new = before.as_deref() != Some(kept.id.as_str());
        let new = NewImage::new(kept, vec![name, reference.at(&top.digest)]);
        failpoint::hit("image.pull.commit")?;
        let mut images = self.store.image_commit(&[new])?;
        self.store.write(|tx| tx.pull_end(&manifest))?;
        self.store.flush()?;
        let image = images.pop().ok_or_else(|| Error::failed("the image is not on record"))?;
        Ok(Pulled { image, digest: top.digest, is_new })
    }

    /// Fetches the layers that are not here, several at once.
    fn pull_layers(
        &self,
        remote: &Remote,
        found: &ManifestImage,
        manifest: &Digest,
        hears: &Transfers<'_>,
    ) -> Result<Vec<Layer>> {
        // A layer's place in the stack is known before any comes.
        let mut parents = Vec::with_capacity(found.layers.len());
        let mut below: Option<Digest> = None;
        for diff_id in &found.parsed.diff_ids {
            parents.push(below.clone());
            below = Some(chain_id(below.as_ref(), diff_id));
        }
        let wanted: Vec<Wanted<'_>> = found
            .layers
            .iter()
            .zip(&found.parsed.diff_ids)
            .zip(parents)
            .map(|((layer, diff_id), parent)| Wanted { layer, diff_id, parent })
            .collect();
        wanted.iter().for_each(|wanted| wanted.tell(hears, TransferState::Waiting));
        each(remote, &wanted, |remote, wanted| {
            let layer = self.pull_layer(remote, manifest, wanted, hears);
            layer.context(|| format!("fetching the layer {}", wanted.layer.digest))
        })
    }

    fn pull_layer(
        &self,
        remote: &Remote,
        manifest: &Digest,
        wanted: &Wanted<'_>,
        hears: &Transfers<'_>,
    ) -> Result<Layer> {
        let Wanted { layer, diff_id, parent } = wanted;
        self.check_interrupt()?;
        let here = self.store.layer_whole(&chain_id(parent.as_ref(), diff_id))?;
        if let Some(known) = here.filter(|known| known.blob == layer.digest) {
            wanted.tell(hears, TransferState::Exists);
            return Ok(Layer { media_type: layer.media_type.clone(), came: true, ..known });
        }
        failpoint::hit("image.pull.layer")?;
        let mut blob = Told { wanted, hears, blob: remote.blob(&layer.digest, layer.size_bytes)?, done: 0, said: None };
        let source = LayerSource {
            parent: parent.clone(),
            expect_blob: Some(layer.digest.clone()),
            expect_diff_id: Some((*diff_id).clone()),
            expect_size_bytes: Some(layer.size_bytes),
            compress: false,
        };
        let imported = self.store.layer_import(&mut blob, &source);
        let mut imported = imported.map_err(|error| blob.blob.explain(error))?;
        imported.media_type.clone_from(&layer.media_type);
        imported.came = true;
        self.store.pull_keep(manifest, &imported.chain_id)?;
        wanted.tell(hears, TransferState::Done);
        Ok(imported)
    }

    fn push(
        &self,
        remote: &Remote,
        name: &Reference,
        sent: &Sent,
        attestations: &[Attestation],
        hears: &Transfers<'_>,
    ) -> Result<()> {
        let Sent { image, manifest } = sent;
        let mut seen = HashSet::new();
        let layers: Vec<&Layer> = image.layers.iter().filter(|layer| seen.insert(&layer.blob)).collect();
        let others = others(image, name);
        let tell = |digest: &Digest, state| hears(&Transfer { digest: digest.clone(), state });
        layers.iter().for_each(|layer| tell(&layer.blob, TransferState::Waiting));
        each(remote, &layers, |remote, layer| {
            self.check_interrupt()?;
            let digest = &layer.blob;
            if remote.has_blob(digest)? {
                tell(digest, TransferState::Exists);
                return Ok(());
            }
            for other in &others {
                if remote.mount(digest, other)? {
                    tell(digest, TransferState::Mounted(other.clone()));
                    return Ok(());
                }
            }
            let size_bytes = layer.blob_size_bytes;
            let sent = |done_bytes| tell(digest, TransferState::Moving { done_bytes, size_bytes });
            remote.put_blob(digest, size_bytes, &|| Ok(Box::new(self.store.blob_open(digest)?)), &sent)?;
            tell(digest, TransferState::Done);
            Ok(())
        })?;
        let config = self.store.blob_read(&image.id, METADATA_LIMIT_BYTES)?;
        self.put_small(remote, &image.id, &config)?;
        let media_type = media_type(manifest, "")?;
        failpoint::hit("image.push.manifest")?;
        remote.put_manifest(name.tag().unwrap_or("latest"), &media_type, manifest)?;
        let subject = json!({ "mediaType": media_type, "digest": image.manifest, "size": manifest.len() });
        attestations.iter().try_for_each(|attestation| self.put_attestation(remote, image, &subject, attestation))
    }

    /// A statement, as a manifest that refers to the image's (OCI image specification 1.1, "Guidelines for Artifact Usage").
    fn put_attestation(
        &self,
        remote: &Remote,
        image: &Image,
        subject: &Value,
        attestation: &Attestation,
    ) -> Result<()> {
        let mut blobs = Blobs::new();
        let entry = referrer(attestation, subject, &mut blobs);
        let (manifests, others): (Vec<_>, Vec<_>) =
            blobs.iter().partition(|(digest, _)| entry["digest"] == digest.as_str());
        others.into_iter().try_for_each(|(digest, bytes)| self.put_small(remote, digest, bytes))?;
        let put = |(_, bytes): (&Digest, &Vec<u8>)| remote.put_referrer(&image.manifest, MANIFEST_TYPE, bytes, &entry);
        manifests.into_iter().try_for_each(put)
    }

    /// A blob that is in memory.
    pub(in crate::engine) fn put_small(&self, remote: &Remote, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if remote.has_blob(digest)? {
            return Ok(());
        }
        let open = || Ok(Box::new(io::Cursor::new(bytes.to_vec())) as Box<dyn Read + Send>);
        remote.put_blob(digest, bytes.len() as u64, &open, &|_| {})
    }
}

/// A layer that is to come.
struct Wanted<'a> {
    layer: &'a ManifestLayer,
    diff_id: &'a Digest,
    parent: Option<Digest>,
}

impl Wanted<'_> {
    fn tell(&self, hears: &Transfers<'_>, state: TransferState) {
        hears(&Transfer { digest: self.layer.digest.clone(), state });
    }
}

/// A layer on its way, of which one hears.
struct Told<'a> {
    wanted: &'a Wanted<'a>,
    hears: &'a Transfers<'a>,
    blob: crate::registry::blob::Blob<'a>,
    done: u64,
    said: Option<Instant>,
}

impl Read for Told<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.blob.read(out)?;
        self.done += length as u64;
        if self.said.is_none_or(|said| said.elapsed() >= NEWS) {
            self.said = Some(Instant::now());
            let size_bytes = self.wanted.layer.size_bytes;
            self.wanted.tell(self.hears, TransferState::Moving { done_bytes: self.done, size_bytes });
        }
        Ok(length)
    }
}

/// Does something for each, on a few threads with a connection each, and gives what came of it in order. The first failure
/// ends it.
pub(in crate::engine) fn each<T: Sync, R: Send>(
    remote: &Remote,
    items: &[T],
    work: impl Fn(&Remote, &T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let stop: Arc<AtomicBool> = Arc::default();
    in_lanes(LANES, items, &stop, || remote.again(&stop), work)
}

/// The repositories of the same registry under which an image is known: they may have its blobs.
fn others(image: &Image, name: &Reference) -> Vec<String> {
    let mut others: Vec<String> = image
        .digests
        .iter()
        .filter_map(|known| Reference::parse(known).ok())
        .filter(|known| known.host() == name.host() && known.path() != name.path())
        .map(|known| known.path().to_owned())
        .collect();
    others.dedup();
    // Each costs a request for each layer.
    others.truncate(MOST_OTHERS);
    others
}

/// The image that a manifest or an index leads to, for a machine.
///
/// # Errors
/// As [`manifest::image`], and as the registry says.
pub(in crate::engine) fn image_of(remote: &Remote, top: &Manifest, machine: &Platform) -> Result<ManifestImage> {
    let kind = media_type(&top.bytes, &top.media_type)?;
    let entry = Descriptor::new(&kind, &top.digest, top.bytes.len() as u64);
    let documents = |descriptor: &Descriptor| {
        let digest = descriptor.digest()?;
        if digest == top.digest {
            return Ok(top.bytes.clone());
        }
        if descriptor.is_manifest() {
            let found = remote.manifest(digest.as_str(), &READABLE)?;
            return media_type(&found.bytes, &found.media_type).map(|_| found.bytes);
        }
        let mut bytes = Vec::new();
        let mut blob = remote.blob(&digest, descriptor.size_bytes())?;
        let read = blob.by_ref().take(METADATA_LIMIT_BYTES).read_to_end(&mut bytes);
        read.map_err(|error| blob.explain(error))?;
        Ok(bytes)
    };
    manifest::image(&documents, &entry, machine)
}

/// What a manifest says of itself, or else what the registry says of it.
fn media_type(bytes: &[u8], said: &str) -> Result<String> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| {
        Error::corrupt(format!("the manifest is malformed: {}", crate::base::error::quoted(&error)))
    })?;
    if document["schemaVersion"] == 1 {
        return Err(Error::unsupported("the image has a manifest of the first schema, which Docker gave up in 2019")
            .with_hint("have it pushed again by a tool of today"));
    }
    let own = document["mediaType"].as_str();
    if let Some(own) = own
        && READABLE.contains(&said)
        && own != said
    {
        return Err(Error::corrupt(format!(
            "the manifest says that it is {own:?}, and the registry that it is {said:?}"
        )));
    }
    let usual = || if document.get("manifests").is_some() { READABLE[0] } else { MANIFEST_TYPE };
    let said = Some(said).filter(|said| READABLE.contains(said));
    Ok(own.or(said).unwrap_or_else(usual).to_owned())
}
