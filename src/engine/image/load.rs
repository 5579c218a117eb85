//! Loading archives: every layer is imported and checked, then all images come on record in one transaction.

use std::path::Path;

use crate::base::{Context as _, Digest, Error, Reference, Result, failpoint};
use crate::engine::Engine;
use crate::model::image::{Image, Layer};
use crate::store::archive::members::Members;
use crate::store::archive::read::{self, ArchivedImage, ArchivedLayer};
use crate::store::blob::BlobSource;
use crate::store::image::NewImage;
use crate::store::layer::LayerSource;

impl Engine {
    /// Loads one image of an archive, and gives it no name: the one with this name, tag or digest. None is the only one, or
    /// else `latest`.
    ///
    /// # Errors
    /// As a load; `not_found` when it is not there.
    pub fn image_load_one(&self, path: &Path, wanted: Option<&str>) -> Result<Image> {
        let members = self.store.archive_open(path)?;
        let mut archived = read::read(&members)?;
        let is = |image: &ArchivedImage, wanted: &str| {
            let of_digest = image.manifest.as_deref().is_some_and(|bytes| Digest::of(bytes).as_str() == wanted);
            // A tag that stands alone is read as a name.
            let named = |name: &Reference| {
                name.tag() == Some(wanted) || name.familiar_name() == wanted || name.familiar() == wanted
            };
            of_digest || image.names.iter().any(named)
        };
        if archived.len() > 1 || wanted.is_some() {
            let wanted = wanted.unwrap_or("latest");
            archived.retain(|image| is(image, wanted));
            if archived.is_empty() {
                return Err(Error::not_found(format!("{path:?} has no image {wanted:?}")));
            }
        }
        archived.truncate(1);
        archived.iter_mut().for_each(|image| image.names.clear());
        let _lease = self.store.lease()?;
        let image = self.import_all(&members, &archived)?.pop();
        image.ok_or_else(|| Error::not_found(format!("{path:?} has no image")))
    }

    pub(super) fn load_members(&self, members: &Members) -> Result<Vec<Image>> {
        let archived = read::read(members)?;
        let lease = self.store.lease()?;
        let loaded = self.import_all(members, &archived);
        drop(lease);
        // Whatever a failed load had imported has no user now.
        match &loaded {
            Ok(images) => images.iter().for_each(|image| self.tell(&super::event(image, "load", None))),
            Err(_) => self.sweep_after_failure(),
        }
        loaded
    }

    fn import_all(&self, members: &Members, archived: &[ArchivedImage]) -> Result<Vec<Image>> {
        let mut images = Vec::with_capacity(archived.len());
        for image in archived {
            let layers = self.import_layers(members, image)?;
            let kept = self.store.image_prepare(&image.config, &image.parsed, image.manifest.as_deref(), layers)?;
            images.push(NewImage::new(kept, image.names.clone()));
        }
        failpoint::hit("image.load.commit")?;
        let images = self.store.image_commit(&images)?;
        self.store.flush()?;
        Ok(images)
    }

    fn import_layers(&self, members: &Members, image: &ArchivedImage) -> Result<Vec<Layer>> {
        let mut layers: Vec<Layer> = Vec::with_capacity(image.layers.len());
        for (archived, diff_id) in image.layers.iter().zip(&image.parsed.diff_ids) {
            self.check_interrupt()?;
            failpoint::hit("image.load.layer")?;
            let parent = layers.last().map(|below| below.chain_id.clone());
            let layer = self.import_layer(members, archived, parent, diff_id);
            layers.push(layer.context(|| format!("loading the layer {:?}", archived.member))?);
        }
        Ok(layers)
    }

    fn import_layer(
        &self,
        members: &Members,
        archived: &ArchivedLayer,
        parent: Option<Digest>,
        diff_id: &Digest,
    ) -> Result<Layer> {
        let blob = archived.blob.as_ref();
        let source = LayerSource {
            parent,
            expect_blob: blob.map(|(digest, ..)| digest.clone()),
            expect_diff_id: Some(diff_id.clone()),
            expect_size_bytes: blob.map(|(_, size, _)| *size),
            compress: false,
        };
        let mut layer = self.store.layer_import(&mut members.open(&archived.member)?, &source)?;
        if let Some((digest, size_bytes, media_type)) = blob {
            // The layer may have come before as another blob; this image's manifest names its own.
            if layer.blob != *digest {
                let source = BlobSource { expect: Some(digest.clone()), expect_size_bytes: Some(*size_bytes) };
                self.store.blob_write(&mut members.open(&archived.member)?, &source)?;
            }
            layer.blob = digest.clone();
            layer.blob_size_bytes = *size_bytes;
            layer.media_type.clone_from(media_type);
            layer.came = true;
        }
        Ok(layer)
    }
}
