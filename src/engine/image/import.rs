//! Images of one layer that we make ourselves: from a tar, from a folder.

use std::io::{Read, Seek as _, SeekFrom};
use std::path::Path;

use super::changes;
use crate::base::{Context as _, Error, Reference, Result, Timestamp, failpoint};
use crate::engine::Engine;
use crate::model::image::{History, Image};
use crate::store::image::NewImage;
use crate::store::image::config::{self, Parsed};
use crate::store::layer::LayerSource;

use super::ImportOptions;

/// The remark in the history of an import; Docker's.
const REMARK: &str = "Imported from -";

impl Engine {
    pub(super) fn import_tar(
        &self,
        reader: &mut dyn Read,
        tag: Option<&str>,
        options: &ImportOptions,
    ) -> Result<Image> {
        let tag = tag.map(Reference::parse).transpose()?;
        let created = Some(Timestamp::now());
        let mut parsed = new_config(created, "", Some(options.message.clone().unwrap_or_else(|| REMARK.into())));
        changes::apply(&mut parsed.config, &options.changes)?;
        self.import_one(reader, tag, parsed)
    }

    pub(super) fn import_dir(&self, dir: &Path, tag: Option<&str>) -> Result<Image> {
        let tag = tag.map(Reference::parse).transpose()?;
        let metadata = std::fs::metadata(dir).context(|| format!("opening the folder {dir:?}"))?;
        if !metadata.is_dir() {
            return Err(Error::invalid(format!("{dir:?} is not a folder")));
        }
        let (mut spool, newest) = self.pack_dir(dir)?;
        spool.seek(SeekFrom::Start(0))?;
        let mut parsed = new_config(newest, "rhumb image from_dir", None);
        parsed.config.env = vec![format!("PATH={}", super::DEFAULT_PATH)];
        self.import_one(&mut spool, tag, parsed)
    }

    /// Imports the one layer and puts the image on record. The same input gives the same image.
    pub(super) fn import_one(&self, layer: &mut dyn Read, tag: Option<Reference>, parsed: Parsed) -> Result<Image> {
        let lease = self.store.lease()?;
        let imported = self.import_under_lease(layer, tag.clone(), parsed);
        drop(lease);
        match &imported {
            Ok(image) => self.tell_imported(image, tag.as_ref()),
            Err(_) => self.sweep_after_failure(),
        }
        imported
    }

    fn import_under_lease(&self, layer: &mut dyn Read, tag: Option<Reference>, mut parsed: Parsed) -> Result<Image> {
        failpoint::hit("image.import.layer")?;
        let source = LayerSource { compress: true, ..LayerSource::default() };
        let layer = self.store.layer_import(layer, &source)?;
        parsed.diff_ids = vec![layer.diff_id.clone()];
        let image = self.store.image_prepare(&config::write(&parsed), &parsed, None, vec![layer])?;
        failpoint::hit("image.import.commit")?;
        let mut images = self.store.image_commit(&[NewImage::new(image, tag.into_iter().collect())])?;
        self.store.flush()?;
        Ok(images.remove(0))
    }
}

/// The config of an image that we make on this machine, without its layer.
pub(super) fn new_config(created: Option<Timestamp>, created_by: &str, comment: Option<String>) -> Parsed {
    let (architecture, variant) = config::host_architecture();
    Parsed {
        created,
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: variant.map(str::to_owned),
        history: vec![History { created, created_by: created_by.to_owned(), comment, ..History::default() }],
        ..Parsed::default()
    }
}
