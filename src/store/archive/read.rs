//! What an archive holds, as a plan: which images, under which names, made of which members. Nothing is kept here.
//!
//! ```text
//! docker-archive             OCI image layout (also what `docker save` writes since version 25)
//!   manifest.json              oci-layout  index.json ─▶ [nested index ─▶] manifest ─▶ config, layers
//!   <config>.json              blobs/sha256/<hex>
//!   <any>/layer.tar            manifest.json may be there too: its names count
//! ```
//!
//! Documents are read with a limit (OCI image specification 1.1, "Image Layout"; Docker's "image.Spec v1.2"). Layers are
//! only named: whoever reads them checks them against what the plan expects.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::members::Members;
use crate::base::{Context as _, Digest, Error, Reference, Result};
use crate::store::image::config::{self, MAX_JSON_BYTES, Parsed};
use crate::store::image::manifest::{self, Descriptor, Document, MAX_IMAGES, Platform, check_digest, decode};

/// An image in an archive.
#[derive(Debug, Clone)]
pub struct ArchivedImage {
    /// The names that the archive gives it.
    pub names: Vec<Reference>,
    /// The config as it is.
    pub config: Vec<u8>,
    /// The config as read.
    pub parsed: Parsed,
    /// The manifest as it is; a docker-archive has none.
    pub manifest: Option<Vec<u8>>,
    /// Layers, lowest first: as many as the config has diff ids.
    pub layers: Vec<ArchivedLayer>,
}

/// A layer in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedLayer {
    /// The member with its bytes.
    pub member: String,
    /// Digest and size of the blob, and its media type, where a manifest says so.
    pub blob: Option<(Digest, u64, String)>,
}

/// Reads the plan. With several platforms to choose from, this machine's is taken.
///
/// # Errors
/// `corrupt` for documents that are missing, malformed, too large or differ from their digest; `unsupported` for
/// artifacts, unknown layer types, and when no image is for this platform.
pub fn read(members: &Members) -> Result<Vec<ArchivedImage>> {
    let (oci, docker) = (members.has("index.json")?, members.has("manifest.json")?);
    let images = match (oci, docker) {
        (true, _) => read_layout(members, docker),
        (false, true) => read_docker(members),
        (false, false) => {
            return Err(Error::corrupt(format!("{} is not an image archive", members.shown()))
                .with_hint("it has neither manifest.json nor index.json; a root file system is read by from_tar"));
        }
    };
    let images = images.context(|| format!("reading the image archive {}", members.shown()))?;
    if images.is_empty() {
        return Err(Error::corrupt(format!("the image archive {} holds no image", members.shown())));
    }
    Ok(images)
}

// ---- docker-archive ----

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

fn docker_entries(members: &Members) -> Result<Vec<DockerEntry>> {
    let entries: Vec<DockerEntry> = decode("manifest.json", &members.read("manifest.json", MAX_JSON_BYTES)?)?;
    if entries.len() > MAX_IMAGES {
        return Err(Error::corrupt(format!("manifest.json lists more than {MAX_IMAGES} images")));
    }
    Ok(entries)
}

fn read_docker(members: &Members) -> Result<Vec<ArchivedImage>> {
    docker_entries(members)?.into_iter().map(|entry| docker_image(members, entry)).collect()
}

fn docker_image(members: &Members, entry: DockerEntry) -> Result<ArchivedImage> {
    let config = members.read(&entry.config, MAX_JSON_BYTES)?;
    // The file is named after its digest, which is the only check that this format has.
    let stem = entry.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if let Ok(expected) = Digest::parse(&format!("sha256:{stem}")) {
        check_digest(&entry.config, &expected, &config)?;
    }
    let parsed = config::parse(&config)?;
    let layers = entry.layers.unwrap_or_default();
    let layers: Vec<_> = layers.into_iter().map(|member| ArchivedLayer { member, blob: None }).collect();
    let names = entry.repo_tags.unwrap_or_default();
    let names = names.iter().map(|name| reference(name)).collect::<Result<_>>()?;
    manifest::counted(layers.len(), &parsed)?;
    Ok(ArchivedImage { names, config, parsed, manifest: None, layers })
}

// ---- OCI layout ----

fn read_layout(members: &Members, docker: bool) -> Result<Vec<ArchivedImage>> {
    if members.has("oci-layout")? {
        let layout: Value = decode("oci-layout", &members.read("oci-layout", MAX_JSON_BYTES)?)?;
        let version = layout.get("imageLayoutVersion").and_then(Value::as_str).unwrap_or_default();
        if !version.starts_with("1.") {
            return Err(Error::unsupported(format!("version {version:?} of the OCI image layout is not known")));
        }
    }
    let bytes = members.read("index.json", MAX_JSON_BYTES)?;
    let top: Document = decode("index.json", &bytes)?;
    let entries = manifest::index_entries("index.json", top, None)?;
    let machine = Platform::host();
    let documents = |descriptor: &Descriptor| members.read(&member(&descriptor.digest()?), MAX_JSON_BYTES);
    // Docker's own list names the images in full where the layout only has tags.
    let mut repo_tags: HashMap<Digest, Vec<String>> = HashMap::new();
    if docker {
        for entry in docker_entries(members)? {
            let config = Digest::of(&members.read(&entry.config, MAX_JSON_BYTES)?);
            repo_tags.entry(config).or_default().extend(entry.repo_tags.unwrap_or_default());
        }
    }
    let mut images: BTreeMap<usize, ArchivedImage> = BTreeMap::new();
    let mut seen: HashMap<Digest, usize> = HashMap::new();
    for (place, entry) in entries.iter().enumerate() {
        if entry.is_attached() || displaced(entry, &entries, &machine) {
            continue;
        }
        let Some((digest, bytes, document)) = manifest::descend(&documents, entry, &machine, 0)? else { continue };
        let first = *seen.entry(digest).or_insert(place);
        if first == place {
            images.insert(place, ArchivedImage::from(manifest::parts(&documents, bytes, document)?));
        }
        let image = images.get_mut(&first).expect("it was put in when first seen");
        let full = repo_tags.get(&Digest::of(&image.config)).filter(|names| !names.is_empty());
        let names = match (full, entry.annotation("io.containerd.image.name")) {
            (_, Some(name)) => vec![reference(name)?],
            (Some(names), None) => names.iter().map(|name| reference(name)).collect::<Result<_>>()?,
            (None, None) => match entry.annotation("org.opencontainers.image.ref.name") {
                Some(name) => vec![reference(name)?],
                None => Vec::new(),
            },
        };
        for name in names {
            if !image.names.contains(&name) {
                image.names.push(name);
            }
        }
    }
    Ok(images.into_values().collect())
}

/// Whether another entry of the same name suits this machine better.
fn displaced(entry: &Descriptor, entries: &[Descriptor], machine: &Platform) -> bool {
    let rank = |entry: &Descriptor| entry.platform.as_ref().map_or(Some(1), |platform| platform.rank(machine));
    const NAME: &str = "org.opencontainers.image.ref.name";
    let name = entry.annotation(NAME);
    let best = entries.iter().filter(|other| other.annotation(NAME) == name && !other.is_attached()).map(rank).max();
    // Without names, entries are different images; those for other machines go where one is for this.
    best.is_some_and(|best| best.is_some() && if name.is_some() { rank(entry) < best } else { rank(entry).is_none() })
}

impl From<manifest::ManifestImage> for ArchivedImage {
    fn from(image: manifest::ManifestImage) -> ArchivedImage {
        let layers = image.layers.into_iter().map(|layer| ArchivedLayer {
            member: member(&layer.digest),
            blob: Some((layer.digest, layer.size_bytes, layer.media_type)),
        });
        ArchivedImage {
            names: Vec::new(),
            config: image.config,
            parsed: image.parsed,
            manifest: Some(image.manifest),
            layers: layers.collect(),
        }
    }
}

fn member(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn reference(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|error| Error::corrupt("the archive gives an image a bad name").with_source(error))
}
