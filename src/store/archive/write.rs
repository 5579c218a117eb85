//! Writing archives: images as they are in the store, each layer and blob once.
//!
//! ```text
//! docker-archive              OCI image layout
//!   <config hex>.json           oci-layout
//!   <diff id hex>.tar           blobs/sha256/<hex>     byte by byte
//!   manifest.json               index.json             one entry per name
//!   repositories
//! ```
//!
//! A docker-archive has its layers uncompressed, since some of its readers know no other, unless they are to be compressed. Everything is hashed on its way
//! out: a blob that was damaged on disk is an error, not an archive. Neither form depends on the time of writing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde_json::{Value, json};

use super::spool;
use super::tarball::Tarball;
use crate::base::digest::Hashing;
use crate::base::{Context as _, Digest, Error, Reference, Result};
use crate::model::image::{Attestation, Image, Layer};
use crate::store::Store;
use crate::store::image::MANIFEST_TYPE;
use crate::store::image::config::MAX_JSON_BYTES;
use crate::sys::fs::{sync, sync_dir};

const BUFFER_BYTES: usize = 1 << 17;
/// The type of a statement.
const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Blobs that the store does not have.
pub type Blobs = BTreeMap<Digest, Vec<u8>>;

/// An image to be written, and the names that the archive gives it.
#[derive(Debug, Clone)]
pub struct SavedImage {
    /// The image.
    pub image: Image,
    /// Its names there.
    pub names: Vec<Reference>,
    /// What refers to it there; of an OCI image layout alone.
    pub attestations: Vec<Attestation>,
    /// Its manifest, when its layers are to be compressed as they say: that manifest need not be in the store.
    pub recompressed: Option<Vec<u8>>,
}

impl Store {
    /// Writes `docker save`'s tar.
    ///
    /// # Errors
    /// `corrupt` when a blob is damaged or missing; what writing gives.
    pub fn archive_write_docker(&self, images: &[SavedImage], out: &mut dyn Write) -> Result<()> {
        let mut tar = Tarball::new(BufWriter::with_capacity(BUFFER_BYTES, out));
        let mut done: BTreeSet<String> = BTreeSet::new();
        let mut list = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for SavedImage { image, names, recompressed, .. } in images {
            let config = format!("{}.json", image.id.hex());
            if done.insert(config.clone()) {
                tar.bytes(&config, 0o644, &self.blob_read(&image.id, MAX_JSON_BYTES)?)?;
            }
            let mut members = Vec::new();
            for layer in &image.layers {
                let member = format!("{}.tar", layer.diff_id.hex());
                members.push(member.clone());
                if !done.insert(member.clone()) {
                    continue;
                }
                if recompressed.is_some() {
                    let (mut file, size) = self.sized_blob(&layer.blob)?;
                    let mut hashing = Hashing::new(&mut file);
                    tar.file(&member, 0o644, 0, size, &mut hashing)?;
                    intact(&layer.blob, hashing)?;
                } else {
                    let mut plain = self.plain_layer(layer)?;
                    let size = plain.seek(SeekFrom::End(0))?;
                    plain.seek(SeekFrom::Start(0))?;
                    tar.file(&member, 0o644, 0, size, plain)?;
                }
            }
            for name in names {
                if let (Some(tag), Some(top)) = (name.tag(), image.layers.last()) {
                    let tags = repositories.entry(name.familiar_name()).or_default();
                    tags.insert(tag.to_owned(), top.diff_id.hex().to_owned());
                }
            }
            let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
            let tags = if tags.is_empty() { Value::Null } else { json!(tags) };
            list.push(json!({ "Config": config, "RepoTags": tags, "Layers": members }));
        }
        tar.bytes("manifest.json", 0o644, Value::Array(list).to_string().as_bytes())?;
        tar.bytes("repositories", 0o644, json!(repositories).to_string().as_bytes())?;
        tar.finish()?.flush().context(|| "writing an archive")
    }

    /// Writes an OCI image layout as a tar.
    ///
    /// # Errors
    /// As [`Store::archive_write_docker`].
    pub fn archive_write_oci(&self, images: &[SavedImage], out: &mut dyn Write) -> Result<()> {
        let mut tar = Tarball::new(BufWriter::with_capacity(BUFFER_BYTES, out));
        tar.bytes("oci-layout", 0o644, LAYOUT)?;
        tar.folder("blobs", 0o755)?;
        tar.folder("blobs/sha256", 0o755)?;
        for digest in blobs(images) {
            let (mut file, size) = self.sized_blob(&digest)?;
            let mut hashing = Hashing::new(&mut file);
            tar.file(&format!("blobs/sha256/{}", digest.hex()), 0o644, 0, size, &mut hashing)?;
            intact(&digest, hashing)?;
        }
        let (index, more) = self.index(images)?;
        for (digest, bytes) in more {
            tar.bytes(&format!("blobs/sha256/{}", digest.hex()), 0o644, &bytes)?;
        }
        tar.bytes("index.json", 0o644, &index)?;
        tar.finish()?.flush().context(|| "writing an archive")
    }

    /// Writes an OCI image layout into an empty folder and flushes it.
    ///
    /// # Errors
    /// As [`Store::archive_write_docker`].
    pub fn archive_write_folder(&self, images: &[SavedImage], folder: &Path) -> Result<()> {
        let write = |name: &str, content: &mut dyn Read| -> Result<()> {
            let path = folder.join(name);
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
            let mut file = file.context(|| format!("making {path:?}"))?;
            io::copy(content, &mut file).context(|| format!("writing {path:?}"))?;
            sync(&file).context(|| format!("flushing {path:?}"))
        };
        let inner = folder.join("blobs/sha256");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&inner);
        made.context(|| format!("making {inner:?}"))?;
        for digest in blobs(images) {
            let (mut file, _) = self.sized_blob(&digest)?;
            let mut hashing = Hashing::new(&mut file);
            write(&format!("blobs/sha256/{}", digest.hex()), &mut hashing)?;
            intact(&digest, hashing)?;
        }
        write("oci-layout", &mut &LAYOUT[..])?;
        let (index, more) = self.index(images)?;
        for (digest, bytes) in more {
            write(&format!("blobs/sha256/{}", digest.hex()), &mut &bytes[..])?;
        }
        write("index.json", &mut &index[..])?;
        for path in [inner, folder.join("blobs"), folder.to_owned()] {
            sync_dir(&path).context(|| format!("flushing {path:?}"))?;
        }
        Ok(())
    }

    /// The index: one entry per name, with the annotations that other programs look for, and one for each statement about an
    /// image; and the blobs of the statements.
    fn index(&self, images: &[SavedImage]) -> Result<(Vec<u8>, Blobs)> {
        let mut entries = Vec::new();
        let mut more = Blobs::new();
        for SavedImage { image, names, attestations, recompressed } in images {
            let manifest = match recompressed {
                Some(manifest) => {
                    more.insert(image.manifest.clone(), manifest.clone());
                    manifest.clone()
                }
                None => self.blob_read(&image.manifest, MAX_JSON_BYTES)?,
            };
            let own: Value = serde_json::from_slice(&manifest)
                .map_err(|error| Error::corrupt(format!("the manifest {}", image.manifest)).with_source(error))?;
            let media_type = own.get("mediaType").and_then(Value::as_str).unwrap_or(MANIFEST_TYPE);
            let entry = json!({ "mediaType": media_type, "digest": image.manifest, "size": manifest.len() });
            if names.is_empty() {
                entries.push(entry.clone());
            }
            for name in names {
                let mut named = entry.clone();
                named["annotations"] = json!({
                    "io.containerd.image.name": name.to_string(),
                    "org.opencontainers.image.ref.name": name.familiar(),
                });
                entries.push(named);
            }
            entries.extend(attestations.iter().map(|attestation| referrer(attestation, &entry, &mut more)));
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": entries,
        });
        Ok((index.to_string().into_bytes(), more))
    }

    /// A layer's tar without compression, checked.
    fn plain_layer(&self, layer: &Layer) -> Result<File> {
        let mut blob = self.sized_blob(&layer.blob)?.0;
        let mut plain = self.spool()?;
        let taking = || format!("reading the layer {}", layer.diff_id);
        spool::unpack(&mut blob, &mut plain).map_err(|error| error.context(taking()))?;
        plain.seek(SeekFrom::Start(0))?;
        if Digest::of_reader(&mut plain).context(taking)? != layer.diff_id {
            return Err(damaged(&layer.blob));
        }
        Ok(plain)
    }

    fn sized_blob(&self, digest: &Digest) -> Result<(File, u64)> {
        let file = self.blob_open(digest).map_err(|error| Error::corrupt("a blob is missing").with_source(error))?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }
}

/// A statement as a manifest that has the image as its subject (OCI image specification 1.1, manifest.md): its entry in the
/// index; its blobs, with the manifest itself, go to `blobs`.
pub fn referrer(attestation: &Attestation, subject: &Value, blobs: &mut Blobs) -> Value {
    let mut put = |bytes: &[u8], media_type: &str| {
        let digest = Digest::of(bytes);
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        blobs.insert(digest, bytes.to_vec());
        descriptor
    };
    let kind = json!({ "in-toto.io/predicate-type": attestation.predicate_type });
    let config = put(b"{}", "application/vnd.oci.empty.v1+json");
    let mut statement = put(&attestation.statement, STATEMENT_TYPE);
    statement["annotations"] = kind.clone();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": STATEMENT_TYPE,
        "config": config,
        "layers": [statement],
        "subject": subject,
        "annotations": kind,
    });
    let mut entry = put(manifest.to_string().as_bytes(), MANIFEST_TYPE);
    entry["artifactType"] = json!(STATEMENT_TYPE);
    entry["annotations"] = kind;
    entry
}

/// Every blob of these images, sorted.
fn blobs(images: &[SavedImage]) -> BTreeSet<Digest> {
    let of_one = |saved: &SavedImage| {
        let layers = saved.image.layers.iter().map(|layer| layer.blob.clone());
        // A manifest that was made for the archive is written with the index.
        let manifest = saved.recompressed.is_none().then(|| saved.image.manifest.clone());
        layers.chain([saved.image.id.clone()]).chain(manifest).collect::<Vec<_>>()
    };
    images.iter().flat_map(of_one).collect()
}

fn intact<S>(digest: &Digest, hashing: Hashing<S>) -> Result<()> {
    let (_, found, _) = hashing.finish();
    if found == *digest { Ok(()) } else { Err(damaged(digest)) }
}

fn damaged(digest: &Digest) -> Error {
    Error::corrupt(format!("the blob {digest} is damaged on disk"))
        .with_hint("\"rhumb system check\" finds what is damaged; load the image again")
}
