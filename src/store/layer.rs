//! Layers: a tar, plain or compressed, hashed and unpacked in one pass into `layers/<chain id hex>/diff`.

use std::io::Read;
use std::path::PathBuf;

use crate::base::{Digest, Result};
use crate::model::image::Layer;
use crate::store::Store;

/// What is known of a layer before it is read.
#[derive(Debug, Clone, Default)]
pub struct LayerSource {
    /// The chain id of the layer below; none for the lowest.
    pub parent: Option<Digest>,
    /// The digest that the blob must have.
    pub expect_blob: Option<Digest>,
    /// The digest that the uncompressed tar must have.
    pub expect_diff_id: Option<Digest>,
    /// The number of bytes that the blob must have.
    pub expect_size_bytes: Option<u64>,
    /// Compress an uncompressed input with zstd before it is kept.
    pub compress: bool,
}

impl Store {
    /// Reads a layer (tar, tar+gzip or tar+zstd, told apart by its first bytes), keeps its blob, unpacks it, and
    /// records both. A layer that is there already is only checked.
    ///
    /// # Errors
    /// `corrupt` when it is truncated, not a tar, or a digest or size differs; `invalid_argument` for an entry that
    /// would leave the layer; `no_space`. Nothing is kept then.
    pub fn layer_import(&self, reader: &mut dyn Read, source: &LayerSource) -> Result<Layer> {
        let _ = (reader, source);
        todo!()
    }

    /// The folder with a layer's files, for overlay's `lowerdir`.
    pub fn layer_diff(&self, chain_id: &Digest) -> PathBuf {
        self.paths().layers().join(chain_id.hex()).join("diff")
    }
}
