//! An image as it goes elsewhere: its layers in another compression, with a manifest of them.
//!
//! The image itself, and what is on record of it, stays as it is. Each layer's other blob is kept with the layer, so that
//! the next time nothing is made; the manifest is made each time, and is the same each time.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use serde::Deserialize;

use crate::base::{Context as _, Digest, Error, Result};
use crate::engine::Engine;
use crate::engine::lanes::in_lanes;
use crate::model::image::{Image, Layer, LayerCompression, Recompress};
use crate::store::blob::METADATA_LIMIT_BYTES;
use crate::store::image::write_manifest;
use crate::store::layer::form;

/// How many layers are compressed at once.
const LANES: usize = 2;

/// An image as it goes elsewhere.
pub(in crate::engine) struct Sent {
    /// The image, with the manifest and the layers that it has there.
    pub(in crate::engine) image: Image,
    /// The manifest, which need not be in the store.
    pub(in crate::engine) manifest: Vec<u8>,
}

impl Engine {
    /// The image as it is where its layers are compressed so: with the manifest's digest and the layers that it has there.
    /// What it takes is made, and kept with its layers; the image here stays as it is.
    ///
    /// # Errors
    /// `corrupt` when a blob is lost or damaged; `interrupted`; `no_space`.
    pub fn image_recompressed(&self, image: &Image, how: Recompress) -> Result<Image> {
        Ok(self.sent(image.clone(), Some(how))?.image)
    }

    /// As [`Engine::image_recompressed`], with the manifest. Hold a lease as long as the blobs are needed.
    pub(in crate::engine) fn sent(&self, image: Image, how: Option<Recompress>) -> Result<Sent> {
        let manifest = self.store.blob_read(&image.manifest, METADATA_LIMIT_BYTES)?;
        let is_wanted = |how: Recompress, layer: &Layer| {
            let now = form::compression_of(&layer.media_type);
            now != how.to && (how.force || !layer.came || now == LayerCompression::Uncompressed)
        };
        let Some(how) = how.filter(|how| image.layers.iter().any(|layer| is_wanted(*how, layer))) else {
            return Ok(Sent { image, manifest });
        };
        let _lease = self.store.lease()?;
        let stop = AtomicBool::new(false);
        let check = || match stop.load(std::sync::atomic::Ordering::Relaxed) {
            true => Err(Error::interrupted("another layer failed")),
            false => self.check_interrupt(),
        };
        let work = |(): &(), layer: &Layer| match is_wanted(how, layer) {
            true => self.store.layer_recompressed(layer, how.to, &check),
            // It goes with a manifest of the OCI's now.
            false => Ok(Layer { media_type: oci_type(&layer.media_type).to_owned(), ..layer.clone() }),
        };
        let layers = in_lanes(LANES, &image.layers, &stop, || Ok(()), work)?;
        let annotations = annotations(&manifest).context(|| format!("reading the manifest {}", image.manifest))?;
        let config = self.store.blob_read(&image.id, METADATA_LIMIT_BYTES)?;
        let manifest = write_manifest(&image.id, config.len() as u64, &layers, &annotations);
        Ok(Sent { image: Image { manifest: Digest::of(&manifest), layers, ..image }, manifest })
    }
}

/// What a manifest is annotated with.
pub(in crate::engine) fn annotations(manifest: &[u8]) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    let read = serde_json::from_slice(manifest).map(|Annotated { annotations }| annotations);
    read.map_err(|error| Error::corrupt(crate::base::error::quoted(&error)))
}

/// The OCI's name for one of Docker's media types of layers; the content is the same.
fn oci_type(media_type: &str) -> &str {
    match media_type {
        "application/vnd.docker.image.rootfs.diff.tar" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            form::media_type(form::compression_of(media_type))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_read_and_dockers_types_have_names() {
        let manifest = br#"{"schemaVersion":2,"annotations":{"a":"b"}}"#;
        assert_eq!(annotations(manifest).unwrap(), [("a".to_owned(), "b".to_owned())].into());
        assert!(annotations(b"{}").unwrap().is_empty() && annotations(b"[").is_err());
        assert_eq!(
            oci_type("application/vnd.docker.image.rootfs.diff.tar.gzip"),
            "application/vnd.oci.image.layer.v1.tar+gzip"
        );
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        assert_eq!(oci_type(foreign), foreign);
    }
}
