//! From a descriptor to an image: indexes, manifests and configs (OCI image specification 1.1, "Image Index" and "Image
//! Manifest"; Docker's "Image Manifest Version 2, Schema 2"), wherever their bytes come from.
//!
//! Documents are checked against digest, size and media type. Layers are only named: whoever reads them checks them. It
//! does not fetch `urls`, and does not read encrypted layers or artifacts.

use std::collections::HashMap;

use serde::Deserialize;

use super::config::{self, MAX_JSON_BYTES, MAX_LAYERS, Parsed};
use crate::base::error::quoted;
use crate::base::{Digest, Error, Kind, Result};

/// The most entries of an index.
pub(in crate::store) const MAX_IMAGES: usize = 1000;
/// How deep an index may lie in indexes.
const MAX_DEPTH: usize = 4;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = super::MANIFEST_TYPE;
const OCI_CONFIG: &str = super::CONFIG_TYPE;
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What a registry is told that one can read.
pub const READABLE: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

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

/// Gives the bytes of a document, of which not more than [`MAX_JSON_BYTES`] are to be read.
pub type Documents<'a> = dyn Fn(&Descriptor) -> Result<Vec<u8>> + 'a;

/// An image as its manifest says it.
#[derive(Debug, Clone)]
pub struct ManifestImage {
    /// The config as it is.
    pub config: Vec<u8>,
    /// The config as read.
    pub parsed: Parsed,
    /// The manifest as it is.
    pub manifest: Vec<u8>,
    /// Layers, lowest first: as many as the config has diff ids.
    pub layers: Vec<ManifestLayer>,
}

/// A layer in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestLayer {
    /// The blob's digest.
    pub digest: Digest,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// Its media type.
    pub media_type: String,
}

/// A manifest or an index.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::store) struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
}

/// What leads to a document or a blob.
#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    annotations: Option<HashMap<String, Option<String>>>,
    pub(in crate::store) platform: Option<Platform>,
}

/// A kind of machine: `os/architecture[/variant]`.
#[derive(Debug, Deserialize, Clone, PartialEq, Eq)]
pub struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// This machine.
    pub fn host() -> Platform {
        let (architecture, variant) = config::host_architecture();
        Platform { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// Reads `[os/]architecture[/variant]`, also with the names that uname(1) gives.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn parse(text: &str) -> Result<Platform> {
        let refuse = || {
            Error::invalid(format!("{text:?} is no platform")).with_hint("write os/architecture, such as linux/arm64")
        };
        let word =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(word) {
            return Err(refuse());
        }
        let (os, architecture, variant) = match parts[..] {
            ["linux" | "windows" | "darwin" | "freebsd"] => return Err(refuse()),
            [architecture] => ("linux", architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(refuse()),
        };
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64", variant) => ("arm64", variant),
            ("i386" | "i686", variant) => ("386", variant),
            ("armhf", None) => ("arm", Some("v7")),
            ("armel", None) => ("arm", Some("v6")),
            other => other,
        };
        Ok(Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) })
    }

    /// As people write it.
    pub fn shown(&self) -> String {
        let variant = self.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
        format!("{}/{}{variant}", self.os, self.architecture)
    }

    /// How well it suits a machine: none when it does not run there.
    pub(in crate::store) fn rank(&self, machine: &Platform) -> Option<u8> {
        if self.os != machine.os || self.architecture != machine.architecture {
            return None;
        }
        match (self.variant.as_deref().filter(|v| !v.is_empty()), machine.variant.as_deref()) {
            (None, _) => Some(1),
            (ours, theirs) if ours == theirs => Some(2),
            // Every x86-64 machine runs v1, and arm64 without a word is v8; whether it runs more is not looked into.
            (Some("v1" | "v8"), None) => Some(2),
            _ => Some(0),
        }
    }
}

impl Descriptor {
    /// One that leads to a manifest or an index.
    pub fn new(media_type: &str, digest: &Digest, size_bytes: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: digest.to_string(),
            size: size_bytes,
            artifact_type: None,
            annotations: None,
            platform: None,
        }
    }

    fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_INDEX)
    }

    /// Whether it leads to a manifest or an index: registries keep these apart from all else.
    pub fn is_manifest(&self) -> bool {
        READABLE.contains(&self.media_type.as_str())
    }

    /// The digest.
    ///
    /// # Errors
    /// `corrupt`; `unsupported` for another algorithm.
    pub fn digest(&self) -> Result<Digest> {
        Digest::parse(&self.digest).map_err(|error| match error.kind() {
            Kind::Unsupported => error,
            _ => Error::corrupt("a descriptor has a malformed digest").with_source(error),
        })
    }

    /// How many bytes are behind it.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    pub(in crate::store) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key)?.as_deref()
    }

    /// Attestations and the like, which lie in indexes beside the images that they speak of.
    pub(in crate::store) fn is_attached(&self) -> bool {
        self.artifact_type.is_some()
            || self.annotation("vnd.docker.reference.type").is_some()
            || self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }
}

/// The image that a descriptor leads to; of several the one for a machine.
///
/// # Errors
/// `corrupt` for documents that are malformed or differ from what leads to them; `unsupported` for artifacts, unknown
/// layer types, and when no image is for that machine.
pub fn image(documents: &Documents<'_>, entry: &Descriptor, machine: &Platform) -> Result<ManifestImage> {
    match descend(documents, entry, machine, 0)? {
        Some((_, manifest, document)) => parts(documents, manifest, document),
        None => Err(Error::unsupported(format!("the index {} lists no image", entry.digest()?))),
    }
}

/// Follows a descriptor to a manifest: its digest, bytes and content; none when it is not an image.
pub(in crate::store) fn descend(
    documents: &Documents<'_>,
    entry: &Descriptor,
    machine: &Platform,
    depth: usize,
) -> Result<Option<(Digest, Vec<u8>, Document)>> {
    let digest = entry.digest()?;
    if !entry.is_manifest() {
        return Err(Error::unsupported(format!("{digest} has the unknown media type {:?}", entry.media_type)));
    }
    let bytes = checked(documents, entry)?;
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
    let rank = |entry: &Descriptor| entry.platform.as_ref().map_or(Some(0), |platform| platform.rank(machine));
    // Of equals the first, as the specification asks.
    let best = images.iter().enumerate().filter_map(|(i, entry)| rank(entry).map(|rank| (rank, usize::MAX - i, entry)));
    match best.max_by_key(|(rank, place, _)| (*rank, *place)) {
        Some((_, _, best)) => descend(documents, best, machine, depth + 1),
        None if images.is_empty() => Ok(None),
        None => {
            let there: Vec<String> = images.iter().filter_map(|e| e.platform.as_ref().map(Platform::shown)).collect();
            Err(Error::unsupported(format!("the index {digest} has no image for {}", machine.shown()))
                .with_hint(format!("it has {}", there.join(", "))))
        }
    }
}

/// What a manifest is made of.
pub(in crate::store) fn parts(
    documents: &Documents<'_>,
    manifest: Vec<u8>,
    document: Document,
) -> Result<ManifestImage> {
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
    let config = checked(documents, &descriptor)?;
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
        Ok(ManifestLayer { digest: layer.digest()?, size_bytes: layer.size, media_type: layer.media_type })
    });
    let layers: Vec<ManifestLayer> = layers.collect::<Result<_>>()?;
    counted(layers.len(), &parsed)?;
    Ok(ManifestImage { config, parsed, manifest, layers })
}

/// Checks what every image must be: it has a diff id for each layer, and is for linux.
pub(in crate::store) fn counted(layers: usize, parsed: &Parsed) -> Result<()> {
    let diff_ids = parsed.diff_ids.len();
    if layers != diff_ids {
        return Err(Error::corrupt(format!("the image lists {layers} layers, but its config {diff_ids}")));
    }
    if parsed.os != "linux" {
        return Err(Error::unsupported(format!("the image is for {}, not for linux", parsed.os)));
    }
    Ok(())
}

/// The entries of an index, after its own claims were checked.
pub(in crate::store) fn index_entries(
    name: &str,
    document: Document,
    expected: Option<&str>,
) -> Result<Vec<Descriptor>> {
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

/// Reads a document and checks it against its descriptor.
fn checked(documents: &Documents<'_>, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let digest = descriptor.digest()?;
    if descriptor.size > MAX_JSON_BYTES {
        return Err(Error::corrupt(format!("{digest} is larger than {MAX_JSON_BYTES} bytes, by its descriptor")));
    }
    let bytes = documents(descriptor)?;
    if bytes.len() as u64 != descriptor.size {
        let (has, size) = (bytes.len(), descriptor.size);
        return Err(Error::corrupt(format!("{digest} has {has} bytes, but its descriptor says {size}")));
    }
    check_digest(digest.as_str(), &digest, &bytes)?;
    Ok(bytes)
}

/// Checks what is named after its digest.
pub(in crate::store) fn check_digest(name: &str, expected: &Digest, bytes: &[u8]) -> Result<()> {
    let found = Digest::of(bytes);
    if found == *expected { Ok(()) } else { Err(Error::corrupt(format!("{name:?} has the digest {found}"))) }
}

fn disagreement(name: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("{name} says another media type of itself than the descriptor that leads to it"))
}

/// Reads JSON.
pub(in crate::store) fn decode<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::corrupt(format!("{name:?} is malformed: {}", quoted(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_as_docker_writes_them() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("aarch64", "linux/arm64"),
            ("armhf", "linux/arm/v7"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().shown(), shown);
        }
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/a b", "/amd64"] {
            assert_eq!(Platform::parse(text).unwrap_err().kind(), Kind::InvalidArgument, "{text:?}");
        }
    }
}
