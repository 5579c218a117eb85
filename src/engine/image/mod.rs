//! Images.
//!
//! ```text
//! mod.rs        the verbs
//! load.rs       archives in           save.rs       archives out
//! import.rs     one tar or folder     changes.rs    docker import --change
//! from_host.rs  this machine's programs, with closure.rs (what they load) and elf.rs (how one knows)
//! bootstrap.rs  a Debian base         remove.rs     names and images away
//! transfer.rs   from registries, and to them
//! recompress.rs an image with its layers compressed otherwise, as it goes elsewhere
//! ```
//!
//! A verb that makes an image imports under a lease and ends with one transaction: it happened fully or not at all, and
//! what a killed one imported is swept by the next removal. Containers are known here only as users of a record.

mod bootstrap;
pub(in crate::engine) mod changes;
mod closure;
mod elf;
mod from_host;
mod import;
mod load;
mod recompress;
mod remove;
mod save;
mod transfer;

pub(in crate::engine) use self::from_host::program;
pub(in crate::engine) use self::recompress::annotations;
pub use self::save::{SaveOptions, SaveTo};
pub use self::transfer::{Pulled, PushOptions, Transfers};
pub(in crate::engine) use self::transfer::{each, image_of};

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::base::{Error, Reference, Result, Timestamp, failpoint};
use crate::engine::Engine;
use crate::engine::pipe::Checked;
use crate::model::event::{Event, IMAGE};
use crate::model::image::{ArchiveFormat, Image, ImageFilter, ImageRemoved};
use crate::model::system::{PruneFilter, PruneReport, has_label};
use crate::store::pack::{self, PackForm, PackOptions};

/// The PATH of the images that we make, and where `from_host` looks first.
pub(in crate::engine) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
        self.store.image_get(image)
    }

    /// The image that a build names: a reference, an id, or at least twelve digits of one.
    ///
    /// # Errors
    /// As [`Engine::image_get`].
    pub fn image_get_for_build(&self, image: &str) -> Result<Image> {
        self.store.image_get_for_build(image)
    }

    /// The matching images, newest first.
    ///
    /// # Errors
    /// `not_found` for `before` and `since`, `corrupt`.
    pub fn image_list(&self, filter: &ImageFilter) -> Result<Vec<Image>> {
        let made = |name: &Option<String>| name.as_ref().map(|name| self.image_get(name)).transpose();
        let (before, since) = (made(&filter.before)?, made(&filter.since)?);
        let mut images = self.store.images()?;
        images.retain(|image| {
            before.as_ref().is_none_or(|other| image.created < other.created)
                && since.as_ref().is_none_or(|other| image.created > other.created)
                && suits(image, filter)
        });
        images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.tags.cmp(&b.tags)));
        Ok(images)
    }

    /// Gives an image a further reference, taking it from another image when needed.
    ///
    /// # Errors
    /// `not_found`, `invalid_argument`.
    pub fn image_tag(&self, image: &str, reference: &str) -> Result<()> {
        let name = Reference::parse(reference)?;
        if name.digest().is_some() {
            return Err(Error::invalid(format!("{reference:?} has a digest, which is not ours to give")));
        }
        failpoint::hit("image.tag.record")?;
        let image = self.store.write(|tx| {
            let (id, _) = tx.image_find(image)?;
            tx.image_name(&id, &name)?;
            tx.image(&id)
        })?;
        self.store.flush()?;
        self.tell(&event(&image, "tag", Some(&name.familiar())));
        Ok(())
    }

    /// Takes a reference away, and the image with its last one (by id: all at once with `force`). With `force` a
    /// reference goes even when it is the last one of an image in use; the image stays without a name then.
    ///
    /// # Errors
    /// `not_found`; `conflict` when a container uses it, or when an id has several references and `force` is not set.
    pub fn image_remove(&self, image: &str, force: bool) -> Result<Vec<ImageRemoved>> {
        self.remove_image(image, force)
    }

    /// Removes images that suit, without a reference (`all`: without a container) that no container uses, and what came of
    /// pulls that broke off.
    ///
    /// # Errors
    /// The first failure.
    pub fn image_prune(&self, all: bool, filter: &PruneFilter) -> Result<PruneReport> {
        self.prune_images(all, filter)
    }

    /// Loads every image of an archive: docker-archive or OCI layout, a tar (plain, gzip, zstd) or a folder.
    ///
    /// # Errors
    /// `corrupt` for a truncated archive or a digest that differs; nothing of it is kept then.
    pub fn image_load(&self, path: &Path) -> Result<Vec<Image>> {
        self.load_members(&self.store.archive_open(path)?)
    }

    /// As [`Engine::image_load`] from a stream.
    ///
    /// # Errors
    /// As there.
    pub fn image_load_from(&self, reader: &mut dyn Read) -> Result<Vec<Image>> {
        let mut reader = Checked { stream: reader, check: &|| self.check_interrupt() };
        self.load_members(&self.store.archive_spool(&mut reader, "stream")?)
    }

    /// Writes images to an archive at `path`, beside and renamed into place.
    ///
    /// # Errors
    /// `not_found`, `no_space`; nothing is left at `path` then.
    pub fn image_save(&self, images: &[String], path: &Path, format: ArchiveFormat) -> Result<()> {
        self.save(images, SaveTo::Path(path), SaveOptions::new(format))
    }

    /// As [`Engine::image_save`] to a stream; `OciDir` is `invalid_argument`.
    ///
    /// # Errors
    /// As there.
    pub fn image_save_to(&self, images: &[String], out: &mut dyn Write, format: ArchiveFormat) -> Result<()> {
        self.save(images, SaveTo::Stream(out), SaveOptions::new(format))
    }

    /// As [`Engine::image_save`], with all that there is to say of it.
    ///
    /// # Errors
    /// As there, and as [`Engine::image_recompressed`]; `unsupported` for a form that has no place for attestations.
    pub fn image_save_with(&self, images: &[String], to: SaveTo<'_>, options: SaveOptions) -> Result<()> {
        self.save(images, to, options)
    }

    /// Makes an image of one layer from a tar (`docker import`).
    ///
    /// # Errors
    /// As [`Engine::image_load`].
    pub fn image_from_tar(&self, reader: &mut dyn Read, tag: Option<&str>, options: &ImportOptions) -> Result<Image> {
        let mut reader = Checked { stream: reader, check: &|| self.check_interrupt() };
        self.import_tar(&mut reader, tag, options)
    }

    /// Makes an image of one layer from a folder.
    ///
    /// # Errors
    /// `not_found`, `invalid_argument` when it is not a folder.
    pub fn image_from_dir(&self, dir: &Path, tag: Option<&str>) -> Result<Image> {
        self.import_dir(dir, tag)
    }

    /// Makes an image from programs of this machine and the libraries that they load.
    ///
    /// # Errors
    /// `not_found` names a program that is not on the path.
    pub fn image_from_host(&self, programs: &[String], tag: Option<&str>) -> Result<Image> {
        self.make_from_host(programs, tag)
    }

    /// Makes a Debian base with mmdebstrap or debootstrap.
    ///
    /// # Errors
    /// `unsupported` when neither is installed; `command_failed` with the tool's output.
    pub fn image_bootstrap(&self, suite: &str, options: &BootstrapOptions) -> Result<Image> {
        self.make_bootstrap(suite, options)
    }

    /// Tells of an image that was made here, in Docker's order: its name first.
    fn tell_imported(&self, image: &Image, tag: Option<&Reference>) {
        self.tell_tagged(image, tag);
        self.tell(&event(image, "import", None));
    }

    /// Tells of the name that an image was given, if it was.
    pub(in crate::engine) fn tell_tagged(&self, image: &Image, tag: Option<&Reference>) {
        if let Some(tag) = tag {
            self.tell(&event(image, "tag", Some(&tag.familiar())));
        }
    }

    /// Takes away what no record and no lease needs; returns the bytes that are free again.
    fn sweep_store(&self) -> Result<u64> {
        Ok(self.store.sweep()?.freed_bytes)
    }

    /// The error that led here is what the user needs; what stays is taken by the next sweep.
    pub(in crate::engine) fn sweep_after_failure(&self) {
        let _ = self.sweep_store();
    }

    /// A folder as a tar, and the time of the newest file in it.
    fn pack_dir(&self, dir: &Path) -> Result<(File, Option<Timestamp>)> {
        let mut spool = self.store.spool()?;
        let options = PackOptions { form: PackForm::Layer, ..PackOptions::default() };
        let packed = pack::pack(dir, &options, &mut spool)?;
        Ok((spool, packed.newest))
    }
}

fn suits(image: &Image, filter: &ImageFilter) -> bool {
    let named = filter.reference.is_empty()
        || image.tags.iter().any(|tag| filter.reference.iter().any(|pattern| reference_matches(pattern, tag)));
    let labelled = filter.label.iter().all(|wanted| has_label(&image.config.labels, wanted));
    let old = filter.until.is_none_or(|until| image.created.is_none_or(|created| created < until));
    named && labelled && old && filter.dangling.is_none_or(|dangling| dangling == image.tags.is_empty())
}

/// Whether a familiar reference is meant: by its repository, by its full familiar form, or by a pattern of either. A
/// listing shows only those names of an image that are.
pub fn reference_matches(pattern: &str, tag: &str) -> bool {
    let Ok(reference) = Reference::parse(tag) else { return false };
    let full = format!("{}/{}", reference.host(), reference.path());
    let suffix = reference.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    let name = reference.familiar_name();
    let bare = name.rsplit('/').next().unwrap_or_default();
    [tag, &name, &full, &format!("{full}{suffix}"), bare]
        .iter()
        .any(|text| wildcard(pattern.as_bytes(), text.as_bytes()))
}

/// `*` is any run of characters but `/`, `?` any one of them.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') if text[t] != b'/' => (p, t) = (p + 1, t + 1),
            Some(c) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) if text[from] != b'/' => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// An event with an image's own attributes: its labels, and the name that it is about; none is its id.
fn event(image: &Image, action: &str, name: Option<&str>) -> Event {
    let id = image.id.as_str();
    Event::new(IMAGE, action, id).with_all(&image.config.labels).with("name", name.unwrap_or(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_shells_do() {
        for (pattern, tag, matches) in [
            ("debian", "debian:12", true),
            ("debian:12", "debian:12", true),
            ("debian:11", "debian:12", false),
            ("deb*", "debian:12", true),
            ("*:12", "debian:12", true),
            ("*", "me/app:1", true),
            ("me/*", "me/app:1", true),
            ("docker.io/library/debian:*", "debian:12", true),
            ("d?bian", "debian:12", true),
            ("x*", "debian:12", false),
            ("a*b*c", "a-b-c:1", true),
            ("", "debian:12", false),
        ] {
            assert_eq!(reference_matches(pattern, tag), matches, "{pattern} {tag}");
        }
    }
}
