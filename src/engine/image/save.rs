//! Saving images: which ones under which names, to a file beside its place, a folder or a stream.

use std::io::Write;
use std::path::Path;

use crate::base::{Context as _, Error, Reference, Result, failpoint};
use crate::engine::Engine;
use crate::model::image::{ArchiveFormat, Attestation, Image, Recompress};
use crate::store::archive::beside::Beside;
use crate::store::archive::write::SavedImage;
use crate::sys::fs::sync;

/// Where an archive goes.
pub enum SaveTo<'a> {
    /// To a path.
    Path(&'a Path),
    /// To a stream.
    Stream(&'a mut dyn Write),
}

/// How images are saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaveOptions {
    /// The kind of archive.
    pub format: ArchiveFormat,
    /// What is said of the first image.
    pub attestations: Vec<Attestation>,
    /// How layers are compressed in it; none is as the kind of archive has them.
    pub compression: Option<Recompress>,
}

impl SaveOptions {
    /// An archive of this kind.
    pub fn new(format: ArchiveFormat) -> SaveOptions {
        SaveOptions { format, ..SaveOptions::default() }
    }
}

impl Engine {
    /// Saves images.
    pub(super) fn save(&self, images: &[String], to: SaveTo<'_>, options: SaveOptions) -> Result<()> {
        let SaveOptions { format, attestations, compression } = options;
        // The images stay while they are written, also when somebody removes them, and so does what is compressed for them.
        let _lease = self.store.lease()?;
        let mut images = self.chosen(images)?;
        if format == ArchiveFormat::DockerArchive && !attestations.is_empty() {
            return Err(Error::unsupported("an archive of Docker's form has no place for attestations")
                .with_hint("write an OCI layout: type=oci"));
        }
        if let Some(first) = images.first_mut() {
            first.attestations = attestations;
        }
        for saved in &mut images {
            let image = self.held(&saved.image.id)?;
            if compression.is_some() {
                let sent = self.sent(image, compression)?;
                (saved.image, saved.recompressed) = (sent.image, Some(sent.manifest));
            }
        }
        match to {
            SaveTo::Path(path) => self.save_chosen(&images, path, format)?,
            SaveTo::Stream(out) => self.write_archive(&images, out, format)?,
        }
        self.tell_saved(&images);
        Ok(())
    }

    fn tell_saved(&self, images: &[SavedImage]) {
        images.iter().for_each(|saved| self.tell(&super::event(&saved.image, "save", None)));
    }

    fn save_chosen(&self, images: &[SavedImage], path: &Path, format: ArchiveFormat) -> Result<()> {
        let there = std::fs::metadata(path).ok();
        if there.as_ref().is_some_and(std::fs::Metadata::is_dir) {
            let mut entries = std::fs::read_dir(path).context(|| format!("reading {path:?}"))?;
            if format != ArchiveFormat::OciDir {
                return Err(Error::already_exists(format!("{path:?} is a folder")).with_hint("name a file in it"));
            }
            if entries.next().is_some() {
                return Err(Error::already_exists(format!("{path:?} is not empty")).with_hint("name another folder"));
            }
        } else if format == ArchiveFormat::OciDir && there.is_some() {
            return Err(Error::already_exists(format!("{path:?} is not a folder")));
        }
        if format == ArchiveFormat::OciDir {
            let beside = Beside::folder(path)?;
            self.store.archive_write_folder(images, beside.path())?;
            failpoint::hit("image.save.folder")?;
            return beside.finish();
        }
        if there.is_some_and(|metadata| !metadata.is_file()) {
            // A pipe or a device is written to, never replaced.
            let mut out = std::fs::OpenOptions::new().write(true).open(path).context(|| format!("opening {path:?}"))?;
            return self.write_archive(images, &mut out, format);
        }
        let (beside, mut file) = Beside::file(path)?;
        self.write_archive(images, &mut file, format)?;
        sync(&file).context(|| format!("flushing {path:?}"))?;
        failpoint::hit("image.save.file")?;
        beside.finish()
    }

    fn write_archive(&self, images: &[SavedImage], out: &mut dyn Write, format: ArchiveFormat) -> Result<()> {
        match format {
            ArchiveFormat::DockerArchive => self.store.archive_write_docker(images, out),
            ArchiveFormat::OciArchive => self.store.archive_write_oci(images, out),
            ArchiveFormat::OciDir => Err(Error::invalid("a folder cannot be written to a stream")
                .with_hint("use the format oci-archive, or give a path")),
        }
    }

    /// Each image once. A reference brings its own name along, an id none.
    fn chosen(&self, images: &[String]) -> Result<Vec<SavedImage>> {
        if images.is_empty() {
            return Err(Error::invalid("no image to save was named"));
        }
        self.store.read(|tx| {
            let mut chosen: Vec<SavedImage> = Vec::new();
            for text in images {
                let (id, name) = tx.image_find(text)?;
                let image: Image = tx.image(&id)?;
                let place = chosen.iter().position(|saved| saved.image.id == image.id).unwrap_or_else(|| {
                    chosen.push(SavedImage { image, names: Vec::new(), attestations: Vec::new(), recompressed: None });
                    chosen.len() - 1
                });
                let names: &mut Vec<Reference> = &mut chosen[place].names;
                names.extend(name.filter(|name| !names.contains(name)));
            }
            Ok(chosen)
        })
    }
}
