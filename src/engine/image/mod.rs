//! Images: every verb that needs no registry.

mod changes;
mod closure;
mod elf;

use std::io::{Read, Write};
use std::path::Path;

use crate::base::Result;
use crate::engine::Engine;
use crate::model::image::{ArchiveFormat, Image, ImageFilter, ImageRemoved};
use crate::model::system::PruneReport;

/// How a Debian base is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootstrapOptions {
    /// Further packages.
    pub packages: Vec<String>,
    /// The package mirror; none is the tool's default.
    pub mirror: Option<String>,
    /// `minbase` (default), `buildd` or another variant of the tool.
    pub variant: Option<String>,
    /// The reference to give it; none is `<suite>:latest` under `localhost/`.
    pub tag: Option<String>,
}

/// How a tar becomes an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// `docker import --change`: `CMD ["sh"]`, `ENV A=b` and so on.
    pub changes: Vec<String>,
    /// A remark in the history.
    pub message: Option<String>,
}

// `image` is always what a user writes: a reference, an id, or a unique beginning of an id.
impl Engine {
    /// One image.
    ///
    /// # Errors
    /// `not_found`, `conflict` when a beginning of an id fits several.
    pub fn image_get(&self, image: &str) -> Result<Image> {
        todo!()
    }

    /// The matching images, newest first.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn image_list(&self, filter: &ImageFilter) -> Result<Vec<Image>> {
        todo!()
    }

    /// Gives an image a further reference, taking it from another image when needed.
    ///
    /// # Errors
    /// `not_found`, `invalid_argument`.
    pub fn image_tag(&self, image: &str, reference: &str) -> Result<()> {
        todo!()
    }

    /// Takes a reference away, and the image with its last one (by id: all at once with `force`).
    ///
    /// # Errors
    /// `conflict` when a container uses it, or when an id has several references and `force` is not set.
    pub fn image_remove(&self, image: &str, force: bool) -> Result<Vec<ImageRemoved>> {
        todo!()
    }

    /// Removes images without a reference (`all`: without a container) that no container uses.
    ///
    /// # Errors
    /// The first failure.
    pub fn image_prune(&self, all: bool) -> Result<PruneReport> {
        todo!()
    }

    /// Loads every image of an archive: docker-archive or OCI layout, a tar (plain, gzip, zstd) or a folder.
    ///
    /// # Errors
    /// `corrupt` for a truncated archive or a digest that differs; nothing of it is kept then.
    pub fn image_load(&self, path: &Path) -> Result<Vec<Image>> {
        todo!()
    }

    /// As [`Engine::image_load`] from a stream.
    ///
    /// # Errors
    /// As there.
    pub fn image_load_from(&self, reader: &mut dyn Read) -> Result<Vec<Image>> {
        todo!()
    }

    /// Writes images to an archive at `path`, beside and renamed into place.
    ///
    /// # Errors
    /// `not_found`, `no_space`; nothing is left at `path` then.
    pub fn image_save(&self, images: &[String], path: &Path, format: ArchiveFormat) -> Result<()> {
        todo!()
    }

    /// As [`Engine::image_save`] to a stream; `OciDir` is `invalid_argument`.
    ///
    /// # Errors
    /// As there.
    pub fn image_save_to(&self, images: &[String], out: &mut dyn Write, format: ArchiveFormat) -> Result<()> {
        todo!()
    }

    /// Makes an image of one layer from a tar (`docker import`).
    ///
    /// # Errors
    /// As [`Engine::image_load`].
    pub fn image_from_tar(&self, reader: &mut dyn Read, tag: Option<&str>, options: &ImportOptions) -> Result<Image> {
        todo!()
    }

    /// Makes an image of one layer from a folder.
    ///
    /// # Errors
    /// `not_found`, `invalid_argument` when it is not a folder.
    pub fn image_from_dir(&self, dir: &Path, tag: Option<&str>) -> Result<Image> {
        todo!()
    }

    /// Makes an image from programs of this machine and the libraries that they load.
    ///
    /// # Errors
    /// `not_found` names a program that is not on the path.
    pub fn image_from_host(&self, programs: &[String], tag: Option<&str>) -> Result<Image> {
        todo!()
    }

    /// Makes a Debian base with mmdebstrap or debootstrap.
    ///
    /// # Errors
    /// `unsupported` when neither is installed; `command_failed` with the tool's output.
    pub fn image_bootstrap(&self, suite: &str, options: &BootstrapOptions) -> Result<Image> {
        todo!()
    }
}
