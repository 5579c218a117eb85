//! Layers: a tar, plain or compressed, hashed and unpacked in one pass into `layers/<chain id hex>/diff`.
//!
//! ```text
//! calling thread    read ─▶ hash ─▶ blob file        unpacking thread
//!                        └▶ decompress ──────────────▶ hash (diff id) ─▶ unpack into tmp/
//!                                                    rename into place, record, under the publish lock
//! ```
//!
//! The same tar can be there in further blobs, which are compressed otherwise: `form.rs`.
//!
//! A layer's folder is unpacked under `tmp/`, flushed with one `syncfs(2)` and renamed: under its real name it is whole.
//! Two imports of one layer both unpack; the second finds the first's and drops its own.

pub(in crate::store) mod decompress;
pub mod form;
mod import;
pub mod look;
pub(in crate::store) mod unpack;
pub(in crate::store) mod whiteout;

use std::io::Read;
use std::path::PathBuf;

pub use self::decompress::Compression;
use crate::base::{Context as _, Digest, Error, Result};
use crate::model::image::Layer;
use crate::store::Store;
use crate::store::db::{Noun, Tx};
use crate::sys::path::Dir;

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

/// Whether this is a tar, plain or compressed, as far as its first entry tells.
pub fn is_tar(reader: &mut dyn Read) -> bool {
    let first = decompress::detect(reader).and_then(|(compression, reader)| {
        let plain = decompress::decompress(compression, reader)?;
        crate::store::tar::read::Reader::new(plain).next()
    });
    matches!(first, Ok(Some(_)))
}

/// The identity of a layer on top of `parent` (OCI image specification, "Layer ChainID").
pub fn chain_id(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
    match parent {
        None => diff_id.clone(),
        Some(parent) => Digest::of(format!("{parent} {diff_id}").as_bytes()),
    }
}

impl Store {
    /// Unpacks a tar, plain or compressed, into an empty folder: names mean what they say.
    ///
    /// # Errors
    /// `corrupt` when it is truncated or no tar; `invalid_argument` for an entry that would leave the folder; `no_space`.
    pub fn tree_unpack(&self, reader: &mut dyn Read, into: &Dir) -> Result<()> {
        let (compression, reader) = decompress::detect(reader).context(|| "reading an archive")?;
        let plain = decompress::decompress(compression, reader)?;
        match unpack::unpack(into, plain, unpack::Purpose::Tree)?.end_mark {
            true => Ok(()),
            false => Err(Error::corrupt("the archive is cut short: it has no end mark")),
        }
    }

    /// The layer with this chain id; none when it is not in the store, by record and by folder.
    ///
    /// # Errors
    /// `corrupt` when its record cannot be read.
    pub fn layer_get(&self, chain_id: &Digest) -> Result<Option<Layer>> {
        self.read(|tx| self.layer_in(tx, chain_id))
    }

    /// As [`Store::layer_get`], in a transaction.
    ///
    /// # Errors
    /// As [`Store::layer_get`].
    pub fn layer_in(&self, tx: &Tx<'_>, chain_id: &Digest) -> Result<Option<Layer>> {
        let layer = tx.body::<Layer>(Noun::Layer, chain_id.as_str())?;
        Ok(layer.filter(|_| self.layer_diff(chain_id).exists()))
    }

    /// The layer when it is in the store; the held lease keeps it, and its blob, from now on.
    ///
    /// # Errors
    /// As [`Store::layer_get`].
    pub fn layer_adopt(&self, chain_id: &Digest) -> Result<Option<Layer>> {
        let Some(layer) = self.layer_get(chain_id)? else { return Ok(None) };
        Ok(self.layers_adopt(std::slice::from_ref(chain_id))?.then_some(layer))
    }

    /// As [`Store::layer_adopt`], only when its blob looks whole: one that was lost or cut is to come again.
    ///
    /// # Errors
    /// As [`Store::layer_get`].
    pub fn layer_whole(&self, chain_id: &Digest) -> Result<Option<Layer>> {
        let known = self.layer_adopt(chain_id)?;
        Ok(known.filter(|layer| self.blob_looks_whole(&layer.blob, layer.blob_size_bytes)))
    }

    /// Whether all of these layers are in the store; the held lease keeps those that are, and their blobs, from now on.
    ///
    /// # Errors
    /// What the database gives.
    pub fn layers_adopt(&self, chain_ids: &[Digest]) -> Result<bool> {
        self.write(|tx| {
            let mut all = true;
            for chain_id in chain_ids {
                let id = chain_id.as_str();
                match tx.phase(Noun::Layer, id)?.is_some() && self.layer_diff(chain_id).exists() {
                    true => self.lease_in(tx, (Noun::Layer, id))?,
                    false => all = false,
                }
            }
            Ok(all)
        })
    }

    /// The folder with a layer's files, for overlay's `lowerdir`.
    pub fn layer_diff(&self, chain_id: &Digest) -> PathBuf {
        self.layer_folder(chain_id).join("diff")
    }

    fn layer_folder(&self, chain_id: &Digest) -> PathBuf {
        self.paths().layers().join(chain_id.hex())
    }
}
