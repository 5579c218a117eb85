//! Volumes: every verb.

use std::path::Path;

use crate::base::{Id, Result};
use crate::engine::Engine;
use crate::model::system::PruneReport;
use crate::model::volume::{Backup, Difference, Volume, VolumeFilter, VolumeOptions};

// `volume` is always what a user writes: a name, an id, or a unique beginning of an id.
impl Engine {
    /// Makes a volume; one of the same name is returned as it is, as Docker does.
    ///
    /// # Errors
    /// `invalid_argument` for the name; `unsupported` for a driver; `conflict` when the existing one has other labels.
    pub fn volume_create(&self, options: &VolumeOptions) -> Result<Volume> {
        todo!()
    }

    /// One volume.
    ///
    /// # Errors
    /// `not_found`.
    pub fn volume_get(&self, volume: &str) -> Result<Volume> {
        todo!()
    }

    /// The matching volumes, by name.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn volume_list(&self, filter: &VolumeFilter) -> Result<Vec<Volume>> {
        todo!()
    }

    /// The ids of the containers that mount it.
    ///
    /// # Errors
    /// `not_found`.
    pub fn volume_users(&self, volume: &str) -> Result<Vec<Id>> {
        todo!()
    }

    /// Bytes of its content on disk.
    ///
    /// # Errors
    /// `not_found`.
    pub fn volume_size_bytes(&self, volume: &str) -> Result<u64> {
        todo!()
    }

    /// Removes a volume. With `force` a missing one is no error.
    ///
    /// # Errors
    /// `conflict` when a container uses it.
    pub fn volume_remove(&self, volume: &str, force: bool) -> Result<()> {
        todo!()
    }

    /// Gives a volume another name, also while it is in use.
    ///
    /// # Errors
    /// `already_exists`, `invalid_argument`.
    pub fn volume_rename(&self, volume: &str, name: &str) -> Result<()> {
        todo!()
    }

    /// Writes its content to `path`: a zstd-compressed tar for a name ending in `.zst`, otherwise a plain tar.
    ///
    /// # Errors
    /// `already_exists` when there is such a file; `no_space`; nothing is left at `path` then.
    pub fn volume_backup(&self, volume: &str, path: &Path) -> Result<Backup> {
        todo!()
    }

    /// Replaces its content by a backup's, checked by digest before anything is changed.
    ///
    /// # Errors
    /// `corrupt` when the archive is damaged; `conflict` when a running container uses the volume. The old content stays.
    pub fn volume_restore(&self, volume: &str, path: &Path) -> Result<Backup> {
        todo!()
    }

    /// What would have to change in `volume` to become `other`.
    ///
    /// # Errors
    /// `not_found`.
    pub fn volume_diff(&self, volume: &str, other: &str) -> Result<Vec<Difference>> {
        todo!()
    }

    /// Removes anonymous volumes (`all`: named ones too) that no container uses.
    ///
    /// # Errors
    /// The first failure.
    pub fn volume_prune(&self, all: bool) -> Result<PruneReport> {
        todo!()
    }

    /// Checks an archive made by backup without restoring it.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn backup_verify(&self, path: &Path) -> Result<Backup> {
        todo!()
    }
}
