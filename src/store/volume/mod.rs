//! Volumes' content: copy-up, backup to tar.zst or tar, restore, difference of two trees.
//!
//! ```text
//! volumes/<id>/data     the content; what is mounted into containers
//! ```
//!
//! Content is hostile: it is read and written on descriptors, links in it are never followed. Whatever replaces content is
//! made in `tmp` first and exchanged in one step, so that a crash leaves the old or the new, whole. Records and names of
//! volumes, and who uses them, are the engine's.

pub mod backup;
mod copy;
mod diff;
mod size;

use std::os::fd::BorrowedFd;
use std::os::unix::fs::DirBuilderExt as _;

use crate::base::{Context as _, Error, Id, Result};
use crate::model::volume::Difference;
use crate::store::Store;
use crate::sys::fs::sync_file_system;
use crate::sys::lock::{self, Lock, Mode};
use crate::sys::node;
use crate::sys::path::{Dir, EntryKind, remove_tree};

impl Store {
    /// Makes the folder of a volume; one that exists is left as it is.
    ///
    /// # Errors
    /// `no_space`.
    pub fn volume_make(&self, id: &Id) -> Result<()> {
        let folder = self.paths().volume(id);
        let make = |path: &std::path::Path, mode| {
            let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
            made.context(|| format!("making {path:?}"))
        };
        make(&folder, 0o711)?;
        let data = self.paths().volume_data(id);
        make(&data, 0o755)?;
        // Whatever the umask is, programs without rights must reach what they own.
        let dir = Dir::open(&data).context(|| format!("opening {data:?}"))?;
        node::set_mode_of(&dir, 0o755).context(|| format!("changing the mode of {data:?}"))
    }

    /// Removes the folder of a volume; already gone is success.
    ///
    /// # Errors
    /// What removing gives, as for a mount point in it.
    pub fn volume_delete(&self, id: &Id) -> Result<()> {
        let folder = self.paths().volume(id);
        remove_tree(&folder).context(|| format!("removing {folder:?}"))
    }

    /// Bytes of a volume's content on disk.
    ///
    /// # Errors
    /// `corrupt` when its folder is missing.
    pub fn volume_size_bytes(&self, id: &Id) -> Result<u64> {
        size::on_disk(&self.volume_dir(id)?).context(|| format!("measuring the volume {}", id.short()))
    }

    /// What would have to change in `from` to become `to`.
    ///
    /// # Errors
    /// `corrupt` when a folder is missing; what reading gives.
    pub fn volume_diff(&self, from: &Id, to: &Id) -> Result<Vec<Difference>> {
        let (from, to) = (self.volume_dir(from)?, self.volume_dir(to)?);
        diff::diff(&from, &to).context(|| "comparing two volumes")
    }

    /// Holds a volume's content where it is: shared for whoever is about to mount it, until a monitor stands for that;
    /// exclusive for whoever puts another tree in its place.
    ///
    /// # Errors
    /// `timeout`; `not_found` when its folder is missing.
    pub fn volume_hold(&self, id: &Id, mode: Mode) -> Result<Lock> {
        lock::acquire_folder(&self.paths().volume(id), mode, lock::DEADLINE)
    }

    /// Fills an empty volume with what `rootfs` has at `path`, owner and mode of that folder included. A volume that holds
    /// anything stays as it is, and so it does when there is no folder at `path`; the path is resolved inside `rootfs`,
    /// whatever it says. `mounted` says, while the volume is held, whether somebody has it mounted; what is `durable`
    /// survives a power cut.
    ///
    /// # Errors
    /// `no_space` and what else copying gives; the volume is as before then.
    pub fn volume_copy_up(
        &self,
        id: &Id,
        rootfs: BorrowedFd<'_>,
        path: &str,
        durable: bool,
        mounted: impl FnOnce() -> Result<bool>,
    ) -> Result<()> {
        if !self.volume_dir(id)?.entries()?.is_empty() {
            return Ok(());
        }
        let root = Dir::from_fd(rootfs).context(|| "opening an image's root")?;
        let source = match root.open_dir_in(path.as_bytes()) {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            found => found.context(|| format!("opening {path:?} in an image"))?,
        };
        let filling = || format!("filling the volume {} from {path:?} of the image", id.short());
        let scratch = self.scratch_dir("volume")?;
        let fresh = Dir::open(scratch.path()).context(filling)?;
        copy::copy(&source, &fresh).context(filling)?;
        if durable {
            sync_file_system(&fresh).context(filling)?;
        }
        let _held = self.volume_hold(id, Mode::Exclusive)?;
        let data = self.volume_dir(id)?;
        if !data.entries()?.is_empty() {
            return Ok(());
        }
        // Whoever has it mounted would go on with the old folder, which nobody else sees.
        if mounted()? {
            copy::move_into(&fresh, &data).context(filling)
        } else {
            self.volume_exchange(id, scratch.path())
        }
    }

    /// Makes the tree at `fresh`, which lies in `tmp`, the content of the volume; the old content is at `fresh` then.
    fn volume_exchange(&self, id: &Id, fresh: &std::path::Path) -> Result<()> {
        let data = self.paths().volume_data(id);
        crate::sys::exchange::exchange(fresh, &data)
            .context(|| format!("replacing the content of the volume {}", id.short()))
    }

    fn volume_dir(&self, id: &Id) -> Result<Dir> {
        Dir::open(&self.paths().volume_data(id)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                Error::corrupt(format!("the content of the volume {} is missing", id.short()))
                    .with_hint("restore it from a backup, or remove the volume")
            }
            _ => Error::from(error).context(format!("opening the volume {}", id.short())),
        })
    }
}

/// The names in a folder with their kinds, sorted by name.
fn sorted(dir: &Dir) -> std::io::Result<Vec<(Vec<u8>, EntryKind)>> {
    let mut entries = dir.entries()?;
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}
