//! Images: the facts that the engine keeps and shows, over the OCI image configuration.

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Error, Result, Timestamp};
use crate::model::health::HealthCheck;

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// The digest of its config: its identity.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Familiar references, sorted.
    pub tags: Vec<String>,
    /// Familiar references with digests, sorted: what registries know it by.
    #[serde(default)]
    pub digests: Vec<String>,
    /// Layers, lowest first.
    pub layers: Vec<Layer>,
    /// When it was made, by its own word.
    pub created: Option<Timestamp>,
    /// What `run` does with it.
    pub config: ImageConfig,
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v8`, when there is one.
    pub variant: Option<String>,
    /// By its own word.
    pub author: Option<String>,
    /// How it was made, oldest first.
    pub history: Vec<History>,
}

impl Image {
    /// Bytes on disk of all unpacked layers, shared or not.
    pub fn size_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size_bytes).sum()
    }

    /// `os/architecture[/variant]`.
    pub fn platform(&self) -> String {
        let variant = self.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
        format!("{}/{}{variant}", self.os, self.architecture)
    }
}

/// An unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its place in a stack: the digest over its own and all lower diff ids (OCI image specification, "Layer ChainID").
    pub chain_id: Digest,
    /// The digest of its uncompressed tar.
    pub diff_id: Digest,
    /// The digest of its blob as stored.
    pub blob: Digest,
    /// The blob's media type.
    pub media_type: String,
    /// Bytes of the blob.
    pub blob_size_bytes: u64,
    /// Bytes of the files unpacked.
    pub size_bytes: u64,
    /// Of an image's layer: its blob is one that a manifest named which came from elsewhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub came: bool,
}

/// What the layers of images are compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerCompression {
    /// gzip, which every program reads that reads images.
    Gzip,
    /// zstd, as layers are made here.
    Zstd,
    /// Nothing.
    Uncompressed,
}

impl LayerCompression {
    /// Reads `gzip`, `zstd` or `uncompressed`.
    ///
    /// # Errors
    /// `unsupported`.
    pub fn parse(text: &str) -> Result<LayerCompression> {
        match text {
            "gzip" => Ok(LayerCompression::Gzip),
            "zstd" => Ok(LayerCompression::Zstd),
            "uncompressed" => Ok(LayerCompression::Uncompressed),
            _ => Err(Error::unsupported(format!("layers are not compressed with {text:?}"))
                .with_hint("use gzip, zstd or uncompressed")),
        }
    }
}

/// How the layers of an image are to be compressed where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recompress {
    /// With what.
    pub to: LayerCompression,
    /// Also those that came from elsewhere, compressed otherwise.
    pub force: bool,
}

/// What an image says about running it (OCI image specification, "config").
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `user[:group]`.
    pub user: String,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The fixed front of the command.
    pub entrypoint: Vec<String>,
    /// The default arguments.
    pub cmd: Vec<String>,
    /// The working directory.
    pub working_dir: String,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Targets of anonymous volumes.
    pub volumes: Vec<String>,
    /// The signal of `stop`.
    pub stop_signal: Option<String>,
    /// The shell of string commands.
    pub shell: Vec<String>,
    /// Instructions for builds on top of it.
    pub on_build: Vec<String>,
    /// How its containers' health is checked.
    pub healthcheck: Option<HealthCheck>,
}

/// When an image is fetched from its registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pull {
    /// When it is not here.
    #[default]
    Missing,
    /// Always, in case there is a newer one.
    Always,
    /// Never.
    Never,
}

impl Pull {
    /// Reads `missing`, `always` or `never`.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn parse(text: &str) -> Result<Pull> {
        match text {
            "missing" | "if_not_present" => Ok(Pull::Missing),
            "always" => Ok(Pull::Always),
            "never" => Ok(Pull::Never),
            _ => {
                Err(Error::invalid(format!("images are not fetched {text:?}"))
                    .with_hint("write missing, always or never"))
            }
        }
    }
}

/// What becomes of one of an image's blobs while the image comes or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The blob.
    pub digest: Digest,
    /// How far it is.
    pub state: TransferState,
}

/// How far a blob is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferState {
    /// Its turn has not come.
    Waiting,
    /// It is there already.
    Exists,
    /// It is on its way.
    Moving {
        /// How much of it.
        done_bytes: u64,
        /// How much it has.
        size_bytes: u64,
    },
    /// Another repository of the registry had it.
    Mounted(String),
    /// It is there.
    Done,
}

/// A line of an image's history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When.
    pub created: Option<Timestamp>,
    /// What was done.
    pub created_by: String,
    /// By whom.
    pub author: Option<String>,
    /// Remarks.
    pub comment: Option<String>,
    /// Made no layer.
    pub empty_layer: bool,
}

/// Which images a listing shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageFilter {
    /// Only those whose repository or reference matches (`*` is a wildcard).
    pub reference: Vec<String>,
    /// Only those with all of these labels: `key` or `key=value`.
    pub label: Vec<String>,
    /// Only those without (`true`) or with a name.
    pub dangling: Option<bool>,
    /// Only those that were made before this one (reference, id).
    pub before: Option<String>,
    /// Only those that were made after this one (reference, id).
    pub since: Option<String>,
    /// Only those that were made before this time.
    pub until: Option<Timestamp>,
}

/// What a remove did, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageRemoved {
    /// A reference was taken away.
    Untagged(String),
    /// An image or a layer is gone.
    Deleted(String),
}

/// The kinds of archives that `save` writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// `docker save`'s tar, which `docker load`, podman and skopeo read.
    #[default]
    DockerArchive,
    /// An OCI image layout in a tar.
    OciArchive,
    /// An OCI image layout in a folder.
    OciDir,
}

/// Something that is said of an image, and goes with it as what refers to it: an in-toto statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// What kind of statement it is.
    pub predicate_type: String,
    /// The statement, in JSON.
    pub statement: Vec<u8>,
}
