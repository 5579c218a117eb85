//! What an archive holds, as a plan: which images, under which names, made of which members. Nothing is kept here.
//!
//! ```text
//! docker-archive             OCI image layout (also what `docker save` writes since version 25)
//!   manifest.json              oci-layout  index.json ─▶ [nested index ─▶] manifest ─▶ config, layers
//!   <config>.json              blobs/sha256/<hex>
//!   <any>/layer.tar            manifest.json may be there too: its names count
//! ```
//!
//! Documents are read with a limit and checked against digest, size and media type (OCI image specification 1.1,
//! "Image Layout" and "Image Manifest"; Docker's "image.Spec v1.2"). Layers are only named: whoever reads them checks
//! them against what the plan expects. It does not fetch `urls`, and does not read encrypted layers or artifacts.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::members::Members;
use crate::base::error::quoted;
use crate::base::{Context as _, Digest, Error, Reference, Result};
use crate::store::image::config::{self, MAX_JSON_BYTES, MAX_LAYERS, Parsed};

/// The most images that one archive may hold.
const MAX_IMAGES: usize = 1000;
/// How deep an index may lie in indexes.
const MAX_DEPTH: usize = 4;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

const LAYER_TYPES: [&str; 9] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

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
    let layers = layers.into_iter().map(|member| ArchivedLayer { member, blob: None }).collect();
    let names = entry.repo_tags.unwrap_or_default();
    let names = names.iter().map(|name| reference(name)).collect::<Result<_>>()?;
    counted(ArchivedImage { names, config, parsed, manifest: None, layers })
}

// ---- OCI layout ----

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    annotations: Option<HashMap<String, Option<String>>>,
    platform: Option<Platform>,
}

#[derive(Deserialize, Clone, PartialEq, Eq)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    fn shown(&self) -> String {
        let variant = self.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
        format!("{}/{}{variant}", self.os, self.architecture)
    }

    /// How well it suits this machine: none when it does not run here.
    fn rank(&self) -> Option<u8> {
        let (architecture, variant) = config::host_architecture();
        if self.os != "linux" || self.architecture != architecture {
            return None;
        }
        match (self.variant.as_deref().filter(|v| !v.is_empty()), variant) {
            (None, _) => Some(1),
            (ours, host) if ours == host => Some(2),
            // Every x86-64 machine runs v1; whether it runs v2 and up is not looked into.
            (Some("v1"), None) => Some(2),
            _ => Some(0),
        }
    }
}

impl Descriptor {
    fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_INDEX)
    }

    fn digest(&self) -> Result<Digest> {
        Digest::parse(&self.digest).map_err(|error| match error.kind() {
            crate::base::Kind::Unsupported => error,
            _ => Error::corrupt("a descriptor has a malformed digest").with_source(error),
        })
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key)?.as_deref()
    }

    /// Attestations and the like, which lie in indexes beside the images that they speak of.
    fn is_attached(&self) -> bool {
        self.artifact_type.is_some()
            || self.annotation("vnd.docker.reference.type").is_some()
            || self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }
}

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
    let entries = index_entries("index.json", top, None)?;
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
        if entry.is_attached() || displaced(entry, &entries) {
            continue;
        }
        let Some((digest, manifest, document)) = descend(members, entry, 0)? else { continue };
        let first = *seen.entry(digest).or_insert(place);
        if first == place {
            images.insert(place, layout_image(members, manifest, document)?);
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
fn displaced(entry: &Descriptor, entries: &[Descriptor]) -> bool {
    let rank = |entry: &Descriptor| entry.platform.as_ref().map_or(Some(1), Platform::rank);
    const NAME: &str = "org.opencontainers.image.ref.name";
    let name = entry.annotation(NAME);
    let best = entries.iter().filter(|other| other.annotation(NAME) == name && !other.is_attached()).map(rank).max();
    // Without names, entries are different images; those for other machines go where one is for this.
    best.is_some_and(|best| best.is_some() && if name.is_some() { rank(entry) < best } else { rank(entry).is_none() })
}

/// Follows a descriptor to a manifest: its digest, bytes and content; none when it is not an image.
fn descend(members: &Members, entry: &Descriptor, depth: usize) -> Result<Option<(Digest, Vec<u8>, Document)>> {
    let digest = entry.digest()?;
    if !entry.is_index() && !matches!(entry.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST) {
        return Err(Error::unsupported(format!("{digest} has the unknown media type {:?}", entry.media_type)));
    }
    let bytes = blob(members, entry)?;
    let document: Document = decode(digest.as_str(), &bytes)?;
    if !entry.is_index() {
        if document.media_type.as_deref().is_some_and(|kind| kind != entry.media_type) {
            return Err(disagreement(&digest));
        }
        return Ok(Some((digest, bytes, document)));
    }
    if depth >= MAX_DEPTH {
        return Err(Error::corrupt(format!("indexes lie more than {MAX_DEPTH} deep at {digest}")));
    }
    let entries = index_entries(digest.as_str(), document, Some(&entry.media_type))?;
    let images: Vec<&Descriptor> = entries.iter().filter(|entry| !entry.is_attached()).collect();
    let rank = |entry: &Descriptor| entry.platform.as_ref().map_or(Some(0), Platform::rank);
    // Of equals the first, as the specification asks.
    let best = images.iter().enumerate().filter_map(|(i, entry)| rank(entry).map(|rank| (rank, usize::MAX - i, entry)));
    match best.max_by_key(|(rank, place, _)| (*rank, *place)) {
        Some((_, _, best)) => descend(members, best, depth + 1),
        None if images.is_empty() => Ok(None),
        None => {
            let there: Vec<String> = images.iter().filter_map(|e| e.platform.as_ref().map(Platform::shown)).collect();
            let (architecture, _) = config::host_architecture();
            Err(Error::unsupported(format!("the index {digest} has no image for linux/{architecture}"))
                .with_hint(format!("it has {}", there.join(", "))))
        }
    }
}

fn layout_image(members: &Members, manifest: Vec<u8>, document: Document) -> Result<ArchivedImage> {
    let digest = Digest::of(&manifest);
    if document.manifests.is_some() {
        return Err(Error::corrupt(format!("{digest} claims to be a manifest and an index at once")));
    }
    if document.schema_version != Some(2) {
        return Err(Error::unsupported(format!("the manifest {digest} is not of schema version 2")));
    }
    let descriptor = document.config.ok_or_else(|| Error::corrupt(format!("the manifest {digest} has no config")))?;
    if !matches!(descriptor.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
        let kind = &descriptor.media_type;
        return Err(Error::unsupported(format!("{digest} is not an image: its config is of type {kind:?}")));
    }
    let config = blob(members, &descriptor)?;
    let parsed = config::parse(&config)?;
    let layers = document.layers.unwrap_or_default();
    if layers.len() > MAX_LAYERS {
        return Err(Error::unsupported(format!("{digest} has more than {MAX_LAYERS} layers")));
    }
    let layers = layers.into_iter().map(|layer| {
        if !LAYER_TYPES.contains(&layer.media_type.as_str()) {
            return Err(Error::unsupported(format!(
                "{} has the unknown layer type {:?}",
                layer.digest, layer.media_type
            )));
        }
        let digest = layer.digest()?;
        Ok(ArchivedLayer { member: member(&digest), blob: Some((digest, layer.size, layer.media_type)) })
    });
    let layers = layers.collect::<Result<_>>()?;
    counted(ArchivedImage { names: Vec::new(), config, parsed, manifest: Some(manifest), layers })
}

/// The entries of an index, after its own claims were checked.
fn index_entries(name: &str, document: Document, expected: Option<&str>) -> Result<Vec<Descriptor>> {
    if document.layers.is_some() || document.config.is_some() {
        return Err(Error::corrupt(format!("{name} claims to be an index and a manifest at once")));
    }
    if document.schema_version != Some(2) {
        return Err(Error::unsupported(format!("{name} is not of schema version 2")));
    }
    let kind = document.media_type.as_deref();
    let agrees = match expected {
        Some(expected) => kind.is_none_or(|kind| kind == expected),
        None => kind.is_none_or(|kind| matches!(kind, OCI_INDEX | DOCKER_INDEX)),
    };
    if !agrees {
        return Err(disagreement(name));
    }
    let entries = document.manifests.ok_or_else(|| Error::corrupt(format!("{name} lists no manifests")))?;
    if entries.len() > MAX_IMAGES {
        return Err(Error::corrupt(format!("{name} lists more than {MAX_IMAGES} manifests")));
    }
    Ok(entries)
}

// ---- both ----

fn counted(image: ArchivedImage) -> Result<ArchivedImage> {
    let (layers, diff_ids) = (image.layers.len(), image.parsed.diff_ids.len());
    if layers != diff_ids {
        return Err(Error::corrupt(format!("the image lists {layers} layers, but its config {diff_ids}")));
    }
    if image.parsed.os != "linux" {
        return Err(Error::unsupported(format!("the image is for {}, not for linux", image.parsed.os)));
    }
    Ok(image)
}

fn member(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Reads a document and checks it against its descriptor.
fn blob(members: &Members, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let digest = descriptor.digest()?;
    let bytes = members.read(&member(&digest), MAX_JSON_BYTES)?;
    if bytes.len() as u64 != descriptor.size {
        let (has, size) = (bytes.len(), descriptor.size);
        return Err(Error::corrupt(format!("{digest} has {has} bytes, but its descriptor says {size}")));
    }
    check_digest(digest.as_str(), &digest, &bytes)?;
    Ok(bytes)
}

fn check_digest(name: &str, expected: &Digest, bytes: &[u8]) -> Result<()> {
    let found = Digest::of(bytes);
    if found == *expected { Ok(()) } else { Err(Error::corrupt(format!("{name:?} has the digest {found}"))) }
}

fn disagreement(name: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("{name} says another media type of itself than the descriptor that leads to it"))
}

fn decode<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::corrupt(format!("{name:?} is malformed: {}", quoted(&error))))
}

fn reference(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|error| Error::corrupt("the archive gives an image a bad name").with_source(error))
}
