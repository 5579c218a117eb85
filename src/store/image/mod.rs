//! Images: manifests, configs, tags, and which layers and blobs they hold on to.
//!
//! ```text
//! record (Noun::Image, id = config digest)   names = full references   uses = layers, blobs
//!   manifest blob ─▶ config blob, layer blobs                          unpacked: layers/<chain id>
//! ```
//!
//! A record is written last, in one transaction with its names and uses; what it needs was imported under a lease before.
//! Blobs are kept byte by byte, so that what was loaded can be saved with the same digests. Which names a user may write
//! is decided here; what may be removed is the engine's decision.

pub mod config;
pub mod manifest;

use std::collections::BTreeMap;

use serde_json::json;

use self::config::Parsed;
use crate::base::{Digest, Error, Id, Reference, Result};
use crate::model::image::{Image, Layer};
use crate::store::Store;
use crate::store::blob::Blob;
use crate::store::db::{Noun, Phase, Row, Tx};

/// The media type of the configs that we write.
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of the manifests that we write.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image that is to be put on record under further names.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The image; its tags do not count.
    pub image: Image,
    /// Names that it gets, taken from other images when needed.
    pub names: Vec<Reference>,
    /// Its manifest takes the place of the one that the same image has already.
    pub replaces_manifest: bool,
}

impl NewImage {
    /// One that keeps the manifest by which it is known.
    pub fn new(image: Image, names: Vec<Reference>) -> NewImage {
        NewImage { image, names, replaces_manifest: false }
    }
}

impl Store {
    /// Keeps the config and the manifest of an image whose layers were imported, and gives the image's facts. Without a
    /// manifest one is made. Nothing is on record yet: hold a lease until [`Store::image_commit`].
    ///
    /// # Errors
    /// `no_space`.
    pub fn image_prepare(
        &self,
        config: &[u8],
        parsed: &Parsed,
        manifest: Option<&[u8]>,
        layers: Vec<Layer>,
    ) -> Result<Image> {
        let id = self.blob_put(config)?.digest;
        let manifest = match manifest {
            Some(bytes) => self.blob_put(bytes)?.digest,
            None => self.blob_put(&write_manifest(&id, config.len() as u64, &layers, &BTreeMap::new()))?.digest,
        };
        Ok(Image {
            id,
            manifest,
            tags: Vec::new(),
            digests: Vec::new(),
            layers,
            created: parsed.created,
            config: parsed.config.clone(),
            os: parsed.os.clone(),
            architecture: parsed.architecture.clone(),
            variant: parsed.variant.clone(),
            author: parsed.author.clone(),
            history: parsed.history.clone(),
        })
    }

    /// Puts images and their names on record, all or none. An image that is there already only gets the names, unless one
    /// of its blobs was lost: then the new blobs, which say the same, take their place.
    ///
    /// # Errors
    /// `no_space`.
    pub fn image_commit(&self, images: &[NewImage]) -> Result<Vec<Image>> {
        self.write(|tx| {
            for new in images {
                let id = new.image.id.as_str();
                let bare = Image { tags: Vec::new(), digests: Vec::new(), ..new.image.clone() };
                let user = (Noun::Image, id);
                match tx.get::<Image>(Noun::Image, id)?.map(|row| row.body) {
                    Some(known)
                        if self.image_looks_whole(tx, &known)?
                            && !(new.replaces_manifest && known.manifest != bare.manifest) => {}
                    Some(known) => {
                        tx.update(Noun::Image, id, &bare)?;
                        // A digest by which a registry knows it names a manifest that is here no more.
                        let gone = format!("@{}", known.manifest);
                        let stale = tx.names(Noun::Image, id)?.into_iter().filter(|name| name.ends_with(&gone));
                        for name in stale.filter(|_| known.manifest != bare.manifest) {
                            tx.unname(Noun::Image, &name)?;
                        }
                        needs(&known)
                            .into_iter()
                            .try_for_each(|(noun, old)| tx.drop_use(user, (noun, old.as_str())))?;
                        needs(&bare).into_iter().try_for_each(|(noun, new)| tx.add_use(user, (noun, new.as_str())))?;
                    }
                    None => {
                        tx.insert(Noun::Image, id, Phase::Ready, &bare)?;
                        needs(&bare).into_iter().try_for_each(|(noun, new)| tx.add_use(user, (noun, new.as_str())))?;
                    }
                }
                for name in &new.names {
                    tx.image_name(id, name)?;
                }
            }
            images.iter().map(|new| tx.image(new.image.id.as_str())).collect()
        })
    }

    /// The image with this config, when it has all these names and nothing of it is lost: then [`Store::image_prepare`] and
    /// [`Store::image_commit`] would change nothing. No lease keeps it.
    ///
    /// # Errors
    /// `corrupt` when a record cannot be read.
    pub fn image_known(&self, config: &[u8], names: &[Reference]) -> Result<Option<Image>> {
        let id = Digest::of(config);
        let found = self.read(|tx| {
            for name in names {
                if tx.named(Noun::Image, &name.to_string())?.as_deref() != Some(id.as_str()) {
                    return Ok(None);
                }
            }
            let Some(row) = tx.get::<Image>(Noun::Image, id.as_str())? else { return Ok(None) };
            Ok(self.image_looks_whole(tx, &row.body)?.then(|| with_tags(row)))
        })?;
        let is_read = |digest: &Digest| self.blob_verify(digest).is_ok();
        let is_there = |layer: &Layer| self.layer_diff(&layer.chain_id).exists();
        Ok(found.filter(|image| is_read(&image.id) && is_read(&image.manifest) && image.layers.iter().all(is_there)))
    }

    /// Notes of an image which of its layers came from elsewhere, lowest first, and gives it so.
    ///
    /// # Errors
    /// `no_space`.
    pub fn image_came(&self, mut image: Image, came: &[bool]) -> Result<Image> {
        if image.layers.iter().map(|layer| layer.came).eq(came.iter().copied()) {
            return Ok(image);
        }
        let note = |image: &mut Image| image.layers.iter_mut().zip(came).for_each(|(layer, came)| layer.came = *came);
        self.write(|tx| {
            let id = image.id.as_str();
            // Without a record somebody removed it meanwhile.
            let Some(mut known) = tx.body::<Image>(Noun::Image, id)? else { return Ok(()) };
            note(&mut known);
            tx.update(Noun::Image, id, &known)
        })?;
        note(&mut image);
        Ok(image)
    }

    /// Whether every blob of an image is there with the bytes that its record says; what they are is not read.
    fn image_looks_whole(&self, tx: &Tx<'_>, image: &Image) -> Result<bool> {
        for (noun, digest) in needs(image) {
            if noun == Noun::Blob {
                let blob = tx.body::<Blob>(noun, digest.as_str())?;
                if !blob.is_some_and(|blob| self.blob_looks_whole(digest, blob.size_bytes)) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The image for what a user wrote.
    ///
    /// # Errors
    /// As [`Tx::image_find`].
    pub fn image_get(&self, text: &str) -> Result<Image> {
        self.read(|tx| {
            let (id, _) = tx.image_find(text)?;
            tx.image(&id)
        })
    }

    /// The image for what a build names.
    ///
    /// # Errors
    /// As [`Tx::image_find_for_build`].
    pub fn image_get_for_build(&self, text: &str) -> Result<Image> {
        self.read(|tx| tx.image(&tx.image_find_for_build(text)?))
    }

    /// The image with this id, if it is on record.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn image_by_id(&self, id: &Digest) -> Result<Option<Image>> {
        self.read(|tx| Ok(tx.get::<Image>(Noun::Image, id.as_str())?.map(with_tags)))
    }

    /// The image with this id when it is on record and whole; the held lease keeps all of it from now on.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn image_hold(&self, id: &Digest) -> Result<Option<Image>> {
        self.write(|tx| {
            let Some(image) = tx.get::<Image>(Noun::Image, id.as_str())?.map(with_tags) else { return Ok(None) };
            let unpacked = image.layers.iter().all(|layer| self.layer_diff(&layer.chain_id).is_dir());
            if !unpacked || !self.image_looks_whole(tx, &image)? {
                return Ok(None);
            }
            for (noun, digest) in needs(&image) {
                self.lease_in(tx, (noun, digest.as_str()))?;
            }
            Ok(Some(image))
        })
    }

    /// All images, oldest record first.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.read(|tx| Ok(tx.list::<Image>(Noun::Image)?.into_iter().map(with_tags).collect()))
    }
}

impl Tx<'_> {
    /// The image on record with this id.
    ///
    /// # Errors
    /// `not_found`; `corrupt`.
    pub fn image(&self, id: &str) -> Result<Image> {
        let row = self.get::<Image>(Noun::Image, id)?;
        row.map(with_tags).ok_or_else(|| no_such_image(id))
    }

    /// The id for what a user wrote: a whole id, a reference, or a unique beginning of an id, tried in this order. The
    /// reference is given back when it was one.
    ///
    /// # Errors
    /// `not_found`; `conflict` when a beginning fits several ids.
    pub fn image_find(&self, text: &str) -> Result<(String, Option<Reference>)> {
        match self.image_find_whole(text)? {
            Some(found) => Ok(found),
            None if is_hex(digits(text)) => Ok((self.find(Noun::Image, text)?, None)),
            None => Err(no_such_image(text)),
        }
    }

    /// The id for what a build names: as [`Tx::image_find`], but a beginning of an id is one only when nobody would write it
    /// by chance: a stage whose name is mistyped may well be of such letters, and `64` is a name.
    ///
    /// # Errors
    /// As there.
    pub fn image_find_for_build(&self, text: &str) -> Result<String> {
        if let Some((id, _)) = self.image_find_whole(text)? {
            return Ok(id);
        }
        let is_id = text.starts_with("sha256:") || text.len() >= Id::SHORT;
        if is_id && is_hex(digits(text)) { self.find(Noun::Image, text) } else { Err(no_such_image(text)) }
    }

    /// The id for a whole id or a reference.
    fn image_find_whole(&self, text: &str) -> Result<Option<(String, Option<Reference>)>> {
        let digits = digits(text);
        if let Ok(id) = Digest::parse(&format!("sha256:{digits}"))
            && self.phase(Noun::Image, id.as_str())?.is_some()
        {
            return Ok(Some((id.into(), None)));
        }
        if let Ok(reference) = Reference::parse(text) {
            if let Some(id) = self.named(Noun::Image, &reference.to_string())? {
                return Ok(Some((id, Some(reference))));
            }
            // A tag beside a digest says nothing.
            if let (Some(digest), Some(_)) = (reference.digest(), reference.tag()) {
                let known = reference.at(digest);
                if let Some(id) = self.named(Noun::Image, &known.to_string())? {
                    return Ok(Some((id, Some(known))));
                }
            }
            if let Some(digest) = reference.digest()
                && let Some(id) = self.image_by_manifest(&reference, digest)?
            {
                return Ok(Some((id, None)));
            }
        }
        Ok(None)
    }

    /// The image of this repository whose manifest has this digest.
    fn image_by_manifest(&self, reference: &Reference, digest: &Digest) -> Result<Option<String>> {
        let repository = format!("{}/{}:", reference.host(), reference.path());
        let rows = self.list::<Image>(Noun::Image)?;
        let found = rows
            .into_iter()
            .find(|row| row.body.manifest == *digest && row.names.iter().any(|name| name.starts_with(&repository)));
        Ok(found.map(|row| row.id))
    }

    /// Gives the image a further name, taking it from another image when needed.
    ///
    /// # Errors
    /// Troubles of the database.
    pub fn image_name(&self, id: &str, name: &Reference) -> Result<()> {
        let name = name.to_string();
        if self.named(Noun::Image, &name)?.is_some_and(|holder| holder != id) {
            self.unname(Noun::Image, &name)?;
        }
        self.name(Noun::Image, &name, id)
    }
}

/// What an image holds on to.
fn needs(image: &Image) -> Vec<(Noun, &Digest)> {
    let layers = image.layers.iter().map(|layer| (Noun::Layer, &layer.chain_id));
    let blobs = image.layers.iter().map(|layer| (Noun::Blob, &layer.blob));
    layers.chain(blobs).chain([(Noun::Blob, &image.id), (Noun::Blob, &image.manifest)]).collect()
}

fn with_tags(row: Row<Image>) -> Image {
    let familiar = |name: &String| Reference::parse(name).map_or_else(|_| name.clone(), |name| name.familiar());
    let (mut digests, mut tags): (Vec<String>, Vec<String>) =
        row.names.iter().map(familiar).partition(|name| name.contains('@'));
    tags.sort();
    digests.sort();
    Image { tags, digests, ..row.body }
}

/// An id without what says of which kind it is.
fn digits(text: &str) -> &str {
    text.strip_prefix("sha256:").unwrap_or(text)
}

fn is_hex(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn no_such_image(text: &str) -> Error {
    let shown: String = text.chars().take(300).collect();
    Error::not_found(format!("no such image {shown:?}")).about("image", shown)
}

/// The manifest of an image that came without one (OCI image specification, "Image Manifest").
pub fn write_manifest(
    config: &Digest,
    config_bytes: u64,
    layers: &[Layer],
    annotations: &BTreeMap<String, String>,
) -> Vec<u8> {
    let layers = layers
        .iter()
        .map(|layer| json!({ "mediaType": layer.media_type, "digest": layer.blob, "size": layer.blob_size_bytes }));
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": { "mediaType": CONFIG_TYPE, "digest": config, "size": config_bytes },
        "layers": layers.collect::<Vec<_>>(),
    });
    if !annotations.is_empty() {
        manifest["annotations"] = json!(annotations);
    }
    manifest.to_string().into_bytes()
}
